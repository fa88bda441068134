//! In: from a stream to records that are what was sent, or to a refusal that names the event.

use std::io::{BufRead, Read};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::leave::packed;
use super::{End, FORMAT, Form, Head, TransferError, VERSION, line};
use crate::codec::MAX_COMMIT_BYTES;
use crate::codec::frame::Frame;
use crate::hex;
use crate::id::Seq;
use crate::keyring::Wrapped;
use crate::merkle::{self, Frontier};

/// The longest line, in bytes: a record is shorter than a commit, and base64 takes a third more.
const LONGEST_LINE: u64 = 2 * MAX_COMMIT_BYTES as u64;

/// What came.
#[derive(Debug)]
pub struct Arrival {
    /// What the stream said that it is.
    pub head: Head,
    /// The tree over everything up to its end; the root is the one that was sent.
    pub frontier: Frontier,
    /// The keys that came with it.
    pub keys: Wrapped,
}

/// Reads a stream of either form and hands each record to `each`. `before` is the tree over the
/// events before the first.
///
/// # Errors
/// At the first byte that is not as it was sent, with the event that it is in; or when `each`
/// refuses one.
pub fn read(
    stream: &mut dyn BufRead,
    before: Frontier,
    mut each: impl FnMut(Seq, &[u8]) -> Result<(), TransferError>,
) -> Result<Arrival, TransferError> {
    let failed = |error| TransferError::Io("read", error);
    let form = match stream.fill_buf().map_err(failed)?.first() {
        Some(b'{') => Form::Jsonl,
        Some(_) => Form::Msgpack,
        None => return Err(TransferError::Head("it is empty".into())),
    };
    let mut stream = Stream { stream, form };
    let head: Head = stream.value().map_err(|what| TransferError::Head(what.to_string()))?;
    if head.format != FORMAT || head.version != VERSION {
        let told = format!("it is '{}' of version {}", head.format, head.version);
        return Err(TransferError::Head(format!(
            "{told}, this program reads '{FORMAT}' of version {VERSION}"
        )));
    }
    let mut frontier = before;
    if head.from.0 != frontier.size() + 1 {
        let wanted = frontier.size() + 1;
        return Err(TransferError::Head(format!("it begins at event {}, wanted is {wanted}", head.from)));
    }
    let mut seq = head.from;
    while seq <= head.until {
        let damaged = |what: String| TransferError::Event { seq, what };
        let record = stream.entry(seq).map_err(|what| damaged(what.to_string()))?;
        let frame = Frame::read(&record).map_err(|error| damaged(error.to_string()))?;
        if frame.seq != seq.0 {
            return Err(damaged(format!("the record is of event {}", frame.seq)));
        }
        frontier.push(merkle::leaf(&record));
        each(seq, &record)?;
        seq = seq.next();
    }
    let last = Seq(seq.0.saturating_sub(1));
    let damaged = |what: &str| TransferError::End { seq: last, what: what.to_owned() };
    let end: End = stream.value().map_err(|what| damaged(&what.to_string()))?;
    let root = frontier.root();
    let keys = end.keys().unwrap_or_default();
    if end != End::new(&head, &root, &keys) {
        let is_of_them = hex::decode(&end.root).as_deref() == Some(root.as_slice());
        let what =
            if is_of_them { "its check does not fit" } else { "the Merkle root over what came is another" };
        return Err(damaged(what));
    }
    if stream.more().map_err(failed)? {
        return Err(damaged("something follows it"));
    }
    Ok(Arrival { head, frontier, keys })
}

type Told<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Stream<'a> {
    stream: &'a mut dyn BufRead,
    form: Form,
}

impl Stream<'_> {
    fn line(&mut self) -> Told<Vec<u8>> {
        let mut line = Vec::new();
        (&mut *self.stream).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        match line.pop() {
            Some(b'\n') => Ok(line),
            _ => Err("the export ends in it, or its line is too long".into()),
        }
    }

    /// The head or the end. As they were written, so that no byte of them has two meanings.
    fn value<T: DeserializeOwned + serde::Serialize>(&mut self) -> Told<T> {
        match self.form {
            Form::Jsonl => {
                let line = self.line()?;
                let value: T = serde_json::from_slice(&line)?;
                if serde_json::to_vec(&value)? != line {
                    return Err("it is written differently".into());
                }
                Ok(value)
            }
            Form::Msgpack => Ok(rmp_serde::decode::from_read(&mut *self.stream)?),
        }
    }

    /// The record of the next entry, whose hash is the one that was sent with it.
    fn entry(&mut self, seq: Seq) -> Told<Vec<u8>> {
        match self.form {
            Form::Jsonl => {
                #[derive(Deserialize)]
                struct Given {
                    record: String,
                }
                use base64::Engine as _;
                let given = self.line()?;
                let Given { record } = serde_json::from_slice(&given)?;
                let record = base64::engine::general_purpose::STANDARD.decode(record)?;
                let leaf = merkle::leaf(&record);
                if line(seq, &record, &leaf).as_ref() != Some(&given) {
                    return Err("its line is not the one of its record".into());
                }
                Ok(record)
            }
            Form::Msgpack => {
                type Entry = (u64, serde_bytes::ByteBuf, serde_bytes::ByteBuf);
                let (given, leaf, record): Entry = rmp_serde::decode::from_read(&mut *self.stream)?;
                let record = record.into_vec();
                let same = leaf.as_slice() == merkle::leaf(&record).as_slice();
                if given != seq.0 || !same || packed(seq, &record, &merkle::leaf(&record)).is_err() {
                    return Err("its hash or its place is another".into());
                }
                Ok(record)
            }
        }
    }

    fn more(&mut self) -> std::io::Result<bool> {
        Ok(!self.stream.fill_buf()?.is_empty())
    }
}
