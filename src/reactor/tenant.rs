//! Removal of what a tenant has outside, once its processes are gone.

use std::sync::{Arc, PoisonError};

use tenantry_journal::event::tenant::Removal;
use tenantry_journal::id::{DeploymentId, Seq, TenantId};
use tenantry_projections::world::tenants::Tenant;

use super::outside::{Outside, TaskError, blocking};
use super::{home, site};
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
        remove_files(outside, Some(Arc::clone(tenant)), deployments).await?;
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
    tenant: Option<Arc<Tenant>>,
    deployments: Vec<DeploymentId>,
) -> Result<(), TaskError> {
    let (files, logs) = (outside.files(), outside.logs.clone());
    let (handle, turn) = (outside.handle.clone(), Arc::clone(&outside.moving));
    let done = blocking(move |_| {
        if let Some((tenant, details)) =
            tenant.as_ref().and_then(|tenant| Some((tenant, tenant.details.open()?)))
        {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            home::remove(&files, &handle.world(), tenant, details.directory.as_ref())
                .map_err(|error| chain(&error))?;
        }
        for id in deployments {
            logs.remove(id).map_err(|error| format!("cannot remove the log of deployment {id}: {error}"))?;
        }
        Ok::<(), String>(())
    });
    done.await.and_then(|done| done).map_err(TaskError::Stuck)
}
