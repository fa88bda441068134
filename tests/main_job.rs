//! The main job on real input: a tenant created, deployed, supervised, followed live, replayed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

use serde_json::{Value, json};
use support::app::{Home, PATIENCE, TestApp, alive};

#[tokio::test]
async fn a_tenant_is_created_deployed_served_stopped_started_and_deleted() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert_eq!(shown["status"], "pending");
    let (frontend, backend) =
        (shown["frontend_port"].as_u64().unwrap(), shown["backend_port"].as_u64().unwrap());
    assert_eq!(backend, frontend + 1);

    let answer = app.post(&format!("/api/tenants/{tenant}/deploy"), json!({})).await;
    assert!(answer.headers["location"].to_str().unwrap().starts_with("/api/deployments/"));
    let requested = answer.expect(202);
    let deployment = requested["deployment_id"].as_str().unwrap();
    // Whoever polls while it runs must not find it waiting to begin.
    assert_eq!(app.get(&format!("/api/deployments/{deployment}")).await.expect(200)["status"], "running");
    let ended = app.deployed(deployment).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let steps: Vec<(&str, &str)> = ended["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["name"].as_str().unwrap(), step["status"].as_str().unwrap()))
        .collect();
    assert_eq!(
        steps,
        [
            ("Copy files", "success"),
            ("Initialize database", "success"),
            ("Create systemd services", "success"),
            ("Configure NGINX", "skipped"),
            ("Setup SSL", "skipped"),
            ("Start services", "success"),
        ]
    );
    // Nobody has to wait for the next check to learn how it is now.
    let is_now = async |health: &str| {
        let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
        assert_eq!(shown["health_status"], health, "{shown}");
    };
    is_now("healthy").await;
    let events = app.get(&format!("/api/events?tenant_id={tenant}&kind=health.")).await.expect(200);
    let unhealthy = events["events"].as_array().unwrap().iter().any(|e| e["data"]["overall"] == "unhealthy");
    assert!(!unhealthy, "a tenant that starts is called unhealthy: {events}");
    let logs = app.get(&format!("/api/deployments/{deployment}/logs")).await.expect(200);
    assert!(logs["logs"].as_str().unwrap().contains("persons"), "what init printed is missing: {logs}");

    // The application itself answers, with its own database.
    let count: Value = app
        .client
        .get(format!("http://127.0.0.1:{backend}/api/persons/count"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(count["total"].as_u64().unwrap() > 1000, "{count}");
    let page = app.client.get(format!("http://127.0.0.1:{frontend}/")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let health = app.post(&format!("/api/tenants/{tenant}/health-check"), json!({})).await.expect(200);
    assert_eq!(health["overall_status"], "healthy", "{health}");
    assert_eq!(health["checks"]["backend"]["status_code"], 200);
    assert_eq!(health["checks"]["services"]["backend_service"], "active");

    let stopped = app.post(&format!("/api/tenants/{tenant}/stop"), json!({})).await.expect(200);
    assert_eq!(stopped["services"], json!({"frontend": "inactive", "backend": "inactive"}));
    assert!(std::net::TcpStream::connect(("127.0.0.1", backend as u16)).is_err(), "it still answers");
    assert_eq!(app.get(&format!("/api/tenants/{tenant}")).await.expect(200)["status"], "stopped");
    is_now("unknown").await;
    let started = app.post(&format!("/api/tenants/{tenant}/start"), json!({})).await.expect(200);
    is_now("healthy").await;
    assert_eq!(started["services"], json!({"frontend": "active", "backend": "active"}));
    let restarted = app.post(&format!("/api/tenants/{tenant}/restart"), json!({})).await.expect(200);
    assert_eq!(restarted["services"], json!({"frontend": "active", "backend": "active"}));

    let directory = app.get(&format!("/api/tenants/{tenant}")).await.expect(200)["directory"].clone();
    let directory = std::path::PathBuf::from(directory.as_str().unwrap());
    assert!(directory.join("current/backend.py").exists());
    let removed = app.delete(&format!("/api/tenants/{tenant}?remove_files=true")).await.expect(200);
    assert_eq!(removed["removed"]["ports_released"], json!([frontend, backend]));
    assert_eq!(removed["removed"]["files"], true);
    assert!(!directory.exists());
    assert_eq!(app.get(&format!("/api/tenants/{tenant}")).await.status, 404);
}

#[tokio::test]
async fn what_was_deployed_without_its_services_is_put_into_service_by_start() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}");
    let body = json!({"skip_services": true});
    let requested = app.post(&format!("{path}/deploy"), body).await.expect(202);
    let ended = app.deployed(requested["deployment_id"].as_str().unwrap()).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let shown = app.get(&path).await.expect(200);
    assert_eq!(shown["status"], "stopped", "{shown}");
    app.post(&format!("{path}/restart"), json!({})).await.expect(409);

    let started = app.post(&format!("{path}/start"), json!({})).await.expect(200);
    assert_eq!(started["services"], json!({"frontend": "active", "backend": "active"}));
    let shown = app.get(&path).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["health_status"]),
        (&json!("running"), &json!("healthy")),
        "{shown}"
    );
    let current = std::path::Path::new(shown["directory"].as_str().unwrap()).join("current");
    assert!(std::fs::read_link(&current).unwrap().ends_with("releases/1"), "{current:?}");
}

