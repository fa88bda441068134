//! Checking a receipt with nothing but the public key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Chain, Subtree, join};
use crate::checkpoint::{Checkpoint, NoteError, PublicKey};
use crate::codec;
use crate::hex;
use crate::id::{Seq, TenantId};
use crate::merkle::{self, Hash, node};

/// A receipt, as its file says it.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct Receipt {
    /// Whose.
    pub tenant_id: TenantId,
    /// Events in the tree.
    pub tree_size: u64,
    /// Events of the tenant.
    pub events: u64,
    /// What commits to the tenant's events in their order.
    #[serde(with = "hex::one")]
    #[schemars(with = "hex::Digits")]
    chain: Hash,
    /// The tree's root.
    #[serde(with = "hex::one")]
    #[schemars(with = "hex::Digits")]
    root_hash: Hash,
    /// The signed note.
    pub checkpoint: String,
    /// The signer's key, for other tools; who checks uses the one that they know.
    pub public_key: String,
    /// Events and the subtrees between them, from the first event to the last.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ReceiptEntry")]
#[serde(untagged)]
enum Entry {
    /// An event of the tenant.
    Own {
        /// Its position.
        seq: Seq,
        /// Its bytes, in base64.
        record: String,
    },
    /// Events of others.
    Others {
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
        /// The root of the perfect subtree over them.
        #[serde(with = "hex::one")]
        #[schemars(with = "hex::Digits")]
        hash: Hash,
    },
}

/// A receipt does not prove what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReceipt {
    /// Its checkpoint is not signed by this key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// An entry is not the tenant's event at its place.
    #[error("the record at {seq} is not an event of the tenant at that place")]
    Record {
        /// Its place.
        seq: Seq,
    },
    /// Something is left out, or there twice.
    #[error("the entries do not go on at event {wanted}")]
    Gap {
        /// The event that should come.
        wanted: Seq,
    },
    /// The events are not in the signed tree.
    #[error("the entries do not make the root that was signed")]
    Root,
    /// The signer speaks of other events of the tenant.
    #[error("what was signed is about {0}")]
    Statement(&'static str),
    /// An earlier receipt is not part of it.
    #[error("it does not go on from the earlier receipt: {0}")]
    Earlier(&'static str),
}

impl Receipt {
    /// Checks it: each event is the tenant's, in its place in the signed tree, and the signer
    /// says that they are all. The checkpoint that was signed.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, key: &PublicKey) -> Result<Checkpoint, BadReceipt> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        let chain = self.chain_of(u64::MAX)?;
        let signed = &checkpoint;
        if signed.extension("tenant") != Some(self.tenant_id.to_string().as_str()) {
            return Err(BadReceipt::Statement("another tenant"));
        }
        if signed.extension("events") != Some(chain.events.to_string().as_str())
            || self.events != chain.events
        {
            return Err(BadReceipt::Statement("another number of events"));
        }
        if signed.extension("chain") != Some(STANDARD.encode(chain.hash).as_str()) || self.chain != chain.hash
        {
            return Err(BadReceipt::Statement("other events"));
        }
        if signed.tree_size != self.tree_size {
            return Err(BadReceipt::Statement("a tree of another size"));
        }
        let root = self.root()?;
        if root != signed.root_hash || root != self.root_hash {
            return Err(BadReceipt::Root);
        }
        Ok(checkpoint)
    }

    /// Checks that it goes on from an earlier one of the same tenant, which was checked as well.
    ///
    /// # Errors
    /// What is wrong.
    pub fn goes_on_from(&self, earlier: &Receipt) -> Result<(), BadReceipt> {
        if earlier.tenant_id != self.tenant_id {
            return Err(BadReceipt::Earlier("it is of another tenant"));
        }
        if earlier.tree_size > self.tree_size {
            return Err(BadReceipt::Earlier("that one is the later"));
        }
        // The events up to the earlier size are those that the earlier one has.
        let until = self.chain_of(earlier.tree_size)?;
        if until.events != earlier.events || until.hash != earlier.chain {
            return Err(BadReceipt::Earlier("up to its size the tenant's events are not the same"));
        }
        Ok(())
    }

    /// The chain over the tenant's events up to a seq.
    fn chain_of(&self, until: u64) -> Result<Chain, BadReceipt> {
        let mut chain = Chain::of(self.tenant_id);
        for (seq, record) in self.own().filter(|(seq, _)| seq.0 <= until) {
            chain.add(&self.leaf(seq, record)?);
        }
        Ok(chain)
    }

    fn own(&self) -> impl Iterator<Item = (Seq, &str)> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Own { seq, record } => Some((*seq, record.as_str())),
            Entry::Others { .. } => None,
        })
    }

    fn leaf(&self, seq: Seq, record: &str) -> Result<Hash, BadReceipt> {
        let bytes = STANDARD.decode(record).map_err(|_| BadReceipt::Record { seq })?;
        match codec::about(&bytes) {
            Ok(about) if about.seq == seq && about.tenant == Some(self.tenant_id) => Ok(merkle::leaf(&bytes)),
            _ => Err(BadReceipt::Record { seq }),
        }
    }

    /// The root that the entries make.
    fn root(&self) -> Result<Hash, BadReceipt> {
        let mut row: Vec<Subtree> = Vec::new();
        let mut next = Seq(1);
        for entry in &self.entries {
            let gap = BadReceipt::Gap { wanted: next };
            let subtree = match entry {
                Entry::Own { seq, record } if *seq == next => {
                    Subtree { level: 0, index: seq.0 - 1, hash: self.leaf(*seq, record)? }
                }
                Entry::Others { from, to, hash } if *from == next && to >= from => {
                    let leaves = to.0 - from.0 + 1;
                    let first = from.0 - 1;
                    if !leaves.is_power_of_two() || !first.is_multiple_of(leaves) {
                        return Err(gap);
                    }
                    let level = leaves.ilog2();
                    Subtree { level, index: first >> level, hash: *hash }
                }
                Entry::Own { .. } | Entry::Others { .. } => return Err(gap),
            };
            next = subtree.last().next();
            join(&mut row, subtree);
        }
        if next.0 != self.tree_size.saturating_add(1) {
            return Err(BadReceipt::Gap { wanted: next });
        }
        let mut peaks = row.into_iter().rev();
        let last = peaks.next().map(|last| last.hash).ok_or(BadReceipt::Root)?;
        Ok(peaks.fold(last, |right, left| node(&left.hash, &right)))
    }
}
