//! Rules for deployments: a saga of six steps, one at a time, taken back when the switch fails.
//!
//! Nothing that serves is touched before the last step. When that fails, the release that
//! served before serves on.

use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::{
    DeploymentFinished, DeploymentOutcome, ReleaseActivated, ReleasesPruned, StepFinished, StepKind,
    StepOutcome, StepRolledBack, StepStarted,
};
use tenantry_journal::event::instance::{
    InstanceRespecified, InstanceSpawned, InstanceStartRequested, Listen, ProcessSpec, Role,
};
use tenantry_journal::event::tenant::TenantDetails;
use tenantry_journal::id::{DeploymentId, InstanceId};
use tenantry_journal::name::InstanceKey;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::{Deployment, DeploymentStatus, StepStatus};
use tenantry_projections::world::tenants::Tenant;

use super::command::StepReport;
use super::ctx::Ctx;
use super::policy::{Placeholders, Policy, release_directory};
use super::rejection::Rejection;
use super::request::to_prune;
use super::rollout;
use super::tenant::details;
use super::tenant_config;

pub(super) const ROLES: [Role; 2] = [Role::Frontend, Role::Backend];

/// A deployment that has not ended, and its tenant.
pub(super) fn under_way(world: &World, id: DeploymentId) -> Option<(&Deployment, &Tenant)> {
    let deployment = world.deployments.get(id).filter(|deployment| !deployment.is_over())?;
    let tenant = world.tenants.get(deployment.tenant_id)?;
    Some((deployment, tenant))
}

pub(super) fn begin_step(world: &World, deployment_id: DeploymentId, step: StepKind) -> Vec<Event> {
    let is_next = |deployment: &Deployment| {
        let first = world.deployments.under_way(deployment.tenant_id).map(|first| first.id);
        first == Some(deployment.id) && !deployment.cancelling && deployment.failed().is_none()
    };
    let next = under_way(world, deployment_id).filter(|(deployment, _)| is_next(deployment));
    if next.and_then(|(deployment, _)| deployment.current()).is_some_and(|current| current.kind == step) {
        vec![StepStarted { deployment_id, step }.into()]
    } else {
        Vec::new()
    }
}

/// What a role of a tenant runs when a release serves; `None` when the template has no such role.
/// It stays where the present run listens.
#[must_use]
pub fn spec_at(
    policy: &Policy,
    tenant: &Tenant,
    details: &TenantDetails,
    role: Role,
    release: u32,
    present: Option<&Listen>,
) -> Option<ProcessSpec> {
    let template = policy.template.of(role)?;
    let port = match present {
        Some(Listen::Port(port)) => *port,
        Some(Listen::Socket(_)) | None => rollout::home(tenant, role)?,
    };
    let data_dir = policy.data_dir.display().to_string();
    let mut placeholders = Placeholders {
        name: details.slug.as_str(),
        id: details.slug.as_str(),
        data_dir: &data_dir,
        port: port.to_string(),
        socket: String::new(),
        directory: &details.directory,
        release: release_directory(&details.directory, release).display().to_string(),
    };
    let listen = match &template.socket {
        Some(socket) => {
            placeholders.socket = match present {
                Some(Listen::Socket(path)) => path.clone(),
                Some(Listen::Port(_)) | None => placeholders.fill(socket),
            };
            placeholders.port = String::new();
            Listen::Socket(placeholders.socket.clone())
        }
        None => Listen::Port(port),
    };
    let env = tenant_config::variables(policy, tenant, details);
    Some(template.fill(listen, &placeholders, std::path::Path::new(&details.directory), env))
}

/// Registers the instances that the tenant does not have yet.
fn create_services(
    tenant: &Tenant,
    details: &TenantDetails,
    release: u32,
    ctx: &Ctx,
) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for role in ROLES {
        if tenant.instance(role).is_some() {
            continue;
        }
        let Some(spec) = spec_at(&ctx.policy, tenant, details, role, release, None) else { continue };
        events.push(registered(tenant, details, role, spec, ctx)?.into());
    }
    Ok(events)
}

fn registered(
    tenant: &Tenant,
    details: &TenantDetails,
    role: Role,
    spec: ProcessSpec,
    ctx: &Ctx,
) -> Result<InstanceSpawned, String> {
    let key: InstanceKey = format!("{}:{}", role.as_str(), details.slug)
        .parse()
        .map_err(|bad| format!("the slug makes no instance name: {bad}"))?;
    Ok(InstanceSpawned {
        instance_id: ctx.ids.make::<InstanceId>(),
        name: Sealed::new(tenant.id, key),
        tenant: Some((tenant.id, role)),
        spec: Sealed::new(tenant.id, spec),
    })
}

/// The deployment whose release waits to be started: the tenant's last successful one, when
/// its services were skipped and nobody has started them since.
pub(super) fn waiting<'a>(world: &'a World, tenant: &Tenant) -> Option<&'a Deployment> {
    let succeeded = |deployment: &&std::sync::Arc<Deployment>| deployment.status == DeploymentStatus::Success;
    let last = world.deployments.of(tenant.id).rfind(succeeded)?;
    let skipped = last.step(StepKind::StartServices).is_some_and(|step| step.status == StepStatus::Skipped);
    (skipped && tenant.release != Some(last.release)).then_some(&**last)
}

