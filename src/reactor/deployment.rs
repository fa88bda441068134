//! A deployment's steps: recorded before they are begun, done, and recorded as ended.
//!
//! A step that is no longer the deployment's present one (called off, ended, deleted with its
//! tenant) is broken off, and whatever it ran is killed.

use std::path::PathBuf;
use std::sync::Arc;

use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::tenant::TenantDetails;
use tenantry_journal::id::{DeploymentId, Seq};
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::Deployment;
use tenantry_projections::world::tenants::Tenant;

use super::outside::{Outside, TaskError};
use super::{services, site, steps, switch};
use crate::domain::command::{Command, StepReport};
use crate::drivers::deploy_log::DeployLog;

/// Everything that a step needs to know.
pub(super) struct Job {
    pub(super) deployment: Arc<Deployment>,
    pub(super) tenant: Arc<Tenant>,
    pub(super) details: TenantDetails,
    pub(super) directory: PathBuf,
    pub(super) log: DeployLog,
}

/// How a step's work ended: a sentence for what was done and the commit, or for why not.
pub(super) type Worked = Result<Done, String>;

/// A step's work that was done.
pub(super) struct Done {
    pub(super) detail: String,
    pub(super) commit: Option<String>,
}

impl Done {
    pub(super) fn without_commit(detail: impl Into<String>) -> Done {
        Done { detail: detail.into(), commit: None }
    }
}

/// Whether a step is still to be done.
fn is_current(world: &World, id: DeploymentId, step: StepKind) -> bool {
    world.deployments.get(id).is_some_and(|deployment| {
        !deployment.is_over()
            && !deployment.cancelling
            && deployment.failed().is_none()
            && deployment.current().is_some_and(|current| current.kind == step)
    })
}

pub(super) async fn run_step(
    outside: &Outside,
    deployment_id: DeploymentId,
    step: StepKind,
    cause: Seq,
) -> Result<(), TaskError> {
    let begun = outside.submit(Command::BeginStep { deployment_id, step }, cause).await?;
    if !is_current(&begun.world, deployment_id, step) {
        return Ok(());
    }
    let worked = tokio::select! {
        biased;
        () = outside.until(|world| !is_current(world, deployment_id, step)) => return Ok(()),
        worked = work(outside, &begun.world, deployment_id, step, begun.seq) => worked?,
    };
    let report = match worked {
        Ok(Done { detail, commit }) => StepReport::Done { detail, commit },
        Err(detail) => StepReport::Failed { detail },
    };
    let succeeded = matches!(report, StepReport::Done { .. });
    let ended = outside.submit(Command::FinishStep { deployment_id, step, report }, begun.seq).await?;
    if succeeded && step == StepKind::StartServices {
        switch::prune(outside, &ended.world, deployment_id).await;
    }
    Ok(())
}

async fn work(
    outside: &Outside,
    world: &World,
    id: DeploymentId,
    step: StepKind,
    cause: Seq,
) -> Result<Worked, TaskError> {
    let job = match job(outside, world, id) {
        Ok(job) => job,
        Err(why) => return Ok(Err(why)),
    };
    job.log.line(&format!("==> {}", step.name()));
    let worked = match step {
        StepKind::CopyFiles => steps::copy_files(outside, &job).await,
        StepKind::InitializeDatabase => steps::initialize_database(outside, &job).await,
        StepKind::CreateServices => services::create(outside, world, &job).await,
        StepKind::StartServices => switch::start_services(outside, &job, cause).await?,
        StepKind::ConfigureNginx => site::configure(outside, &job).await,
        StepKind::SetupSsl => site::secure(outside, &job, cause).await,
    };
    match &worked {
        Ok(done) => job.log.line(&done.detail),
        Err(why) => job.log.line(&format!("failed: {why}")),
    }
    Ok(worked)
}

fn job(outside: &Outside, world: &World, id: DeploymentId) -> Result<Job, String> {
    let deployment = world.deployments.get(id).ok_or("the deployment is gone")?;
    let tenant = world.tenants.get(deployment.tenant_id).ok_or("the tenant is gone")?;
    let details = tenant.details.open().ok_or("the tenant's details were erased")?.clone();
    let key = outside.supervisor.spool_key(tenant.details.key());
    let log = outside.logs.open(id, key).map_err(|error| crate::error::chain(&error))?;
    let directory = PathBuf::from(&details.directory);
    Ok(Job { deployment: Arc::clone(deployment), tenant: Arc::clone(tenant), details, directory, log })
}

pub(super) async fn roll_back(
    outside: &Outside,
    deployment_id: DeploymentId,
    cause: Seq,
) -> Result<(), TaskError> {
    let world = outside.handle.world();
    let detail = match job(outside, &world, deployment_id) {
        Ok(job) => {
            let detail = switch::take_back(outside, &job).await;
            steps::drop_claim(outside, deployment_id);
            job.log.line("==> Rolling back");
            job.log.line(&detail);
            detail
        }
        Err(why) => format!("nothing could be taken back: {why}"),
    };
    outside.submit(Command::RolledBack { deployment_id, detail }, cause).await.map(drop)
}
