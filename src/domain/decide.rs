//! The one place where commands become events.

use tenantry_journal::event::Event;
use tenantry_journal::event::site::NginxReloaded;
use tenantry_journal::event::system::{KeeperConnected, KeeperLost, SystemStarted};
use tenantry_journal::id::{InstanceId, Seq, TenantId};
use tenantry_projections::world::World;

use super::command::Command;
use super::ctx::Ctx;
use super::rejection::{Reason, Rejection};
use super::{
    access, certificate, denied, deployment, erasure, instance, reconfigure, request, rest, restore, rollout,
    run, setting, successor, tenant, tenant_config, theme, undo, user,
};

/// Decides a command: the events that it causes, in their order. None means that there was
/// nothing to do.
///
/// # Errors
/// A [`Rejection`] when a rule forbids it; then nothing may be recorded.
pub fn decide(world: &World, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    match command {
        Command::CreateTenant(create) => tenant::create(world, create, ctx),
        Command::UpdateTenant { tenant_id, changes } => tenant::update(world, *tenant_id, changes, ctx),
        Command::RestoreTenant(wanted) => restore::decide(world, wanted, ctx),
        Command::Undo(wanted) => undo::decide(world, wanted, ctx),
        Command::DeleteTenant { tenant_id, remove } => tenant::delete(world, *tenant_id, *remove),
        Command::EraseTenant { tenant_id, remove } => erasure::request(world, *tenant_id, *remove),
        Command::TenantErased { tenant_id } => Ok(erasure::done(world, *tenant_id)),
        Command::TenantRemoved { tenant_id, removed } => Ok(tenant::removed(world, *tenant_id, *removed)),
        Command::StartTenant { tenant_id } => tenant::start(world, *tenant_id, ctx),
        Command::StopTenant { tenant_id } => tenant::stop(world, *tenant_id),
        Command::RestartTenant { tenant_id } => tenant::restart(world, *tenant_id),
        Command::BackedUp { tenant_id, backup } => tenant::backed_up(world, *tenant_id, backup),
        Command::TenantHealthObserved { tenant_id, overall, frontend, backend, database } => {
            Ok(tenant::health_observed(world, *tenant_id, *overall, frontend, backend, database))
        }

        Command::DeployTenant { tenant_id, switches } => request::deploy(world, *tenant_id, switches, ctx),
        Command::RollBackTenant { tenant_id, release } => request::rollback(world, *tenant_id, *release, ctx),
        Command::CancelDeployment { deployment_id } => request::cancel(world, *deployment_id),
        Command::RetryDeployment { deployment_id } => request::retry(world, *deployment_id),
        Command::BeginStep { deployment_id, step } => {
            Ok(deployment::begin_step(world, *deployment_id, *step))
        }
        Command::SwitchServices { deployment_id } => Ok(rollout::switch(world, *deployment_id, ctx)),
        Command::FinishStep { deployment_id, step, report } => {
            Ok(deployment::finish_step(world, *deployment_id, *step, report, ctx))
        }
        Command::RolledBack { deployment_id, detail } => {
            Ok(deployment::rolled_back(world, *deployment_id, detail, ctx))
        }

        Command::UpdateTheme { tenant_id, changes } => theme::update(world, *tenant_id, changes),
        Command::ApplySuggestion { tenant_id, suggestion_id } => {
            theme::apply_suggestion(world, *tenant_id, *suggestion_id)
        }
        Command::ThemeApplied { tenant_id, theme } => Ok(theme::applied(world, *tenant_id, *theme)),
        Command::RequestAnalysis { tenant_id, website, capture_screenshot } => {
            theme::request_analysis(world, *tenant_id, website, *capture_screenshot, ctx)
        }
        Command::BeginAnalysis { analysis_id } => Ok(theme::begin_analysis(world, *analysis_id)),
        Command::FinishAnalysis { analysis_id, report } => {
            Ok(theme::finish_analysis(world, *analysis_id, report, ctx))
        }

        Command::SpawnInstance { key, env, listening } => instance::spawn(world, key, env, listening, ctx),
        Command::RestartInstance { key } => instance::restart(world, key),
        Command::RemoveInstance { key } => instance::remove(world, key),
        Command::Reconfigure(wanted) => reconfigure::reconfigure(world, wanted),
        Command::ChangeWeight { key, weight } => instance::change_weight(world, key, *weight),
        Command::PutToSleep { instance_id, run_id } => Ok(rest::put_to_sleep(world, *instance_id, *run_id)),
        Command::Wake { instance_id } => Ok(rest::wake(world, *instance_id)),
        Command::StopEverything => Ok(instance::stop_everything(world)),

        Command::BeginRun { instance_id, listening } => {
            Ok(run::begin(world, *instance_id, listening.as_deref(), ctx))
        }
        Command::BeginSuccessor { instance_id, listening } => {
            Ok(successor::begin(world, *instance_id, listening, ctx))
        }
        Command::RunStarted { instance_id, run_id, pid, start_ticks } => {
            Ok(run::started(world, *instance_id, *run_id, *pid, *start_ticks))
        }
        Command::RunFailed { instance_id, run_id, reason } => {
            Ok(run::failed(world, *instance_id, *run_id, reason, ctx))
        }
        Command::HealthObserved { instance_id, run_id, health, detail } => {
            Ok(run::health_observed(world, *instance_id, *run_id, *health, detail, ctx))
        }
        Command::BeginStop { instance_id, run_id } => Ok(run::begin_stop(world, *instance_id, *run_id)),
        Command::RunExited { instance_id, run_id, status, at } => {
            Ok(run::exited(world, *instance_id, *run_id, *status, *at, ctx))
        }
        Command::RunAdopted { instance_id, run_id, pid, start_ticks } => {
            Ok(run::adopted(world, *instance_id, *run_id, *pid, *start_ticks))
        }
        Command::InstanceGone { instance_id } => Ok(run::gone(world, *instance_id)),

        Command::CreateUser { username, email, role, scope, password_hash } => {
            user::create(world, username, email, *role, scope, password_hash, ctx)
        }
        Command::ChangePassword { user_id, password_hash } => {
            user::change_password(world, *user_id, password_hash)
        }
        Command::UpdateUser { user_id, changes } => user::update(world, *user_id, changes),
        Command::DeleteUser { user_id } => user::delete(world, *user_id),
        Command::CreateToken { name, hash, role, scope, expires_at } => {
            access::create_token(name, *hash, *role, scope, *expires_at, ctx)
        }
        Command::RevokeToken { token_id } => access::revoke_token(world, *token_id),
        Command::ChangeSetting { key, value } => setting::change(world, key, value),
        Command::ClearSetting { key } => setting::clear(world, key),

        Command::UpdateConfig { tenant_id, changes } => {
            tenant_config::update(world, *tenant_id, changes, &ctx.policy)
        }
        Command::RegenerateEnv { tenant_id } => tenant_config::request_env(world, *tenant_id),
        Command::EnvWritten { tenant_id, answers, path, backup } => {
            Ok(tenant_config::env_written(world, *tenant_id, *answers, path, backup.as_deref()))
        }
        Command::EnvFailed { tenant_id, answers, reason } => {
            Ok(tenant_config::env_failed(world, *tenant_id, *answers, reason))
        }

        Command::NoteNginxReloaded => Ok(vec![NginxReloaded {}.into()]),
        Command::NoteSite { tenant_id, tls } => Ok(certificate::site_configured(world, *tenant_id, *tls)),
        Command::RequestCertificate { tenant_id, signer, asked } => {
            certificate::request(world, *tenant_id, *signer, *asked, ctx)
        }
        Command::CertificateObtained { tenant_id, certificate } => {
            Ok(certificate::obtained(world, *tenant_id, certificate))
        }
        Command::CertificateRefused { tenant_id, detail, barred_ms } => {
            Ok(certificate::refused(world, *tenant_id, detail, *barred_ms, ctx))
        }

        Command::NoteStarted { version, boot_id } => {
            Ok(vec![SystemStarted { version: version.clone(), boot_id: boot_id.clone() }.into()])
        }
        Command::NoteDenial(denial) => Ok(vec![denied::event(world, denial)]),
        Command::NoteKeeper { pid, start_ticks } => Ok(note_keeper(world, *pid, *start_ticks)),
        Command::NoteKeeperLost => {
            Ok(world.keeper.map(|keeper| KeeperLost { pid: keeper.pid }.into()).into_iter().collect())
        }
    }
}

