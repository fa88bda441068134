//! A deployment as a stream of messages: its state, then each change and line, then its end.
//!
//! Whoever comes late gets the lines from the first on and `complete` all the same. Progress
//! only grows.

use futures_util::{Stream, StreamExt as _};
use serde::Serialize;
use tenantry_journal::id::DeploymentId;
use tenantry_projections::world::deployments::{Deployment, DeploymentStatus, StepStatus};

use super::deployments::{current_step, log_text};
use super::view::Seconds;
use crate::http::state::AppState;

/// A message of document 1.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(rename = "DeploymentMessage")]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Message {
    /// How far it is.
    Progress {
        deployment_id: DeploymentId,
        status: DeploymentStatus,
        current_step: Option<&'static str>,
        progress_percent: u64,
    },
    /// A line that a step printed.
    Log { message: String },
    /// It is over; the last message.
    Complete { deployment_id: DeploymentId, status: DeploymentStatus, duration_seconds: Seconds },
}

/// The messages of a deployment, from its present state to its end.
pub(super) fn messages(app: AppState, id: DeploymentId) -> impl Stream<Item = Message> + Send {
    async_stream::stream! {
        let mut changes = app.engine.changes();
        let mut lines = app.logs.follow(id);
        let mut lines_end = false;
        let mut sent_lines = 0;
        let mut shown: Option<(DeploymentStatus, Option<&'static str>, u64)> = None;
        loop {
            changes.mark_unchanged();
            // Gone with its tenant, or too old: nothing more can be said.
            let Some(deployment) = app.engine.world().deployments.get(id).cloned() else { return };
            if deployment.is_over() {
                // What the live stream has not brought yet stands in the text.
                let text = log_text(&app, id).await.unwrap_or_default();
                for line in text.lines().skip(sent_lines) {
                    yield Message::Log { message: line.to_owned() };
                }
            }
            let percent = percent(&deployment).max(shown.map_or(0, |(_, _, percent)| percent));
            let now = (deployment.status, current_step(&deployment), percent);
            if shown != Some(now) {
                shown = Some(now);
                let (status, current_step, progress_percent) = now;
                yield Message::Progress { deployment_id: id, status, current_step, progress_percent };
            }
            if deployment.is_over() {
                let end = deployment.finished_at.unwrap_or(deployment.requested_at);
                yield Message::Complete {
                    deployment_id: id,
                    status: deployment.status,
                    duration_seconds: Seconds::between(deployment.requested_at, end),
                };
                return;
            }
            loop {
                tokio::select! {
                    changed = changes.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    line = lines.next(), if !lines_end => match line {
                        Some(message) => {
                            sent_lines += 1;
                            yield Message::Log { message };
                        }
                        None => lines_end = true,
                    },
                }
            }
        }
    }
}

/// How much is done, by steps; one that runs counts half.
fn percent(deployment: &Deployment) -> u64 {
    if deployment.status == DeploymentStatus::Success {
        return 100;
    }
    let halves: u64 = deployment
        .steps
        .iter()
        .map(|step| match step.status {
            StepStatus::Pending | StepStatus::Cancelled => 0,
            StepStatus::Running => 1,
            StepStatus::Success | StepStatus::Failed | StepStatus::Skipped | StepStatus::RolledBack => 2,
        })
        .sum();
    (halves * 50).checked_div(deployment.steps.len() as u64).unwrap_or(0)
}
