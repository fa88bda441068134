//! A site's life: made by a deployment, followed, survived, removed.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::front::{Front, deploy, exists, metric, step, tenant};
use crate::support::app::PATIENCE;
use crate::support::ports::free_block;

const RELOADS: &str = "tenantry_nginx_reloads_total{result=\"passed\"}";

#[tokio::test]
async fn a_deployment_puts_both_sites_before_the_tenant_and_a_deletion_removes_them() {
    let Some(front) = Front::start() else { return };
    front
        .foreign("shop", &format!("server {{ {} server_name shop.test; return 200 shop; }}", front.listen()));
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    let ended = deploy(&app, &id, json!({})).await;
    assert_eq!(ended["status"], "success", "{ended}");
    assert_eq!(step(&ended, "Configure NGINX")["status"], "success");
    assert_eq!(step(&ended, "Setup SSL")["status"], "skipped");
    let detail = step(&ended, "Configure NGINX")["detail"].as_str().unwrap();
    assert!(detail.contains("smith.example.com and api.smith.example.com"), "{detail}");
    let names = ["api.smith.example.com", "smith.example.com", "tenantry-shared"];
    assert_eq!(front.files("sites-available"), names);
    let mode = |name: &str| {
        std::fs::metadata(front.path("sites-available").join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("tenantry-shared"), 0o600, "it holds a key");

    let (status, page) = front.get("smith.example.com", "/").await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("<html") || page.contains("<!doctype") || page.contains("<!DOCTYPE"), "{page}");
    assert_eq!(front.get("api.smith.example.com", "/health").await.0, 200);
    assert_eq!(front.get("shop.test", "/").await, (200, "shop".to_owned()));
    // A name that nginx passes on by default, and that is nobody's, never reaches the API.
    assert_ne!(front.get("nobody.example.org", "/health").await.0, 200);
    assert_eq!(front.get("smith.example.com", "/.well-known/acme-challenge/x").await.0, 404);

    // Again: nothing to do, nothing reloaded.
    let before = metric(&app, RELOADS).await;
    let ended = deploy(&app, &id, json!({})).await;
    assert!(step(&ended, "Configure NGINX")["detail"].as_str().unwrap().ends_with("as they were"));
    assert_eq!(metric(&app, RELOADS).await, before);

    let removed = app.delete(&format!("/api/tenants/{id}?remove_files=true")).await.expect(200);
    assert_eq!(removed["removed"]["nginx"], true);
    assert_eq!(front.files("sites-available"), ["tenantry-shared"]);
    assert_eq!(front.files("sites-enabled"), ["shop", "tenantry-shared"]);
    assert_eq!(front.get("shop.test", "/").await, (200, "shop".to_owned()));
}

#[tokio::test]
async fn what_is_asked_not_to_be_done_is_skipped_and_kept_with_the_reason() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    let ended = deploy(&app, &id, json!({"skip_nginx": true, "skip_services": true})).await;
    assert_eq!(step(&ended, "Configure NGINX")["status"], "skipped");
    assert_eq!(step(&ended, "Configure NGINX")["detail"], "skip_nginx was asked for");
    assert_eq!(front.files("sites-available"), Vec::<String>::new());
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let removed = app.delete(&format!("/api/tenants/{id}?remove_nginx=false")).await.expect(200);
    assert_eq!(removed["removed"]["nginx"], false);
    assert!(exists(&front.path("sites-enabled/smith.example.com")));
    let listed = app.get("/api/nginx/configs").await.expect(200);
    let of = |domain: &str| {
        listed["configs"].as_array().unwrap().iter().find(|one| one["domain"] == domain).unwrap().clone()
    };
    assert_eq!(of("smith.example.com")["tenant_id"], json!(null));
    assert_eq!(of("smith.example.com")["managed"], true);
    // Its names stand in them, so they go when it is to be forgotten.
    app.delete(&format!("/api/tenants/{id}?erase=true")).await.expect(200);
    assert_eq!(front.files("sites-available"), ["tenantry-shared"]);
    assert_eq!(front.files("sites-enabled"), ["tenantry-shared"]);
}

