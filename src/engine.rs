//! The writer: one thread decides every command against one World, in one order.
//!
//! A [`Handle`] is cheap to clone. Reading takes the last durable World without a lock;
//! writing waits until the decision is durable and visible.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tenantry_journal::id::{CommandId, Seq};
use tenantry_journal::recorded::Recorded;
use tenantry_projections::world::World;
use tokio::sync::watch;

use crate::domain::command::Submission;
use crate::domain::rejection::Rejection;

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
    /// We are: the journal cannot be written, or the control plane is ending.
    #[error("the journal does not accept writes: {0}")]
    Unavailable(String),
}

/// The way to the writer.
#[derive(Clone)]
pub struct Handle {
    world: Arc<ArcSwap<World>>,
    head: watch::Receiver<Seq>,
}

impl Handle {
    /// Decides a command. Returns when what it recorded is durable and visible.
    ///
    /// # Errors
    /// [`SubmitError::Rejected`] when a rule refuses it, [`SubmitError::Unavailable`] when the
    /// journal cannot be written.
    #[expect(clippy::unused_async, reason = "waits for the journal")]
    pub async fn submit(&self, _submission: Submission) -> Result<Outcome, SubmitError> {
        Err(SubmitError::Unavailable("not wired yet".into()))
    }

    /// The last durable World; takes no lock.
    #[must_use]
    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// Follows the position of [`Handle::world`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Seq> {
        self.head.clone()
    }

    /// Whether writes are accepted.
    #[must_use]
    pub fn is_available(&self) -> bool {
        true
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
