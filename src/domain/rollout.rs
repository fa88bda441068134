//! Rules for the switch to a release: beside what serves, checked, then in its place.
//!
//! A process that serves goes on serving until its successor is healthy, and all successors
//! of a deployment take over in one commit: a release of which one process does not come up
//! touches none of the others. What does not run is started the plain way.

use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::instance::{
    InstanceReplacementCancelled, InstanceRespecified, InstanceRestartRequested, InstanceStartRequested,
    InstanceStopRequested, InstanceSuccessorPromoted, Listen, ProcessSpec, RestartMode, RestartReason, Role,
};
use tenantry_journal::event::tenant::TenantDetails;
use tenantry_journal::id::{DeploymentId, InstanceId, RunId};
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::{Deployment, StepStatus};
use tenantry_projections::world::instances::{Beside, Desired, Instance, Phase, Side};
use tenantry_projections::world::tenants::Tenant;

use super::ctx::Ctx;
use super::deployment::{ROLES, spec_at, under_way};
use super::policy::Policy;

/// A tenant's instances of the roles that the configuration has.
fn instances<'a>(
    world: &'a World,
    tenant: &'a Tenant,
    policy: &'a Policy,
) -> impl Iterator<Item = (Role, &'a Instance)> {
    ROLES
        .into_iter()
        .filter(|role| policy.template.of(*role).is_some())
        .filter_map(|role| Some((role, &**world.instances.get(tenant.instance(role)?)?)))
}

fn has_successor_of(instance: &Instance, id: DeploymentId) -> bool {
    instance.beside.as_ref().is_some_and(|beside| beside.is_successor() && beside.deployment == Some(id))
}

/// Whether a deployment has said what this instance is to run.
fn is_concerned(instance: &Instance, id: DeploymentId) -> bool {
    (instance.deployment == Some(id) && instance.desired == Desired::Running)
        || instance.wanted.is_some_and(|wanted| wanted.deployment == Some(id))
        || has_successor_of(instance, id)
}

/// Begins the switch of a deployment, once.
pub(super) fn switch(world: &World, deployment_id: DeploymentId, ctx: &Ctx) -> Vec<Event> {
    let Some((deployment, tenant)) = under_way(world, deployment_id) else { return Vec::new() };
    let running =
        deployment.step(StepKind::StartServices).is_some_and(|step| step.status == StepStatus::Running);
    let Some(details) = tenant.details.open().filter(|_| running && !deployment.cancelling) else {
        return Vec::new();
    };
    let is_begun =
        instances(world, tenant, &ctx.policy).any(|(_, instance)| is_concerned(instance, deployment_id));
    if is_begun {
        return Vec::new();
    }
    let all = instances(world, tenant, &ctx.policy);
    let by = Some(deployment_id);
    all.flat_map(|(role, instance)| bring(tenant, details, role, instance, deployment.release, by, ctx))
        .collect()
}

/// Lets an instance run a release.
fn bring(
    tenant: &Tenant,
    details: &TenantDetails,
    role: Role,
    instance: &Instance,
    release: u32,
    by: Option<DeploymentId>,
    ctx: &Ctx,
) -> Vec<Event> {
    let present = instance.spec.open().map(|spec| &spec.listen);
    let Some(spec) = spec_at(&ctx.policy, tenant, details, role, release, present) else { return Vec::new() };
    let instance_id = instance.id;
    let reason = RestartReason::Deployed;
    let mut events = Vec::new();
    if instance.beside.as_ref().is_some_and(|beside| beside.is_successor()) {
        events.push(InstanceReplacementCancelled { instance_id }.into());
    }
    if rolls(instance, &spec) {
        let release = Some(release);
        events.push(InstanceRestartRequested { instance_id, reason, release, deployment_id: by }.into());
        return events;
    }
    let spec = Sealed::new(tenant.id, spec);
    events.push(InstanceRespecified { instance_id, spec, deployment_id: by }.into());
    events.push(if instance.desired == Desired::Running {
        InstanceRestartRequested { instance_id, reason, release: None, deployment_id: None }.into()
    } else {
        InstanceStartRequested { instance_id }.into()
    });
    events
}

/// Whether the present run serves until the next one is healthy.
fn rolls(instance: &Instance, next: &ProcessSpec) -> bool {
    next.restart_mode == RestartMode::Rolling
        && instance.desired == Desired::Running
        && instance.phase == Phase::Running
}

/// Takes back what a switch began: successors end, and what was replaced already is replaced
/// again by the release before.
pub(super) fn take_back(
    world: &World,
    deployment: &Deployment,
    tenant: &Tenant,
    details: &TenantDetails,
    ctx: &Ctx,
) -> Vec<Event> {
    let mut events = Vec::new();
    for (role, instance) in instances(world, tenant, &ctx.policy) {
        let instance_id = instance.id;
        let is_wanted = instance.wanted.is_some_and(|wanted| wanted.deployment == Some(deployment.id));
        if is_wanted || has_successor_of(instance, deployment.id) {
            events.push(InstanceReplacementCancelled { instance_id }.into());
        } else if instance.deployment == Some(deployment.id) {
            match deployment.previous_release {
                Some(previous) => {
                    events.extend(bring(tenant, details, role, instance, previous, None, ctx));
                }
                None => events.push(InstanceStopRequested { instance_id }.into()),
            }
        }
    }
    events
}

