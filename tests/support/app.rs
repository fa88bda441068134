//! A real control plane for tests: the program itself, on real ports, in a directory of its own.
//!
//! Everything that it started ends with it, also when the test fails.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than anything takes on a busy machine; reached only when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const PASSWORD: &str = "correct horse battery";

/// The directory that a control plane lives in; outlives its restarts.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    config: String,
}

/// A response, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }
}

/// A control plane that runs.
pub(crate) struct TestApp {
    pub(crate) manager: String,
    pub(crate) instances: String,
    pub(crate) token: String,
    pub(crate) client: reqwest::Client,
    pub(crate) pid: u32,
    home: Arc<Home>,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Home {
    /// An empty one. Its tenants run `examples/campaign`, its services `api` and a few that misbehave.
    pub(crate) fn new() -> Arc<Home> {
        Home::with("")
    }

    /// With more lines at the end of its configuration.
    pub(crate) fn with(more: &str) -> Arc<Home> {
        // Below /tmp, so that socket paths stay short.
        let dir = tempfile::Builder::new().prefix("tnt").tempdir_in("/tmp").unwrap();
        let ports = super::ports::free_block();
        let config = format!(
            r#"
[settings]
health_check_interval = 1
rate_limit_per_minute = 1000000
rate_limit_per_hour = 1000000

[ports]
first = {ports}
last = {last}
step = 10
instances_first = {instance_first}
instances_last = {instance_last}

[deploy]
root = "{{data_dir}}/tenants"
nginx = "off"
ssl = "off"

[deploy.template]
init = "python3 {{release}}/init.py"
database = "data/app.db"

[deploy.template.frontend]
command = "python3 {{release}}/frontend.py"
health = "/health"
startup_timeout = 20

[deploy.template.backend]
command = "python3 {{release}}/backend.py"
health = "/health"
startup_timeout = 20

[service.api]
command = "python3"
args = ["{app}"]
health = "/health"
stop_timeout = 2
{more}
"#,
            last = ports + 99,
            instance_first = ports + 100,
            instance_last = ports + 199,
            app = fixture("api.py").display(),
        );
        std::fs::write(dir.path().join("tenantry.toml"), &config).unwrap();
        Arc::new(Home { dir, config })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.path().join("tenantry.toml")
    }

    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    /// The program with its configuration, ready for a subcommand.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(self.path());
        command
    }

    /// `tenantry serve`, to be started.
    pub(crate) fn serve(&self) -> Command {
        let mut command = self.program();
        command
            .arg("serve")
            .arg("--config")
            .arg(self.config_file())
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--manager", "127.0.0.1:0", "--instances", "127.0.0.1:0"])
            .env("TENANTRY_ADMIN_PASSWORD", PASSWORD)
            .env("TENANTRY_LOG", "info");
        command
    }

    /// Makes a git repository of the sample application, and gives its address.
    pub(crate) fn campaign(&self) -> String {
        let repository = self.path().join("campaign");
        if !repository.exists() {
            let copied = Command::new("cp").arg("-r").arg(example("campaign")).arg(&repository).status();
            assert!(copied.unwrap().success());
            self.commit(&repository, "first");
        }
        format!("file://{}", repository.display())
    }

