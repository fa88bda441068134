//! One event as a line: how grave it is, what it is about, and a sentence.

use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::event::access::Whence;
use tenantry_journal::event::deployment::{DeploymentOutcome, StepOutcome};
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth, RestartReason, SleepReason};
use tenantry_journal::id::InstanceId;
use tenantry_journal::recorded::{Actor, Recorded};
use tenantry_journal::sealed::Sealed;

use crate::world::World;

/// How grave a line is; document 1's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ControlLogLevel")]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Info,
    /// Something ended or answered badly, and is being mended.
    Warning,
    /// What somebody wanted did not come about.
    Error,
    /// The control plane itself lost something.
    Critical,
}

/// What a line is about; document 1's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ControlLogCategory")]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A deployment and its steps.
    Deployment,
    /// A change that somebody asked for.
    Api,
    /// What checks found.
    HealthCheck,
    /// What the control plane did by itself.
    System,
    /// Who may do what, and under which settings.
    Audit,
}

/// How grave an event is.
#[must_use]
pub fn level(recorded: &Recorded) -> Level {
    match &recorded.event {
        Event::KeeperLost(_) => Level::Critical,
        Event::InstanceStartFailed(_) => Level::Error,
        Event::InstanceExited(event) => match event.status {
            ExitStatus::Code(0) | ExitStatus::Signal(15) => Level::Info,
            ExitStatus::MemoryLimit => Level::Error,
            ExitStatus::Code(_) | ExitStatus::Signal(_) | ExitStatus::Unknown => Level::Warning,
        },
        Event::InstanceEnded(event) if event.failed => Level::Error,
        Event::InstanceRestartScheduled(_) => Level::Warning,
        Event::InstanceRestartRequested(event) if event.reason == RestartReason::Unhealthy => Level::Warning,
        Event::InstanceFellAsleep(event) if event.reason == SleepReason::WakeFailed => Level::Error,
        Event::InstanceHealthChanged(event) if event.health == InstanceHealth::Unhealthy => Level::Warning,
        Event::HealthChanged(event) => match event.overall {
            TenantHealth::Healthy | TenantHealth::Unknown => Level::Info,
            TenantHealth::Degraded => Level::Warning,
            TenantHealth::Unhealthy => Level::Error,
        },
        Event::StepFinished(event) if event.outcome == StepOutcome::Failed => Level::Error,
        Event::StepRolledBack(_) => Level::Warning,
        Event::AccessDenied(_) | Event::LoginFailed(_) | Event::DenialsUnrecorded(_) => Level::Warning,
        Event::DeploymentFinished(event) => match event.outcome {
            DeploymentOutcome::Success => Level::Info,
            DeploymentOutcome::Failed => Level::Error,
            DeploymentOutcome::Cancelled => Level::Warning,
        },
        _ => Level::Info,
    }
}

/// What an event is about.
#[must_use]
pub fn category(recorded: &Recorded) -> Category {
    let asked = match recorded.actor {
        Actor::User(_) | Actor::Token(_) => Category::Api,
        _ => Category::System,
    };
    match recorded.event.kind().split('.').next().unwrap_or_default() {
        "deployment" => Category::Deployment,
        "health" => Category::HealthCheck,
        "system" => Category::System,
        "user" | "token" | "setting" | "config" | "access" => Category::Audit,
        _ if matches!(recorded.event, Event::InstanceHealthChanged(_)) => Category::HealthCheck,
        _ => asked,
    }
}

