//! `GET /api/fleet`: what an overview shows, in one answer however large the fleet.
//!
//! Everything here follows from the World alone, so it answers of the past, is followed as a
//! live query, and is rendered once for as long as nothing happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::event::instance::InstanceHealth;
use tenantry_journal::id::{DeploymentId, TenantId};
use tenantry_journal::name::InstanceKey;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::{Deployment, DeploymentStatus};
use tenantry_projections::world::instances::Instance;
use tenantry_projections::world::tenants::{Tenant, TenantStatus};

use crate::domain::certificate::renewed_at;
use crate::http::error::ApiError;
use crate::http::extract::{NoQuery, Scope};
use crate::http::kept::Question;
use crate::http::state::AppState;
use crate::http::write::{answer, encode, written};
use crate::telemetry::labels::Status;

/// Those that are named of what is not well: more than anybody reads at once.
const UNWELL_SHOWN: usize = 50;
/// Deployments under way that are named; at most one of each tenant runs.
const RUNNING_SHOWN: usize = 50;
/// Deployments that ended, the newest first.
const RECENT_SHOWN: usize = 10;
/// Certificates that end first.
const CERTIFICATES_SHOWN: usize = 20;

/// The fleet at one moment.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Fleet")]
pub(super) struct Fleet<'a> {
    tenants: TenantCounts,
    instances: InstanceCounts,
    /// What is not as it should be, tenants first.
    unwell: Unwell<'a>,
    deployments: Deployments<'a>,
    /// Of tenants' sites.
    certificates: Certificates<'a>,
}

#[derive(Default, Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetTenantCounts")]
struct TenantCounts {
    total: usize,
    /// How many there are of each state; states that none has are left out.
    by_status: BTreeMap<&'static str, usize>,
    /// The health of those that run.
    running_by_health: BTreeMap<&'static str, usize>,
}

#[derive(Default, Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetInstanceCounts")]
struct InstanceCounts {
    total: usize,
    /// How many there are of each state; states that none has are left out.
    by_status: BTreeMap<&'static str, usize>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetUnwell")]
struct Unwell<'a> {
    total: usize,
    /// The first of them.
    first: Vec<Sick<'a>>,
}

/// A tenant, or an instance that is no tenant's.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetPatient")]
struct Sick<'a> {
    tenant_id: Option<TenantId>,
    /// The tenant's name; `null` for an instance.
    name: Option<&'a str>,
    instance: Option<&'a InstanceKey>,
    /// What is wrong with it, in a word.
    #[schemars(extend("enum" = ["error", "unhealthy", "degraded", "failed", "restarting"]))]
    state: &'static str,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetDeployments")]
struct Deployments<'a> {
    /// How many are under way or wait.
    running: usize,
    /// Those that are under way, then those that ended last, the newest first.
    first: Vec<DeploymentLine<'a>>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetDeployment")]
struct DeploymentLine<'a> {
    id: DeploymentId,
    tenant_id: TenantId,
    /// The tenant's name; `null` when it was deleted.
    name: Option<&'a str>,
    status: DeploymentStatus,
    /// The step that it is at, or that failed.
    step: Option<&'static str>,
    release: u32,
    rollback: bool,
    /// When it was asked for.
    requested_at: Timestamp,
    finished_at: Option<Timestamp>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetCertificates")]
struct Certificates<'a> {
    total: usize,
    /// Those that cannot be had, then those that end first.
    first: Vec<CertificateLine<'a>>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetCertificate")]
struct CertificateLine<'a> {
    tenant_id: TenantId,
    /// The tenant's name.
    name: &'a str,
    /// The first name that it is for.
    domain: Option<&'a str>,
    /// `null` before the first one was issued.
    not_after: Option<Timestamp>,
    /// When the next one is asked for.
    renews_at: Option<Timestamp>,
    /// How often in a row asking for one failed.
    failures: u32,
    /// When it is tried again after a failure.
    retry_at: Option<Timestamp>,
}

pub(super) async fn summary(
    State(app): State<AppState>,
    scope: Scope,
    _: NoQuery,
) -> Result<Response, ApiError> {
    if !scope.principal.is_unlimited() || scope.is_past() {
        return Ok(answer(StatusCode::OK, &fleet(&scope)));
    }
    let seq = scope.world.seq;
    if let Some(json) = app.kept.get(seq, &Question::Fleet) {
        return Ok(written(StatusCode::OK, json));
    }
    let json = encode(&fleet(&scope))?;
    app.kept.keep(seq, Question::Fleet, &json);
    Ok(written(StatusCode::OK, json))
}

