//! Rules for tenants' configurations: what may be set, what follows from the tenant, and the
//! variables that its processes and its `.env` file get.
//!
//! A field that is not set follows from the tenant, so it changes with the tenant's name,
//! domain and ports. A secret is never shown; sent back as it was shown, it is kept.

mod custom_env;
mod fields;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tenantry_journal::event::Event;
use tenantry_journal::event::configuration::{EnvFailed, EnvRequested, EnvWritten};
use tenantry_journal::event::instance::{InstanceRespecified, Listen, ProcessSpec, Role};
use tenantry_journal::event::tenant::{TenantConfig, TenantConfigUpdated, TenantDetails};
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance};
use tenantry_projections::world::tenants::Tenant;
use uuid::Uuid;

use super::policy::{Placeholders, Policy, release_directory};
use super::rejection::Rejection;
use super::tenant::{details, existing};

pub use custom_env::{EnvChanges, MOST_BYTES, MOST_VARIABLES, Shown, shown};
pub use fields::{FIELDS, Field, effective};

/// Changes of a configuration; a field that is not there stays as it is, `None` clears one.
#[derive(Clone, Debug, Default)]
pub struct ConfigChanges {
    /// By the fields' names, which are those of [`FIELDS`].
    pub fields: BTreeMap<&'static str, Option<String>>,
    /// Further variables.
    pub env: EnvChanges,
}

/// What names a tenant's configuration: it begins with the tenant, so its id is as old.
#[must_use]
pub fn id(tenant: TenantId) -> Uuid {
    let bytes = tenant.0.as_bytes();
    let hash = blake3::derive_key("tenantry 2026-11 id of a tenant's configuration", bytes);
    let mut random = [0; 10];
    random.copy_from_slice(hash.split_at(10).0);
    let mut ms = [0; 8];
    ms[2..].copy_from_slice(bytes.split_at(6).0);
    uuid::Builder::from_unix_timestamp_millis(u64::from_be_bytes(ms), &random).into_uuid()
}

fn stored(tenant: &Tenant) -> TenantConfig {
    tenant.config.as_ref().and_then(Sealed::open).cloned().unwrap_or_default()
}

pub(super) fn update(
    world: &World,
    id: TenantId,
    changes: &ConfigChanges,
    policy: &Policy,
) -> Result<Vec<Event>, Rejection> {
    let tenant = existing(world, id)?;
    let details = details(tenant)?;
    let before = stored(tenant);
    let mut after = before.clone();
    for (name, value) in &changes.fields {
        match value {
            None => drop(after.fields.remove(*name)),
            Some(value) => {
                fields::check(name, value)?;
                // Whoever sends back what was derived does not mean to pin it.
                let derived = !before.fields.contains_key(*name)
                    && fields::derived(name, tenant, details).as_deref() == Some(value);
                if !derived {
                    after.fields.insert((*name).to_owned(), value.clone());
                }
            }
        }
    }
    custom_env::apply(&before, &changes.env, &mut after)?;
    Ok(changed(world, tenant, after, policy))
}

/// Replaces a configuration by another that needs no check.
pub(super) fn changed(world: &World, tenant: &Tenant, after: TenantConfig, policy: &Policy) -> Vec<Event> {
    let Some(event) = replaced(tenant, after) else { return Vec::new() };
    let configured = Tenant { config: Some(event.config.clone()), ..tenant.clone() };
    let mut events = vec![event.into()];
    events.extend(respecified(world, tenant, &configured, policy));
    events
}

/// That a tenant's configuration is another from here on; `None` when it is the same.
pub(super) fn replaced(tenant: &Tenant, after: TenantConfig) -> Option<TenantConfigUpdated> {
    let before = stored(tenant);
    let mut changed: Vec<String> = FIELDS
        .iter()
        .map(|field| field.name)
        .filter(|name| before.fields.get(*name) != after.fields.get(*name))
        .map(str::to_owned)
        .collect();
    let differs = [
        ("custom_env", before.custom_env != after.custom_env),
        ("secret_env", before.secret_env != after.secret_env),
    ];
    changed.extend(differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()));
    let config = Sealed::new(tenant.id, after);
    (!changed.is_empty()).then(|| TenantConfigUpdated { tenant_id: tenant.id, changed, config })
}

/// Whether the variables of a tenant are others than before, and with them its `.env` file.
pub(super) fn differ(policy: &Policy, before: &Tenant, after: &Tenant) -> bool {
    let all = |tenant: &Tenant| tenant.details.open().map(|details| variables(policy, tenant, details));
    all(before) != all(after)
}

