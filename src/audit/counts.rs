//! What is counted of the audit.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry::labels::{Passed, ResultLabel};

/// What is counted of the audit.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    checkpoints: Counter,
    checkpoint_size: Gauge,
    contradicted: Gauge,
    rebuilt: Gauge,
    pub(super) verifications: Family<ResultLabel, Counter>,
    /// Receipts that were written.
    pub receipts: Counter,
}

impl Counts {
    /// Shows them on a page.
    pub fn register(&self, to: &mut Registry) {
        for result in [Passed::passed, Passed::failed] {
            drop(self.verifications.get_or_create(&ResultLabel { result }));
        }
        let checkpoints = "Checkpoints of the journal that were signed";
        to.register("tenantry_journal_checkpoints", checkpoints, self.checkpoints.clone());
        let size = "Events in the tree of the last checkpoint that was signed";
        to.register("tenantry_journal_checkpoint_tree_size", size, self.checkpoint_size.clone());
        let contradicted = "1 when the journal is not the one that was signed before the start";
        to.register("tenantry_journal_checkpoint_contradicted", contradicted, self.contradicted.clone());
        let rebuilt = "Times that kept nodes of the Merkle tree did not fit and were made anew";
        to.register("tenantry_journal_tree_rebuilt", rebuilt, self.rebuilt.clone());
        let verifications = "Times that the whole journal was verified, by result";
        to.register("tenantry_journal_verifications", verifications, self.verifications.clone());
        to.register("tenantry_journal_receipts", "Receipts of tenants written", self.receipts.clone());
    }

    pub(super) fn signed(&self, size: u64) {
        self.checkpoints.inc();
        self.checkpoint_size.set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    pub(super) fn contradiction(&self) {
        self.contradicted.set(1);
    }

    pub(super) fn tree_rebuilt(&self, times: u64) {
        self.rebuilt.set(i64::try_from(times).unwrap_or(i64::MAX));
    }

    pub(super) fn verified(&self, is_valid: bool) {
        let result = if is_valid { Passed::passed } else { Passed::failed };
        self.verifications.get_or_create(&ResultLabel { result }).inc();
    }
}
