//! `DELETE /api/tenants/{id}?erase=true`: a tenant, there or deleted, is forgotten for good.

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use tenantry_journal::event::Event;
use tenantry_journal::event::tenant::Removal;
use tenantry_journal::id::TenantId;
use tokio::time::Instant;

use super::{DELETE_WAIT, Deleted, Removed, find_removal};
use crate::domain::command::Command;
use crate::http::error::ApiError;
use crate::http::extract::{Scope, missing};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

pub(super) async fn erase(
    app: AppState,
    scope: &Scope,
    write: Write,
    id: TenantId,
    remove: Removal,
) -> Answer {
    if !(scope.world.tenants.is_known(id) && scope.principal.reaches_tenant(id)) {
        return Err(missing::<TenantId>(&id.to_string()).into());
    }
    let outcome = write.submit(Command::EraseTenant { tenant_id: id, remove }).await?;
    let from = outcome.events.first().map_or(outcome.seq, |event| event.seq);
    let is_deleted_now =
        outcome.events.iter().any(|event| matches!(event.event, Event::TenantDeletionRequested(_)));
    let deadline = Instant::now() + DELETE_WAIT;
    let done = app.engine.until(deadline, |world| world.erasures.get(id).and_then(|one| one.done)).await;
    let Some(done) = done else {
        return Err(ApiError::timed_out(format!("Tenant '{id}' is being erased, and it is not done yet."))
            .coded("erasure_running")
            .detailed("It goes on by itself, also after a restart; ask again until it is done.")
            .into());
    };
    let removed = if is_deleted_now { find_removal(&app, id, from).await?.1 } else { Removed::default() };
    write.note_seq(done);
    let body = Deleted { message: "Tenant erased for good", removed, erased: Some(true) };
    Ok(answer(StatusCode::OK, &body).into_response())
}