fn note_keeper(world: &World, pid: u32, start_ticks: u64) -> Vec<Event> {
    let known = world.keeper.is_some_and(|keeper| keeper.pid == pid && keeper.start_ticks == start_ticks);
    if known { Vec::new() } else { vec![KeeperConnected { pid, start_ticks }.into()] }
}

/// The event that an observation answers: the one behind the state in which it was made. Whoever
/// observes does not know it, and the World does.
#[must_use]
pub fn observed_of(world: &World, command: &Command) -> Option<Seq> {
    let cause = |id: InstanceId| world.instances.get(id).map(|instance| instance.cause);
    match command {
        Command::HealthObserved { instance_id, .. }
        | Command::RunExited { instance_id, .. }
        | Command::RunAdopted { instance_id, .. } => cause(*instance_id),
        Command::TenantHealthObserved { tenant_id, .. } => {
            let tenant = world.tenants.get(*tenant_id)?;
            [tenant.frontend, tenant.backend].into_iter().flatten().filter_map(cause).max()
        }
        _ => None,
    }
}

/// Refuses a command whose caller has looked at an older state than the present one.
///
/// # Errors
/// [`Reason::Stale`] when what the command is about has changed since `expected`.
pub fn check_expected(world: &World, command: &Command, expected: Seq) -> Result<(), Rejection> {
    let tenant = |id: &TenantId| world.tenants.get(*id).map(|tenant| tenant.changed);
    let changed = match command {
        Command::UpdateTenant { tenant_id, .. }
        | Command::DeleteTenant { tenant_id, .. }
        | Command::EraseTenant { tenant_id, .. }
        | Command::DeployTenant { tenant_id, .. }
        | Command::RollBackTenant { tenant_id, .. }
        | Command::StartTenant { tenant_id }
        | Command::StopTenant { tenant_id }
        | Command::RestartTenant { tenant_id }
        | Command::RequestAnalysis { tenant_id, .. }
        | Command::BackedUp { tenant_id, .. } => tenant(tenant_id),
        Command::RestoreTenant(wanted) => tenant(&wanted.tenant_id),
        Command::UpdateTheme { tenant_id, .. } | Command::ApplySuggestion { tenant_id, .. } => {
            world.tenants.get(*tenant_id).map(|tenant| tenant.theme.changed)
        }
        Command::RestartInstance { key }
        | Command::RemoveInstance { key }
        | Command::ChangeWeight { key, .. } => world.instances.by_key(key).map(|instance| instance.changed),
        Command::CancelDeployment { deployment_id } | Command::RetryDeployment { deployment_id } => {
            world.deployments.get(*deployment_id).map(|deployment| deployment.cause)
        }
        Command::ChangeSetting { key, .. } | Command::ClearSetting { key } => {
            Some(world.settings.get(key).map_or(Seq::ZERO, |setting| setting.changed))
        }
        Command::ChangePassword { user_id, .. }
        | Command::UpdateUser { user_id, .. }
        | Command::DeleteUser { user_id } => world.access.user(*user_id).map(|user| user.changed),
        Command::UpdateConfig { tenant_id, .. } | Command::RegenerateEnv { tenant_id } => {
            world.configurations.get(*tenant_id).map(|one| one.changed)
        }
        _ => return check_version(world, None, expected),
    };
    match changed {
        Some(changed) => check_version(world, Some(changed), expected),
        // What is not there is refused as such.
        None => Ok(()),
    }
}

