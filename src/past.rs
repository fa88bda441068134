//! The past, as the API asks for it: time travel over the journal and its snapshots.

use std::sync::Arc;

use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::time::Timestamp;
use tenantry_projections::as_of::{self, Point, TimeTravel};
use tenantry_projections::history::{self, History};
use tenantry_projections::world::World;

use crate::engine::Handle;
use crate::error::chain;
use crate::http::state::{AsOfError, TimeMachine};

/// Answers for any moment up to the engine's present.
pub struct Past {
    travel: Arc<TimeTravel>,
    present: Handle,
}

impl Past {
    /// Travels through the journal behind `travel`; the present is the engine's.
    #[must_use]
    pub fn new(travel: impl Into<Arc<TimeTravel>>, present: Handle) -> Past {
        Past { travel: travel.into(), present }
    }
}

fn told(error: as_of::AsOfError) -> AsOfError {
    match error {
        as_of::AsOfError::BeforeFirst(_) => AsOfError::BeforeFirst,
        as_of::AsOfError::AfterHead { head, .. } => AsOfError::AfterHead(head),
        as_of::AsOfError::Source(_) | as_of::AsOfError::Gap { .. } => AsOfError::Unavailable(chain(&error)),
    }
}

impl TimeMachine for Past {
    fn resolve(&self, point: &str, now: Timestamp) -> Result<Seq, AsOfError> {
        let point = Point::parse(point, now).map_err(|_| AsOfError::Malformed(point.to_owned()))?;
        self.travel.resolve(point, &self.present.world(), now).map_err(told)
    }

    fn world_at(&self, seq: Seq) -> Result<Arc<World>, AsOfError> {
        let present = self.present.world();
        if seq == present.seq {
            return Ok(present);
        }
        self.travel.world_at(seq, &present).map(Arc::new).map_err(told)
    }

    fn tenant_at(&self, tenant: TenantId, seq: Seq) -> Result<Arc<World>, AsOfError> {
        let present = self.present.world();
        if seq == present.seq {
            return Ok(present);
        }
        self.travel.tenant_at(tenant, seq, &present).map(Arc::new).map_err(told)
    }

    fn forget(&self) {
        self.travel.forget();
    }

    fn history(&self, tenant: TenantId, after: Seq, until: Seq, limit: usize) -> Result<History, AsOfError> {
        let present = self.present.world();
        history::history(&self.travel, &present, tenant, (after, until), limit).map_err(told)
    }
}
