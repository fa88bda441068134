//! Rules for deployments: a saga of six steps, one at a time, taken back when the switch fails.
//!
//! Nothing that serves is touched before the last step. When that fails, the release that
//! served before serves again.

use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::{
    DeploymentFinished, DeploymentOutcome, DeploymentRequested, PlannedStep, ReleaseActivated, StepFinished,
    StepKind, StepOutcome, StepRolledBack, StepStarted,
};
use tenantry_journal::event::instance::{
    InstanceRespecified, InstanceRestartRequested, InstanceSpawned, InstanceStartRequested,
    InstanceStopRequested, Listen, ProcessSpec, RestartReason, Role,
};
use tenantry_journal::event::tenant::TenantDetails;
use tenantry_journal::id::{DeploymentId, InstanceId, TenantId};
use tenantry_journal::name::InstanceKey;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::{Deployment, DeploymentStatus, StepStatus};
use tenantry_projections::world::instances::Desired;
use tenantry_projections::world::tenants::Tenant;

use super::command::{DeploySwitches, StepReport};
use super::ctx::Ctx;
use super::policy::{Placeholders, Policy, release_directory};
use super::rejection::Rejection;
use super::tenant::{details, existing};
use super::tenant_config;

const ROLES: [Role; 2] = [Role::Frontend, Role::Backend];

pub(super) fn request(
    world: &World,
    tenant_id: TenantId,
    switches: DeploySwitches,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    let tenant = existing(world, tenant_id)?;
    if let Some(running) = tenant.deployment.and_then(|id| world.deployments.get(id)).filter(|d| !d.is_over())
    {
        return Err(Rejection::conflict(
            "deployment_running",
            format!("deployment '{}' of this tenant is under way", running.id),
            "wait until it has ended",
        ));
    }
    let source = details(tenant)?.github_repo.clone().ok_or_else(|| {
        Rejection::conflict(
            "no_source",
            format!("tenant '{tenant_id}' has no github_repo to deploy from"),
            "set github_repo first",
        )
    })?;
    let steps = StepKind::ALL
        .into_iter()
        .map(|kind| PlannedStep { kind, skip: reason_to_skip(kind, switches, &ctx.policy) })
        .collect();
    Ok(vec![
        DeploymentRequested {
            deployment_id: ctx.ids.make(),
            tenant_id,
            release: tenant.releases + 1,
            source: Sealed::new(tenant_id, source),
            steps,
        }
        .into(),
    ])
}

fn reason_to_skip(kind: StepKind, switches: DeploySwitches, policy: &Policy) -> Option<String> {
    let asked = |field: &str| Some(format!("{field} was asked for"));
    match kind {
        StepKind::CopyFiles | StepKind::InitializeDatabase => None,
        StepKind::CreateServices | StepKind::StartServices => {
            if switches.skip_services {
                return asked("skip_services");
            }
            (policy.template.frontend.is_none() && policy.template.backend.is_none())
                .then(|| "[deploy.template] names neither a frontend nor a backend".to_owned())
        }
        StepKind::ConfigureNginx if switches.skip_nginx => asked("skip_nginx"),
        StepKind::ConfigureNginx => policy.edges.nginx_off.clone(),
        StepKind::SetupSsl if switches.skip_ssl => asked("skip_ssl"),
        // A certificate is proved by the site and belongs into it.
        StepKind::SetupSsl if switches.skip_nginx => asked("skip_nginx"),
        StepKind::SetupSsl => policy.edges.ssl_off.clone(),
    }
}

fn under_way(world: &World, id: DeploymentId) -> Option<(&Deployment, &Tenant)> {
    let deployment = world.deployments.get(id).filter(|deployment| !deployment.is_over())?;
    let tenant = world.tenants.get(deployment.tenant_id)?;
    Some((deployment, tenant))
}

pub(super) fn begin_step(world: &World, deployment_id: DeploymentId, step: StepKind) -> Vec<Event> {
    let next = under_way(world, deployment_id).filter(|(deployment, _)| deployment.failed().is_none());
    if next.and_then(|(deployment, _)| deployment.current()).is_some_and(|current| current.kind == step) {
        vec![StepStarted { deployment_id, step }.into()]
    } else {
        Vec::new()
    }
}

