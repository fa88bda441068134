//! Reading the journal in order, from the store and at full speed: to fold, to fill a page,
//! to find a moment, to verify.
//!
//! Nothing is passed over: a gap, a byte that changed, a root that does not fit, an event
//! that this program does not know and a damaged sealed value that is asked for each end the
//! reading with the seq where it is.

mod replay;

use std::ops::ControlFlow;
use std::sync::Arc;

pub use replay::replay;

use crate::codec::wire::BadWire;
use crate::codec::{self, CodecError, Commit};
use crate::id::{KeyId, Seq, TenantId};
use crate::merkle::{self, Frontier};
use crate::recorded::Recorded;
use crate::sealed::{Vault, take_damage, with_vault};
use crate::store::{Journal, StoreError, StoredCommit};
use crate::time::Timestamp;

/// Bytes of commits that are fetched from the store at a time: large enough that the
/// store's own cost vanishes, small enough to stay in the processor's cache.
const PAGE_BYTES: usize = 512 * 1024;

/// What an event takes in the store, packed, more or less: what is fetched for a few of them
/// is not much more than they are.
const PACKED_EVENT_BYTES: usize = 128;

/// The journal cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Events are missing.
    #[error("event {wanted} is missing: the next commit begins at {found}")]
    Gap {
        /// The event that should be there.
        wanted: Seq,
        /// What is there in its place; [`Seq::ZERO`] when nothing is.
        found: Seq,
    },
    /// An event before this one is not what it was when the commit was written.
    #[error("the events before {seq} are not those that the commit at {seq} was written after")]
    Root {
        /// Where the commit begins whose header says so.
        seq: Seq,
    },
    /// Some of these events are not those over which a kept root was made.
    #[error("events {first} to {last} are not those that the checkpoint of size {last} was made over")]
    Kept {
        /// The first event that no kept root vouches for.
        first: Seq,
        /// The last event of the tree of the kept root.
        last: Seq,
    },
    /// A sealed value has its key and does not open: it is damaged, and not erased.
    #[error(
        "a sealed value of event {seq}, or of one before it, is damaged: the key {} does not open it; put \
         back copies of the journal and the keyring that belong together",
        key.0
    )]
    Sealed {
        /// The event that was read when it was asked for.
        seq: Seq,
        /// The key that it is under.
        key: KeyId,
    },
}

impl ScanError {
    /// The first event that cannot be relied on; `None` when the store itself fails.
    #[must_use]
    pub fn seq(&self) -> Option<Seq> {
        match self {
            ScanError::Store(error) => error.seq(),
            ScanError::Codec(error) => Some(error.seq()),
            ScanError::Gap { wanted, .. } => Some(*wanted),
            ScanError::Root { seq } | ScanError::Kept { first: seq, .. } | ScanError::Sealed { seq, .. } => {
                Some(*seq)
            }
        }
    }
}

/// Refuses what was read when somebody asked for a sealed value and found it damaged.
///
/// # Errors
/// When this thread did since it was asked last.
pub fn undamaged(seq: Seq) -> Result<(), ScanError> {
    take_damage().map_or(Ok(()), |key| Err(ScanError::Sealed { seq, key }))
}

