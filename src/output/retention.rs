//! Deletes output that is past its age or above its size where no keeper does: of instances
//! that are stopped or gone. The keeper itself keeps those in bounds that it writes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tenantry_journal::id::InstanceId;
use tenantry_journal::spool;
use tenantry_projections::search::Search;

use super::Spools;
use crate::clock;
use crate::domain::policy::{Policy, Retention};
use crate::domain::setting;

/// Between two sweeps; ages are days. The first is at the start.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Sweeps for ever.
pub(super) async fn sweep(spools: &Spools, search: &Search, policy: Arc<ArcSwap<Policy>>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let retention = setting::retention(&spools.handle.world(), &policy.load().retention);
        let spools = spools.clone();
        if let Ok(true) = tokio::task::spawn_blocking(move || once(&spools, &retention)).await {
            search.look_at_all();
        }
    }
}

/// Returns whether a spool is gone as a whole.
fn once(spools: &Spools, retention: &Retention) -> bool {
    let ids = spools.kept().unwrap_or_else(|error| {
        tracing::warn!(%error, "old output stays");
        Vec::new()
    });
    ids.into_iter().fold(false, |gone, id| gone | one(spools, retention, id))
}

fn one(spools: &Spools, retention: &Retention, id: InstanceId) -> bool {
    let world = spools.handle.world();
    let keep = retention.of(world.instances.name(id)).options();
    let dir = spools.supervisor.spool(id);
    match spool::sweep(&dir, id.0, keep, clock::now()) {
        // Only the count of positions is left, which an instance that is gone does not need.
        Ok(Some(false)) if world.instances.get(id).is_none() => match std::fs::remove_dir_all(&dir) {
            Ok(()) => return true,
            Err(error) => tracing::warn!(instance.id = %id, %error, "an empty spool stays"),
        },
        Ok(_) => {}
        Err(error) => {
            let error = crate::error::chain(&error);
            tracing::warn!(instance.id = %id, error, "old output stays");
        }
    }
    false
}
