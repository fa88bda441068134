//! `PUT /api/instances/{service}/{id}/weight`: an instance's share of its service's traffic.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tenantry_journal::name::InstanceKey;

use super::{Key, find};
use crate::domain::command::Command;
use crate::http::extract::{Json, NoQuery, Scope};
use crate::http::write::{Answer, Write, answer};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "NewWeight")]
#[serde(deny_unknown_fields)]
pub(super) struct Weight {
    #[schemars(range(max = 100))]
    weight: u8,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "InstanceWeight")]
pub(super) struct Weighted<'a> {
    instance: &'a InstanceKey,
    #[schemars(range(max = 100))]
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
    Ok(answer(StatusCode::OK, &Weighted { instance: &key, weight: body.weight }))
}