/// Hands the checked commits that hold `from..=to` to `each`, in order, until it breaks off. For
/// who looks, and does not verify: see [`Journal::look`].
fn commits(
    store: &dyn Journal,
    from: Seq,
    to: Seq,
    each: impl FnMut(&Commit<'_>) -> Result<ControlFlow<()>, ScanError>,
) -> Result<(), ScanError> {
    commits_of(|next| Ok(store.look(next, page_bytes(next, to))?), from, to, each)
}

/// Bytes to fetch for the events `from..=to`: a page, or less for a few.
fn page_bytes(from: Seq, to: Seq) -> usize {
    let events = usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(usize::MAX).saturating_add(1);
    events.saturating_mul(PACKED_EVENT_BYTES).min(PAGE_BYTES)
}

/// As [`commits`], with pages of commits from `page_at`: the first commit of a page holds the
/// seq that was asked for.
fn commits_of(
    mut page_at: impl FnMut(Seq) -> Result<Vec<StoredCommit>, ScanError>,
    from: Seq,
    to: Seq,
    mut each: impl FnMut(&Commit<'_>) -> Result<ControlFlow<()>, ScanError>,
) -> Result<(), ScanError> {
    let mut next = from.max(Seq(1));
    let mut first = true;
    let mut room = Vec::new();
    while next <= to {
        let page = page_at(next)?;
        if page.is_empty() {
            return Err(ScanError::Gap { wanted: next, found: Seq::ZERO });
        }
        for stored in &page {
            let commit = check(stored, next, first, &mut room)?;
            first = false;
            next = commit.last().next();
            if each(&commit)?.is_break() {
                return Ok(());
            }
            if next > to {
                break;
            }
        }
    }
    Ok(())
}

/// Checks a stored commit and that it continues at `next`; the first one that is read may
/// begin before.
fn check<'a>(
    stored: &'a StoredCommit,
    next: Seq,
    first: bool,
    room: &'a mut Vec<u8>,
) -> Result<Commit<'a>, ScanError> {
    let gap = || ScanError::Gap { wanted: next, found: stored.seq };
    if stored.seq != next && !(first && stored.seq < next) {
        return Err(gap());
    }
    let commit = stored.parse(room)?;
    if commit.last() < next { Err(gap()) } else { Ok(commit) }
}

/// Decodes events `from..=to` and hands each to `each`. With a frontier over the events
/// before `from`, each event is hashed into it, and the roots in the headers are checked.
///
/// # Errors
/// At the first event that is missing, changed, or unknown to this program.
pub fn fold(
    store: &dyn Journal,
    vault: &Arc<dyn Vault>,
    from: Seq,
    to: Seq,
    mut frontier: Option<&mut Frontier>,
    mut each: impl FnMut(Recorded),
) -> Result<(), ScanError> {
    let from = from.max(Seq(1));
    with_vault(vault, || {
        let page_at = |next| Ok(store.read(next, page_bytes(next, to))?);
        commits_of(page_at, from, to, |commit| {
            if let Some(frontier) = &frontier {
                check_root(commit, frontier)?;
            }
            for record in commit.records() {
                let (seq, bytes) = record?;
                if seq < from || seq > to {
                    continue;
                }
                if let Some(frontier) = &mut frontier {
                    frontier.push(merkle::leaf(bytes));
                }
                each(codec::decode_record(seq, bytes)?);
            }
            Ok(ControlFlow::Continue(()))
        })
    })
}

/// A frontier that ends inside a commit cannot be compared with its header.
fn check_root(commit: &Commit<'_>, frontier: &Frontier) -> Result<(), ScanError> {
    let comparable = commit.first.0 == frontier.size() + 1;
    if comparable && commit.previous_root != frontier.root() {
        return Err(ScanError::Root { seq: commit.first });
    }
    Ok(())
}

/// Hashes the events after a frontier up to `to`, without decoding them.
///
/// # Errors
/// At the first event that is missing or changed.
pub fn hash(store: &dyn Journal, frontier: &mut Frontier, to: Seq) -> Result<(), ScanError> {
    hash_each(store, frontier, to, |_| {})
}

/// As [`hash`]; each leaf is handed to `each`.
///
/// # Errors
/// As [`hash`].
pub fn hash_each(
    store: &dyn Journal,
    frontier: &mut Frontier,
    to: Seq,
    mut each: impl FnMut(merkle::Hash),
) -> Result<(), ScanError> {
    records(store, frontier, to, |_, _, leaf| {
        each(leaf);
        Ok(())
    })
}

/// A pass over so many events tells the store where it is, so that files that lie behind are
/// closed and the next ones fetched.
const LONG_EVENTS: u64 = 100_000;

