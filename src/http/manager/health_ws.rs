//! `WS /ws/tenants/{id}/health`: what is known now, then what each check finds.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::Serialize;
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::id::TenantId;

use super::view::{Checks, HealthView};
use crate::http::extract::{Id, NoQuery};
use crate::http::router::Access;
use crate::http::state::{AppState, HealthReport};
use crate::http::ws::{Close, Incoming, Session, Upgrade};

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "HealthMessage")]
pub(super) struct Update {
    #[schemars(extend("enum" = ["health_update"]))]
    r#type: &'static str,
    tenant_id: TenantId,
    overall_status: TenantHealth,
    checks: Checks,
}

/// `WS /ws/tenants/{id}/health`
pub(super) async fn open(
    State(app): State<AppState>,
    Id(id): Id<TenantId>,
    _: NoQuery,
    upgrade: Upgrade,
) -> Response {
    if let Some(Err(error)) = upgrade.scope.as_ref().map(|scope| scope.tenant(id)) {
        return error.into_response();
    }
    upgrade.run(Access::SOCKET, move |mut session| async move {
        let close = follow(&app, &mut session, id).await;
        session.end(close).await;
    })
}

async fn follow(app: &AppState, session: &mut Session, id: TenantId) -> Close {
    if session.scope.tenant(id).is_err() {
        return Close::Policy("tenant not found");
    }
    // Before the first message, so that no check falls between the two.
    let mut reports = app.live.follow_health(id);
    let mut changes = app.engine.changes();
    if let Err(close) = send(app, session, id, app.live.last_health(id).as_ref()).await {
        return close;
    }
    loop {
        tokio::select! {
            incoming = session.next() => match incoming {
                Incoming::Text(_) => {}
                Incoming::End(close) => return close,
            },
            report = reports.next() => {
                let Some(report) = report else { return Close::Done };
                if let Err(close) = send(app, session, id, Some(&report)).await {
                    return close;
                }
            }
            changed = changes.changed() => {
                if changed.is_err() || app.engine.world().tenants.get(id).is_none() {
                    return Close::Done;
                }
            }
        }
    }
}

async fn send(
    app: &AppState,
    session: &mut Session,
    id: TenantId,
    report: Option<&HealthReport>,
) -> Result<(), Close> {
    let world = app.engine.world();
    let tenant = world.tenants.get(id).ok_or(Close::Done)?;
    let HealthView { tenant_id, overall_status, checks, .. } = HealthView::new(&world, tenant, report);
    session.send(&Update { r#type: "health_update", tenant_id, overall_status, checks }).await
}
