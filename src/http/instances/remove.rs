//! `DELETE /api/instances/{service}/{id}`: answers when nothing of it is left.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tenantry_journal::name::InstanceKey;
use tokio::time::Instant;

use super::{Key, find};
use crate::domain::command::Command;
use crate::http::error::ApiError;
use crate::http::extract::{NoQuery, Scope};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// After KILL at the stop timeout: what the kernel takes to end a large process.
const MARGIN: Duration = Duration::from_secs(10);

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "StoppedInstance")]
pub(super) struct Stopped<'a> {
    instance: &'a InstanceKey,
    #[schemars(extend("enum" = ["stopped"]))]
    status: &'static str,
}

pub(super) async fn remove(
    State(app): State<AppState>,
    scope: Scope,
    Key(key): Key,
    _: NoQuery,
    write: Write,
) -> Answer {
    let instance = find(&scope, &key)?;
    let stop_ms = instance.spec.open().map_or(0, |spec| spec.stop_timeout_ms);
    let id = instance.id;
    write.submit(Command::RemoveInstance { key: key.clone() }).await?;
    let deadline = Instant::now() + Duration::from_millis(stop_ms) + MARGIN;
    let gone =
        |world: &tenantry_projections::world::World| world.instances.get(id).is_none().then_some(world.seq);
    let Some(seq) = app.engine.until(deadline, gone).await else {
        let message = format!("Instance '{key}' is being stopped and has not ended yet");
        return Err(ApiError::timed_out(message).into());
    };
    write.note_seq(seq);
    Ok(answer(StatusCode::OK, &Stopped { instance: &key, status: "stopped" }))
}
