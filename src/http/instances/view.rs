//! An instance as document 2 shows it.

use serde::Serialize;
use tenantry_journal::event::instance::{InstanceHealth, Listen};
use tenantry_journal::name::{InstanceKey, InstanceName, ServiceName};
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::instances::Instance;

use crate::telemetry::metrics::Status;

/// An instance in a list.
#[derive(Debug, Serialize)]
pub(super) struct InstanceView<'a> {
    instance: &'a InstanceKey,
    service: &'a ServiceName,
    id: &'a InstanceName,
    socket: Option<&'a str>,
    status: &'static str,
    uptime_ms: Option<u64>,
    health: InstanceHealth,
    restart_count: u32,
    weight: u8,
}

/// An instance by itself.
#[derive(Debug, Serialize)]
pub(super) struct InstanceDetails<'a> {
    #[serde(flatten)]
    view: InstanceView<'a>,
    created_at: Timestamp,
    last_health_check: Option<Timestamp>,
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
    pub(super) fn detailed(self, instance: &Instance, checked: Option<Timestamp>) -> InstanceDetails<'a> {
        InstanceDetails { view: self, created_at: instance.created_at, last_health_check: checked }
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
