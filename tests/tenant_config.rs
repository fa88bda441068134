//! A tenant's configuration: what is derived and what is set, what is secret, the `.env` file
//! on the disk, and what the tenant's processes see of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;
mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use api::{Api, request};
use serde_json::{Value, json};
use support::app::{Home, TestApp};
use tenantry_journal::event::access::{Role, Scope};

const HIDDEN: &str = "***hidden***";

async fn config(api: &Api, tenant: &str) -> Value {
    api.get(&format!("/api/tenants/{tenant}/config")).await.expect(200)
}

async fn put(api: &Api, tenant: &str, body: Value) -> Value {
    api.put(&format!("/api/tenants/{tenant}/config"), body).await.expect(200)
}

/// The document's tenant; gives its id.
async fn gallrein(api: &Api) -> String {
    let body = json!({"name": "Ed Gallrein for State Rep", "slug": "gallrein-campaign",
        "domain": "kentucky.nominate.ai", "api_domain": "kentuckyapi.nominate.ai"});
    api.post("/api/tenants", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_tenants_configuration_follows_from_the_tenant_as_printed() {
    let api = Api::start().await;
    let tenant = gallrein(&api).await;
    let mut shown = config(&api, &tenant).await;
    let id = shown.as_object_mut().unwrap().remove("id").unwrap();
    let id: uuid::Uuid = id.as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(
        shown,
        json!({
            "tenant_id": tenant,
            "app_name": "Ed Gallrein for State Rep",
            "app_name_short": "Gallrein",
            "project_name": "gallrein-campaign",
            "admin_email": "admin@kentucky.nominate.ai",
            "frontend_url": "https://kentucky.nominate.ai",
            "backend_api_url": "http://localhost:23301/api",
            "ws_base_url": "wss://kentucky.nominate.ai",
            "ollama_embed_model": "nomic-embed-text:latest",
            "ollama_llm_model": "gemma3:12b",
            "ollama_base_url": "http://localhost:11434",
            "custom_env": {},
            "secret_env": [],
        })
    );
    let first = api.handle.world().seq.0;

    let update = json!({"app_name": "Ed Gallrein for Kentucky State Rep", "admin_email": "contact@gallrein.com",
        "custom_env": {"FEATURE_FLAG_X": "true", "CUSTOM_SETTING": "value"}});
    let updated = put(&api, &tenant, update.clone()).await;
    for (field, value) in update.as_object().unwrap() {
        assert_eq!(updated[field], *value);
    }
    assert_eq!(updated, config(&api, &tenant).await);

    // What is set stays, what is not follows the tenant.
    let renamed = json!({"name": "Jane Roe for Mayor", "domain": "roe.nominate.ai"});
    api.put(&format!("/api/tenants/{tenant}"), renamed).await.expect(200);
    let shown = config(&api, &tenant).await;
    assert_eq!(shown["app_name"], "Ed Gallrein for Kentucky State Rep");
    assert_eq!(shown["admin_email"], "contact@gallrein.com");
    assert_eq!(
        (&shown["app_name_short"], &shown["frontend_url"]),
        (&json!("Roe"), &json!("https://roe.nominate.ai"))
    );
    let cleared = put(&api, &tenant, json!({"app_name": null, "custom_env": null})).await;
    assert_eq!((&cleared["app_name"], &cleared["custom_env"]), (&json!("Jane Roe for Mayor"), &json!({})));

    // Sent back whole it pins nothing.
    let mut whole = config(&api, &tenant).await;
    let members = whole.as_object_mut().unwrap();
    members.remove("id");
    members.remove("tenant_id");
    let head = api.handle.world().seq;
    put(&api, &tenant, whole).await;
    assert_eq!(api.handle.world().seq, head, "nothing changed");

    let past = api.get(&format!("/api/tenants/{tenant}/config?as_of={first}")).await.expect(200);
    assert_eq!((&past["app_name_short"], &past["custom_env"]), (&json!("Gallrein"), &json!({})));
}

#[tokio::test]
async fn what_is_no_configuration_is_refused_by_the_fields_name() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}/config");
    let many: BTreeMap<String, String> = (0..201).map(|n| (format!("V{n}"), "x".to_owned())).collect();
    let head = api.handle.world().seq;
    for (body, named) in [
        (json!({"colour": "red"}), "colour"),
        (json!({"id": "x"}), "id"),
        (json!({"app_name": "a\nb"}), "app_name"),
        (json!({"app_name": ""}), "app_name"),
        (json!({"app_name": 5}), "app_name"),
        (json!({"admin_email": "nobody"}), "admin_email"),
        (json!({"frontend_url": "javascript:alert(1)"}), "frontend_url"),
        (json!({"ws_base_url": "https://h"}), "ws_base_url"),
        (json!({"ollama_base_url": "http://u:p@h"}), "ollama_base_url"),
        (json!({"custom_env": {"A B": "x"}}), "A B"),
        (json!({"custom_env": {"A": "one\ntwo"}}), "'A'"),
        (json!({"custom_env": {"A": "nul\u{0}"}}), "'A'"),
        (json!({"custom_env": {"A": 1}}), "custom_env.A"),
        (json!({"custom_env": {"PORT": "1"}}), "PORT"),
        (json!({"custom_env": {"A": HIDDEN}}), "'A'"),
        (json!({"custom_env": {"LONG": "x".repeat(40_000)}}), "LONG"),
        (json!({"custom_env": many}), "200"),
        (json!({"secret_env": ["NOBODY"]}), "NOBODY"),
    ] {
        let refused = api.put(&path, body.clone()).await.expect(400);
        assert!(refused["error"].as_str().unwrap().contains(named), "{body}: {refused}");
    }
    assert_eq!(api.handle.world().seq, head);
    let dry = api.put(&format!("{path}?dry_run=true"), json!({"app_name": "X"})).await.expect(200);
    assert_eq!(dry["events"][0]["kind"], "tenant.config_updated");
    assert_eq!(api.handle.world().seq, head);

    let stale = api.get(&path).await;
    let tag = stale.header("etag").unwrap().to_owned();
    put(&api, &tenant, json!({"app_name": "X"})).await;
    let write = request("PUT", &path).bearer(&api.admin).header("if-match", &tag);
    api.send(write.json(&json!({"app_name": "Y"}))).await.expect(412);
    let missing = "/api/tenants/01a08b3c-0000-7000-8000-000000000000/config";
    api.get(missing).await.expect(404);
}

