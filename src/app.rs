//! Wiring: from a configuration to a control plane that runs, and back to nothing.
//!
//! Order of starting: data directory (lock, keys, journal), World, writer, supervisor,
//! reactor, listeners. Order of ending: listeners, reactor, supervisor, writer, snapshot.
//! Instances are never touched by either.

mod offline;
mod program;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::lock::DataLock;
use tenantry_journal::sealed::{Secret, Vault};
use tenantry_journal::store::Journal;
use tenantry_projections::as_of::TimeTravel;
use tenantry_projections::snapshot::Snapshots;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::jwt::JwtKeys;
use crate::auth::login_limit::LoginLimit;
use crate::auth::password::{self, Passwords};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::command::{Command, Submission};
use crate::domain::policy::Policy;
use crate::engine::{Engine, Handle, JournalSource, Setup, Snapshotter, boot};
use crate::http::router::{Listener, router};
use crate::http::state::{AppState, HttpSettings, Parts};
use crate::past::Past;

pub use program::Tenantry;

/// Open requests and streams get this long to end when the program ends; the whole end must
/// take less than 8 s.
const DRAIN: Duration = Duration::from_secs(4);

/// A control plane that runs.
pub struct App {
    /// Where document 1's listener is.
    pub manager: SocketAddr,
    /// Where document 2's listener is.
    pub instances: SocketAddr,
    /// The way to the writer.
    pub handle: Handle,
    policy: Arc<ArcSwap<Policy>>,
    settings: Arc<ArcSwap<HttpSettings>>,
    shutdown: CancellationToken,
    listeners: JoinSet<std::io::Result<()>>,
    snapshots: (crossbeam_channel::Sender<()>, JoinHandle<()>),
    engine: Engine,
    _lock: Option<DataLock>,
}

/// What is told once, when the first administrator is made.
pub struct FirstAdmin {
    /// The password that was made; `None` when the operator gave one.
    pub password: Option<Secret>,
}

fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        hosts: config.allowed_hosts.clone(),
        rate_limit_per_minute: config.rate_limit.per_minute,
        rate_limit_per_hour: config.rate_limit.per_hour,
    }
}

impl App {
    /// Takes on a changed configuration: what is decided from now on follows it. Addresses,
    /// the data directory and the log's format are those of the start.
    pub fn reconfigure(&self, config: &Config) {
        self.policy.store(Arc::new(config.policy()));
        self.settings.store(Arc::new(http_settings(config)));
    }

    /// Ends everything but the instances. Returns when nothing is left.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let drained = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("requests or streams were cut off, they did not end in time");
        }
        let (stop_snapshots, snapshots) = self.snapshots;
        let engine = self.engine;
        let ended = tokio::task::spawn_blocking(move || {
            engine.stop();
            drop(stop_snapshots);
            snapshots.join()
        });
        if !matches!(ended.await, Ok(Ok(()))) {
            tracing::error!("a thread panicked at the end");
        }
    }
}
