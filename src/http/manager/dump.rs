//! Everything that document 1 shows of a World, for who reads a journal without a server.

use serde_json::{Value, json};
use tenantry_journal::id::TenantId;
use tenantry_projections::world::World;

use super::config::ConfigView;
use super::deployments::DeploymentView;
use super::theme::ThemeView;
use super::view::TenantPage;

fn object(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| {
        tracing::error!(%error, "an object of the API does not serialize");
        Value::Null
    })
}

/// Tenants, configurations, port allocations, deployments and themes that somebody set, as the API
/// shows them; of one tenant, or all.
pub(crate) fn dump(world: &World, only: Option<TenantId>) -> Value {
    let wanted = |id: TenantId| only.is_none_or(|only| only == id);
    let tenants = world.tenants.iter().filter(|tenant| wanted(tenant.id));
    let tenants: Vec<Value> = tenants.map(|tenant| object(&TenantPage::new(world, tenant, None))).collect();
    let themed = world.tenants.iter().filter(|tenant| wanted(tenant.id) && tenant.theme.created_at.is_some());
    let themes: Vec<Value> = themed.map(|tenant| object(&ThemeView::new(tenant))).collect();
    let configs = world.tenants.iter().filter(|tenant| wanted(tenant.id));
    let configs: Vec<Value> = configs.map(|tenant| object(&ConfigView::new(tenant))).collect();
    let held = world.ports.held().filter(|held| wanted(held.tenant_id));
    let ports: Vec<Value> = held
        .map(|held| {
            json!({
                "frontend_port": held.ports.frontend,
                "backend_port": held.ports.backend,
                "tenant_id": held.tenant_id,
                "allocated_at": held.allocated_at,
                "status": "in_use",
            })
        })
        .collect();
    let deployments = world.deployments.iter().filter(|deployment| wanted(deployment.tenant_id));
    let deployments: Vec<Value> =
        deployments.map(|deployment| object(&DeploymentView::new(deployment, None))).collect();
    json!({
        "tenants": tenants,
        "configs": configs,
        "ports": ports,
        "deployments": deployments,
        "themes": themes,
    })
}
