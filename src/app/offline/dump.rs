//! stub
use serde_json::Value;
use tenantry_journal::id::TenantId;
use tenantry_projections::world::World;
pub(super) fn find(_w: &World, _n: &str) -> anyhow::Result<TenantId> {
    anyhow::bail!("")
}
pub(super) fn everything(_w: &World, _t: Option<TenantId>) -> Value {
    Value::Null
}
pub(super) fn summary(_w: &World, _t: Option<TenantId>) -> Value {
    Value::Null
}