#[tokio::test]
async fn a_tenant_that_never_had_sites_is_deleted_without_saying_that_some_were_removed() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    let removed = app.delete(&format!("/api/tenants/{id}")).await.expect(200);
    assert_eq!(removed["removed"]["nginx"], false);
}

#[tokio::test]
async fn a_changed_domain_is_served_and_the_old_one_no_more() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    assert_eq!(deploy(&app, &id, json!({})).await["status"], "success");
    let change = json!({"domain": "smith.example.org"});
    app.send(app.request("PUT", &format!("/api/tenants/{id}")).json(&change)).await.expect(200);
    let path = "/api/events?kind=site.configured";
    app.eventually(path, |page| !page["events"].as_array().unwrap().is_empty()).await;
    assert_eq!(front.get("smith.example.org", "/").await.0, 200);
    let left = ["api.smith.example.com", "smith.example.org", "tenantry-shared"];
    assert_eq!(front.files("sites-enabled"), left);
    assert_ne!(front.get("smith.example.com", "/").await.0, 200);
}

#[tokio::test]
async fn sites_follow_the_proxy_to_another_address_after_a_restart() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    assert_eq!(deploy(&app, &id, json!({})).await["status"], "success");
    let first = std::fs::read_to_string(front.path("sites-available/tenantry-shared")).unwrap();
    let home = app.kill();
    let mut command = front.serve(&home);
    command.args(["--proxy", &format!("127.0.0.1:{}", crate::support::ports::free_port())]);
    let app = crate::support::app::TestApp::from_command(home, command).await;
    app.eventually("/api/nginx/configs", |_| {
        std::fs::read_to_string(front.path("sites-available/tenantry-shared")).unwrap() != first
    })
    .await;
    let end = std::time::Instant::now() + crate::support::app::PATIENCE;
    while front.get("smith.example.com", "/").await.0 != 200 {
        assert!(std::time::Instant::now() < end, "the site never came back: {}", app.log());
    }
}

#[tokio::test]
async fn a_crash_in_the_middle_of_the_step_is_gone_over() {
    let Some(front) = Front::start() else { return };
    // It waits where it is told to, so that the crash comes in the middle.
    let wrapper = front.path("nginx-that-waits");
    let script = format!(
        "#!/bin/sh\n[ -e {0}/hold ] && touch {0}/held\nwhile [ -e {0}/hold ]; do sleep 0.02; done\nexec nginx \"$@\"\n",
        front.path("").display()
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let home = crate::support::app::Home::new();
    let waiting = front.command().replacen("nginx", &wrapper.display().to_string(), 1);
    let mut serve = front.serve(&home);
    serve.env("TENANTRY_NGINX_COMMAND", waiting);
    let app = crate::support::app::TestApp::from_command(home, serve).await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    std::fs::write(front.path("hold"), "").unwrap();
    let deployment = app.deploy(&id).await;
    app.eventually(&format!("/api/deployments/{deployment}"), |_| exists(&front.path("held"))).await;
    let home = app.kill();
    std::fs::remove_file(front.path("hold")).unwrap();
    let app = front.app_in(home).await;
    let ended = app.deployed(&deployment).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let events = app.events(1).await;
    let begun = events.iter().filter(|event| {
        event["kind"] == "deployment.step_started" && event["data"]["step"] == "configure_nginx"
    });
    assert_eq!(begun.count(), 2, "it was begun again");
    assert_eq!(front.get("smith.example.com", "/").await.0, 200);
    assert!(front.files("conf").iter().all(|name| !name.contains("tenantry")), "{:?}", front.files("conf"));
}

#[tokio::test]
async fn twenty_deployments_at_once_are_a_few_reloads() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let mut tenants = Vec::new();
    let ports = free_block();
    for n in 0..20 {
        let slug = format!("t{n}");
        let body = json!({"name": slug, "slug": slug, "domain": format!("{slug}.example.com"),
            "github_repo": app.home().campaign(), "frontend_port": ports + 2 * n, "backend_port": ports + 2 * n + 1});
        let made = app.post("/api/tenants", body).await.expect(201);
        tenants.push(made["id"].as_str().unwrap().to_owned());
    }
    let all = tenants.iter().map(|id| deploy(&app, id, json!({"skip_services": true})));
    let ended = futures_util::future::join_all(all).await;
    assert!(ended.iter().all(|one| one["status"] == "success"), "{ended:?}");
    assert_eq!(front.files("sites-enabled").len(), 21);
    let reloads = metric(&app, RELOADS).await.unwrap();
    eprintln!("20 deployments: {reloads} reloads");
    assert!((1.0..=15.0).contains(&reloads), "{reloads} reloads");
}

