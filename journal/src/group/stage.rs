//! Where the writer records what it decided: positions, time, sealing, bytes, hashes.

use std::sync::Arc;

use crate::codec::{self, CommitBuilder, EncodedCommit, HEADER_BYTES, MAX_COMMIT_BYTES};
use crate::group::Start;
use crate::id::Seq;
use crate::keyring::Keyring;
use crate::merkle::{self, Frontier};
use crate::recorded::{Batch, Draft, Recorded};
use crate::sealed::{Vault, with_vault};
use crate::time::Timestamp;
use crate::tree::{self, TileRoot};

/// A commit takes no further command's events past this. It is sled's longest value, so
/// that only a single command that is larger is ever cut into parts.
const COMMIT_BYTES: usize = crate::store::sled::PART_BYTES;

/// Events that cannot be recorded; nothing of the call was.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// One command's events do not fit into one commit.
    #[error("the events of one command take {bytes} bytes, more than the {MAX_COMMIT_BYTES} of a commit")]
    TooLarge {
        /// What they take.
        bytes: usize,
    },
    /// An event does not encode: the key of a sealed field is gone.
    #[error("an event of kind '{kind}' cannot be encoded")]
    Encode {
        /// The event's kind.
        kind: &'static str,
        /// What the encoder says.
        #[source]
        source: rmp_serde::encode::Error,
    },
}

/// A commit that is ready to be stored, with its events as they are in memory.
pub(super) struct Staged {
    pub(super) encoded: EncodedCommit,
    pub(super) events: Batch,
    pub(super) tiles: Vec<TileRoot>,
}

/// Takes events from the [`super::Author`] on the writer's thread.
pub struct Stage {
    head: Seq,
    time: Timestamp,
    frontier: Frontier,
    keyring: Arc<Keyring>,
    vault: Arc<dyn Vault>,
    builder: Option<CommitBuilder>,
    events: Vec<Recorded>,
    /// Tiles that the open commit completes.
    tiles: Vec<TileRoot>,
    staged: Vec<Staged>,
    staged_bytes: usize,
    /// What the last commit took: room for the next one from the start.
    usual: (usize, usize),
    /// Reused between calls: records with their lengths, one event's fields, leaf hashes.
    framed: Vec<u8>,
    fields: Vec<u8>,
    leaves: Vec<merkle::Hash>,
}

impl Stage {
    pub(super) fn new(keyring: Arc<Keyring>, start: Start) -> Self {
        Stage {
            head: start.seq,
            time: start.time,
            frontier: start.frontier,
            vault: Arc::clone(&keyring) as Arc<dyn Vault>,
            keyring,
            builder: None,
            events: Vec::new(),
            tiles: Vec::new(),
            staged: Vec::new(),
            staged_bytes: 0,
            usual: (0, 0),
            framed: Vec::new(),
            fields: Vec::new(),
            leaves: Vec::new(),
        }
    }

    /// Records what one command decided, all of it or nothing. Gives the events their
    /// positions, raises their times to that of the event before, and makes the keys that
    /// they bring into being. Events of one call stand in one commit, so that after a
    /// crash they are all there or none is.
    ///
    /// # Errors
    /// When the events are too large or do not encode.
    pub fn record(&mut self, drafts: Vec<Draft>) -> Result<&[Recorded], StageError> {
        let before = self.events.len();
        if before == 0 {
            self.events.reserve(self.usual.1);
        }
        let mut head = self.head;
        let mut time = self.time;
        for draft in drafts {
            head = head.next();
            time = time.max(draft.at);
            if let Some(key) = draft.event.new_key() {
                self.keyring.create(key);
            }
            self.events.push(Recorded { seq: head, draft: Draft { at: time, ..draft } });
        }
        if head == self.head {
            return Ok(&[]);
        }
        if let Err(error) = self.encode(before) {
            self.events.truncate(before);
            return Err(error);
        }
        let start = self.place(before, time);
        self.head = head;
        self.time = time;
        Ok(self.events.get(start..).unwrap_or(&[]))
    }

    /// Encodes the events from `before` on into `framed` and `leaves`.
    fn encode(&mut self, before: usize) -> Result<(), StageError> {
        let Stage { vault, events, framed, fields, leaves, .. } = self;
        framed.clear();
        leaves.clear();
        with_vault(vault, || {
            for event in events.iter().skip(before) {
                let at = framed.len();
                framed.extend_from_slice(&[0; 4]);
                codec::encode_record(event, fields, framed)
                    .map_err(|source| StageError::Encode { kind: event.event.kind(), source })?;
                let Some((length, record)) =
                    framed.get_mut(at..).and_then(|tail| tail.split_first_chunk_mut())
                else {
                    continue;
                };
                let record: &[u8] = record;
                *length = (record.len() as u32).to_be_bytes();
                leaves.push(merkle::leaf(record));
                if framed.len() + HEADER_BYTES > MAX_COMMIT_BYTES {
                    return Err(StageError::TooLarge { bytes: framed.len() });
                }
            }
            Ok(())
        })
    }

    /// Puts what was encoded into the open commit, or a new one when that would become too
    /// long. Gives the index of the call's first event.
    fn place(&mut self, before: usize, time: Timestamp) -> usize {
        let mut start = before;
        if self.builder.as_ref().is_some_and(|open| open.len() + self.framed.len() > COMMIT_BYTES) {
            let later = self.events.split_off(before);
            self.close();
            self.events = later;
            start = 0;
        }
        let next = self.head.next();
        let frontier = &mut self.frontier;
        let room = self.usual.0;
        let builder =
            self.builder.get_or_insert_with(|| CommitBuilder::with_room(next, frontier.root(), room));
        builder.push_framed(&self.framed, self.leaves.len() as u32, time);
        for leaf in self.leaves.drain(..) {
            tree::push(frontier, leaf, &mut self.tiles);
        }
        start
    }

    fn close(&mut self) {
        if let Some(builder) = self.builder.take() {
            let encoded = builder.finish();
            self.usual = (encoded.bytes().len().min(COMMIT_BYTES), self.events.len());
            self.staged_bytes += encoded.bytes().len();
            let (events, tiles) = (std::mem::take(&mut self.events).into(), std::mem::take(&mut self.tiles));
            self.staged.push(Staged { encoded, events, tiles });
        }
    }

    /// What was recorded since the last call, in commits.
    pub(super) fn take(&mut self) -> Vec<Staged> {
        self.close();
        self.staged_bytes = 0;
        std::mem::take(&mut self.staged)
    }

    /// Bytes recorded since the last [`Stage::take`].
    pub(super) fn bytes(&self) -> usize {
        self.staged_bytes + self.builder.as_ref().map_or(0, CommitBuilder::len)
    }

    /// The last event recorded, durable or not.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.head
    }

    /// The time of day, never before the last event's.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.time.max(clock())
    }

    /// The tree over all events recorded, durable or not.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }
}

/// The time of day.
fn clock() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the writer is one of the two places that know the time of day"
    )]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
