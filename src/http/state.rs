//! What handlers need of the rest of the program, behind small doors.
//!
//! Each trait here is implemented by the part that it names and by a stand-in in tests.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::id::{DeploymentId, Seq, TenantId};
use tenantry_journal::time::Timestamp;
use tenantry_projections::history::History;
use tenantry_projections::world::World;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::auth::denied::Denials;
use crate::auth::jwt::JwtKeys;
use crate::auth::last_used::LastUsed;
use crate::auth::login_limit::LoginLimit;
use crate::auth::password::Passwords;
use crate::auth::rate_limit::RateLimit;
use crate::auth::token_key::TokenKey;
use crate::clock::Clock;
use crate::configured::Configured;
use crate::control_log::ControlLog;
use crate::domain::policy::Policy;
use crate::drivers::blob::Blobs;
use crate::engine;
use crate::http::events::rendered::Rendered;
use crate::http::events::rows::Rows;
use crate::http::kept::Kept;
use crate::http::observed::{Checks, Measures, Outputs, UnitLogs};
use crate::http::repeat::Repeats;
use crate::sites::Sites;
use crate::telemetry::Metrics;

/// A moment that cannot be answered for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsOfError {
    /// Neither a position nor a time.
    #[error("as_of '{0}' is neither a position nor a time (RFC 3339, '5m ago', 'yesterday 14:00')")]
    Malformed(String),
    /// Nothing had happened yet.
    #[error("as_of lies before the first event")]
    BeforeFirst,
    /// It has not happened yet.
    #[error("as_of lies after the head of the journal, position {0}")]
    AfterHead(Seq),
    /// The journal cannot be read.
    #[error("the journal cannot be read: {0}")]
    Unavailable(String),
}

/// The past. Its methods read files: call them where blocking is allowed.
pub trait TimeMachine: Send + Sync + 'static {
    /// The position that a point (a position or an RFC 3339 time) names.
    ///
    /// # Errors
    /// When the point is malformed, before the first event, or later than `now` and the head.
    fn resolve(&self, point: &str, now: Timestamp) -> Result<Seq, AsOfError>;

    /// The World right after the event at a position.
    ///
    /// # Errors
    /// When the position is after the head or the journal cannot be read.
    fn world_at(&self, seq: Seq) -> Result<Arc<World>, AsOfError>;

    /// One tenant right after the event at a position, in a World that holds what is about it
    /// and nothing else (unless the position is the head's).
    ///
    /// # Errors
    /// When the position is after the head or the journal cannot be read.
    fn tenant_at(&self, tenant: TenantId, seq: Seq) -> Result<Arc<World>, AsOfError>;

    /// What each event of one tenant changed, from after a position up to and with another.
    ///
    /// # Errors
    /// When a position is after the head or the journal cannot be read.
    fn history(&self, tenant: TenantId, after: Seq, until: Seq, limit: usize) -> Result<History, AsOfError>;

    /// Drops what is kept of earlier moments: it holds what a key opened that is gone by now.
    fn forget(&self) {}
}

/// What the steps of deployments printed.
pub trait DeploymentLogs: Send + Sync + 'static {
    /// All of it so far. Reads a file: call it where blocking is allowed.
    fn text(&self, deployment: DeploymentId) -> String;

    /// Its lines from the first on, then live. The stream may go on after the deployment ended.
    fn follow(&self, deployment: DeploymentId) -> BoxStream<'static, String>;
}

/// One check by HTTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probe {
    /// Whether it answered as a healthy process does.
    pub up: bool,
    /// How long the answer took, in milliseconds; `None` without one.
    pub response_time_ms: Option<u64>,
    /// The answer's status code; `None` without one.
    pub status_code: Option<u16>,
}

/// A look at a database file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatabaseProbe {
    /// `healthy`, `missing` or `damaged`.
    pub status: String,
    /// Its size in MB (10^6 bytes).
    pub size_mb: f64,
    /// Processes that have it open.
    pub connections: u32,
}

