//! Getting and changing a theme: forms, files, hostile names, the tenant's directory.

use std::io::Cursor;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::app::{Answer, TestApp};

pub(crate) fn picture(format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let dots = image::RgbImage::from_fn(60, 40, |x, y| image::Rgb([x as u8, y as u8, 62]));
    dots.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn file(bytes: impl Into<Vec<u8>>, name: &str, kind: &str) -> Part {
    Part::bytes(bytes.into()).file_name(name.to_owned()).mime_str(kind).unwrap()
}

async fn put(app: &TestApp, tenant: &str, form: Form) -> Answer {
    app.send(app.request("PUT", &format!("/api/tenants/{tenant}/theme")).multipart(form)).await
}

fn assets(app: &TestApp, slug: &str) -> std::path::PathBuf {
    app.data_dir().join("tenants").join(slug).join("assets")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_theme_has_defaults_is_changed_by_a_form_and_lies_in_the_tenants_directory() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}/theme");
    let before = app.get(&path).await;
    assert_eq!(before.headers["etag"], "\"0\"");
    let before = before.expect(200);
    for (field, value) in [
        ("primary_color", json!("#0e173e")),
        ("secondary_color", json!("#f1c613")),
        ("accent_color", json!("#f1c613")),
        ("text_color", json!("#374151")),
        ("sidebar_color", json!("#f8fafc")),
        ("logo_full", Value::Null),
        ("ai_generated", json!(false)),
        ("source_website", Value::Null),
        ("tenant_id", json!(tenant)),
        ("warnings", json!([])),
    ] {
        assert_eq!(before[field], value, "{field}");
    }
    assert_eq!(before["id"].as_str().unwrap().as_bytes()[14], b'7', "{before}");

    let png = picture(image::ImageFormat::Png);
    let form = Form::new()
        .text("primary_color", "#123456")
        .text("text_color", "#AAA")
        .part("logo_full", file(png.clone(), "../../evil.png", "image/png"));
    let changed = put(&app, &tenant, form).await;
    let tag = changed.headers["etag"].clone();
    let changed = changed.expect(200);
    assert_eq!(changed["message"], "Theme updated and applied to tenant");
    assert_eq!((&changed["primary_color"], &changed["text_color"]), (&json!("#123456"), &json!("#aaaaaa")));
    assert_eq!(changed["logo_full"], "/assets/logos/logo-full.png");
    assert_eq!(changed["id"], before["id"]);
    assert_eq!(changed["warnings"].as_array().unwrap().len(), 2, "{changed}");
    assert!(changed["warnings"][0].as_str().unwrap().contains("2.2"), "{changed}");

    let assets = assets(&app, "smith");
    assert_eq!(std::fs::read(assets.join("logos/logo-full.png")).unwrap(), png, "it lies there unchanged");
    let told: Value = serde_json::from_slice(&std::fs::read(assets.join("theme.json")).unwrap()).unwrap();
    assert_eq!(
        (&told["primary_color"], &told["logo_full"]),
        (&changed["primary_color"], &changed["logo_full"])
    );
    assert!(std::fs::read_to_string(assets.join("theme.css")).unwrap().contains("--primary-color: #123456;"));

    // Somebody who saw the theme before it changed is told so.
    let stale = app
        .request("PUT", &path)
        .header("if-match", "\"0\"")
        .multipart(Form::new().text("text_color", "#000"));
    app.send(stale).await.expect(412);
    let fresh =
        app.request("PUT", &path).header("if-match", tag).multipart(Form::new().text("text_color", "#000"));
    assert_eq!(app.send(fresh).await.expect(200)["warnings"], json!([]));

    // A dry run says what would be, and keeps nothing.
    let dry = app.request("PUT", &format!("{path}?dry_run=true"));
    let form = Form::new().part("logo_icon", file(picture(image::ImageFormat::WebP), "a.webp", "image/webp"));
    let dry = app.send(dry.multipart(form)).await.expect(200);
    assert_eq!(dry["events"][0]["kind"], "theme.updated");
    assert_eq!(app.get(&path).await.expect(200)["logo_icon"], Value::Null);
    let blobs = std::fs::read_dir(app.data_dir().join("blobs").join(&tenant)).unwrap().count();
    assert_eq!(blobs, 1);

    // Before the first change it looked as it did before.
    let events = app.events(1).await;
    let first =
        events.iter().find(|event| event["kind"] == "theme.updated").unwrap()["seq"].as_u64().unwrap();
    let then = app.get(&format!("{path}?as_of={}", first - 1)).await.expect(200);
    assert_eq!(then["primary_color"], "#0e173e");
    let home = app.kill();
    let app = TestApp::in_home(home).await;
    assert_eq!(app.get(&path).await.expect(200)["primary_color"], "#123456");
}

