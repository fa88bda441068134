//! Group commit: from a decided request to a durable, visible, answered one.
//!
//! One thread, the writer, lets the [`Author`] decide the requests that wait, one after
//! the other, against the author's own state, which is ahead of what is durable. What was
//! decided becomes a group. While one group becomes durable on the committing thread, the
//! writer decides the next; a request that comes alone is committed by the writer itself,
//! without a hand-off. There is a single turn to commit: whoever holds it commits, so
//! groups become durable in the order in which they were decided.
//!
//! A request is answered after its group is durable and published, a rejection too: it may
//! rest on events that are not yet durable. After any failure of store or keyring nothing
//! is published or acknowledged any more ([`Poisoned`]); what was published stays readable.

mod stage;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use crate::id::Seq;
use crate::keyring::Keyring;
use crate::merkle::Frontier;
use crate::recorded::Batch;
use crate::store::Journal;
use crate::time::Timestamp;
use crate::tree::TileRoot;
use stage::Staged;

pub use stage::{Stage, StageError};

/// Requests that wait for the writer at most; beyond that the submitter is told at once.
/// The largest load that is promised is 1,024 concurrent writers, four times of that are
/// some milliseconds of work.
pub const QUEUE_REQUESTS: usize = 4096;
/// Requests in one group at most, so that an answer never waits for more than these.
const GROUP_REQUESTS: usize = 1024;
/// Bytes in one group at most, so that an answer never waits for a write of more than some
/// milliseconds. What is written to the disk at once is no more than this and one commit.
const GROUP_BYTES: usize = 768 * 1024;
/// A group of at most this many requests is committed by the writer itself when nobody
/// else waits: handing it over would take longer than it saves.
const INLINE_REQUESTS: usize = 2;

/// How often the writer gives way to other threads while it waits for requests to come in
/// for a group, before it sleeps until its turn: together about the time of one sync.
const IDLE_YIELDS: u32 = 50;

/// Decides requests, on the writer's thread.
pub trait Author: Send + 'static {
    /// What is asked.
    type Request: Send + 'static;
    /// The caller who waits, and the answer to give when it is durable.
    type Reply: Send + 'static;
    /// What becomes visible when a group is durable.
    type State: Send + 'static;

    /// Decides one request against the author's own state, and records its events.
    fn decide(&mut self, request: Self::Request, stage: &mut Stage) -> Self::Reply;

    /// The state after the group's last request.
    fn state(&mut self) -> Self::State;
}

/// Makes durable groups visible and answers their callers.
pub trait Publisher<A: Author>: Send + 'static {
    /// Makes the state visible; `commits` are durable now. Not called for a group that
    /// recorded nothing.
    fn publish(&mut self, state: A::State, commits: &[Committed]);

    /// Told how long writing a group and making it durable took, before it is published.
    fn synced(&mut self, took: std::time::Duration) {
        let _ = took;
    }

    /// Answers one caller, after its group was published or will never be.
    fn answer(&mut self, reply: A::Reply, outcome: Result<(), Poisoned>);
}

/// A durable commit.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its events; never empty.
    pub events: Batch,
    /// What it takes in the store.
    pub bytes: usize,
    /// The roots of the tiles of the Merkle tree that it completes; mostly none.
    pub tiles: Vec<TileRoot>,
}

impl Committed {
    /// Seq of its first event.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.events.first().map_or(Seq::ZERO, |event| event.seq)
    }

    /// Seq of its last event.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.events.last().map_or(Seq::ZERO, |event| event.seq)
    }
}

/// The store failed: nothing more is acknowledged until the process starts again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the journal takes no more writes since its store failed ({reason}); restart when the cause is gone")]
pub struct Poisoned {
    /// What failed, with its causes.
    pub reason: Arc<str>,
}

/// Where the journal ends when the writer starts.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The last event.
    pub seq: Seq,
    /// Its time.
    pub time: Timestamp,
    /// The tree over all events up to it.
    pub frontier: Frontier,
}

/// What a group is, on its way from the writer to its callers.
struct Group<A: Author> {
    staged: Vec<Staged>,
    state: Option<A::State>,
    replies: Vec<A::Reply>,
}

/// The right to commit. There is one.
struct Turn;

/// The pipeline: a bounded queue, the writer's thread and the committing thread.
pub struct GroupCommit<A: Author> {
    requests: Mutex<Option<Sender<A::Request>>>,
    /// Dropped to end the writing thread.
    running: Mutex<Option<Sender<()>>>,
    poison: Arc<Poison>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The request was not taken; it is given back.
pub enum Refused<R> {
    /// [`QUEUE_REQUESTS`] wait already.
    Busy(R),
    /// The pipeline was stopped.
    Stopped(R),
}

impl<R> fmt::Debug for Refused<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Busy(_) => "Busy",
            Refused::Stopped(_) => "Stopped",
        })
    }
}

