//! What the tests of deployments share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::app::{Home, PATIENCE, TestApp};

/// The repository of the sample application, to be changed between deployments.
pub(crate) struct Repository {
    home: Arc<Home>,
    path: PathBuf,
}

impl Repository {
    pub(crate) fn of(app: &TestApp) -> Repository {
        let home = Arc::clone(app.home());
        home.campaign();
        Repository { path: home.path().join("campaign"), home }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Commits a file with this text.
    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path.join(file), text).unwrap();
        self.home.commit(&self.path, file);
    }

    /// Names the application, so that its pages tell which release answers.
    pub(crate) fn name(&self, name: &str) {
        self.write("static/release.css", name);
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let done = std::process::Command::new("git").arg("-C").arg(&self.path).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

/// Deploys, and waits for the end.
pub(crate) async fn deploy(app: &TestApp, tenant: &str) -> Value {
    let deployment = app.deploy(tenant).await;
    app.deployed(&deployment).await
}

#[track_caller]
pub(crate) fn assert_status(deployment: &Value, status: &str) {
    assert_eq!(deployment["status"], status, "{deployment:#}");
}

/// Rolls back, and waits for the end.
pub(crate) async fn roll_back(app: &TestApp, tenant: &str, body: Value) -> Value {
    let answer = app.post(&format!("/api/tenants/{tenant}/rollback"), body).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let id = answer.expect(202)["deployment_id"].as_str().unwrap().to_owned();
    assert_eq!(location, format!("/api/deployments/{id}"));
    app.deployed(&id).await
}

/// What the tenant's domain answers, through the front door.
pub(crate) async fn page(app: &TestApp, path: &str) -> String {
    let url = format!("{}{path}", app.instances);
    let answer = app.client.get(url).header("host", "smith.example.com").send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

/// The processes that run a program of some release of the tenant.
fn running(app: &TestApp, program: &str) -> Vec<u64> {
    let below = app.home().path().display().to_string();
    let is_it = |pid: &u64| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(&below) && line.contains("smith/releases/") && line.contains(program)
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_it).collect()
}

/// The process ids of a tenant's two processes, once there is one of each.
pub(crate) async fn pids(app: &TestApp) -> [u64; 2] {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = ["frontend.py", "backend.py"].map(|program| running(app, program));
        if let [[frontend], [backend]] = [&found[0][..], &found[1][..]] {
            return [*frontend, *backend];
        }
        assert!(Instant::now() < end, "there is not one of each: {found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Requests without a pause, until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    workers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Each address is asked by two workers, one that keeps its connection and one that makes a
    /// new one each time.
    pub(crate) fn on(addresses: &[(String, Option<&'static str>)]) -> Load {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut workers = Vec::new();
        for (url, host) in addresses {
            for keeps in [0, 1] {
                // A kept connection to a process itself ends with it, whoever else listens.
                if keeps == 1 && host.is_none() {
                    continue;
                }
                let client = reqwest::Client::builder()
                    .pool_max_idle_per_host(keeps)
                    .timeout(PATIENCE)
                    .build()
                    .unwrap();
                let (url, host) = (url.clone(), *host);
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                workers.push(tokio::spawn(async move {
                    let mut lost = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let request = client.get(&url);
                        let request = match host {
                            Some(host) => request.header("host", host),
                            None => request,
                        };
                        match request.send().await {
                            Ok(answer) if answer.status() == 200 => match answer.bytes().await {
                                Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                                Err(error) => lost.push(format!("{url}: {error:?}")),
                            },
                            Ok(answer) => lost.push(format!("{url}: {}", answer.status())),
                            Err(error) => lost.push(format!("{url}: {error:?}")),
                        }
                    }
                    lost
                }));
            }
        }
        Load { stop, answered, workers }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more were answered: it is under way.
    pub(crate) async fn more(&self, count: u64) {
        let (from, end) = (self.answered(), Instant::now() + PATIENCE);
        while self.answered() < from + count {
            assert!(Instant::now() < end, "the load does not get on");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Ends it; gives how many were answered, and what was lost.
    pub(crate) async fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut lost = Vec::new();
        for worker in self.workers {
            lost.extend(worker.await.unwrap());
        }
        (self.answered.load(Ordering::Relaxed), lost)
    }
}

/// The load that a deployed tenant is under: its pages, what its frontend asks of its backend,
/// its API, and both its ports.
pub(crate) async fn load(app: &TestApp, tenant: &str) -> Load {
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    let direct = |port: &str, path: &str| (format!("http://127.0.0.1:{}{path}", shown[port]), None);
    let door = |path: &str, host| (format!("{}{path}", app.instances), Some(host));
    Load::on(&[
        door("/static/style.css", "smith.example.com"),
        door("/api/persons/count", "smith.example.com"),
        door("/api/persons/count", "smithapi.example.com"),
        direct("frontend_port", "/api/persons/count"),
        direct("backend_port", "/api/persons/count"),
    ])
}

/// A body for nothing in particular.
pub(crate) fn nothing() -> Value {
    json!({})
}
