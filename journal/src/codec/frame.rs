//! A record's own fields, borrowed from its bytes; its event is not looked into.

use uuid::Uuid;

use super::wire::{BadWire, Reader};
use crate::id::{TokenId, UserId};
use crate::recorded::{Actor, Idempotency};

/// A record's fields, borrowed.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame<'a> {
    pub(crate) seq: u64,
    pub(crate) id: Uuid,
    pub(crate) at: u64,
    pub(crate) actor: Actor,
    pub(crate) tenant_id: Option<Uuid>,
    pub(crate) instance_id: Option<Uuid>,
    pub(crate) command_id: Uuid,
    pub(crate) caused_by: Option<u64>,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) kind: &'a str,
    pub(crate) version: u16,
    pub(crate) data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a record.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, BadWire> {
        Self::read_as_written(bytes).map_or_else(|| Self::read_in_any_order(bytes), Ok)
    }

    /// Reads a record whose fields stand in the order in which this program writes them, as
    /// nearly all do. `None` when it is another one, damaged or not.
    fn read_as_written(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let fields = reader.map().ok()?;
        let seq = reader.take_exactly(b"\xa3seq").then(|| reader.uint().ok())??;
        let id = reader.take_exactly(b"\xa2id").then(|| reader.bin16().ok())??;
        let at = reader.take_exactly(b"\xa2at").then(|| reader.uint().ok())??;
        let actor = reader.take_exactly(b"\xa5actor").then(|| read_actor(&mut reader).ok())??;
        let mut found = 8;
        let mut tenant_id = None;
        if reader.take_exactly(b"\xa9tenant_id") {
            tenant_id = Some(Uuid::from_bytes(reader.bin16().ok()?));
            found += 1;
        }
        let mut instance_id = None;
        if reader.take_exactly(b"\xabinstance_id") {
            instance_id = Some(Uuid::from_bytes(reader.bin16().ok()?));
            found += 1;
        }
        let command_id = reader.take_exactly(b"\xaacommand_id").then(|| reader.bin16().ok())??;
        let mut caused_by = None;
        if reader.take_exactly(b"\xa9caused_by") {
            caused_by = Some(reader.uint().ok()?);
            found += 1;
        }
        let mut idempotency = None;
        if reader.take_exactly(b"\xabidempotency") {
            idempotency = Some(read_idempotency(&mut reader).ok()?);
            found += 1;
        }
        let kind = reader.take_exactly(b"\xa4kind").then(|| reader.str().ok())??;
        let version = reader.take_exactly(b"\xa1v").then(|| reader.uint().ok())??;
        let data = reader.take_exactly(b"\xa4data").then(|| reader.bin().ok())??;
        if fields != found || !reader.is_empty() {
            return None;
        }
        Some(Frame {
            seq,
            id: Uuid::from_bytes(id),
            at,
            actor,
            tenant_id,
            instance_id,
            command_id: Uuid::from_bytes(command_id),
            caused_by,
            idempotency,
            kind,
            version: u16::try_from(version).ok()?,
            data,
        })
    }

    /// Reads a record whoever wrote it.
    fn read_in_any_order(bytes: &'a [u8]) -> Result<Self, BadWire> {
        let mut reader = Reader::new(bytes);
        let (mut seq, mut id, mut at, mut actor, mut command_id) = (None, None, None, None, None);
        let (mut tenant_id, mut instance_id, mut caused_by, mut idempotency) = (None, None, None, None);
        let (mut kind, mut version, mut data) = (None, None, None);
        for _ in 0..reader.map()? {
            match reader.text()? {
                b"seq" => seq = Some(reader.uint()?),
                b"id" => id = Some(Uuid::from_bytes(reader.bin16()?)),
                b"at" => at = Some(reader.uint()?),
                b"actor" => actor = Some(read_actor(&mut reader)?),
                b"tenant_id" => tenant_id = Some(Uuid::from_bytes(reader.bin16()?)),
                b"instance_id" => instance_id = Some(Uuid::from_bytes(reader.bin16()?)),
                b"command_id" => command_id = Some(Uuid::from_bytes(reader.bin16()?)),
                b"caused_by" => caused_by = Some(reader.uint()?),
                b"idempotency" => idempotency = Some(read_idempotency(&mut reader)?),
                b"kind" => kind = Some(reader.str()?),
                b"v" => {
                    let number = reader.uint()?;
                    version = Some(u16::try_from(number).map_err(|_| BadWire("a version is too large"))?);
                }
                b"data" => data = Some(reader.bin()?),
                _ => reader.skip()?,
            }
        }
        if !reader.is_empty() {
            return Err(BadWire("something follows the record"));
        }
        Ok(Frame {
            seq: seq.ok_or(BadWire("the record has no seq"))?,
            id: id.ok_or(BadWire("the record has no id"))?,
            at: at.ok_or(BadWire("the record has no time"))?,
            actor: actor.ok_or(BadWire("the record has no actor"))?,
            tenant_id,
            instance_id,
            command_id: command_id.ok_or(BadWire("the record has no command"))?,
            caused_by,
            idempotency,
            kind: kind.ok_or(BadWire("the record has no kind"))?,
            version: version.ok_or(BadWire("the record has no version"))?,
            data: data.ok_or(BadWire("the record has no data"))?,
        })
    }
}

