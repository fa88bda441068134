//! What is in the way: no nginx, others' mistakes, and names that want to be more than names.

use serde_json::json;

use crate::front::{Front, deploy, exists, step, tenant};
use crate::support::app::{Home, PATIENCE, TestApp};

const NGINX: &str = "Configure NGINX";

#[tokio::test]
async fn a_bad_site_of_somebody_else_is_told_and_left_where_it_is() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    front.foreign("zzz-bad", "server { bogus; }");
    let ended = deploy(&app, &id, json!({})).await;
    assert_eq!(ended["status"], "failed");
    let detail = step(&ended, NGINX)["detail"].as_str().unwrap();
    assert!(detail.contains("was not valid before this change, nothing was changed"), "{detail}");
    assert!(detail.contains("bogus") && detail.contains("zzz-bad"), "{detail}");
    assert_eq!(front.files("sites-enabled"), ["zzz-bad"]);
    assert_eq!(front.files("sites-available"), Vec::<String>::new());
    std::fs::remove_file(front.path("sites-enabled/zzz-bad")).unwrap();
    assert_eq!(deploy(&app, &id, json!({})).await["status"], "success");
    // Removing makes nothing worse, so it is not held up by somebody else.
    front.foreign("zzz-bad", "server { bogus; }");
    let removed = app.delete(&format!("/api/tenants/{id}")).await.expect(200);
    assert_eq!(removed["removed"]["nginx"], true);
    assert_eq!(front.files("sites-enabled"), ["tenantry-shared", "zzz-bad"]);
}

#[tokio::test]
async fn a_change_that_nginx_refuses_is_taken_back_and_others_are_not_touched() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let good = tenant(&app, "good", "good.example.com").await;
    assert_eq!(deploy(&app, &good, json!({})).await["status"], "success");
    let shared = front.path("sites-available/tenantry-shared");
    let before = std::fs::read_to_string(&shared).unwrap();
    // A file under the name of the next site.
    std::fs::write(front.path("sites-available/next.example.com"), "server { }").unwrap();
    let next = tenant(&app, "next", "next.example.com").await;
    let ended = deploy(&app, &next, json!({"skip_services": true})).await;
    let detail = step(&ended, NGINX)["detail"].as_str().unwrap();
    assert!(detail.contains("was not written by tenantry and is left alone"), "{detail}");
    assert_eq!(
        std::fs::read_to_string(front.path("sites-available/next.example.com")).unwrap(),
        "server { }"
    );
    std::fs::remove_file(front.path("sites-available/next.example.com")).unwrap();
    // Somebody else answers for the name already: nginx takes the file and ignores the name.
    let taken = format!("server {{ {} server_name next.example.com; return 200 mine; }}", front.listen());
    front.foreign("aaa-taken", &taken);
    app.post("/api/nginx/reload", json!({})).await.expect(200);
    let ended = deploy(&app, &next, json!({"skip_services": true})).await;
    let detail = step(&ended, NGINX)["detail"].as_str().unwrap();
    assert!(detail.contains("does not serve next.example.com by its new site"), "{detail}");
    assert!(detail.contains("'mine'"), "{detail}");
    assert!(!exists(&front.path("sites-enabled/next.example.com")), "it was put back");
    assert_eq!(std::fs::read_to_string(&shared).unwrap(), before);
    assert_eq!(front.get("good.example.com", "/").await.0, 200);
    assert_eq!(front.get("next.example.com", "/").await, (200, "mine".to_owned()));
}

#[tokio::test]
async fn a_site_that_nginx_refuses_is_not_put_in_place() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    // Valid by itself, and not together with ours.
    front.foreign("own", "upstream tenantry_proxy { server 127.0.0.1:9; }");
    app.post("/api/nginx/reload", json!({})).await.expect(200);
    let id = tenant(&app, "smith", "smith.example.com").await;
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    let detail = step(&ended, NGINX)["detail"].as_str().unwrap();
    assert!(detail.contains("nginx refuses the change, nothing was changed"), "{detail}");
    assert!(detail.contains("duplicate upstream") && !detail.contains("tenantry-new"), "{detail}");
    assert_eq!(front.files("sites-available"), Vec::<String>::new());
    assert_eq!(front.files("sites-enabled"), ["own"]);
    assert_eq!(front.files("conf"), ["nginx.conf", "own.types"]);
    assert_eq!(app.post("/api/nginx/test", json!({})).await.expect(200)["valid"], true);
}

