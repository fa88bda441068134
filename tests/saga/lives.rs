//! Lives of a server that ends at a chosen system call.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::front::Front;
use crate::points::{self, Point};
use crate::support::app::{Home, PATIENCE, signal};

/// How often it is looked whether a life has ended, or its work.
const LOOK: Duration = Duration::from_millis(4);
/// More lives than any operation needs: whoever needs so many does not get on.
const MOST_LIVES: usize = 90;
/// What drivers change the disk with.
const CHANGES: &str =
    "rename,renameat,renameat2,unlink,unlinkat,symlink,symlinkat,mkdir,mkdirat,fsync,syncfs";

/// The system call at which a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As the nth commit is written: what was done is not recorded.
    Unrecorded(usize),
    /// As the nth commit is synced: it is recorded, nobody was told, nothing more was begun.
    Recorded(usize),
    /// As a tool was begun (`git`, the init command, nginx): it runs, and nobody watches it.
    InTool(usize),
    /// As a driver changes the tenant's files or the sites for the nth time (a thread counts its own).
    AtChange(usize),
    /// As a driver makes this call on the tenant's files or the sites.
    AtCall(&'static str),
    /// Before or after a line of the saga is recorded.
    At(Point),
    /// Not at all.
    Never,
}

impl Cut {
    fn strace(self, home: &Home, places: &[PathBuf]) -> Vec<String> {
        let (calls, when) = match self {
            Cut::Unrecorded(n) => ("pwrite64", n),
            Cut::Recorded(n) => ("fdatasync", n),
            Cut::InTool(n) => ("pidfd_open", n),
            Cut::AtChange(n) => (CHANGES, n),
            Cut::AtCall(call) => (call, 1),
            Cut::At(_) => ("pwrite64", 1),
            Cut::Never => ("pidfd_open", u16::MAX.into()),
        };
        // Programs that the server starts are none of our business.
        let mut words =
            vec!["-f".to_owned(), "-qq".to_owned(), "-y".to_owned(), "-b".to_owned(), "execve".to_owned()];
        words.extend(["-e".to_owned(), format!("trace={calls}")]);
        if let Cut::At(_) = self {
            words.extend(["-s", "9000000", "-e", "signal=none"].map(str::to_owned));
            words.extend(["-e".to_owned(), format!("inject={calls}:signal=STOP")]);
        } else {
            words.extend(["-e".to_owned(), format!("inject={calls}:signal=KILL:when={when}")]);
        }
        let wal = ["0", "1"].map(|half| home.data_dir().join("journal/wal").join(half));
        let only: &[PathBuf] = match self {
            Cut::Unrecorded(_) | Cut::Recorded(_) | Cut::At(_) => &wal,
            Cut::InTool(_) | Cut::Never => &[],
            Cut::AtChange(_) | Cut::AtCall(_) => places,
        };
        for path in only {
            words.extend(["-P".to_owned(), path.display().to_string()]);
        }
        words
    }
}

/// What is asked of the server, again and again with one key, until it has answered.
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Value,
    /// Where it is seen that it is over; a deployment's place is told by the answer.
    pub(crate) seen_at: Option<String>,
}

/// A server below strace.
struct Life {
    strace: Child,
    manager: Arc<OnceLock<String>>,
    watch: Option<JoinHandle<()>>,
}

impl Life {
    fn begin(home: &Home, serve: &Command, cut: Cut, places: &[PathBuf], trace: &Path) -> Life {
        let mut command = Command::new("strace");
        command.args(cut.strace(home, places)).arg("-o").arg(trace).arg(serve.get_program());
        command.args(serve.get_args()).stdin(Stdio::null()).env_clear().current_dir(home.path());
        command.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let log =
            std::fs::File::options().create(true).append(true).open(home.path().join("lives.log")).unwrap();
        let mut strace = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let manager = Arc::new(OnceLock::new());
        let (told, stdout) = (Arc::clone(&manager), BufReader::new(strace.stdout.take().unwrap()));
        std::thread::spawn(move || {
            let mut found = None;
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("manager: ") {
                    found = Some(address.trim().to_owned());
                }
                if line.trim() == "ready"
                    && let Some(address) = found.take()
                {
                    let _ = told.set(address);
                }
            }
        });
        let watch = match cut {
            Cut::At(point) => Some(points::watch(strace.id(), trace.to_path_buf(), point)),
            _ => None,
        };
        Life { strace, manager, watch }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.strace.try_wait().unwrap()
    }

    async fn death(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends a life that outlived its work.
    fn end(&mut self) {
        let id = self.strace.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            signal(child, "KILL");
        }
        self.strace.wait().unwrap();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.end();
        }
    }
}

/// An operation on its way through many lives.
pub(crate) struct Lives<'a> {
    pub(crate) home: &'a Arc<Home>,
    pub(crate) serve: &'a dyn Fn(&Home) -> Command,
    pub(crate) token: &'a str,
    /// Directories and files in which changes are counted.
    pub(crate) places: Vec<PathBuf>,
}

/// How an operation came to its end.
pub(crate) struct Through {
    /// Where it was seen.
    pub(crate) seen_at: String,
    /// The lives that were cut off.
    pub(crate) cuts: usize,
    /// The system calls at which they were.
    pub(crate) calls: Vec<String>,
}