fn read_actor(reader: &mut Reader<'_>) -> Result<Actor, BadWire> {
    if reader.at_str() {
        return match reader.str()? {
            "system" => Ok(Actor::System),
            _ => Err(BadWire("the actor is of no known type")),
        };
    }
    if reader.map()? != 1 {
        return Err(BadWire("the actor is not one of a kind"));
    }
    let kind = reader.str()?;
    let id = Uuid::from_bytes(reader.bin16()?);
    match kind {
        "user" => Ok(Actor::User(UserId(id))),
        "token" => Ok(Actor::Token(TokenId(id))),
        _ => Err(BadWire("the actor is of no known type")),
    }
}

fn read_idempotency(reader: &mut Reader<'_>) -> Result<Idempotency, BadWire> {
    let (mut key, mut request) = (None, None);
    for _ in 0..reader.map()? {
        match reader.str()? {
            "key" => key = Some(reader.bin16()?),
            "request" => request = Some(reader.bin16()?),
            _ => reader.skip()?,
        }
    }
    match (key, request) {
        (Some(key), Some(request)) => Ok(Idempotency { key, request }),
        _ => Err(BadWire("the idempotency key is incomplete")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{put_bin, put_map, put_str, put_uint};
    use super::*;

    type Put = fn(&mut Vec<u8>);

    /// A record of everything, its fields in some order.
    fn record(order: &[usize]) -> Vec<u8> {
        const PARTS: [Put; 12] = [
            |out| (put_str(out, "seq"), put_uint(out, 300)).0,
            |out| (put_str(out, "id"), put_bin(out, &[1; 16])).0,
            |out| (put_str(out, "at"), put_uint(out, 1 << 40)).0,
            |out| (put_str(out, "actor"), put_map(out, 1), put_str(out, "token"), put_bin(out, &[2; 16])).0,
            |out| (put_str(out, "tenant_id"), put_bin(out, &[3; 16])).0,
            |out| (put_str(out, "instance_id"), put_bin(out, &[4; 16])).0,
            |out| (put_str(out, "command_id"), put_bin(out, &[5; 16])).0,
            |out| (put_str(out, "caused_by"), put_uint(out, 7)).0,
            |out| {
                put_str(out, "idempotency");
                put_map(out, 2);
                put_str(out, "key");
                put_bin(out, &[6; 16]);
                put_str(out, "request");
                put_bin(out, &[7; 16]);
            },
            |out| (put_str(out, "kind"), put_str(out, "tenant.deleted")).0,
            |out| (put_str(out, "v"), put_uint(out, 1)).0,
            |out| (put_str(out, "data"), put_bin(out, &[8; 40])).0,
        ];
        let mut out = Vec::new();
        put_map(&mut out, order.len() as u8);
        order.iter().for_each(|part| PARTS[*part](&mut out));
        out
    }

    #[test]
    fn a_record_as_written_reads_the_same_on_both_ways() {
        let optional = [4, 5, 7, 8];
        for missing in 0..16u8 {
            let is_there = |part: &usize| {
                optional.iter().position(|o| o == part).is_none_or(|bit| missing >> bit & 1 == 0)
            };
            let bytes = record(&(0..12).filter(is_there).collect::<Vec<_>>());
            let quick = Frame::read_as_written(&bytes).unwrap();
            assert_eq!(quick, Frame::read_in_any_order(&bytes).unwrap(), "without {missing:04b}");
        }
    }

    #[test]
    fn another_order_and_an_unknown_field_are_read_and_what_is_cut_off_is_not() {
        let usual = record(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        let turned = record(&[11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(Frame::read_as_written(&turned), None);
        assert_eq!(Frame::read(&turned).unwrap(), Frame::read(&usual).unwrap());

        let mut more = usual.clone();
        more[0] += 1;
        put_str(&mut more, "later");
        put_uint(&mut more, 1);
        assert_eq!(Frame::read(&more).unwrap(), Frame::read(&usual).unwrap());

        for cut in 0..usual.len() {
            assert!(Frame::read(&usual[..cut]).is_err(), "{cut} bytes were enough");
        }
        assert!(Frame::read(&[usual.as_slice(), &[0]].concat()).is_err());
        let mut fewer = usual.clone();
        fewer[0] -= 1;
        assert!(Frame::read(&fewer).is_err());
    }
}
