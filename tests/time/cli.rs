//! The command line of time travel, against a real server.

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::app::TestApp;

fn run(app: &TestApp, args: &[&str]) -> Output {
    let mut command = app.home().program();
    command.env("XDG_CONFIG_HOME", app.home().path().join("config"));
    command.env("TENANTRY_SERVER", &app.manager).env("TENANTRY_TOKEN", &app.token);
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    serde_json::from_str(&said(output, 0)).unwrap()
}

async fn note(app: &TestApp, tenant: &str, text: &str) -> String {
    let path = format!("/api/tenants/{tenant}");
    let answer = app.send(app.request("PUT", &path).json(&json!({"notes": text}))).await;
    let seq = answer.headers["x-event-seq"].to_str().unwrap().to_owned();
    answer.expect(200);
    seq
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_looks_back_goes_back_and_finds_the_event_from_a_shell() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let good = note(&app, &tenant, "fine 1").await;
    note(&app, &tenant, "fine 2").await;
    let culprit = note(&app, &tenant, "broken 3").await;
    note(&app, &tenant, "broken 4").await;
    let bad = note(&app, &tenant, "broken 5").await;

    let history = said(&run(&app, &["history", "smith"]), 0);
    assert!(
        history.contains(&format!("{culprit} ")) && history.contains("notes: fine 2 -> broken 3"),
        "{history}"
    );
    let diff = said(&run(&app, &["diff", "smith", "--from", &good, "--to", &bad]), 0);
    assert!(diff.contains("notes  fine 1  broken 5"), "{diff}");
    let why = said(&run(&app, &["why", "smith"]), 0);
    assert!(why.starts_with("pending since ") && why.contains("by the user admin"), "{why}");

    let check = "import json, os, sys\nstate = json.load(sys.stdin)\n\
        assert str(state['seq']) == os.environ['TENANTRY_SEQ'] and 'TENANTRY_TOKEN' not in os.environ\n\
        sys.exit(1 if state['tenant']['notes'].startswith('broken') else 0)";
    let words =
        ["bisect", "smith", "--json", "--good", &good, "--bad", "now", "--check", "python3", "-c", check];
    let found = json_of(&run(&app, &words));
    assert_eq!(found["first_bad"]["seq"].to_string(), culprit, "{found}");
    let upside_down =
        ["bisect", "smith", "--good", &culprit, "--bad", &bad, "--check", "python3", "-c", check];
    let refused = run(&app, &upside_down);
    said(&refused, 1);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is bad at the good moment"), "{refused:?}");
    said(&run(&app, &["bisect", "smith", "--good", &bad, "--bad", &good, "--check", "true"]), 2);

    let dry = said(&run(&app, &["restore", "smith", "--as-of", &good, "--dry-run"]), 0);
    assert!(dry.contains("notes  broken 5  fine 1") && dry.contains("nothing is recorded"), "{dry}");
    let undone = said(&run(&app, &["undo", &bad]), 0);
    assert!(undone.contains("tenant.updated"), "{undone}");
    let again = run(&app, &["undo", &culprit]);
    said(&again, 1);
    assert!(String::from_utf8_lossy(&again.stderr).contains("changed again"), "{again:?}");
    let restored = json_of(&run(&app, &["restore", "smith", "--as-of", &good, "--json"]));
    assert_eq!(restored["changes"][0]["to"], "fine 1");

    // Deleted, it is still found by its slug.
    app.delete(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert!(said(&run(&app, &["history", "smith"]), 0).contains("tenant.deleted"));
    assert!(said(&run(&app, &["why", "smith"]), 0).starts_with("deleted since "));
    said(&run(&app, &["history", "nobody"]), 6);
    let body = json!({"name": "x", "slug": "smith", "domain": "smith.example.com"});
    app.post("/api/tenants", body).await.expect(201);
    let refused = run(&app, &["restore", &tenant, "--as-of", &good]);
    let table = said(&refused, 1);
    assert!(table.contains("slug") && table.contains("smith-2"), "{table}");
    let taken = said(&run(&app, &["restore", &tenant, "--as-of", &good, "--reassign"]), 0);
    assert!(taken.contains("smith-2") && taken.contains("not restored: database"), "{taken}");
}
