//! The control plane's end of the connection to the keeper.
//!
//! One task owns the connection. When it breaks, every call that waits fails, a last
//! [`KeeperEvent::Lost`] comes, and it is for the supervisor to connect again and ask what
//! is so: nothing that it missed is forgotten by the keeper.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenantry_journal::event::instance::ExitStatus;
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::spool::Key;
use tenantry_journal::time::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::files::Files;
use super::protocol::{Answer, Ask, Call, Message, OLDEST, Refusal, SpoolKey, VERSION, encode, read};
pub use super::protocol::{Forward, NotYet, Place, RunReport, RunState, SpawnRequest, Spawned};

/// How long a keeper may take from its start to its first answer.
const START: Duration = Duration::from_secs(10);
/// How often a starting keeper is tried.
const TRY: Duration = Duration::from_millis(5);
/// How long to wait before another is started when one is there that does not answer yet
/// or is ending.
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// How long an answer may take. The keeper answers from memory; starting a process takes it
/// a millisecond, and a disk that hangs is the only reason for more.
const ANSWER: Duration = Duration::from_secs(30);
/// Past this size the keeper's log of an earlier life is put aside.
const LOG_LIMIT: u64 = 1 << 20;

/// Why the keeper could not be reached or did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Nobody answers on its socket.
    #[error("no keeper answers on {path}")]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It could not be started.
    #[error("the keeper does not start; {log} says why")]
    Start {
        /// Its log.
        log: PathBuf,
        /// What the operating system said, if anything.
        source: io::Error,
    },
    /// The connection broke before the answer.
    #[error("the connection to the keeper is lost")]
    Lost,
    /// It did not answer in time.
    #[error("the keeper does not answer")]
    Silent,
    /// It said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It answered something else than was asked.
    #[error("the keeper's answer is of the wrong kind")]
    Confused,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no process, and there will be none; what the operating system said.
    #[error("{0}")]
    Exec(String),
    /// It is not known whether there is a process: ask again with the same run id.
    #[error(transparent)]
    Keeper(KeeperError),
}

/// What the keeper tells unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperEvent {
    /// A run is over, and so is everything that it started.
    Exited {
        /// The run.
        run_id: RunId,
        /// Whose run it was.
        instance_id: InstanceId,
        /// How it ended.
        status: ExitStatus,
        /// When the keeper saw it.
        at: Timestamp,
    },
    /// The connection is lost; this is the last event.
    Lost,
}

/// A connection that was just made.
#[derive(Debug)]
pub struct Connected {
    /// The keeper.
    pub keeper: Keeper,
    /// Its process.
    pub info: Spawned,
    /// What it tells; at most one event for each run, and the last.
    pub events: mpsc::UnboundedReceiver<KeeperEvent>,
    /// Which spools have grown.
    pub outputs: Outputs,
    /// It was started just now.
    pub fresh: bool,
}

/// The growth of spools: a hint that there is more to read.
#[derive(Debug)]
pub struct Outputs(Arc<Grown>);

#[derive(Debug, Default)]
struct Grown {
    positions: Mutex<HashMap<InstanceId, u64>>,
    told: Notify,
    is_over: std::sync::atomic::AtomicBool,
}

impl Outputs {
    /// Waits until spools have grown and gives the positions of their newest records, only
    /// the newest for each; `None` once the connection is lost. Nothing is lost when the
    /// future is dropped.
    pub async fn changed(&mut self) -> Option<HashMap<InstanceId, u64>> {
        loop {
            {
                let mut positions = self.0.positions.lock().unwrap_or_else(PoisonError::into_inner);
                if !positions.is_empty() {
                    return Some(std::mem::take(&mut *positions));
                }
            }
            if self.0.is_over.load(std::sync::atomic::Ordering::Acquire) {
                return None;
            }
            self.0.told.notified().await;
        }
    }
}

type Waiting = oneshot::Sender<Result<Answer, Refusal>>;

/// The keeper, from the control plane's side.
#[derive(Clone, Debug)]
pub struct Keeper {
    calls: mpsc::Sender<(Ask, Waiting)>,
    knows_limits: bool,
    knows_forwards: bool,
}

