//! The program's own commands, run beside a server and without one.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::app::{Home, TestApp};

pub(crate) fn run(home: &Home, args: &[&str]) -> Output {
    home.program().args(args).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
pub(crate) fn said(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Serves a data directory that was made, with the same configuration; the old one must be down.
pub(crate) async fn serve(home: &Arc<Home>, data: &Path) -> TestApp {
    let mut command = home.program();
    let plain = home.serve();
    let mut is_data = false;
    for arg in plain.get_args() {
        let arg = if std::mem::replace(&mut is_data, arg == "--data-dir") { data.as_os_str() } else { arg };
        command.arg(arg);
    }
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    TestApp::from_command(Arc::clone(home), command).await
}

/// The seq and root that a running server's journal had at some position.
pub(crate) async fn head(app: &TestApp) -> u64 {
    app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].as_u64().unwrap()
}

pub(crate) async fn note(app: &TestApp, tenant: &str, notes: &str) {
    let path = format!("/api/tenants/{tenant}");
    app.send(app.request("PUT", &path).json(&json!({"notes": notes}))).await.expect(200);
}

/// The root over the whole journal of a data directory.
#[track_caller]
pub(crate) fn verified(home: &Home, data: &Path) -> Value {
    said(&run(home, &["journal", "verify", "--data-dir", text(data)]), 0)
}
