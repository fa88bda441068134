//! What is done from time to time: instances that nobody asks for are put to sleep, and
//! connections and counts that nobody needs are given up.

use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::time::Timestamp;
use tenantry_projections::world::instances::{Desired, Instance, Phase};
use tokio_util::sync::CancellationToken;

use super::Proxy;
use crate::domain::command::{Command, Submission};

/// How often instances are looked at: little beside the shortest idle timeout, a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many looks lie between two tidyings.
const TIDY_EVERY: u32 = 8;

/// Looks until `shutdown`.
pub(super) async fn run(proxy: Arc<Proxy>, shutdown: CancellationToken) {
    let began = crate::clock::now();
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks: u32 = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = every.tick() => {}
        }
        put_to_sleep(&proxy, began).await;
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(TIDY_EVERY) {
            tidy(&proxy);
        }
    }
}

/// Since when nobody asks for an instance; `None` when it is not to sleep at all.
fn idle_since(proxy: &Proxy, instance: &Instance, began: Timestamp) -> Option<(Timestamp, u64)> {
    let timeout = instance.spec.open()?.idle_timeout_ms?;
    let is_up = instance.desired == Desired::Running
        && instance.phase == Phase::Running
        && instance.restart.is_none()
        && instance.beside.is_none();
    if !is_up {
        return None;
    }
    let up = instance.run.as_ref()?.healthy_at?;
    let counts = proxy.traffic.of(instance.id);
    if counts.in_flight > 0 {
        return None;
    }
    // What was asked for before we began is not known.
    Some((up.max(began).max(counts.last_request.unwrap_or(began)), timeout))
}

async fn put_to_sleep(proxy: &Arc<Proxy>, began: Timestamp) {
    let world = proxy.handle.world();
    let now = crate::clock::now();
    for instance in world.instances.iter() {
        let Some((since, timeout)) = idle_since(proxy, instance, began) else { continue };
        if now.since_ms(since) < timeout {
            continue;
        }
        // Whoever comes from here on waits until it is decided, and wakes it again.
        let Some(shut) = proxy.traffic.counter(instance.id).shut() else { continue };
        let Some(run) = &instance.run else { continue };
        let (handle, command) =
            (proxy.handle.clone(), Command::PutToSleep { instance_id: instance.id, run_id: run.id });
        if let Err(error) = handle.submit(Submission::system(command, None)).await {
            tracing::warn!(instance.id = %instance.id, %error, "an idle instance is not put to sleep");
        }
        drop(shut);
    }
}

fn tidy(proxy: &Proxy) {
    let world = proxy.handle.world();
    let runs: std::collections::HashSet<_> =
        world.instances.iter().filter_map(|instance| instance.run.as_ref().map(|run| run.id)).collect();
    proxy.runs.tidy(|run| runs.contains(&run));
    proxy.traffic.keep_only(|instance| world.instances.get(instance).is_some());
}
