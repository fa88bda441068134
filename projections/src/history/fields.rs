//! A tenant as a flat list of fields, each comparable and showable.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tenantry_journal::event::instance::Role;
use tenantry_journal::id::TenantId;
use tenantry_journal::sealed::{HIDDEN, Secret};

use crate::world::World;
use crate::world::instances::Instance;
use crate::world::tenants::Tenant;

/// The value of a field.
#[derive(Clone, PartialEq)]
pub(super) enum Field {
    /// As it is shown.
    Shown(Value),
    /// Compared by what it is, shown as hidden.
    Hidden(Secret),
}

impl Field {
    pub(super) fn shown(self) -> Value {
        match self {
            Field::Shown(value) => value,
            Field::Hidden(_) => Value::from(HIDDEN),
        }
    }
}

/// By name.
pub(super) type Fields = BTreeMap<String, Field>;

#[derive(Default)]
struct Collected(Fields);

impl Collected {
    /// Adds a field; one without a value is none.
    fn add(&mut self, name: impl Into<String>, value: impl Serialize) {
        // A value that JSON cannot express does not occur in a World.
        let value = serde_json::to_value(value).unwrap_or_default();
        if !value.is_null() {
            self.0.insert(name.into(), Field::Shown(value));
        }
    }

    fn hide(&mut self, name: String, secret: &Secret) {
        self.0.insert(name, Field::Hidden(secret.clone()));
    }
}

/// The fields of a tenant; none when the World does not hold it.
pub(super) fn of(world: &World, id: TenantId) -> Fields {
    let mut fields = Collected::default();
    if let Some(tenant) = world.tenants.get(id) {
        details(&mut fields, tenant);
        config(&mut fields, tenant);
        theme(&mut fields, tenant);
        state(&mut fields, world, tenant);
        for role in [Role::Frontend, Role::Backend] {
            if let Some(found) = tenant.instance(role).and_then(|id| world.instances.get(id)) {
                instance(&mut fields, role.as_str(), found);
            }
        }
    }
    fields.0
}

fn details(fields: &mut Collected, tenant: &Tenant) {
    let Some(details) = tenant.details.open() else {
        return fields.add("details", tenant.details.stand_in());
    };
    fields.add("name", &details.name);
    fields.add("slug", &details.slug);
    fields.add("domain", &details.domain);
    fields.add("api_domain", &details.api_domain);
    fields.add("github_repo", &details.github_repo);
    fields.add("notes", &details.notes);
    fields.add("directory", &details.directory);
}

fn config(fields: &mut Collected, tenant: &Tenant) {
    let Some(config) = &tenant.config else { return };
    let Some(config) = config.open() else {
        return fields.add("config", config.stand_in());
    };
    for (name, value) in &config.fields {
        fields.add(format!("config.{name}"), value);
    }
    for (name, value) in &config.custom_env {
        fields.hide(format!("config.custom_env.{name}"), value);
    }
}

fn theme(fields: &mut Collected, tenant: &Tenant) {
    for (name, value) in &tenant.theme.colors {
        fields.add(format!("theme.{name}"), value);
    }
    for (name, logo) in &tenant.theme.logos {
        fields.add(format!("theme.{name}"), &logo.digest);
    }
}

fn state(fields: &mut Collected, world: &World, tenant: &Tenant) {
    fields.add("status", world.tenant_status(tenant));
    fields.add("frontend_port", tenant.ports.map(|ports| ports.frontend));
    fields.add("backend_port", tenant.ports.map(|ports| ports.backend));
    fields.add("release", tenant.release);
    fields.add("deployed_at", tenant.deployed_at);
    fields.add("health_status", tenant.health.as_ref().map(|health| health.overall));
    fields.add("database", tenant.health.as_ref().map(|health| &health.database));
    fields.add("deletion", tenant.deletion);
    if let Some(deployment) = tenant.deployment.and_then(|id| world.deployments.get(id)) {
        fields.add("deployment.id", deployment.id);
        fields.add("deployment.status", deployment.status);
        fields.add("deployment.release", deployment.release);
        let steps = &deployment.steps;
        let ended = steps.iter().filter(|step| step.finished_at.is_some()).count();
        fields.add("deployment.steps_ended", ended);
        fields.add("deployment.step", deployment.current().map(|step| step.kind));
    }
}

fn instance(fields: &mut Collected, role: &str, instance: &Instance) {
    fields.add(format!("{role}.instance_id"), instance.id);
    fields.add(format!("{role}.desired"), instance.desired);
    fields.add(format!("{role}.phase"), instance.phase);
    fields.add(format!("{role}.health"), instance.health);
    fields.add(format!("{role}.restart_count"), instance.restart_count);
    fields.add(format!("{role}.weight"), instance.weight);
    let run = instance.run.as_ref();
    fields.add(format!("{role}.run_id"), run.map(|run| run.id));
    fields.add(format!("{role}.pid"), run.and_then(|run| run.process).map(|process| process.pid));
    fields.add(format!("{role}.last_exit"), instance.last_exit.as_ref().and_then(|exit| exit.status));
    let Some(spec) = instance.spec.open() else {
        return fields.add(format!("{role}.spec"), instance.spec.stand_in());
    };
    fields.add(format!("{role}.command"), &spec.command);
    fields.add(format!("{role}.args"), &spec.args);
    fields.add(format!("{role}.workdir"), &spec.workdir);
    fields.add(format!("{role}.listen"), &spec.listen);
    fields.add(format!("{role}.health_path"), &spec.health);
    fields.add(format!("{role}.restart_policy"), spec.restart);
    for (name, value) in &spec.env {
        fields.hide(format!("{role}.env.{name}"), value);
    }
}
