//! Rules for users: names are unique, somebody always governs, and who is gone stays out.

use tenantry_journal::event::Event;
use tenantry_journal::event::access::{
    Role, Scope, UserCreated, UserDeleted, UserPasswordChanged, UserProfile, UserUpdated,
};
use tenantry_journal::id::UserId;
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_projections::world::World;
use tenantry_projections::world::access::User;

use super::ctx::Ctx;
use super::rejection::Rejection;
use super::text;

/// Tenants that one user may be limited to: more and a person should not be limited.
pub const MOST_TENANTS: usize = 1000;

/// Changes of a user; what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChanges {
    /// Mail address.
    pub email: Option<String>,
    /// What they may do.
    pub role: Option<Role>,
    /// To what that is limited.
    pub scope: Option<Scope>,
    /// Whether they may not log in.
    pub disabled: Option<bool>,
}

fn existing(world: &World, id: UserId) -> Result<&User, Rejection> {
    let missing = || Rejection::not_found("user_not_found", format!("user '{id}' does not exist"));
    world.access.user(id).map(|user| &**user).ok_or_else(missing)
}

fn check_scope(world: &World, scope: &Scope) -> Result<(), Rejection> {
    let invalid = |message: String| Err(Rejection::invalid("invalid_field", message));
    let Scope::Tenants(tenants) = scope else { return Ok(()) };
    if tenants.is_empty() {
        return invalid(
            "tenant_ids must name a tenant, or be null for all; disable a user who may see none".into(),
        );
    }
    if tenants.len() > MOST_TENANTS {
        return invalid(format!("tenant_ids must not name more than {MOST_TENANTS} tenants"));
    }
    match tenants.iter().find(|id| world.tenants.get(**id).is_none()) {
        Some(unknown) => invalid(format!("tenant_ids: tenant '{unknown}' does not exist")),
        None => Ok(()),
    }
}

pub(super) fn create(
    world: &World,
    username: &str,
    email: &str,
    role: Role,
    scope: &Scope,
    password_hash: &Secret,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    text::line("username", username, text::NAME_CHARS)?;
    text::mail("email", email)?;
    check_scope(world, scope)?;
    if world.access.user_by_name(username).is_some() {
        return Err(Rejection::conflict(
            "username_taken",
            format!("user '{username}' exists already"),
            "choose another name",
        ));
    }
    let user_id: UserId = ctx.ids.make();
    let profile = UserProfile { username: username.to_owned(), email: email.to_owned() };
    Ok(vec![
        UserCreated {
            user_id,
            profile: Sealed::new(user_id, profile),
            role,
            scope: scope.clone(),
            password_hash: Sealed::new(user_id, password_hash.clone()),
        }
        .into(),
    ])
}

pub(super) fn change_password(
    world: &World,
    user_id: UserId,
    password_hash: &Secret,
) -> Result<Vec<Event>, Rejection> {
    existing(world, user_id)?;
    let password_hash = Sealed::new(user_id, password_hash.clone());
    Ok(vec![UserPasswordChanged { user_id, password_hash }.into()])
}

/// Whether somebody may do everything, users too.
fn governs(role: Role, scope: &Scope, disabled: bool) -> bool {
    role == Role::Admin && *scope == Scope::All && !disabled
}

/// Refuses to leave nobody who may make users.
fn check_governed_without(world: &World, user: &User) -> Result<(), Rejection> {
    let another = world
        .access
        .users()
        .any(|other| other.id != user.id && governs(other.role, &other.scope, other.disabled));
    if another || !governs(user.role, &user.scope, user.disabled) {
        return Ok(());
    }
    Err(Rejection::conflict(
        "last_admin",
        "this is the last administrator who is not disabled and not limited to tenants".into(),
        "make another user an administrator first",
    ))
}

pub(super) fn update(world: &World, id: UserId, changes: &UserChanges) -> Result<Vec<Event>, Rejection> {
    let user = existing(world, id)?;
    let Some(before) = user.profile.open() else {
        return Err(Rejection::conflict("user_erased", format!("the data of user '{id}' was erased"), ""));
    };
    let mut profile = before.clone();
    if let Some(email) = &changes.email {
        text::mail("email", email)?;
        profile.email.clone_from(email);
    }
    let role = changes.role.unwrap_or(user.role);
    let disabled = changes.disabled.unwrap_or(user.disabled);
    let scope = changes.scope.clone().unwrap_or_else(|| user.scope.clone());
    if scope != user.scope {
        check_scope(world, &scope)?;
    }
    if !governs(role, &scope, disabled) {
        check_governed_without(world, user)?;
    }
    let changed: Vec<String> = [
        ("email", before.email != profile.email),
        ("role", user.role != role),
        ("tenant_ids", user.scope != scope),
        ("disabled", user.disabled != disabled),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(field, _)| field.to_owned())
    .collect();
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let profile = Sealed::new(id, profile);
    Ok(vec![UserUpdated { user_id: id, changed, profile, role, scope, disabled }.into()])
}

pub(super) fn delete(world: &World, id: UserId) -> Result<Vec<Event>, Rejection> {
    check_governed_without(world, existing(world, id)?)?;
    Ok(vec![UserDeleted { user_id: id }.into()])
}
