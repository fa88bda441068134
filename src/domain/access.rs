//! Rules for users, tokens and settings.

use tenantry_journal::event::Event;
use tenantry_journal::event::access::{
    Role, Scope, TokenCreated, TokenRevoked, UserCreated, UserPasswordChanged, UserProfile,
};
use tenantry_journal::event::setting::SettingChanged;
use tenantry_journal::id::{KeyId, TokenId, UserId};
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;

use super::ctx::Ctx;
use super::rejection::Rejection;
use super::text;

pub(super) fn create_user(
    world: &World,
    username: &str,
    email: &str,
    role: Role,
    scope: &Scope,
    password_hash: &Secret,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    text::line("username", username, text::NAME_CHARS)?;
    text::line("email", email, text::NAME_CHARS)?;
    if !email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()) {
        return Err(Rejection::invalid("invalid_field", "email must be a mail address".into()));
    }
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
    if world.access.user(user_id).is_none() {
        return Err(Rejection::not_found("user_not_found", format!("user '{user_id}' does not exist")));
    }
    let password_hash = Sealed::new(user_id, password_hash.clone());
    Ok(vec![UserPasswordChanged { user_id, password_hash }.into()])
}

pub(super) fn create_token(
    name: &str,
    hash: [u8; 32],
    role: Role,
    scope: &Scope,
    expires_at: Option<Timestamp>,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    text::line("name", name, text::NAME_CHARS)?;
    let name = Sealed::new(KeyId::CONTROL_PLANE, name.to_owned());
    Ok(vec![
        TokenCreated { token_id: ctx.ids.make(), name, hash, role, scope: scope.clone(), expires_at }.into(),
    ])
}

pub(super) fn revoke_token(world: &World, token_id: TokenId) -> Result<Vec<Event>, Rejection> {
    if world.access.token(token_id).is_none() {
        return Err(Rejection::not_found("token_not_found", format!("token '{token_id}' does not exist")));
    }
    Ok(vec![TokenRevoked { token_id }.into()])
}

pub(super) fn change_setting(key: &str, value: &Secret) -> Result<Vec<Event>, Rejection> {
    let word = (1..=64).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !word {
        return Err(Rejection::invalid(
            "invalid_setting",
            "a setting's key is 1 to 64 of a-z, 0-9 and '_'".into(),
        ));
    }
    let value = Sealed::new(KeyId::CONTROL_PLANE, value.clone());
    Ok(vec![SettingChanged { key: key.to_owned(), value }.into()])
}
