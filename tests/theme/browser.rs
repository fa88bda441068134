//! Screenshots by a real Chromium, which reaches nothing that it must not.

use serde_json::json;
use tenantry::drivers::chromium;

use super::analysis::ended;
use super::site::{Private, Site, gallrein, html};
use crate::support::app::{Home, TestApp};

/// Says loudly when there is no browser to test with.
fn browser_is_there() -> bool {
    let found = chromium::find(None);
    if let Err(why) = &found {
        eprintln!("!!! SKIPPED: no page is pictured: {why}");
    }
    found.is_ok()
}

async fn analyze(app: &TestApp, tenant: &str, url: &str) -> serde_json::Value {
    let body = json!({"website_url": url, "capture_screenshot": true});
    let begun = app.post(&format!("/api/tenants/{tenant}/theme/analyze"), body).await.expect(202);
    ended(app, tenant, begun["analysis_id"].as_str().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_pictured_and_its_picture_kept() {
    if !browser_is_there() {
        return;
    }
    let site = Site::start(gallrein).await;
    let app = TestApp::in_home(Home::with(&format!("[analyze]\nallow_hosts = [\"{}\"]", site.address))).await;
    let tenant = app.tenant("smith").await;
    let found = analyze(&app, &tenant, &site.url("/")).await;
    assert_eq!(found["status"], "complete", "{found}");
    let path = found["screenshot"]
        .as_str()
        .unwrap_or_else(|| panic!("no screenshot: {}", found["notes"]))
        .to_owned();
    assert!(path.ends_with(".png"), "{path}");
    let response = app.request("GET", &path).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"image/png".parse().unwrap())
    );
    let picture = image::load_from_memory(&response.bytes().await.unwrap()).unwrap().into_rgb8();
    assert_eq!(picture.dimensions(), (1280, 1600));
    // The header fills the top of the window, the page's own background the rest.
    assert_eq!(picture.get_pixel(1200, 100).0, [0x0e, 0x17, 0x3e]);
    assert_eq!(picture.get_pixel(1200, 1500).0, [0xf8, 0xfa, 0xfc]);
    let asked = site.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|(path, agent)| path == "/main.css" && agent.contains("Chrome")), "{asked:?}");
    assert!(std::fs::read_dir(std::env::temp_dir()).unwrap().all(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap_or_default();
        !name.starts_with(&format!("tenantry-page-{}", found["analysis_id"].as_str().unwrap()))
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_page_reaches_nothing_through_the_browser() {
    if !browser_is_there() {
        return;
    }
    let private = Private::start().await;
    let (to, port) = (private.address, private.address.port());
    let site = Site::start(move |path| match path {
        "/" => Some(html(format!(
            "<body style='background:#123456'><img src='http://{to}/img'><iframe src='http://localhost:{port}/frame'></iframe>
             <link rel=stylesheet href='http://[::1]:{port}/css'><link rel=preconnect href='http://127.0.0.1:{port}'>
             <script src='http://[::ffff:127.0.0.1]:{port}/script'></script>
             <script>
               for (const host of ['{to}', 'localhost:{port}', '2130706433:{port}', '127.1:{port}']) {{
                 fetch('http://' + host + '/fetch', {{mode: 'no-cors'}}).catch(() => 0);
                 new WebSocket('ws://' + host + '/socket');
                 navigator.sendBeacon('http://' + host + '/beacon', 'x');
               }}
               new RTCPeerConnection({{iceServers: [{{urls: 'turn:{to}?transport=tcp', username: 'a', credential: 'b'}}]}})
                 .createDataChannel('x');
               fetch('/ran');
             </script>"
        ))),
        "/ran" => Some(html("ran")),
        _ => None,
    })
    .await;
    let app = TestApp::in_home(Home::with(&format!("[analyze]\nallow_hosts = [\"{}\"]", site.address))).await;
    let tenant = app.tenant("smith").await;
    let found = analyze(&app, &tenant, &site.url("/")).await;
    assert!(found["screenshot"].is_string(), "{found}");
    assert_eq!(site.count("/ran"), 1, "the page's script ran to its end");
    assert_eq!(private.count(), 0, "somebody who must not be reached was");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_browser_the_analysis_says_so_and_goes_on() {
    let site = Site::start(gallrein).await;
    for (chromium, says) in [("off", "is \\\"off\\\""), ("/nowhere/chromium", "no Chromium is installed")] {
        let more = format!("[analyze]\nallow_hosts = [\"{}\"]\nchromium = \"{chromium}\"", site.address);
        let app = TestApp::in_home(Home::with(&more)).await;
        let tenant = app.tenant("smith").await;
        let found = analyze(&app, &tenant, &site.url("/")).await;
        assert_eq!((&found["status"], &found["screenshot"]), (&json!("complete"), &serde_json::Value::Null));
        assert!(found["notes"].to_string().contains(says), "{found}");
    }
}
