//! A tenant's health as a whole: its two processes, its database, its services.
//!
//! Checked when somebody asks, when one of its processes changes, and once an interval, each
//! tenant at a turn of its own; recorded only when the result differs from the one before.

mod schedule;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::event::instance::Role;
use tenantry_journal::id::TenantId;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance, Phase};
use tenantry_projections::world::tenants::Tenant;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Supervisor, health};
use crate::domain::command::Command;
use crate::domain::setting;
use crate::drivers::database::{self, DatabaseHealth, DatabaseStatus};
use crate::drivers::open_files::OpenFiles;
use crate::drivers::probe::{self, ProbeReport};
use schedule::{Present, Schedule};

/// How often when nobody says (document 1's default).
pub const INTERVAL: Duration = Duration::from_secs(300);
/// The tightest interval that a setting may ask for: a check reads the whole database.
const SHORTEST: Duration = Duration::from_secs(5);
/// How often the World is looked at for tenants whose processes changed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many tenants are checked at once: each check may hold a thread and read a disk.
const AT_ONCE: usize = 8;

/// How old the count of who has a database open may be, unless somebody waits for it: one pass
/// over all processes costs as much as some hundred checks without it.
const LATELY: Duration = Duration::from_secs(10);

/// When it is counted who has the database open.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted {
    /// For this check.
    Now,
    /// Perhaps for one before it.
    Lately,
}

/// Whether a service of a tenant runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// It runs.
    Active,
    /// It does not, and nobody wants it to, or not yet.
    Inactive,
    /// It should, and fails.
    Failed,
}

impl ServiceState {
    /// The word of document 1.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceState::Active => "active",
            ServiceState::Inactive => "inactive",
            ServiceState::Failed => "failed",
        }
    }

    fn of(instance: &Instance) -> ServiceState {
        match instance.phase {
            Phase::Running | Phase::Stopping => ServiceState::Active,
            Phase::Idle | Phase::Starting => ServiceState::Inactive,
            Phase::Backoff | Phase::Failed => ServiceState::Failed,
        }
    }
}

/// One of a tenant's processes.
#[derive(Clone, Debug)]
pub struct PartHealth {
    /// What a probe of it saw.
    pub probe: ProbeReport,
    /// Its service.
    pub service: ServiceState,
}

impl PartHealth {
    /// `up` or `down`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.probe.up { "up" } else { "down" }
    }
}

/// What a check of a tenant found.
#[derive(Clone, Debug)]
pub struct TenantHealthReport {
    /// The tenant.
    pub tenant_id: TenantId,
    /// What the parts add up to.
    pub overall: TenantHealth,
    /// Its frontend; `None` when it has none.
    pub frontend: Option<PartHealth>,
    /// Its backend; `None` when it has none.
    pub backend: Option<PartHealth>,
    /// Its database.
    pub database: DatabaseHealth,
    /// When the check ended.
    pub at: Timestamp,
}

fn word(part: Option<&PartHealth>) -> &'static str {
    part.map_or("down", PartHealth::word)
}

/// Checks a tenant, and records the result when it differs from the one before.
pub(super) async fn check(
    supervisor: &Supervisor,
    id: TenantId,
    counted: Counted,
) -> Option<TenantHealthReport> {
    let world = supervisor.handle.world();
    let tenant = world.tenants.get(id)?;
    let directory = PathBuf::from(&tenant.details.open()?.directory);
    let path = directory.join(&supervisor.policy.load().template.database);
    let (frontend, backend, database) = tokio::join!(
        part(&world, tenant, Role::Frontend),
        part(&world, tenant, Role::Backend),
        check_database(&path, &supervisor.open_files, counted),
    );
    let wanted = [Role::Frontend, Role::Backend]
        .into_iter()
        .filter_map(|role| world.instances.get(tenant.instance(role)?))
        .any(|instance| instance.desired == Desired::Running);
    let parts: Vec<bool> = [&frontend, &backend].into_iter().flatten().map(|part| part.probe.up).collect();
    let overall = overall(wanted, &parts, database.status);
    let report =
        TenantHealthReport { tenant_id: id, overall, frontend, backend, database, at: crate::clock::now() };
    supervisor.keep_report(&report);
    note(supervisor, &report).await;
    Some(report)
}

