//! Rules for what people ask of deployments: one at a time, a few that wait, back to an
//! earlier release, called off, tried again.

use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::{
    DeploymentCancelRequested, DeploymentFinished, DeploymentOutcome, DeploymentRequested, DeploymentRetried,
    PlannedStep, StepKind,
};
use tenantry_journal::id::{DeploymentId, TenantId};
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::{Deployment, DeploymentStatus, StepStatus};
use tenantry_projections::world::releases::ReleaseStatus;
use tenantry_projections::world::tenants::Tenant;

use super::command::DeploySwitches;
use super::ctx::Ctx;
use super::policy::Policy;
use super::rejection::Rejection;
use super::tenant::{details, existing};
use super::text;

/// Deployments of one tenant that may wait: more of them are a mistake of whoever queues.
pub const QUEUE: usize = 5;

fn under_way(deployment: &Deployment) -> Rejection {
    Rejection::conflict(
        "deployment_running",
        format!("deployment '{}' of this tenant is under way", deployment.id),
        "wait until it has ended, or queue with ?queue=true",
    )
}

/// Whether another deployment may begin or, when `queue` says so, wait.
fn check_free(world: &World, tenant: &Tenant, queue: bool) -> Result<(), Rejection> {
    let mut open = world.deployments.open(tenant.id);
    let Some(running) = open.next() else { return Ok(()) };
    if !queue {
        return Err(under_way(running));
    }
    if open.count() >= QUEUE {
        return Err(Rejection::conflict(
            "queue_full",
            format!("{QUEUE} deployments of this tenant wait already"),
            "wait until one of them has begun, or cancel one",
        ));
    }
    Ok(())
}

pub(super) fn deploy(
    world: &World,
    tenant_id: TenantId,
    switches: &DeploySwitches,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    let tenant = existing(world, tenant_id)?;
    check_free(world, tenant, switches.queue)?;
    if let Some(git_ref) = &switches.git_ref {
        text::git_ref(git_ref)?;
    }
    let source = details(tenant)?.github_repo.clone().ok_or_else(|| {
        Rejection::conflict(
            "no_source",
            format!("tenant '{tenant_id}' has no github_repo to deploy from"),
            "set github_repo first",
        )
    })?;
    let plan = |kind| PlannedStep { kind, skip: reason_to_skip(kind, switches, &ctx.policy) };
    Ok(vec![
        DeploymentRequested {
            deployment_id: ctx.ids.make(),
            tenant_id,
            release: tenant.releases + 1,
            source: Sealed::new(tenant_id, source),
            steps: StepKind::ALL.into_iter().map(plan).collect(),
            git_ref: switches.git_ref.clone().map(|git_ref| Sealed::new(tenant_id, git_ref)),
            rollback: false,
        }
        .into(),
    ])
}

fn reason_to_skip(kind: StepKind, switches: &DeploySwitches, policy: &Policy) -> Option<String> {
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

/// Brings an earlier release back: its files are there, its database is not touched.
pub(super) fn rollback(
    world: &World,
    tenant_id: TenantId,
    release: Option<u32>,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    let tenant = existing(world, tenant_id)?;
    check_free(world, tenant, false)?;
    let Some(current) = tenant.release else {
        return Err(Rejection::conflict(
            "not_deployed",
            format!("tenant '{tenant_id}' has no release in service"),
            "deploy the tenant first",
        ));
    };
    let list = "GET /api/tenants/{id}/releases shows those that there are";
    let release = match release {
        Some(number) => {
            let found = tenant.kept.get(number).ok_or_else(|| Rejection {
                hint: list.to_owned(),
                ..Rejection::not_found(
                    "release_not_found",
                    format!("tenant '{tenant_id}' has no release {number}"),
                )
            })?;
            if number == current {
                let message = format!("release {number} serves already");
                return Err(Rejection::conflict("release_serves", message, list));
            }
            if found.status == ReleaseStatus::Failed {
                let message = format!("release {number} never served: its deployment failed");
                return Err(Rejection::conflict("release_failed", message, list));
            }
            number
        }
        None => tenant.kept.before(current).map(|found| found.number).ok_or_else(|| {
            Rejection::conflict(
                "no_earlier_release",
                format!("no release before {current} is left"),
                "deploy instead",
            )
        })?,
    };
    Ok(vec![bring_back(tenant, release, true, Sites::AsTheyAre, ctx)?])
}

/// What becomes of a tenant's sites when an earlier release comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sites {
    /// They are left.
    AsTheyAre,
    /// They are made, for they are gone.
    Anew,
}

