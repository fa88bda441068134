//! `WS /ws/deployments/{id}`: progress, lines and the end of a deployment.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use tenantry_journal::id::DeploymentId;

use super::deployment_feed::{Message, messages};
use super::deployments::find;
use crate::http::extract::{Id, NoQuery};
use crate::http::router::Access;
use crate::http::state::AppState;
use crate::http::ws::{Close, Incoming, Session, Upgrade};

/// `WS /ws/deployments/{id}`
pub(super) async fn open(
    State(app): State<AppState>,
    Id(id): Id<DeploymentId>,
    _: NoQuery,
    upgrade: Upgrade,
) -> Response {
    if let Some(Err(error)) = upgrade.scope.as_ref().map(|scope| find(scope, id)) {
        return error.into_response();
    }
    upgrade.run(Access::SOCKET, move |mut session| async move {
        let close = follow(&app, &mut session, id).await;
        session.end(close).await;
    })
}

async fn follow(app: &AppState, session: &mut Session, id: DeploymentId) -> Close {
    if find(&session.scope, id).is_err() {
        return Close::Policy("deployment not found");
    }
    let messages = messages(app.clone(), id);
    tokio::pin!(messages);
    loop {
        tokio::select! {
            incoming = session.next() => match incoming {
                Incoming::Text(_) => {}
                Incoming::End(close) => return close,
            },
            message = messages.next() => {
                let Some(message) = message else { return Close::Done };
                if let Err(close) = session.send(&message).await {
                    return close;
                }
                if matches!(message, Message::Complete { .. }) {
                    return Close::Done;
                }
            }
        }
    }
}