/// Refuses unless something is at a version still; `None` for what has no versions.
///
/// # Errors
/// [`Reason::Stale`] when it is not.
pub fn check_version(world: &World, version: Option<Seq>, expected: Seq) -> Result<(), Rejection> {
    let message = match version {
        Some(changed) if changed == expected => return Ok(()),
        // A tag that we never gave.
        Some(changed) if expected > world.seq => {
            format!("it was changed by event {changed}, and If-Match names no version of it")
        }
        Some(changed) => format!("it was changed by event {changed}, you last saw event {expected}"),
        None => {
            return Err(Rejection {
                reason: Reason::Stale,
                code: "no_version",
                message: "what this writes has no version that If-Match could name".into(),
                hint: "leave out If-Match".into(),
            });
        }
    };
    let hint = "read it again and repeat the change".into();
    Err(Rejection { reason: Reason::Stale, code: "changed_meanwhile", message, hint })
}

/// The tenant and the instance that an event is about, in a World just before it.
#[must_use]
pub fn subject(world: &World, event: &Event) -> (Option<TenantId>, Option<InstanceId>) {
    let tenant_of = |id: &InstanceId| {
        world.instances.get(*id).and_then(|instance| instance.tenant).map(|(tenant, _)| tenant)
    };
    let of_instance = |id: &InstanceId| (tenant_of(id), Some(*id));
    let of_deployment = |id| (world.deployments.get(id).map(|deployment| deployment.tenant_id), None);
    match event {
        Event::SystemStarted(_)
        | Event::KeeperConnected(_)
        | Event::KeeperLost(_)
        | Event::ConfigChanged(_)
        | Event::AccessDenied(_)
        | Event::LoginFailed(_)
        | Event::DenialsUnrecorded(_)
        | Event::SettingChanged(_)
        | Event::NginxReloaded(_)
        | Event::SettingCleared(_)
        | Event::UserCreated(_)
        | Event::UserPasswordChanged(_)
        | Event::UserUpdated(_)
        | Event::UserDeleted(_)
        | Event::TokenCreated(_)
        | Event::TokenRevoked(_) => (None, None),

        Event::TenantCreated(event) => (Some(event.tenant_id), None),
        Event::TenantUpdated(event) => (Some(event.tenant_id), None),
        Event::TenantRestored(event) => (Some(event.tenant_id), None),
        Event::TenantDeletionRequested(event) => (Some(event.tenant_id), None),
        Event::TenantDeleted(event) => (Some(event.tenant_id), None),
        Event::ErasureRequested(event) => (Some(event.tenant_id), None),
        Event::TenantErased(event) => (Some(event.tenant_id), None),
        Event::TenantConfigUpdated(event) => (Some(event.tenant_id), None),
        Event::TenantBackedUp(event) => (Some(event.tenant_id), None),
        Event::EnvRequested(event) => (Some(event.tenant_id), None),
        Event::EnvWritten(event) => (Some(event.tenant_id), None),
        Event::EnvFailed(event) => (Some(event.tenant_id), None),
        Event::ThemeUpdated(event) => (Some(event.tenant_id), None),
        Event::ThemeApplied(event) => (Some(event.tenant_id), None),
        Event::AnalysisRequested(event) => (Some(event.tenant_id), None),
        Event::AnalysisStarted(event) => (Some(event.tenant_id), None),
        Event::AnalysisCompleted(event) => (Some(event.tenant_id), None),
        Event::AnalysisFailed(event) => (Some(event.tenant_id), None),
        Event::HealthChanged(event) => (Some(event.tenant_id), None),
        Event::PortAllocated(event) => (Some(event.tenant_id), None),
        Event::PortReleased(event) => (Some(event.tenant_id), None),
        Event::SiteConfigured(event) => (Some(event.tenant_id), None),
        Event::CertificateRequested(event) => (Some(event.tenant_id), None),
        Event::CertificateIssued(event) => (Some(event.tenant_id), None),
        Event::CertificateFailed(event) => (Some(event.tenant_id), None),
        Event::DeploymentRequested(event) => (Some(event.tenant_id), None),
        Event::ReleaseActivated(event) => (Some(event.tenant_id), None),
        Event::DeploymentCancelRequested(event) => (Some(event.tenant_id), None),
        Event::DeploymentRetried(event) => (Some(event.tenant_id), None),
        Event::ReleasesPruned(event) => (Some(event.tenant_id), None),
        Event::DeploymentFinished(event) => (Some(event.tenant_id), None),

        Event::StepStarted(event) => of_deployment(event.deployment_id),
        Event::StepFinished(event) => of_deployment(event.deployment_id),
        Event::StepRolledBack(event) => of_deployment(event.deployment_id),

        Event::InstanceSpawned(event) => (event.tenant.map(|(tenant, _)| tenant), Some(event.instance_id)),
        Event::InstanceRespecified(event) => of_instance(&event.instance_id),
        Event::InstanceStartRequested(event) => of_instance(&event.instance_id),
        Event::InstanceStopRequested(event) => of_instance(&event.instance_id),
        Event::InstanceRestartRequested(event) => of_instance(&event.instance_id),
        Event::InstanceRemovalRequested(event) => of_instance(&event.instance_id),
        Event::InstanceStarting(event) => of_instance(&event.instance_id),
        Event::InstanceSuccessorStarting(event) => of_instance(&event.instance_id),
        Event::InstanceSuccessorPromoted(event) => of_instance(&event.instance_id),
        Event::InstanceReplacementCancelled(event) => of_instance(&event.instance_id),
        Event::InstanceStarted(event) => of_instance(&event.instance_id),
        Event::InstanceStartFailed(event) => of_instance(&event.instance_id),
        Event::InstanceHealthChanged(event) => of_instance(&event.instance_id),
        Event::InstanceStopping(event) => of_instance(&event.instance_id),
        Event::InstanceExited(event) => of_instance(&event.instance_id),
        Event::InstanceRestartScheduled(event) => of_instance(&event.instance_id),
        Event::InstanceEnded(event) => of_instance(&event.instance_id),
        Event::InstanceAdopted(event) => of_instance(&event.instance_id),
        Event::InstanceWeightChanged(event) => of_instance(&event.instance_id),
        Event::InstanceFellAsleep(event) => of_instance(&event.instance_id),
        Event::InstanceWoken(event) => of_instance(&event.instance_id),
        Event::InstanceRemoved(event) => of_instance(&event.instance_id),
    }
}
