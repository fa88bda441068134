//! Scale to zero: what nobody asks for sleeps, and the next request wakes it.
//!
//! Only what fell asleep is woken: an instance that somebody stopped stays stopped.

use tenantry_journal::event::Event;
use tenantry_journal::event::instance::{InstanceFellAsleep, InstanceWoken, SleepReason};
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Phase, Rest};

/// Puts an instance to sleep, unless it is another run by now or about to be changed.
pub(super) fn put_to_sleep(world: &World, instance_id: InstanceId, run_id: RunId) -> Vec<Event> {
    let idle = world.instances.get(instance_id).is_some_and(|instance| {
        instance.desired == Desired::Running
            && instance.phase == Phase::Running
            && instance.restart.is_none()
            && instance.run.as_ref().is_some_and(|run| run.id == run_id)
    });
    if !idle {
        return Vec::new();
    }
    vec![InstanceFellAsleep { instance_id, reason: SleepReason::Idle }.into()]
}

/// Wakes an instance that sleeps; a second request finds it woken.
pub(super) fn wake(world: &World, instance_id: InstanceId) -> Vec<Event> {
    let asleep = world
        .instances
        .get(instance_id)
        .is_some_and(|instance| instance.desired == Desired::Stopped && instance.rest == Rest::Asleep);
    if asleep { vec![InstanceWoken { instance_id }.into()] } else { Vec::new() }
}