/// That a release whose files are there is put into service, or made ready to be.
pub(super) fn bring_back(
    tenant: &Tenant,
    release: u32,
    starts: bool,
    sites: Sites,
    ctx: &Ctx,
) -> Result<Event, Rejection> {
    let source = details(tenant)?.github_repo.clone().unwrap_or_default();
    let switches = DeploySwitches { skip_services: !starts, ..DeploySwitches::default() };
    let reason = |kind| match kind {
        StepKind::InitializeDatabase => Some("a rollback leaves the database as it is".to_owned()),
        StepKind::ConfigureNginx | StepKind::SetupSsl if sites == Sites::AsTheyAre => {
            Some("a rollback leaves the sites as they are".to_owned())
        }
        StepKind::CreateServices | StepKind::StartServices if !starts => {
            Some("the tenant was stopped then".to_owned())
        }
        other => reason_to_skip(other, &switches, &ctx.policy),
    };
    let steps = StepKind::ALL.into_iter().map(|kind| PlannedStep { kind, skip: reason(kind) }).collect();
    let tenant_id = tenant.id;
    Ok(DeploymentRequested {
        deployment_id: ctx.ids.make(),
        tenant_id,
        release,
        source: Sealed::new(tenant_id, source),
        steps,
        git_ref: None,
        rollback: true,
    }
    .into())
}

fn found(world: &World, id: DeploymentId) -> Result<&Deployment, Rejection> {
    let found = world.deployments.get(id).map(|deployment| &**deployment);
    found.ok_or_else(|| {
        Rejection::not_found("deployment_not_found", format!("deployment '{id}' does not exist"))
    })
}

/// Calls a deployment off. Once the switch has begun it is taken back first.
pub(super) fn cancel(world: &World, deployment_id: DeploymentId) -> Result<Vec<Event>, Rejection> {
    let deployment = found(world, deployment_id)?;
    if deployment.is_over() {
        return Err(Rejection::conflict(
            "deployment_over",
            format!("deployment '{deployment_id}' has ended already"),
            "",
        ));
    }
    if deployment.cancelling || deployment.failed().is_some() {
        return Ok(Vec::new());
    }
    let tenant_id = deployment.tenant_id;
    let mut events = vec![DeploymentCancelRequested { deployment_id, tenant_id }.into()];
    let is_switching =
        deployment.step(StepKind::StartServices).is_some_and(|step| step.status == StepStatus::Running);
    if !is_switching {
        let outcome = DeploymentOutcome::Cancelled;
        events.push(DeploymentFinished { deployment_id, tenant_id, outcome }.into());
    }
    Ok(events)
}

/// Takes a deployment up again at the step that did not succeed.
pub(super) fn retry(world: &World, deployment_id: DeploymentId) -> Result<Vec<Event>, Rejection> {
    let deployment = found(world, deployment_id)?;
    let tenant_id = deployment.tenant_id;
    let tenant = existing(world, tenant_id)?;
    check_free(world, tenant, false)?;
    if deployment.status == DeploymentStatus::Success {
        return Err(Rejection::conflict(
            "deployment_succeeded",
            format!("deployment '{deployment_id}' succeeded"),
            "deploy again instead",
        ));
    }
    if tenant.deployment != Some(deployment_id) {
        return Err(Rejection::conflict(
            "deployment_superseded",
            format!("a later deployment came after '{deployment_id}'"),
            "deploy again instead",
        ));
    }
    if deployment.rollback && tenant.kept.get(deployment.release).is_none() {
        return Err(Rejection::conflict(
            "release_not_found",
            format!("release {} is gone", deployment.release),
            "",
        ));
    }
    Ok(vec![DeploymentRetried { deployment_id, tenant_id }.into()])
}

/// The releases that are given up when `serving` does: all but the newest that served, those
/// in use, and what came after the one that serves.
pub(super) fn to_prune(world: &World, tenant: &Tenant, serving: u32, keep: u32) -> Vec<u32> {
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let in_use: Vec<u32> = world
        .deployments
        .open(tenant.id)
        .flat_map(|deployment| [Some(deployment.release), deployment.previous_release])
        .flatten()
        .collect();
    let served = |number: u32, status| status == ReleaseStatus::Healthy || number == serving;
    let newest: Vec<u32> = tenant
        .kept
        .iter()
        .rev()
        .filter(|release| served(release.number, release.status))
        .map(|release| release.number)
        .take(keep)
        .collect();
    let is_kept = |number: u32, status| {
        in_use.contains(&number)
            || newest.contains(&number)
            || (number > serving && !served(number, status))
            || number == serving
    };
    let all = tenant.kept.iter().filter(|release| !is_kept(release.number, release.status));
    all.map(|release| release.number).collect()
}
