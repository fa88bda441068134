//! Out: from a store to a stream.

use std::io::Write;

use serde::Serialize;

use super::{End, Form, Head, TransferError, line};
use crate::id::Seq;
use crate::keyring::Wrapped;
use crate::merkle::{self, Frontier, Hash};
use crate::scan;
use crate::store::Journal;

/// What is sent.
pub struct Export<'a> {
    /// The journal.
    pub store: &'a dyn Journal,
    /// The tree over the events before the first that is sent.
    pub before: Frontier,
    /// The last event that is sent.
    pub until: Seq,
    /// The keys that go with it.
    pub keys: Wrapped,
    /// How.
    pub form: Form,
}

/// Writes a journal, or what follows a part of it, to `out`; tells `each` of every event. Returns
/// the tree over everything up to its end.
///
/// # Errors
/// When the journal is damaged, or `out` takes no more.
pub fn write(
    export: Export<'_>,
    out: &mut dyn Write,
    mut each: impl FnMut(Seq),
) -> Result<Frontier, TransferError> {
    let Export { store, before: mut frontier, until, keys, form } = export;
    let failed = |error| TransferError::Io("written", error);
    let from = Seq(frontier.size() + 1);
    let head = Head::new(from, until);
    put(out, form, &head).map_err(failed)?;
    if from <= until {
        scan::records(store, &mut frontier, until, |seq, record, _| {
            entry(out, form, seq, record).map_err(failed)?;
            each(seq);
            Ok::<(), TransferError>(())
        })?;
    }
    put(out, form, &End::new(&head, &frontier.root(), &keys)).map_err(failed)?;
    out.flush().map_err(failed)?;
    Ok(frontier)
}

fn put(out: &mut dyn Write, form: Form, value: &impl Serialize) -> std::io::Result<()> {
    match form {
        Form::Jsonl => {
            serde_json::to_writer(&mut *out, value)?;
            out.write_all(b"\n")
        }
        Form::Msgpack => {
            let bytes = rmp_serde::to_vec_named(value).map_err(std::io::Error::other)?;
            out.write_all(&bytes)
        }
    }
}

fn entry(out: &mut dyn Write, form: Form, seq: Seq, record: &[u8]) -> std::io::Result<()> {
    let leaf = merkle::leaf(record);
    match form {
        Form::Jsonl => {
            let line = line(seq, record, &leaf);
            out.write_all(&line.ok_or_else(|| std::io::Error::other("a record does not decode"))?)?;
            out.write_all(b"\n")
        }
        Form::Msgpack => out.write_all(&packed(seq, record, &leaf)?),
    }
}

pub(super) fn packed(seq: Seq, record: &[u8], leaf: &Hash) -> std::io::Result<Vec<u8>> {
    let entry = (seq.0, serde_bytes::Bytes::new(leaf), serde_bytes::Bytes::new(record));
    rmp_serde::to_vec(&entry).map_err(std::io::Error::other)
}