/// The successors that take over now that a run of `just` is healthy: all of its deployment's,
/// once the last of them is.
pub(super) fn promotions(world: &World, just: &Instance, run: RunId, ctx: &Ctx) -> Vec<Event> {
    let successor = just.beside.as_ref().filter(|beside| beside.is_successor() && beside.run.id == run);
    let deployment = successor.map_or(just.deployment, |beside| beside.deployment);
    let Some((deployment, tenant)) = deployment.and_then(|id| under_way(world, id)) else {
        // Nobody is left to wait for.
        let alone = successor.filter(|beside| beside.waits);
        let promoted = |beside: &Beside| {
            InstanceSuccessorPromoted { instance_id: just.id, run_id: beside.run.id }.into()
        };
        return alone.map(promoted).into_iter().collect();
    };
    if deployment.cancelling || deployment.failed().is_some() {
        return Vec::new();
    }
    let mut events = Vec::new();
    for (_, instance) in instances(world, tenant, &ctx.policy) {
        let instance_id = instance.id;
        match &instance.beside {
            Some(beside) if beside.waits && has_successor_of(instance, deployment.id) => {
                if beside.side != Side::Risen && beside.run.id != run {
                    return Vec::new();
                }
                events.push(InstanceSuccessorPromoted { instance_id, run_id: beside.run.id }.into());
            }
            // One that needed no successor, or whose successor has given up.
            _ if instance.deployment == Some(deployment.id) => {}
            _ => return Vec::new(),
        }
    }
    events
}

/// The successors of a deployment that still wait when it has succeeded.
pub(super) fn left_waiting(world: &World, deployment: &Deployment, tenant: &Tenant) -> Vec<Event> {
    let all = ROLES.into_iter().filter_map(|role| world.instances.get(tenant.instance(role)?));
    let waiting = all.filter_map(|instance| {
        let beside = instance.beside.as_ref()?;
        (beside.side == Side::Risen && beside.deployment == Some(deployment.id))
            .then(|| InstanceSuccessorPromoted { instance_id: instance.id, run_id: beside.run.id }.into())
    });
    waiting.collect()
}

/// The release that an instance of a tenant runs.
pub(super) fn release_of(world: &World, tenant: &Tenant, instance: &Instance) -> Option<u32> {
    let by = instance.deployment.and_then(|id| world.deployments.get(id));
    by.map(|deployment| deployment.release).or(tenant.release)
}

/// What an instance of a tenant runs at another place; `None` when the configuration has no
/// such role any more.
pub(super) fn elsewhere(
    world: &World,
    instance: &Instance,
    release: Option<u32>,
    listen: &Listen,
    ctx: &Ctx,
) -> Option<ProcessSpec> {
    let (tenant, role) = instance.tenant?;
    let tenant = world.tenants.get(tenant)?;
    let release = release.or_else(|| release_of(world, tenant, instance))?;
    spec_at(&ctx.policy, tenant, tenant.details.open()?, role, release, Some(listen))
}

/// Whether an instance listens on the port that its tenant's clients use. That port is the
/// keeper's, which passes connections on: a process gets a port of its own.
pub(super) fn is_at_the_tenants_port(world: &World, instance: &Instance, port: u16) -> bool {
    let home = instance.tenant.and_then(|(tenant, role)| home(world.tenants.get(tenant)?, role));
    home == Some(port)
}

/// The port that document 1 shows for a tenant's process.
#[must_use]
pub fn home(tenant: &Tenant, role: Role) -> Option<u16> {
    let ports = tenant.ports?;
    Some(match role {
        Role::Frontend => ports.frontend,
        Role::Backend => ports.backend,
    })
}

/// A process of a tenant that answers, or is about to, and where its clients look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The instance.
    pub instance_id: InstanceId,
    /// The port that document 1 shows.
    pub port: u16,
    /// Where its present run listens.
    pub to: Listen,
}

/// Everything that clients of tenants' ports are to be passed on to.
pub fn forwarded(world: &World) -> impl Iterator<Item = Forwarded> {
    world.tenants.iter().flat_map(move |tenant| {
        ROLES.into_iter().filter_map(move |role| {
            let port = home(tenant, role)?;
            let instance = world.instances.get(tenant.instance(role)?)?;
            let is_there = instance.desired == Desired::Running
                && matches!(instance.phase, Phase::Starting | Phase::Running)
                && instance.run.as_ref().is_some_and(|run| run.process.is_some());
            let to = instance.spec.open().filter(|_| is_there)?.listen.clone();
            (to != Listen::Port(port)).then_some(Forwarded { instance_id: instance.id, port, to })
        })
    })
}