/// Hashes the events after a frontier up to `to` into it, without decoding them, and hands each
/// one's record and leaf to `each`.
///
/// # Errors
/// At the first event that is missing or changed, and what `each` says.
pub fn records<E: From<ScanError>>(
    store: &dyn Journal,
    frontier: &mut Frontier,
    to: Seq,
    mut each: impl FnMut(Seq, &[u8], merkle::Hash) -> Result<(), E>,
) -> Result<(), E> {
    let from = Seq(frontier.size() + 1);
    let is_long = to.0.saturating_sub(from.0) >= LONG_EVENTS;
    let page_at = |next| {
        if is_long {
            store.passing(next);
        }
        Ok(store.read(next, PAGE_BYTES)?)
    };
    let mut refused = None;
    commits_of(page_at, from, to, |commit| {
        check_root(commit, frontier)?;
        let size = frontier.size();
        for record in commit.records() {
            let (seq, bytes) = record?;
            if seq.0 > size && seq <= to {
                let leaf = merkle::leaf(bytes);
                frontier.push(leaf);
                if let Err(error) = each(seq, bytes, leaf) {
                    refused = Some(error);
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    refused.map_or(Ok(()), Err)
}

/// Hashes what a commit adds to a frontier that ends before or in it, up to `to`.
fn hash_commit(commit: &Commit<'_>, frontier: &mut Frontier, to: Seq) -> Result<(), ScanError> {
    check_root(commit, frontier)?;
    let size = frontier.size();
    for record in commit.records() {
        let (seq, bytes) = record?;
        if seq.0 > size && seq <= to {
            frontier.push(merkle::leaf(bytes));
        }
    }
    Ok(())
}

/// The leaves of the events `from..=to`.
///
/// # Errors
/// When one is missing, or its commit is damaged.
pub fn leaves(store: &dyn Journal, from: Seq, to: Seq) -> Result<Vec<merkle::Hash>, ScanError> {
    let mut leaves = Vec::new();
    // A small page: who asks wants these few and nothing after them.
    let page_at = |next| Ok(store.look(next, LEAVES_BYTES)?);
    commits_of(page_at, from, to, |commit| {
        for record in commit.records() {
            let (seq, bytes) = record?;
            if (from..=to).contains(&seq) {
                leaves.push(merkle::leaf(bytes));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(leaves)
}

/// Bytes of commits that are fetched at a time for a few leaves.
const LEAVES_BYTES: usize = 16 * 1024;

/// Events from `from` on, no further than `to`: at most `max_events`, and not beyond the
/// commit that reaches [`PAGE_BYTES`].
///
/// # Errors
/// As [`fold`].
pub fn page(
    store: &dyn Journal,
    vault: &Arc<dyn Vault>,
    from: Seq,
    to: Seq,
    max_events: usize,
) -> Result<Vec<Recorded>, ScanError> {
    let from = from.max(Seq(1));
    let to = to.min(Seq(from.0.saturating_add(max_events as u64).saturating_sub(1)));
    let mut events = Vec::new();
    if from > to {
        return Ok(events);
    }
    let stored = store.look(from, PAGE_BYTES)?;
    if stored.is_empty() {
        return Err(ScanError::Gap { wanted: from, found: Seq::ZERO });
    }
    with_vault(vault, || {
        let mut next = from;
        let mut room = Vec::new();
        for (index, stored) in stored.iter().enumerate() {
            let commit = check(stored, next, index == 0, &mut room)?;
            next = commit.last().next();
            for record in commit.records() {
                let (seq, bytes) = record?;
                if seq > to {
                    return Ok(());
                }
                if seq >= from {
                    events.push(codec::decode_record(seq, bytes)?);
                }
            }
        }
        Ok::<(), ScanError>(())
    })?;
    Ok(events)
}

/// Hands over whose each of the events `from..=to` is, without decoding what happened.
///
/// # Errors
/// At the first event that is missing or damaged.
pub fn tenants(
    store: &dyn Journal,
    from: Seq,
    to: Seq,
    mut each: impl FnMut(Seq, Option<TenantId>),
) -> Result<(), ScanError> {
    let from = from.max(Seq(1));
    commits(store, from, to, |commit| {
        for record in commit.records() {
            let (seq, bytes) = record?;
            if seq >= from && seq <= to {
                each(seq, codec::tenant_of(seq, bytes)?);
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Hands over the events at these positions, which ascend, until `each` breaks off. Whatever
/// lies between them is not decoded.
///
/// # Errors
/// At the first one that is missing, damaged, or unknown to this program.
pub fn at(
    store: &dyn Journal,
    vault: &Arc<dyn Vault>,
    seqs: &[Seq],
    mut each: impl FnMut(&Recorded) -> Result<ControlFlow<()>, ScanError>,
) -> Result<(), ScanError> {
    let mut room = Vec::new();
    let mut wanted = seqs.iter().copied().peekable();
    with_vault(vault, || {
        while let Some(next) = wanted.peek().copied() {
            let stored = store.look(next, 1)?;
            let Some(stored) = stored.first() else {
                return Err(ScanError::Gap { wanted: next, found: Seq::ZERO });
            };
            let commit = check(stored, next, true, &mut room)?;
            for record in commit.records() {
                let (seq, bytes) = record?;
                if wanted.peek() != Some(&seq) {
                    continue;
                }
                wanted.next();
                if each(&codec::decode_record(seq, bytes)?)?.is_break() {
                    return Ok(());
                }
            }
            if wanted.peek() == Some(&next) {
                return Err(ScanError::Gap { wanted: next, found: commit.last().next() });
            }
        }
        Ok(())
    })
}

/// Hands over the events `from..=to`, in order, until `each` breaks off.
///
/// # Errors
/// As [`fold`], and what `each` says.
pub fn visit(
    store: &dyn Journal,
    vault: &Arc<dyn Vault>,
    from: Seq,
    to: Seq,
    mut each: impl FnMut(&Recorded) -> Result<ControlFlow<()>, ScanError>,
) -> Result<(), ScanError> {
    let from = from.max(Seq(1));
    with_vault(vault, || {
        commits(store, from, to, |commit| {
            for record in commit.records() {
                let (seq, bytes) = record?;
                if seq > to {
                    break;
                }
                if seq >= from && each(&codec::decode_record(seq, bytes)?)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    })
}

/// The exact bytes of one event's record: what its Merkle leaf is the hash of.
///
/// # Errors
/// When there is no such event, or its commit is damaged.
pub fn raw(store: &dyn Journal, seq: Seq) -> Result<Vec<u8>, ScanError> {
    let missing = ScanError::Gap { wanted: seq, found: Seq::ZERO };
    let stored = store.look(seq, 1)?;
    let Some(stored) = stored.first() else {
        return Err(missing);
    };
    let mut room = Vec::new();
    let commit = check(stored, seq, true, &mut room)?;
    for record in commit.records() {
        let (found, bytes) = record?;
        if found == seq {
            return Ok(bytes.to_vec());
        }
    }
    Err(missing)
}

/// The last event at or before a moment; [`Seq::ZERO`] when all are later.
///
/// # Errors
/// When a commit on the way cannot be read.
pub fn seq_at(store: &dyn Journal, vault: &Arc<dyn Vault>, at: Timestamp) -> Result<Seq, ScanError> {
    // Everything up to `before` is at or before the moment, everything from `after` on is
    // later. Commits are found by any seq in them, so the search is over seqs.
    let mut before = Seq::ZERO;
    let mut after = store.head().next();
    let mut room = Vec::new();
    while before.next() < after {
        let middle = Seq(before.0 + (after.0 - before.0) / 2);
        let stored = store.look(middle, 1)?;
        let Some(stored) = stored.first() else {
            return Err(ScanError::Gap { wanted: middle, found: Seq::ZERO });
        };
        let commit = check(stored, middle, true, &mut room)?;
        if commit.time <= at {
            before = commit.last();
            continue;
        }
        // Its last event is later: the border is inside it, or before it.
        let mut inside = Seq::ZERO;
        with_vault(vault, || {
            for record in commit.records() {
                let (seq, bytes) = record?;
                if codec::decode_record(seq, bytes)?.at <= at {
                    inside = seq;
                }
            }
            Ok::<(), CodecError>(())
        })?;
        if inside > Seq::ZERO {
            return Ok(inside);
        }
        after = commit.first;
    }
    Ok(before)
}

/// Asks for every sealed value of the events `from..=to`: the first event with a damaged one
/// is an error, erased ones are as they should be.
///
/// # Errors
/// As [`fold`].
pub fn verify_sealed(
    store: &dyn Journal,
    vault: &Arc<dyn Vault>,
    from: Seq,
    to: Seq,
) -> Result<(), ScanError> {
    let _of_others = take_damage();
    let mut found = Ok(());
    fold(store, vault, from, to, None, |recorded| {
        if found.is_ok() {
            found = open_all(&recorded);
        }
    })?;
    found
}

/// Text shows every value, so writing an event as text asks for all of them.
fn open_all(recorded: &Recorded) -> Result<(), ScanError> {
    let seq = recorded.seq;
    serde_json::to_writer(std::io::sink(), &recorded.event)
        .map_err(|_| CodecError::Record { seq, source: BadWire("the event does not become text") })?;
    undamaged(seq)
}

fn hash_told(
    store: &dyn Journal,
    frontier: &mut Frontier,
    to: Seq,
    each: &mut impl FnMut(Seq),
) -> Result<(), ScanError> {
    records(store, frontier, to, |seq, _, _| {
        each(seq);
        Ok(())
    })
}

/// What [`verify`] found.
#[derive(Debug)]
pub struct Verified {
    /// Events that are as they were written.
    pub checked: u64,
    /// The tree over them.
    pub frontier: Frontier,
    /// The first event that is not, and why; `None` when all are.
    pub bad: Option<(Seq, ScanError)>,
}

/// Reads everything up to `to` again: checksums, positions, every Merkle root.
///
/// # Errors
/// When the store itself fails, so that nothing can be said.
pub fn verify(store: &dyn Journal, to: Seq) -> Result<Verified, StoreError> {
    verify_against(store, to, &[], |_| {})
}

/// As [`verify`]; also that the tree over the first events has these roots, which somebody
/// signed or kept: their sizes in order, none past `to`. `each` is told of every event.
///
/// # Errors
/// As [`verify`].
pub fn verify_against(
    store: &dyn Journal,
    to: Seq,
    kept: &[(u64, merkle::Hash)],
    mut each: impl FnMut(Seq),
) -> Result<Verified, StoreError> {
    let mut frontier = Frontier::default();
    let mut check = || {
        for (size, root) in kept {
            let vouched = Seq(frontier.size());
            hash_told(store, &mut frontier, Seq(*size), &mut each)?;
            if frontier.root() != *root {
                return Err(ScanError::Kept { first: vouched.next(), last: Seq(*size) });
            }
        }
        hash_told(store, &mut frontier, to, &mut each)
    };
    let checked = check();
    let bad = match checked {
        Ok(()) => None,
        Err(error) => match (error.seq(), error) {
            (Some(seq), error) => Some((seq, error)),
            (None, ScanError::Store(error)) => return Err(error),
            (None, error) => Some((Seq(frontier.size() + 1), error)),
        },
    };
    let checked = bad.as_ref().map_or(frontier.size(), |(seq, _)| seq.0.saturating_sub(1));
    Ok(Verified { checked, frontier, bad })
}
