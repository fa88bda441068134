//! What an operator does with nginx by hand.

use serde_json::json;

use crate::front::{Front, deploy, tenant};

#[tokio::test]
async fn the_configuration_is_tested_reloaded_and_listed() {
    let Some(front) = Front::start() else { return };
    front.foreign(
        "shopapi",
        &format!("server {{ {} server_name shopapi.test; return 200 x; }}", front.listen()),
    );
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    assert_eq!(deploy(&app, &id, json!({"skip_services": true})).await["status"], "success");

    let tested = app.post("/api/nginx/test", json!({})).await.expect(200);
    assert_eq!(tested["valid"], true);
    assert!(tested["output"].as_str().unwrap().contains("syntax is ok"), "{tested}");

    let reloaded = app.post("/api/nginx/reload", json!({})).await;
    assert!(reloaded.headers.contains_key("x-event-seq"));
    let reloaded = reloaded.expect(200);
    assert_eq!(reloaded["message"], "NGINX reloaded successfully");
    let events = app.get("/api/events?kind=nginx.reloaded").await.expect(200);
    assert_eq!(events["events"].as_array().unwrap().len(), 1);
    assert_eq!(events["events"][0]["at"], reloaded["timestamp"]);

    let listed = app.get("/api/nginx/configs").await.expect(200);
    let configs = listed["configs"].as_array().unwrap();
    let of = |domain: &str| configs.iter().find(|one| one["domain"] == domain).unwrap();
    let path = front.path("sites-enabled/smith.example.com").display().to_string();
    let own = json!({"domain": "smith.example.com", "path": path, "type": "frontend", "tenant_id": id,
        "enabled": true, "managed": true});
    assert_eq!(*of("smith.example.com"), own);
    assert_eq!(of("api.smith.example.com")["type"], "api");
    let said = |words: &[&str]| {
        let mut program = app.home().program();
        program
            .arg("nginx")
            .args(words)
            .env("TENANTRY_SERVER", &app.manager)
            .env("TENANTRY_TOKEN", &app.token);
        let output = program.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(said(&["test"]).contains("syntax is ok"));
    assert_eq!(said(&["reload"]), "NGINX reloaded successfully\n");
    assert!(said(&["configs"]).contains("shopapi.test") && said(&["configs"]).contains("not ours"));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said(&["configs", "--json"])).unwrap(), listed);

    let foreign = of("shopapi.test");
    assert_eq!((&foreign["tenant_id"], &foreign["managed"]), (&json!(null), &json!(false)));
    assert_eq!(foreign["type"], "api");
}

#[tokio::test]
async fn an_invalid_configuration_is_told_and_not_reloaded() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    front.foreign("bad", "server { bogus; }");
    let tested = app.post("/api/nginx/test", json!({})).await.expect(200);
    assert_eq!(tested["valid"], false);
    assert!(tested["output"].as_str().unwrap().contains("bogus"), "{tested}");
    for path in ["/api/nginx/reload", "/api/nginx/reload?dry_run=true"] {
        let refused = app.post(path, json!({})).await.expect(409);
        assert_eq!(refused["code"], "NGINX_INVALID");
        assert!(refused["detail"].as_str().unwrap().contains("bogus"), "{refused}");
    }
    assert!(app.get("/api/events?kind=nginx.").await.expect(200)["events"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn the_same_request_twice_reloads_once() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let reload = || app.request("POST", "/api/nginx/reload").header("Idempotency-Key", "one");
    let first = app.send(reload()).await.expect(200);
    assert_eq!(app.send(reload()).await.expect(200), first);
    let reloads = crate::front::metric(&app, "tenantry_nginx_reloads_total{result=\"passed\"}").await;
    assert_eq!(reloads, Some(1.0));
}

#[tokio::test]
async fn doctor_asks_the_configured_nginx_about_its_configuration() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let home = app.home();
    let check = |command: &str| {
        let mut program = home.program();
        program.env("TENANTRY_DEPLOY_NGINX", "on").env("TENANTRY_NGINX_COMMAND", command);
        program.args(["doctor", "--json", "--config"]).arg(home.config_file());
        let output = program.arg("--data-dir").arg(home.data_dir()).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["checks"].as_array().unwrap().iter().find(|one| one["check"] == "nginx").unwrap().clone()
    };
    let well = check(&front.command());
    assert_eq!(well["status"], "ok", "{well}");
    assert!(well["detail"].as_str().unwrap().ends_with("its configuration is valid"), "{well}");
    front.foreign("zzz-bad", "server { bogus; }");
    let ill = check(&front.command());
    assert_eq!(ill["status"], "warn", "{ill}");
    let detail = ill["detail"].as_str().unwrap();
    assert!(detail.contains("bogus") && detail.contains("zzz-bad"), "{detail}");
    let missing = check("/nowhere/nginx -p /tmp");
    assert_eq!(missing["detail"], "/nowhere/nginx is not found");
}