#[tokio::test]
async fn nobody_reads_a_secret_and_its_mask_keeps_it() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let deployed = api.deployed(&tenant).await;
    assert!(!deployed.is_empty());
    let set = json!({"custom_env": {"API_KEY": "hunter2-key", "DSN": "postgres://app:hunter2-dsn@db/x",
        "COLOUR": "hunter2-red", "MODE": "on"}, "secret_env": ["COLOUR"]});
    let shown = put(&api, &tenant, set).await;
    assert_eq!(shown["custom_env"]["API_KEY"], HIDDEN);
    assert_eq!(shown["custom_env"]["MODE"], "on");
    assert_eq!(shown["secret_env"], json!(["API_KEY", "COLOUR", "DSN"]));
    let mut back = shown["custom_env"].clone();
    back["MODE"] = json!("off");
    put(&api, &tenant, json!({"custom_env": back})).await;
    // Whoever may write does not get to read by unmarking.
    put(&api, &tenant, json!({"secret_env": []})).await;

    let viewer = api.token(Role::Viewer, Scope::All).await;
    for token in [&viewer, &api.admin] {
        for path in [
            format!("/api/tenants/{tenant}/config"),
            "/api/events?limit=1000".to_owned(),
            "/api/instances/backend/smith".to_owned(),
        ] {
            let answer = api.send(request("GET", &path).bearer(token)).await;
            answer.expect(200);
            assert!(!answer.text.contains("hunter2"), "{path}: {}", answer.text);
        }
    }
    let world = api.handle.world();
    let found = world.tenants.get(tenant.parse().unwrap()).unwrap();
    for id in [found.frontend.unwrap(), found.backend.unwrap()] {
        let spec = world.instances.get(id).unwrap().spec.open().unwrap();
        let value = |name: &str| spec.env[name].reveal();
        assert_eq!((value("API_KEY"), value("MODE"), value("COLOUR")), ("hunter2-key", "off", "hunter2-red"));
        assert_eq!(value("APP_NAME_SHORT"), "smith");
    }
    let running = world.instances.get(found.backend.unwrap()).unwrap();
    assert!(running.restart.is_none(), "what runs, runs on");
    let gone = put(&api, &tenant, json!({"custom_env": {"MODE": "off"}})).await;
    assert_eq!(gone["secret_env"], json!([]));
    let spec = api.handle.world().instances.get(found.backend.unwrap()).unwrap().spec.open().unwrap().clone();
    assert!(!spec.env.contains_key("API_KEY"));
}

#[tokio::test]
async fn a_repeated_request_for_the_file_is_answered_by_the_first() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}/config/regenerate-env");
    let ask = || request("POST", &path).bearer(&api.admin).header("idempotency-key", "k1");
    let first = api.send(ask()).await;
    let body = first.expect(200);
    let head = api.handle.world().seq.0;
    assert_eq!(first.seq(), head, "the position of the last event");
    let again = api.send(ask()).await;
    assert_eq!((again.expect(200), again.seq()), (body, first.seq()));
    assert_eq!(api.handle.world().seq.0, head);
}

