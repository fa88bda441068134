//! A tenant's health as a whole; each single check is observation and no event.

use serde::{Deserialize, Serialize};

use crate::id::TenantId;

/// What the checks of a tenant's parts add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "HealthStatus")]
#[serde(rename_all = "snake_case")]
pub enum TenantHealth {
    /// Everything that should answer does.
    Healthy,
    /// Something does, something does not.
    Degraded,
    /// Nothing does.
    Unhealthy,
    /// Not checked, or nothing should run.
    #[default]
    Unknown,
}

/// The checks came to another result than before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthChanged {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The result.
    pub overall: TenantHealth,
    /// `up` or `down`.
    pub frontend: String,
    /// `up` or `down`.
    pub backend: String,
    /// `healthy`, `missing` or `damaged`.
    pub database: String,
}
