//! What tasks of the reactor work with.

use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tenantry_journal::id::{DeploymentId, Seq};
use tenantry_projections::world::World;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::analysis::Themes;
use super::erasure::Eraser;
use crate::domain::command::{Command, Submission};
use crate::domain::policy::Policy;
use crate::drivers::deploy_log::DeployLogs;
use crate::drivers::files::{Cancel, Files};
use crate::engine::{Handle, Outcome, SubmitError};
use crate::keeper::client::KeeperError;
use crate::proxy::runs::Runs;
use crate::sites::Sites;
use crate::supervisor::Supervisor;

/// How many deployments copy files or prepare databases at once: these load disk, network
/// and processors, and more at once end later, all of them.
pub(super) const HEAVY_STEPS: usize = 8;
/// How many look at once whose a port is: a look is short, and each takes a thread.
const LOOKS: usize = 2;
/// Far enough away to be never.
const NEVER: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

/// What tasks of the reactor work with.
pub struct Outside {
    /// The way to the engine.
    pub handle: Handle,
    /// What the configuration says.
    pub policy: Arc<ArcSwap<Policy>>,
    /// The way to processes.
    pub supervisor: Arc<Supervisor>,
    /// Deployments' logs.
    pub logs: DeployLogs,
    /// Requests that are under way to runs.
    pub runs: Runs,
    /// nginx sites and certificates, when there is a driver for them.
    pub sites: Option<Arc<Sites>>,
    /// What themes and analyses need; without it they wait.
    pub themes: Option<Themes>,
    /// Held while tenants' directories are moved.
    pub(super) moving: Arc<Mutex<()>>,
    /// What forgets tenants; without it they wait.
    pub eraser: Option<Eraser>,
    heavy: Semaphore,
    looks: Semaphore,
}

/// Why a task ended without having done its work; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// What it reported was not recorded.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The keeper did not do as asked.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// Nothing came of it in time.
    #[error("{0}")]
    Stuck(String),
}

impl Outside {
    /// Puts together what tasks need.
    #[must_use]
    pub fn new(
        handle: Handle,
        policy: Arc<ArcSwap<Policy>>,
        supervisor: Arc<Supervisor>,
        logs: DeployLogs,
    ) -> Outside {
        let (heavy, looks) = (Semaphore::new(HEAVY_STEPS), Semaphore::new(LOOKS));
        Outside {
            handle,
            policy,
            supervisor,
            logs,
            runs: Runs::default(),
            sites: None,
            themes: None,
            moving: Arc::default(),
            eraser: None,
            heavy,
            looks,
        }
    }

    /// Lets the requests of a run come to their end before it is ended.
    #[must_use]
    pub fn draining(self, runs: Runs) -> Outside {
        Outside { runs, ..self }
    }

    /// Makes sites and certificates.
    #[must_use]
    pub fn with_sites(self, sites: Arc<Sites>) -> Outside {
        Outside { sites: Some(sites), ..self }
    }

    /// Applies themes and analyzes websites.
    #[must_use]
    pub fn dressing(self, themes: Themes) -> Outside {
        Outside { themes: Some(themes), ..self }
    }

    /// Forgets tenants.
    #[must_use]
    pub fn erasing(self, eraser: Eraser) -> Outside {
        Outside { eraser: Some(eraser), ..self }
    }

    pub(super) async fn submit(&self, command: Command, cause: Seq) -> Result<Outcome, TaskError> {
        Ok(self.handle.submit(Submission::system(command, Some(cause))).await?)
    }

    /// Waits until something is so in the World, for as long as it takes.
    pub(super) async fn until(&self, so: impl Fn(&World) -> bool) {
        loop {
            let found = self.handle.until(Instant::now() + NEVER, |world| so(world).then_some(())).await;
            if found.is_some() {
                return;
            }
        }
    }

    /// The drivers of files, by the present configuration.
    pub(super) fn files(&self) -> Files {
        let policy = self.policy.load();
        Files::new(policy.deploy_root.clone()).only_from(policy.deploying.sources.clone())
    }

    /// A place in the queue of heavy steps.
    pub(super) async fn heavy(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // It is never closed.
        self.heavy.acquire().await.ok()
    }

    /// A place among those who look whose a port is.
    pub(super) async fn look(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // It is never closed.
        self.looks.acquire().await.ok()
    }

    /// Names a deployment's tools, so that they are not run twice at once.
    pub(super) fn claim(&self, id: DeploymentId) -> std::path::PathBuf {
        let data: &Path = &self.policy.load().data_dir;
        data.join("claims").join(id.to_string())
    }
}

/// Runs blocking work on a thread for it. When this future is dropped the work is called off.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Cancel) -> T + Send + 'static,
) -> Result<T, String> {
    struct CallOff(Cancel);
    impl Drop for CallOff {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    let cancel = Cancel::default();
    let _call_off = CallOff(cancel.clone());
    tokio::task::spawn_blocking(move || work(&cancel)).await.map_err(|error| error.to_string())
}
