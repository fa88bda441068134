//! `POST /api/instances/{service}/{id}/restart`: answers when it is wished, not when it is done.

use axum::http::StatusCode;
use serde::Serialize;
use tenantry_journal::name::InstanceKey;

use super::{Key, find};
use crate::domain::command::Command;
use crate::http::extract::{NoQuery, Scope};
use crate::http::write::{Answer, Write, answer};

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "RestartingInstance")]
pub(super) struct Restarting<'a> {
    instance: &'a InstanceKey,
    #[schemars(extend("enum" = ["restarting"]))]
    status: &'static str,
}

pub(super) async fn restart(scope: Scope, Key(key): Key, _: NoQuery, write: Write) -> Answer {
    find(&scope, &key)?;
    write.submit(Command::RestartInstance { key: key.clone() }).await?;
    Ok(answer(StatusCode::OK, &Restarting { instance: &key, status: "restarting" }))
}
