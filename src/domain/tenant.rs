//! Rules for tenants: names are unique, ports are theirs alone, deletion waits for its removal.

use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::{DeploymentFinished, DeploymentOutcome};
use tenantry_journal::event::health::{HealthChanged, TenantHealth};
use tenantry_journal::event::instance::{
    InstanceRemovalRequested, InstanceRestartRequested, InstanceStartRequested, InstanceStopRequested,
    RestartReason,
};
use tenantry_journal::event::port::{PortAllocated, PortReleased};
use tenantry_journal::event::tenant::{
    Backup, Removal, TenantBackedUp, TenantCreated, TenantDeleted, TenantDeletionRequested, TenantDetails,
    TenantUpdated,
};
use tenantry_journal::id::{InstanceId, TenantId};
use tenantry_journal::name::Domain;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance};
use tenantry_projections::world::tenants::Tenant;

use super::command::{CreateTenant, TenantChanges};
use super::ctx::Ctx;
use super::rejection::Rejection;
use super::{deployment, ports, restore, tenant_config, text};

/// A tenant that is there and stays.
pub(super) fn existing(world: &World, id: TenantId) -> Result<&Tenant, Rejection> {
    let tenant = world
        .tenants
        .get(id)
        .ok_or_else(|| Rejection::not_found("tenant_not_found", format!("tenant '{id}' does not exist")))?;
    if tenant.deletion.is_some() {
        return Err(Rejection::conflict("tenant_deleting", format!("tenant '{id}' is being deleted"), ""));
    }
    Ok(tenant)
}

pub(super) fn details(tenant: &Tenant) -> Result<&TenantDetails, Rejection> {
    tenant.details.open().ok_or_else(|| {
        Rejection::conflict("tenant_erased", format!("the data of tenant '{}' was erased", tenant.id), "")
    })
}