#[tokio::test]
async fn the_past_is_shown_as_it_was_also_offline() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let created = app.get("/api/events?kind=tenant.created").await.expect(200);
    let seq = created["events"][0]["seq"].as_u64().unwrap();
    let update = app.request("PUT", &format!("/api/tenants/{tenant}")).json(&json!({"name": "Renamed"}));
    assert_eq!(app.send(update).await.expect(200)["name"], "Renamed");
    let then = app.get(&format!("/api/tenants/{tenant}?as_of={seq}")).await;
    assert_eq!(then.headers["x-as-of-seq"], seq.to_string().as_str());
    assert_eq!(then.expect(200)["name"], "smith for Senate");
    assert_eq!(app.get(&format!("/api/tenants/{tenant}?as_of={}", seq - 1)).await.status, 404);
    assert_eq!(app.get(&format!("/api/tenants/{tenant}?as_of=999999")).await.status, 400);
    let ports = app.get(&format!("/api/ports?as_of={}", seq - 1)).await.expect(200);
    assert_eq!(ports["in_use_count"], 0);

    for (until, name) in [(seq.to_string(), "smith for Senate"), ("1h".to_owned(), "Renamed")] {
        let until = if until == "1h" { app.events(1).await.len().to_string() } else { until };
        let output = app
            .home()
            .program()
            .args(["replay", "--dump", "json", "--until", &until, "--data-dir"])
            .arg(app.data_dir())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let dump: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(dump["tenants"][0]["name"], name);
        assert_eq!(dump["tenants"][0]["id"], tenant.as_str());
    }
    let elsewhere = app.home().program().args(["journal", "verify", "--data-dir", "/tmp"]).output().unwrap();
    assert_eq!(elsewhere.status.code(), Some(1));
    let told = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(told.contains("--data-dir"), "{told}");
}

#[tokio::test]
async fn everything_is_as_it_was_after_a_kill() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let deployment = app.deploy(&tenant).await;
    app.deployed(&deployment).await;
    let paths =
        ["/api/tenants".to_owned(), "/api/ports".to_owned(), format!("/api/deployments/{deployment}")];
    let mut before = Vec::new();
    for path in &paths {
        before.push(app.get(path).await.expect(200));
    }
    let home = app.kill();
    let app = TestApp::in_home(home).await;
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(app.get(path).await.expect(200), before, "{path}");
    }
    let ready = app.get("/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
}

#[tokio::test]
async fn sigterm_ends_the_server_and_leaves_the_instances() {
    let app = TestApp::start().await;
    let spawn = app.instances_request("POST", "/api/instances").json(&json!({"service": "api", "id": "a"}));
    app.send(spawn).await.expect(201);
    let started = app.get("/api/events?kind=instance.started").await.expect(200);
    let pid = started["events"][0]["data"]["pid"].as_u64().unwrap();
    let home = std::sync::Arc::clone(app.home());
    let (code, took) = app.terminate();
    assert_eq!(code, Some(0));
    assert!(took < PATIENCE, "{took:?}");
    assert!(alive(pid), "the instance ended with the server");

    let second = TestApp::in_home(std::sync::Arc::clone(&home)).await;
    let shown = second.send(second.instances_request("GET", "/api/instances/api/a")).await.expect(200);
    assert_eq!((shown["status"].as_str(), shown["restart_count"].as_u64()), (Some("running"), Some(0)));
    let stopped = home.program().args(["stop", "--all", "--data-dir"]).arg(home.data_dir()).output().unwrap();
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(!alive(pid), "stop --all left it");
    let shown = second.send(second.instances_request("GET", "/api/instances/api/a")).await.expect(200);
    assert_eq!(shown["status"], "stopped", "a server revived what stop --all had ended");
}