/// An event as a sentence, with the names that `world` knows.
#[must_use]
pub fn message(recorded: &Recorded, world: &World) -> String {
    let name = |id: InstanceId| match world.instances.name(id) {
        Some(key) => key.to_string(),
        None => id.to_string(),
    };
    match &recorded.event {
        Event::SystemStarted(event) => format!("Tenantry {} started", event.version),
        Event::KeeperLost(event) => format!("The keeper (pid {}) is gone", event.pid),
        Event::TenantUpdated(event) => format!("Tenant updated: {}", event.changed.join(", ")),
        Event::TenantRestored(event) => {
            let what = if event.revived.is_some() { "Deleted tenant" } else { "Tenant" };
            format!("{what} restored to what it was at event {}", event.as_of)
        }
        Event::TenantConfigUpdated(event) => {
            format!("Configuration updated: {}", event.changed.join(", "))
        }
        Event::PortAllocated(event) => {
            format!("Ports {} and {} allocated", event.ports.frontend, event.ports.backend)
        }
        Event::PortReleased(event) => {
            format!("Ports {} and {} released", event.ports.frontend, event.ports.backend)
        }
        Event::InstanceStarted(event) => format!("{} runs as pid {}", name(event.instance_id), event.pid),
        Event::InstanceExited(event) => format!("{} ended: {}", name(event.instance_id), event.status),
        Event::InstanceHealthChanged(event) => {
            let health = match event.health {
                InstanceHealth::Healthy => "healthy",
                InstanceHealth::Unhealthy => "unhealthy",
                InstanceHealth::Unknown => "not checked",
            };
            format!("{} is {health}: {}", name(event.instance_id), event.detail)
        }
        Event::InstanceRestartScheduled(event) => format!(
            "{} is started again in {} ms (failure {})",
            name(event.instance_id),
            event.delay_ms,
            event.failures
        ),
        Event::DeploymentRequested(_) => "Deployment started".to_owned(),
        Event::StepStarted(event) => format!("{}: started", event.step.name()),
        Event::StepFinished(event) => {
            let outcome = match event.outcome {
                StepOutcome::Success => "success",
                StepOutcome::Failed => "failed",
                StepOutcome::Skipped => "skipped",
            };
            format!("{}: {outcome}", event.step.name())
        }
        Event::StepRolledBack(event) => format!("{}: taken back", event.step.name()),
        Event::ReleaseActivated(event) => format!("Release {} serves", event.release),
        Event::DeploymentFinished(event) => match event.outcome {
            DeploymentOutcome::Success => "Deployment succeeded".to_owned(),
            DeploymentOutcome::Failed => "Deployment failed".to_owned(),
            DeploymentOutcome::Cancelled => "Deployment cancelled".to_owned(),
        },
        Event::HealthChanged(event) => {
            let parts = [("frontend", &event.frontend), ("backend", &event.backend)];
            let parts = parts.map(|(part, state)| format!("{part} {state}")).join(", ");
            format!("Health changed: {parts}, database {}", event.database)
        }
        Event::SettingChanged(event) => format!("Setting {} changed", event.key),
        Event::AccessDenied(event) => {
            let (what, from) = (format!("{} {}", event.method, event.route), whence(&event.from));
            format!("Refused with {}: {what} from {from}{}", event.status, times(event.count))
        }
        Event::LoginFailed(event) => {
            let named = event.user_id.and_then(|id| world.access.actor_name(Actor::User(id)));
            let whose = match (event.user_id, named) {
                (Some(_), Some(name)) => format!("as {name}"),
                (Some(id), None) => format!("as {id}"),
                (None, _) => "under a name that nobody has".to_owned(),
            };
            let how = if event.limited { "Login refused, too many failed" } else { "Login failed" };
            format!("{how}: {whose} from {}{}", whence(&event.from), times(event.count))
        }
        Event::DenialsUnrecorded(event) => {
            format!("{} more attempts were refused and are not recorded one by one", event.count)
        }
        _ => match recorded.instance_id {
            Some(instance) => format!("{}: {}", name(instance), spoken(recorded.event.kind())),
            None => spoken(recorded.event.kind()),
        },
    }
}

fn whence(from: &Sealed<Whence>) -> &str {
    from.open().map_or(from.stand_in(), |from| &from.address)
}

fn times(count: u64) -> String {
    if count == 1 { String::new() } else { format!(", {count} times") }
}

/// A kind as words: `tenant.deletion_requested` is "Tenant deletion requested".
fn spoken(kind: &str) -> String {
    let words = kind.replace(['.', '_'], " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
