//! A journal on its way: out as a stream of records, in as a new data directory.
//!
//! What travels are the exact bytes of each record, so that the Merkle root over them is the same
//! on both sides, whatever the commits were. Sealed values stay sealed; the wrapped keys may go
//! with them, and need the master key.
//!
//! A stream is a head, one entry for each event, and an end:
//!
//! | | as JSON Lines, one line each | as MessagePack, one value each |
//! | --- | --- | --- |
//! | head | `{"format":"tenantry-journal","version":1,"from":1,"until":N}` | the same map |
//! | entry | `{"seq","at","kind","tenant_id","leaf","record"}` | `[seq, leaf, record]` |
//! | end | `{"events","root","keys":[...],"check"}` | the same map |
//!
//! `record` is the record (base64 in JSON), `leaf` its hash in the tree (hex in JSON), `root` the
//! root over all events up to `until`, `keys` the wrapped keys, `check` a BLAKE3 over head, root and
//! keys (hex). The other fields of a line are for people; a reader makes the line anew from the
//! record and takes no other. So no changed byte is taken, and the event is named that it was in.

mod arrive;
mod build;
mod leave;

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, frame::Frame};
use crate::hex;
use crate::id::Seq;
use crate::keyring::Wrapped;
use crate::merkle::Hash;
use crate::scan::ScanError;
use crate::store::StoreError;

pub use arrive::{Arrival, read};
pub use build::{Builder, Built};
pub use leave::{Export, write};

/// What a stream says that it is.
const FORMAT: &str = "tenantry-journal";
/// Of the form described above.
const VERSION: u16 = 1;

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line.
    Jsonl,
    /// One MessagePack value after the other.
    Msgpack,
}

/// A journal cannot be sent or taken.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Reading or writing fails.
    #[error("the journal cannot be {0}")]
    Io(&'static str, #[source] std::io::Error),
    /// The stream does not begin as one.
    #[error("this is no exported journal: {0}")]
    Head(String),
    /// An event is not what was sent.
    #[error("event {seq} is not as it was exported: {what}; nothing was imported")]
    Event {
        /// Which.
        seq: Seq,
        /// What is wrong.
        what: String,
    },
    /// An event is whole and not known here.
    #[error("nothing was imported")]
    Unknown(#[from] CodecError),
    /// The end is not what was sent, or is missing.
    #[error(
        "the end of the export, after event {seq}, is not as it was exported: {what}; nothing was imported"
    )]
    End {
        /// The last event before it.
        seq: Seq,
        /// What is wrong.
        what: String,
    },
    /// The journal that is sent cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The journal that is made cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TransferError {
    /// The event that it is about, where it is about one.
    #[must_use]
    pub fn seq(&self) -> Option<Seq> {
        match self {
            TransferError::Event { seq, .. } | TransferError::End { seq, .. } => Some(*seq),
            TransferError::Unknown(error) => Some(error.seq()),
            TransferError::Scan(error) => error.seq(),
            TransferError::Store(error) => error.seq(),
            TransferError::Io(..) | TransferError::Head(_) => None,
        }
    }
}

/// The first value of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    format: String,
    version: u16,
    /// The first event.
    pub from: Seq,
    /// The last event; one before `from` when there is none.
    pub until: Seq,
}

impl Head {
    fn new(from: Seq, until: Seq) -> Head {
        Head { format: FORMAT.to_owned(), version: VERSION, from, until }
    }
}

/// The last value of a stream, as it is in MessagePack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    events: u64,
    root: Text,
    keys: Vec<Text>,
    check: Text,
}

/// Bytes in a text: hex, or base64 where they are many.
type Text = String;

impl End {
    fn new(head: &Head, root: &Hash, keys: &Wrapped) -> End {
        let keys: Vec<Text> = keys.records().map(|record| hex::encode(record)).collect();
        let check = check(head, root, &keys);
        let events = (head.until.0 + 1).saturating_sub(head.from.0);
        End { events, root: hex::encode(root), keys, check }
    }

    fn keys(&self) -> Option<Wrapped> {
        let records = self.keys.iter().map(|text| hex::decode(text)).collect::<Option<Vec<_>>>()?;
        Wrapped::of_records(records)
    }
}

fn check(head: &Head, root: &Hash, keys: &[Text]) -> Text {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head.version.to_be_bytes()).update(&head.from.0.to_be_bytes());
    hasher.update(&head.until.0.to_be_bytes()).update(root);
    for key in keys {
        hasher.update(key.as_bytes());
    }
    hex::encode(hasher.finalize().as_bytes())
}

/// One event as a line for people and programs.
#[derive(Serialize)]
struct Line<'a> {
    seq: Seq,
    at: crate::time::Timestamp,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<uuid::Uuid>,
    leaf: Text,
    record: Text,
}

/// Writes a record's line, without its end.
fn line(seq: Seq, record: &[u8], leaf: &Hash) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let frame = Frame::read(record).ok()?;
    let line = Line {
        seq,
        at: crate::time::Timestamp(frame.at),
        kind: frame.kind,
        tenant_id: frame.tenant_id,
        leaf: hex::encode(leaf),
        record: base64::engine::general_purpose::STANDARD.encode(record),
    };
    serde_json::to_vec(&line).ok()
}
