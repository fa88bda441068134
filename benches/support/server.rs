//! The program itself, as a process with a data directory of its own, and whatever else a
//! benchmark has to start. Everything ends with its owner.

#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";

/// `tenantry serve` with an administrator's token.
pub(crate) struct Server {
    /// `127.0.0.1:PORT` of document 1's listener.
    pub(crate) manager: String,
    /// Of document 2's.
    pub(crate) instances: String,
    pub(crate) token: String,
    pub(crate) client: reqwest::Client,
    child: Child,
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts one with these lines in its configuration, and logs in.
    pub(crate) async fn start(config: &str) -> Server {
        Server::start_with(config, &[]).await
    }

    /// The same with more in its environment.
    pub(crate) async fn start_with(config: &str, env: &[(&str, &str)]) -> Server {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = dir.path().join("tenantry.toml");
        // The load is ours alone, so the limits of requests are out of the way.
        let limits = "[settings]\nrate_limit_per_minute = 4000000000\nrate_limit_per_hour = 4000000000\n";
        fs::write(&file, format!("{limits}{config}")).unwrap();
        let env: Vec<(String, String)> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let Launched { manager, instances, child, stdout } = launch(dir.path(), &env);
        tenantry::tls::install();
        let client = reqwest::Client::new();
        let mut server =
            Server { manager, instances, token: String::new(), client, child, dir, env, _stdout: stdout };
        let login = json!({"username": "admin", "password": PASSWORD});
        let answer = server.post("/api/auth/login", &login).await;
        server.token = answer.get("access_token").and_then(Value::as_str).unwrap().to_owned();
        server
    }

    /// Kills it and starts the next one on the same data, as a service manager would.
    pub(crate) fn replace(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let Launched { manager, instances, child, stdout } = launch(self.dir.path(), &self.env);
        (self.manager, self.instances, self.child, self._stdout) = (manager, instances, child, stdout);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The keeper of its data directory, once something was started.
    pub(crate) fn keeper(&self) -> Option<u32> {
        let data = self.data_dir().display().to_string();
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let mut words = line.split(|byte| *byte == 0);
            let is_keeper = words.any(|word| word == b"keeper") && words.any(|word| word == data.as_bytes());
            is_keeper.then_some(pid)
        })
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The body of the answer, which has to be a success.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.send(self.client.post(format!("http://{}{path}", self.manager)).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Value {
        self.send(self.client.put(format!("http://{}{path}", self.manager)).json(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.send(self.client.get(format!("http://{}{path}", self.manager))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status} {text}\n{}", self.log());
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Creates a tenant; gives its id.
    pub(crate) async fn tenant(&self, slug: &str) -> String {
        let body = json!({
            "name": format!("{slug} for Senate"),
            "slug": slug,
            "domain": format!("{slug}.example.com"),
            "api_domain": format!("api.{slug}.example.com"),
            "github_repo": "https://git.example.com/campaign.git",
            "notes": "Measured.",
        });
        let created = self.post("/api/tenants", &body).await;
        created.get("id").and_then(Value::as_str).unwrap().to_owned()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

struct Launched {
    manager: String,
    instances: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// Starts the program and waits until it is ready.
fn launch(dir: &Path, env: &[(String, String)]) -> Launched {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    let mut child = program()
        .current_dir(dir)
        .arg("serve")
        .arg("--config")
        .arg(dir.join("tenantry.toml"))
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(["--manager", "127.0.0.1:0", "--instances", "127.0.0.1:0"])
        .env("TENANTRY_ADMIN_PASSWORD", PASSWORD)
        .envs(env.iter().cloned())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (mut manager, mut instances) = (String::new(), String::new());
    let mut line = String::new();
    while line.trim() != "ready" {
        line.clear();
        if stdout.read_line(&mut line).unwrap() == 0 {
            panic!("{}", fs::read_to_string(dir.join("log")).unwrap_or_default());
        }
        if let Some(address) = line.strip_prefix("manager: http://") {
            manager = address.trim().to_owned();
        }
        if let Some(address) = line.strip_prefix("instances: http://") {
            instances = address.trim().to_owned();
        }
    }
    Launched { manager, instances, child, stdout }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = program().args(["stop", "--all", "--data-dir"]).arg(self.data_dir()).output();
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command
}

/// This benchmark's own program in another role, which prints an address first.
pub(crate) struct Helper {
    pub(crate) address: String,
    child: Child,
}

impl Helper {
    pub(crate) fn start(arguments: &[&str]) -> Helper {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        Helper { address: address.trim().to_owned(), child }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
