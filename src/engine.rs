//! The writer: one thread decides every command against one World, in one order.
//!
//! A [`Handle`] is cheap to clone. Reading takes the last durable World without a lock;
//! writing waits until the decision is durable and visible. The World that the writer
//! decides against runs ahead of the durable one; nobody else sees it.

mod boot;
mod writer;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tenantry_journal::feed::Feed;
use tenantry_journal::group::{GroupCommit, Refused, Start, Submitter};
use tenantry_journal::id::{CommandId, Seq};
use tenantry_journal::keyring::Keyring;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Vault;
use tenantry_journal::store::Journal;
use tenantry_journal::tree::TileRoots;
use tenantry_projections::world::World;
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::domain::command::Submission;
use crate::domain::policy::Policy;
use crate::domain::rejection::Rejection;
use crate::telemetry::metrics::Metrics;
use writer::{Request, Visible, Writer};

pub use boot::{BootError, Booted, JournalSource, Snapshotter, boot};

/// What became of a command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The command's id.
    pub command_id: CommandId,
    /// What it recorded (or would, in a dry run); empty when there was nothing to do.
    pub events: Arc<[Recorded]>,
    /// The World right after it.
    pub world: Arc<World>,
    /// Position of its last event, or the head when it recorded none.
    pub seq: Seq,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The caller is wrong.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// We are: the journal cannot be written, too much waits, or the control plane is ending.
    #[error("the journal does not accept writes: {0}")]
    Unavailable(String),
}

/// What the engine needs to begin.
pub struct Setup {
    /// Where events are kept.
    pub store: Arc<dyn Journal>,
    /// The keys of sealed values.
    pub keyring: Arc<Keyring>,
    /// The World at the journal's head, and where that is.
    pub booted: Booted,
    /// What the configuration says; replaced when it is read again.
    pub policy: Arc<ArcSwap<Policy>>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where commits are counted.
    pub metrics: Arc<Metrics>,
}

/// The writer's threads. Dropping it stops them after what waits is durable.
pub struct Engine {
    group: GroupCommit<Writer>,
    handle: Handle,
}

impl Engine {
    /// Starts the writer.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn start(setup: Setup) -> std::io::Result<Engine> {
        let Setup { store, keyring, booted, policy, clock, metrics } = setup;
        let Booted { world, frontier } = booted;
        let start = Start { seq: world.seq, time: world.at, frontier };
        let vault = Arc::clone(&keyring) as Arc<dyn Vault>;
        let feed = Arc::new(Feed::new(Arc::clone(&store), vault, world.seq));
        let visible = Arc::new(ArcSwap::from_pointee(world.clone()));
        let (tell, access) = watch::channel(());
        let tiles = Arc::new(TileRoots::default());
        let publisher = Visible {
            world: Arc::clone(&visible),
            feed: Arc::clone(&feed),
            access: tell,
            metrics,
            tiles: Arc::clone(&tiles),
        };
        let group = GroupCommit::start(store, keyring, start, Writer { world, policy, clock }, publisher)?;
        let handle = Handle { world: visible, feed, access, tiles, submitter: group.submitter() };
        Ok(Engine { group, handle })
    }

    /// The way to the writer.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Takes no more commands and waits until what was taken is durable.
    pub fn stop(&self) {
        self.group.stop();
    }
}

/// The way to the writer.
#[derive(Clone)]
pub struct Handle {
    world: Arc<ArcSwap<World>>,
    feed: Arc<Feed>,
    access: watch::Receiver<()>,
    tiles: Arc<TileRoots>,
    submitter: Submitter<Writer>,
}

impl Handle {
    /// Decides a command. Returns when what it recorded is durable and visible.
    ///
    /// # Errors
    /// [`SubmitError::Rejected`] when a rule refuses it, [`SubmitError::Unavailable`] when the
    /// journal cannot be written.
    pub async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        let (reply, answer) = oneshot::channel();
        match self.submitter.submit(Request { submission, reply }) {
            Ok(()) => {}
            Err(Refused::Busy(_)) => {
                return Err(SubmitError::Unavailable("too many commands wait already".into()));
            }
            Err(Refused::Stopped(_)) => {
                return Err(SubmitError::Unavailable("the control plane is ending".into()));
            }
        }
        answer.await.unwrap_or_else(|_| Err(SubmitError::Unavailable("the control plane is ending".into())))
    }

    /// The last durable World; takes no lock.
    #[must_use]
    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// Every event, from any position on.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// What was completed of the Merkle tree and is not taken yet.
    #[must_use]
    pub fn tiles(&self) -> &Arc<TileRoots> {
        &self.tiles
    }

    /// Follows the position of [`Handle::world`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Seq> {
        self.feed.watch()
    }

    /// Says when users or tokens changed, before any event from then on is in the feed.
    #[must_use]
    pub fn access_changes(&self) -> watch::Receiver<()> {
        self.access.clone()
    }

    /// Why writes are not accepted, when they are not.
    #[must_use]
    pub fn unavailable(&self) -> Option<String> {
        self.submitter.poisoned().map(|poisoned| poisoned.to_string())
    }

    /// Whether writes are accepted.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.submitter.poisoned().is_none()
    }

    /// Waits until `found` finds something in the World, looking again after each change;
    /// `None` when `deadline` passes first.
    pub async fn until<T>(
        &self,
        deadline: tokio::time::Instant,
        mut found: impl FnMut(&World) -> Option<T>,
    ) -> Option<T> {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Some(value) = found(&self.world()) {
                return Some(value);
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
        }
    }
}
