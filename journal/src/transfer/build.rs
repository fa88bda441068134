//! A new journal from records, in commits that end where commands do.

use std::path::Path;

use uuid::Uuid;

use super::TransferError;
use crate::codec::{self, CommitBuilder};
use crate::id::{KeyId, Seq};
use crate::merkle::{self, Frontier};
use crate::recorded::Recorded;
use crate::store::Journal;
use crate::store::sled::SledJournal;
use crate::time::Timestamp;

/// A commit is closed behind this many bytes.
const COMMIT_BYTES: usize = 48 * 1024;
/// Commits between two syncs.
const SYNC_EVERY: u32 = 32;

/// Records of one command that are not in a commit yet.
#[derive(Default)]
struct Held {
    command: Option<Uuid>,
    framed: Vec<u8>,
    leaves: Vec<merkle::Hash>,
    keys: Vec<KeyId>,
    last: Timestamp,
}

/// Makes a journal in a directory of its own. What was pushed is durable after
/// [`Builder::finish`], and only then counts.
pub struct Builder {
    store: SledJournal,
    frontier: Frontier,
    open: Option<CommitBuilder>,
    unsynced: u32,
    held: Held,
    keys: Vec<KeyId>,
    at: Timestamp,
}

/// What was made.
#[derive(Debug)]
pub struct Built {
    /// The tree over all of it.
    pub frontier: Frontier,
    /// The keys that its events brought into being, the control plane's own among them.
    pub keys: Vec<KeyId>,
    /// Time of its last event.
    pub at: Timestamp,
}

impl Builder {
    /// Begins an empty journal in `dir/journal`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(dir: &Path) -> Result<Builder, TransferError> {
        let store = SledJournal::open(&dir.join("journal"))?;
        let keys = vec![KeyId::CONTROL_PLANE];
        let (frontier, held) = (Frontier::default(), Held::default());
        Ok(Builder { store, frontier, open: None, unsynced: 0, held, keys, at: Timestamp(0) })
    }

    /// Adds the next record, which must be one that this program knows; gives its event.
    ///
    /// # Errors
    /// When the record does not decode, is of a kind or version that is unknown here, or cannot
    /// be written.
    pub fn push(&mut self, seq: Seq, record: &[u8]) -> Result<Recorded, TransferError> {
        let recorded = codec::decode_record(seq, record)?;
        let command = recorded.command_id.0;
        // What nobody commanded stands alone.
        if command.is_nil() || self.held.command != Some(command) {
            self.release()?;
        }
        let held = &mut self.held;
        held.command = Some(command);
        held.framed.extend_from_slice(&(record.len() as u32).to_be_bytes());
        held.framed.extend_from_slice(record);
        held.leaves.push(merkle::leaf(record));
        held.keys.extend(recorded.event.new_key());
        held.last = recorded.at;
        Ok(recorded)
    }

    /// The command of the last record, when more of its events may follow.
    #[must_use]
    pub fn command(&self) -> Option<Uuid> {
        self.held.command.filter(|command| !command.is_nil())
    }

    /// Leaves out what was pushed of the last command: a part of it is no state that ever was.
    /// Returns how many events that is.
    pub fn take_back(&mut self) -> usize {
        std::mem::take(&mut self.held).leaves.len()
    }

    fn release(&mut self) -> Result<(), TransferError> {
        let held = std::mem::take(&mut self.held);
        if held.leaves.is_empty() {
            return Ok(());
        }
        let is_full = self.open.as_ref().is_some_and(|open| open.len() + held.framed.len() > COMMIT_BYTES);
        if is_full {
            self.close()?;
        }
        let (first, root) = (Seq(self.frontier.size() + 1), self.frontier.root());
        let open = self.open.get_or_insert_with(|| CommitBuilder::new(first, root));
        open.push_framed(&held.framed, held.leaves.len() as u32, held.last);
        held.leaves.into_iter().for_each(|leaf| self.frontier.push(leaf));
        self.keys.extend(held.keys);
        self.at = held.last;
        Ok(())
    }

    fn close(&mut self) -> Result<(), TransferError> {
        if let Some(open) = self.open.take() {
            self.store.append(&open.finish())?;
            self.unsynced += 1;
            if self.unsynced >= SYNC_EVERY {
                self.store.sync()?;
                self.unsynced = 0;
            }
        }
        Ok(())
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<Built, TransferError> {
        self.release()?;
        self.close()?;
        self.store.sync()?;
        Ok(Built { frontier: self.frontier, keys: self.keys, at: self.at })
    }
}