#[tokio::test]
async fn of_several_sites_that_change_together_one_that_nginx_refuses_holds_up_no_other() {
    let Some(front) = Front::start() else { return };
    // An nginx that refuses whatever has this name in it, as it does with a mistake of ours.
    let script = front.path("conf/nginx.sh");
    let text = "for file; do\n  [ -f \"$file\" ] && grep -q tenantry-new-bad \"$file\" &&\n    \
                { echo 'nginx: [emerg] refused' >&2; exit 1; }\ndone\nexec nginx \"$@\"\n";
    std::fs::write(&script, text).unwrap();
    let home = Home::new();
    let mut serve = front.serve(&home);
    let command = front.command().replacen("nginx", &format!("sh {}", script.display()), 1);
    serve.env("TENANTRY_NGINX_COMMAND", command);
    let app = TestApp::from_command(home, serve).await;
    let mut tenants = Vec::new();
    for slug in ["one", "two", "three"] {
        let id = tenant(&app, slug, &format!("{slug}.example.com")).await;
        let ended = deploy(&app, &id, json!({"skip_services": true})).await;
        assert_eq!(ended["status"], "success", "{ended}");
        tenants.push(id);
    }
    // What changes within a moment is one change of nginx's.
    for (id, domain) in tenants.iter().zip(["good.example.com", "bad.example.com", "fine.example.com"]) {
        let body = json!({"domain": domain});
        app.send(app.request("PUT", &format!("/api/tenants/{id}")).json(&body)).await.expect(200);
    }
    let end = std::time::Instant::now() + PATIENCE;
    let there = |name: &str| exists(&front.path("sites-enabled").join(name));
    while !(there("good.example.com") && there("fine.example.com")) {
        assert!(std::time::Instant::now() < end, "{:?}\n{}", front.files("sites-enabled"), app.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(there("two.example.com") && !there("bad.example.com"), "{:?}", front.files("sites-enabled"));
    assert!(front.files("sites-available").iter().all(|name| !name.contains("new-")));
}

#[tokio::test]
async fn without_nginx_the_step_says_what_is_missing() {
    let home = Home::new();
    let mut serve = home.serve();
    serve.env("TENANTRY_DEPLOY_NGINX", "on").env("TENANTRY_NGINX_COMMAND", "/nowhere/nginx");
    serve.env("TENANTRY_NGINX_SITES_AVAILABLE", home.path().join("a"));
    serve.env("TENANTRY_NGINX_SITES_ENABLED", home.path().join("e"));
    let app = TestApp::from_command(home, serve).await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    let ended = deploy(&app, &id, json!({})).await;
    assert_eq!(ended["status"], "failed");
    let detail = step(&ended, NGINX)["detail"].as_str().unwrap();
    assert!(detail.contains("cannot run '/nowhere/nginx'"), "{detail}");
    for path in ["/api/nginx/test", "/api/nginx/reload"] {
        assert_eq!(app.post(path, json!({})).await.expect(503)["code"], "NGINX_MISSING");
    }
    assert_eq!(app.get("/api/nginx/configs").await.expect(200), json!({"configs": []}));
    assert_eq!(app.delete(&format!("/api/tenants/{id}")).await.status, 200);
}

#[tokio::test]
async fn an_nginx_that_does_not_run_or_does_not_look_is_told() {
    let Some(front) = Front::prepare("elsewhere/*") else { return };
    let app = front.app().await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    let detail = step(&ended, NGINX)["detail"].as_str().unwrap();
    assert!(detail.contains("does not include"), "{detail}");
    let conf = std::fs::read_to_string(front.path("conf/nginx.conf")).unwrap();
    std::fs::write(front.path("conf/nginx.conf"), conf.replace("elsewhere/*", "sites-enabled/*.conf"))
        .unwrap();
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    let detail = step(&ended, NGINX)["detail"].as_str().unwrap();
    assert!(detail.contains("nginx does not run"), "{detail}");
    assert_eq!(front.files("sites-enabled"), Vec::<String>::new());
    // A stranger with that pid gets no signal.
    std::fs::write(front.path("nginx.pid"), std::process::id().to_string()).unwrap();
    assert_eq!(app.post("/api/nginx/reload", json!({})).await.expect(503)["code"], "NGINX_NOT_RUNNING");
    std::fs::remove_file(front.path("nginx.pid")).unwrap();
    front.run();
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let named = ["api.smith.example.com.conf", "smith.example.com.conf", "tenantry-shared.conf"];
    assert_eq!(front.files("sites-enabled"), named);
}

#[tokio::test]
async fn names_that_want_to_be_more_than_names_are_refused_and_nothing_is_written() {
    let Some(front) = Front::start() else { return };
    let app = front.app().await;
    let long = "a".repeat(1 << 20);
    let hostile = [
        "a.example.com;",
        "a.example.com\n",
        "a.example.com {",
        "a}.example.com",
        "../../etc/cron.d/x.example.com",
        "a\0.example.com",
        "a\u{202e}moc.example",
        "$host.example.com",
        "a.example.com\\",
        "\"a\".example.com",
        "*.example.com",
        "~^.*$",
        "_",
        "a b.example.com",
        "unix:/x",
        "a.example.com:80",
        "#a.example.com",
        &long,
    ];
    for domain in hostile {
        for field in ["domain", "api_domain"] {
            let mut body = json!({"name": "x", "slug": "x", "domain": "ok.example.com"});
            body[field] = json!(domain);
            let shown: String = domain.chars().take(40).collect();
            let refused = app.post("/api/tenants", body).await;
            assert!(matches!(refused.status, 400 | 413), "{field} {shown:?}: {refused:?}");
        }
    }
    for slug in ["../x", "x;", "x\n", "x\0", "\u{202e}x"] {
        let body = json!({"name": "x", "slug": slug, "domain": "ok.example.com"});
        assert_eq!(app.post("/api/tenants", body).await.status, 400, "{slug:?}");
    }
    assert_eq!(app.get("/api/tenants").await.expect(200)["total"], 0);
    assert_eq!(front.files("sites-available"), Vec::<String>::new());
    // The longest name that there is fits nginx's tables.
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.example.com");
    let id = tenant(&app, "long", &longest).await;
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let other = tenant(&app, "short", "short.example.com").await;
    assert_eq!(deploy(&app, &other, json!({"skip_services": true})).await["status"], "success");
}
