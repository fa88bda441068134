//! A real systemd in namespaces of its own, and a control plane in there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::app::{Home, PATIENCE, TestApp, fixture, signal};

/// A systemd as process 1 of a box.
pub(crate) struct Boxed {
    dir: PathBuf,
    child: Child,
    pid: u32,
    pub(crate) home: Arc<Home>,
}

fn skipped(why: &str) -> Option<Boxed> {
    eprintln!("!!! SKIPPED: {why}, so nothing of tenants' systemd units is tested");
    None
}

impl Boxed {
    /// One whose control plane makes units; `None`, loudly, when there can be none.
    pub(crate) fn start(more: &str) -> Option<Boxed> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::getuid().is_root() {
            return skipped("not root");
        }
        if !Path::new("/lib/systemd/systemd").exists() {
            return skipped("systemd is not installed");
        }
        let home = Home::with(more);
        let name = format!("tsb{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new("/tmp").join(name);
        std::fs::create_dir(&dir).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_tenantry")).parent().unwrap();
        let log = std::fs::File::create(dir.with_extension("log")).unwrap();
        let child = Command::new("bash")
            .arg(fixture("systemd-box.sh"))
            .args([&dir, home.path(), Path::new(env!("CARGO_MANIFEST_DIR")), program])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut boxed = Boxed { dir, child, pid: 0, home };
        let end = Instant::now() + PATIENCE;
        while !boxed.is_up() {
            if boxed.child.try_wait().unwrap().is_some() {
                let log = std::fs::read_to_string(boxed.dir.with_extension("log")).unwrap_or_default();
                return skipped(&format!("no box can be made for systemd here: {}", log.trim()));
            }
            assert!(Instant::now() < end, "systemd does not come up in its box");
            std::thread::yield_now();
        }
        Some(boxed)
    }

    /// Whether process 1 of the box is a systemd that has started everything.
    fn is_up(&mut self) -> bool {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let Some(pid) = children.split_whitespace().next().and_then(|pid| pid.parse().ok()) else {
            return false;
        };
        let is_systemd = std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| exe.file_name().is_some_and(|name| name == "systemd"));
        self.pid = pid;
        is_systemd
            && matches!(self.try_run(&["systemctl", "is-system-running"]).1.trim(), "running" | "degraded")
    }

    /// A command inside of the box.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-a", "--"]).arg(program);
        command
    }

    /// Runs something in the box; gives whether it succeeded and what it printed.
    pub(crate) fn try_run(&self, words: &[&str]) -> (bool, String) {
        let mut command = self.command(words[0]);
        let output = command.args(&words[1..]).stdin(Stdio::null()).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
    }

    /// Runs something in the box that must succeed; gives what it printed.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let (succeeded, printed) = self.try_run(words);
        assert!(succeeded, "{words:?}: {printed}");
        printed
    }

    /// A control plane in the box.
    pub(crate) async fn app(&self) -> TestApp {
        let serve = self.home.serve();
        let mut command = self.command(serve.get_program());
        command.args(serve.get_args()).env_clear();
        for (name, value) in serve.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.env("TENANTRY_DEPLOY_SERVICES", "systemd");
        TestApp::from_command(Arc::clone(&self.home), command).await
    }

    /// Names of the units of a process that lie in place, without the run's.
    pub(crate) fn units(&self, label: &str) -> Vec<String> {
        let listed =
            self.run(&["find", "/etc/systemd/system", "-maxdepth", "1", "-name", "*tenantry*", "-type", "f"]);
        let mut names: Vec<String> = listed
            .lines()
            .filter_map(|path| path.strip_prefix("/etc/systemd/system/"))
            .filter(|name| name.starts_with(&format!("tenantry-{label}@")))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    /// Everything of ours that lies among systemd's files.
    pub(crate) fn left(&self) -> String {
        self.run(&["find", "/etc/systemd/system", "-name", "*tenantry*"])
    }

    /// The one unit of a process.
    #[track_caller]
    pub(crate) fn unit(&self, label: &str) -> String {
        let units = self.units(label);
        assert_eq!(units.len(), 1, "{units:?}");
        units[0].clone()
    }

    /// What systemd says of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", property, "--", unit]).trim().to_owned()
    }

    /// Waits until something is so in the box.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Boxed) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(
                Instant::now() < end,
                "never: {what}\n{}",
                self.run(&["systemctl", "list-units", "--all", "tenantry*"])
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        if std::thread::panicking() && self.pid > 0 {
            eprintln!(
                "--- units ---\n{}",
                self.try_run(&["systemctl", "--no-pager", "status", "tenantry*"]).1
            );
        }
        // The first process of the box takes everything in it with it, and is waited for.
        if self.pid > 0 {
            signal(self.pid, "KILL");
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let groups = std::fs::read_to_string(self.dir.with_extension("cgroups")).unwrap_or_default();
        let end = Instant::now() + Duration::from_secs(5);
        for group in groups.lines().map(Path::new) {
            // The kernel lets go of a dead process's group a moment later.
            while group.exists() && Instant::now() < end {
                let mut find = Command::new("find");
                find.arg(group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
                let _ = find.stderr(Stdio::null()).status();
            }
        }
        let _ = std::fs::remove_dir(&self.dir);
        for more in ["log", "cgroups"] {
            let _ = std::fs::remove_file(self.dir.with_extension(more));
        }
    }
}

/// Deploys and waits for the end.
pub(crate) async fn deploy(app: &TestApp, tenant: &str) -> Value {
    let answer = app.post(&format!("/api/tenants/{tenant}/deploy"), json!({})).await.expect(202);
    app.deployed(answer["deployment_id"].as_str().unwrap()).await
}
