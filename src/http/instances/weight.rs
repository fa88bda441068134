//! `PUT /api/instances/{service}/{id}/weight`: an instance's share of its service's traffic.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Key, find};
use crate::domain::command::Command;
use crate::http::extract::{Json, NoQuery, Scope};
use crate::http::write::{Answer, Write, answer};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weight {
    weight: u8,
}

pub(super) async fn weight(
    scope: Scope,
    Key(key): Key,
    _: NoQuery,
    write: Write,
    Json(body): Json<Weight>,
) -> Answer {
    find(&scope, &key)?;
    write.submit(Command::ChangeWeight { key: key.clone(), weight: body.weight }).await?;
    Ok(answer(StatusCode::OK, &json!({ "instance": key, "weight": body.weight })))
}
