//! `tenantry users`, `settings`, `ports`, `tenants config` and `apply` against a real server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;
use support::app::TestApp;

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(app: &TestApp, args: &[&str], input: &str) -> Ended {
    let mut command = app.home().program();
    command.env("TENANTRY_SERVER", &app.manager).env("TENANTRY_TOKEN", &app.token);
    command.env("XDG_CONFIG_HOME", app.home().path().join("config")).args(args);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn done(app: &TestApp, args: &[&str], input: &str) -> String {
    let ended = run(app, args, input);
    assert_eq!(ended.code, Some(0), "{args:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn users_settings_ports_and_configurations_from_the_command_line() {
    let app = TestApp::start().await;
    app.tenant("smith").await;

    let created = done(
        &app,
        &[
            "users",
            "create",
            "tom",
            "--email",
            "t@h.example",
            "--role",
            "viewer",
            "--tenant",
            "smith",
            "--json",
        ],
        "battery staple\n",
    );
    let created: Value = serde_json::from_str(&created).unwrap();
    assert_eq!(created["tenant_ids"].as_array().unwrap().len(), 1);
    app.login("tom", "battery staple").await.expect(200);
    assert!(done(&app, &["user", "list"], "").contains("tom"));
    done(&app, &["users", "update", "tom", "--disable"], "");
    app.login("tom", "battery staple").await.expect(401);
    done(&app, &["users", "update", "tom", "--enable", "--all-tenants", "--role", "operator"], "");
    done(&app, &["users", "password", "tom"], "yet another one\n");
    app.login("tom", "yet another one").await.expect(200);
    done(&app, &["users", "delete", "tom"], "");
    assert_eq!(run(&app, &["users", "show", "tom"], "").code, Some(6));
    assert_eq!(run(&app, &["users", "update", "admin", "--disable"], "").code, Some(1));
    assert_eq!(run(&app, &["users", "update", "admin"], "").code, Some(2));

    assert_eq!(
        done(&app, &["settings", "set", "health_check_interval", "60"], ""),
        "health_check_interval = 60\n"
    );
    assert_eq!(done(&app, &["settings", "get", "health_check_interval"], ""), "60\n");
    let set = done(&app, &["settings", "set", "anthropic_api_key"], "sk-ant-hunter2\n");
    assert_eq!(set, "anthropic_api_key = ***hidden***\n");
    assert_eq!(
        done(&app, &["settings", "unset", "health_check_interval"], ""),
        "health_check_interval = 300\n"
    );
    assert_eq!(run(&app, &["settings", "get", "../tokens"], "").code, Some(6));
    assert!(done(&app, &["settings", "list"], "").contains("anthropic_api_key"));

    assert!(done(&app, &["ports", "list"], "").contains("smith for Senate"));
    let next = done(&app, &["ports", "next"], "");
    assert_eq!(next.split_whitespace().count(), 2, "{next}");

    done(&app, &["tenant", "update", "smith", "--name", "Jane Roe for Mayor", "--no-notes"], "");
    let config = |more: &[&str], input: &str| {
        let shown = done(&app, &[&["tenants", "config", "smith", "--json"], more].concat(), input);
        serde_json::from_str::<Value>(&shown).unwrap()
    };
    assert_eq!(config(&[], "")["app_name_short"], "Roe");
    let set = config(&["--set", "app_name=Roe 2026", "-e", "MODE=on", "--secret", "COLOUR"], "red\n");
    assert_eq!(
        (set["app_name"].as_str(), set["custom_env"]["MODE"].as_str()),
        (Some("Roe 2026"), Some("on"))
    );
    assert_eq!(set["custom_env"]["COLOUR"], "***hidden***");
    let again = config(&["--unset", "app_name", "--unset-env", "MODE"], "");
    assert_eq!(again["app_name"], "Jane Roe for Mayor");
    assert_eq!(again["custom_env"], serde_json::json!({"COLOUR": "***hidden***"}));
    assert!(done(&app, &["tenants", "regenerate-env", "smith"], "").contains("regenerated"));
    let file = std::fs::read_to_string(app.data_dir().join("tenants/smith/.env")).unwrap();
    assert!(file.contains("COLOUR=red\n"), "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_tenants_is_applied_once_and_changes_nothing_again() {
    let app = TestApp::start().await;
    app.tenant("jones").await;
    let path = app.home().path().join("tenants.toml");
    let path = path.to_str().unwrap();
    let file = "[tenants.smith]\nname = \"John Smith\"\ndomain = \"smith.example.com\"\n\
        [tenants.smith.config]\napp_name = \"Smith 2026\"\ncustom_env = { API_KEY = \"hunter2\", MODE = \"on\" }\n\
        [tenants.jones]\ndomain = \"jones.example.com\"\nnotes = \"renamed\"\n";
    std::fs::write(path, file).unwrap();
    let head = app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].clone();
    let dry = done(&app, &["apply", path, "--dry-run"], "");
    assert!(dry.contains("+ smith") && dry.contains("~ jones") && !dry.contains("hunter2"), "{dry}");
    assert_eq!(run(&app, &["apply", path], "").code, Some(2), "nobody can be asked");
    assert_eq!(app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"], head);

    let applied = done(&app, &["apply", path, "--yes"], "");
    assert!(applied.contains("smith applied") && applied.contains("jones applied"), "{applied}");
    let listed = app.get("/api/tenants?search=smith").await.expect(200);
    let id = listed["tenants"][0]["id"].as_str().unwrap();
    let config = app.get(&format!("/api/tenants/{id}/config")).await.expect(200);
    assert_eq!((&config["app_name"], &config["custom_env"]["MODE"]), (&"Smith 2026".into(), &"on".into()));

    let head = app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].clone();
    let again = done(&app, &["apply", path, "--yes", "--json"], "");
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["applied"], false);
    assert!(again["tenants"].as_array().unwrap().iter().all(|tenant| tenant["action"] == "none"), "{again}");
    assert_eq!(app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"], head);
    // A secret that differs is seen to differ.
    std::fs::write(path, file.replace("hunter2", "hunter3")).unwrap();
    let other = done(&app, &["apply", path, "--dry-run"], "");
    assert!(other.contains("config.custom_env") && !other.contains("hunter"), "{other}");
    std::fs::write(path, "[tenants.smith]\ncolour = 1\n").unwrap();
    assert_eq!(run(&app, &["apply", path, "--yes"], "").code, Some(3));
}
