//! What the routes about the fleet take and give, for `/openapi.json`.

use super::{space, summary, tenants, usage};
use crate::http::openapi::Describe;

/// Says what each route takes and gives.
pub(in crate::http) fn describe(all: &mut Describe) {
    all.get("/api/fleet", "getFleet", "The fleet in numbers, with what needs somebody")
        .notes("What an overview shows, however large the fleet.")
        .answers::<summary::Fleet<'_>>();
    all.get("/api/fleet/tenants", "listFleetTenants", "Tenants' lines, page by page or those named")
        .notes("Pages go by id: `next` of one is `after` of the next. Whoever keeps a list reads again those that events were about.")
        .query::<tenants::Wanted>()
        .answers::<tenants::Listed<'_>>();
    all.get("/api/fleet/usage", "getFleetUsage", "What instances use now")
        .query::<usage::Wanted>()
        .answers::<usage::Listed<'_>>();
    all.get("/api/fleet/space", "getFleetSpace", "The disk, and instances near their quota")
        .answers::<space::Space<'_>>();
}
