//! How document 1 writes what the World holds.

use serde::{Serialize, Serializer};
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::event::instance::Role;
use tenantry_journal::event::tenant::TenantDetails;
use tenantry_journal::id::TenantId;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::Phase;
use tenantry_projections::world::tenants::{Tenant, TenantStatus};

use crate::http::state::HealthReport;

/// A length of time in seconds: whole ones as integers, as the document prints them, others
/// with three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) u64);

impl Seconds {
    /// From one moment to another.
    pub(super) fn between(from: Timestamp, to: Timestamp) -> Seconds {
        Seconds(to.since_ms(from))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            return serializer.serialize_u64(self.0 / 1000);
        }
        // At most 2^53 ms (285,000 years) is exact.
        #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 ms")]
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl schemars::JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0 })
    }
}

/// A tenant in a list.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "TenantSummary")]
pub(in crate::http) struct TenantLine<'a> {
    id: TenantId,
    name: &'a str,
    slug: &'a str,
    domain: &'a str,
    api_domain: Option<&'a str>,
    status: TenantStatus,
    health_status: TenantHealth,
    frontend_port: Option<u16>,
    backend_port: Option<u16>,
    created_at: Timestamp,
    deployed_at: Option<Timestamp>,
}

fn details(tenant: &Tenant) -> Option<&TenantDetails> {
    tenant.details.open()
}

impl<'a> TenantLine<'a> {
    pub(in crate::http) fn new(world: &World, tenant: &'a Tenant) -> TenantLine<'a> {
        let details = details(tenant);
        let stand_in = tenant.details.stand_in();
        TenantLine {
            id: tenant.id,
            name: details.map_or(stand_in, |d| &d.name),
            slug: details.map_or(stand_in, |d| d.slug.as_str()),
            domain: details.map_or(stand_in, |d| d.domain.as_str()),
            api_domain: details.and_then(|d| d.api_domain.as_ref()).map(|domain| domain.as_str()),
            status: world.tenant_status(tenant),
            health_status: tenant.health.as_ref().map_or(TenantHealth::Unknown, |health| health.overall),
            frontend_port: tenant.ports.map(|ports| ports.frontend),
            backend_port: tenant.ports.map(|ports| ports.backend),
            created_at: tenant.created_at,
            deployed_at: tenant.deployed_at,
        }
    }
}

/// A tenant by itself.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Tenant")]
pub(super) struct TenantPage<'a> {
    #[serde(flatten)]
    line: TenantLine<'a>,
    health_details: HealthDetails<'a>,
    directory: &'a str,
    github_repo: Option<&'a str>,
    notes: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateView<'a>>,
}

/// The certificate of a tenant's sites.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Certificate")]
struct CertificateView<'a> {
    domain: &'a str,
    issuer: &'a str,
    not_after: Timestamp,
}

fn certificate(tenant: &Tenant) -> Option<CertificateView<'_>> {
    let known = tenant.tls.certificate.as_ref()?;
    let domain = known
        .names
        .open()
        .map_or(Some(known.names.stand_in()), |names| names.first().map(|name| name.as_str()))?;
    Some(CertificateView { domain, issuer: &known.issuer, not_after: known.not_after })
}

#[derive(Serialize, schemars::JsonSchema)]
struct HealthDetails<'a> {
    #[schemars(extend("enum" = ["up", "down", "unknown"]))]
    frontend: &'a str,
    #[schemars(extend("enum" = ["up", "down", "unknown"]))]
    backend: &'a str,
    #[schemars(extend("enum" = ["healthy", "missing", "damaged", "unknown"]))]
    database: &'a str,
    last_check: Option<Timestamp>,
}

