//! Makes the world outside match what is recorded.
//!
//! After each change of the World [`react`] says what is still lacking, and whatever is not
//! under way is begun as a task. Wake-ups carry no data, and nothing is remembered that a
//! crash could lose: the next start looks and goes on. An instance, a deployment or a tenant
//! has one task at a time; a task watches the World and ends by itself when it is no longer
//! wanted. What fails, or ends without having changed anything, waits longer each time.

mod analysis;
mod deployment;
mod env_file;
mod erasure;
mod gate;
mod home;
mod instance;
mod outside;
mod pace;
mod services;
mod site;
mod steps;
mod switch;
mod tenant;
mod theme;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::id::{AnalysisId, DeploymentId, InstanceId, TenantId};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::effect::{Due, Effect};
use crate::domain::react::react;
pub use analysis::Themes;
pub use erasure::Eraser;
pub use outside::{Outside, TaskError};
use pace::Pace;

/// How late a moment may be noticed when the system's clock was set: the wait for it is
/// looked at again at least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Due moments are waited for with this on top, since an effect that comes early is refused.
const NOT_EARLY: Duration = Duration::from_millis(2);

/// What has one task at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Instance(InstanceId),
    Deployment(DeploymentId),
    Tenant(TenantId),
    Theme(TenantId),
    Analysis(AnalysisId),
    EnvFile(TenantId),
}

impl Subject {
    fn of(effect: Effect) -> Subject {
        match effect {
            Effect::BeginRun(id)
            | Effect::BeginSuccessor(id)
            | Effect::EnsureRun(id, _)
            | Effect::EndRun(id, _)
            | Effect::ForgetInstance(id) => Subject::Instance(id),
            Effect::RunStep(id, _) | Effect::RollBack(id) => Subject::Deployment(id),
            Effect::RemoveTenant(id) | Effect::EraseTenant(id) => Subject::Tenant(id),
            Effect::ApplyTheme(id) => Subject::Theme(id),
            Effect::Analyze(id) => Subject::Analysis(id),
            Effect::WriteEnv(id) => Subject::EnvFile(id),
        }
    }
}

/// Makes the world outside match what is recorded.
pub struct Reactor {
    outside: Arc<Outside>,
    tasks: JoinSet<Result<(), TaskError>>,
    begun: HashMap<Id, Effect>,
    busy: HashSet<Subject>,
    pace: Pace,
}

impl Reactor {
    /// Performs what is due until `shutdown`. Steps that are under way then are broken off and
    /// done again at the next start; processes live on.
    pub async fn run(outside: Outside, shutdown: CancellationToken) {
        let mut changes = outside.handle.changes();
        let mut reactor = Reactor {
            outside: Arc::new(outside),
            tasks: JoinSet::new(),
            begun: HashMap::new(),
            busy: HashSet::new(),
            pace: Pace::default(),
        };
        loop {
            changes.mark_unchanged();
            let wake = reactor.look();
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
                Some(ended) = reactor.tasks.join_next_with_id() => reactor.ended(ended),
                () = tokio::time::sleep_until(wake) => {}
            }
            // Whatever else has ended by now is taken note of before the next look.
            while let Some(ended) = reactor.tasks.try_join_next_with_id() {
                reactor.ended(ended);
            }
        }
        reactor.tasks.shutdown().await;
    }

    /// Begins what is due and not under way. Returns when to look again at the latest.
    fn look(&mut self) -> Instant {
        let now = Instant::now();
        let wall = crate::clock::now();
        let mut wake = now + LONGEST_WAIT;
        let all = react(&self.outside.handle.world());
        self.pace.keep_only(&all);
        for due in all {
            let subject = Subject::of(due.effect);
            if self.busy.contains(&subject) {
                continue;
            }
            if let Some(moment) = due.not_before
                && moment > wall
            {
                wake = wake.min(now + Duration::from_millis(moment.since_ms(wall)) + NOT_EARLY);
                continue;
            }
            match self.pace.waits_until(due.effect, now) {
                Some(moment) => wake = wake.min(moment),
                None => self.begin(due, subject),
            }
        }
        wake
    }

    fn count(&self) {
        let under_way = i64::try_from(self.busy.len()).unwrap_or(i64::MAX);
        self.outside.supervisor.metrics.effects_in_flight.set(under_way);
    }

    fn begin(&mut self, due: Due, subject: Subject) {
        let outside = Arc::clone(&self.outside);
        let task = self.tasks.spawn(async move { perform(&outside, due).await });
        self.begun.insert(task.id(), due.effect);
        self.busy.insert(subject);
        self.count();
    }

    fn ended(&mut self, ended: Result<(Id, Result<(), TaskError>), tokio::task::JoinError>) {
        let (id, failed) = match ended {
            Ok((id, Ok(()))) => (id, None),
            Ok((id, Err(error))) => (id, Some(crate::error::chain(&error))),
            Err(error) => (error.id(), Some(error.to_string())),
        };
        let Some(effect) = self.begun.remove(&id) else { return };
        self.busy.remove(&Subject::of(effect));
        self.count();
        if let Some(error) = &failed {
            tracing::warn!(?effect, error, "an effect failed and is tried again");
        }
        let how = if failed.is_some() { pace::How::Failed } else { pace::How::Done };
        self.pace.ended(effect, how, Instant::now());
    }
}

async fn perform(outside: &Outside, due: Due) -> Result<(), TaskError> {
    let cause = due.cause;
    match due.effect {
        Effect::BeginRun(id) => instance::begin_run(outside, id, cause).await,
        Effect::BeginSuccessor(id) => instance::begin_successor(outside, id, cause).await,
        Effect::EnsureRun(id, run) => instance::ensure_run(outside, id, run, cause).await,
        Effect::EndRun(id, run) => instance::end_run(outside, id, run, cause).await,
        Effect::ForgetInstance(id) => instance::forget(outside, id, cause).await,
        Effect::RunStep(id, step) => deployment::run_step(outside, id, step, cause).await,
        Effect::RollBack(id) => deployment::roll_back(outside, id, cause).await,
        Effect::RemoveTenant(id) => tenant::remove(outside, id, cause).await,
        Effect::EraseTenant(id) => erasure::erase(outside, id, cause).await,
        Effect::ApplyTheme(id) => theme::apply(outside, id, cause).await,
        Effect::Analyze(id) => analysis::analyze(outside, id, cause).await,
        Effect::WriteEnv(id) => env_file::write(outside, id, cause).await,
    }
}
