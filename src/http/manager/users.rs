//! Users: who may log in, what they may do, and their passwords.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::event::access::{Role, Scope as Reach};
use tenantry_journal::id::{TenantId, UserId};
use tenantry_journal::recorded::Actor;
use tenantry_journal::sealed::Secret;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::access::User;

use super::auth::{self, LoginUser, Peer};
use crate::auth::password;
use crate::domain::command::Command;
use crate::domain::user::UserChanges;
use crate::http::error::ApiError;
use crate::http::etag::etag;
use crate::http::extract::{Id, Json, NoQuery, Query, Scope, cleared_or_set, missing};
use crate::http::listing::Page;
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer, located};

/// Users in one answer when the query does not say.
const DEFAULT_LIMIT: u64 = 50;

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "User")]
pub(super) struct UserView<'a> {
    #[serde(flatten)]
    user: LoginUser<'a>,
    /// `null` is all.
    tenant_ids: Option<Vec<TenantId>>,
    disabled: bool,
    created_at: Timestamp,
}

impl<'a> UserView<'a> {
    fn new(user: &'a User) -> UserView<'a> {
        let tenant_ids = match &user.scope {
            Reach::All => None,
            Reach::Tenant(id) => Some(vec![*id]),
            Reach::Tenants(ids) => Some(ids.iter().copied().collect()),
            Reach::Service(_) => Some(Vec::new()),
        };
        let (disabled, created_at) = (user.disabled, user.created_at);
        UserView { user: LoginUser::new(user), tenant_ids, disabled, created_at }
    }
}

fn page(user: &User, status: StatusCode) -> Response {
    let mut response = answer(status, &UserView::new(user));
    response.headers_mut().insert(header::ETAG, etag(user.changed));
    response
}

/// A user, or 404.
fn find(world: &World, id: UserId) -> Result<&User, ApiError> {
    world.access.user(id).map(|user| &**user).ok_or_else(|| missing::<UserId>(&id.to_string()))
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserQuery {
    limit: Option<i64>,
    offset: Option<i64>,
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct UserList<'a> {
    users: Vec<UserView<'a>>,
    total: usize,
    limit: usize,
    offset: usize,
}

/// `GET /api/users`
pub(super) async fn list(scope: Scope, Query(query): Query<UserQuery>) -> Result<Response, ApiError> {
    let page = Page::new(query.limit, query.offset, DEFAULT_LIMIT)?;
    let (users, total) = page.of(scope.world.access.users());
    let users = users.into_iter().map(|user| UserView::new(user)).collect();
    let list = UserList { users, total, limit: page.limit, offset: page.offset };
    Ok(answer(StatusCode::OK, &list))
}

/// `GET /api/users/{id}`
pub(super) async fn get(scope: Scope, Id(id): Id<UserId>, _: NoQuery) -> Result<Response, ApiError> {
    Ok(page(find(&scope.world, id)?, StatusCode::OK))
}

/// `GET /api/users/me`: whoever is logged in.
pub(super) async fn me(scope: Scope, _: NoQuery) -> Result<Response, ApiError> {
    let Actor::User(id) = scope.principal.actor else {
        return Err(missing::<UserId>("me").detailed("An API token is no user."));
    };
    Ok(page(find(&scope.world, id)?, StatusCode::OK))
}

fn check_password(password: &Secret) -> Result<(), ApiError> {
    if (password::SHORTEST..=password::LONGEST).contains(&password.reveal().len()) {
        return Ok(());
    }
    let (shortest, longest) = (password::SHORTEST, password::LONGEST);
    let message = format!("password must have {shortest} to {longest} bytes.");
    Err(ApiError::bad_request(message).coded("invalid_field"))
}

fn reach(tenant_ids: Option<BTreeSet<TenantId>>) -> Reach {
    tenant_ids.map_or(Reach::All, Reach::Tenants)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    username: String,
    password: Secret,
    email: String,
    role: Role,
    /// `null` and nothing are all.
    tenant_ids: Option<BTreeSet<TenantId>>,
}

/// `POST /api/users`
pub(super) async fn create(
    State(app): State<AppState>,
    write: Write,
    _: NoQuery,
    Json(new): Json<NewUser>,
) -> Answer {
    check_password(&new.password)?;
    let password_hash = app.passwords.hash(new.password).await?;
    let NewUser { username, email, role, tenant_ids, .. } = new;
    let command = Command::CreateUser { username, email, role, scope: reach(tenant_ids), password_hash };
    let outcome = write.submit(command).await?;
    let created = outcome.events.iter().find_map(|event| match &event.event {
        Event::UserCreated(created) => outcome.world.access.user(created.user_id),
        _ => None,
    });
    let user = created.ok_or_else(ApiError::internal)?;
    Ok(located(page(user, StatusCode::CREATED), &format!("/api/users/{}", user.id)))
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "UserChanges")]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    email: Option<String>,
    role: Option<Role>,
    /// `null` is all.
    #[serde(default, deserialize_with = "cleared_or_set")]
    tenant_ids: Option<Option<BTreeSet<TenantId>>>,
    disabled: Option<bool>,
}

/// `PUT /api/users/{id}`
pub(super) async fn update(
    scope: Scope,
    write: Write,
    Id(id): Id<UserId>,
    _: NoQuery,
    Json(new): Json<Changes>,
) -> Answer {
    find(&scope.world, id)?;
    let Changes { email, role, tenant_ids, disabled } = new;
    let changes = UserChanges { email, role, scope: tenant_ids.map(reach), disabled };
    let outcome = write.submit(Command::UpdateUser { user_id: id, changes }).await?;
    Ok(page(find(&outcome.world, id)?, StatusCode::OK))
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "DeletedUser")]
pub(super) struct Deleted {
    message: &'static str,
}

/// `DELETE /api/users/{id}`
pub(super) async fn delete(scope: Scope, write: Write, Id(id): Id<UserId>, _: NoQuery) -> Answer {
    find(&scope.world, id)?;
    write.submit(Command::DeleteUser { user_id: id }).await?;
    Ok(answer(StatusCode::OK, &Deleted { message: "User deleted successfully" }))
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    password: Secret,
    /// The one that holds; for one's own.
    current_password: Option<Secret>,
}

/// `PUT /api/users/{id}/password`: one's own with the one that holds, others' without.
pub(super) async fn change_password(
    State(app): State<AppState>,
    Peer(address): Peer,
    scope: Scope,
    write: Write,
    Id(id): Id<UserId>,
    _: NoQuery,
    Json(new): Json<NewPassword>,
) -> Answer {
    let user = find(&scope.world, id)?;
    check_password(&new.password)?;
    if scope.principal.actor == Actor::User(id) {
        let current = new.current_password.ok_or_else(|| {
            ApiError::bad_request("current_password is needed to change one's own password.")
                .coded("invalid_field")
        })?;
        // Whoever found an open session must not find out the password by it.
        auth::begin(&app, address, &scope.principal.name)?;
        let hash = user.password_hash.open().cloned();
        let is_short = current.reveal().len() <= password::LONGEST;
        if !is_short || !app.passwords.verify(current, hash).await? {
            return Err(ApiError::forbidden("current_password is wrong.").coded("wrong_password").into());
        }
        app.login_limit.succeeded(address, &scope.principal.name);
    }
    let password_hash = app.passwords.hash(new.password).await?;
    let outcome = write.submit(Command::ChangePassword { user_id: id, password_hash }).await?;
    Ok(page(find(&outcome.world, id)?, StatusCode::OK))
}
