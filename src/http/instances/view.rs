//! An instance as document 2 shows it.

use serde::Serialize;
use tenantry_journal::event::instance::{InstanceHealth, Limits, Listen};
use tenantry_journal::name::{InstanceKey, InstanceName, ServiceName};
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::instances::Instance;

use crate::http::observed::Measures;
use crate::telemetry::labels::Status;

/// What `status` may say.
pub(super) fn status_names() -> [&'static str; Status::ALL.len()] {
    Status::ALL.map(Status::as_str)
}

/// An instance in a list.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "InstanceSummary")]
pub(super) struct InstanceView<'a> {
    instance: &'a InstanceKey,
    service: &'a ServiceName,
    id: &'a InstanceName,
    socket: Option<&'a str>,
    #[schemars(extend("enum" = status_names()))]
    status: &'static str,
    uptime_ms: Option<u64>,
    health: InstanceHealth,
    restart_count: u32,
    #[schemars(range(max = 100))]
    weight: u8,
}

/// An instance by itself.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Instance")]
pub(super) struct InstanceDetails<'a> {
    #[serde(flatten)]
    view: InstanceView<'a>,
    created_at: Timestamp,
    last_health_check: Option<Timestamp>,
    /// How the run before ended; not there before the first end.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<Ended>,
    /// Not there without limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsView<'a>>,
}

/// How a run ended.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "LastExit")]
struct Ended {
    at: Timestamp,
    /// In words, such as `exit code 3` or `memory limit: ...`.
    reason: String,
}

impl Ended {
    fn of(instance: &Instance) -> Option<Ended> {
        let exit = instance.last_exit.as_ref()?;
        let told = exit.reason.as_ref().and_then(|reason| reason.open()).cloned();
        let reason = told.or_else(|| exit.status.map(|status| status.to_string()));
        Some(Ended { at: exit.at, reason: reason.unwrap_or_else(|| "no process".to_owned()) })
    }
}

/// What an instance may use.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "InstanceLimits")]
struct LimitsView<'a> {
    #[serde(flatten)]
    limits: &'a Limits,
    /// What of it has no effect on this machine, as sentences.
    without_effect: Vec<String>,
    /// Disk space that it takes, in MiB; not there without a quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_mb: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    over_quota: Option<bool>,
}

impl<'a> LimitsView<'a> {
    fn of(instance: &'a Instance, measures: Option<&dyn Measures>) -> Option<LimitsView<'a>> {
        let limits = &instance.spec.open()?.limits;
        if limits.is_none() {
            return None;
        }
        let storage = measures.and_then(|measures| measures.now(instance.id).storage);
        Some(LimitsView {
            limits,
            without_effect: measures.map_or_else(Vec::new, |measures| measures.lacking(limits)),
            storage_mb: storage.map(|storage| mebibytes(storage.used_bytes)),
            over_quota: storage.map(|storage| storage.is_over()),
        })
    }
}

/// With two places behind the point.
pub(in crate::http) fn mebibytes(bytes: u64) -> f64 {
    rounded(bytes as f64 / f64::from(1 << 20))
}

/// With two places behind the point.
pub(in crate::http) fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

impl<'a> InstanceView<'a> {
    /// `now` is `None` when the answer is about the past. `None` when its name is erased.
    pub(super) fn new(instance: &'a Instance, now: Option<Timestamp>) -> Option<InstanceView<'a>> {
        let name = instance.name.open()?;
        Some(InstanceView {
            instance: name,
            service: &name.service,
            id: &name.id,
            socket: socket(instance),
            status: Status::of(instance).as_str(),
            uptime_ms: now.map(|now| uptime_ms(instance, now)),
            health: instance.health,
            restart_count: instance.restart_count,
            weight: instance.weight,
        })
    }

    /// With what only a single instance shows.
    pub(super) fn detailed(
        self,
        instance: &'a Instance,
        checked: Option<Timestamp>,
        measures: Option<&dyn Measures>,
    ) -> InstanceDetails<'a> {
        InstanceDetails {
            view: self,
            created_at: instance.created_at,
            last_health_check: checked,
            last_exit: Ended::of(instance),
            limits: LimitsView::of(instance, measures),
        }
    }
}

/// The path of its unix socket; `None` when it listens on TCP.
pub(super) fn socket(instance: &Instance) -> Option<&str> {
    match &instance.spec.open()?.listen {
        Listen::Socket(path) => Some(path),
        Listen::Port(_) => None,
    }
}

/// How long the present process runs, in milliseconds; 0 without one.
pub(super) fn uptime_ms(instance: &Instance, now: Timestamp) -> u64 {
    let started = instance.run.as_ref().and_then(|run| run.started_at);
    started.map_or(0, |started| now.since_ms(started))
}
