//! `/api/tokens`: a token's text is shown once, in the answer that creates it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::event::access::{Role, Scope as Reach};
use tenantry_journal::id::{TenantId, TokenId};
use tenantry_journal::name::ServiceName;
use tenantry_journal::time::Timestamp;

use crate::auth::token;
use crate::domain::command::Command;
use crate::http::error::ApiError;
use crate::http::extract::{Id, Json, NoQuery, Query, Scope, missing};
use crate::http::listing::{LARGEST_PAGE, Page, Pagination};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// Document 2 lists all of them, so as many as one answer may have.
const DEFAULT_LIMIT: u64 = LARGEST_PAGE;
/// Ten years: longer is no limit.
const MOST_DAYS: u64 = 3650;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "TokenQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    limit: Option<i64>,
    offset: Option<i64>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Token")]
struct TokenView<'a> {
    id: TokenId,
    name: Option<&'a str>,
    created_at: Timestamp,
    last_used: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    role: Role,
    scope: &'a Reach,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "TokenList")]
pub(super) struct Listed<'a> {
    tokens: Vec<TokenView<'a>>,
    pagination: Pagination,
}

pub(super) async fn list(State(app): State<AppState>, scope: Scope, Query(paging): Query<Paging>) -> Answer {
    let page = Page::new(paging.limit, paging.offset, DEFAULT_LIMIT)?;
    let views = scope.world.access.tokens().map(|token| TokenView {
        id: token.id,
        name: token.name.open().map(String::as_str),
        created_at: token.created_at,
        last_used: if scope.is_past() { None } else { app.last_used.get(token.id) },
        expires_at: token.expires_at,
        role: token.role,
        scope: &token.scope,
    });
    let (tokens, total) = page.of(views);
    Ok(answer(StatusCode::OK, &Listed { tokens, pagination: page.pagination(total) }))
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "NewToken")]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    name: String,
    expires_in_days: Option<u64>,
    /// As the creator's, without it.
    role: Option<Role>,
    /// Limits the token to one tenant.
    tenant_id: Option<TenantId>,
    /// Limits the token to the instances of one service.
    service: Option<ServiceName>,
}

impl Wanted {
    fn scope(&self) -> Result<Reach, ApiError> {
        match (self.tenant_id, &self.service) {
            (None, None) => Ok(Reach::All),
            (Some(tenant), None) => Ok(Reach::Tenant(tenant)),
            (None, Some(service)) => Ok(Reach::Service(service.clone())),
            (Some(_), Some(_)) => {
                Err(ApiError::bad_request("A token is limited to a tenant_id or to a service, not to both."))
            }
        }
    }

    fn expires_at(&self, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
        match self.expires_in_days {
            None => Ok(None),
            Some(days @ 1..=MOST_DAYS) => Ok(Some(now.plus_ms(days * DAY_MS))),
            Some(days) => Err(ApiError::bad_request(format!(
                "expires_in_days must be 1 to {MOST_DAYS}, not {days}; leave it out for a token that does not expire."
            ))),
        }
    }
}

/// The role of a new token: the creator's own when none is asked for, and never a higher one.
fn granted(wanted: Option<Role>, own: Role) -> Result<Role, ApiError> {
    match wanted {
        Some(wanted) if wanted > own => {
            Err(ApiError::forbidden("A token cannot be given a higher role than its creator has."))
        }
        wanted => Ok(wanted.unwrap_or(own)),
    }
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "CreatedToken")]
pub(super) struct Created<'a> {
    id: TokenId,
    token: &'a str,
    name: &'a str,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

pub(super) async fn create(
    State(app): State<AppState>,
    scope: Scope,
    _: NoQuery,
    write: Write,
    Json(wanted): Json<Wanted>,
) -> Answer {
    let reach = wanted.scope()?;
    if let Reach::Tenant(tenant) = reach {
        scope.tenant(tenant)?;
    }
    let text = app.token_key.text(write.idempotency());
    let command = Command::CreateToken {
        name: wanted.name.clone(),
        hash: token::hash(text.reveal()),
        role: granted(wanted.role, scope.principal.role)?,
        scope: reach,
        expires_at: wanted.expires_at(app.now())?,
    };
    let outcome = write.submit(command).await?;
    let created = outcome.events.iter().find_map(|recorded| match &recorded.event {
        Event::TokenCreated(created) => Some((created, recorded.at)),
        _ => None,
    });
    let Some((created, created_at)) = created else { return Err(ApiError::internal().into()) };
    let body = Created {
        id: created.token_id,
        token: text.reveal(),
        name: &wanted.name,
        created_at,
        expires_at: created.expires_at,
    };
    Ok(answer(StatusCode::CREATED, &body))
}

pub(super) async fn revoke(scope: Scope, Id(id): Id<TokenId>, _: NoQuery, write: Write) -> Answer {
    if scope.world.access.token(id).is_none() {
        return Err(missing::<TokenId>(&id.to_string()).into());
    }
    write.submit(Command::RevokeToken { token_id: id }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_given_its_creators_role_or_a_lower_one() {
        assert_eq!(granted(None, Role::Operator).ok(), Some(Role::Operator));
        assert_eq!(granted(Some(Role::Viewer), Role::Operator).ok(), Some(Role::Viewer));
        let refused = granted(Some(Role::Admin), Role::Operator).map_err(|error| error.status.as_u16());
        assert_eq!(refused, Err(403));
    }
}
