//! The configuration that holds, and how another one takes its place.
//!
//! The file is read again when somebody asks. What changed is recorded by its names, the
//! instances that it concerns are respecified and restarted in the same commit, and whatever
//! is decided from then on follows it. A bad file changes nothing.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::MutexGuard;

use crate::config::{Config, ConfigErrors, Source};
use crate::domain::command::{Command, Submission};
use crate::domain::reconfigure::Reconfigure;
use crate::drivers::listening;
use crate::engine::{Handle, Outcome, SubmitError};

/// The configuration that holds.
pub struct Configured {
    current: ArcSwap<Config>,
    source: Source,
    /// Keys the hash of a configuration, so that its secrets cannot be guessed from it.
    key: [u8; 32],
    /// The hash of what was taken on last.
    hash: Mutex<String>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
    /// Has every part follow a configuration.
    follow: Box<dyn Fn(&Config) + Send + Sync>,
}

/// A change that can be carried out.
pub struct Plan {
    /// What is to hold.
    pub config: Config,
    /// What is to be recorded.
    pub change: Reconfigure,
}

/// A file that was not taken on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It is not valid.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
    /// It could not be recorded, or a rule forbids it.
    #[error(transparent)]
    Refused(#[from] SubmitError),
}

impl Configured {
    /// Begins with what `source` said. `follow` has every part take on a configuration, at
    /// once and without failing.
    pub fn new(
        config: Config,
        source: Source,
        key: [u8; 32],
        follow: impl Fn(&Config) + Send + Sync + 'static,
    ) -> Configured {
        let hash = Mutex::new(hash(&key, &config));
        Configured {
            current: ArcSwap::from_pointee(config),
            source,
            key,
            hash,
            turn: tokio::sync::Mutex::default(),
            follow: Box::new(follow),
        }
    }

    /// What holds now.
    #[must_use]
    pub fn current(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// Names a configuration without telling what it says.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hash.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for one's turn to change it; take it before [`Configured::plan`].
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Reads the file and says what would change. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// With everything that is wrong with the file.
    pub fn plan(&self) -> Result<Plan, ConfigErrors> {
        let running = self.current();
        let wanted = self.source.read()?;
        let config = self.source.read_beside(&running)?;
        let needs_restart = config.differences(&wanted);
        let mut changed = running.differences(&wanted);
        let hash = hash(&self.key, &wanted);
        if hash == self.hash() {
            changed.clear();
        } else if changed.is_empty() {
            changed.push("other".into());
        }
        let change = Reconfigure {
            before: Arc::new(running.policy()),
            after: Arc::new(config.policy()),
            hash,
            changed,
            needs_restart,
            listening: Arc::new(listening::ports()),
        };
        Ok(Plan { config, change })
    }

    /// Has a configuration take the place of the one that holds, and records that with `submit`.
    /// It holds before it is recorded, so that nothing is decided by the old one after; when it
    /// cannot be recorded the old one holds again.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub async fn carry_out<T, E>(
        &self,
        plan: Plan,
        submit: impl AsyncFnOnce(Command) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.current();
        let hash = plan.change.hash.clone();
        self.take_on(Arc::new(plan.config));
        match submit(Command::Reconfigure(Box::new(plan.change))).await {
            Ok(outcome) => {
                *self.hash.lock().unwrap_or_else(PoisonError::into_inner) = hash;
                Ok(outcome)
            }
            Err(error) => {
                self.take_on(before);
                Err(error)
            }
        }
    }

    /// Reads the file again on the control plane's own account.
    ///
    /// # Errors
    /// When the file is not valid, or the change cannot be recorded.
    pub async fn reload(self: &Arc<Self>, handle: &Handle) -> Result<Outcome, ReloadError> {
        let _turn = self.turn().await;
        let configured = Arc::clone(self);
        let planned = tokio::task::spawn_blocking(move || configured.plan()).await;
        let plan = planned.map_err(|error| SubmitError::Unavailable(error.to_string()))??;
        for warning in &plan.config.warnings {
            tracing::warn!("{warning}");
        }
        let submit = async |command| handle.submit(Submission::system(command, None)).await;
        Ok(self.carry_out(plan, submit).await?)
    }

    fn take_on(&self, config: Arc<Config>) {
        (self.follow)(&config);
        self.current.store(config);
    }
}

/// A keyed hash of everything that a configuration says.
fn hash(key: &[u8; 32], config: &Config) -> String {
    let said = Config {
        warnings: Vec::new(),
        file: None,
        admin_password: None,
        accept_differences: false,
        ..config.clone()
    };
    let hash = blake3::keyed_hash(key, format!("{said:?}").as_bytes());
    hash.to_hex().chars().take(32).collect()
}