/// Starts the release of a deployment that skipped its services: they are registered where
/// they are missing, and their next run is of this release.
pub(super) fn put_into_service(
    world: &World,
    tenant: &Tenant,
    deployment: &Deployment,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    let details = details(tenant)?;
    let (deployment_id, release) = (deployment.id, deployment.release);
    let mut events = Vec::new();
    for role in ROLES {
        let before = tenant.instance(role).and_then(|id| world.instances.get(id));
        let present = before.and_then(|instance| instance.spec.open()).map(|spec| &spec.listen);
        let Some(spec) = spec_at(&ctx.policy, tenant, details, role, release, present) else { continue };
        let instance_id = match tenant.instance(role) {
            Some(instance_id) => {
                let spec = Sealed::new(tenant.id, spec);
                let deployment_id = Some(deployment_id);
                events.push(InstanceRespecified { instance_id, spec, deployment_id }.into());
                instance_id
            }
            None => {
                let spawned = registered(tenant, details, role, spec, ctx)
                    .map_err(|problem| Rejection::conflict("not_deployed", problem, ""))?;
                let instance_id = spawned.instance_id;
                events.push(spawned.into());
                instance_id
            }
        };
        events.push(InstanceStartRequested { instance_id }.into());
    }
    if events.is_empty() {
        return Err(Rejection::conflict(
            "not_deployed",
            format!("tenant '{}' has nothing to start", tenant.id),
            "name a frontend or a backend in [deploy.template]",
        ));
    }
    events.push(ReleaseActivated { deployment_id, tenant_id: tenant.id, release, commit: None }.into());
    Ok(events)
}

pub(super) fn finish_step(
    world: &World,
    deployment_id: DeploymentId,
    step: StepKind,
    report: &StepReport,
    ctx: &Ctx,
) -> Vec<Event> {
    let Some((deployment, tenant)) = under_way(world, deployment_id) else { return Vec::new() };
    let running = deployment.step(step).is_some_and(|step| step.status == StepStatus::Running);
    let Some(details) = tenant.details.open().filter(|_| running && !deployment.cancelling) else {
        return Vec::new();
    };
    match report {
        StepReport::Failed { detail } => failed(deployment, step, detail),
        StepReport::Done { detail, commit } => {
            let mut events = Vec::new();
            if step == StepKind::CreateServices {
                match create_services(tenant, details, deployment.release, ctx) {
                    Ok(created) => events.extend(created),
                    Err(problem) => return failed(deployment, step, &problem),
                }
            }
            if step == StepKind::StartServices {
                events.extend(rollout::left_waiting(world, deployment, tenant));
                let (tenant_id, release) = (tenant.id, deployment.release);
                let commit = commit.clone();
                events.push(ReleaseActivated { deployment_id, tenant_id, release, commit }.into());
                let releases = to_prune(world, tenant, release, ctx.policy.deploying.keep_releases);
                if !releases.is_empty() {
                    events.push(ReleasesPruned { tenant_id, releases }.into());
                }
            }
            let commit = commit.clone().filter(|_| step == StepKind::CopyFiles);
            let detail = Sealed::new(deployment.tenant_id, detail.clone());
            let outcome = StepOutcome::Success;
            events.push(StepFinished { deployment_id, step, outcome, detail, commit }.into());
            events.extend(advance(deployment, step));
            events
        }
    }
}

fn finished(deployment: &Deployment, step: StepKind, outcome: StepOutcome, detail: &str) -> Event {
    let detail = Sealed::new(deployment.tenant_id, detail.to_owned());
    StepFinished { deployment_id: deployment.id, step, outcome, detail, commit: None }.into()
}

fn end(deployment: &Deployment, outcome: DeploymentOutcome) -> Event {
    DeploymentFinished { deployment_id: deployment.id, tenant_id: deployment.tenant_id, outcome }.into()
}

/// Only the last step changes what serves; a failure before it leaves nothing to take back.
fn failed(deployment: &Deployment, step: StepKind, detail: &str) -> Vec<Event> {
    let mut events = vec![finished(deployment, step, StepOutcome::Failed, detail)];
    if step != StepKind::StartServices {
        events.push(end(deployment, DeploymentOutcome::Failed));
    }
    events
}

/// Records the steps after `step` that are not to be done, and the end when none is left.
fn advance(deployment: &Deployment, step: StepKind) -> Vec<Event> {
    let mut events = Vec::new();
    for next in deployment.steps.iter().filter(|next| next.kind > step) {
        match &next.skip {
            Some(reason) => events.push(finished(deployment, next.kind, StepOutcome::Skipped, reason)),
            None => return events,
        }
    }
    events.push(end(deployment, DeploymentOutcome::Success));
    events
}

pub(super) fn rolled_back(world: &World, deployment_id: DeploymentId, detail: &str, ctx: &Ctx) -> Vec<Event> {
    let Some((deployment, tenant)) = under_way(world, deployment_id) else { return Vec::new() };
    let is_due = deployment.cancelling || deployment.failed().is_some();
    let Some(details) = tenant.details.open().filter(|_| is_due) else { return Vec::new() };
    let mut events = rollout::take_back(world, deployment, tenant, details, ctx);
    let step = StepKind::CreateServices;
    if deployment.step(step).is_some_and(|step| step.status == StepStatus::Success) {
        let detail = Sealed::new(deployment.tenant_id, detail.to_owned());
        events.push(StepRolledBack { deployment_id, step, detail }.into());
    }
    let outcome =
        if deployment.cancelling { DeploymentOutcome::Cancelled } else { DeploymentOutcome::Failed };
    events.push(end(deployment, outcome));
    events
}
