//! Login.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::access::Role;
use tenantry_journal::id::UserId;
use tenantry_journal::sealed::Secret;
use tenantry_projections::world::access::User;

use crate::auth::password;
use crate::domain::text::NAME_CHARS;
use crate::http::auth_layer::peer;
use crate::http::error::ApiError;
use crate::http::extract::{Json, NoQuery};
use crate::http::state::AppState;
use crate::http::write::answer;

/// The address that a request came from.
pub(super) struct Peer(pub(super) IpAddr);

impl FromRequestParts<AppState> for Peer {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        Ok(Peer(peer(&parts.extensions)))
    }
}

/// Counts an attempt to prove a password, as failed until it has succeeded.
pub(super) fn begin(app: &AppState, address: IpAddr, username: &str) -> Result<(), ApiError> {
    app.login_limit.begin(address, username, app.now()).map_err(|limited| {
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_logins",
            "Too many failed logins from this address or for this user.",
        )
        .detailed(format!("Try again in {} s.", limited.retry_after_s))
        .retry_after(limited.retry_after_s)
    })
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    username: String,
    password: Secret,
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct LoggedIn<'a> {
    access_token: String,
    #[schemars(extend("enum" = ["bearer"]))]
    token_type: &'static str,
    user: LoginUser<'a>,
}

/// A user as a login shows it.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct LoginUser<'a> {
    id: UserId,
    username: &'a str,
    email: &'a str,
    role: Role,
}

impl<'a> LoginUser<'a> {
    pub(super) fn new(user: &'a User) -> LoginUser<'a> {
        let profile = user.profile.open();
        let stand_in = user.profile.stand_in();
        LoginUser {
            id: user.id,
            username: profile.map_or(stand_in, |profile| &profile.username),
            email: profile.map_or(stand_in, |profile| &profile.email),
            role: user.role,
        }
    }
}

/// `POST /api/auth/login`
pub(super) async fn login(
    State(app): State<AppState>,
    Peer(address): Peer,
    _: NoQuery,
    Json(login): Json<Login>,
) -> Result<Response, ApiError> {
    let wrong =
        || ApiError::unauthorized("The user name or the password is wrong.").coded("invalid_credentials");
    // Nobody has such a name; it is not remembered by the limit.
    let refused = |user: Option<UserId>, limited| app.denials.login(address, user, limited, app.now());
    if login.username.chars().count() > NAME_CHARS || login.password.reveal().len() > password::LONGEST {
        refused(None, false);
        return Err(wrong().detailed(""));
    }
    let user = app.engine.world().access.user_by_name(&login.username).cloned();
    let named = user.as_ref().map(|user| user.id);
    begin(&app, address, &login.username).inspect_err(|_| refused(named, true))?;
    let hash = user.as_ref().and_then(|user| user.password_hash.open().cloned());
    let matches = app.passwords.verify(login.password, hash).await?;
    // Whoever is disabled is told the same, after the same time.
    let Some(user) = user.filter(|user| matches && !user.disabled) else {
        refused(named, false);
        return Err(wrong().detailed(""));
    };
    app.login_limit.succeeded(address, &login.username);
    let access_token = app.jwt.issue(user.id, user.logins_since, app.now()).map_err(|error| {
        tracing::error!(error = %error, "a login does not encode");
        ApiError::internal()
    })?;
    let body = LoggedIn { access_token, token_type: "bearer", user: LoginUser::new(&user) };
    Ok(answer(StatusCode::OK, &body))
}