#[tokio::test]
async fn a_restored_tenant_is_served_by_its_sites_of_then() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    assert_eq!(deploy(&app, &id, json!({})).await["status"], "success");
    let then = app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].as_u64().unwrap();
    let path = format!("/api/tenants/{id}");

    // Another domain meanwhile: the one of then is served again, and the other no more.
    let moved = json!({"domain": "moved.example.com"});
    app.send(app.request("PUT", &path).json(&moved)).await.expect(200);
    let end = std::time::Instant::now() + PATIENCE;
    while !exists(&front.path("sites-enabled/moved.example.com")) {
        assert!(std::time::Instant::now() < end, "the site does not follow: {}", app.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let restored = app.post(&format!("{path}/restore"), json!({"as_of": then})).await.expect(200);
    assert_eq!(restored["complete"], true, "{restored:#}");
    let names = ["api.smith.example.com", "smith.example.com", "tenantry-shared"];
    assert_eq!(front.files("sites-enabled"), names);
    assert_eq!(front.get("smith.example.com", "/").await.0, 200);

    // Deleted with its sites, its files kept: the restore makes the sites anew.
    let removed = app.delete(&path).await.expect(200);
    assert_eq!(removed["removed"]["nginx"], true);
    assert_eq!(front.files("sites-enabled"), ["tenantry-shared"]);
    let restored = app.post(&format!("{path}/restore"), json!({"as_of": then})).await.expect(200);
    assert_eq!(restored["complete"], true, "{restored:#}\n{}", app.log());
    assert_eq!(front.files("sites-enabled"), names);
    assert_eq!(front.get("smith.example.com", "/").await.0, 200);
    assert_eq!(front.get("api.smith.example.com", "/health").await.0, 200);

    // Its names are another's by now: it comes back under its own new ones, and both are served.
    app.delete(&path).await.expect(200);
    let other = tenant(&app, "smith", "smith.example.com").await;
    assert_eq!(deploy(&app, &other, json!({})).await["status"], "success");
    let body = json!({"as_of": then, "on_conflict": "reassign"});
    let restored = app.post(&format!("{path}/restore"), body).await.expect(200);
    assert_eq!(restored["complete"], true, "{restored:#}\n{}", app.log());
    assert_eq!(front.get("smith-2.example.com", "/").await.0, 200);
    assert_eq!(front.get("smith.example.com", "/").await.0, 200);
}

#[tokio::test]
async fn a_site_that_a_crash_left_unread_is_taken_on_at_the_next_start() {
    const PROOF: &str = "/.well-known/tenantry-site";
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    assert_eq!(deploy(&app, &id, json!({"skip_services": true})).await["status"], "success");
    let proof = front.get("smith.example.com", PROOF).await;
    assert_eq!(proof.0, 200);
    let home = app.kill();
    // nginx runs without it, and the file lies there: so it is between the rename and the reload.
    let (link, aside) = (front.path("sites-enabled/smith.example.com"), front.path("conf/aside"));
    std::fs::rename(&link, &aside).unwrap();
    front.reload();
    let end = std::time::Instant::now() + PATIENCE;
    while front.get("smith.example.com", PROOF).await == proof {
        assert!(std::time::Instant::now() < end, "nginx does not forget it");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    std::fs::rename(&aside, &link).unwrap();
    let _app = front.app_in(home).await;
    while front.get("smith.example.com", PROOF).await.1.split('.').next() != proof.1.split('.').next() {
        assert!(std::time::Instant::now() < end, "it is not taken on");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
