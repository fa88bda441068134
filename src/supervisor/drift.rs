//! Who else listens on ports that tenants hold: told in the log when it begins and when it is
//! over, and counted in the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tenantry_projections::world::World;

use super::Supervisor;
use crate::drivers::strangers::{self, Own, Stranger};
use crate::drivers::tool;

/// How often is looked: a look lists all sockets that listen and the keeper's descriptors, some
/// milliseconds with a thousand tenants.
const EVERY: Duration = Duration::from_secs(10);

/// Those who listen on ports that tenants hold and may not, by port.
pub(crate) async fn look(world: &World) -> BTreeMap<u16, Vec<Stranger>> {
    let ports: BTreeSet<u16> =
        world.ports.held().flat_map(|held| [held.ports.frontend, held.ports.backend]).collect();
    let process = |port: &u16| {
        let instance = world.instances.by_port(*port).and_then(|id| world.instances.get(id))?;
        Some((*port, instance.run.as_ref()?.process?.pid))
    };
    let processes = ports.iter().filter_map(process).collect();
    let keeper = world.keeper;
    let looked = tokio::task::spawn_blocking(move || {
        // A process id alone may have passed to somebody else.
        let keeper = keeper.filter(|mark| tool::start_ticks(mark.pid) == Some(mark.start_ticks));
        strangers::on(&ports, &Own { keeper: keeper.map(|mark| mark.pid), processes })
    });
    // It is not done only while the runtime ends.
    looked.await.unwrap_or_default()
}

/// Looks for ever.
pub(super) async fn watch(supervisor: &Supervisor) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known: BTreeSet<Stranger> = BTreeSet::new();
    loop {
        every.tick().await;
        let world = supervisor.handle.world();
        // Without the keeper nobody can say who is a stranger.
        if world.keeper.is_none() {
            continue;
        }
        let found: BTreeSet<Stranger> = look(&world).await.into_values().flatten().collect();
        for Stranger { port, pid, program } in found.difference(&known) {
            tracing::warn!(port, pid, program, "another process listens on a tenant's port");
        }
        for Stranger { port, pid, program } in known.difference(&found) {
            tracing::info!(port, pid, program, "it listens on the tenant's port no more");
        }
        let ports: BTreeSet<u16> = found.iter().map(|stranger| stranger.port).collect();
        supervisor.metrics.ports_drifted.set(i64::try_from(ports.len()).unwrap_or(i64::MAX));
        known = found;
    }
}
