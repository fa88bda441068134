//! An erasure that is killed at each change of what it touches comes to its end all the same.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::quux;
use crate::look;
use crate::support::app::{Home, PATIENCE, TestApp, signal};

/// What changes files.
const CALLS: &str = "openat,link,linkat,rename,renameat,renameat2,unlink,unlinkat,pwrite64,fsync,fdatasync";
/// More lives than an erasure has changes.
const MOST_LIVES: usize = 200;

fn places(home: &Home, tenant: &str) -> Vec<PathBuf> {
    let data = home.data_dir();
    let keys = ["keyring", "keyring.new", "keyring.old", "keyring.cut"].map(|name| data.join(name));
    let wal = ["0", "1"].map(|half| data.join("journal/wal").join(half));
    keys.into_iter().chain(wal).chain([data.join("blobs"), data.join("blobs").join(tenant)]).collect()
}

/// A server that is killed as it enters one of these calls on one of the places for the nth time.
fn traced(home: &Home, places: &[PathBuf], calls: &str, nth: usize) -> Command {
    let serve = home.serve();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-b", "execve", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:signal=KILL:when={nth}")]);
    for place in places {
        command.arg("-P").arg(place);
    }
    command.arg(serve.get_program()).args(serve.get_args()).env_clear().current_dir(home.path());
    command.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

fn begin(home: &Home, tenant: &str, nth: usize) -> Child {
    let mut command = traced(home, &places(home, tenant), CALLS, nth);
    let log = std::fs::File::options().create(true).append(true).open(home.path().join("lives.log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Lets a server live until it is killed; whether it outlived the erasure instead.
async fn outlives(home: &Home, tenant: &str, nth: usize) -> bool {
    let _ = std::fs::remove_file(home.path().join("lives.log"));
    let mut life = begin(home, tenant, nth);
    let end = Instant::now() + PATIENCE;
    loop {
        if life.try_wait().unwrap().is_some() {
            return false;
        }
        let log = std::fs::read_to_string(home.path().join("lives.log")).unwrap_or_default();
        if log.contains("a tenant was erased") {
            let id = life.id();
            let path = format!("/proc/{id}/task/{id}/children");
            for child in std::fs::read_to_string(path).unwrap_or_default().split_whitespace() {
                signal(child.parse().unwrap(), "KILL");
            }
            life.wait().unwrap();
            return true;
        }
        assert!(Instant::now() < end, "neither killed nor done: {log}");
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_is_killed_at_each_change_comes_to_its_end() {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "-b", "execve", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        eprintln!("!!! SKIPPED: strace is missing or may not trace, so no erasure is cut off");
        return;
    }
    let home = Home::new();
    // The first life ends as the keyring is put aside: the wish is recorded, and half carried out.
    let keyring = [home.data_dir().join("keyring")];
    let serve = traced(&home, &keyring, "link,linkat", 1);
    let app = TestApp::from_command(home, serve).await;
    let (tenant, other) = (quux(&app).await, app.tenant("jones").await);
    let data = app.data_dir();
    app.delete(&format!("/api/tenants/{tenant}")).await.expect(200);
    let key = look::wrapped(&data, tenant.parse().unwrap()).unwrap();
    let asked = app.try_send(app.request("DELETE", &format!("/api/tenants/{tenant}?erase=true"))).await;
    assert!(asked.is_err(), "it was not cut off: {asked:?}");
    let home = app.kill();
    assert!(look::wrapped(&data, tenant.parse().unwrap()).is_some(), "the key is still there");
    let parts = ["keyring", "keyring.old", "journal", "blobs", "snapshots"];
    let aside = home.path().join("as-it-was");
    put(&data, &aside, &parts);
    let mut nth = 0;
    loop {
        nth += 1;
        assert!(nth < MOST_LIVES, "it does not get on");
        put(&aside, &data, &parts);
        let has_outlived = outlives(&home, &tenant, nth).await;
        let app = TestApp::in_home(Arc::clone(&home)).await;
        let once = |page: &serde_json::Value| page["events"].as_array().is_some_and(|all| all.len() == 1);
        app.eventually("/api/events?kind=tenant.erased", once).await;
        assert_eq!(app.get(&format!("/api/tenants/{other}")).await.expect(200)["slug"], "jones");
        let late = app.tenant("late").await;
        assert!(look::wrapped(&data, late.parse().unwrap()).is_some(), "new keys get to the new file");
        app.terminate();
        assert!(look::wrapped(&data, tenant.parse().unwrap()).is_none());
        for path in look::files(&data) {
            let bytes = std::fs::read(&path).unwrap();
            let found = memchr::memmem::find(&bytes, &key);
            assert!(found.is_none(), "the wrapped key is still in {} (cut {nth})", path.display());
        }
        assert!(!data.join("keyring.old").exists() && !data.join("blobs").join(&tenant).exists());
        if has_outlived {
            break;
        }
    }
    assert!(nth > 5, "it was cut at {nth} calls only");
}

/// Copies these parts of a directory over those of another.
fn put(from: &Path, to: &Path, parts: &[&str]) {
    std::fs::create_dir_all(to).unwrap();
    for part in parts {
        let (from, to) = (from.join(part), to.join(part));
        assert!(Command::new("rm").arg("-rf").arg(&to).status().unwrap().success());
        if from.exists() {
            assert!(Command::new("cp").arg("-a").arg(&from).arg(&to).status().unwrap().success());
        }
    }
}
