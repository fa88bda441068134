//! Where commits are kept: the [`Journal`] trait and what stands behind it.
//!
//! The trait carries commits and not events, so that a replicated log can stand behind
//! it: one commit, one message. A store keeps bytes; it decides nothing and decodes no
//! event. There is one appender; readers are many and never wait for it.

pub mod memory;
pub mod sled;

use std::fmt;
use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::{CodecError, Commit, EncodedCommit, packed};
use crate::id::Seq;

/// Keeps commits in the one order.
pub trait Journal: Send + Sync {
    /// Appends a commit that must begin right after the head. It is readable at once and
    /// durable after the next [`Journal::sync`].
    ///
    /// # Errors
    /// When the commit does not begin after the head, or the store fails; after a failure
    /// what the tail holds is uncertain, and nothing more may be acknowledged.
    fn append(&self, commit: &EncodedCommit) -> Result<(), StoreError>;

    /// Returns when everything appended so far survives a power cut.
    ///
    /// # Errors
    /// When the store fails; see [`Journal::append`].
    fn sync(&self) -> Result<(), StoreError>;

    /// Reads commits in order, the one that contains `from` first, until `max_bytes` are
    /// reached (at least one) or the commits end. Past the head: none.
    ///
    /// # Errors
    /// When the store cannot be read there. The bytes are not checked: see
    /// [`StoredCommit::parse`].
    fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError>;

    /// As [`Journal::read`], for who looks at a few events: they may come from a copy that is
    /// quicker to open, and that is checked. Who verifies or folds everything reads.
    ///
    /// # Errors
    /// As [`Journal::read`].
    fn look(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError> {
        self.read(from, max_bytes)
    }

    /// Told by who reads everything once, where it is: memory that was taken to read what lies
    /// before `seq` may be given back, and what follows may be fetched from the disk.
    fn passing(&self, seq: Seq) {
        let _ = seq;
    }

    /// Seq of the last event appended; [`Seq::ZERO`] when there is none.
    fn head(&self) -> Seq;

    /// Bytes that the store takes on disk.
    ///
    /// # Errors
    /// When they cannot be counted.
    fn size_on_disk(&self) -> Result<u64, StoreError>;
}

/// A store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The commit was made for another head: another appender was faster.
    #[error("a commit that begins at {first} does not follow the head {head}")]
    WrongHead {
        /// Where the commit begins.
        first: Seq,
        /// Where the journal ends.
        head: Seq,
    },
    /// The store was opened to read only.
    #[error("the journal was opened to read only")]
    ReadOnly,
    /// A file cannot be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The engine behind the store failed.
    #[error("the store failed to {action}")]
    Engine {
        /// What was tried.
        action: &'static str,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An earlier write failed, perhaps of what was acknowledged before: that is still in the
    /// write-ahead file. Nothing more is taken until the journal is opened again.
    #[error("the journal's files cannot be written")]
    Failed(#[source] Arc<StoreError>),
    /// What is stored from `seq` on is not what was written.
    #[error(
        "the journal is damaged at event {seq}: {what}; everything before it can be read with \
         `tenantry replay --until {}`; to go on, put back a copy of {} that is whole",
        seq.0.saturating_sub(1),
        path.display()
    )]
    Damaged {
        /// The first event that cannot be read.
        seq: Seq,
        /// What is wrong.
        what: String,
        /// The store's directory.
        path: PathBuf,
    },
    /// Events that were acknowledged are gone.
    #[error(
        "the journal ends at event {found}, but events up to {acknowledged} were acknowledged: \
         {} and later are lost or damaged; put back a copy of {} that is whole, or accept the \
         loss by removing {}",
        found.next(),
        dir.display(),
        mark.display()
    )]
    Lost {
        /// The last event that is there.
        found: Seq,
        /// The last event that somebody was told is durable.
        acknowledged: Seq,
        /// The store's directory.
        dir: PathBuf,
        /// The file that says so.
        mark: PathBuf,
    },
}

impl StoreError {
    /// The first event that is lost or damaged, where the error is about that.
    #[must_use]
    pub fn seq(&self) -> Option<Seq> {
        match self {
            StoreError::Damaged { seq, .. } => Some(*seq),
            StoreError::Lost { found, .. } => Some(found.next()),
            StoreError::Failed(error) => error.seq(),
            StoreError::WrongHead { .. }
            | StoreError::ReadOnly
            | StoreError::Io { .. }
            | StoreError::Engine { .. } => None,
        }
    }
}

/// A commit's bytes as a store keeps them, perhaps packed; shared and not copied.
#[derive(Clone)]
pub struct StoredCommit {
    /// The seq that it is stored under.
    pub seq: Seq,
    bytes: Bytes,
}

#[derive(Clone)]
enum Bytes {
    Sled(::sled::IVec),
    Shared(Arc<[u8]>),
    Within(Arc<[u8]>, Range<usize>),
}

impl StoredCommit {
    /// Wraps bytes that are stored under `seq`.
    #[must_use]
    pub fn new(seq: Seq, bytes: Arc<[u8]>) -> Self {
        StoredCommit { seq, bytes: Bytes::Shared(bytes) }
    }

    /// Wraps some of the bytes of a block.
    fn of_block(seq: Seq, block: &Arc<[u8]>, place: Range<usize>) -> Self {
        StoredCommit { seq, bytes: Bytes::Within(Arc::clone(block), place) }
    }

    fn from_sled(seq: Seq, bytes: ::sled::IVec) -> Self {
        StoredCommit { seq, bytes: Bytes::Sled(bytes) }
    }

    /// Checks the bytes and reads the header. What is packed is unpacked into `room`, so that one
    /// buffer serves many commits.
    ///
    /// # Errors
    /// When a byte changed since they were written.
    pub fn parse<'a>(&'a self, room: &'a mut Vec<u8>) -> Result<Commit<'a>, CodecError> {
        packed::parse(self.seq, self, room)
    }
}

impl Deref for StoredCommit {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Sled(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
            Bytes::Within(block, place) => block.get(place.clone()).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for StoredCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredCommit({}, {} bytes)", self.seq, self.len())
    }
}
