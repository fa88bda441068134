//! Rules for API tokens.

use tenantry_journal::event::Event;
use tenantry_journal::event::access::{Role, Scope, TokenCreated, TokenRevoked};
use tenantry_journal::id::{KeyId, TokenId};
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;

use super::ctx::Ctx;
use super::rejection::Rejection;
use super::text;

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
