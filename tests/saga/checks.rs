//! What must be so after all lives: one end of everything, nothing left over, the same world.

use std::path::Path;

use serde_json::{Value, json};

use crate::front::Front;
use crate::support::app::{Home, PATIENCE, TestApp};

/// Names that only something half done has.
const TEMPORARY: [&str; 5] = [".partial", ".discarded-", ".tenantry-new-", ".next", ".new"];

/// Waits until these programs run for the home, and no others: no tool is left, no process of a
/// release that was replaced.
pub(crate) async fn processes(app: &TestApp, wanted: &[&str]) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let mut found = running(app.home().path());
        found.sort();
        if found == wanted {
            return;
        }
        assert!(std::time::Instant::now() < end, "{found:?} run, not {wanted:?}\n{}", app.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The programs that run in a directory or with it in their command line, by name.
fn running(home: &Path) -> Vec<String> {
    let below = home.display().to_string();
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let inside = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(home));
        if line.is_empty() || !(inside || line.contains(&below)) {
            continue;
        }
        let known = ["serve", "keeper", "frontend.py", "backend.py"];
        let known = known.into_iter().find(|name| line.split(' ').any(|word| word.ends_with(name)));
        names.push(known.map_or(line.clone(), str::to_owned));
    }
    names
}

/// No file below a directory has the name of something half done.
pub(crate) fn nothing_half_done(home: &Home, front: &Front) {
    let mut waiting = vec![home.data_dir(), front.path("sites-available"), front.path("sites-enabled")];
    while let Some(dir) = waiting.pop() {
        // What is replaced while we look is looked at by its owner.
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().into_string().unwrap();
            let is_half = TEMPORARY.iter().any(|half| name.starts_with(half) || name.ends_with(half));
            assert!(!is_half, "{} was left", entry.path().display());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
        }
    }
    let claims = names(&home.data_dir().join("claims"));
    assert!(claims.is_empty(), "claims were left: {claims:?}");
}

/// The names in a directory, sorted; none when there is no such directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a tenant is like, without what differs from one tenant to the next.
pub(crate) async fn world(app: &TestApp, tenant: &str, slug: &str) -> Value {
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    let releases = app.get(&format!("/api/tenants/{tenant}/releases")).await.expect(200);
    let deployments = app.get(&format!("/api/tenants/{tenant}/deployments")).await.expect(200);
    let path = "/api/instances?limit=1000";
    let instances = app.send(app.instances_request("GET", path)).await.expect(200);
    let own: Vec<&Value> = instances["instances"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|instance| instance["id"] == slug || instance["instance"].as_str().unwrap().ends_with(slug))
        .collect();
    assert_eq!(own.len(), 2, "{instances:#}");
    let mut all = json!([shown, releases, deployments, own]);
    settle(&mut all, slug);
    all
}

/// Takes out what is of one tenant and one moment: ids, names, times, ports, sizes.
fn settle(value: &mut Value, slug: &str) {
    let is_of_a_moment = |key: &str| {
        key == "id"
            || ["_id", "_at", "_port", "port"].iter().any(|end| key.ends_with(end))
            || ["last_", "uptime", "memory", "cpu", "duration", "estimated", "version", "commit", "not_"]
                .iter()
                .any(|begin| key.starts_with(begin))
            || ["detail", "pid", "expires", "fingerprint", "storage_used_mb", "time", "requests_total"]
                .contains(&key)
            || key.contains("response_time")
    };
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !is_of_a_moment(key));
            fields.values_mut().for_each(|field| settle(field, slug));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| settle(item, slug)),
        Value::String(text) => *text = text.replace(slug, "SLUG"),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// How often events of a kind were recorded for a deployment (or a tenant), by step.
pub(crate) fn count(events: &[Value], kind: &str, field: &str, id: &str) -> usize {
    events.iter().filter(|event| event["kind"] == kind && event["data"][field] == id).count()
}

/// What was recorded last before each cut: the kinds, with their step.
pub(crate) fn cut_after(events: &[Value]) -> Vec<String> {
    let own = |event: &&Value| !event["kind"].as_str().unwrap().starts_with("system.");
    let starts = events.iter().enumerate().filter(|(_, event)| event["kind"] == "system.started");
    let before = starts.filter_map(|(place, _)| events[..place].iter().rev().find(own));
    let mut kinds: Vec<String> = before
        .map(|event| match event["data"]["step"].as_str() {
            Some(step) => format!("{} {step}", event["kind"].as_str().unwrap()),
            None => event["kind"].as_str().unwrap().to_owned(),
        })
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The commands that a template ran, by their own account: each writes a line when it begins
/// and one when it ends. One that was killed never ends, and none runs beside another.
pub(crate) struct Account(Vec<(String, String, String)>);

impl Account {
    pub(crate) fn of(home: &Home, slug: &str) -> Account {
        let text = std::fs::read_to_string(home.path().join("account")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, release, pid] = words[..] else { panic!("{line}") };
            release.contains(slug).then(|| (what.to_owned(), release.to_owned(), pid.to_owned()))
        });
        Account(lines.collect())
    }

    /// How often a command came to its end for a release.
    pub(crate) fn ends(&self, command: &str, release: u32) -> usize {
        let (end, release) = (format!("{command}-end"), format!("/releases/{release}"));
        self.0.iter().filter(|(what, of, _)| *what == end && of.ends_with(&release)).count()
    }

    /// Nothing that a command did came after the next had begun.
    pub(crate) fn one_at_a_time(&self) {
        let mut present = None;
        for (what, _, pid) in &self.0 {
            if what.ends_with("-begin") {
                present = Some(pid);
            } else {
                assert_eq!(present, Some(pid), "one ran beside another: {:#?}", self.0);
            }
        }
    }
}
