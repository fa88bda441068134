//! Forgetting a tenant that is gone: everything of it that lies open is removed, then its key is
//! destroyed, and with it whatever is sealed under it, in every copy.
//!
//! What the key opens is needed to find what has to go, so the key goes last. Each step may be
//! done again: a crash between any two of them begins anew.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::keyring::Keyring;

use super::outside::{Outside, TaskError, blocking};
use super::site;
use crate::domain::command::Command;
use crate::drivers::blob::Blobs;
use crate::error::chain;
use crate::output::Output;

/// What forgets.
pub struct Eraser {
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// What processes printed, and the index over it.
    pub output: Arc<Output>,
    /// Uploaded files and screenshots.
    pub blobs: Arc<Blobs>,
    /// Drops whatever is kept in memory of what was opened before.
    pub caches: Box<dyn Fn() + Send + Sync>,
    /// Counts the tenants that were erased.
    pub erased: Counter,
}

pub(super) async fn erase(outside: &Outside, tenant_id: TenantId, cause: Seq) -> Result<(), TaskError> {
    let Some(eraser) = &outside.eraser else { return Ok(()) };
    let world = outside.handle.world();
    let details = world.tenants.gone(tenant_id).and_then(|gone| gone.details.open());
    // By now the certificates of its slug may be another tenant's.
    let slug = details.map(|details| &details.slug).filter(|slug| world.tenants.by_slug(slug).is_none());
    site::remove(outside, tenant_id, slug).await?;
    let (output, blobs, keyring) =
        (Arc::clone(&eraser.output), Arc::clone(&eraser.blobs), Arc::clone(&eraser.keyring));
    let done = blocking(move |_| {
        output.forget_tenant(tenant_id).map_err(|error| format!("cannot delete its output: {error}"))?;
        blobs.remove_all(tenant_id).map_err(|error| chain(&error))?;
        keyring.erase(tenant_id.into()).map_err(|error| chain(&error))
    });
    done.await.and_then(|done| done).map_err(TaskError::Stuck)?;
    (eraser.caches)();
    let outcome = outside.submit(Command::TenantErased { tenant_id }, cause).await?;
    // Whoever looked meanwhile saw a World that still held opened names.
    (eraser.caches)();
    if !outcome.events.is_empty() {
        eraser.erased.inc();
        tracing::info!(tenant.id = %tenant_id, event.seq = outcome.seq.0, "a tenant was erased, its key is destroyed");
    }
    Ok(())
}
