//! Doors to what is observed of processes and is no state: their output, their checks.

use futures_util::stream::BoxStream;
use tenantry_journal::event::instance::Limits;
use tenantry_journal::id::InstanceId;
use tenantry_journal::time::Timestamp;

pub use crate::supervisor::{RequestCounts, Sample, Storage, Usage};

/// Where a line came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line that a process printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its position in the instance's output, from 1.
    pub position: u64,
    /// When it was read from the process.
    pub at: Timestamp,
    /// Where it came out.
    pub source: Source,
    /// The line; what is not UTF-8 is replaced, what was not kept is told.
    pub text: String,
}

/// Output cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the output cannot be read: {0}")]
pub struct OutputError(pub String);

/// What processes printed.
pub trait Outputs: Send + Sync + 'static {
    /// Every instance that printed something which is still kept, gone ones too. Reads a
    /// directory: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn kept(&self) -> Result<Vec<InstanceId>, OutputError>;

    /// How many lines of an instance are kept. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// When its output cannot be read.
    fn count(&self, instance: InstanceId) -> Result<u64, OutputError>;

    /// The newest lines of an instance before a position (or of all), at most `max`, oldest
    /// first. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// When its output cannot be read.
    fn newest(&self, instance: InstanceId, max: usize, before: Option<u64>)
    -> Result<Vec<Line>, OutputError>;

    /// The lines of an instance after a position (0: from its first on), or those that it
    /// prints from now on. Never ends by itself; a slow reader is served from what is kept.
    fn follow(&self, instance: InstanceId, after: Option<u64>) -> BoxStream<'static, Line>;
}

/// What health checks saw.
pub trait Checks: Send + Sync + 'static {
    /// When an instance was checked last; `None` when it was not since this program started.
    fn last_check(&self, instance: InstanceId) -> Option<Timestamp>;
}

/// What the proxy has passed on.
pub trait Requests: Send + Sync + 'static {
    /// How many requests an instance got since this program started.
    fn counts(&self, instance: InstanceId) -> RequestCounts;
}

/// No proxy: nobody got any.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRequests;

impl Requests for NoRequests {
    fn counts(&self, _: InstanceId) -> RequestCounts {
        RequestCounts::default()
    }
}

/// What is measured of an instance.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// What its processes use; `None` while it has none.
    pub usage: Option<Usage>,
    /// Health checks since this program started, over all runs: passed and failed.
    pub checks: (u64, u64),
    /// Requests since this program started.
    pub requests: RequestCounts,
    /// Requests a second over the last minute.
    pub requests_per_second: f64,
    /// What its directory takes, when that has a quota and was looked at.
    pub storage: Option<Storage>,
}

/// What is measured of instances.
pub trait Measures: Send + Sync + 'static {
    /// An instance as it is now.
    fn now(&self, _instance: InstanceId) -> Measured {
        Measured::default()
    }

    /// Its last hour, one sample every ten seconds, oldest first.
    fn hour(&self, _instance: InstanceId) -> Vec<Sample> {
        Vec::new()
    }

    /// What of these limits has no effect on this machine, as sentences.
    fn lacking(&self, _limits: &Limits) -> Vec<String> {
        Vec::new()
    }
}
