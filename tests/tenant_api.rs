//! What is asked of a running tenant: its own API, what its services printed, and the control
//! plane's log about it. On the sample application, deployed for real.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::app::{Home, PATIENCE, TestApp};

async fn deployed(app: &TestApp, slug: &str) -> String {
    let tenant = app.tenant(slug).await;
    let deployment = app.deploy(&tenant).await;
    let ended = app.deployed(&deployment).await;
    assert_eq!(ended["status"], "success", "{ended}");
    format!("/api/tenants/{tenant}")
}

#[tokio::test]
async fn a_tenants_own_api_is_asked_as_printed() {
    // The backend answers nobody who does not show its token.
    let home = Home::with("[deploy.template.backend.env]\nAPI_TOKEN = \"only-for-this-tenant\"\n");
    let app = TestApp::in_home(home).await;
    let tenant = deployed(&app, "smith").await;

    let stats = app.get(&format!("{tenant}/remote/stats")).await.expect(200);
    for field in ["persons", "events", "tags", "segments", "communications"] {
        assert!(stats[field].is_u64(), "{field}: {stats}");
    }
    assert!(stats["database_size_mb"].is_number(), "{stats}");
    let count = app.get(&format!("{tenant}/remote/persons/count")).await.expect(200);
    assert_eq!(count["total"], stats["persons"]);
    assert!(count["by_status"].is_object(), "{count}");

    let dry = app.post(&format!("{tenant}/remote/backup?dry_run=true"), json!({})).await.expect(200);
    assert_eq!(dry, json!({"events": []}));
    let again = || app.request("POST", &format!("{tenant}/remote/backup")).header("idempotency-key", "b-1");
    let first = app.send(again()).await;
    assert!(first.headers.contains_key("x-event-seq"), "{first:?}");
    let backup = first.expect(200);
    assert_eq!(backup["message"], "Backup initiated");
    assert!(backup["size_mb"].as_f64().unwrap() > 0.0);
    let path = std::path::Path::new(backup["backup_path"].as_str().unwrap());
    let copies = || std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert!(std::fs::read(path).unwrap().starts_with(b"SQLite format 3\0"));
    assert_eq!(copies(), 1);
    // A repeated request is answered as the first time, and makes no second backup.
    assert_eq!(app.send(again()).await.expect(200), backup);
    assert_eq!(copies(), 1);
    let noted = app.get("/api/events?kind=tenant.backed_up").await.expect(200);
    assert_eq!(noted["events"].as_array().unwrap().len(), 1, "{noted}");

    app.post(&format!("{tenant}/stop"), json!({})).await.expect(200);
    for path in ["stats", "persons/count"] {
        let refused = app.get(&format!("{tenant}/remote/{path}")).await.expect(503);
        assert_eq!(refused["code"], "TENANT_NOT_RUNNING");
    }
    app.post(&format!("{tenant}/remote/backup"), json!({})).await.expect(503);
}

#[tokio::test]
async fn a_backend_that_answers_nonsense_is_a_bad_gateway() {
    let app = TestApp::start().await;
    // The same application, whose API tells its callers stories.
    let repository = app.home().path().join("campaign");
    app.home().campaign();
    let backend = repository.join("backend.py");
    let told = std::fs::read_to_string(&backend).unwrap();
    let stats = "def stats(db, path):";
    assert!(told.contains(stats));
    let told = told.replace(stats, &format!("{stats}\n    return [1]\n"));
    let counted = "def persons_count(db):";
    std::fs::write(&backend, told.replace(counted, &format!("{counted}\n    return {{\"all\": 7}}\n")))
        .unwrap();
    app.home().commit(&repository, "stories");
    let tenant = deployed(&app, "smith").await;
    for path in ["stats", "persons/count"] {
        let refused = app.get(&format!("{tenant}/remote/{path}")).await.expect(502);
        assert_eq!(refused["code"], "BAD_GATEWAY", "{path}: {refused}");
    }
}

