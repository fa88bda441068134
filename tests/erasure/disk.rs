//! A deployed tenant on a real control plane, erased: every byte on the disk is looked at.

use std::time::Duration;

use serde_json::{Value, json};

use crate::look;
use crate::support::app::{Home, PATIENCE, TestApp};

/// What is personal; none of it is a part of anything else.
const TEXTS: [&str; 8] = [
    "zyxquux",     // slug
    "Quuxberry",   // name
    "votequux",    // domain
    "apiquux",     // api domain
    "quuxgossip",  // notes
    "quuxmotto",   // a field of the configuration
    "quuxsecret",  // a variable's value
    "quuxpicture", // a logo
];
/// What a process printed.
const PRINTED: &str = "quuxprinted";

pub(crate) async fn quux(app: &TestApp) -> String {
    let body = json!({"name": "Quuxberry for Senate", "slug": "zyxquux", "domain": "votequux.example.com",
        "api_domain": "apiquux.example.com", "notes": "quuxgossip", "github_repo": app.home().campaign()});
    let tenant = app.post("/api/tenants", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/tenants/{tenant}");
    let config = json!({"app_name": "quuxmotto", "custom_env": {"PASS_PHRASE": "quuxsecret"}});
    app.send(app.request("PUT", &format!("{path}/config")).json(&config)).await.expect(200);
    let logo =
        br#"<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><text>quuxpicture</text></svg>"#;
    let part = reqwest::multipart::Part::bytes(logo.to_vec()).file_name("logo.svg");
    let part = part.mime_str("image/svg+xml").unwrap();
    let form = reqwest::multipart::Form::new().part("logo_full", part);
    app.send(app.request("PUT", &format!("{path}/theme")).multipart(form)).await.expect(200);
    tenant
}

async fn searched(app: &TestApp, text: &str) -> u64 {
    let body = json!({"query": text});
    let found = app.send(app.instances_request("POST", "/api/logs/search").json(&body)).await.expect(200);
    found["total"].as_u64().unwrap()
}

/// Everything that the API shows of the past and the present.
async fn all_answers(app: &TestApp, tenant: &str, head: u64) -> String {
    let mut text = String::new();
    let mut paths = vec![
        "/api/events?limit=1000".to_owned(),
        "/api/logs?limit=1000".to_owned(),
        "/api/tenants".to_owned(),
        "/api/deployments?limit=100".to_owned(),
        format!("/api/tenants/{tenant}/history?limit=1000"),
        format!("/api/tenants/{tenant}/diff?from=5&to={head}"),
        format!("/api/events/{head}"),
    ];
    for seq in [5, head / 2, head - 5, head] {
        for what in ["", "/config", "/theme", "/health", "/deployments", "/releases", "/services"] {
            paths.push(format!("/api/tenants/{tenant}{what}?as_of={seq}"));
        }
        paths.push(format!("/api/tenants?as_of={seq}"));
        paths.push(format!("/api/instances?as_of={seq}"));
        paths.push(format!("/api/why/{tenant}?as_of={seq}"));
        paths.push(format!("/api/ports?as_of={seq}"));
    }
    for path in paths {
        let answer = app.get(&path).await;
        assert!(answer.status < 500, "{path}: {answer:?}");
        text.push_str(&answer.text);
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_tenant_is_in_no_byte_on_the_disk_and_in_no_answer() {
    let app = TestApp::start().await;
    let tenant = quux(&app).await;
    let other = app.tenant("jones").await;
    let deployment = app.deploy(&tenant).await;
    assert_eq!(app.deployed(&deployment).await["status"], "success", "{}", app.log());
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    let own = format!("http://127.0.0.1:{}/{PRINTED}", shown["backend_port"]);
    app.client.get(&own).send().await.unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    while searched(&app, PRINTED).await == 0 {
        assert!(std::time::Instant::now() < end, "what was printed is never found: {}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let head = app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].as_u64().unwrap();
    let before = all_answers(&app, &tenant, head).await;
    assert!(TEXTS[..6].iter().all(|text| before.contains(text)), "what is looked for is really shown before");
    let key = look::wrapped(&app.data_dir(), tenant.parse().unwrap()).unwrap();
    // Ended and begun again, so that snapshots, volumes and index are on the disk as well.
    let home: std::sync::Arc<Home> = app.home().clone();
    let (code, _) = app.terminate();
    assert_eq!(code, Some(0));
    let data = home.data_dir();
    let (sealed, opened) = look::journal(&data, &TEXTS);
    assert!(sealed.is_empty(), "nothing personal is ever in the journal in the clear: {sealed:?}");
    assert!(
        TEXTS[..7]
            .iter()
            .all(|text| { *text == "quuxsecret" || opened.iter().any(|found| found.starts_with(text)) }),
        "{opened:?}"
    );
    assert_eq!(look::index(&data, &[PRINTED]).len(), 1, "the index is read word by word");
    let (in_spools, locked) = look::spools(&data, &TEXTS);
    assert!(in_spools.is_empty() && locked >= 2, "its output and its deployment's log are sealed");
    assert!(data.join("blobs").join(&tenant).is_dir());

    let app = TestApp::in_home(home).await;
    let path = format!("/api/tenants/{tenant}");
    let keep = app.delete(&format!("{path}?erase=true&remove_nginx=false")).await.expect(400);
    assert_eq!(keep["code"], "ERASURE_REMOVES", "{keep}");
    let dry = app.delete(&format!("{path}?erase=true&dry_run=true")).await.expect(200);
    let kinds: Vec<&str> =
        dry["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], *kinds.last().unwrap()), ("tenant.deletion_requested", "tenant.erasure_requested"));
    let answer = app.delete(&format!("{path}?erase=true&remove_files=true")).await;
    let last: u64 = answer.headers["x-event-seq"].to_str().unwrap().parse().unwrap();
    let answer = answer.expect(200);
    assert_eq!((&answer["erased"], &answer["removed"]["files"]), (&json!(true), &json!(true)), "{answer}");
    assert_eq!(app.get(&format!("/api/events/{last}")).await.expect(200)["kind"], "tenant.erased");
    let check = |text: &str, when: &str| {
        let found: Vec<&&str> = TEXTS.iter().filter(|wanted| text.contains(**wanted)).collect();
        assert!(found.is_empty(), "{found:?} {when}");
        assert!(text.contains("jones") || when.contains("one"), "the neighbour is still shown, {when}");
    };
    check(&all_answers(&app, &tenant, last).await, "in an answer of the process that erased it");
    assert_eq!(searched(&app, PRINTED).await, 0);
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains("tenantry_tenants_erased_total 1"), "{metrics}");

    // Who asked for it, when, and what kind of things happened, is all still there.
    let history = app.get(&format!("{path}/history?limit=1000")).await.expect(200);
    let entries = history["history"].as_array().unwrap();
    let of = |kind: &str| entries.iter().find(|entry| entry["kind"] == kind).unwrap_or(&Value::Null).clone();
    assert_eq!(of("tenant.created")["actor"]["name"], "admin");
    assert_eq!(of("tenant.erasure_requested")["actor"]["name"], "admin");
    assert_eq!(of("tenant.erased")["actor"]["type"], "system");
    let details = of("tenant.created")["changes"].clone();
    let told = details.as_array().unwrap().iter().find(|change| change["field"] == "details").cloned();
    assert_eq!(told.unwrap()["to"], "erased", "{details}");
    let refused = app.post(&format!("{path}/restore"), json!({"as_of": head})).await.expect(409);
    assert!(refused["message"].as_str().unwrap().contains("was erased"), "{refused}");
    let asked = of("tenant.deletion_requested")["seq"].clone();
    let undone = app.post(&format!("/api/events/{asked}/undo"), json!({})).await.expect(409);
    assert!(undone["message"].as_str().unwrap().contains("was erased"), "{undone}");
    let again = app.delete(&format!("{path}?erase=true")).await.expect(200);
    assert_eq!(again["erased"], true, "asking again is answered, and records nothing");
    app.get(&path).await.expect(404);
    assert_eq!(app.get(&format!("/api/tenants/{other}")).await.expect(200)["slug"], "jones");

    let home = app.home().clone();
    app.terminate();
    for (what, found) in [
        ("in plain", look::plain(&data, &[TEXTS.as_slice(), &[PRINTED]].concat())),
        ("in the journal", [look::journal(&data, &TEXTS).0, look::journal(&data, &TEXTS).1].concat()),
        ("in a spool", look::spools(&data, &TEXTS).0),
        ("in the index", look::index(&data, &[PRINTED]).into_iter().collect()),
    ] {
        assert!(found.is_empty(), "{what}: {found:?}");
    }
    assert_eq!(look::spools(&data, &TEXTS).1, 0, "nor is what nobody can read any more left");
    assert!(!data.join("blobs").join(&tenant).exists());
    let keeps =
        |path: &std::path::PathBuf| memchr::memmem::find(&std::fs::read(path).unwrap(), &key).is_some();
    let kept: Vec<_> = look::files(&data).into_iter().filter(keeps).collect();
    assert!(kept.is_empty(), "the wrapped key is still in {kept:?}");
    let verified = home.program().args(["journal", "verify", "--data-dir"]).arg(&data).output().unwrap();
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&verified["valid"], verified["checked"].as_u64() >= Some(last)), (&json!(true), true));

    let app = TestApp::in_home(home).await;
    check(&all_answers(&app, &tenant, last).await, "after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_was_deleted_long_ago_is_erased_from_the_command_line() {
    let app = TestApp::start().await;
    let tenant = quux(&app).await;
    let run = |args: &[&str]| {
        let mut command = app.home().program();
        command.env("XDG_CONFIG_HOME", app.home().path().join("config"));
        command.env("TENANTRY_SERVER", &app.manager).env("TENANTRY_TOKEN", &app.token);
        command.args(args).stdin(std::process::Stdio::null()).output().unwrap()
    };
    let code = |output: &std::process::Output| output.status.code();
    app.delete(&format!("/api/tenants/{tenant}")).await.expect(200);
    let home = app.data_dir().join("tenants/zyxquux");
    let asked = run(&["tenants", "delete", "zyxquux", "--erase"]);
    assert_eq!(code(&asked), Some(2), "nobody can be asked: {asked:?}");
    let wrong = run(&["tenants", "delete", "zyxquux", "--erase", "--confirm", "jones"]);
    assert_eq!(code(&wrong), Some(1), "{wrong:?}");
    assert!(look::wrapped(&app.data_dir(), tenant.parse().unwrap()).is_some(), "nothing was done");
    let erased = run(&["tenants", "delete", "zyxquux", "--erase", "--confirm", "zyxquux", "--json"]);
    assert_eq!(code(&erased), Some(0), "{erased:?}");
    assert_eq!(serde_json::from_slice::<Value>(&erased.stdout).unwrap()["erased"], true);
    assert!(look::wrapped(&app.data_dir(), tenant.parse().unwrap()).is_none());
    assert!(home.exists(), "its directory stays unless it is asked for");
    let (_, opened) = look::journal(&app.data_dir(), &TEXTS);
    assert!(opened.is_empty(), "{opened:?}");
    let nobody = run(&["tenants", "delete", "zyxquux", "--erase", "--confirm", "zyxquux"]);
    assert_eq!(code(&nobody), Some(6), "nobody knows that name any more: {nobody:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_tenant_whose_directory_is_kept_leaves_no_log_of_a_deployment() {
    let app = TestApp::start().await;
    let tenant = quux(&app).await;
    let deployment = app.deploy(&tenant).await;
    assert_eq!(app.deployed(&deployment).await["status"], "success", "{}", app.log());
    assert!(look::spools(&app.data_dir(), &TEXTS).1 >= 1);
    let erased = app.delete(&format!("/api/tenants/{tenant}?erase=true")).await.expect(200);
    assert_eq!((&erased["erased"], &erased["removed"]["files"]), (&json!(true), &json!(false)), "{erased}");
    assert!(app.data_dir().join("tenants/zyxquux").is_dir());
    assert_eq!(look::spools(&app.data_dir(), &TEXTS), (vec![], 0));
}
