//! An event as document 3 shows it.

use serde_json::{Value, json};
use tenantry_journal::recorded::Recorded;
use tenantry_projections::world::World;

/// An event as document 3 shows it. `world` supplies the names of actors and instances.
#[must_use]
pub fn event_json(recorded: &Recorded, world: &World) -> Value {
    json!({
        "seq": recorded.seq,
        "id": recorded.id,
        "at": recorded.at,
        "kind": recorded.event.kind(),
        "actor": {
            "type": recorded.actor.type_name(),
            "id": recorded.actor.id(),
            "name": world.access.actor_name(recorded.actor),
        },
        "tenant_id": recorded.tenant_id,
        "instance": recorded.instance_id.and_then(|id| world.instances.name(id)),
        "command_id": recorded.command_id,
        "caused_by": recorded.caused_by,
        "data": recorded.event,
    })
}