fn read_by_shell(file: &Path) -> BTreeMap<String, String> {
    let script =
        r#"set -eu; set -a; . "$1"; exec python3 -c 'import json,os; print(json.dumps(dict(os.environ)))'"#;
    let output = Command::new("sh").args(["-c", script, "sh"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The environment of a tenant's backend that runs.
async fn environment(app: &TestApp, slug: &str) -> BTreeMap<String, String> {
    let path = format!("/api/events?kind=instance.started&instance=backend:{slug}&order=desc&limit=1");
    let started = app.get(&path).await.expect(200);
    let pid = started["events"][0]["data"]["pid"].as_u64().unwrap_or_else(|| panic!("no pid: {started}"));
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_and_the_processes_say_what_the_configuration_says() {
    let home = Home::new();
    let app = TestApp::in_home(home).await;
    let tenant = app.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}/config");
    let hostile = r#"it's "5$" `x` ${HOME} a\b\"#;
    let set = json!({"app_name": "Smith's \"App\"", "custom_env": {"HOSTILE": hostile, "API_KEY": "k'1"}});
    app.send(app.request("PUT", &path).json(&set)).await.expect(200);

    // A deployment writes the file, and what runs has the variables.
    let deployment = app.deploy(&tenant).await;
    assert_eq!(app.deployed(&deployment).await["status"], "success");
    let directory = app.data_dir().join("tenants/smith");
    let file = directory.join(".env");
    let wanted = |read: &BTreeMap<String, String>| {
        assert_eq!((read["HOSTILE"].as_str(), read["API_KEY"].as_str()), (hostile, "k'1"));
        assert_eq!((read["APP_NAME"].as_str(), read["PROJECT_NAME"].as_str()), ("Smith's \"App\"", "smith"));
        assert_eq!(read["TENANT_ID"], tenant);
    };
    wanted(&read_by_shell(&file));
    wanted(&environment(&app, "smith").await);
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let inode = metadata.ino();
    let again = app.deploy(&tenant).await;
    assert_eq!(app.deployed(&again).await["status"], "success");
    assert_eq!(file.metadata().unwrap().ino(), inode, "the same text is not written again");

    // Asked for it is written, and the one before kept.
    app.send(app.request("PUT", &path).json(&json!({"custom_env": {"MODE": "two"}}))).await.expect(200);
    let answer = app.post(&format!("{path}/regenerate-env"), Value::Null).await.expect(200);
    assert_eq!(answer["message"], ".env file regenerated successfully");
    assert_eq!(answer["path"], file.to_str().unwrap());
    let backup = answer["backup"].as_str().unwrap();
    let (before, date) = backup.rsplit_once('.').unwrap();
    assert_eq!(before, format!("{}.backup", file.display()));
    assert!(date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()), "{backup}");
    wanted(&read_by_shell(Path::new(backup)));
    let read = read_by_shell(&file);
    assert!(read["MODE"] == "two" && !read.contains_key("API_KEY"));
    let second = app.post(&format!("{path}/regenerate-env"), Value::Null).await.expect(200);
    assert_ne!(second["backup"], answer["backup"]);
    assert!(second["backup"].as_str().unwrap().starts_with(&format!("{backup}-")));

    // What runs gets another configuration with its next start.
    wanted(&environment(&app, "smith").await);
    app.post(&format!("/api/tenants/{tenant}/restart"), Value::Null).await.expect(200);
    let seen = environment(&app, "smith").await;
    assert!(seen["MODE"] == "two" && !seen.contains_key("API_KEY"));

    // What is in the file's place and is no file stays, and the answer says so.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let refused = app.post(&format!("{path}/regenerate-env"), Value::Null).await.expect(500);
    assert_eq!(refused["code"], "ENV_NOT_WRITTEN");
    assert!(refused["detail"].as_str().unwrap().contains("is no file"), "{refused}");
    std::fs::remove_dir(&file).unwrap();
    let made = app.post(&format!("{path}/regenerate-env"), Value::Null).await.expect(200);
    assert_eq!(made["backup"], Value::Null);

    // A crash forgets nothing, and writes nothing by itself.
    let before = app.get(&path).await.expect(200);
    let inode = file.metadata().unwrap().ino();
    let app = TestApp::in_home(app.kill()).await;
    assert_eq!(app.get(&path).await.expect(200), before);
    assert_eq!(file.metadata().unwrap().ino(), inode);
}
