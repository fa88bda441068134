//! Login and users.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::event::access::{Role, Scope as Reach};
use tenantry_journal::id::UserId;
use tenantry_journal::sealed::Secret;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::access::User;

use crate::auth::password;
use crate::domain::command::Command;
use crate::domain::text::NAME_CHARS;
use crate::http::error::ApiError;
use crate::http::extract::{Json, NoQuery, Query, Scope};
use crate::http::listing::Page;
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// Users in one answer when the query does not say.
const DEFAULT_LIMIT: u64 = 50;

/// The address that a request came from.
pub(super) struct Peer(IpAddr);

impl FromRequestParts<AppState> for Peer {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let from = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Peer(from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    username: String,
    password: Secret,
}

#[derive(Serialize)]
struct LoggedIn<'a> {
    access_token: String,
    token_type: &'static str,
    user: LoginUser<'a>,
}

#[derive(Serialize)]
struct LoginUser<'a> {
    id: UserId,
    username: &'a str,
    email: &'a str,
    role: Role,
}

impl<'a> LoginUser<'a> {
    fn new(user: &'a User) -> LoginUser<'a> {
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
    if login.username.chars().count() > NAME_CHARS || login.password.reveal().len() > password::LONGEST {
        return Err(wrong().detailed(""));
    }
    app.login_limit.begin(address, &login.username, app.now()).map_err(|limited| {
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_logins",
            "Too many failed logins from this address or for this user.",
        )
        .detailed(format!("Try again in {} s.", limited.retry_after_s))
        .retry_after(limited.retry_after_s)
    })?;
    let user = app.engine.world().access.user_by_name(&login.username).cloned();
    let hash = user.as_ref().and_then(|user| user.password_hash.open().cloned());
    let matches = app.passwords.verify(login.password, hash).await?;
    let Some(user) = user.filter(|_| matches) else { return Err(wrong().detailed("")) };
    app.login_limit.succeeded(address, &login.username);
    let access_token = app.jwt.issue(user.id, user.password_set_at, app.now()).map_err(|error| {
        tracing::error!(error = %error, "a login does not encode");
        ApiError::internal()
    })?;
    let body = LoggedIn { access_token, token_type: "bearer", user: LoginUser::new(&user) };
    Ok(answer(StatusCode::OK, &body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    username: String,
    password: Secret,
    email: String,
    role: Role,
}

#[derive(Serialize)]
struct UserLine<'a> {
    #[serde(flatten)]
    user: LoginUser<'a>,
    created_at: Timestamp,
}

impl<'a> UserLine<'a> {
    fn new(user: &'a User) -> UserLine<'a> {
        UserLine { user: LoginUser::new(user), created_at: user.created_at }
    }
}

/// `POST /api/users`
pub(super) async fn create_user(
    State(app): State<AppState>,
    write: Write,
    _: NoQuery,
    Json(new): Json<NewUser>,
) -> Answer {
    let length = new.password.reveal().len();
    if !(password::SHORTEST..=password::LONGEST).contains(&length) {
        return Err(ApiError::bad_request(format!(
            "password must have {} to {} bytes.",
            password::SHORTEST,
            password::LONGEST
        ))
        .coded("invalid_field")
        .into());
    }
    let password_hash = app.passwords.hash(new.password).await?;
    let NewUser { username, email, role, .. } = new;
    let command = Command::CreateUser { username, email, role, scope: Reach::All, password_hash };
    let outcome = write.submit(command).await?;
    let created = outcome.events.iter().find_map(|event| match &event.event {
        Event::UserCreated(created) => outcome.world.access.user(created.user_id),
        _ => None,
    });
    let user = created.ok_or_else(ApiError::internal)?;
    Ok(answer(StatusCode::CREATED, &UserLine::new(user)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserQuery {
    limit: Option<i64>,
    offset: Option<i64>,
}

#[derive(Serialize)]
struct UserList<'a> {
    users: Vec<UserLine<'a>>,
    total: usize,
    limit: usize,
    offset: usize,
}

/// `GET /api/users`
pub(super) async fn list_users(scope: Scope, Query(query): Query<UserQuery>) -> Result<Response, ApiError> {
    let page = Page::new(query.limit, query.offset, DEFAULT_LIMIT)?;
    let (users, total) = page.of(scope.world.access.users());
    let users = users.into_iter().map(|user| UserLine::new(user)).collect();
    let list = UserList { users, total, limit: page.limit, offset: page.offset };
    Ok(answer(StatusCode::OK, &list))
}