#[derive(Default)]
struct Poison {
    set: AtomicBool,
    reason: OnceLock<Arc<str>>,
}

impl Poison {
    fn get(&self) -> Option<Poisoned> {
        if !self.set.load(Ordering::Acquire) {
            return None;
        }
        Some(Poisoned { reason: self.reason.get().cloned().unwrap_or_else(|| "unknown".into()) })
    }

    fn put(&self, error: &dyn std::error::Error) -> Poisoned {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        tracing::error!(%reason, "the store failed; no more writes are taken");
        let _ = self.reason.set(reason.as_str().into());
        self.set.store(true, Ordering::Release);
        Poisoned { reason: reason.into() }
    }
}

/// A thread of the pipeline that panics must not look alive.
struct PoisonOnPanic(Arc<Poison>);

impl Drop for PoisonOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.reason.set("a thread of the journal panicked".into());
            self.0.set.store(true, Ordering::Release);
        }
    }
}

impl<A: Author> GroupCommit<A> {
    /// Starts the two threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        store: Arc<dyn Journal>,
        keyring: Arc<Keyring>,
        start: Start,
        author: A,
        publisher: impl Publisher<A>,
    ) -> std::io::Result<Self> {
        let poison = Arc::new(Poison::default());
        let (requests, queue) = bounded(QUEUE_REQUESTS);
        let (groups, handed_over) = bounded::<(Group<A>, Turn)>(1);
        let (give_back, turns) = bounded(1);
        let (running, ending) = bounded(0);
        let committer = Arc::new(Mutex::new(Committer {
            store,
            keyring: Arc::clone(&keyring),
            publisher,
            poison: Arc::clone(&poison),
        }));
        let _ = give_back.send(Turn);
        let writer = Writer {
            author,
            stage: Stage::new(keyring, start),
            queue,
            ending,
            turns,
            give_back: give_back.clone(),
            groups,
            committer: Arc::clone(&committer),
        };
        let guard = PoisonOnPanic(Arc::clone(&poison));
        let writing = std::thread::Builder::new().name("journal-writer".into()).spawn(move || {
            let _guard = guard;
            writer.run();
        })?;
        let guard = PoisonOnPanic(Arc::clone(&poison));
        let committing = std::thread::Builder::new().name("journal-commit".into()).spawn(move || {
            let _guard = guard;
            for (group, turn) in handed_over {
                commit(&committer, group);
                // The writer may have ended.
                let _ = give_back.send(turn);
            }
        })?;
        Ok(GroupCommit {
            requests: Mutex::new(Some(requests)),
            running: Mutex::new(Some(running)),
            poison,
            threads: Mutex::new(vec![writing, committing]),
        })
    }

    /// A cheap, cloneable way to submit requests.
    #[must_use]
    pub fn submitter(&self) -> Submitter<A> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        Submitter { requests: requests.clone(), poison: Arc::clone(&self.poison) }
    }

    /// Hands a request to the writer, without waiting.
    ///
    /// # Errors
    /// When too many wait, or the pipeline was stopped; the request is given back.
    pub fn submit(&self, request: A::Request) -> Result<(), Refused<A::Request>> {
        match &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(requests) => send(requests, request),
            None => Err(Refused::Stopped(request)),
        }
    }

    /// Whether a failure ended all writing.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.poison.get()
    }

    /// Commits and answers what was submitted, then ends the threads. Whoever still has a
    /// [`Submitter`] is refused from then on.
    pub fn stop(&self) {
        drop(self.running.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic was told by the poison.
            let _ = thread.join();
        }
    }
}

impl<A: Author> Drop for GroupCommit<A> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Submits requests; ends nothing when dropped.
pub struct Submitter<A: Author> {
    requests: Option<Sender<A::Request>>,
    poison: Arc<Poison>,
}

impl<A: Author> Clone for Submitter<A> {
    fn clone(&self) -> Self {
        Submitter { requests: self.requests.clone(), poison: Arc::clone(&self.poison) }
    }
}

impl<A: Author> Submitter<A> {
    /// As [`GroupCommit::submit`].
    ///
    /// # Errors
    /// As [`GroupCommit::submit`].
    pub fn submit(&self, request: A::Request) -> Result<(), Refused<A::Request>> {
        match &self.requests {
            Some(requests) => send(requests, request),
            None => Err(Refused::Stopped(request)),
        }
    }

    /// As [`GroupCommit::poisoned`].
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.poison.get()
    }
}

