//! Events and commits as bytes. These bytes are stored for good and hashed: what is
//! written here may be added to, never changed (golden files in `tests/golden` watch it).
//!
//! **Record** (one event; exactly the bytes of its Merkle leaf): a MessagePack map with
//! text keys, in this order, a field that is `None` being absent:
//! `seq` uint · `id` bin16 · `at` uint (ms) · `actor` (`"system"`, `{"user": bin16}` or
//! `{"token": bin16}`) · `tenant_id` bin16 · `instance_id` bin16 · `command_id` bin16 ·
//! `caused_by` uint · `idempotency` `{"key": bin16, "request": bin16}` · `kind` text ·
//! `v` uint · `data` bin (the event's own named map, its sealed fields encrypted).
//! The seq is inside, so that a record proves its own place. A reader passes over fields
//! that it does not know.
//!
//! **Commit** (what is stored or sent as one): big-endian header of 64 bytes, then for
//! each record its length (u32, big-endian) and its bytes.
//!
//! | at | bytes | what |
//! | --- | --- | --- |
//! | 0 | 4 | `TNJ` and the format version, 1 |
//! | 4 | 8 | seq of the first event |
//! | 12 | 4 | number of events, at least 1 |
//! | 16 | 8 | time of the last event, ms |
//! | 24 | 32 | Merkle root over all events before this commit |
//! | 56 | 4 | length of the whole commit |
//! | 60 | 4 | CRC-32 (IEEE) over everything but these four bytes |

pub(crate) mod fields;
pub(crate) mod frame;
pub(crate) mod packed;
pub(crate) mod wire;

use uuid::Uuid;

use crate::id::{CommandId, EventId, InstanceId, Seq, TenantId};
use crate::merkle::Hash;
use crate::recorded::{Actor, Draft, Recorded};
use crate::time::Timestamp;
use crate::upcast::{self, UpcastError};
use frame::Frame;
use wire::{BadWire, put_bin, put_map, put_str, put_uint};

/// The first four bytes of every commit: a mark and the format's version.
const MAGIC: [u8; 4] = *b"TNJ\x01";
/// Bytes before the first record.
pub const HEADER_BYTES: usize = 64;
/// Largest commit that is written. One command's events stand in one commit; this is
/// room for thousands of them, and small enough to be held several times in memory.
pub const MAX_COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// Something stored is not what was written, or not for this program.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The commit's bytes are not a commit's, or changed since.
    #[error("the commit at seq {seq} is damaged: {what}")]
    Commit {
        /// Where the commit begins.
        seq: Seq,
        /// What is wrong.
        what: &'static str,
    },
    /// The commit was written in a later format.
    #[error("the commit at seq {seq} has format version {version}, this version of tenantry reads 1")]
    Format {
        /// Where the commit begins.
        seq: Seq,
        /// The version as stored.
        version: u8,
    },
    /// A record's frame does not decode.
    #[error("event {seq} is damaged")]
    Record {
        /// The event.
        seq: Seq,
        /// What is wrong.
        #[source]
        source: BadWire,
    },
    /// A record's event does not decode.
    #[error("event {seq} cannot be read")]
    Event {
        /// The event.
        seq: Seq,
        /// Why.
        #[source]
        source: UpcastError,
    },
}

impl CodecError {
    /// The event, or the first of the commit, that cannot be read.
    #[must_use]
    pub fn seq(&self) -> Seq {
        match self {
            CodecError::Commit { seq, .. }
            | CodecError::Format { seq, .. }
            | CodecError::Record { seq, .. }
            | CodecError::Event { seq, .. } => *seq,
        }
    }
}

/// Appends one event's record to `out`. `scratch` is used for its fields and left as it
/// is, so that one buffer serves many events.
///
/// # Errors
/// When a sealed field's key is not in scope (`sealed::with_vault`).
pub fn encode_record(
    event: &Recorded,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), rmp_serde::encode::Error> {
    scratch.clear();
    event.event.encode_fields(scratch)?;
    let optional = [
        event.tenant_id.is_some(),
        event.instance_id.is_some(),
        event.caused_by.is_some(),
        event.idempotency.is_some(),
    ];
    let present = optional.iter().filter(|present| **present).count() as u8;
    put_map(out, 8 + present);
    put_str(out, "seq");
    put_uint(out, event.seq.0);
    put_uuid(out, "id", event.id.0);
    put_str(out, "at");
    put_uint(out, event.at.0);
    put_str(out, "actor");
    match event.actor {
        Actor::System => put_str(out, "system"),
        Actor::User(id) => {
            put_map(out, 1);
            put_uuid(out, "user", id.0);
        }
        Actor::Token(id) => {
            put_map(out, 1);
            put_uuid(out, "token", id.0);
        }
    }
    if let Some(id) = event.tenant_id {
        put_uuid(out, "tenant_id", id.0);
    }
    if let Some(id) = event.instance_id {
        put_uuid(out, "instance_id", id.0);
    }
    put_uuid(out, "command_id", event.command_id.0);
    if let Some(seq) = event.caused_by {
        put_str(out, "caused_by");
        put_uint(out, seq.0);
    }
    if let Some(idempotency) = event.idempotency {
        put_str(out, "idempotency");
        put_map(out, 2);
        put_str(out, "key");
        put_bin(out, &idempotency.key);
        put_str(out, "request");
        put_bin(out, &idempotency.request);
    }
    put_str(out, "kind");
    put_str(out, event.event.kind());
    put_str(out, "v");
    put_uint(out, u64::from(event.event.version()));
    put_str(out, "data");
    put_bin(out, scratch);
    Ok(())
}

