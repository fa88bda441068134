//! Doors to what is observed of processes and is no state: their output, their checks.

use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::BoxStream;
use tenantry_journal::event::instance::Limits;
use tenantry_journal::id::InstanceId;
pub use tenantry_journal::spool::Stream as Source;
use tenantry_journal::time::Timestamp;
use tenantry_projections::search::{Found, Request};

pub use crate::supervisor::{RequestCounts, Sample, Storage, Usage};

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

/// Lines in blocks, the newest block first, the lines of each oldest first.
pub type Backwards = Box<dyn Iterator<Item = Result<Vec<Line>, OutputError>> + Send>;

/// What processes printed.
pub trait Outputs: Send + Sync + 'static {
    /// Every instance that printed something which is still kept, gone ones too. Reads a
    /// directory: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn kept(&self) -> Result<Vec<InstanceId>, OutputError>;

    /// The position of the oldest line of an instance that is kept and the one after its
    /// newest. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// When its output cannot be read.
    fn range(&self, instance: InstanceId) -> Result<(u64, u64), OutputError>;

    /// The lines of an instance before a position (or all), the newest first. Reads files: use
    /// it where blocking is allowed.
    ///
    /// # Errors
    /// When its output cannot be read.
    fn backwards(&self, instance: InstanceId, before: Option<u64>) -> Result<Backwards, OutputError>;

    /// The lines at these positions, as far as they are kept, oldest first. Reads files: call
    /// it where blocking is allowed.
    ///
    /// # Errors
    /// When its output cannot be read.
    fn at(&self, instance: InstanceId, positions: &[u64]) -> Result<Vec<Line>, OutputError>;

    /// The lines of an instance after a position (0: from its first on), or those that it
    /// prints from now on. Never ends by itself; a slow reader is served from what is kept.
    fn follow(&self, instance: InstanceId, after: Option<u64>) -> BoxStream<'static, Line>;

    /// Looks for lines. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the index is damaged; it is being built again.
    fn search(&self, request: &Request<'_>) -> Result<Found, OutputError>;
}

/// What processes printed that systemd runs: it is in systemd's journal.
pub trait UnitLogs: Send + Sync + 'static {
    /// Whether an instance's lines are there.
    fn has(&self, _instance: InstanceId) -> bool {
        false
    }

    /// Its last lines, oldest first.
    fn last(
        &self,
        _instance: InstanceId,
        _count: usize,
    ) -> BoxFuture<'static, Result<Vec<String>, OutputError>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    /// Its last lines, then each that it prints.
    fn follow(&self, _instance: InstanceId, _count: usize) -> BoxStream<'static, String> {
        futures_util::stream::pending().boxed()
    }
}

/// What health checks saw.
pub trait Checks: Send + Sync + 'static {
    /// When an instance was checked last; `None` when it was not since this program started.
    fn last_check(&self, instance: InstanceId) -> Option<Timestamp>;
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
