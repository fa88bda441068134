//! What follows from what the supervisor does and finds.
//!
//! A report about another run than the present one is late and changes nothing. Reports
//! may come twice; the second changes nothing either.

use std::collections::BTreeSet;

use tenantry_journal::event::Event;
use tenantry_journal::event::instance::{
    ExitStatus, InstanceAdopted, InstanceEnded, InstanceExited, InstanceFellAsleep, InstanceHealth,
    InstanceHealthChanged, InstanceRemoved, InstanceRespecified, InstanceRestartRequested,
    InstanceRestartScheduled, InstanceStartFailed, InstanceStarted, InstanceStarting, InstanceStopping,
    Listen, RestartPolicy, RestartReason, SleepReason,
};
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance, Phase, Rest, Run, Side};

use super::ctx::Ctx;
use super::{ports, rollout, successor};

fn present(world: &World, id: InstanceId, run: RunId) -> Option<(&Instance, &Run)> {
    let instance = world.instances.get(id)?;
    Some((instance, instance.find_run(run)?))
}

fn policy(instance: &Instance) -> RestartPolicy {
    instance.spec.open().map_or(RestartPolicy::Never, |spec| spec.restart)
}

/// Begins a run. With `listening` a process of a tenant is given a port of its own when it
/// has none, or not a free one.
pub(super) fn begin(
    world: &World,
    instance_id: InstanceId,
    listening: Option<&BTreeSet<u16>>,
    ctx: &Ctx,
) -> Vec<Event> {
    let due = world.instances.get(instance_id).filter(|instance| {
        instance.desired == Desired::Running
            && matches!(instance.phase, Phase::Idle | Phase::Backoff)
            && instance.not_before.is_none_or(|moment| moment <= ctx.now)
    });
    let Some(instance) = due else { return Vec::new() };
    let moved = listening.and_then(|listening| moved(world, instance, listening, ctx));
    let starting = InstanceStarting { instance_id, run_id: ctx.ids.make() };
    moved.into_iter().chain([starting.into()]).collect()
}

fn moved(world: &World, instance: &Instance, listening: &BTreeSet<u16>, ctx: &Ctx) -> Option<Event> {
    let Listen::Port(port) = instance.spec.open()?.listen else { return None };
    instance.tenant?;
    if !rollout::is_at_the_tenants_port(world, instance, port) && !listening.contains(&port) {
        return None;
    }
    let other = Listen::Port(ports::next_instance_port(world, &ctx.policy, listening)?);
    let spec = rollout::elsewhere(world, instance, None, &other, ctx)?;
    let (instance_id, deployment_id) = (instance.id, instance.deployment);
    let spec = Sealed::new(instance.spec.key(), spec);
    Some(InstanceRespecified { instance_id, spec, deployment_id }.into())
}

pub(super) fn started(
    world: &World,
    instance_id: InstanceId,
    run_id: RunId,
    pid: u32,
    start_ticks: u64,
) -> Vec<Event> {
    match present(world, instance_id, run_id) {
        Some((_, run)) if run.process.is_none() => {
            vec![InstanceStarted { instance_id, run_id, pid, start_ticks }.into()]
        }
        Some(_) | None => Vec::new(),
    }
}

pub(super) fn failed(
    world: &World,
    instance_id: InstanceId,
    run_id: RunId,
    reason: &str,
    ctx: &Ctx,
) -> Vec<Event> {
    let Some((instance, run)) = present(world, instance_id, run_id) else { return Vec::new() };
    let reason = Sealed::new(instance.name.key(), reason.to_owned());
    let mut events = vec![InstanceStartFailed { instance_id, run_id, reason }.into()];
    if instance.side_of(run_id).is_some() {
        events.extend(after_giving_up(instance, run_id));
        return events;
    }
    if instance.desired == Desired::Running {
        events.push(after_failure(instance, run, ctx.now, ctx));
    }
    events
}

/// What the policy says after a run that failed.
fn after_failure(instance: &Instance, run: &Run, ended_at: Timestamp, ctx: &Ctx) -> Event {
    let instance_id = instance.id;
    if instance.rest == Rest::Waking {
        return wake_failed(instance_id);
    }
    if policy(instance) == RestartPolicy::Never {
        return InstanceEnded { instance_id, failed: true }.into();
    }
    schedule(instance, run, ended_at, ctx)
}

/// The present run serves on when its successor did not come up. If it was ill meanwhile it is
/// replaced now: nobody else would say so again.
fn after_giving_up(instance: &Instance, run_id: RunId) -> Option<Event> {
    let instance_id = instance.id;
    let was_rising = instance.find_run(run_id).is_some_and(|run| run.healthy_at.is_none());
    let replace = was_rising
        && instance.desired == Desired::Running
        && instance.phase == Phase::Running
        && instance.health == InstanceHealth::Unhealthy
        && policy(instance) != RestartPolicy::Never;
    replace.then(|| unhealthy(instance_id))
}