#[tokio::test]
async fn the_lines_of_a_tenants_services_are_read_and_followed() {
    let app = TestApp::start().await;
    let tenant = deployed(&app, "smith").await;
    let backend = app.get(&tenant).await.expect(200)["backend_port"].as_u64().unwrap();
    let ask = async |marker: &str| {
        let url = format!("http://127.0.0.1:{backend}/api/{marker}");
        app.client.get(url).send().await.unwrap();
    };
    ask("first-marker").await;
    let path = format!("{tenant}/logs?service=backend");
    let text = |logs: &Value| logs["logs"].as_str().unwrap().to_owned();
    let logs = app.eventually(&path, |logs| text(logs).contains("first-marker")).await;
    assert_eq!(logs["service"], "backend");
    assert!(tenant.ends_with(logs["tenant_id"].as_str().unwrap()));
    let last = app.get(&format!("{path}&lines=1")).await.expect(200);
    assert!(text(&logs).ends_with(&text(&last)) && !text(&last).contains('\n'), "{last}");
    let frontend = app.get(&format!("{tenant}/logs")).await.expect(200);
    assert_eq!(frontend["service"], "frontend");
    for bad in ["service=database", "lines=1001", "lines=-1", "tail=3"] {
        app.get(&format!("{tenant}/logs?{bad}")).await.expect(400);
    }

    let follow = app.request("GET", &format!("{path}&follow=true&lines=1000")).send().await.unwrap();
    assert_eq!(follow.headers()["content-type"], "text/event-stream");
    let mut follow = follow.bytes_stream();
    let mut heard = String::new();
    let mut hear = async |marker: &str| {
        while !heard.contains(marker) {
            let piece = tokio::time::timeout(PATIENCE, follow.next()).await.expect("in time");
            heard.push_str(&String::from_utf8_lossy(&piece.expect("goes on").unwrap()));
        }
        heard.lines().filter(|line| line.contains(marker)).count()
    };
    assert_eq!(hear("first-marker").await, 1);
    ask("second-marker").await;
    assert_eq!(hear("second-marker").await, 1, "a line came twice");
    app.delete(&tenant).await.expect(200);
    let rest = async { while follow.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, rest).await.expect("it ends with its tenant");
}

