//! The steps between a tenant and the world: its sites, its certificate; and their removal.

use std::sync::Arc;

use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::name::Slug;

use super::deployment::{Done, Job, Worked};
use super::outside::{Outside, TaskError};
use crate::domain::certificate::Asked;
use crate::sites::Sites;

fn sites(outside: &Outside) -> Result<&Arc<Sites>, String> {
    outside.sites.as_ref().ok_or_else(|| "this program has no driver for nginx".to_owned())
}

pub(super) async fn configure(outside: &Outside, job: &Job) -> Worked {
    let (made, ensured) = sites(outside)?.configure(job.tenant.id).await?;
    let names: Vec<&str> = made.iter().map(|site| site.domain.as_str()).collect();
    let changed = match ensured.changed {
        0 => "as they were".to_owned(),
        1 => "1 file changed".to_owned(),
        files => format!("{files} files changed"),
    };
    Ok(Done::without_commit(format!("nginx serves {}, {changed}", names.join(" and "))))
}

pub(super) async fn secure(outside: &Outside, job: &Job, cause: Seq) -> Worked {
    let secured = sites(outside)?.secure(job.tenant.id, Asked::ByAPerson, Some(cause)).await?;
    Ok(Done::without_commit(secured))
}

/// Removes a tenant's sites and certificates; says whether there were sites.
pub(super) async fn remove(
    outside: &Outside,
    tenant: TenantId,
    slug: Option<&Slug>,
) -> Result<bool, TaskError> {
    match &outside.sites {
        Some(sites) => sites.remove(tenant, slug).await.map_err(TaskError::Stuck),
        None => Ok(false),
    }
}
