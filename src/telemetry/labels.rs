//! The labels of metrics: every value is one of a few.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use tenantry_projections::world::instances::{Instance, Phase};

/// State of an instance, as the API prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    /// The state.
    pub status: Status,
}

/// State of an instance, as the API prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Started, not healthy yet.
    Starting,
    /// It runs.
    Running,
    /// It was told to end.
    Stopping,
    /// It does not run, as it shall.
    Stopped,
    /// It does not run until a request wakes it.
    Sleeping,
    /// It ended and waits for its next start.
    Restarting,
    /// It ended and is left so.
    Failed,
}

impl Status {
    /// Every state, in the order in which they are shown.
    pub const ALL: [Status; 7] = [
        Status::Starting,
        Status::Running,
        Status::Stopping,
        Status::Stopped,
        Status::Sleeping,
        Status::Restarting,
        Status::Failed,
    ];

    /// What an instance's phase and wish add up to.
    #[must_use]
    pub fn of(instance: &Instance) -> Status {
        use tenantry_projections::world::instances::{Desired, Rest};
        match (instance.phase, instance.desired) {
            (Phase::Starting, _) if instance.restart.is_some() => Status::Restarting,
            (Phase::Running | Phase::Stopping, Desired::Running) if instance.restart.is_some() => {
                Status::Restarting
            }
            (Phase::Idle, Desired::Running) | (Phase::Starting, _) => Status::Starting,
            (Phase::Running, Desired::Stopped | Desired::Removed) | (Phase::Stopping, _) => Status::Stopping,
            (Phase::Running, Desired::Running) => Status::Running,
            (Phase::Backoff, _) => Status::Restarting,
            (Phase::Failed, _) => Status::Failed,
            (Phase::Idle, Desired::Stopped) if instance.rest == Rest::Asleep => Status::Sleeping,
            (Phase::Idle, Desired::Stopped | Desired::Removed) => Status::Stopped,
        }
    }

    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Running => "running",
            Status::Stopping => "stopping",
            Status::Stopped => "stopped",
            Status::Sleeping => "sleeping",
            Status::Restarting => "restarting",
            Status::Failed => "failed",
        }
    }
}

impl EncodeLabelValue for Status {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// How.
    pub result: Passed,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the derive prints the variant's name as the label's value")]
pub enum Passed {
    /// Well.
    passed,
    /// Not well.
    failed,
}

/// Why an attempt was refused: `unauthenticated`, `forbidden` or `login`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// Why.
    pub reason: &'static str,
}

/// Where usage is counted: `cgroup` or `proc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MeterLabel {
    /// Where.
    pub source: &'static str,
}

/// Which request; every value is one of a few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `manager` or `instances`.
    pub listener: &'static str,
    /// The method; `other` for unusual ones.
    pub method: &'static str,
    /// The route's pattern; `unmatched` without one.
    pub route: String,
    /// `2xx` and so on.
    pub status: &'static str,
}

/// Which listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ListenerLabel {
    /// `manager` or `instances`.
    pub listener: &'static str,
}

/// Which route of which listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ListenerRouteLabels {
    /// `manager` or `instances`.
    pub listener: &'static str,
    /// The route's pattern; `unmatched` without one.
    pub route: String,
}

/// Who signed a certificate: `acme` or `self-signed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SignerLabel {
    /// Who.
    pub signer: &'static str,
}
