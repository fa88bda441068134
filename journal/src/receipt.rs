//! A tenant's receipt: every event of one tenant with its place in the tree, and nothing of
//! anybody else's but hashes.
//!
//! **File**: one JSON object. `entries` cover the tree from the first event to the last without
//! a gap: `{"seq", "record"}` is an event of the tenant, its record in base64;
//! `{"from", "to", "hash"}` is the root of a perfect subtree in which none is. `checkpoint` is
//! a signed checkpoint over the same tree with three further lines: `tenant ID`, `events N`
//! and `chain BASE64`. The chain begins with `SHA-256(0x02 || tenant id)`, and each event of
//! the tenant makes it `SHA-256(0x02 || chain || leaf hash)`.
//!
//! **What it proves** to who has only the public key: each event shown stands in the signed
//! journal at its seq, unchanged; and the signer says, for good, that these are all that the
//! tenant has up to that size. A record names its tenant inside what its leaf hashes, so of a
//! hash nobody can tell whose event it is: that none is left out rests on the signer's word.
//! It is a word that can be held against the signer: an inclusion proof of one more event of the
//! tenant contradicts the signature, so does any later receipt whose chain does not go through
//! this one's, and whoever has the whole journal makes the same receipt from it.

mod check;

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::checkpoint::{Checkpoint, SigningKey};
use crate::codec;
use crate::hex;
use crate::id::{Seq, TenantId};
use crate::merkle::{Frontier, Hash, node};
use crate::scan::{self, ScanError};
use crate::store::Journal;

pub use check::{BadReceipt, Receipt};

/// A receipt cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The journal cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Whoever it is written to takes no more.
    #[error("the receipt cannot be written")]
    Write(#[from] io::Error),
}

/// What commits to a tenant's events in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chain {
    events: u64,
    hash: Hash,
}

impl Chain {
    fn of(tenant: TenantId) -> Chain {
        let hash = Sha256::new().chain_update([2]).chain_update(tenant.0.as_bytes()).finalize().into();
        Chain { events: 0, hash }
    }

    fn add(&mut self, leaf: &Hash) {
        self.hash =
            Sha256::new().chain_update([2]).chain_update(self.hash).chain_update(leaf).finalize().into();
        self.events += 1;
    }

    fn extensions(&self, tenant: TenantId) -> Vec<String> {
        vec![
            format!("tenant {tenant}"),
            format!("events {}", self.events),
            format!("chain {}", STANDARD.encode(self.hash)),
        ]
    }
}

/// The root of the perfect subtree over the leaves `index << level .. (index + 1) << level`.
#[derive(Clone, Copy, Debug)]
struct Subtree {
    level: u32,
    index: u64,
    hash: Hash,
}

impl Subtree {
    fn first(self) -> Seq {
        Seq((self.index << self.level) + 1)
    }

    fn last(self) -> Seq {
        Seq((self.index + 1) << self.level)
    }
}

/// Puts a subtree behind others, and makes one of those that belong together.
fn join(row: &mut Vec<Subtree>, mut next: Subtree) {
    while let Some(left) = row.last().copied()
        && left.level == next.level
        && left.index + 1 == next.index
        && left.index.is_multiple_of(2)
    {
        row.pop();
        next = Subtree { level: left.level + 1, index: left.index / 2, hash: node(&left.hash, &next.hash) };
    }
    row.push(next);
}

/// Writes a tenant's receipt over the first `size` events, reading them all once. What is held
/// of it in memory does not grow.
///
/// # Errors
/// When the journal is damaged, or `out` takes no more.
pub fn write(
    store: &dyn Journal,
    tenant: TenantId,
    size: u64,
    key: &SigningKey,
    out: impl Write,
) -> Result<(), ReceiptError> {
    let mut out = Entries { out, first: true };
    write!(out.out, r#"{{"tenant_id":"{tenant}","tree_size":{size},"entries":["#)?;
    let mut frontier = Frontier::default();
    let mut chain = Chain::of(tenant);
    let mut others = Vec::new();
    scan::records(store, &mut frontier, Seq(size), |seq, record, leaf| {
        if codec::tenant_of(seq, record).map_err(ScanError::from)? == Some(tenant) {
            out.hashes(&mut others)?;
            out.record(seq, record)?;
            chain.add(&leaf);
        } else {
            join(&mut others, Subtree { level: 0, index: seq.0 - 1, hash: leaf });
        }
        Ok::<(), ReceiptError>(())
    })?;
    out.hashes(&mut others)?;
    let checkpoint = Checkpoint {
        origin: key.public().name().to_owned(),
        tree_size: size,
        root_hash: frontier.root(),
        extensions: chain.extensions(tenant),
    };
    let note = serde_json::to_string(&checkpoint.sign(key)).map_err(io::Error::from)?;
    let (root, head) = (checkpoint.root_text(), hex::encode(&chain.hash));
    let key = key.public();
    write!(
        out.out,
        r#"],"events":{},"chain":"{head}","root_hash":"{root}","checkpoint":{note},"public_key":"{key}"}}"#,
        chain.events
    )?;
    out.out.flush()?;
    Ok(())
}

struct Entries<W> {
    out: W,
    first: bool,
}

impl<W: Write> Entries<W> {
    fn comma(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.first) {
            self.out.write_all(b",")?;
        }
        Ok(())
    }

    fn record(&mut self, seq: Seq, record: &[u8]) -> io::Result<()> {
        self.comma()?;
        write!(self.out, r#"{{"seq":{seq},"record":"{}"}}"#, STANDARD.encode(record))
    }

    fn hashes(&mut self, row: &mut Vec<Subtree>) -> io::Result<()> {
        for subtree in row.drain(..) {
            self.comma()?;
            let hash = hex::encode(&subtree.hash);
            let (from, to) = (subtree.first(), subtree.last());
            write!(self.out, r#"{{"from":{from},"to":{to},"hash":"{hash}"}}"#)?;
        }
        Ok(())
    }
}
