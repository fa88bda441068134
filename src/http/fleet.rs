//! Routes of document 3 about the fleet as a whole: what an overview shows in one answer
//! ([`summary`]), tenants' lines for whoever keeps a long list up to date ([`tenants`]), what
//! instances use ([`usage`]) and what fills the disks ([`space`]).

pub(super) mod described;
mod space;
mod summary;
mod tenants;
#[cfg(test)]
mod tests;
mod usage;

use super::error::Family;
use super::router::{Access, Routes};

/// The routes.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Instances)
        .get("/api/fleet", Access::VIEWER, summary::summary)
        .get("/api/fleet/tenants", Access::VIEWER, tenants::list)
        .get("/api/fleet/usage", Access::VIEWER.live(), usage::list)
        .get("/api/fleet/space", Access::VIEWER.live(), space::look)
}
