//! The keeper's one thread of control: takes calls, holds the runs, tells what happens.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, WaitId, WaitIdOptions, waitid};
use tenantry_journal::event::instance::ExitStatus;
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::spool::{Key, Options, Retain};
use tenantry_journal::time::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::cgroup::Cgroups;
use super::child;
use super::descriptors::{self, Receiver};
use super::files::Files;
use super::forward::Forwarder;
use super::launch;
use super::output::{Outputs, Until};
use super::process::{Snapshot, Stat};
use super::protocol::{
    Answer, Ask, Call, Message, OLDEST, Refusal, SpawnRequest, Spawned, VERSION, encode, read,
};
use super::run::{self, Run};
use super::sockets::Sockets;
use super::spooler::{Grown, Spooler};

/// Messages that may wait for a client. One that does not read is cut off: all that it
/// missed is in the next list.
const CLIENT_QUEUE: usize = 1024;
/// How often the growth of spools is told at most.
const OUTPUT_INTERVAL: Duration = Duration::from_millis(20);
/// A keeper that nobody asks for and that keeps nothing alive ends after this time.
const IDLE: Duration = Duration::from_secs(30);
/// How long the last output may take to be written when the keeper ends.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// The keeper.
pub(super) struct Server {
    pub(super) files: Files,
    pub(super) outputs: Rc<Outputs>,
    pub(super) boot_id: String,
    pub(super) sockets: Sockets,
    forwarder: Forwarder,
    own: Spawned,
    /// The limit of open files that processes get; our own is higher.
    pub(super) limit: Rlimit,
    pub(super) cgroups: Cgroups,
    runs: RefCell<HashMap<RunId, Rc<Run>>>,
    clients: RefCell<HashMap<u64, Rc<Client>>>,
    next_client: Cell<u64>,
    looking: RefCell<Vec<oneshot::Sender<Rc<Snapshot>>>>,
    look: Notify,
    /// Told when a run ended or a client left.
    changed: Notify,
    is_ending: Cell<bool>,
    end: Notify,
}

/// A frame, and the descriptors that go with it.
struct Outgoing {
    frame: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl From<Vec<u8>> for Outgoing {
    fn from(frame: Vec<u8>) -> Outgoing {
        Outgoing { frame, descriptors: Vec::new() }
    }
}

struct Client {
    messages: mpsc::Sender<Outgoing>,
    leave: Notify,
    /// Growth that found the queue full.
    late: RefCell<HashMap<InstanceId, u64>>,
}

impl Server {
    /// Takes over what an earlier keeper left.
    pub(super) fn new(files: Files) -> io::Result<Rc<Server>> {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        // Two pipes, a pidfd, a segment and a lock for each run.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        let pid = std::process::id();
        let start_ticks = Stat::of(pid).map_or(0, |stat| stat.start_ticks);
        let spooler = Spooler::start()?;
        let grown = spooler.grown();
        let server = Rc::new(Server {
            outputs: Outputs::new(files.clone(), spooler),
            boot_id: super::process::boot_id()?,
            sockets: Sockets::default(),
            forwarder: Forwarder::default(),
            own: Spawned { pid, start_ticks },
            limit,
            cgroups: Cgroups::find(files.name()),
            runs: RefCell::default(),
            clients: RefCell::default(),
            next_client: Cell::new(0),
            looking: RefCell::default(),
            look: Notify::new(),
            changed: Notify::new(),
            is_ending: Cell::new(false),
            end: Notify::new(),
            files,
        });
        server.adopt_all()?;
        tokio::task::spawn_local(Rc::clone(&server).tell_growth(grown));
        tokio::task::spawn_local(Rc::clone(&server).take_snapshots());
        tokio::task::spawn_local(Rc::clone(&server).end_when_idle());
        Ok(server)
    }

    fn adopt_all(self: &Rc<Self>) -> io::Result<()> {
        let left = self.files.left_behind()?;
        let known = |run| left.iter().any(|file| file.run_id == run);
        for group in self.cgroups.left_behind(known) {
            tracing::warn!(path = ?group, "a group of a run that nobody knows is ended");
            tokio::task::spawn_local(run::end_group(group));
        }
        if left.is_empty() {
            return Ok(());
        }
        let snapshot = Snapshot::take(self.own.pid, &HashMap::new(), true);
        for file in left {
            let (run_id, was_over) = (file.run_id, file.exit.is_some());
            let (run, leader) = run::adopt(self, &snapshot, file);
            let run = Rc::new(run);
            tracing::info!(run.id = %run_id, alive = leader.is_some(), "took over a run");
            self.runs.borrow_mut().insert(run_id, Rc::clone(&run));
            if !was_over {
                tokio::task::spawn_local(run.watch(Rc::clone(self), leader));
            }
        }
        Ok(())
    }

