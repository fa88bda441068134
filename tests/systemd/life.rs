//! A tenant's whole life under systemd: deployed, asked, switched, stopped, started, deleted.

use serde_json::{Value, json};

use crate::boxed::{Boxed, deploy};

async fn port(app: &crate::support::app::TestApp, tenant: &str, which: &str) -> u64 {
    app.get(&format!("/api/tenants/{tenant}")).await.expect(200)[which].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_deployed_as_units_and_leaves_none_when_it_is_deleted() {
    let Some(boxed) = Boxed::start("") else { return };
    let app = boxed.app().await;
    let tenant = app.tenant("smith").await;
    let deployment = deploy(&app, &tenant).await;
    assert_eq!(deployment["status"], "success", "{deployment}\n{}", app.log());
    for label in ["frontend-smith", "backend-smith"] {
        let unit = boxed.unit(label);
        assert_eq!(boxed.run(&["systemctl", "is-active", &unit]).trim(), "active");
        assert_eq!(boxed.run(&["systemctl", "is-enabled", &unit]).trim(), "enabled");
        assert_eq!(boxed.show(&unit, "NoNewPrivileges"), "yes");
        assert_eq!(boxed.show(&unit, "CapabilityBoundingSet"), "");
    }
    let health = app.get(&format!("/api/tenants/{tenant}/health")).await.expect(200);
    assert_eq!(health["overall_status"], "healthy", "{health}");
    assert_eq!(
        health["checks"]["services"],
        json!({"frontend_service": "active", "backend_service": "active"})
    );
    let port = port(&app, &tenant, "backend_port").await;
    let answer = app.client.get(format!("http://127.0.0.1:{port}/health")).send().await.unwrap();
    assert_eq!(answer.status(), 200);

    let logs = app
        .eventually(&format!("/api/tenants/{tenant}/logs?service=backend"), |logs| {
            logs["logs"].as_str().is_some_and(|text| text.contains("/health"))
        })
        .await;
    assert!(!logs["logs"].as_str().unwrap().contains("systemd["), "{logs}");

    let stopped = app.post(&format!("/api/tenants/{tenant}/stop"), Value::Null).await.expect(200);
    assert_eq!(stopped["services"], json!({"frontend": "inactive", "backend": "inactive"}));
    assert_eq!(boxed.left(), "", "a stopped tenant would be started at the next boot");
    let started = app.post(&format!("/api/tenants/{tenant}/start"), Value::Null).await.expect(200);
    assert_eq!(started["services"], json!({"frontend": "active", "backend": "active"}));
    let before = boxed.unit("backend-smith");
    app.post(&format!("/api/tenants/{tenant}/restart"), Value::Null).await.expect(200);
    boxed.until("the run before is gone", |boxed| boxed.units("backend-smith").len() == 1).await;
    assert_ne!(boxed.unit("backend-smith"), before);

    let removed = app.delete(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert_eq!(removed["removed"]["services"], true);
    assert_eq!(boxed.left(), "");
    let units = boxed.run(&["systemctl", "list-units", "--all", "--no-legend", "--plain", "tenantry-*"]);
    assert_eq!(units, "");
    let rest = app.data_dir().join("units");
    let files =
        std::fs::read_dir(rest).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
    assert_eq!(files, 0, "values of variables are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_follow_the_journal() {
    let Some(boxed) = Boxed::start("") else { return };
    let app = boxed.app().await;
    let tenant = app.tenant("smith").await;
    assert_eq!(deploy(&app, &tenant).await["status"], "success");
    let path = format!("/api/tenants/{tenant}/logs?service=backend&follow=true&lines=0");
    let mut stream = app.request("GET", &path).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let port = port(&app, &tenant, "backend_port").await;
    let mut seen = String::new();
    let asked = format!("http://127.0.0.1:{port}/no-such-page-7391");
    // Asked until it is seen: the stream may have begun after the first.
    while !seen.contains("no-such-page-7391") {
        drop(app.client.get(&asked).send().await.unwrap());
        let piece = tokio::time::timeout(std::time::Duration::from_millis(500), stream.chunk()).await;
        if let Ok(piece) = piece {
            seen.push_str(&String::from_utf8_lossy(&piece.unwrap().expect("the stream goes on")));
        }
    }
    assert!(seen.contains("event: log"), "{seen}");
    let two = app.get(&format!("/api/tenants/{tenant}/logs?service=backend&lines=2")).await.expect(200);
    assert_eq!(two["logs"].as_str().unwrap().lines().count(), 2, "{two}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_ended_without_a_server_and_comes_back_with_one() {
    let Some(boxed) = Boxed::start("") else { return };
    let app = boxed.app().await;
    let tenant = app.tenant("smith").await;
    assert_eq!(deploy(&app, &tenant).await["status"], "success");
    app.kill();
    let mut stop = boxed.command(env!("CARGO_BIN_EXE_tenantry"));
    let stopped = stop.args(["stop", "--all", "--data-dir"]).arg(boxed.home.data_dir()).output().unwrap();
    let printed = String::from_utf8_lossy(&stopped.stdout);
    assert!(stopped.status.success() && printed.contains("ended 2 instances"), "{stopped:?}");
    assert_eq!(boxed.left(), "");
    let app = boxed.app().await;
    boxed.until("they are wanted", |boxed| boxed.units("backend-smith").len() == 1).await;
    app.eventually(&format!("/api/tenants/{tenant}"), |tenant| tenant["health_status"] == "healthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_systemd_the_step_fails_and_says_so() {
    if std::path::Path::new("/run/systemd/system").exists() {
        eprintln!("!!! SKIPPED: systemd is this machine's init, so its absence is not tested");
        return;
    }
    let home = crate::support::app::Home::new();
    let mut command = home.serve();
    command.env("TENANTRY_DEPLOY_SERVICES", "systemd");
    let app = crate::support::app::TestApp::from_command(home, command).await;
    let tenant = app.tenant("smith").await;
    let deployment = deploy(&app, &tenant).await;
    assert_eq!(deployment["status"], "failed", "{deployment}");
    assert_eq!(deployment["steps"][2]["status"], "failed", "{deployment}");
    let log =
        app.get(&format!("/api/deployments/{}/logs", deployment["id"].as_str().unwrap())).await.expect(200);
    assert!(log["logs"].as_str().unwrap().contains("systemd is not this machine's init"), "{log}");
    let mut doctor = app.home().program();
    doctor.args(["doctor", "--json", "--config"]).arg(app.home().config_file());
    doctor.env("TENANTRY_DEPLOY_SERVICES", "systemd");
    let told: Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
    let checks = told["checks"].as_array().unwrap();
    let systemd = checks.iter().find(|check| check["check"] == "systemd").unwrap();
    assert_eq!(systemd["status"], "fail", "{systemd}");
}
