//! The small doors of the HTTP API, opened by the parts behind them.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::BoxStream;
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::event::instance::Limits;
use tenantry_journal::id::{DeploymentId, InstanceId, TenantId};
use tenantry_journal::time::Timestamp;
use tokio_stream::wrappers::BroadcastStream;

use crate::clock;
use crate::drivers::deploy_log::DeployLogs;
use crate::drivers::probe::ProbeReport;
use crate::engine::Handle;
use crate::error::chain;
use crate::http::observed;
use crate::http::state::{DatabaseProbe, DeploymentLogs, HealthReport, Live, Probe};
use crate::keeper::cgroup::Cgroups;
use crate::supervisor::{PartHealth, SpoolKeys, Supervisor, TenantHealthReport};

/// The logs of deployments, in their spools.
pub(super) struct Logs {
    pub(super) spools: DeployLogs,
    pub(super) keys: SpoolKeys,
    pub(super) handle: Handle,
}

impl Logs {
    fn key(&self, deployment: DeploymentId) -> Option<[u8; 32]> {
        let tenant = self.handle.world().deployments.get(deployment)?.tenant_id;
        (self.keys)(tenant.into())
    }
}

impl DeploymentLogs for Logs {
    fn text(&self, deployment: DeploymentId) -> String {
        self.spools.text(deployment, self.key(deployment)).unwrap_or_else(|error| {
            tracing::warn!(deployment.id = %deployment, error = chain(&error), "a log cannot be read");
            String::new()
        })
    }

    fn follow(&self, deployment: DeploymentId) -> BoxStream<'static, String> {
        let handle = self.handle.clone();
        let over = async move {
            let mut changes = handle.changes();
            loop {
                let running = handle.world().deployments.get(deployment).is_some_and(|d| !d.is_over());
                if !running || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let lines = self.spools.follow(deployment, self.key(deployment), over);
        lines.filter_map(|line| async { line.ok().map(|line| line.text) }).boxed()
    }
}

/// Checks of tenants, and what the last of each found.
pub(super) struct Checks(pub(super) Arc<Supervisor>);

fn probe(report: &ProbeReport) -> Probe {
    Probe {
        up: report.up,
        // Without a health path, accepting the connection is the answer.
        response_time_ms: (report.up || report.status_code.is_some()).then_some(report.response_time_ms),
        status_code: report.status_code,
    }
}

fn part(part: Option<&PartHealth>) -> Probe {
    part.map(|part| probe(&part.probe)).unwrap_or_default()
}

fn report(found: &TenantHealthReport) -> HealthReport {
    HealthReport {
        overall: found.overall,
        frontend: part(found.frontend.as_ref()),
        backend: part(found.backend.as_ref()),
        database: DatabaseProbe {
            status: found.database.status.as_str().to_owned(),
            size_mb: found.database.size_mb(),
            connections: found.database.connections,
        },
        checked_at: found.at,
    }
}

/// What is said of a tenant that went away while it was checked.
fn nothing() -> HealthReport {
    HealthReport {
        overall: TenantHealth::Unknown,
        frontend: Probe::default(),
        backend: Probe::default(),
        database: DatabaseProbe::default(),
        checked_at: clock::now(),
    }
}

impl Live for Checks {
    fn health_check(&self, tenant: TenantId) -> BoxFuture<'static, HealthReport> {
        let supervisor = Arc::clone(&self.0);
        async move { supervisor.check_tenant(tenant).await.as_ref().map_or_else(nothing, report) }.boxed()
    }

    fn last_health(&self, tenant: TenantId) -> Option<HealthReport> {
        self.0.last_report(tenant).as_ref().map(report)
    }

    fn follow_health(&self, tenant: TenantId) -> BoxStream<'static, HealthReport> {
        BroadcastStream::new(self.0.reports())
            .filter_map(move |sent| async move {
                sent.ok().filter(|found| found.tenant_id == tenant).as_ref().map(report)
            })
            .boxed()
    }
}

/// What units printed.
pub(super) struct Journald(pub(super) Arc<Supervisor>);

impl observed::UnitLogs for Journald {
    fn has(&self, instance: InstanceId) -> bool {
        self.0.prints_to_journal(instance)
    }

    fn last(
        &self,
        instance: InstanceId,
        count: usize,
    ) -> BoxFuture<'static, Result<Vec<String>, observed::OutputError>> {
        let supervisor = Arc::clone(&self.0);
        async move {
            let read = supervisor.units().systemd().last_lines(instance, count, None).await;
            let lines = read.map_err(|error| observed::OutputError(chain(&error)))?;
            Ok(lines.into_iter().map(|line| line.text).collect())
        }
        .boxed()
    }

    fn follow(&self, instance: InstanceId, count: usize) -> BoxStream<'static, String> {
        let lines = self.0.units().systemd().follow_lines(instance, count);
        lines
            .filter_map(|line| async {
                let told = |error| tracing::warn!(error = chain(&error), "the journal cannot be followed");
                line.map_err(told).ok().map(|line| line.text)
            })
            .boxed()
    }
}

/// When instances were checked.
pub(super) struct Seen(pub(super) Arc<Supervisor>);

impl observed::Checks for Seen {
    fn last_check(&self, instance: InstanceId) -> Option<Timestamp> {
        self.0.live().get(instance)?.last_check
    }
}

/// What instances use.
pub(super) struct Measured {
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) machine: Cgroups,
}

impl observed::Measures for Measured {
    fn now(&self, instance: InstanceId) -> observed::Measured {
        let facts = self.supervisor.live().get(instance).unwrap_or_default();
        let requests = self.supervisor.requests(instance);
        let rate = self.supervisor.history().rate(instance, clock::now(), requests.total);
        observed::Measured {
            usage: facts.usage,
            checks: (facts.checks.passed, facts.checks.failed),
            requests,
            requests_per_second: rate,
            storage: facts.storage,
        }
    }

    fn hour(&self, instance: InstanceId) -> Vec<observed::Sample> {
        self.supervisor.history().of(instance, clock::now())
    }

    fn lacking(&self, limits: &Limits) -> Vec<String> {
        self.machine.lacking(limits)
    }
}
