//! Removal of what a tenant has outside, once its processes are gone.

use std::path::PathBuf;

use tenantry_journal::event::tenant::Removal;
use tenantry_journal::id::{DeploymentId, Seq, TenantId};

use super::outside::{Outside, TaskError, blocking};
use super::site;
use crate::domain::command::Command;
use crate::error::chain;

pub(super) async fn remove(outside: &Outside, tenant_id: TenantId, cause: Seq) -> Result<(), TaskError> {
    let world = outside.handle.world();
    let Some(tenant) = world.tenants.get(tenant_id) else { return Ok(()) };
    let Some(wanted) = tenant.deletion else { return Ok(()) };
    let mut removed = Removal { files: false, nginx: false, services: wanted.services };
    if wanted.nginx {
        let slug = tenant.details.open().map(|details| details.slug.clone());
        removed.nginx = site::remove(outside, tenant_id, slug.as_ref()).await?;
    }
    let deployments: Vec<DeploymentId> = world.deployments.of(tenant_id).map(|one| one.id).collect();
    if wanted.files {
        let directory = tenant.details.open().map(|details| PathBuf::from(&details.directory));
        remove_files(outside, directory, deployments).await?;
        removed.files = true;
    } else if world.erasures.get(tenant_id).is_some() {
        // Once it is gone nobody knows which were its own.
        remove_files(outside, None, deployments).await?;
    }
    outside.submit(Command::TenantRemoved { tenant_id, removed }, cause).await?;
    outside.supervisor.forget_tenant(tenant_id);
    Ok(())
}

async fn remove_files(
    outside: &Outside,
    directory: Option<PathBuf>,
    deployments: Vec<DeploymentId>,
) -> Result<(), TaskError> {
    let (files, logs) = (outside.files(), outside.logs.clone());
    let done = blocking(move |_| {
        if let Some(directory) = directory {
            files.remove_tenant_directory(&directory).map_err(|error| chain(&error))?;
        }
        for id in deployments {
            logs.remove(id).map_err(|error| format!("cannot remove the log of deployment {id}: {error}"))?;
        }
        Ok::<(), String>(())
    });
    done.await.and_then(|done| done).map_err(TaskError::Stuck)
}