impl Keeper {
    /// Connects to the keeper of a data directory if there is one.
    ///
    /// # Errors
    /// [`KeeperError::Absent`] when there is none.
    pub async fn connect(data_dir: &Path) -> Result<Connected, KeeperError> {
        let files = Files::new(data_dir);
        let path = files.socket();
        let absent = |source| KeeperError::Absent { path: path.clone(), source };
        let (address, _dir) = files.socket_address().map_err(absent)?;
        let stream = UnixStream::connect(address).await.map_err(absent)?;
        let (calls, asked) = mpsc::channel(64);
        let (tell, events) = mpsc::unbounded_channel();
        let grown = Arc::new(Grown::default());
        tokio::spawn(converse(stream, asked, tell, Arc::clone(&grown)));
        let keeper = Keeper { calls, knows_limits: false, knows_forwards: false };
        let hello = match keeper.ask(Ask::Hello { version: VERSION }).await {
            // One that was started by an earlier version, and keeps what runs.
            Err(KeeperError::Refused(Refusal::Version { keeper: older, .. }))
                if (OLDEST..VERSION).contains(&older) =>
            {
                tracing::info!(keeper.version = older, "the keeper is of an earlier version");
                keeper.ask(Ask::Hello { version: older }).await?
            }
            other => other?,
        };
        match hello {
            Answer::Hello { keeper: info, limits, forwards, .. } => {
                let keeper = Keeper { knows_limits: limits, knows_forwards: forwards, ..keeper };
                Ok(Connected { keeper, info, events, outputs: Outputs(grown), fresh: false })
            }
            _ => Err(KeeperError::Confused),
        }
    }

    /// Connects to the keeper of a data directory, and starts one (`exe keeper`) when there
    /// is none.
    ///
    /// # Errors
    /// When none answers within ten seconds.
    pub async fn connect_or_start(data_dir: &Path, exe: &Path) -> Result<Connected, KeeperError> {
        match Keeper::connect(data_dir).await {
            Err(error) if is_gone(&error) => {}
            other => return other,
        }
        let log = Files::new(data_dir).log();
        let failed = |source| KeeperError::Start { log: log.clone(), source };
        let mut child = start(data_dir, exe, &log).map_err(failed)?;
        let until = Instant::now() + START;
        loop {
            match Keeper::connect(data_dir).await {
                Ok(connected) => return Ok(Connected { fresh: true, ..connected }),
                Err(error) if !is_gone(&error) || Instant::now() > until => return Err(error),
                Err(_) => {}
            }
            let Ok(ended) = timeout(TRY, child.wait()).await else { continue };
            let status = ended.map_err(failed)?;
            // Another may have been faster, or an older one may still be ending.
            if status.code() != Some(i32::from(super::ALREADY_KEPT)) {
                return Err(failed(io::Error::other(format!("it ended with {status}"))));
            }
            tokio::time::sleep(TRY_AGAIN).await;
            child = start(data_dir, exe, &log).map_err(failed)?;
        }
    }

    /// Starts a process; asking again with the same run id answers the same.
    ///
    /// # Errors
    /// [`SpawnError::Exec`] when there is no process.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Spawned, SpawnError> {
        if request.limits.prepares() && !self.knows_limits {
            return Err(SpawnError::Exec(
                "the keeper is of an earlier version and knows no limits; it is replaced once all instances \
                 were stopped (`tenantry stop --all`)"
                    .to_owned(),
            ));
        }
        match self.ask(Ask::Spawn(Box::new(request))).await {
            Ok(Answer::Spawned(spawned)) => Ok(spawned),
            Ok(_) => Err(SpawnError::Keeper(KeeperError::Confused)),
            Err(KeeperError::Refused(Refusal::Exec(words))) => Err(SpawnError::Exec(words)),
            Err(other) => Err(SpawnError::Keeper(other)),
        }
    }

    /// TERM to everything that belongs to a run, and KILL after the timeout. Returns at once;
    /// the end comes as an event. A run that is over already needs nothing more.
    ///
    /// # Errors
    /// When the run is unknown or the keeper cannot be asked.
    pub async fn stop(&self, run_id: RunId, timeout_ms: u64) -> Result<(), KeeperError> {
        self.done(Ask::Stop { run_id, timeout_ms }).await
    }

    /// KILL to everything that belongs to a run.
    ///
    /// # Errors
    /// When the run is unknown or the keeper cannot be asked.
    pub async fn kill(&self, run_id: RunId) -> Result<(), KeeperError> {
        self.stop(run_id, 0).await
    }

    /// All runs that were not forgotten.
    ///
    /// # Errors
    /// When the keeper cannot be asked.
    pub async fn list(&self) -> Result<Vec<RunReport>, KeeperError> {
        match self.ask(Ask::List).await? {
            Answer::Runs(runs) => Ok(runs),
            _ => Err(KeeperError::Confused),
        }
    }

    /// Takes a run that is over off the list, once its end is recorded.
    ///
    /// # Errors
    /// When the run is not over or the keeper cannot be asked.
    pub async fn forget(&self, run_id: RunId) -> Result<(), KeeperError> {
        self.done(Ask::Forget { run_id }).await
    }

    /// Brings the key of an adopted run's spool, so that its output is read again.
    ///
    /// # Errors
    /// When the run is unknown or the keeper cannot be asked.
    pub async fn resume(&self, run_id: RunId, key: Key) -> Result<(), KeeperError> {
        self.done(Ask::Resume { run_id, key: SpoolKey(key) }).await
    }

    /// Whether it passes connections on; one of an earlier version does not.
    #[must_use]
    pub fn forwards(&self) -> bool {
        self.knows_forwards
    }

    /// Has these connections passed on, and no others. Returns what it cannot listen on yet.
    ///
    /// # Errors
    /// When the keeper cannot be asked.
    pub async fn forward(&self, all: Vec<Forward>) -> Result<Vec<NotYet>, KeeperError> {
        match self.ask(Ask::Forward { all }).await? {
            Answer::Forwarding(not_yet) => Ok(not_yet),
            _ => Err(KeeperError::Confused),
        }
    }

    /// How many of the connections that were passed on there wait for an answer.
    ///
    /// # Errors
    /// When the keeper cannot be asked.
    pub async fn busy(&self, to: Place) -> Result<u64, KeeperError> {
        match self.ask(Ask::Busy { to }).await? {
            Answer::Busy(count) => Ok(count),
            _ => Err(KeeperError::Confused),
        }
    }

    /// Ends the keeper, and with `stop_all` every run before it (then it may take as long as
    /// the longest stop timeout). Otherwise the processes live on without a keeper.
    ///
    /// # Errors
    /// When the keeper cannot be asked.
    pub async fn shutdown(&self, stop_all: bool) -> Result<(), KeeperError> {
        match self.send(Ask::Shutdown { stop_all }).await?.await {
            Ok(answer) => Ok(answer.map(drop)?),
            Err(_) => Err(KeeperError::Lost),
        }
    }

    async fn done(&self, ask: Ask) -> Result<(), KeeperError> {
        self.ask(ask).await.map(drop)
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, KeeperError> {
        let answer = self.send(ask).await?;
        match timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) => Err(KeeperError::Lost),
            Err(_) => Err(KeeperError::Silent),
        }
    }

    async fn send(&self, ask: Ask) -> Result<oneshot::Receiver<Result<Answer, Refusal>>, KeeperError> {
        let (give, take) = oneshot::channel();
        self.calls.send((ask, give)).await.map_err(|_| KeeperError::Lost)?;
        Ok(take)
    }
}

