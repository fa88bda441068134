//! Backups while the server writes, and control planes that are made of them.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::support::app::{TestApp, signal};
use crate::tools::{head, note, run, said, serve, text, verified};

async fn logo(app: &TestApp, tenant: &str) {
    let logo = reqwest::multipart::Part::bytes(
        br#"<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><text>smith</text></svg>"#.to_vec(),
    );
    let logo = logo.file_name("logo.svg").mime_str("image/svg+xml").unwrap();
    let form = reqwest::multipart::Form::new().part("logo_full", logo);
    app.send(app.request("PUT", &format!("/api/tenants/{tenant}/theme")).multipart(form)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_consistent_incremental_and_serves_after_a_restore() {
    let app = TestApp::start().await;
    let (tenant, gone) = (app.tenant("smith").await, app.tenant("jones").await);
    logo(&app, &tenant).await;
    let home = Arc::clone(app.home());
    let into = home.path().join("backup");
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = {
        let (client, token, stop, written) =
            (app.client.clone(), app.token.clone(), Arc::clone(&stop), Arc::clone(&written));
        let url = format!("{}/api/tenants/{tenant}", app.manager);
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let number = written.fetch_add(1, Ordering::Relaxed) + 1;
                let put = client.put(&url).bearer_auth(&token).json(&json!({"notes": format!("n{number}")}));
                assert!(put.send().await.unwrap().status().is_success());
            }
        })
    };
    let args = ["backup", text(&into), "--data-dir", "data", "--json"];
    let mut heads = Vec::new();
    for round in 0..4 {
        let acknowledged = head(&app).await;
        let (home, args) = (Arc::clone(&home), args.map(str::to_owned));
        let told = tokio::task::spawn_blocking(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            said(&run(&home, &args), 0)
        })
        .await
        .unwrap();
        let events = told["events"].as_u64().unwrap();
        assert!(events >= acknowledged, "round {round}: what was acknowledged before is in it: {told}");
        let new = events - heads.last().copied().unwrap_or(0);
        assert_eq!(told["new_events"], new, "{told}");
        assert_eq!(told["new_blobs"], u64::from(round == 0), "a blob is copied once: {told}");
        heads.push(events);
    }
    assert!(heads.windows(2).all(|pair| pair[0] < pair[1]), "it ran under load: {heads:?}");
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();

    // Erased, the key goes out of the backup as well, and the data with it.
    app.delete(&format!("/api/tenants/{gone}?erase=true")).await.expect(200);
    let last = said(&run(&home, &args), 0);
    let bytes = |name: &str| std::fs::read(into.join(name)).unwrap();
    let keyrings: Vec<String> = std::fs::read_dir(&into)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("keyring-"))
        .collect();
    assert_eq!(keyrings.len(), 1, "{keyrings:?}");
    let id = gone.parse::<uuid::Uuid>().unwrap();
    assert!(memchr::memmem::find(&bytes(&keyrings[0]), id.as_bytes()).is_none());
    let again = said(&run(&home, &args), 0);
    assert_eq!((&again["new_events"], &again["root"]), (&json!(0), &last["root"]));

    let refused = run(&home, &["restore-journal", "--backup", text(&into), "--into", "x"]);
    assert_eq!(refused.status.code(), Some(2), "it says what it needs: {refused:?}");
    std::fs::write(home.path().join("other.key"), [7; 32]).unwrap();
    let into_dir = home.path().join("restored");
    let restore = |master: &str, backup: &str| {
        let into = text(&into_dir);
        run(&home, &["restore-journal", "--backup", backup, "--master-key", master, "--into", into, "--json"])
    };
    let wrong = restore("other.key", text(&into));
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("fingerprint"), "{wrong:?}");
    assert!(!into_dir.exists(), "nothing is left of what failed");
    let restored = said(&restore("data/master.key", text(&into)), 0);
    assert_eq!((&restored["root"], &restored["events"]), (&last["root"], &last["events"]));
    let full = restore("data/master.key", text(&into));
    assert_eq!(full.status.code(), Some(1), "nothing is written over: {full:?}");

    // One changed byte anywhere is found.
    let segment = std::fs::read_dir(into.join("journal")).unwrap().next().unwrap().unwrap().path();
    for path in [segment, into.join(&keyrings[0]), into.join("backup.json")] {
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 0x04;
        std::fs::write(&path, &changed).unwrap();
        let place = home.path().join("never");
        let output = run(
            &home,
            &[
                "restore-journal",
                "--backup",
                text(&into),
                "--master-key",
                "data/master.key",
                "--into",
                text(&place),
            ],
        );
        assert_eq!(output.status.code(), Some(1), "{}: {output:?}", path.display());
        assert!(!place.exists());
        std::fs::write(&path, whole).unwrap();
    }

    let notes = app.get(&format!("/api/tenants/{tenant}")).await.expect(200)["notes"].clone();
    app.terminate();
    let app = serve(&home, &into_dir).await;
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert_eq!((&shown["slug"], &shown["notes"]), (&json!("smith"), &notes));
    assert_eq!(
        app.get(&format!("/api/tenants/{tenant}/theme/logos/full")).await.status,
        200,
        "its logo opens"
    );
    app.get(&format!("/api/tenants/{gone}")).await.expect(404);
    note(&app, &tenant, "after the restore").await;
    app.terminate();
    verified(&home, &into_dir);
    said(&run(&home, &["stop", "--all", "--data-dir", text(&into_dir)]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_leaves_the_one_before() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let home = Arc::clone(app.home());
    let into = home.path().join("backup");
    let args = ["backup", text(&into), "--data-dir", "data", "--json"];
    let first = said(&run(&home, &args), 0);
    let restored = |name: &str| {
        let place = home.path().join(name);
        let args = [
            "restore-journal",
            "--backup",
            text(&into),
            "--master-key",
            "data/master.key",
            "--into",
            text(&place),
            "--json",
        ];
        said(&run(&home, &args), 0)["events"].as_u64().unwrap()
    };
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "-b", "execve", "true"]).output();
    if !traced.is_ok_and(|output| output.status.success()) {
        eprintln!("!!! SKIPPED: strace is missing or may not trace, so no backup is cut off");
        return;
    }
    note(&app, &tenant, "later").await;
    let mut cuts = 0;
    for nth in 1.. {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=rename,fsync,openat"]);
        command.args(["-e", &format!("inject=rename,fsync,openat:signal=KILL:when={nth}")]);
        for place in [into.clone(), into.join("journal"), into.join("backup.json.partial")] {
            command.arg("-P").arg(place);
        }
        let plain = home.program();
        command.arg(plain.get_program()).args(args).current_dir(home.path());
        let status =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        let events = restored(&format!("cut-{nth}"));
        if status.success() {
            assert!(events > first["events"].as_u64().unwrap());
            break;
        }
        cuts += 1;
        assert!(nth < 60, "it never gets through");
    }
    assert!(cuts > 2, "{cuts} cuts");
    assert_eq!(said(&run(&home, &args), 0)["new_events"], 0);
    signal(app.pid, "KILL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_control_plane_goes_back_to_a_moment_and_never_into_a_command() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    note(&app, &tenant, "then").await;
    logo(&app, &tenant).await;
    let then = head(&app).await;
    let events = app.events(1).await;
    let later = app.tenant("later").await;
    logo(&app, &later).await;
    note(&app, &tenant, "now").await;
    let home = Arc::clone(app.home());
    let restore = |until: &str, into: &str| {
        let args = ["restore-journal", "--until", until, "--into", into, "--data-dir", "data", "--json"];
        run(&home, &args)
    };
    let restored = said(&restore(&then.to_string(), "then"), 0);
    assert_eq!((&restored["events"], &restored["left_out_of_last_command"]), (&json!(then), &json!(0)));
    // The next command made a tenant and gave it ports: its first event alone is no moment.
    let inside = said(&restore(&(then + 1).to_string(), "inside"), 0);
    assert_eq!((&inside["events"], &inside["left_out_of_last_command"]), (&json!(then), &json!(1)));
    assert_eq!(inside["root"], restored["root"]);
    let at = events.last().unwrap()["at"].as_str().unwrap();
    assert_eq!(said(&restore(at, "by-time"), 0)["events"], then);
    for (until, word) in [("999999", "after the last event"), ("nonsense", "no point in time")] {
        let refused = restore(until, "nothing");
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(word), "{refused:?}");
    }
    assert!(!home.path().join("nothing").exists());
    // Of a tenant that there was not yet nothing comes along.
    let place = home.path().join("then");
    let keys = std::fs::read(place.join("keyring")).unwrap();
    for (id, is_there) in [(&tenant, true), (&later, false)] {
        let uuid = id.parse::<uuid::Uuid>().unwrap();
        assert_eq!(memchr::memmem::find(&keys, uuid.as_bytes()).is_some(), is_there, "{id}");
        assert_eq!(place.join("blobs").join(id).exists(), is_there, "{id}");
    }
    // A backup goes on with its own journal, and not with an earlier one of it.
    let into = home.path().join("backup");
    let backup = |data: &str| run(&home, &["backup", text(&into), "--data-dir", data, "--json"]);
    let whole = said(&backup("data"), 0)["events"].clone();
    let earlier = backup("then");
    assert_eq!(earlier.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&earlier.stderr).contains(&format!("ends at {then}")), "{earlier:?}");
    assert_eq!(said(&backup("data"), 0)["events"], whole, "it is as it was");
    let dump = run(&home, &["replay", "--until", "0s ago", "--dump", "json", "--data-dir", "data"]);
    assert_eq!(said(&dump, 0)["tenants"].as_array().unwrap().len(), 2, "now is a moment too");
    app.terminate();
    let app = serve(&home, &place).await;
    assert_eq!(app.get(&format!("/api/tenants/{tenant}")).await.expect(200)["notes"], "then");
    assert_eq!(app.get(&format!("/api/tenants/{tenant}/theme/logos/full")).await.status, 200);
    app.get(&format!("/api/tenants/{later}")).await.expect(404);
    note(&app, &tenant, "another future").await;
    app.terminate();
    verified(&home, &place);
    said(&run(&home, &["stop", "--all", "--data-dir", text(&place)]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_another_control_plane_is_not_written_over() {
    let (app, other) = (TestApp::start().await, TestApp::start().await);
    let (home, into) = (Arc::clone(app.home()), app.home().path().join("backup"));
    let backup =
        |data: &std::path::Path| run(&home, &["backup", text(&into), "--data-dir", text(data), "--json"]);
    let own = said(&backup(&app.data_dir()), 0);
    let refused = backup(&other.data_dir());
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another control plane"), "{refused:?}");
    assert_eq!(said(&backup(&app.data_dir()), 0)["master_key"], own["master_key"]);
}