    /// Serves until told to end.
    pub(super) async fn serve(self: &Rc<Self>, listener: UnixListener) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut child = signal(SignalKind::child())?;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream),
                    Err(error) => {
                        tracing::warn!(%error, "a client could not be admitted");
                        // Out of descriptors: it stays readable, so without a pause we would spin.
                        tokio::time::sleep(OUTPUT_INTERVAL).await;
                    }
                },
                _ = child.recv() => self.reap_orphans(),
                // Processes live on and are taken over by the next keeper.
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = self.end.notified() => break,
            }
        }
        self.is_ending.set(true);
        let pumps: Vec<_> = self.runs.borrow().values().filter_map(|run| run.pump.borrow().clone()).collect();
        let last = async {
            for pump in pumps {
                pump.finish(Until::NextKeeper).await;
            }
            self.outputs.flush(LAST_FLUSH).await;
        };
        let _ = tokio::time::timeout(LAST_FLUSH, last).await;
        Ok(())
    }

    fn admit(self: &Rc<Self>, stream: UnixStream) {
        let own = rustix::process::geteuid().as_raw();
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == own || peer.uid() == 0 => {
                tokio::task::spawn_local(Rc::clone(self).attend(stream));
            }
            Ok(peer) => tracing::warn!(uid = peer.uid(), "a stranger was turned away"),
            Err(error) => tracing::warn!(%error, "a client without a name was turned away"),
        }
    }

    async fn attend(self: Rc<Self>, stream: UnixStream) {
        let id = self.next_client.replace(self.next_client.get() + 1);
        let (messages, mut outbox) = mpsc::channel::<Outgoing>(CLIENT_QUEUE);
        let client = Rc::new(Client { messages, leave: Notify::new(), late: RefCell::default() });
        let (from, mut to) = stream.into_split();
        let mut from = Receiver::new(from);
        let writing = tokio::task::spawn_local(async move {
            while let Some(Outgoing { frame, descriptors }) = outbox.recv().await {
                let written = if descriptors.is_empty() {
                    to.write_all(&frame).await
                } else {
                    let borrowed: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
                    descriptors::send(to.as_ref(), &frame, &borrowed).await
                };
                if written.is_err() {
                    break;
                }
            }
        });
        let calls = async {
            while let Ok(Some(Call { id: call, ask })) = read(&mut from).await {
                let ask = match ask {
                    Ask::Spawn(request) if request.limits.prepares() => {
                        // It takes some milliseconds, in which others are served.
                        let (server, messages) = (Rc::clone(&self), client.messages.clone());
                        tokio::task::spawn_local(async move {
                            let answer = server.spawn(*request).await.map(Answer::Spawned);
                            if let Ok(frame) = encode(&Message::Reply { id: call, answer }) {
                                // When the client is gone, the run is in the next one's list.
                                let _ = messages.send(Outgoing { frame, descriptors: Vec::new() }).await;
                            }
                        });
                        continue;
                    }
                    ask => ask,
                };
                if matches!(&ask, Ask::Hello { version } if is_spoken(*version) && !self.is_ending.get()) {
                    // From here on it hears of everything; what was before it can list.
                    self.clients.borrow_mut().insert(id, Rc::clone(&client));
                }
                let is_shutdown = matches!(ask, Ask::Shutdown { .. });
                let came = from.take();
                let (answer, descriptors) = match ask {
                    Ask::HoldSockets { sockets } => (self.sockets.hold(id, sockets, came), Vec::new()),
                    Ask::TakeSockets => {
                        let (answer, copies) = self.sockets.take(id);
                        (Ok(answer), copies)
                    }
                    other => (self.answer(other).await, Vec::new()),
                };
                if let Ok(frame) = encode(&Message::Reply { id: call, answer })
                    && client.messages.send(Outgoing { frame, descriptors }).await.is_err()
                {
                    return false;
                }
                if is_shutdown {
                    return true;
                }
            }
            false
        };
        let is_shutdown = tokio::select! {
            is_shutdown = calls => is_shutdown,
            () = client.leave.notified() => {
                tracing::warn!("a client that did not read was cut off");
                false
            }
        };
        self.clients.borrow_mut().remove(&id);
        self.note_left(id);
        drop(client);
        if is_shutdown {
            // The reply to the shutdown must still go out.
            let _ = tokio::time::timeout(LAST_FLUSH, writing).await;
            self.end.notify_one();
        } else {
            writing.abort();
        }
        self.changed.notify_one();
    }

    async fn answer(self: &Rc<Self>, ask: Ask) -> Result<Answer, Refusal> {
        match ask {
            // Who comes now wants the next keeper.
            Ask::Hello { .. } if self.is_ending.get() => Err(Refusal::ShuttingDown),
            Ask::Hello { version } if is_spoken(version) => {
                Ok(Answer::Hello { version, keeper: self.own, limits: true, forwards: true })
            }
            Ask::Hello { version } => Err(Refusal::Version { keeper: VERSION, client: version }),
            Ask::Spawn(request) => self.spawn(*request).await.map(Answer::Spawned),
            Ask::Stop { run_id, timeout_ms } => {
                self.run(run_id)?.stop(self, Duration::from_millis(timeout_ms));
                Ok(Answer::Done)
            }
            Ask::List => Ok(Answer::Runs(self.runs.borrow().values().map(|run| run.report()).collect())),
            Ask::Forget { run_id } => self.forget(run_id),
            Ask::Resume { run_id, key } => {
                let run = self.run(run_id)?;
                let pipes = run.pipes.borrow_mut().take();
                if let Some(pipes) = pipes {
                    self.pump(&run, Some(key.0), pipes);
                    if run.is_over() {
                        run.finish_output(self).await;
                    }
                }
                Ok(Answer::Done)
            }
            // The two that come or go with descriptors were answered before.
            Ask::ReleaseSockets | Ask::TakeSockets | Ask::HoldSockets { .. } => Ok(self.sockets.release()),
            Ask::Forward { all } => Ok(Answer::Forwarding(self.forwarder.set(all).await)),
            Ask::Busy { to } => Ok(Answer::Busy(self.forwarder.busy(to).await)),
            Ask::Shutdown { stop_all } => {
                self.is_ending.set(true);
                if stop_all {
                    self.stop_all().await;
                }
                Ok(Answer::Done)
            }
        }
    }

    async fn spawn(self: &Rc<Self>, request: SpawnRequest) -> Result<Spawned, Refusal> {
        if let Ok(run) = self.run(request.run_id) {
            return Ok(run.spawned());
        }
        if self.is_ending.get() {
            return Err(Refusal::ShuttingDown);
        }
        let run::Started { run, leader, pipes, complaints } =
            run::start(self, &request).map_err(Refusal::Exec)?;
        self.pump(&run, request.key.map(|key| key.0), pipes);
        let run = Rc::new(run);
        let spawned = run.spawned();
        self.runs.borrow_mut().insert(request.run_id, Rc::clone(&run));
        tokio::task::spawn_local(run.watch(Rc::clone(self), Some(leader)));
        let words = match complaints {
            Some(complaints) => launch::complaint(complaints).await,
            None => None,
        };
        words.map_or(Ok(spawned), |words| Err(Refusal::Exec(words)))
    }

    fn forget(&self, run_id: RunId) -> Result<Answer, Refusal> {
        match self.run(run_id) {
            Ok(run) if !run.is_over() => Err(Refusal::StillRunning(run_id)),
            Ok(_) => {
                self.runs.borrow_mut().remove(&run_id);
                self.files.remove(run_id);
                Ok(Answer::Done)
            }
            // Forgotten before, by a client that did not hear the answer.
            Err(_) => Ok(Answer::Done),
        }
    }

    async fn stop_all(self: &Rc<Self>) {
        let runs: Vec<_> = self.runs.borrow().values().cloned().collect();
        for run in runs {
            let within = Duration::from_millis(run.file.borrow().stop_timeout_ms);
            run.stop(self, within);
        }
        while self.runs.borrow().values().any(|run| !run.is_over()) {
            self.changed.notified().await;
        }
    }

    fn run(&self, run_id: RunId) -> Result<Rc<Run>, Refusal> {
        self.runs.borrow().get(&run_id).cloned().ok_or(Refusal::UnknownRun(run_id))
    }

    /// Begins to read a run's output.
    pub(super) fn pump(&self, run: &Run, key: Option<Key>, pipes: [OwnedFd; 2]) {
        let (run_id, instance_id) = (run.file.borrow().run_id, run.file.borrow().instance_id);
        let keep = run.file.borrow().retain.map_or_else(Options::default, Retain::options);
        match self.outputs.pump(run_id, instance_id, key, keep, pipes) {
            Ok(pump) => *run.pump.borrow_mut() = Some(Rc::new(pump)),
            Err(error) => tracing::error!(%error, run.id = %run_id, "output cannot be read"),
        }
    }

    /// Tells everybody that a run is over.
    pub(super) fn tell_exit(&self, run: &Run, status: ExitStatus, at: Timestamp) {
        let (run_id, instance_id) = (run.file.borrow().run_id, run.file.borrow().instance_id);
        tracing::info!(run.id = %run_id, ?status, "a run is over");
        if let Ok(frame) = encode(&Message::Exited { run_id, instance_id, status, at }) {
            for client in self.clients.borrow().values() {
                if client.messages.try_send(frame.clone().into()).is_err() {
                    client.leave.notify_one();
                }
            }
        }
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Tells of spools that grew; to a client whose queue is full again later.
    async fn tell_growth(self: Rc<Self>, grown: std::sync::Arc<Grown>) {
        loop {
            let positions = grown.wait().await;
            for client in self.clients.borrow().values() {
                let mut late = client.late.borrow_mut();
                late.extend(positions.iter());
                late.retain(|instance, position| {
                    let message = Message::Output { instance_id: *instance, position: *position };
                    let frame = encode(&message).unwrap_or_default();
                    client.messages.try_send(frame.into()).is_err()
                });
            }
            tokio::time::sleep(OUTPUT_INTERVAL).await;
        }
    }

    /// All processes, looked at after this was asked; who ask together share one look.
    pub(super) async fn snapshot(&self) -> Rc<Snapshot> {
        let (give, take) = oneshot::channel();
        self.looking.borrow_mut().push(give);
        self.look.notify_one();
        match take.await {
            Ok(snapshot) => snapshot,
            Err(_) => Rc::new(self.look()),
        }
    }

    /// Looks at once when it is quiet, and at most half of the time when many ask: those
    /// who asked meanwhile are served by one look.
    async fn take_snapshots(self: Rc<Self>) {
        let mut not_before = Instant::now();
        loop {
            self.look.notified().await;
            tokio::time::sleep_until(not_before).await;
            let waiting = self.looking.take();
            if waiting.is_empty() {
                continue;
            }
            let begin = Instant::now();
            let snapshot = Rc::new(self.look());
            not_before = Instant::now() + begin.elapsed();
            for give in waiting {
                let _ = give.send(Rc::clone(&snapshot));
            }
        }
    }

    fn look(&self) -> Snapshot {
        let runs = self.runs.borrow();
        let held = runs.values().filter_map(|run| Some((run.held_pid()?, run.file.borrow().run_id)));
        let strangers = runs.values().any(|run| run.is_stranger() && !run.is_over());
        Snapshot::take(self.own.pid, &held.collect(), strangers)
    }

    /// Reaps what runs left behind and we inherited; their leaders are reaped by their own watch.
    pub(super) fn reap_orphans(&self) {
        while let Some(pid) = child::dead_child() {
            let raw = pid.as_raw_nonzero().get().cast_unsigned();
            // A held leader hides those behind it; they are asked for again when it is let go.
            let is_held = self.runs.borrow().values().any(|run| run.held_pid() == Some(raw));
            if is_held || reap(pid).is_err() {
                return;
            }
        }
    }

    /// Says that there may be nothing left to keep.
    pub(super) fn note_change(&self) {
        self.changed.notify_one();
    }

    async fn end_when_idle(self: Rc<Self>) {
        loop {
            let is_idle = || {
                self.clients.borrow().is_empty()
                    && !self.sockets.is_holding()
                    && self.runs.borrow().values().all(|run| run.is_over())
            };
            let changed = self.changed.notified();
            if !is_idle() {
                changed.await;
            } else if tokio::time::timeout(IDLE, changed).await.is_err() && is_idle() {
                tracing::info!("nothing to keep");
                self.end.notify_one();
            }
        }
    }
}

fn is_spoken(version: u32) -> bool {
    (OLDEST..=VERSION).contains(&version)
}

fn reap(pid: Pid) -> rustix::io::Result<()> {
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).map(drop)
}