/// Whether there is no keeper, or one that is ending.
fn is_gone(error: &KeeperError) -> bool {
    use KeeperError::{Absent, Lost, Refused};
    matches!(error, Absent { .. } | Lost | Refused(Refusal::ShuttingDown))
}

/// Starts a keeper that nothing done to us will touch: a session of its own, none of our
/// environment, none of our descriptors.
fn start(data_dir: &Path, exe: &Path, log: &Path) -> io::Result<tokio::process::Child> {
    if std::fs::metadata(log).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        std::fs::rename(log, log.with_extension("log.old"))?;
    }
    let log = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    // It starts in the root directory, so that it keeps no other from being unmounted.
    let mut command = tokio::process::Command::new(std::path::absolute(exe)?);
    command.arg("keeper").arg("--data-dir").arg(std::path::absolute(data_dir)?).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(false);
    super::child::detach(&mut command);
    command.spawn()
}

/// Carries calls and messages until either side hangs up.
async fn converse(
    stream: UnixStream,
    mut asked: mpsc::Receiver<(Ask, Waiting)>,
    tell: mpsc::UnboundedSender<KeeperEvent>,
    grown: Arc<Grown>,
) {
    let (mut from, mut to) = stream.into_split();
    let waiting = Mutex::new(HashMap::<u64, Waiting>::new());
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let sending = async {
        let mut next = 0;
        while let Some((ask, give)) = asked.recv().await {
            next += 1;
            let Ok(frame) = encode(&Call { id: next, ask }) else {
                let _ = give.send(Err(Refusal::Exec("the request is too long".to_owned())));
                continue;
            };
            let frame = zeroize::Zeroizing::new(frame);
            lock().insert(next, give);
            if to.write_all(&frame).await.is_err() {
                break;
            }
        }
    };
    let receiving = async {
        loop {
            match read(&mut from).await {
                Ok(Some(Message::Reply { id, answer })) => {
                    if let Some(give) = lock().remove(&id) {
                        let _ = give.send(answer);
                    }
                }
                Ok(Some(Message::Exited { run_id, instance_id, status, at })) => {
                    let _ = tell.send(KeeperEvent::Exited { run_id, instance_id, status, at });
                }
                Ok(Some(Message::Output { instance_id, position })) => {
                    let mut positions = grown.positions.lock().unwrap_or_else(PoisonError::into_inner);
                    positions.insert(instance_id, position);
                    grown.told.notify_one();
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the connection to the keeper broke");
                    break;
                }
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
    let _ = tell.send(KeeperEvent::Lost);
    grown.is_over.store(true, std::sync::atomic::Ordering::Release);
    grown.told.notify_one();
}