fn check_domain_free(world: &World, domain: &Domain, but: Option<TenantId>) -> Result<(), Rejection> {
    match world.tenants.by_domain(domain) {
        Some(holder) if Some(holder) != but => Err(Rejection::conflict(
            "domain_taken",
            format!("domain '{domain}' belongs to another tenant"),
            "choose another domain",
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_details(world: &World, details: &TenantDetails, own: Option<TenantId>) -> Result<(), Rejection> {
    text::line("name", &details.name, text::NAME_CHARS)?;
    if let Some(notes) = &details.notes {
        text::lines("notes", notes, text::NOTES_CHARS)?;
    }
    if let Some(repository) = &details.github_repo {
        text::repository(repository)?;
    }
    check_reachable("domain", &details.domain)?;
    check_domain_free(world, &details.domain, own)?;
    if let Some(api_domain) = &details.api_domain {
        if *api_domain == details.domain {
            return Err(Rejection::invalid(
                "invalid_domain",
                format!("domain and api_domain must differ, both are '{api_domain}'"),
            ));
        }
        check_reachable("api_domain", api_domain)?;
        check_domain_free(world, api_domain, own)?;
    }
    Ok(())
}

/// Refuses an address and a single label. The type cannot: it also reads what was recorded
/// before, and a rule that becomes stricter must not make a journal unreadable.
fn check_reachable(field: &str, domain: &Domain) -> Result<(), Rejection> {
    // No top-level domain is all digits (RFC 3696, 2).
    let last = domain.as_str().rsplit_once('.').map_or("", |(_, last)| last);
    if last.bytes().any(|b| b.is_ascii_lowercase()) {
        return Ok(());
    }
    Err(Rejection::invalid(
        "invalid_domain",
        format!("{field} '{domain}' must be a name of two labels or more, such as app.example.com"),
    ))
}

pub(super) fn create(world: &World, create: &CreateTenant, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    let details = TenantDetails {
        name: create.name.clone(),
        slug: create.slug.clone(),
        domain: create.domain.clone(),
        api_domain: create.api_domain.clone(),
        github_repo: create.github_repo.clone(),
        notes: create.notes.clone(),
        directory: ctx.policy.tenant_directory(&create.slug).display().to_string(),
    };
    if world.tenants.by_slug(&create.slug).is_some() {
        return Err(Rejection::conflict(
            "slug_taken",
            format!("slug '{}' belongs to another tenant", create.slug),
            "choose another slug",
        ));
    }
    check_details(world, &details, None)?;
    let listening = &create.listening;
    let ports = ports::choose(world, &ctx.policy, listening, create.frontend_port, create.backend_port)?;
    let tenant_id: TenantId = ctx.ids.make();
    Ok(vec![
        TenantCreated { tenant_id, details: Sealed::new(tenant_id, details) }.into(),
        PortAllocated { tenant_id, ports }.into(),
    ])
}

pub(super) fn update(
    world: &World,
    id: TenantId,
    changes: &TenantChanges,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    let tenant = existing(world, id)?;
    let before = details(tenant)?;
    let mut after = before.clone();
    if let Some(name) = &changes.name {
        after.name.clone_from(name);
    }
    if let Some(domain) = &changes.domain {
        after.domain = domain.clone();
    }
    if let Some(api_domain) = &changes.api_domain {
        after.api_domain.clone_from(api_domain);
    }
    if let Some(repository) = &changes.github_repo {
        after.github_repo.clone_from(repository);
    }
    if let Some(notes) = &changes.notes {
        after.notes.clone_from(notes);
    }
    check_details(world, &after, Some(id))?;
    let changed = restore::changed(before, &after);
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let details = Sealed::new(id, after);
    let renamed = Tenant { details: details.clone(), ..tenant.clone() };
    let mut events = vec![TenantUpdated { tenant_id: id, changed, details }.into()];
    events.extend(tenant_config::respecified(world, tenant, &renamed, &ctx.policy));
    Ok(events)
}

pub(super) fn instances<'a>(world: &'a World, tenant: &'a Tenant) -> impl Iterator<Item = &'a Instance> {
    [tenant.frontend, tenant.backend]
        .into_iter()
        .flatten()
        .filter_map(|id| world.instances.get(id))
        .map(|instance| &**instance)
}

pub(super) fn delete(world: &World, id: TenantId, remove: Removal) -> Result<Vec<Event>, Rejection> {
    let tenant = existing(world, id)?;
    let mut events = Vec::new();
    for deployment in world.deployments.open(id) {
        let outcome = DeploymentOutcome::Cancelled;
        events.push(DeploymentFinished { deployment_id: deployment.id, tenant_id: id, outcome }.into());
    }
    events.push(TenantDeletionRequested { tenant_id: id, remove }.into());
    events.extend(instances(world, tenant).map(|i| InstanceRemovalRequested { instance_id: i.id }.into()));
    Ok(events)
}

pub(super) fn removed(world: &World, id: TenantId, removed: Removal) -> Vec<Event> {
    let Some(tenant) = world.tenants.get(id).filter(|tenant| tenant.deletion.is_some()) else {
        return Vec::new();
    };
    if instances(world, tenant).next().is_some() {
        return Vec::new();
    }
    let mut events = Vec::new();
    if let Some(ports) = tenant.ports {
        events.push(PortReleased { tenant_id: id, ports }.into());
    }
    events.push(TenantDeleted { tenant_id: id, removed }.into());
    events
}

/// A tenant that is not being deployed.
fn settled(world: &World, id: TenantId) -> Result<&Tenant, Rejection> {
    let tenant = existing(world, id)?;
    if world.deployments.under_way(id).is_some() {
        return Err(Rejection::conflict(
            "deployment_running",
            format!("tenant '{id}' is being deployed"),
            "wait until the deployment has ended",
        ));
    }
    Ok(tenant)
}

/// The instances of a tenant that was deployed and is not being deployed.
fn startable(world: &World, id: TenantId) -> Result<Vec<&Instance>, Rejection> {
    let tenant = settled(world, id)?;
    let found: Vec<&Instance> = instances(world, tenant).collect();
    if tenant.release.is_some() && !found.is_empty() {
        return Ok(found);
    }
    let (what, hint) = match deployment::waiting(world, tenant) {
        Some(_) => ("was deployed without its services and never started", "start the tenant first"),
        None => ("has no release in service", "deploy the tenant first"),
    };
    Err(Rejection::conflict("not_deployed", format!("tenant '{id}' {what}"), hint))
}

fn start_events(instance_id: InstanceId) -> Event {
    InstanceStartRequested { instance_id }.into()
}

/// Starts what does not run: the release that was deployed last. One that was deployed with
/// `skip_services` is put into service by this, unless the one before it runs.
pub(super) fn start(world: &World, id: TenantId, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    let tenant = settled(world, id)?;
    let runs = instances(world, tenant).any(super::instance::is_up);
    if let Some(waiting) = deployment::waiting(world, tenant).filter(|_| !runs) {
        return deployment::put_into_service(world, tenant, waiting, ctx);
    }
    Ok(startable(world, id)?
        .into_iter()
        .filter(|i| !super::instance::is_up(i))
        .map(|i| start_events(i.id))
        .collect())
}

pub(super) fn stop(world: &World, id: TenantId) -> Result<Vec<Event>, Rejection> {
    let running = startable(world, id)?.into_iter().filter(|i| i.desired == Desired::Running);
    Ok(running.map(|i| InstanceStopRequested { instance_id: i.id }.into()).collect())
}

pub(super) fn restart(world: &World, id: TenantId) -> Result<Vec<Event>, Rejection> {
    let reason = RestartReason::Requested;
    let all = startable(world, id)?.into_iter();
    let (release, deployment_id) = (None, None);
    Ok(all
        .map(|i| InstanceRestartRequested { instance_id: i.id, reason, release, deployment_id }.into())
        .collect())
}

/// Notes a backup; nothing comes of it.
pub(super) fn backed_up(
    world: &World,
    tenant_id: TenantId,
    backup: &Backup,
) -> Result<Vec<Event>, Rejection> {
    existing(world, tenant_id)?;
    Ok(vec![TenantBackedUp { tenant_id, backup: Sealed::new(tenant_id, backup.clone()) }.into()])
}

pub(super) fn health_observed(
    world: &World,
    id: TenantId,
    overall: TenantHealth,
    frontend: &str,
    backend: &str,
    database: &str,
) -> Vec<Event> {
    let Some(tenant) = world.tenants.get(id) else { return Vec::new() };
    let same = tenant.health.as_ref().is_some_and(|health| {
        health.overall == overall
            && health.frontend == frontend
            && health.backend == backend
            && health.database == database
    });
    if same {
        return Vec::new();
    }
    let changed = HealthChanged {
        tenant_id: id,
        overall,
        frontend: frontend.to_owned(),
        backend: backend.to_owned(),
        database: database.to_owned(),
    };
    vec![changed.into()]
}