fn send<R>(requests: &Sender<R>, request: R) -> Result<(), Refused<R>> {
    use crossbeam_channel::TrySendError;
    requests.try_send(request).map_err(|error| match error {
        TrySendError::Full(request) => Refused::Busy(request),
        TrySendError::Disconnected(request) => Refused::Stopped(request),
    })
}

struct Writer<A: Author, P: Publisher<A>> {
    author: A,
    stage: Stage,
    queue: Receiver<A::Request>,
    /// Closed when it is to end though others could still submit.
    ending: Receiver<()>,
    turns: Receiver<Turn>,
    give_back: Sender<Turn>,
    groups: Sender<(Group<A>, Turn)>,
    committer: Arc<Mutex<Committer<P>>>,
}

impl<A: Author, P: Publisher<A>> Writer<A, P> {
    fn run(mut self) {
        while let Some(first) = self.next() {
            let mut replies = vec![self.author.decide(first, &mut self.stage)];
            let Some(turn) = self.fill(&mut replies) else {
                return;
            };
            let alone = replies.len() <= INLINE_REQUESTS && self.queue.is_empty();
            let group = self.close(replies);
            if alone {
                commit(&self.committer, group);
                let _ = self.give_back.send(turn);
            } else if self.groups.send((group, turn)).is_err() {
                // The committing thread panicked: callers see their replies dropped.
                return;
            }
        }
    }

    /// The next request; what waits goes before the end.
    fn next(&self) -> Option<A::Request> {
        match self.queue.try_recv() {
            Ok(request) => Some(request),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => crossbeam_channel::select! {
                recv(self.queue) -> request => request.ok(),
                recv(self.ending) -> _ => self.queue.try_recv().ok(),
            },
        }
    }

    /// Decides what waits until the group is full, or nothing waits and it is our turn to
    /// commit. `None` when the committing thread is gone.
    fn fill(&mut self, replies: &mut Vec<A::Reply>) -> Option<Turn> {
        let mut idle = 0;
        while self.has_room(replies) {
            if self.drain(replies) {
                continue;
            }
            if let Ok(turn) = self.turns.try_recv() {
                return Some(turn);
            }
            if idle == IDLE_YIELDS {
                break;
            }
            idle += 1;
            std::thread::yield_now();
        }
        // Sleeping until the turn comes, and not until the next request does: to be woken
        // for each request costs several times what deciding it a little later does.
        let turn = self.turns.recv().ok()?;
        self.drain(replies);
        Some(turn)
    }

    fn has_room(&self, replies: &[A::Reply]) -> bool {
        replies.len() < GROUP_REQUESTS && self.stage.bytes() < GROUP_BYTES
    }

    /// Decides what waits, as far as the group has room; says whether anything did.
    fn drain(&mut self, replies: &mut Vec<A::Reply>) -> bool {
        let before = replies.len();
        while self.has_room(replies) {
            let Ok(request) = self.queue.try_recv() else {
                break;
            };
            replies.push(self.author.decide(request, &mut self.stage));
        }
        replies.len() > before
    }

    fn close(&mut self, replies: Vec<A::Reply>) -> Group<A> {
        let staged = self.stage.take();
        let state = (!staged.is_empty()).then(|| self.author.state());
        Group { staged, state, replies }
    }
}

struct Committer<P> {
    store: Arc<dyn Journal>,
    keyring: Arc<Keyring>,
    publisher: P,
    poison: Arc<Poison>,
}

fn commit<A: Author, P: Publisher<A>>(committer: &Mutex<Committer<P>>, group: Group<A>) {
    let mut committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
    let Group { staged, state, replies } = group;
    let outcome = match committer.poison.get() {
        Some(poisoned) => Err(poisoned),
        None => {
            let begun = std::time::Instant::now();
            let durable = committer.make_durable(&staged);
            if !staged.is_empty() && durable.is_ok() {
                committer.publisher.synced(begun.elapsed());
            }
            durable
        }
    };
    if outcome.is_ok()
        && let Some(state) = state
    {
        let commits: Vec<Committed> = staged
            .into_iter()
            .map(|Staged { encoded, events, tiles }| Committed {
                events,
                bytes: encoded.bytes().len(),
                tiles,
            })
            .collect();
        committer.publisher.publish(state, &commits);
    }
    for reply in replies {
        committer.publisher.answer(reply, outcome.clone());
    }
}

impl<P> Committer<P> {
    fn make_durable(&self, staged: &[Staged]) -> Result<(), Poisoned> {
        if staged.is_empty() {
            return Ok(());
        }
        self.keyring.sync().map_err(|error| self.poison.put(&error))?;
        for commit in staged {
            self.store.append(&commit.encoded).map_err(|error| self.poison.put(&error))?;
        }
        self.store.sync().map_err(|error| self.poison.put(&error))
    }
}
