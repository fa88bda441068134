//! The disk that the sites lie on is full: no byte for a file, no inode for a link.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::front::{Front, deploy, step, tenant};

/// A small file system in the place of a directory.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf, options: &str) -> Option<Small> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).status();
        let is_mounted = mounted.is_ok_and(|status| status.success());
        if !is_mounted {
            eprintln!("!!! SKIPPED: no file system can be mounted here, so no full disk is tried with nginx");
        }
        is_mounted.then_some(Small(at))
    }

    /// Takes what is left: bytes, then names.
    fn fill(&self) {
        let bytes = vec![b'x'; 4096];
        let mut file = std::fs::File::create(self.0.join(".filler")).unwrap();
        while std::io::Write::write_all(&mut file, &bytes).is_ok() {}
        // More names than the smaller of the two has.
        for name in 0..64 {
            if std::fs::File::create(self.0.join(format!(".filler-{name}"))).is_err() {
                break;
            }
        }
    }

    fn empty(&self) {
        for name in names(&self.0).into_iter().filter(|name| name.starts_with(".filler")) {
            std::fs::remove_file(self.0.join(name)).unwrap();
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Every file of ours with its bytes.
fn sites(front: &Front) -> Vec<(String, Vec<u8>)> {
    let mut sites = Vec::new();
    for dir in ["sites-available", "sites-enabled"] {
        for name in front.files(dir).into_iter().filter(|name| !name.starts_with(".filler")) {
            let bytes = std::fs::read(front.path(dir).join(&name)).unwrap();
            sites.push((format!("{dir}/{name}"), bytes));
        }
    }
    sites
}

async fn nothing_is_changed_when_the_disk_is_full(dir: &str, options: &str) {
    let Some(front) = Front::prepare("sites-enabled/*") else { return };
    let Some(small) = Small::mount(front.path(dir), options) else { return };
    front.run();
    front
        .foreign("shop", &format!("server {{ {} server_name shop.test; return 200 shop; }}", front.listen()));
    let app = front.app().await;
    let good = tenant(&app, "good", "good.example.com").await;
    assert_eq!(deploy(&app, &good, json!({})).await["status"], "success");
    let next = tenant(&app, "next", "next.example.com").await;
    assert_eq!(deploy(&app, &next, json!({"skip_nginx": true})).await["status"], "success");
    let before = sites(&front);

    small.fill();
    let ended = deploy(&app, &next, json!({})).await;
    assert_eq!(ended["status"], "failed", "{ended:#}");
    let step = step(&ended, "Configure NGINX");
    assert_eq!(step["status"], "failed");
    let detail = step["detail"].as_str().unwrap();
    assert!(detail.contains("No space left on device") && detail.contains(dir), "{detail}");
    assert_eq!(sites(&front), before, "something of the new site was left, or something old is gone");
    // What was served is served, also by an nginx that reads everything anew.
    for _ in 0..2 {
        assert_eq!(front.get("good.example.com", "/").await.0, 200);
        assert_eq!(front.get("shop.test", "/").await, (200, "shop".to_owned()));
        app.post("/api/nginx/reload", json!({})).await.expect(200);
    }
    // A site that is there already needs no space.
    assert_eq!(deploy(&app, &good, json!({})).await["status"], "success");
    assert_eq!(sites(&front), before);

    small.empty();
    let id = ended["id"].as_str().unwrap();
    app.post(&format!("/api/deployments/{id}/retry"), json!({})).await.expect(202);
    assert_eq!(app.deployed(id).await["status"], "success");
    assert_eq!(front.get("next.example.com", "/").await.0, 200);
    drop(app);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_finds_no_room_fails_and_takes_nobody_down() {
    nothing_is_changed_when_the_disk_is_full("sites-available", "size=64k").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_finds_no_room_fails_and_takes_nobody_down() {
    nothing_is_changed_when_the_disk_is_full("sites-enabled", "size=64k,nr_inodes=12").await;
}