/// The variables of a tenant's processes, its init command and its `.env` file.
#[must_use]
pub fn variables(policy: &Policy, tenant: &Tenant, details: &TenantDetails) -> BTreeMap<String, Secret> {
    let mut all: BTreeMap<String, String> =
        effective(tenant, details).into_iter().map(|(field, value)| (field.variable(), value)).collect();
    let database = Path::new(&details.directory).join(&policy.template.database);
    let own = [
        ("TENANT_ID", Some(tenant.id.to_string())),
        ("DATABASE_PATH", Some(database.display().to_string())),
        ("FRONTEND_PORT", tenant.ports.map(|ports| ports.frontend.to_string())),
        ("BACKEND_PORT", tenant.ports.map(|ports| ports.backend.to_string())),
    ];
    all.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    let mut all: BTreeMap<String, Secret> =
        all.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    all.extend(stored(tenant).custom_env);
    all
}

/// Names of variables that a tenant's processes get from the control plane.
fn is_given(name: &str) -> bool {
    const OTHERS: [&str; 6] =
        ["PORT", "SOCKET_PATH", "TENANT_ID", "DATABASE_PATH", "FRONTEND_PORT", "BACKEND_PORT"];
    OTHERS.contains(&name) || FIELDS.iter().any(|field| field.variable() == name)
}

/// Has a tenant's processes get other variables the next time they start; what runs, runs on.
pub(super) fn respecified(world: &World, before: &Tenant, after: &Tenant, policy: &Policy) -> Vec<Event> {
    let variables = |tenant: &Tenant| {
        tenant.details.open().map(|details| variables(policy, tenant, details)).unwrap_or_default()
    };
    let (old, new) = (variables(before), variables(after));
    if old == new {
        return Vec::new();
    }
    let instances = [after.frontend, after.backend].into_iter().flatten();
    let found = instances.filter_map(|id| world.instances.get(id));
    found
        .filter(|instance| instance.desired != Desired::Removed)
        .filter_map(|instance| {
            let spec = instance.spec.open()?;
            let mut env = spec.env.clone();
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                env.remove(name);
                // It may have hidden one of the template's.
                env.extend(
                    of_template(policy, after, instance, spec, name).map(|value| (name.clone(), value)),
                );
            }
            env.extend(new.clone());
            let spec = Sealed::new(after.id, ProcessSpec { env, ..spec.clone() });
            let (instance_id, deployment_id) = (instance.id, instance.deployment);
            Some(InstanceRespecified { instance_id, spec, deployment_id }.into())
        })
        .collect()
}

/// What the template says of a variable for an instance.
fn of_template(
    policy: &Policy,
    tenant: &Tenant,
    instance: &Instance,
    spec: &ProcessSpec,
    name: &str,
) -> Option<Secret> {
    let (_, role) = instance.tenant?;
    let template = match role {
        Role::Frontend => policy.template.frontend.as_ref(),
        Role::Backend => policy.template.backend.as_ref(),
    }?;
    let (value, details) = (template.env.get(name)?, tenant.details.open()?);
    let (port, socket) = match &spec.listen {
        Listen::Port(port) => (port.to_string(), String::new()),
        Listen::Socket(path) => (String::new(), path.clone()),
    };
    let release = release_directory(&details.directory, tenant.release.unwrap_or(tenant.releases));
    let placeholders = Placeholders {
        name: details.slug.as_str(),
        id: details.slug.as_str(),
        data_dir: &policy.data_dir.display().to_string(),
        port,
        socket,
        directory: &details.directory,
        release: release.display().to_string(),
    };
    Some(Secret::new(placeholders.fill(value)))
}

pub(super) fn request_env(world: &World, id: TenantId) -> Result<Vec<Event>, Rejection> {
    details(existing(world, id)?)?;
    Ok(vec![EnvRequested { tenant_id: id }.into()])
}

fn is_open(world: &World, id: TenantId, answers: Seq) -> bool {
    world.configurations.get(id).is_some_and(|one| one.env_answered < answers)
}

pub(super) fn env_written(
    world: &World,
    id: TenantId,
    answers: Seq,
    path: &str,
    backup: Option<&str>,
) -> Vec<Event> {
    if !is_open(world, id, answers) {
        return Vec::new();
    }
    let (path, backup) =
        (Sealed::new(id, path.to_owned()), backup.map(|path| Sealed::new(id, path.to_owned())));
    vec![EnvWritten { tenant_id: id, answers, path, backup }.into()]
}

pub(super) fn env_failed(world: &World, id: TenantId, answers: Seq, reason: &str) -> Vec<Event> {
    if !is_open(world, id, answers) {
        return Vec::new();
    }
    vec![EnvFailed { tenant_id: id, answers, reason: Sealed::new(id, reason.to_owned()) }.into()]
}

/// The names of secrets among some variables, for whoever shows them.
#[must_use]
pub fn secret_names(config: &TenantConfig) -> BTreeSet<&str> {
    let names = config
        .custom_env
        .iter()
        .filter(|(name, value)| matches!(shown(config, name, value), Shown::Hidden(_)));
    names.map(|(name, _)| name.as_str()).collect()
}