impl<'a> TenantPage<'a> {
    /// `last_check` is live: leave it out for the past.
    pub(super) fn new(world: &World, tenant: &'a Tenant, last_check: Option<Timestamp>) -> TenantPage<'a> {
        let details = details(tenant);
        let health = tenant.health.as_ref();
        TenantPage {
            line: TenantLine::new(world, tenant),
            health_details: HealthDetails {
                frontend: health.map_or("unknown", |health| &health.frontend),
                backend: health.map_or("unknown", |health| &health.backend),
                database: health.map_or("unknown", |health| &health.database),
                last_check,
            },
            directory: details.map_or_else(|| tenant.details.stand_in(), |d| &d.directory),
            github_repo: details.and_then(|d| d.github_repo.as_deref()),
            notes: details.and_then(|d| d.notes.as_deref()),
            certificate: certificate(tenant),
        }
    }
}

/// What a service manager calls the state of one of a tenant's processes.
pub(super) fn service_state(world: &World, tenant: &Tenant, role: Role) -> &'static str {
    let phase = tenant.instance(role).and_then(|id| world.instances.get(id)).map(|instance| instance.phase);
    match phase {
        Some(Phase::Running) => "active",
        Some(Phase::Starting | Phase::Backoff) => "activating",
        Some(Phase::Stopping) => "deactivating",
        Some(Phase::Failed) => "failed",
        Some(Phase::Idle) | None => "inactive",
    }
}

/// The checks of a tenant.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "HealthChecks")]
pub(super) struct Checks {
    frontend: ProbeView,
    backend: ProbeView,
    database: DatabaseView,
    services: Services,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ProbeCheck")]
struct ProbeView {
    #[schemars(extend("enum" = ["up", "down", "unknown"]))]
    status: String,
    response_time_ms: Option<u64>,
    status_code: Option<u16>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "DatabaseCheck")]
struct DatabaseView {
    #[schemars(extend("enum" = ["healthy", "missing", "damaged", "unknown"]))]
    status: String,
    size_mb: Option<f64>,
    connections: Option<u32>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ServiceChecks")]
struct Services {
    #[schemars(extend("enum" = ["active", "activating", "deactivating", "failed", "inactive"]))]
    frontend_service: &'static str,
    #[schemars(extend("enum" = ["active", "activating", "deactivating", "failed", "inactive"]))]
    backend_service: &'static str,
}

/// A tenant's health, by itself and in messages.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "TenantHealthReport")]
pub(super) struct HealthView {
    pub(super) tenant_id: TenantId,
    pub(super) overall_status: TenantHealth,
    pub(super) checks: Checks,
    pub(super) last_check: Option<Timestamp>,
}

impl HealthView {
    /// From a check; without one, from what was recorded last.
    pub(super) fn new(world: &World, tenant: &Tenant, report: Option<&HealthReport>) -> HealthView {
        let services = Services {
            frontend_service: service_state(world, tenant, Role::Frontend),
            backend_service: service_state(world, tenant, Role::Backend),
        };
        let Some(report) = report else {
            let recorded = tenant.health.as_ref();
            let part = |part: Option<&String>| part.map_or_else(|| "unknown".to_owned(), Clone::clone);
            let probe = |status| ProbeView { status, response_time_ms: None, status_code: None };
            let database = part(recorded.map(|health| &health.database));
            return HealthView {
                tenant_id: tenant.id,
                overall_status: recorded.map_or(TenantHealth::Unknown, |health| health.overall),
                checks: Checks {
                    frontend: probe(part(recorded.map(|health| &health.frontend))),
                    backend: probe(part(recorded.map(|health| &health.backend))),
                    database: DatabaseView { status: database, size_mb: None, connections: None },
                    services,
                },
                last_check: None,
            };
        };
        let probe = |probe: &crate::http::state::Probe| ProbeView {
            status: if probe.up { "up" } else { "down" }.to_owned(),
            response_time_ms: probe.response_time_ms,
            status_code: probe.status_code,
        };
        HealthView {
            tenant_id: tenant.id,
            overall_status: report.overall,
            checks: Checks {
                frontend: probe(&report.frontend),
                backend: probe(&report.backend),
                database: DatabaseView {
                    status: report.database.status.clone(),
                    size_mb: Some((report.database.size_mb * 1000.0).round() / 1000.0),
                    connections: Some(report.database.connections),
                },
                services,
            },
            last_check: Some(report.checked_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_integers_as_printed() {
        let text = |ms| serde_json::to_string(&Seconds(ms)).expect("encodes");
        assert_eq!((text(5000), text(0), text(285_000)), ("5".into(), "0".into(), "285".into()));
        assert_eq!((text(1), text(1500)), ("0.001".into(), "1.5".into()));
    }
}
