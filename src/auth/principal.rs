//! Who a credential stands for, at this moment: looked up with each request.

use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::id::{InstanceId, TenantId};
use tenantry_journal::recorded::Actor;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;

use super::jwt::{Claims, JwtKeys};
use super::token;

/// The longest credential that is looked at, in bytes; ours have about 250.
const LONGEST_CREDENTIAL: usize = 2048;

/// Somebody who showed a valid credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whom events name.
    pub actor: Actor,
    /// What they may do.
    pub role: Role,
    /// To what that is limited.
    pub scope: Scope,
    /// User name or the token's name.
    pub name: String,
}

impl Principal {
    /// Whether everything may be reached, not only one tenant or service.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.scope == Scope::All
    }

    /// Whether a tenant may be reached.
    #[must_use]
    pub fn reaches_tenant(&self, tenant: TenantId) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Tenant(own) => *own == tenant,
            Scope::Tenants(own) => own.contains(&tenant),
            Scope::Service(_) => false,
        }
    }

    /// Whether an instance may be reached, now or (by its name) after it is gone.
    #[must_use]
    pub fn reaches_instance(&self, world: &World, instance: InstanceId) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Tenant(_) | Scope::Tenants(_) => world
                .instances
                .get(instance)
                .is_some_and(|found| found.tenant.is_some_and(|(tenant, _)| self.reaches_tenant(tenant))),
            Scope::Service(service) => {
                world.instances.name(instance).is_some_and(|key| key.service == *service)
            }
        }
    }
}

/// What a valid credential proved, without the credential itself: an open stream looks again
/// whether it still holds.
#[derive(Clone, Copy, Debug)]
pub enum Proof {
    /// An API token of this hash was shown.
    Token([u8; 32]),
    /// A login of ours was shown, which says this.
    Login(Claims),
}

impl Proof {
    /// What a credential (JWT or API token) proves; `None` when it cannot be one of ours.
    #[must_use]
    pub fn of(keys: &JwtKeys, credential: &str, now: Timestamp) -> Option<Proof> {
        if credential.len() > LONGEST_CREDENTIAL {
            return None;
        }
        if credential.starts_with(token::PREFIX) {
            return Some(Proof::Token(token::hash(credential)));
        }
        keys.read(credential, now).map(Proof::Login)
    }

    /// Who it stands for now; `None` when it opens nothing, or nothing any more.
    #[must_use]
    pub fn stands_for(&self, world: &World, now: Timestamp) -> Option<Principal> {
        match self {
            Proof::Token(hash) => {
                let found = world.access.token_by_hash(hash)?;
                if found.expires_at.is_some_and(|end| end <= now) {
                    return None;
                }
                Some(Principal {
                    actor: Actor::Token(found.id),
                    role: found.role,
                    scope: found.scope.clone(),
                    name: found.name.open().cloned().unwrap_or_default(),
                })
            }
            Proof::Login(claims) => {
                let user = world.access.user(claims.sub)?;
                if user.disabled || user.logins_since.0 != claims.pwd || claims.is_over(now) {
                    return None;
                }
                Some(Principal {
                    actor: Actor::User(user.id),
                    role: user.role,
                    scope: user.scope.clone(),
                    name: user.profile.open().map(|profile| profile.username.clone()).unwrap_or_default(),
                })
            }
        }
    }
}

/// Who a credential stands for, and what it proved; `None` when it opens nothing.
#[must_use]
pub fn authenticate(
    world: &World,
    keys: &JwtKeys,
    credential: &str,
    now: Timestamp,
) -> Option<(Principal, Proof)> {
    let proof = Proof::of(keys, credential, now)?;
    Some((proof.stands_for(world, now)?, proof))
}