fn overall(wanted: bool, up: &[bool], database: DatabaseStatus) -> TenantHealth {
    match (up.iter().any(|up| *up), up.iter().all(|up| *up), database) {
        _ if !wanted => TenantHealth::Unknown,
        (true, true, DatabaseStatus::Healthy) => TenantHealth::Healthy,
        (true, _, _) => TenantHealth::Degraded,
        (false, _, _) => TenantHealth::Unhealthy,
    }
}

async fn part(world: &World, tenant: &Tenant, role: Role) -> Option<PartHealth> {
    let instance = world.instances.get(tenant.instance(role)?)?;
    let service = ServiceState::of(instance);
    let spec = instance.spec.open()?;
    let probe = if instance.run.is_none() {
        // Whoever answers on its port now is somebody else.
        ProbeReport { up: false, status_code: None, response_time_ms: 0, detail: "not running".into() }
    } else {
        match &spec.health {
            Some(path) => probe::http(&health::target(spec), path).await,
            None => probe::connect(&health::target(spec)).await,
        }
    };
    Some(PartHealth { probe, service })
}

async fn check_database(path: &Path, open: &Arc<OpenFiles>, counted: Counted) -> DatabaseHealth {
    let (path, open) = (path.to_path_buf(), Arc::clone(open));
    let age = match counted {
        Counted::Now => Duration::ZERO,
        Counted::Lately => LATELY,
    };
    let check = move || database::check(&path, |found| open.count(found, age));
    let checked = tokio::task::spawn_blocking(check).await;
    checked.unwrap_or_else(|error| DatabaseHealth {
        status: DatabaseStatus::Damaged,
        size_bytes: 0,
        connections: 0,
        detail: error.to_string(),
    })
}

async fn note(supervisor: &Supervisor, report: &TenantHealthReport) {
    let (frontend, backend) = (word(report.frontend.as_ref()), word(report.backend.as_ref()));
    let database = report.database.status.as_str();
    let world = supervisor.handle.world();
    let Some(tenant) = world.tenants.get(report.tenant_id) else { return };
    let same = match &tenant.health {
        Some(before) => {
            (before.overall, before.frontend.as_str(), before.backend.as_str(), before.database.as_str())
                == (report.overall, frontend, backend, database)
        }
        None => report.overall == TenantHealth::Unknown,
    };
    if same {
        return;
    }
    let command = Command::TenantHealthObserved {
        tenant_id: report.tenant_id,
        overall: report.overall,
        frontend: frontend.to_owned(),
        backend: backend.to_owned(),
        database: database.to_owned(),
    };
    if let Err(error) = supervisor.submit(command).await {
        // Seen again at the next check.
        tracing::debug!(tenant.id = %report.tenant_id, %error, "a change of health is not recorded");
    }
}

fn interval(world: &World) -> Duration {
    let seconds = setting::integer(world, setting::HEALTH_CHECK_INTERVAL);
    seconds.map_or(INTERVAL, Duration::from_secs).max(SHORTEST)
}

/// Checks tenants whose processes changed, and each once an interval.
pub(super) async fn monitor(supervisor: &Arc<Supervisor>) {
    let mut schedule = Schedule::new(Instant::now(), interval(&supervisor.handle.world()));
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut checks = tokio::task::JoinSet::new();
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        every.tick().await;
        while checks.try_join_next().is_some() {}
        let (world, now) = (supervisor.handle.world(), Instant::now());
        schedule.follow(interval(&world), now);
        schedule.retain(|id| world.tenants.get(id).is_some());
        let present = world.tenants.iter().filter_map(|tenant| Present::of(&world, tenant));
        let due: Vec<TenantId> =
            present.filter(|present| schedule.is_due(present, now)).map(|present| present.tenant).collect();
        for id in due {
            let (supervisor, at_once) = (Arc::clone(supervisor), Arc::clone(&at_once));
            checks.spawn(async move {
                let _permit = at_once.acquire_owned().await;
                check(&supervisor, id, Counted::Lately).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up() {
        use DatabaseStatus::{Damaged, Healthy};
        assert_eq!(overall(true, &[true, true], Healthy), TenantHealth::Healthy);
        assert_eq!(overall(true, &[true, true], Damaged), TenantHealth::Degraded);
        assert_eq!(overall(true, &[true, false], Healthy), TenantHealth::Degraded);
        assert_eq!(overall(true, &[false, false], Healthy), TenantHealth::Unhealthy);
        assert_eq!(overall(false, &[false, false], Healthy), TenantHealth::Unknown);
    }
}
