//! What takes back a command about a tenant.

use tenantry_journal::event::Event;
use tenantry_journal::event::tenant::{Part, Removal, TenantConfig, TenantUpdated};
use tenantry_journal::event::theme::ThemeUpdated;
use tenantry_journal::id::{DeploymentId, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::DeploymentStatus;
use tenantry_projections::world::tenants::Tenant;

use super::{Undo, changed_since, never};
use crate::domain::command::TenantChanges;
use crate::domain::ctx::Ctx;
use crate::domain::rejection::Rejection;
use crate::domain::restore::{self, OnConflict, Restore, Then};
use crate::domain::tenant::{self, details, existing};
use crate::domain::{request, tenant_config};

const EVERYTHING: Removal = Removal { files: true, nginx: true, services: true };

pub(super) fn decide(
    world: &World,
    undo: &Undo,
    lead: &Recorded,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    let before = &*undo.before.0;
    match &lead.event {
        Event::TenantCreated(event) => created(world, event.tenant_id),
        Event::TenantUpdated(event) => updated(world, before, event, ctx),
        Event::TenantConfigUpdated(event) => {
            let tenant = existing(world, event.tenant_id)?;
            let set = event.config.open().cloned().unwrap_or_default();
            let after = configured(tenant, before.tenants.get(event.tenant_id), &set, &event.changed)?;
            Ok(tenant_config::changed(world, tenant, after, &ctx.policy))
        }
        Event::TenantDeletionRequested(event) => back(world, undo, event.tenant_id, ctx),
        Event::TenantDeleted(event) => back(world, undo, event.tenant_id, ctx),
        Event::TenantRestored(event) if event.revived.is_some() => Err(never(
            "the tenant had been deleted before it was restored",
            "delete the tenant to have it as it was before",
        )),
        Event::TenantRestored(event) => back(world, undo, event.tenant_id, ctx),
        Event::ThemeUpdated(event) => dressed(world, before, event),
        Event::DeploymentRequested(event) => deployed(world, event.deployment_id, event.release, ctx),
        Event::DeploymentCancelRequested(event) => request::retry(world, event.deployment_id),
        other => Err(never(format!("{} has no undo", other.kind()), "")),
    }
}

fn created(world: &World, id: TenantId) -> Result<Vec<Event>, Rejection> {
    if existing(world, id)?.releases > 0 {
        return Err(never(
            "the tenant was deployed since it was created, so deleting it would destroy more than that",
            "delete the tenant if that is meant",
        ));
    }
    tenant::delete(world, id, EVERYTHING)
}

fn updated(world: &World, before: &World, event: &TenantUpdated, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    let now = details(existing(world, event.tenant_id)?)?;
    let was = before.tenants.get(event.tenant_id).and_then(|tenant| tenant.details.open());
    let (Some(was), Some(set)) = (was, event.details.open()) else {
        return Err(never("what the tenant was before is not known", ""));
    };
    let has = |field: &str| event.changed.iter().any(|changed| changed == field);
    let differs = restore::changed(now, set);
    if let Some(field) = differs.iter().find(|field| has(field)) {
        return Err(changed_since(field));
    }
    let changes = TenantChanges {
        name: has("name").then(|| was.name.clone()),
        domain: has("domain").then(|| was.domain.clone()),
        api_domain: has("api_domain").then(|| was.api_domain.clone()),
        github_repo: has("github_repo").then(|| was.github_repo.clone()),
        notes: has("notes").then(|| was.notes.clone()),
    };
    tenant::update(world, event.tenant_id, &changes, ctx)
}

/// The present configuration with the changed fields as they were before.
fn configured(
    tenant: &Tenant,
    before: Option<&std::sync::Arc<Tenant>>,
    set: &TenantConfig,
    changed: &[String],
) -> Result<TenantConfig, Rejection> {
    let of = |tenant: &Tenant| tenant.config.as_ref().and_then(Sealed::open).cloned().unwrap_or_default();
    let was = before.map(|tenant| of(tenant)).unwrap_or_default();
    let now = of(tenant);
    let mut after = now.clone();
    for field in changed {
        match field.as_str() {
            "custom_env" if now.custom_env != set.custom_env => return Err(changed_since("custom_env")),
            "custom_env" => after.custom_env.clone_from(&was.custom_env),
            "secret_env" => {}
            field if now.fields.get(field) != set.fields.get(field) => return Err(changed_since(field)),
            field => match was.fields.get(field) {
                Some(value) => drop(after.fields.insert(field.to_owned(), value.clone())),
                None => drop(after.fields.remove(field)),
            },
        }
    }
    // What was hidden of a value stays hidden, whoever takes what back.
    after.secret_env.extend(was.secret_env);
    after.secret_env.retain(|name| after.custom_env.contains_key(name));
    Ok(after)
}

/// Restores the whole tenant to what it was before the command.
fn back(world: &World, undo: &Undo, id: TenantId, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    let then =
        Then::of(&undo.before.0, id).ok_or_else(|| never("what the tenant was before is not known", ""))?;
    let restore = Restore {
        tenant_id: id,
        then,
        include: Part::ALL.into(),
        on_conflict: OnConflict::Fail,
        listening: undo.listening.clone(),
        left: undo.left.clone(),
        lost_logos: undo.lost_logos.clone(),
    };
    restore::decide(world, &restore, ctx)
}

fn dressed(world: &World, before: &World, event: &ThemeUpdated) -> Result<Vec<Event>, Rejection> {
    let now = &existing(world, event.tenant_id)?.theme;
    let was = before.tenants.get(event.tenant_id).map(|tenant| tenant.theme.clone()).unwrap_or_default();
    let digest = |field: &String| now.logos.get(field).map(|logo| &logo.digest);
    let changed = event.colors.iter().find(|(field, color)| now.colors.get(*field) != Some(*color));
    let changed = changed.or_else(|| event.logos.iter().find(|(field, set)| digest(field) != Some(*set)));
    let returned = |field: &&String| now.colors.contains_key(*field) || now.logos.contains_key(*field);
    if let Some(field) = changed.map(|(field, _)| field).or_else(|| event.cleared.iter().find(returned)) {
        return Err(changed_since(field));
    }
    let mut after = now.clone();
    for field in event.colors.keys().chain(event.logos.keys()).chain(&event.cleared) {
        after.colors.remove(field);
        after.logos.remove(field);
        after.colors.extend(was.colors.get(field).map(|color| (field.clone(), color.clone())));
        after.logos.extend(was.logos.get(field).map(|logo| (field.clone(), logo.clone())));
    }
    if after.colors == was.colors {
        after.origin = was.origin;
    }
    Ok(restore::theme_change(event.tenant_id, now, &after).into_iter().collect())
}

fn deployed(world: &World, id: DeploymentId, release: u32, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    let Some(deployment) = world.deployments.get(id) else {
        return Err(never("the deployment is too long ago", "roll back to a release instead"));
    };
    let tenant = existing(world, deployment.tenant_id)?;
    match deployment.status {
        DeploymentStatus::Pending | DeploymentStatus::Running => request::cancel(world, id),
        DeploymentStatus::Failed | DeploymentStatus::Cancelled => {
            Err(never("the deployment did not come to serve, there is nothing to take back", ""))
        }
        DeploymentStatus::Success if tenant.release != Some(release) => {
            Err(changed_since("the release that serves"))
        }
        DeploymentStatus::Success => match deployment.previous_release {
            Some(previous) => request::rollback(world, tenant.id, Some(previous), ctx),
            None => Err(never("nothing served before this deployment", "stop the tenant instead")),
        },
    }
}
