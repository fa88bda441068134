//! A data directory with a keeper and nothing else, for tests of what the keeper does.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tenantry::keeper::client::{Connected, Keeper, KeeperEvent, SpawnRequest, Spawned};
use tenantry_journal::event::instance::{ExitStatus, Limits};
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::spool::{Reader, Record};
use uuid::Uuid;

/// Longer than anything takes on a busy machine; reached only when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tenantry"))
}

/// A data directory with its keeper; ends everything in it when dropped.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::in_dir(tempfile::tempdir().unwrap())
    }

    pub(crate) fn in_dir(dir: TempDir) -> Bench {
        // Processes of others than root have to get through.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Bench { dir }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) async fn connect(&self) -> Connected {
        std::fs::create_dir_all(self.data()).unwrap();
        Keeper::connect_or_start(&self.data(), exe()).await.unwrap()
    }

    pub(crate) fn request(&self, command: &str, args: &[&str]) -> SpawnRequest {
        SpawnRequest {
            run_id: RunId(Uuid::now_v7()),
            instance_id: InstanceId(Uuid::now_v7()),
            command: command.to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
            env: BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]),
            workdir: self.dir.path().join("work"),
            socket: None,
            key: None,
            stop_timeout_ms: 200,
            limits: Limits::default(),
            hostname: "box-of-one".to_owned(),
            hidden: Vec::new(),
            retain: None,
        }
    }

    pub(crate) fn sh(&self, script: &str) -> SpawnRequest {
        self.request("sh", &["-c", script])
    }

    pub(crate) fn reader(&self, request: &SpawnRequest) -> Reader {
        let owner = request.instance_id.0;
        let key = request.key.as_ref().map(|key| &key.0);
        Reader::open(&self.data().join("spool").join(owner.to_string()), owner, key)
    }

    pub(crate) fn output(&self, request: &SpawnRequest) -> Vec<Record> {
        self.reader(request).read(usize::MAX).unwrap()
    }

    pub(crate) fn lines(&self, request: &SpawnRequest) -> Vec<String> {
        let text = |record: Record| String::from_utf8(record.bytes).unwrap();
        self.output(request).into_iter().map(text).collect()
    }

    /// Waits for a line that begins so.
    pub(crate) async fn line(&self, request: &SpawnRequest, beginning: &str) -> String {
        let mut found = None;
        until(&format!("{beginning:?} of {:?}", request.args), || {
            found = self.lines(request).into_iter().find(|line| line.starts_with(beginning));
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let data = self.data();
        let end = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if data.exists() {
                    let connected = Keeper::connect_or_start(&data, exe()).await.unwrap();
                    let _ = connected.keeper.shutdown(true).await;
                }
            });
        };
        let ended = std::thread::spawn(end).join();
        assert!(ended.is_ok() || std::thread::panicking(), "the keeper could not be ended");
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while !is_so() {
            ticks.tick().await;
        }
    });
    assert!(waited.await.is_ok(), "never so: {what}");
}

pub(crate) async fn exit_of(connected: &mut Connected, run: RunId) -> ExitStatus {
    let exit = tokio::time::timeout(PATIENCE, async {
        loop {
            match connected.events.recv().await.unwrap() {
                KeeperEvent::Exited { run_id, status, .. } if run_id == run => return status,
                KeeperEvent::Exited { .. } => {}
                KeeperEvent::Lost => panic!("the keeper is lost"),
            }
        }
    });
    exit.await.expect("the run never ended")
}

/// State and start time of a process that is there.
pub(crate) fn stat(pid: u32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split(' ').collect();
    Some((fields[0].chars().next()?, fields[19].parse().ok()?))
}

pub(crate) fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

pub(crate) fn kill_9(process: Spawned) {
    assert_eq!(stat(process.pid).map(|(_, ticks)| ticks), Some(process.start_ticks));
    let pid = rustix::process::Pid::from_raw(process.pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
