//! What the fault tests share: file systems of their own, and looks at processes from outside.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::app::{Answer, Home, PATIENCE, TestApp, alive, signal};

/// Says past the test harness's capture that a test proved nothing.
pub(crate) fn skip(why: &str) {
    let text = format!("SKIPPED, AND NOTHING PROVED: {why}\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// Whether a program is there; says so loudly when it is not.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    if !found.status.success() {
        skip(&format!("this test needs {program}"));
    }
    found.status.success()
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Looks again and again until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A small ext4 of its own as the data directory of a home.
pub(crate) struct Disk {
    home: Arc<Home>,
}

impl Disk {
    /// `None`, told loudly, where it cannot be had.
    pub(crate) fn new(home: &Arc<Home>, megabytes: u64) -> Option<Disk> {
        let disk = Disk { home: Arc::clone(home) };
        std::fs::File::create(disk.image()).unwrap().set_len(megabytes << 20).unwrap();
        std::fs::create_dir(home.data_dir()).unwrap();
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(disk.image()));
        if let Err(error) = made.and_then(|()| disk.mount()) {
            skip(&format!("this test needs root, loop devices and mkfs.ext4: {error}"));
            return None;
        }
        Some(disk)
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.home.data_dir()))
    }

    /// Cuts the power: what the disk has it keeps, what the kernel still held is gone.
    /// False, told loudly, when the system offers no way.
    pub(crate) fn cut(&self) -> bool {
        // EXT4_IOC_SHUTDOWN with NOLOGFLUSH. There is no safe way to it from Rust.
        let script = "import fcntl,os,struct,sys\n\
                      fcntl.ioctl(os.open(sys.argv[1],os.O_RDONLY),0x8004587d,struct.pack('I',2))";
        let cut = run(Command::new("python3").args(["-c", script]).arg(self.home.data_dir()));
        if let Err(error) = &cut {
            skip(&format!("the power cannot be cut: {error}"));
        }
        cut.is_ok()
    }

    /// Mounts it again, once nobody has a file in it any more.
    pub(crate) async fn power_on(&self) {
        until("the file system is free", || run(Command::new("umount").arg(self.home.data_dir())).is_ok())
            .await;
        self.mount().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let dir = self.home.data_dir();
        let _ = self.home.program().args(["stop", "--all", "--data-dir"]).arg(&dir).output();
        if run(Command::new("umount").arg(&dir)).is_err() {
            let _ = run(Command::new("umount").arg("-l").arg(&dir));
        }
    }
}

/// Kills a process and waits until it is gone.
pub(crate) async fn kill(pid: u64) {
    signal(u32::try_from(pid).unwrap(), "KILL");
    until("a killed process is gone", || !alive(pid)).await;
}

/// The living processes whose command line contains a text.
pub(crate) fn with_command_line(text: &str) -> Vec<u64> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let mut found: Vec<u64> = pids
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).replace('\0', " ").contains(text))
        })
        .filter(|pid| alive(*pid))
        .collect();
    found.sort_unstable();
    found
}

/// The most memory that a process ever held, in MiB.
pub(crate) fn peak_mib(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// A variable of a process's environment.
pub(crate) fn variable(pid: u64, name: &str) -> String {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environ = String::from_utf8_lossy(&environ).into_owned();
    let found = environ.split('\0').find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{name} is not in {environ:?}")).to_owned()
}

pub(crate) async fn spawn(app: &TestApp, service: &str, id: &str) -> Answer {
    let body = json!({"service": service, "id": id});
    app.send(app.instances_request("POST", "/api/instances").json(&body)).await
}

pub(crate) async fn instance(app: &TestApp, name: &str) -> Answer {
    app.send(app.instances_request("GET", &format!("/api/instances/{name}"))).await
}

/// Waits until an instance is as wanted.
pub(crate) async fn instance_until(app: &TestApp, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = instance(app, name).await;
        if shown.status == 200 && wanted(&shown.json()) {
            return shown.json();
        }
        assert!(Instant::now() < end, "{name} never was as wanted: {shown:?}\n{}", app.log());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Events of a kind.
pub(crate) async fn events(app: &TestApp, kind: &str) -> Vec<Value> {
    app.events(1).await.into_iter().filter(|event| event["kind"] == kind).collect()
}

/// Waits until more than `count` events of a kind are there; gives them.
pub(crate) async fn more_events(app: &TestApp, kind: &str, count: usize) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = events(app, kind).await;
        if found.len() > count {
            return found;
        }
        assert!(Instant::now() < end, "no more than {} of {kind}\n{}", found.len(), app.log());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The process of an instance that was started last.
pub(crate) async fn pid_of(app: &TestApp, name: &str) -> u64 {
    let started = events(app, "instance.started").await;
    let last = started.iter().rev().find(|event| event["instance"] == name);
    last.unwrap_or_else(|| panic!("{name} was never started: {started:?}"))["data"]["pid"].as_u64().unwrap()
}

/// The keeper that was connected last.
pub(crate) async fn keeper_pid(app: &TestApp) -> u64 {
    let connected = more_events(app, "system.keeper_connected", 0).await;
    connected.last().unwrap()["data"]["pid"].as_u64().unwrap()
}

/// What an instance's own server answers: `ok PID`.
pub(crate) async fn answers(app: &TestApp, pid: u64) -> String {
    let port = variable(pid, "PORT");
    let answer = app.client.get(format!("http://127.0.0.1:{port}/")).send().await.unwrap();
    answer.text().await.unwrap()
}

pub(crate) fn notes(app: &TestApp, tenant: &str, notes: &str) -> reqwest::RequestBuilder {
    app.request("PUT", &format!("/api/tenants/{tenant}")).json(&json!({ "notes": notes }))
}

/// A tenant with nothing but a name.
pub(crate) async fn tenant(app: &TestApp, slug: &str) -> String {
    let body = json!({"name": slug, "slug": slug, "domain": format!("{slug}.example.com")});
    app.post("/api/tenants", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

/// Acknowledged changes of a tenant's notes, by position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged(pub(crate) Vec<(String, u64, String)>);

impl Acknowledged {
    /// Remembers an answer if it says that a change is done.
    pub(crate) fn note(&mut self, tenant: &str, notes: &str, answer: &Answer) -> bool {
        if answer.status != 200 {
            return false;
        }
        let seq = answer.headers["x-event-seq"].to_str().unwrap().parse().unwrap();
        self.0.push((tenant.to_owned(), seq, notes.to_owned()));
        true
    }

    /// All of it is there, and positions have neither gap nor repeat.
    pub(crate) async fn check(&self, app: &TestApp) {
        let events = app.events(1).await;
        for (event, expected) in events.iter().zip(1..) {
            assert_eq!(event["seq"].as_u64(), Some(expected), "a gap or a repeat");
        }
        for (tenant, seq, notes) in &self.0 {
            let shown = app.get(&format!("/api/tenants/{tenant}?as_of={seq}")).await.expect(200);
            assert_eq!(shown["notes"], notes.as_str(), "event {seq} is not what was acknowledged");
        }
    }
}

/// A write is refused in the shape of the first document.
pub(crate) fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let error = answer.json();
    for field in ["error", "detail", "code", "timestamp"] {
        assert!(error[field].is_string(), "{field} is missing in {error}");
    }
}

/// Every regular file below a directory with its bytes, sockets and pipes left out.
pub(crate) fn files(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}
