//! Analyses from the request to the theme that comes of them, also through crashes.

use std::time::{Duration, Instant};

use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use tenantry::domain::theme::color::Rgb;
use tokio::sync::watch;

use super::models::{Model, Say, suggestions};
use super::site::{Private, Site, gallrein, html, redirect};
use crate::support::app::{Home, PATIENCE, TestApp};

fn config(site: &Site, more: &str) -> String {
    format!("[analyze]\nallow_hosts = [\"{}\"]\n{more}\n", site.address)
}

/// Asks for an analysis without a picture; gives its id.
async fn analyze(app: &TestApp, tenant: &str, url: &str) -> String {
    let body = json!({"website_url": url, "capture_screenshot": false});
    let answer = app.post(&format!("/api/tenants/{tenant}/theme/analyze"), body).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let answer = answer.expect(202);
    assert_eq!(answer["status"], "processing");
    let message = format!("Analysis started. Check /api/tenants/{tenant}/theme/suggestions for results");
    assert_eq!(answer["message"], message.as_str());
    let id = answer["analysis_id"].as_str().unwrap().to_owned();
    assert!(location.ends_with(&format!("?analysis_id={id}")), "{location}");
    id
}

pub(crate) async fn ended(app: &TestApp, tenant: &str, analysis: &str) -> Value {
    let path = format!("/api/tenants/{tenant}/theme/suggestions?analysis_id={analysis}");
    app.eventually(&path, |found| found["status"] != "processing").await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_the_pages_own_colours_become_suggestions_and_one_of_them_the_theme() {
    let site = Site::start(gallrein).await;
    let home = Home::with(&config(&site, ""));
    let app = TestApp::in_home(home).await;
    let tenant = app.tenant("gallrein").await;
    let path = format!("/api/tenants/{tenant}/theme/suggestions");
    app.get(&path).await.expect(404);
    let analysis = analyze(&app, &tenant, &site.url("/")).await;
    let found = ended(&app, &tenant, &analysis).await;
    assert_eq!((&found["status"], &found["source"]), (&json!("complete"), &json!("palette")), "{found}");
    assert_eq!((&found["website_url"], &found["screenshot"]), (&json!(site.url("/")), &Value::Null));
    let notes = found["notes"].to_string();
    assert!(
        notes.contains("without a language model") && notes.contains("no screenshot was asked for"),
        "{notes}"
    );
    assert_eq!(app.get(&path).await.expect(200), found, "the latest is shown");

    let first = &found["suggestions"][0];
    assert_eq!(first["suggestion_number"], 1);
    assert_eq!(
        (&first["primary_color"], &first["secondary_color"]),
        (&json!("#0e173e"), &json!("#f1c613")),
        "{found}"
    );
    assert_eq!(first["text_color"], "#1f2937");
    let scale = first["palette_json"].as_object().unwrap();
    let steps = ["50", "100", "200", "300", "400", "500", "600", "700", "800", "900", "950"];
    assert_eq!(scale.len(), steps.len());
    let light: Vec<f32> =
        steps.iter().map(|step| scale[*step].as_str().unwrap().parse::<Rgb>().unwrap().oklch().l).collect();
    for pair in light.windows(2) {
        assert!((pair[0] - pair[1] - 0.07).abs() < 0.015, "{light:?}");
    }

    let chosen = first["id"].clone();
    let apply = format!("/api/tenants/{tenant}/theme/apply-suggestion");
    let applied = app.post(&apply, json!({"suggestion_id": chosen})).await.expect(200);
    assert_eq!(applied["message"], "Theme suggestion applied successfully");
    let theme = &applied["theme"];
    assert_eq!((&theme["primary_color"], &theme["text_color"]), (&json!("#0e173e"), &json!("#1f2937")));
    assert_eq!(theme["source_website"], json!(site.url("/")));
    assert_eq!(theme["ai_generated"], false, "no model had a part in it");
    assert_eq!(&app.get(&format!("/api/tenants/{tenant}/theme")).await.expect(200), theme);
    let told = app.data_dir().join("tenants/gallrein/assets/theme.json");
    assert!(std::fs::read_to_string(told).unwrap().contains("#1f2937"));
    for (bad, status) in [
        (json!({"suggestion_id": "00000000-0000-7000-8000-000000000000"}), 404),
        (json!({"suggestion_id": "x"}), 400),
        (json!({}), 400),
    ] {
        app.post(&apply, bad).await.expect(status);
    }
    app.get(&format!("{path}?analysis_id=x")).await.expect(404);
    // Nothing of the customer stands open in the journal or the log.
    let host = site.address.to_string();
    assert!(!app.log().contains(&host), "{}", app.log());
    let metrics = app.send(app.client.get(format!("{}/metrics", app.manager))).await.text;
    assert!(metrics.contains("tenantry_theme_analyses_total{result=\"passed\"} 1"), "{metrics}");
    let journal = app.data_dir();
    let (_, _) = app.terminate();
    let grep =
        std::process::Command::new("grep").args(["-rlaF", "--", &host]).arg(&journal).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "", "its address lies open");
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_names_themes_and_nonsense_of_it_is_replaced_and_told() {
    let site = Site::start(gallrein).await;
    let wild = suggestions(&["x\u{1b}]0;evil"]);
    let model = Model::start([
        Say::Suggest(suggestions(&["Professional Blue & Gold", "Red"])),
        Say::Suggest(wild),
        Say::Suggest(suggestions(&["Third"])),
    ])
    .await;
    let home = Home::with(&config(
        &site,
        &format!(
            "anthropic_base_url = \"{}\"\nanthropic_model = \"claude-test\"\nanthropic_api_key_file = \"key\"",
            model.url()
        ),
    ));
    std::fs::write(home.path().join("key"), "sk-ant-test\n").unwrap();
    let app = TestApp::in_home(home).await;
    let tenant = app.tenant("smith").await;
    let analysis = analyze(&app, &tenant, &site.url("/")).await;
    let found = ended(&app, &tenant, &analysis).await;
    assert_eq!((&found["source"], &found["model"]), (&json!("anthropic"), &json!("claude-test")), "{found}");
    assert_eq!(found["suggestions"][0]["name"], "Professional Blue & Gold");
    assert_eq!(found["suggestions"][1]["suggestion_number"], 2);
    let asked = model.asked.lock().unwrap()[0].to_string();
    assert!(asked.contains("#0e173e") && asked.contains("Ed Gallrein"), "{asked}");
    let chosen = found["suggestions"][0]["id"].clone();
    let apply = format!("/api/tenants/{tenant}/theme/apply-suggestion");
    let theme = app.post(&apply, json!({"suggestion_id": chosen})).await.expect(200);
    assert_eq!(theme["theme"]["ai_generated"], true);

    let second = analyze(&app, &tenant, &site.url("/")).await;
    let found = ended(&app, &tenant, &second).await;
    assert_eq!((&found["status"], &found["source"]), (&json!("complete"), &json!("palette")));
    let notes = found["notes"].to_string();
    assert!(notes.contains("Claude made no suggestions") && notes.contains("control characters"), "{notes}");
    assert!(!app.log().contains("sk-ant") && !found.to_string().contains("sk-ant"));
    // A setting goes over the file, without a restart.
    let set = app.request("PUT", "/api/settings/anthropic_model").json(&json!({"value": "claude-other"}));
    app.send(set).await.expect(200);
    let third = analyze(&app, &tenant, &site.url("/")).await;
    let found = ended(&app, &tenant, &third).await;
    assert_eq!((&found["source"], &found["model"]), (&json!("anthropic"), &json!("claude-other")), "{found}");
    // The first one is still there under its id.
    assert_eq!(ended(&app, &tenant, &analysis).await["source"], "anthropic");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ollama_of_a_tenant_is_asked_and_what_it_cannot_do_is_told() {
    let site = Site::start(gallrein).await;
    let model = Model::start([
        Say::Suggest(suggestions(&["Quiet Harbour", "Second"])),
        Say::Words("As a language model I would pick blue.".into()),
        Say::Refuse(404),
    ])
    .await;
    let elsewhere = Model::start([Say::Suggest(suggestions(&["Never asked"]))]).await;
    let allowed = format!("[analyze]\nallow_hosts = [\"{}\", \"{}\"]\n", site.address, model.address);
    let app = TestApp::in_home(Home::with(&allowed)).await;
    let tenant = app.tenant("smith").await;
    let configure = async |body: Value| {
        let path = format!("/api/tenants/{tenant}/config");
        app.send(app.request("PUT", &path).json(&body)).await.expect(200);
    };
    configure(json!({"ollama_base_url": model.url(), "ollama_llm_model": "gemma3:4b"})).await;

    let first = analyze(&app, &tenant, &site.url("/")).await;
    let found = ended(&app, &tenant, &first).await;
    assert_eq!((&found["source"], &found["model"]), (&json!("ollama"), &json!("gemma3:4b")), "{found}");
    let names: Vec<&Value> =
        found["suggestions"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["Quiet Harbour", "Second"]);
    assert_eq!(found["suggestions"][0]["primary_color"], "#0e173e");
    // As the chat API of Ollama wants it: one answer, in the form of a schema.
    let asked = model.asked.lock().unwrap()[0].clone();
    assert_eq!((&asked["model"], &asked["stream"]), (&json!("gemma3:4b"), &json!(false)));
    assert_eq!(asked["format"]["required"], json!(["suggestions"]));
    assert_eq!(
        (&asked["messages"][0]["role"], &asked["messages"][1]["role"]),
        (&json!("system"), &json!("user"))
    );
    let question = asked["messages"][1]["content"].as_str().unwrap();
    assert!(question.contains("#0e173e") && question.contains("Ed Gallrein"), "{question}");
    let chosen = json!({"suggestion_id": found["suggestions"][0]["id"]});
    let theme = app.post(&format!("/api/tenants/{tenant}/theme/apply-suggestion"), chosen).await.expect(200);
    assert_eq!(theme["theme"]["primary_color"], "#0e173e");

    // Words without themes, a model that is not there, an address that nobody allowed.
    for why in ["its answer cannot be used", "model \\\"gemma3:4b\\\" not found", "elsewhere"] {
        if why == "elsewhere" {
            configure(json!({"ollama_base_url": elsewhere.url()})).await;
        }
        let next = analyze(&app, &tenant, &site.url("/")).await;
        let found = ended(&app, &tenant, &next).await;
        assert_eq!((&found["status"], &found["source"]), (&json!("complete"), &json!("palette")), "{found}");
        let notes = found["notes"].to_string();
        assert!(notes.contains("Ollama made no suggestions"), "{notes}");
        assert!(why == "elsewhere" || notes.contains(why), "{notes}");
    }
    assert_eq!((model.count(), elsewhere.count()), (3, 0));
    assert_eq!(ended(&app, &tenant, &first).await["source"], "ollama");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_address_is_refused_at_once_and_a_redirect_to_one_ends_the_analysis() {
    let private = Private::start().await;
    let to = private.address;
    let site = Site::start(move |path| {
        Some(match path {
            "/away" => redirect(&format!("http://{to}/secret")),
            "/round" => redirect("/round"),
            "/file" => redirect("file:///etc/passwd"),
            "/number" => redirect(&format!("http://2130706433:{}/", to.port())),
            "/name" => redirect(&format!("http://localhost:{}/", to.port())),
            "/parts" => html(format!(
                "<link rel=stylesheet href='http://{to}/x.css'><img src='http://[::ffff:127.0.0.1]:{}/x.png'><body style='background:#123456'>",
                to.port()
            )),
            "/pdf" => ([("content-type", "application/pdf")], "%PDF").into_response(),
            "/large" => html("x".repeat(5 * 1024 * 1024)),
            _ => return None,
        })
    })
    .await;
    let app = TestApp::in_home(Home::with(&config(&site, ""))).await;
    let tenant = app.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}/theme/analyze");
    let port = to.port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://0177.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://[64:ff9b::7f00:1]:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://localhost.:{port}/"),
        format!("http://{}@127.0.0.1:{port}/", site.address),
        format!("http://example.com@127.0.0.1:{port}/"),
        format!("http://{}#@127.0.0.1:{port}/", "127.0.0.1"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://10.1.2.3/".into(),
        "http://192.168.1.1/".into(),
        "file:///etc/passwd".into(),
        "gopher://example.com/".into(),
        "example.com".into(),
        format!("https://example.com/{}", "x".repeat(1_000_000)),
        "https://exa\u{0}mple.com/".into(),
        "https://example.com/\u{202e}\r\nX: y".into(),
    ] {
        let answer = app.post(&path, json!({"website_url": url, "capture_screenshot": true})).await;
        let shown: String = url.chars().take(80).collect();
        let body = answer.expect(400);
        assert_eq!(body["code"], "FORBIDDEN_ADDRESS", "{shown}: {body}");
    }
    // A name of this machine that its own resolver knows, and no table of ours.
    if let Ok(host) = std::fs::read_to_string("/etc/hostname") {
        let host = host.trim();
        let known = tokio::net::lookup_host((host, port)).await.is_ok_and(|mut found| found.next().is_some());
        if known {
            app.post(&path, json!({"website_url": format!("http://{host}:{port}/")})).await.expect(400);
        } else {
            eprintln!("!!! SKIPPED: this machine's own name does not resolve");
        }
    }
    for body in
        [json!({}), json!({"website_url": 3}), json!({"website_url": "https://example.com", "evil": 1})]
    {
        app.post(&path, body).await.expect(400);
    }
    assert_eq!(
        app.events(1).await.iter().filter(|event| event["kind"] == "theme.analysis_requested").count(),
        0
    );

    for (page, says) in [
        ("/away", "not a public address"),
        ("/number", "not a public address"),
        ("/name", "not a public address"),
        ("/file", "http"),
        ("/round", "redirects"),
        ("/missing", "status 404"),
        ("/pdf", "application/pdf"),
        ("/large", "longer than"),
    ] {
        let analysis = analyze(&app, &tenant, &site.url(page)).await;
        let found = ended(&app, &tenant, &analysis).await;
        assert_eq!(found["status"], "failed", "{page}: {found}");
        assert!(found["error"].as_str().unwrap().contains(says), "{page}: {found}");
        assert_eq!(found["suggestions"], json!([]));
    }
    let analysis = analyze(&app, &tenant, &site.url("/parts")).await;
    let found = ended(&app, &tenant, &analysis).await;
    assert_eq!(found["status"], "complete", "{found}");
    assert!(found["notes"].to_string().contains("was not fetched"), "{found}");
    assert_eq!(private.count(), 0, "somebody who must not be reached was");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_that_a_crash_cuts_off_is_begun_again_and_ends_once() {
    let (open, held) = watch::channel(false);
    let site = Site::held(gallrein, held).await;
    let asked = async |times: usize| {
        let end = Instant::now() + PATIENCE;
        while site.count("/") < times {
            assert!(Instant::now() < end, "the page was not asked for");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let app = TestApp::in_home(Home::with(&config(&site, ""))).await;
    let (tenant, other) = (app.tenant("smith").await, app.tenant("jones").await);
    let analysis = analyze(&app, &tenant, &site.url("/")).await;
    asked(1).await;
    let path = format!("/api/tenants/{tenant}/theme");
    let now = app.get(&format!("{path}/suggestions")).await.expect(200);
    assert_eq!((&now["status"], &now["suggestions"]), (&json!("processing"), &json!([])));
    let body = json!({"website_url": site.url("/")});
    assert_eq!(app.post(&format!("{path}/analyze"), body).await.expect(409)["code"], "ANALYSIS_RUNNING");
    let home = app.kill();
    let app = TestApp::in_home(home).await;
    asked(2).await;
    open.send(true).unwrap();
    let found = ended(&app, &tenant, &analysis).await;
    assert_eq!(found["status"], "complete", "{found}");
    let events = app.events(1).await;
    let count = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((count("theme.analysis_started"), count("theme.analysis_completed")), (2, 1));
    // Of another tenant nothing of it is seen.
    app.get(&format!("/api/tenants/{other}/theme/suggestions?analysis_id={analysis}")).await.expect(404);
    app.get(&format!("/api/tenants/{other}/theme/screenshots/{analysis}.png")).await.expect(404);
    let stolen = json!({"suggestion_id": found["suggestions"][0]["id"]});
    app.post(&format!("/api/tenants/{other}/theme/apply-suggestion"), stolen).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_analyzes_shows_and_applies() {
    let site = Site::start(gallrein).await;
    let app = TestApp::in_home(Home::with(&config(&site, ""))).await;
    let tenant = app.tenant("smith").await;
    let run = async |args: &[&str]| {
        let mut command = app.home().program();
        command.args(args).env("TENANTRY_SERVER", &app.manager).env("TENANTRY_TOKEN", &app.token);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let analyzed = run(&["theme", "analyze", "smith", &site.url("/"), "--no-screenshot"]).await;
    let said = String::from_utf8(analyzed.stdout).unwrap();
    assert!(analyzed.status.success() && said.contains("Navy & Gold") && said.contains("note: "), "{said}");
    assert!(run(&["theme", "apply", "smith", "1"]).await.status.success());
    let shown = String::from_utf8(run(&["theme", "show", "smith"]).await.stdout).unwrap();
    assert!(shown.contains("#0e173e") && shown.contains(&site.url("/")), "{shown}");
    let refused = run(&["theme", "analyze", "smith", "http://127.0.0.1:8099/"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not a public address"));
    assert_eq!(run(&["theme", "apply", "smith", "9"]).await.status.code(), Some(1));
    assert_eq!(app.get(&format!("/api/tenants/{tenant}/theme")).await.expect(200)["text_color"], "#1f2937");
}
