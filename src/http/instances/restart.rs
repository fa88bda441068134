//! `POST /api/instances/{service}/{id}/restart`: answers when it is wished, not when it is done.

use axum::http::StatusCode;
use serde_json::json;

use super::{Key, find};
use crate::domain::command::Command;
use crate::http::extract::{NoQuery, Scope};
use crate::http::write::{Answer, Write, answer};

pub(super) async fn restart(scope: Scope, Key(key): Key, _: NoQuery, write: Write) -> Answer {
    find(&scope, &key)?;
    write.submit(Command::RestartInstance { key: key.clone() }).await?;
    Ok(answer(StatusCode::OK, &json!({ "instance": key, "status": "restarting" })))
}
