//! Values that would mean something to systemd if they were not quoted, and neighbours that look around.

use std::path::Path;

use serde_json::json;

use crate::boxed::{Boxed, deploy};
use crate::support::app::fixture;

/// More variables of the backend.
const HOSTILE: &str = r#"
[deploy.template.backend.env]
LINES = "first\nsecond = \"x\"\n[Service]\nUser=0"
PERCENT = "%n %h 100%"
QUOTES = '''"'$HOME ${PATH} `id` \ \n'''
EMPTY = ""
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_is_given_arrives_as_it_was_meant() {
    let Some(boxed) = Boxed::start(HOSTILE) else { return };
    let config = boxed.home.config().replace(
        "command = \"python3 {release}/backend.py\"",
        &format!(
            "command = [\"python3\", \"{}\", \"{{release}}/backend.py\", \"a b\", \"%n $HOME ${{X}}\", \"\\\"'\\\\\", \"x\\nExecStart=/bin/false\", \"\", \";\"]",
            fixture("telling.py").display()
        ),
    );
    std::fs::write(boxed.home.config_file(), config).unwrap();
    let app = boxed.app().await;
    let tenant = app.tenant("odd").await;
    let custom = json!({"custom_env": {"CUSTOM": "50% $HOME \"q\" 'a' \\ `id` #;="}});
    app.send(app.request("PUT", &format!("/api/tenants/{tenant}/config")).json(&custom)).await.expect(200);
    let deployment = deploy(&app, &tenant).await;
    assert_eq!(deployment["status"], "success", "{deployment}\n{}", app.log());
    let told = std::fs::read_to_string(app.data_dir().join("tenants/odd/told.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told["args"].as_array().unwrap()[1..],
        [
            json!("a b"),
            json!("%n $HOME ${X}"),
            json!("\"'\\"),
            json!("x\nExecStart=/bin/false"),
            json!(""),
            json!(";")
        ]
    );
    let env = &told["env"];
    assert_eq!(env["LINES"], "first\nsecond = \"x\"\n[Service]\nUser=0");
    assert_eq!(env["PERCENT"], "%n %h 100%");
    assert_eq!(env["QUOTES"], "\"'$HOME ${PATH} `id` \\ \\n");
    assert_eq!(env["EMPTY"], "");
    assert_eq!(env["CUSTOM"], "50% $HOME \"q\" 'a' \\ `id` #;=");
    assert_eq!(env["TENANTRY_ADMIN_PASSWORD"], serde_json::Value::Null);

    // Nothing of the others, nothing of ours, nothing outside.
    assert_eq!(told["neighbours"], json!(["odd"]));
    assert_eq!(told["data"], json!(["tenants"]));
    assert_eq!(told["writes_outside"], false);
    assert_eq!(told["capabilities"], "0000000000000000");
    let unit = boxed.unit("backend-odd");
    let text = boxed.run(&["cat", &format!("/etc/systemd/system/{unit}")]);
    for secret in ["CUSTOM", "50%", "second ="] {
        assert!(!text.contains(secret), "a public file holds a value: {text}");
    }
    let files = app.data_dir().join("units");
    for entry in std::fs::read_dir(&files).unwrap() {
        let path = entry.unwrap().path();
        assert!(is_private(&path), "{}", path.display());
    }
}

fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_systemd_does_not_take_fails_the_step_and_nothing_is_left() {
    let Some(boxed) = Boxed::start("") else { return };
    let good = boxed.home.config().to_owned();
    let app = boxed.app().await;
    let tenant = app.tenant("smith").await;
    let first = deploy(&app, &tenant).await;
    assert_eq!(first["status"], "success", "{first}");
    let before = boxed.left();
    let bad = good.replace("command = \"python3 {release}/backend.py\"", "command = \"/nowhere/program\"");
    std::fs::write(boxed.home.config_file(), bad).unwrap();
    app.send(app.instances_request("POST", "/api/config/reload")).await.expect(200);
    let failed = deploy(&app, &tenant).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    let step = &failed["steps"][2];
    assert_eq!((&step["name"], &step["status"]), (&json!("Create systemd services"), &json!("failed")));
    let log = app.get(&format!("/api/deployments/{}/logs", failed["id"].as_str().unwrap())).await.expect(200);
    assert!(log["logs"].as_str().unwrap().contains("/nowhere/program"), "{log}");
    assert_eq!(boxed.left(), before, "what serves was touched");
    let health = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert_eq!(health["status"], "running", "{health}");
    assert_eq!(std::fs::read_dir(app.data_dir().join("units/check")).unwrap().count(), 0);
}