fn fleet(scope: &Scope) -> Fleet<'_> {
    let world = &*scope.world;
    let mut counts = TenantCounts::default();
    let mut unwell = Unwell { total: 0, first: Vec::new() };
    for tenant in scope.visible_tenants() {
        let status = world.tenant_status(tenant);
        let health = tenant.health.as_ref().map_or(TenantHealth::Unknown, |health| health.overall);
        counts.total += 1;
        *counts.by_status.entry(status_name(status)).or_default() += 1;
        if status == TenantStatus::Running {
            *counts.running_by_health.entry(health_name(health)).or_default() += 1;
        }
        let state = match (status, health) {
            (TenantStatus::Error, _) => "error",
            (_, TenantHealth::Unhealthy | TenantHealth::Degraded) => health_name(health),
            _ => continue,
        };
        unwell.note(|| Sick { tenant_id: Some(tenant.id), name: Some(tenant.name()), instance: None, state });
    }
    let mut instances = InstanceCounts::default();
    for instance in world.instances.iter() {
        if !scope.principal.reaches_instance(world, instance.id) {
            continue;
        }
        let Some(key) = instance.name.open() else { continue };
        let status = Status::of(instance);
        instances.total += 1;
        *instances.by_status.entry(status.as_str()).or_default() += 1;
        // A tenant's own processes are told by the tenant.
        if let (None, Some(state)) = (instance.tenant, trouble(instance, status)) {
            unwell.note(|| Sick { tenant_id: None, name: None, instance: Some(key), state });
        }
    }
    let certificates = certificates(scope);
    Fleet { tenants: counts, instances, unwell, deployments: deployments(scope), certificates }
}

impl<'a> Unwell<'a> {
    fn note(&mut self, one: impl FnOnce() -> Sick<'a>) {
        self.total += 1;
        if self.first.len() < UNWELL_SHOWN {
            self.first.push(one());
        }
    }
}

/// What is wrong with an instance; nothing when it is well.
fn trouble(instance: &Instance, status: Status) -> Option<&'static str> {
    match status {
        Status::Failed => Some("failed"),
        // One that crashes again and again waits or starts for most of its time. One that never
        // did is only restarted by somebody.
        Status::Restarting | Status::Starting if instance.restart_count > 0 => Some("restarting"),
        _ => (instance.health == InstanceHealth::Unhealthy).then_some("unhealthy"),
    }
}

fn deployments(scope: &Scope) -> Deployments<'_> {
    let world = &*scope.world;
    let reached = |one: &&Deployment| scope.principal.reaches_tenant(one.tenant_id);
    let all = || world.deployments.iter().rev().map(|one| &**one).filter(reached);
    let under_way: Vec<&Deployment> = all().filter(|one| !one.is_over()).collect();
    let running = under_way.len();
    let ended = all().filter(|one| one.is_over()).take(RECENT_SHOWN);
    let first = under_way.into_iter().take(RUNNING_SHOWN).chain(ended);
    Deployments { running, first: first.map(|one| DeploymentLine::new(world, one)).collect() }
}

impl<'a> DeploymentLine<'a> {
    fn new(world: &'a World, one: &Deployment) -> DeploymentLine<'a> {
        DeploymentLine {
            id: one.id,
            tenant_id: one.tenant_id,
            name: world.tenants.get(one.tenant_id).map(|tenant| tenant.name()),
            status: one.status,
            step: one.failed().or_else(|| one.current()).map(|step| step.kind.name()),
            release: one.release,
            rollback: one.rollback,
            requested_at: one.requested_at,
            finished_at: one.finished_at,
        }
    }
}

fn certificates(scope: &Scope) -> Certificates<'_> {
    let is_there = |tenant: &&Arc<Tenant>| tenant.tls.certificate.is_some() || tenant.tls.failures > 0;
    let mut all: Vec<&Tenant> = scope.visible_tenants().filter(is_there).map(|tenant| &**tenant).collect();
    let total = all.len();
    // `None` comes before any end.
    let end = |tenant: &Tenant| tenant.tls.certificate.as_ref().map(|known| known.not_after);
    all.sort_by_key(|tenant| (tenant.tls.failures == 0, end(tenant), tenant.id));
    all.truncate(CERTIFICATES_SHOWN);
    Certificates { total, first: all.into_iter().map(CertificateLine::new).collect() }
}

impl<'a> CertificateLine<'a> {
    fn new(tenant: &'a Tenant) -> CertificateLine<'a> {
        let known = tenant.tls.certificate.as_ref();
        let names = known.and_then(|known| known.names.open());
        CertificateLine {
            tenant_id: tenant.id,
            name: tenant.name(),
            domain: names.and_then(|names| names.first()).map(|name| name.as_str()),
            not_after: known.map(|known| known.not_after),
            renews_at: known.map(|known| renewed_at(known.not_before, known.not_after, tenant.id)),
            failures: tenant.tls.failures,
            retry_at: tenant.tls.retry_at,
        }
    }
}

fn status_name(status: TenantStatus) -> &'static str {
    match status {
        TenantStatus::Pending => "pending",
        TenantStatus::Deploying => "deploying",
        TenantStatus::Running => "running",
        TenantStatus::Stopped => "stopped",
        TenantStatus::Error => "error",
    }
}

fn health_name(health: TenantHealth) -> &'static str {
    match health {
        TenantHealth::Healthy => "healthy",
        TenantHealth::Degraded => "degraded",
        TenantHealth::Unhealthy => "unhealthy",
        TenantHealth::Unknown => "unknown",
    }
}