/// What the checks of a tenant found.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthReport {
    /// What the parts add up to.
    pub overall: TenantHealth,
    /// Its frontend.
    pub frontend: Probe,
    /// Its backend.
    pub backend: Probe,
    /// Its database.
    pub database: DatabaseProbe,
    /// When.
    pub checked_at: Timestamp,
}

/// Looks at what runs, now.
pub trait Live: Send + Sync + 'static {
    /// Checks a tenant's parts.
    fn health_check(&self, tenant: TenantId) -> BoxFuture<'static, HealthReport>;

    /// What the last check found; `None` when there was none since the control plane started.
    fn last_health(&self, tenant: TenantId) -> Option<HealthReport>;

    /// What each check from now on finds.
    fn follow_health(&self, tenant: TenantId) -> BoxStream<'static, HealthReport>;
}

/// What handlers need of the configuration; replaced as a whole when it is read again.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Host names of our own, besides addresses and `localhost`; lower case, no port.
    pub hosts: Vec<String>,
    /// Requests a minute of one token or user.
    pub rate_limit_per_minute: u32,
    /// Requests an hour of one token or user.
    pub rate_limit_per_hour: u32,
}

/// Everything that handlers reach.
pub struct Parts {
    /// The writer and the present World.
    pub engine: engine::Handle,
    /// The past.
    pub time: Arc<dyn TimeMachine>,
    /// Output of deployments.
    pub logs: Arc<dyn DeploymentLogs>,
    /// Checks of what runs.
    pub live: Arc<dyn Live>,
    /// The configuration, as far as decisions depend on it.
    pub policy: Arc<ArcSwap<Policy>>,
    /// The configuration, as far as the API depends on it.
    pub settings: Arc<ArcSwap<HttpSettings>>,
    /// Logins.
    pub jwt: JwtKeys,
    /// Password hashes.
    pub passwords: Passwords,
    /// What was refused, on its way into the journal.
    pub denials: Arc<Denials>,
    /// Proofs over the journal.
    pub audit: Arc<Audit>,
    /// Slows guessing of passwords.
    pub login_limit: LoginLimit,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Requests that come again with the same key.
    pub repeats: Repeats,
    /// Ends every stream when the program ends.
    pub shutdown: CancellationToken,
    /// What processes printed.
    pub outputs: Arc<dyn Outputs>,
    /// What processes printed that systemd runs.
    pub unit_logs: Arc<dyn UnitLogs>,
    /// What health checks saw.
    pub checks: Arc<dyn Checks>,
    /// The control plane's own log.
    pub control_log: ControlLog,
    /// What instances use.
    pub measures: Arc<dyn Measures>,
    /// When API tokens were shown last.
    pub last_used: Arc<LastUsed>,
    /// Counts everybody's requests.
    pub rate_limit: RateLimit,
    /// The configuration that holds.
    pub config: Arc<Configured>,
    /// Texts of API tokens for requests that may come twice.
    pub token_key: TokenKey,
    /// Uploaded files and screenshots.
    pub blobs: Arc<Blobs>,
    /// The recent events as JSON.
    pub rendered: Rendered,
    /// Subscribers on sockets that have everything so far.
    pub rows: Rows,
    /// Answers of the present World.
    pub kept: Kept,
    /// nginx sites and certificates.
    pub sites: Arc<Sites>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Everything that handlers reach, shared.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

impl AppState {
    /// Shares the parts.
    #[must_use]
    pub fn new(parts: Parts) -> AppState {
        AppState(Arc::new(parts))
    }

    /// Drops everything that is kept in memory and may hold what an erased key once opened.
    pub fn forget_opened(&self) {
        self.0.engine.feed().forget();
        self.0.time.forget();
        self.0.rendered.forget();
        self.0.kept.forget();
        self.0.repeats.forget();
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

impl Deref for AppState {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
