//! A theme in its tenant's directory: `assets/logos/*`, `assets/theme.css`, `assets/theme.json`.
//!
//! `theme.json` is replaced last, and its `revision` grows with each change: an application that
//! reads it again, or watches it, finds the rest in place.

use std::path::PathBuf;
use std::sync::Arc;

use tenantry_journal::event::theme::LogoFormat;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_projections::world::themes::Theme;

use super::home;
use super::outside::{Outside, TaskError, blocking};
use crate::domain::command::Command;
use crate::domain::theme::LOGO_FIELDS;
use crate::domain::theme::look::{Look, logo_file};
use crate::drivers::assets;
use crate::drivers::blob::{BlobError, Blobs};
use crate::drivers::files::Files;
use crate::error::chain;

pub(super) async fn apply(outside: &Outside, tenant_id: TenantId, cause: Seq) -> Result<(), TaskError> {
    let Some(themes) = &outside.themes else { return Ok(()) };
    let world = outside.handle.world();
    let Some(tenant) = world.tenants.get(tenant_id) else { return Ok(()) };
    let theme = tenant.theme.clone();
    let revision = theme.changed;
    // Of whom everything was erased nothing is left to dress.
    if let Some(details) = tenant.details.open() {
        home::own(outside, tenant, details).await.map_err(TaskError::Stuck)?;
        let (files, blobs) = (outside.files(), Arc::clone(&themes.blobs));
        let directory = PathBuf::from(&details.directory);
        let written = blocking(move |_| write(&files, &blobs, tenant_id, directory, &theme)).await;
        written.and_then(|written| written).map_err(TaskError::Stuck)?;
    }
    outside.submit(Command::ThemeApplied { tenant_id, theme: revision }, cause).await?;
    tracing::info!(tenant.id = %tenant_id, theme.revision = revision.0, "a theme was applied");
    Ok(())
}

fn write(
    files: &Files,
    blobs: &Blobs,
    tenant_id: TenantId,
    directory: PathBuf,
    theme: &Theme,
) -> Result<(), String> {
    let tenant = files.ensure_directory(&directory).map_err(|error| chain(&error))?;
    let (assets, logos) = assets::directories(&tenant).map_err(|error| chain(&error))?;
    for field in LOGO_FIELDS {
        let set = theme.logos.get(field);
        if let Some(logo) = set {
            let name = logo_file(field, logo.format.extension());
            match blobs.read(tenant_id, &logo.digest) {
                Ok(bytes) => assets::put(&logos, &name, &bytes).map_err(|error| chain(&error))?,
                Err(error) if is_lost(&error) => {
                    // The rest of the theme does not wait for what will not come back.
                    tracing::error!(tenant.id = %tenant_id, error = chain(&error), "a logo is lost");
                }
                Err(error) => return Err(chain(&error)),
            }
        }
        for format in
            LogoFormat::ALL.into_iter().filter(|format| set.is_none_or(|logo| logo.format != *format))
        {
            assets::remove(&logos, &logo_file(field, format.extension())).map_err(|error| chain(&error))?;
        }
    }
    let look = Look::of(theme);
    let (css, json) = (look.css(), look.json(theme.changed.0));
    [("theme.css", css), ("theme.json", json)]
        .into_iter()
        .try_for_each(|(name, text)| assets::put(&assets, name, text.as_bytes()))
        .and_then(|()| tenant.sync())
        .map_err(|error| chain(&error))
}

/// Whether a file will not be there the next time either.
fn is_lost(error: &BlobError) -> bool {
    match error {
        BlobError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        BlobError::NoKey(_) | BlobError::Damaged(_) | BlobError::BadName => true,
    }
}