#[tokio::test]
async fn a_second_control_plane_on_the_directory_is_refused() {
    let app = TestApp::start().await;
    let output = app.home().serve().output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("in use by process {}", app.pid)), "{said}");
}

#[tokio::test]
async fn sighup_takes_a_good_configuration_and_refuses_a_bad_one() {
    let home = Home::new();
    let app = TestApp::in_home(std::sync::Arc::clone(&home)).await;
    let spawn = |service: &str| {
        let body = json!({"service": service, "id": "a"});
        app.instances_request("POST", "/api/instances").json(&body)
    };
    assert_eq!(app.send(spawn("late")).await.status, 404);
    let more =
        format!("\n[service.late]\ncommand = \"python3 {}\"\n", support::app::fixture("api.py").display());
    std::fs::write(home.config_file(), format!("{}{more}", home.config())).unwrap();
    support::app::signal(app.pid, "HUP");
    app.log_says("configuration read again").await;
    app.send(spawn("late")).await.expect(201);
    std::fs::write(home.config_file(), "[settings]\nhealth_check_interval = \"often\"\n").unwrap();
    support::app::signal(app.pid, "HUP");
    app.log_says("the old one kept").await;
    let again = app.instances_request("POST", "/api/instances").json(&json!({"service": "late", "id": "b"}));
    app.send(again).await.expect(201);
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_the_shape_of_the_document_and_not_recorded() {
    let app = TestApp::start().await;
    app.tenant("smith").await;
    let head = app.events(1).await.len();
    let good = json!({"name": "J", "slug": "jones", "domain": "jones.example.com"});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let cases = [
        (with("slug", json!("smith")), 409, "SLUG_TAKEN"),
        (with("domain", json!("smith.example.com")), 409, "DOMAIN_TAKEN"),
        (with("slug", json!("../victim")), 400, ""),
        (with("slug", json!("a".repeat(64))), 400, ""),
        (with("slug", json!(7)), 400, ""),
        (with("domain", json!("a b")), 400, ""),
        (with("domain", json!("x;rm -rf /")), 400, ""),
        (with("frontend_port", json!(70000)), 400, ""),
        (with("frontend_port", json!(80)), 400, "INVALID_PORT"),
        (with("name", json!("a\u{0}b")), 400, ""),
        (with("github_repo", json!("--upload-pack=id")), 400, "INVALID_REPOSITORY"),
        (with("surprise", json!(1)), 400, ""),
        (with("id", json!("x")), 400, ""),
        (with("directory", json!("/etc")), 400, ""),
        (json!({"slug": "x"}), 400, ""),
    ];
    for (body, status, code) in cases {
        let answer = app.post("/api/tenants", body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let error = answer.json();
        for field in ["error", "detail", "code", "timestamp"] {
            assert!(error[field].is_string(), "{field} is missing in {error}");
        }
        assert!(code.is_empty() || error["code"] == code, "{body}: {error}");
        if body.get("surprise").is_some() {
            assert!(error.to_string().contains("surprise"), "the field is not named: {error}");
        }
    }
    let missing = app.send(app.instances_request("GET", "/api/instances/api/nobody")).await;
    assert_eq!(missing.status, 404);
    let error = missing.json();
    assert_eq!((error["error"].as_str(), error["status"].as_u64()), (Some("instance_not_found"), Some(404)));
    assert_eq!(app.events(1).await.len(), head, "something was recorded");
    let without = app.client.get(format!("{}/api/tenants", app.manager)).send().await.unwrap();
    assert_eq!(without.status(), 401);
}