fn unhealthy(instance_id: InstanceId) -> Event {
    let (reason, release, deployment_id) = (RestartReason::Unhealthy, None, None);
    InstanceRestartRequested { instance_id, reason, release, deployment_id }.into()
}

/// Who waited is told so, and the next request tries again: a back-off would let it hang.
fn wake_failed(instance_id: InstanceId) -> Event {
    InstanceFellAsleep { instance_id, reason: SleepReason::WakeFailed }.into()
}

fn schedule(instance: &Instance, run: &Run, ended_at: Timestamp, ctx: &Ctx) -> Event {
    let backoff = ctx.policy.backoff;
    let stable = run.healthy_at.is_some_and(|healthy| ended_at.since_ms(healthy) >= backoff.stable_ms);
    let failures = if stable { 1 } else { instance.failures.saturating_add(1) };
    let delay_ms = backoff.delay_ms(failures);
    let not_before = ctx.now.plus_ms(delay_ms);
    InstanceRestartScheduled { instance_id: instance.id, not_before, delay_ms, failures }.into()
}

pub(super) fn health_observed(
    world: &World,
    instance_id: InstanceId,
    run_id: RunId,
    health: InstanceHealth,
    detail: &str,
    ctx: &Ctx,
) -> Vec<Event> {
    let Some((instance, _)) = present(world, instance_id, run_id) else { return Vec::new() };
    let is_known = match instance.side_of(run_id) {
        Some(side) => side != Side::Rising || health == InstanceHealth::Unknown,
        None => instance.health == health || instance.phase == Phase::Stopping,
    };
    if is_known {
        return Vec::new();
    }
    let detail = detail.to_owned();
    let mut events = vec![InstanceHealthChanged { instance_id, run_id, health, detail }.into()];
    let replace = health == InstanceHealth::Unhealthy
        && instance.side_of(run_id).is_none()
        && instance.phase == Phase::Running
        && instance.desired == Desired::Running
        && instance.restart.is_none()
        && policy(instance) != RestartPolicy::Never;
    if replace {
        events.push(unhealthy(instance_id));
    }
    if health == InstanceHealth::Healthy && instance.tenant.is_some() {
        events.extend(rollout::promotions(world, instance, run_id, ctx));
    }
    events
}

pub(super) fn begin_stop(world: &World, instance_id: InstanceId, run_id: RunId) -> Vec<Event> {
    match present(world, instance_id, run_id) {
        Some((instance, _)) => {
            let is_told = match instance.side_of(run_id) {
                Some(side) => side == Side::Stopping,
                None => instance.phase == Phase::Stopping,
            };
            if is_told { Vec::new() } else { vec![InstanceStopping { instance_id, run_id }.into()] }
        }
        None => Vec::new(),
    }
}

pub(super) fn exited(
    world: &World,
    instance_id: InstanceId,
    run_id: RunId,
    status: ExitStatus,
    at: Timestamp,
    ctx: &Ctx,
) -> Vec<Event> {
    let Some((instance, run)) = present(world, instance_id, run_id) else { return Vec::new() };
    let mut events = vec![InstanceExited { instance_id, run_id, status, exited_at: at }.into()];
    let is_beside = instance.side_of(run_id).is_some();
    let has_successor = instance.beside.as_ref().is_some_and(|beside| beside.is_successor());
    if is_beside {
        events.extend(after_giving_up(instance, run_id));
        return events;
    }
    if instance.desired != Desired::Running || has_successor {
        return events;
    }
    let unhealthy = instance.health == InstanceHealth::Unhealthy;
    let wanted = matches!(instance.restart, Some(RestartReason::Requested | RestartReason::Deployed))
        || (instance.phase == Phase::Stopping && !unhealthy);
    if wanted {
        events.extend(successor::in_place(world, instance, ctx));
        return events;
    }
    if instance.rest == Rest::Waking {
        events.push(wake_failed(instance_id));
        return events;
    }
    let failed = status != ExitStatus::Code(0) || unhealthy;
    let again = match policy(instance) {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => failed,
        RestartPolicy::Never => false,
    };
    events.push(if again {
        schedule(instance, run, at, ctx)
    } else {
        InstanceEnded { instance_id, failed }.into()
    });
    events
}

pub(super) fn adopted(
    world: &World,
    instance_id: InstanceId,
    run_id: RunId,
    pid: u32,
    start_ticks: Option<u64>,
) -> Vec<Event> {
    let adopted = || InstanceAdopted { instance_id, run_id, pid, start_ticks }.into();
    present(world, instance_id, run_id).map(|_| adopted()).into_iter().collect()
}

pub(super) fn gone(world: &World, instance_id: InstanceId) -> Vec<Event> {
    let gone = world.instances.get(instance_id).is_some_and(|instance| {
        instance.desired == Desired::Removed && instance.run.is_none() && instance.beside.is_none()
    });
    if gone { vec![InstanceRemoved { instance_id }.into()] } else { Vec::new() }
}
