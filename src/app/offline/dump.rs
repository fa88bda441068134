//! What `tenantry replay` prints: the API's own objects of one moment.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tenantry_journal::id::TenantId;
use tenantry_journal::name::Slug;
use tenantry_projections::world::World;

use crate::http::{instances, manager};

/// A tenant by id or slug.
pub(super) fn find(world: &World, name: &str) -> anyhow::Result<TenantId> {
    if let Ok(id) = name.parse::<TenantId>() {
        if world.tenants.get(id).is_none() {
            bail!("there was no tenant {id} then");
        }
        return Ok(id);
    }
    let slug: Slug =
        name.parse().with_context(|| format!("'{name}' is neither a tenant's id nor its slug"))?;
    world.tenants.by_slug(&slug).with_context(|| format!("there was no tenant '{slug}' then"))
}

/// All of a World, or what belongs to one tenant.
pub(super) fn everything(world: &World, only: Option<TenantId>) -> Value {
    let mut dump = manager::dump::dump(world, only);
    if let Some(fields) = dump.as_object_mut() {
        fields.insert("seq".into(), json!(world.seq));
        fields.insert("at".into(), json!(world.at));
        fields.insert("instances".into(), instances::dump::dump(world, only));
    }
    dump
}

/// How much there was, and how it was.
pub(super) fn summary(world: &World, only: Option<TenantId>) -> Value {
    let wanted = |id: TenantId| only.is_none_or(|only| only == id);
    let tenants = world.tenants.iter().filter(|tenant| wanted(tenant.id));
    let tenants: Vec<Value> = tenants
        .map(|tenant| {
            json!({
                "id": tenant.id,
                "slug": tenant.details.open().map(|details| &details.slug),
                "status": world.tenant_status(tenant),
                "release": tenant.release,
            })
        })
        .collect();
    let of_tenant = |tenant: Option<TenantId>| only.is_none() || tenant == only;
    let instances = world.instances.iter().filter(|i| of_tenant(i.tenant.map(|(tenant, _)| tenant)));
    json!({
        "seq": world.seq,
        "at": world.at,
        "tenants": tenants,
        "instances": instances.count(),
        "deployments": world.deployments.iter().filter(|deployment| wanted(deployment.tenant_id)).count(),
    })
}
