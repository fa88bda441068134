//! Routes of document 3: the feed, read and followed, and what became of a tenant.
//!
//! The feed is one read of the journal from some position on; a stream is the same
//! read that does not stop at the head. A slow reader holds its position and one page, and
//! nobody else notices it.

pub(super) mod described;
mod export;
mod filter;
mod get;
mod history;
mod journal;
mod list;
pub mod rendered;
mod restore;
pub mod rows;
mod sse;
mod subscription;
#[cfg(test)]
mod tests;
mod undo;
mod why;
mod ws;

pub use rendered::Rendered;
pub use rows::Rows;

use tenantry_journal::event::access::Scope as Reach;
use tenantry_journal::recorded::Recorded;
use tenantry_projections::world::World;

use super::error::Family;
use super::router::{Access, Routes};
use crate::auth::principal::Principal;

/// The routes of document 3.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Instances)
        .get("/api/events", Access::VIEWER, list::list)
        .get("/api/events/{seq}", Access::VIEWER, get::get)
        .get("/api/events/why", Access::VIEWER, why::why)
        .post("/api/events/{seq}/undo", Access::OPERATOR, undo::undo)
        .get("/api/events/stream", Access::VIEWER.lines(), sse::stream)
        .get("/api/journal/export", Access::ADMIN.unlimited().live(), export::export)
        .get("/ws/events", Access::SOCKET, ws::upgrade)
        .get("/api/journal", Access::VIEWER, journal::stats)
        .get("/api/journal/proof", Access::VIEWER, journal::proof)
        .post("/api/journal/verify", Access::VIEWER.unlimited().checks(), journal::verify)
        .get("/api/tenants/{id}/receipt", Access::VIEWER, journal::receipt)
        .get("/api/tenants/{id}/history", Access::VIEWER, history::history)
        .get("/api/tenants/{id}/diff", Access::VIEWER, history::diff)
        .post("/api/tenants/{id}/restore", Access::OPERATOR, restore::restore)
}

/// Whether somebody may see an event: somebody limited to a tenant or a service sees what is
/// about it, and nothing else.
fn may_see(principal: &Principal, recorded: &Recorded, world: &World) -> bool {
    match &principal.scope {
        Reach::All => true,
        Reach::Tenant(_) | Reach::Tenants(_) => {
            recorded.tenant_id.is_some_and(|tenant| principal.reaches_tenant(tenant))
        }
        Reach::Service(own) => recorded
            .instance_id
            .and_then(|id| world.instances.name(id))
            .is_some_and(|name| name.service == *own),
    }
}
