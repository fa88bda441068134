//! The spools as the index reads them.

use std::sync::Arc;

use tenantry_journal::id::InstanceId;
use tenantry_journal::spool::Reader;
use tenantry_projections::search::Source;

use super::Spools;
use crate::telemetry::Metrics;

/// The spools, and what is counted of them while they are indexed.
pub(super) struct Indexed {
    spools: Spools,
    metrics: Arc<Metrics>,
}

impl Indexed {
    pub(super) fn new(spools: Spools, metrics: Arc<Metrics>) -> Indexed {
        Indexed { spools, metrics }
    }
}

impl Source for Indexed {
    fn instances(&self) -> std::io::Result<Vec<InstanceId>> {
        self.spools.kept()
    }

    fn reader(&self, instance: InstanceId) -> Option<Reader> {
        // What is not named any more was erased: nothing of it may be taken up.
        self.spools.handle.world().instances.name(instance)?;
        Some(self.spools.reader(instance))
    }

    fn read(&self, lines: u64, lost_bytes: u64) {
        self.metrics.output_lines.inc_by(lines);
        self.metrics.output_lost_bytes.inc_by(lost_bytes);
    }
}
