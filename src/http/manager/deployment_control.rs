//! Calling a deployment off, and taking it up again.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use tenantry_journal::id::DeploymentId;
use tokio::time::Instant;

use super::deployments::{DeploymentView, find, log_text, started};
use crate::domain::command::Command;
use crate::http::error::ApiError;
use crate::http::extract::{Id, NoQuery, Scope};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// How long the answer waits for what was begun to be taken back, which is recorded at once; it
/// goes on without anybody waiting, too.
const CANCEL_WAIT: Duration = Duration::from_secs(30);

/// `POST /api/deployments/{id}/cancel`: answers when it has ended.
pub(super) async fn cancel(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<DeploymentId>,
    _: NoQuery,
) -> Answer {
    find(&scope, id)?;
    write.submit(Command::CancelDeployment { deployment_id: id }).await?;
    let over = app.engine.until(Instant::now() + CANCEL_WAIT, |world| match world.deployments.get(id) {
        Some(deployment) => deployment.is_over().then(|| Some(deployment.clone())),
        None => Some(None),
    });
    let Some(Some(deployment)) = over.await else {
        return Err(ApiError::timed_out(format!("Deployment '{id}' is being cancelled, and not over yet."))
            .coded("cancel_running")
            .detailed("It goes on by itself; ask for the deployment again until it has ended.")
            .into());
    };
    let logs = log_text(&app, id).await?;
    Ok(answer(StatusCode::OK, &DeploymentView::new(&deployment, Some(logs))))
}

/// `POST /api/deployments/{id}/retry`: from the step that did not succeed.
pub(super) async fn retry(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<DeploymentId>,
    _: NoQuery,
) -> Answer {
    let tenant = find(&scope, id)?.tenant_id;
    let outcome = write.submit(Command::RetryDeployment { deployment_id: id }).await?;
    let at = outcome.events.first().map(|event| event.at).ok_or_else(ApiError::internal)?;
    started(&app, &outcome, tenant, id, at).await
}