fn put_uuid(out: &mut Vec<u8>, key: &str, id: Uuid) {
    put_str(out, key);
    put_bin(out, id.as_bytes());
}

/// Reads one record that is expected at `seq`.
///
/// # Errors
/// When the bytes are not a record of that seq, or its event is not known here.
pub fn decode_record(seq: Seq, bytes: &[u8]) -> Result<Recorded, CodecError> {
    let frame = Frame::read(bytes).map_err(|source| CodecError::Record { seq, source })?;
    if frame.seq != seq.0 {
        let source = BadWire("the record names another seq");
        return Err(CodecError::Record { seq, source });
    }
    let event = upcast::decode(frame.kind, frame.version, frame.data)
        .map_err(|source| CodecError::Event { seq, source })?;
    let draft = Draft {
        id: EventId(frame.id),
        at: Timestamp(frame.at),
        actor: frame.actor,
        tenant_id: frame.tenant_id.map(TenantId),
        instance_id: frame.instance_id.map(InstanceId),
        command_id: CommandId(frame.command_id),
        caused_by: frame.caused_by.map(Seq),
        idempotency: frame.idempotency,
        event,
    };
    Ok(Recorded { seq, draft })
}

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its position.
    pub seq: Seq,
    /// When it was decided.
    pub at: Timestamp,
    /// The tenant that it is about, if any.
    pub tenant: Option<TenantId>,
}

/// What a record says of itself; its event is not looked into.
///
/// # Errors
/// When the bytes are not a record.
pub fn about(bytes: &[u8]) -> Result<About, BadWire> {
    let frame = Frame::read(bytes)?;
    Ok(About { seq: Seq(frame.seq), at: Timestamp(frame.at), tenant: frame.tenant_id.map(TenantId) })
}

/// Whose event a record is, without decoding what happened.
///
/// # Errors
/// When the record is damaged.
pub fn tenant_of(seq: Seq, bytes: &[u8]) -> Result<Option<TenantId>, CodecError> {
    about(bytes).map(|about| about.tenant).map_err(|source| CodecError::Record { seq, source })
}

/// A commit as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedCommit {
    first: Seq,
    count: u32,
    time: Timestamp,
    bytes: Vec<u8>,
}

impl EncodedCommit {
    /// Seq of its first event.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.first
    }

    /// Seq of its last event.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count) - 1)
    }

    /// Time of its last event.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Collects records into a commit.
#[derive(Debug)]
pub struct CommitBuilder {
    first: Seq,
    previous_root: Hash,
    count: u32,
    time: Timestamp,
    bytes: Vec<u8>,
}

impl CommitBuilder {
    /// An empty commit that will begin at `first`; `previous_root` is over all events
    /// before it.
    #[must_use]
    pub fn new(first: Seq, previous_root: Hash) -> Self {
        Self::with_room(first, previous_root, HEADER_BYTES)
    }

    /// As [`CommitBuilder::new`], with room for a commit of that many bytes.
    #[must_use]
    pub fn with_room(first: Seq, previous_root: Hash, bytes: usize) -> Self {
        let mut header = Vec::with_capacity(bytes.max(HEADER_BYTES));
        header.resize(HEADER_BYTES, 0);
        CommitBuilder { first, previous_root, count: 0, time: Timestamp(0), bytes: header }
    }

    /// Bytes so far, the header included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no event yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds `count` records that are framed already: each its length and its bytes.
    pub fn push_framed(&mut self, framed: &[u8], count: u32, last_time: Timestamp) {
        self.bytes.extend_from_slice(framed);
        self.count += count;
        self.time = last_time;
    }

    /// Adds a record, and when it was decided.
    pub(crate) fn push_record(&mut self, record: &[u8], at: Timestamp) {
        self.bytes.extend_from_slice(&(record.len() as u32).to_be_bytes());
        self.push_framed(record, 1, at);
    }