#[tokio::test(flavor = "multi_thread")]
async fn logos_are_what_their_bytes_are_and_are_served_so() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}/theme");
    let (jpeg, webp) = (picture(image::ImageFormat::Jpeg), picture(image::ImageFormat::WebP));
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"><script>alert(2)</script><rect width=\"4\" height=\"4\"/></svg>";
    let form = Form::new()
        .part("logo_full", file(jpeg.clone(), "logo.png", "image/png"))
        .part("logo_cropped", file(webp.clone(), "logo.exe", "application/x-msdownload"))
        .part("logo_icon", file(svg, "logo.png", "image/png"))
        .part("logo_name", file(Vec::new(), "", "application/octet-stream"));
    let theme = put(&app, &tenant, form).await.expect(200);
    assert_eq!(
        (&theme["logo_full"], &theme["logo_cropped"], &theme["logo_icon"], &theme["logo_name"]),
        (
            &json!("/assets/logos/logo-full.jpg"),
            &json!("/assets/logos/logo-cropped.webp"),
            &json!("/assets/logos/logo-icon.svg"),
            &Value::Null
        )
    );
    let logos = assets(&app, "smith").join("logos");
    assert_eq!(std::fs::read(logos.join("logo-full.jpg")).unwrap(), jpeg);
    let cleaned = std::fs::read_to_string(logos.join("logo-icon.svg")).unwrap();
    assert!(!cleaned.contains("alert") && cleaned.contains("<rect width=\"4\""), "{cleaned}");

    let served = app.get(&format!("{path}/logos/icon")).await;
    assert_eq!((served.status, &served.text), (200, &cleaned));
    let header = |name: &str| served.headers[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header("content-type"), header("x-content-type-options")),
        ("image/svg+xml".into(), "nosniff".into())
    );
    assert!(header("content-security-policy").contains("default-src 'none'"));
    assert!(header("content-security-policy").contains("sandbox"));
    assert_eq!(header("content-disposition"), "attachment; filename=\"logo-icon.svg\"");
    let again = app.request("GET", &format!("{path}/logos/icon")).header("if-none-match", header("etag"));
    let again = app.send(again).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(app.get(&format!("{path}/logos/full")).await.headers["content-type"], "image/jpeg");
    for (kind, status) in [("name", 404), ("..%2f..%2fmaster.key", 404), ("logo_full", 404)] {
        app.get(&format!("{path}/logos/{kind}")).await.expect(status);
    }
    let nobody = app.client.get(format!("{}{path}/logos/icon", app.manager)).send().await.unwrap();
    assert_eq!(nobody.status(), 401);

    // Another format takes the place of the file; a field without a file takes the logo away.
    let png = picture(image::ImageFormat::Png);
    std::fs::write(logos.join("of-the-app.png"), "x").unwrap();
    put(&app, &tenant, Form::new().part("logo_full", file(png.clone(), "a", "text/html"))).await.expect(200);
    let theme = put(&app, &tenant, Form::new().text("logo_icon", "")).await.expect(200);
    assert_eq!(theme["logo_icon"], Value::Null);
    let mut names: Vec<_> = std::fs::read_dir(&logos)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["logo-cropped.webp", "logo-full.png", "of-the-app.png"]);
    assert_eq!(std::fs::read(logos.join("logo-full.png")).unwrap(), png);

    // What lay there before is still known.
    let events = app.events(1).await;
    let first =
        events.iter().find(|event| event["kind"] == "theme.updated").unwrap()["seq"].as_u64().unwrap();
    let then = app.get(&format!("{path}/logos/icon?as_of={first}")).await;
    assert_eq!((then.status, then.text), (200, cleaned));
    let sealed = app.data_dir().join("blobs").join(&tenant);
    for blob in std::fs::read_dir(sealed).unwrap() {
        let bytes = std::fs::read(blob.unwrap().path()).unwrap();
        assert!(
            !bytes.starts_with(b"\x89PNG") && !bytes.starts_with(b"\xff\xd8") && !bytes.starts_with(b"<svg")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_wrong_is_refused_with_the_field_and_changes_nothing() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}/theme");
    let json = app.send(app.request("PUT", &path).json(&json!({"primary_color": "#123456"}))).await;
    assert_eq!(json.expect(415)["code"], "UNSUPPORTED_MEDIA_TYPE");
    let head = app.events(1).await.len();
    let long = "x".repeat(1_000_000);
    let png = || picture(image::ImageFormat::Png);
    let mut bomb = png();
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let text = |name: &str, value: &str| Form::new().text(name.to_owned(), value.to_owned());
    let logo = |bytes: Vec<u8>| Form::new().part("logo_full", file(bytes, "logo.png", "image/png"));
    for (form, status, says) in [
        (text("primary_color", "red"), 400, "primary_color"),
        (text("primary_color", "#12345"), 400, "primary_color"),
        (text("primary_color", "#123456;}body{}"), 400, "primary_color"),
        (text("primary_color", &long), 400, "primary_color"),
        (text("primary_color", "#12\u{0}456"), 400, "primary_color"),
        (text(&long, "#123456"), 400, "xxx"),
        (text("tenant_id", "#123456"), 400, "tenant_id"),
        (text("logo_full", "#123456"), 400, "logo_full"),
        (text("text_color", "#000").text("text_color", "#fff"), 400, "twice"),
        (Form::new(), 400, "form"),
        (logo(b"<html><script>alert(1)</script></html>".to_vec()), 400, "SVG"),
        (logo(b"GIF89a".to_vec()), 400, "PNG"),
        (
            logo(
                b"<!DOCTYPE svg [<!ENTITY x \"y\">]><svg xmlns=\"http://www.w3.org/2000/svg\"><rect/></svg>"
                    .to_vec(),
            ),
            400,
            "DOCTYPE",
        ),
        (logo(png()[..50].to_vec()), 400, "damaged"),
        (logo(bomb), 400, "damaged"),
        (logo(vec![0; 2 * 1024 * 1024 + 1]), 400, "longer"),
        (logo(vec![0; 9 * 1024 * 1024]), 413, "longer"),
        (Form::new().part("logo_full", file(Vec::new(), "logo.png", "image/png")), 400, "empty"),
        // A bad logo beside a good colour: nothing is changed.
        (logo(b"x".to_vec()).text("primary_color", "#123456"), 400, "logo_full"),
    ] {
        let Ok(answer) = app.try_send(app.request("PUT", &path).multipart(form)).await else {
            // A body that is refused by its length is not read to its end.
            assert_eq!(status, 413);
            continue;
        };
        let said = answer.text.clone();
        answer.expect(status);
        assert!(said.contains(says) && said.len() < 2000, "{says}: {said}");
    }
    let broken =
        app.request("PUT", &path).header("content-type", "multipart/form-data; boundary=x").body("--y\r\n");
    app.send(broken).await.expect(400);
    let no_boundary = app.request("PUT", &path).header("content-type", "multipart/form-data").body("");
    app.send(no_boundary).await.expect(400);
    assert_eq!(app.events(1).await.len(), head, "nothing was recorded");
    // A file's name is nobody's business.
    let named = Form::new().part("logo_full", file(png(), &long, "image/png"));
    put(&app, &tenant, named).await.expect(200);
    let missing = "00000000-0000-7000-8000-000000000000";
    app.get(&format!("/api/tenants/{missing}/theme")).await.expect(404);
    put(&app, missing, text("text_color", "#000")).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_application_shows_the_theme_without_a_restart() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let deployment = app.deploy(&tenant).await;
    assert_eq!(app.deployed(&deployment).await["status"], "success");
    let port =
        app.get(&format!("/api/tenants/{tenant}")).await.expect(200)["frontend_port"].as_u64().unwrap();
    let site = |path: &str| app.client.get(format!("http://127.0.0.1:{port}{path}"));
    let before = app.send(site("/theme.css")).await;
    assert!(before.text.contains("--primary:#0e173e;"), "{before:?}");
    let png = picture(image::ImageFormat::Png);
    let form =
        Form::new().text("primary_color", "#123456").part("logo_icon", file(png.clone(), "i", "image/png"));
    put(&app, &tenant, form).await.expect(200);
    assert!(app.send(site("/theme.css")).await.text.contains("--primary:#123456;"));
    assert!(app.send(site("/")).await.text.contains("<img src=\"/assets/logos/logo-icon.png\""));
    let logo = site("/assets/logos/logo-icon.png").send().await.unwrap();
    assert_eq!(logo.bytes().await.unwrap(), png);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_theme_that_cannot_be_written_yet_is_written_when_it_can() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let directory = app.data_dir().join("tenants/smith");
    std::fs::create_dir_all(&directory).unwrap();
    // The application put a link where its assets should be: it is not followed.
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), directory.join("assets")).unwrap();
    let told = put(&app, &tenant, Form::new().text("primary_color", "#123456")).await.expect(200);
    assert_eq!(told["message"], "Theme updated; it is not in the tenant's directory yet");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    std::fs::remove_file(directory.join("assets")).unwrap();
    let home = app.kill();
    let app = TestApp::in_home(home).await;
    let applied = async {
        loop {
            if app.events(1).await.iter().any(|event| event["kind"] == "theme.applied") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(crate::support::app::PATIENCE, applied).await.unwrap();
    assert!(directory.join("assets/theme.json").exists());
}
