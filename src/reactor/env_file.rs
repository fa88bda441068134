//! Writes tenants' `.env` files: when somebody asks, and before a release is prepared.
//!
//! The file belongs to whoever the tenant's processes run as. When frontend and backend run as
//! different users it is the backend's; the other has the variables in its environment alone.

use std::path::PathBuf;

use tenantry_journal::event::tenant::TenantDetails;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_projections::world::tenants::Tenant;

use super::deployment::Job;
use super::home;
use super::outside::{Outside, TaskError, blocking};
use crate::domain::command::Command;
use crate::domain::policy::Policy;
use crate::domain::tenant_config::variables;
use crate::drivers::dotenv::{self, Manner, Same, Written};
use crate::error::chain;
use crate::keeper::account;
use tenantry_journal::sealed::Secret;

/// Where each of the two writers writes first; each has one task at a time.
const ASIDE_ASKED: &str = ".env.new";
const ASIDE_DEPLOYED: &str = ".env.new-release";

/// Writes the file that somebody asked for.
pub(super) async fn write(outside: &Outside, tenant_id: TenantId, cause: Seq) -> Result<(), TaskError> {
    let world = outside.handle.world();
    let Some(tenant) = world.tenants.get(tenant_id) else { return Ok(()) };
    let Some(details) = tenant.details.open() else { return Ok(()) };
    let command = match bring_about(outside, tenant, details, ASIDE_ASKED, Same::Write).await {
        Ok(written) => {
            tracing::info!(tenant.id = %tenant_id, "the .env file of a tenant was written");
            let backup = written.backup.map(|path| path.display().to_string());
            let path = written.path.display().to_string();
            Command::EnvWritten { tenant_id, answers: cause, path, backup }
        }
        Err(reason) => {
            tracing::warn!(tenant.id = %tenant_id, reason, "the .env file of a tenant was not written");
            Command::EnvFailed { tenant_id, answers: cause, reason }
        }
    };
    outside.submit(command, cause).await.map(drop)
}

/// Sees to it that the file says what holds, for a release that is about to be prepared.
pub(super) async fn for_release(outside: &Outside, job: &Job) -> Result<(), String> {
    let world = outside.handle.world();
    // What was configured since the step began counts as well.
    let tenant = world.tenants.get(job.tenant.id).unwrap_or(&job.tenant);
    let details = tenant.details.open().unwrap_or(&job.details);
    let written = bring_about(outside, tenant, details, ASIDE_DEPLOYED, Same::Leave).await?;
    if written.is_new {
        job.log.line("wrote .env");
    }
    Ok(())
}

async fn bring_about(
    outside: &Outside,
    tenant: &Tenant,
    details: &TenantDetails,
    aside: &'static str,
    same: Same,
) -> Result<Written, String> {
    home::own(outside, tenant, details).await?;
    let policy = outside.policy.load_full();
    let owner = owner(&policy)?;
    let text = dotenv::render(dotenv::pairs(&variables(&policy, tenant, details), Secret::reveal));
    let (files, directory) = (outside.files(), PathBuf::from(&details.directory));
    let manner = Manner { aside, owner, same, now: crate::clock::now() };
    let written = blocking(move |_| {
        let directory = files.ensure_directory(&directory).map_err(|error| chain(&error))?;
        dotenv::write(&directory, &text, manner).map_err(|error| chain(&error))
    });
    written.await?
}

/// Whom tenants' processes run as, when not as we.
fn owner(policy: &Policy) -> Result<Option<(u32, u32)>, String> {
    let template = &policy.template;
    for service in [&template.backend, &template.frontend].into_iter().flatten() {
        if let Some(account) = account::resolve(&service.limits)? {
            return Ok(Some((account.uid, account.gid)));
        }
    }
    Ok(None)
}