/// What a role of a tenant runs when a release serves; `None` when the template has no such role.
pub(super) fn spec(
    policy: &Policy,
    tenant: &Tenant,
    details: &TenantDetails,
    role: Role,
    release: u32,
) -> Option<ProcessSpec> {
    let template = match role {
        Role::Frontend => policy.template.frontend.as_ref(),
        Role::Backend => policy.template.backend.as_ref(),
    }?;
    let ports = tenant.ports?;
    let port = match role {
        Role::Frontend => ports.frontend,
        Role::Backend => ports.backend,
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
            placeholders.socket = placeholders.fill(socket);
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
        let Some(spec) = spec(&ctx.policy, tenant, details, role, release) else { continue };
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
    tenant: &Tenant,
    deployment: &Deployment,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    let details = details(tenant)?;
    let (deployment_id, release) = (deployment.id, deployment.release);
    let mut events = Vec::new();
    for role in ROLES {
        let Some(spec) = spec(&ctx.policy, tenant, details, role, release) else { continue };
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

/// Lets the tenant's instances run a release: the next run of each is the new one.
fn run_release(
    world: &World,
    tenant: &Tenant,
    details: &TenantDetails,
    release: u32,
    by: Option<DeploymentId>,
    ctx: &Ctx,
) -> Vec<Event> {
    let mut events = Vec::new();
    for role in ROLES {
        let Some(instance) = tenant.instance(role).and_then(|id| world.instances.get(id)) else { continue };
        let Some(spec) = spec(&ctx.policy, tenant, details, role, release) else { continue };
        let instance_id = instance.id;
        let spec = Sealed::new(tenant.id, spec);
        events.push(InstanceRespecified { instance_id, spec, deployment_id: by }.into());
        events.push(if instance.desired == Desired::Running {
            InstanceRestartRequested { instance_id, reason: RestartReason::Deployed }.into()
        } else {
            InstanceStartRequested { instance_id }.into()
        });
    }
    events
}

pub(super) fn switch(world: &World, deployment_id: DeploymentId, ctx: &Ctx) -> Vec<Event> {
    let Some((deployment, tenant)) = under_way(world, deployment_id) else { return Vec::new() };
    let running =
        deployment.step(StepKind::StartServices).is_some_and(|step| step.status == StepStatus::Running);
    let Some(details) = tenant.details.open().filter(|_| running) else { return Vec::new() };
    let switched = ROLES
        .into_iter()
        .filter_map(|role| tenant.instance(role))
        .filter_map(|id| world.instances.get(id))
        .any(|instance| instance.deployment == Some(deployment_id));
    if switched {
        return Vec::new();
    }
    run_release(world, tenant, details, deployment.release, Some(deployment_id), ctx)
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
    let Some(details) = tenant.details.open().filter(|_| running) else { return Vec::new() };
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
                events.push(
                    ReleaseActivated {
                        deployment_id,
                        tenant_id: tenant.id,
                        release: deployment.release,
                        commit: commit.clone(),
                    }
                    .into(),
                );
            }
            events.push(finished(deployment, step, StepOutcome::Success, detail));
            events.extend(advance(deployment, step));
            events
        }
    }
}

fn finished(deployment: &Deployment, step: StepKind, outcome: StepOutcome, detail: &str) -> Event {
    let detail = Sealed::new(deployment.tenant_id, detail.to_owned());
    StepFinished { deployment_id: deployment.id, step, outcome, detail }.into()
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
    let Some(details) = tenant.details.open().filter(|_| deployment.failed().is_some()) else {
        return Vec::new();
    };
    let mut events = Vec::new();
    match deployment.previous_release {
        Some(previous) => events.extend(run_release(world, tenant, details, previous, None, ctx)),
        None => {
            let ids = ROLES.into_iter().filter_map(|role| tenant.instance(role));
            events.extend(ids.map(|instance_id| InstanceStopRequested { instance_id }.into()));
        }
    }
    let step = StepKind::CreateServices;
    if deployment.step(step).is_some_and(|step| step.status == StepStatus::Success) {
        let detail = Sealed::new(deployment.tenant_id, detail.to_owned());
        events.push(StepRolledBack { deployment_id, step, detail }.into());
    }
    events.push(end(deployment, DeploymentOutcome::Failed));
    events
}
