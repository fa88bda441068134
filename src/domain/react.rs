//! What the world outside still lacks, derived from the World alone.
//!
//! Level-triggered: it is the same after a crash as before it. It looks only at what the
//! World has on its attention list, so its cost does not grow with the number of tenants.

use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::instance::InstanceHealth;
use tenantry_journal::id::{AnalysisId, DeploymentId, InstanceId, TenantId};
use tenantry_projections::world::instances::{Desired, Instance, Phase, Side};
use tenantry_projections::world::{Attention, World};

use super::effect::{Due, Effect};

/// Everything that is to be done, now or at a moment to come.
#[must_use]
pub fn react(world: &World) -> Vec<Due> {
    world
        .attention
        .iter()
        .filter_map(|attention| match *attention {
            Attention::Instance(id) => instance(world, id),
            Attention::Deployment(id) => deployment(world, id),
            Attention::Tenant(id) => tenant(world, id),
            Attention::Theme(id) => theme(world, id),
            Attention::Analysis(id) => analysis(world, id),
            Attention::EnvFile(id) => env_file(world, id),
            Attention::Erasure(id) => erasure(world, id),
        })
        .collect()
}

fn instance(world: &World, id: InstanceId) -> Option<Due> {
    let instance = world.instances.get(id)?;
    match beside(instance) {
        Beside::Needs(effect) => return Some(Due { effect, not_before: None, cause: instance.cause }),
        Beside::Waits => return None,
        Beside::Nothing => {}
    }
    let run = instance.run.as_ref().map(|run| run.id);
    let replace = instance.restart.is_some() || instance.health == InstanceHealth::Unhealthy;
    let effect = match (instance.desired, instance.phase) {
        (Desired::Running, Phase::Idle | Phase::Backoff) => Effect::BeginRun(id),
        (Desired::Running, Phase::Starting) if !replace => Effect::EnsureRun(id, run?),
        (Desired::Running, Phase::Running) if instance.restart.is_none() => return None,
        (Desired::Running | Desired::Stopped, Phase::Failed) => return None,
        (Desired::Stopped, Phase::Idle | Phase::Backoff) => return None,
        (Desired::Removed, Phase::Idle | Phase::Backoff | Phase::Failed) => Effect::ForgetInstance(id),
        (_, Phase::Starting | Phase::Running | Phase::Stopping) => Effect::EndRun(id, run?),
    };
    let not_before = if effect == Effect::BeginRun(id) { instance.not_before } else { None };
    Some(Due { effect, not_before, cause: instance.cause })
}

/// What a second run makes necessary.
enum Beside {
    /// This, before anything else.
    Needs(Effect),
    /// That both are left alone.
    Waits,
    /// There is none.
    Nothing,
}

fn beside(instance: &Instance) -> Beside {
    let id = instance.id;
    match &instance.beside {
        None if instance.awaits_successor() => Beside::Needs(Effect::BeginSuccessor(id)),
        None => Beside::Nothing,
        Some(beside) => match (beside.side, instance.desired) {
            (Side::Rising, Desired::Running) => Beside::Needs(Effect::EnsureRun(id, beside.run.id)),
            (Side::Risen, Desired::Running) => Beside::Waits,
            _ => Beside::Needs(Effect::EndRun(id, beside.run.id)),
        },
    }
}

fn deployment(world: &World, id: DeploymentId) -> Option<Due> {
    let deployment = world.deployments.get(id)?;
    if world.deployments.under_way(deployment.tenant_id)?.id != id {
        return None;
    }
    let effect = match deployment.failed() {
        _ if deployment.cancelling => Effect::RollBack(id),
        Some(step) if step.kind == StepKind::StartServices => Effect::RollBack(id),
        Some(_) => return None,
        None => Effect::RunStep(id, deployment.current()?.kind),
    };
    Some(Due { effect, not_before: None, cause: deployment.cause })
}

fn env_file(world: &World, id: TenantId) -> Option<Due> {
    let cause = world.configurations.get(id)?.env_wanted?;
    // The directory of a tenant that is being deleted may be gone any moment.
    let stays = world.tenants.get(id)?.deletion.is_none();
    stays.then_some(Due { effect: Effect::WriteEnv(id), not_before: None, cause })
}

fn tenant(world: &World, id: TenantId) -> Option<Due> {
    let tenant = world.tenants.get(id)?;
    let rid_of_instances = tenant.frontend.is_none() && tenant.backend.is_none();
    let due = Due { effect: Effect::RemoveTenant(id), not_before: None, cause: tenant.changed };
    rid_of_instances.then_some(due)
}

/// Not before the tenant is gone: until then its own things are still named under its key.
fn erasure(world: &World, id: TenantId) -> Option<Due> {
    let erasure = world.erasures.get(id).filter(|erasure| erasure.done.is_none())?;
    let is_gone = world.tenants.get(id).is_none();
    let due = Due { effect: Effect::EraseTenant(id), not_before: None, cause: erasure.requested };
    is_gone.then_some(due)
}

fn theme(world: &World, id: TenantId) -> Option<Due> {
    let tenant = world.tenants.get(id).filter(|tenant| tenant.deletion.is_none())?;
    let lacking = tenant.theme.applied < tenant.theme.changed;
    let due = Due { effect: Effect::ApplyTheme(id), not_before: None, cause: tenant.theme.changed };
    lacking.then_some(due)
}

fn analysis(world: &World, id: AnalysisId) -> Option<Due> {
    let analysis = world.analyses.get(id).filter(|analysis| !analysis.is_over())?;
    let stays = world.tenants.get(analysis.tenant_id).is_some_and(|tenant| tenant.deletion.is_none());
    stays.then_some(Due { effect: Effect::Analyze(id), not_before: None, cause: analysis.changed })
}