#[tokio::test]
async fn the_managers_log_tells_what_happened_with_true_totals() {
    let app = TestApp::start().await;
    let tenant = deployed(&app, "smith").await;
    let id = tenant.rsplit('/').next().unwrap();
    let all = app.get("/api/logs?limit=1000").await.expect(200);
    assert_eq!((&all["limit"], &all["offset"]), (&json!(1000), &json!(0)));
    let lines = all["logs"].as_array().unwrap();
    let events = app.events(1).await;
    // Some more may have happened between the two requests.
    assert!(events.len() >= lines.len() && lines.len() > 10);
    assert_eq!(all["total"].as_u64().unwrap() as usize, lines.len());
    for (line, event) in lines.iter().rev().zip(&events) {
        assert_eq!((&line["id"], &line["created_at"]), (&event["id"], &event["at"]));
        assert_eq!(line["details"], event["data"], "{line}");
        assert!(!line["message"].as_str().unwrap().is_empty());
    }
    let is = |line: &Value, category: &str| line["category"] == category && line["tenant_id"] == id;
    let deployment =
        app.get(&format!("/api/logs?tenant_id={id}&category=deployment&limit=3")).await.expect(200);
    let wanted = lines.iter().filter(|line| is(line, "deployment")).count();
    assert_eq!(deployment["total"].as_u64().unwrap() as usize, wanted);
    let page = deployment["logs"].as_array().unwrap();
    assert!(page.len() == 3 && page.iter().all(|line| is(line, "deployment")), "{deployment}");
    assert_eq!(page[0]["message"], "Deployment succeeded");
    let last = wanted - 1;
    let first = format!("/api/logs?tenant_id={id}&category=deployment&offset={last}");
    let first = app.get(&first).await.expect(200);
    assert_eq!(first["logs"][0]["message"], "Deployment started", "{first}");
    assert_eq!(first["logs"].as_array().unwrap().len(), 1);
    for bad in ["level=loud", "category=gossip", "limit=0", "grep=x", "source=both"] {
        let refused = app.get(&format!("/api/logs?{bad}")).await.expect(400);
        assert!(refused["code"].is_string(), "document 1's shape: {refused}");
    }
    // Either listener has either log.
    let other = app.send(app.instances_request("GET", "/api/logs?source=control&limit=1")).await.expect(200);
    assert_eq!(other["limit"], 1);
    let output = app.get("/api/logs?source=process&limit=1").await.expect(200);
    assert!(output["pagination"].is_object(), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_on_a_tenants_port_is_shown_wherever_ports_are() {
    let app = TestApp::start().await;
    let (path, _) = (deployed(&app, "smith").await, app.tenant("jones").await);
    let smith = path.rsplit('/').next().unwrap().to_owned();
    let port = app.get(&path).await.expect(200)["frontend_port"].as_u64().unwrap();
    let port = u16::try_from(port).unwrap();
    let of = |ports: &Value| {
        let all = ports["allocations"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["tenant_id"] == smith.as_str()).unwrap()
    };
    let said = |words: &[&str]| {
        let mut program = app.home().program();
        program.env("TENANTRY_SERVER", &app.manager).env("TENANTRY_TOKEN", &app.token).args(words);
        let output = program.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let config = app.home().config_file().display().to_string();
    let data = app.data_dir().display().to_string();
    let doctor = || said(&["doctor", "--json", "--config", &config, "--data-dir", &data]);

    // The keeper listens on both of smith's ports: that is as it should be.
    let quiet = app.get("/api/ports").await.expect(200);
    for allocation in quiet["allocations"].as_array().unwrap() {
        assert!(allocation.get("drift").is_none(), "{allocation}");
    }
    assert!(!said(&["ports", "list"]).contains("drift"));

    // The same port at another address: the kernel lets it.
    let stranger = std::net::TcpListener::bind(("127.0.0.2", port)).unwrap();
    let drifted = of(&app.get("/api/ports").await.expect(200));
    assert_eq!(drifted["status"], "in_use");
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    let shown = serde_json::json!([{"port": port, "pid": std::process::id(), "program": own.trim_end()}]);
    assert_eq!(drifted["drift"], shown);
    let line = format!("(process {}) listens on port {port} of smith for Senate", std::process::id());
    assert!(said(&["ports", "list"]).contains(&line), "{}", said(&["ports", "list"]));
    let found: Value = serde_json::from_str(&doctor()).unwrap();
    let check =
        found["checks"].as_array().unwrap().iter().find(|one| one["check"] == "tenants' ports").unwrap();
    assert_eq!(check["status"], "warn", "{check}");
    let detail = check["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("{port} by ")), "{detail}");
    assert!(!detail.contains(&format!("{} by ", port + 1)), "the keeper is no stranger: {detail}");
    let drifted = |count: usize| {
        let line = format!("\ntenantry_ports_drifted {count}\n");
        let app = &app;
        async move {
            let end = std::time::Instant::now() + PATIENCE;
            while !app.get("/metrics").await.text.contains(&line) {
                assert!(std::time::Instant::now() < end, "never {line:?}");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    };
    drifted(1).await;
    app.log_says("another process listens on a tenant's port").await;
    // The past knows nothing of it, and it is over when it is over.
    let then = of(&app.get(&format!("/api/ports?as_of={}", app.events(1).await.len())).await.expect(200));
    assert!(then.get("drift").is_none(), "{then}");
    drop(stranger);
    app.eventually("/api/ports", |ports| of(ports).get("drift").is_none()).await;
    drifted(0).await;
}