    /// Commits whatever lies in a repository, making it one if need be.
    pub(crate) fn commit(&self, repository: &Path, message: &str) {
        for args in [
            vec!["init", "-q", "-b", "main"],
            vec!["add", "-A"],
            vec!["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", message],
        ] {
            let status = Command::new("git").arg("-C").arg(repository).args(&args).status().unwrap();
            assert!(status.success(), "git {args:?}");
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let stopped = self.program().args(["stop", "--all", "--data-dir"]).arg(self.data_dir()).output();
        if !std::thread::panicking() {
            let output = stopped.unwrap();
            assert!(output.status.success(), "stop --all: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// A file of the tests.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A file or folder of the examples.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

impl TestApp {
    /// Starts one in a new home.
    pub(crate) async fn start() -> TestApp {
        TestApp::in_home(Home::new()).await
    }

    /// Starts one in a home that may have been lived in.
    pub(crate) async fn in_home(home: Arc<Home>) -> TestApp {
        let command = home.serve();
        TestApp::from_command(home, command).await
    }

    /// Starts one with a command of the test's own.
    pub(crate) async fn from_command(home: Arc<Home>, mut command: Command) -> TestApp {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        collect(stderr, Arc::clone(&log));
        let mut addresses = (String::new(), String::new());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            let length = stdout.read_line(&mut line).unwrap();
            assert!(length > 0, "serve ended before it was ready: {}", log.lock().unwrap());
            if let Some(manager) = line.strip_prefix("manager: ") {
                addresses.0 = manager.trim().to_owned();
            }
            if let Some(instances) = line.strip_prefix("instances: ") {
                addresses.1 = instances.trim().to_owned();
            }
        }
        // Nothing more is printed, but a full pipe must never block the program.
        collect(stdout, Arc::new(Mutex::new(String::new())));
        let client = tenantry::tls::client().timeout(PATIENCE).build().unwrap();
        let pid = serve_pid(&child);
        let mut app = TestApp {
            manager: addresses.0,
            instances: addresses.1,
            token: String::new(),
            client,
            pid,
            home,
            child,
            log,
        };
        app.token = app.login("admin", PASSWORD).await.expect(200)["access_token"].as_str().unwrap().into();
        app
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.data_dir()
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) async fn login(&self, username: &str, password: &str) -> Answer {
        let body = json!({"username": username, "password": password});
        self.send(self.client.post(format!("{}/api/auth/login", self.manager)).json(&body)).await
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer ({error:?}): {}", self.log()))
    }

    pub(crate) async fn try_send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// A request to the manager's listener, with the administrator's token.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.at(&self.manager, method, path)
    }

    /// A request to the instances' listener, with the administrator's token.
    pub(crate) fn instances_request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.at(&self.instances, method, path)
    }

    fn at(&self, base: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("{base}{path}")).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("POST", path).json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    /// Creates a tenant of the sample application; gives its id.
    pub(crate) async fn tenant(&self, slug: &str) -> String {
        let body = json!({
            "name": format!("{slug} for Senate"),
            "slug": slug,
            "domain": format!("{slug}.example.com"),
            "api_domain": format!("{slug}api.example.com"),
            "github_repo": self.home.campaign(),
        });
        self.post("/api/tenants", body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Asks for a deployment; gives its id.
    pub(crate) async fn deploy(&self, tenant: &str) -> String {
        let answer = self.post(&format!("/api/tenants/{tenant}/deploy"), json!({})).await;
        answer.expect(202)["deployment_id"].as_str().unwrap().to_owned()
    }

    /// Waits until a deployment has ended; gives it.
    pub(crate) async fn deployed(&self, deployment: &str) -> Value {
        self.eventually(&format!("/api/deployments/{deployment}"), |deployment| {
            !matches!(deployment["status"].as_str(), Some("pending" | "running"))
        })
        .await
    }

    /// Asks until an answer is as wanted, following the feed instead of a clock.
    pub(crate) async fn eventually(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await;
            let value = answer.json();
            if answer.status == 200 && wanted(&value) {
                return value;
            }
            assert!(Instant::now() < end, "{path} never was as wanted: {value}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until it has logged something.
    pub(crate) async fn log_says(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "it never logged '{text}': {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every event from a position on.
    pub(crate) async fn events(&self, from: u64) -> Vec<Value> {
        let mut events = Vec::new();
        let mut next = Some(from);
        while let Some(from) = next {
            let page = self.get(&format!("/api/events?from_seq={from}&limit=1000")).await.expect(200);
            events.extend(page["events"].as_array().unwrap().iter().cloned());
            next = page["next_seq"].as_u64();
        }
        events
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(mut self) -> Arc<Home> {
        signal(self.pid, "KILL");
        self.child.wait().unwrap();
        Arc::clone(&self.home)
    }

    /// Asks it to end; gives its exit code and how long that took.
    pub(crate) fn terminate(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        signal(self.pid, "TERM");
        let status = self.child.wait().unwrap();
        (status.code(), begun.elapsed())
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        signal(self.pid, "KILL");
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of serve ---\n{}", self.log());
        }
    }
}

/// The pid of the program itself, also when it runs below another (strace, faketime).
fn serve_pid(child: &Child) -> u32 {
    let id = child.id();
    let is_ours =
        |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("tenantry"));
    if is_ours(id) {
        return id;
    }
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| is_ours(*pid)).unwrap_or(id)
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args(["-s", name, "--"]).arg(pid.to_string()).stderr(Stdio::null()).status();
}

/// Whether a process is there and no zombie.
pub(crate) fn alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}

fn collect(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
}