    /// Seals the commit with its header.
    #[must_use]
    pub fn finish(mut self) -> EncodedCommit {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&self.first.0.to_be_bytes());
        header.extend_from_slice(&self.count.to_be_bytes());
        header.extend_from_slice(&self.time.0.to_be_bytes());
        header.extend_from_slice(&self.previous_root);
        header.extend_from_slice(&(self.bytes.len() as u32).to_be_bytes());
        let (_, records) = self.bytes.split_at(HEADER_BYTES);
        let checksum = checksum(&header, records);
        header.extend_from_slice(&checksum.to_be_bytes());
        if let Some((place, _)) = self.bytes.split_at_mut_checked(HEADER_BYTES) {
            place.copy_from_slice(&header);
        }
        EncodedCommit { first: self.first, count: self.count, time: self.time, bytes: self.bytes }
    }
}

fn checksum(head: &[u8], records: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(records);
    hasher.finalize()
}

/// A stored commit, checked, its records not yet decoded.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Seq of its first event.
    pub first: Seq,
    /// Number of its events.
    pub count: u32,
    /// Time of its last event.
    pub time: Timestamp,
    /// Merkle root over all events before it.
    pub previous_root: Hash,
    records: &'a [u8],
}

impl<'a> Commit<'a> {
    /// Reads and checks a commit that was stored under `seq`.
    ///
    /// # Errors
    /// When a byte of it changed, it stood under another seq, or its format is later.
    pub fn parse(seq: Seq, bytes: &'a [u8]) -> Result<Self, CodecError> {
        match bytes.split_first_chunk() {
            Some((header, records)) => Self::of_parts(seq, header, records),
            None => Err(CodecError::Commit { seq, what: "it is too short" }),
        }
    }

    fn of_parts(seq: Seq, header: &[u8; HEADER_BYTES], records: &'a [u8]) -> Result<Self, CodecError> {
        let damaged = |what| CodecError::Commit { seq, what };
        let (head, stored) = header.split_at(HEADER_BYTES - 4);
        let whole = checksum(head, records).to_be_bytes() == stored;
        let mut fields = head;
        let mut number = |width: usize| {
            let (field, rest) = fields.split_at_checked(width).unwrap_or((&[], &[]));
            fields = rest;
            field.iter().fold(0u64, |number, byte| (number << 8) | u64::from(*byte))
        };
        let magic = number(4) as u32;
        let first = Seq(number(8));
        let count = number(4) as u32;
        let time = Timestamp(number(8));
        let previous_root = fields.first_chunk::<32>().copied().unwrap_or_default();
        let version = magic.to_be_bytes().last().copied().unwrap_or(0);
        let wanted = u32::from_be_bytes(MAGIC);
        if magic != wanted && magic >> 8 == wanted >> 8 && whole {
            return Err(CodecError::Format { seq, version });
        }
        if magic != wanted {
            return Err(damaged("it does not begin as a commit"));
        }
        if !whole {
            return Err(damaged("its checksum does not fit"));
        }
        if first != seq {
            return Err(damaged("it names another seq"));
        }
        if count == 0 {
            return Err(damaged("it holds no event"));
        }
        Ok(Commit { first, count, time, previous_root, records })
    }

    /// The length that a commit's first bytes announce; `None` when these are none.
    #[must_use]
    pub fn announced_len(bytes: &[u8]) -> Option<usize> {
        let length = bytes.get(56..60)?;
        usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()
    }

    /// The seq of the last event that a commit's first bytes announce; `None` when these are
    /// none.
    #[must_use]
    pub fn announced_last(bytes: &[u8]) -> Option<Seq> {
        let first = u64::from_be_bytes(bytes.get(4..12)?.try_into().ok()?);
        let count = u32::from_be_bytes(bytes.get(12..16)?.try_into().ok()?);
        first.checked_add(u64::from(count))?.checked_sub(1).map(Seq)
    }

    /// Seq of its last event.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count) - 1)
    }

    /// Bytes of all its records.
    pub(crate) fn records_len(&self) -> usize {
        self.records.len()
    }

    /// Its records in order, each with its seq.
    pub fn records(&self) -> Records<'a> {
        Records { next: self.first, left: self.count, rest: self.records }
    }
}

/// The records of a commit.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    next: Seq,
    left: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Seq, &'a [u8]), CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let seq = self.next;
        let record = self
            .rest
            .split_first_chunk::<4>()
            .and_then(|(len, rest)| rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?));
        let Some((record, rest)) = record else {
            self.left = 0;
            return Some(Err(CodecError::Record { seq, source: BadWire("the commit ends too early") }));
        };
        self.next = seq.next();
        self.left -= 1;
        self.rest = rest;
        Some(Ok((seq, record)))
    }
}