impl Lives<'_> {
    /// Brings an operation to its end, in as many lives as it takes.
    pub(crate) async fn through(&self, operation: &Operation, cut: impl Fn(usize) -> Cut) -> Through {
        tenantry::tls::install();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        let key = uuid::Uuid::now_v7().to_string();
        let mut through =
            Through { seen_at: operation.seen_at.clone().unwrap_or_default(), cuts: 0, calls: Vec::new() };
        let mut asked = false;
        for number in 0..MOST_LIVES {
            let trace = self.home.path().join(format!("trace.{number}"));
            let mut life =
                Life::begin(self.home, &(self.serve)(self.home), cut(number), &self.places, &trace);
            let is_over = self.live(&client, operation, &key, &mut life, &mut asked, &mut through).await;
            if is_over {
                life.end();
                return through;
            }
            through.cuts += 1;
            if let Some(watch) = life.watch.take() {
                watch.join().unwrap();
            }
            let text = std::fs::read_to_string(&trace).unwrap_or_default();
            // The last call that was entered and not left.
            let call = text.lines().rev().find(|line| {
                // The second half of a line that was interrupted does not say of what, and a
                // thread that was killed as it entered its call leaves `???`: it is not the one.
                let is_named = !line.contains("resumed>") && !line.contains("???(");
                is_named && (line.contains(" = ?") || line.contains("unfinished"))
            });
            through.calls.extend(call.map(str::to_owned));
        }
        let last = self.last_events(&client).await;
        panic!("after {MOST_LIVES} lives {} {} is not over: {last:#?}", operation.method, operation.path);
    }

    /// What was recorded last, for whoever has to find out why it does not get on.
    async fn last_events(&self, client: &reqwest::Client) -> Vec<String> {
        let trace = self.home.path().join("trace");
        let life = Life::begin(self.home, &(self.serve)(self.home), Cut::Never, &[], &trace);
        let manager = loop {
            if let Some(manager) = life.manager.get() {
                break manager;
            }
            tokio::time::sleep(LOOK).await;
        };
        let ask = client.get(format!("{manager}/api/events?order=desc&limit=40")).bearer_auth(self.token);
        let page: Value = ask.send().await.unwrap().json().await.unwrap();
        let events = page["events"].as_array().unwrap().iter();
        events.map(|event| format!("{} {} {}", event["seq"], event["kind"], event["data"])).collect()
    }

    /// One life; whether the operation was over in it.
    async fn live(
        &self,
        client: &reqwest::Client,
        operation: &Operation,
        key: &str,
        life: &mut Life,
        asked: &mut bool,
        through: &mut Through,
    ) -> bool {
        let manager = Arc::clone(&life.manager);
        let work = async {
            while manager.get().is_none() {
                tokio::time::sleep(LOOK).await;
            }
            let manager = manager.get().unwrap();
            let request = |method: &str, path: &str| {
                client.request(method.parse().unwrap(), format!("{manager}{path}")).bearer_auth(self.token)
            };
            while !*asked {
                let ask = request(operation.method, &operation.path).header("idempotency-key", key);
                let ask = if operation.body.is_null() { ask } else { ask.json(&operation.body) };
                *asked = self.is_answered(ask, through).await;
                tokio::time::sleep(LOOK).await;
            }
            while !is_over(request("GET", &through.seen_at), operation).await {
                tokio::time::sleep(LOOK).await;
            }
        };
        let status = tokio::select! {
            biased;
            status = life.death() => status,
            () = work => return true,
            () = tokio::time::sleep(PATIENCE) => panic!("neither cut off nor over: {}", self.log()),
        };
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(status.signal(), Some(9), "a life ended by itself: {status}, {}", self.log());
        false
    }

    /// Asks; whether it was answered. A deployment's place is noted.
    async fn is_answered(&self, ask: reqwest::RequestBuilder, through: &mut Through) -> bool {
        let Ok(answer) = ask.send().await else { return false };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text().await else { return false };
        let body: Value = serde_json::from_str(&text).unwrap();
        // The keeper kept the connection of a life before, and the request is answered there.
        if body["code"] == "REQUEST_IN_PROGRESS" {
            return false;
        }
        assert!(matches!(status, 200 | 202), "{status} {text}, {}", self.log());
        if let Some(id) = body["deployment_id"].as_str() {
            through.seen_at = format!("/api/deployments/{id}");
        }
        true
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.home.path().join("lives.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// Whether a deployment has ended, or what was to be deleted is gone.
async fn is_over(ask: reqwest::RequestBuilder, operation: &Operation) -> bool {
    let Ok(answer) = ask.send().await else { return false };
    if answer.status() == 404 {
        return true;
    }
    let Ok(body) = answer.json::<Value>().await else { return false };
    operation.method == "POST" && !matches!(body["status"].as_str(), Some("pending" | "running"))
}

/// Whether strace is there and may do this; says loudly when not.
pub(crate) fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "-b", "execve", "true"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("!!! SKIPPED: strace is missing or may not trace, so no saga is cut off at its lines");
    }
    can
}

/// Places of a tenant that drivers change.
pub(crate) fn places(home: &Home, front: &Front, slug: &str) -> Vec<PathBuf> {
    let tenant = home.data_dir().join("tenants").join(slug);
    let mut places = vec![home.data_dir().join("tenants"), tenant.clone()];
    let below = ["releases", "data", "database-backups", "releases/1.partial", "releases/2.partial"];
    places.extend(below.iter().map(|name| tenant.join(name)));
    places.push(home.data_dir().join("certs").join(slug));
    for dir in ["sites-available", "sites-enabled"] {
        places.push(front.path(dir));
        for name in [format!("{slug}.example.com"), format!("api.{slug}.example.com")] {
            places.push(front.path(dir).join(format!(".tenantry-new-{name}")));
            places.push(front.path(dir).join(name));
        }
    }
    places
}
