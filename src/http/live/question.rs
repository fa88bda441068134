//! What a live query asks, which events concern it, and what it shows.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::Uri;
use tenantry_journal::event::Event;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::name::InstanceKey;
use tenantry_journal::recorded::Recorded;
use tenantry_projections::world::World;

use crate::auth::principal::{Principal, Proof};
use crate::http::error::{ApiError, Shape};
use crate::http::extract::Scope;
use crate::http::frame;
use crate::http::router::{Listener, Route};

/// The longest answer that is followed, in bytes: a page of a thousand tenants has 330 KB.
const LONGEST: usize = 16 << 20;

/// Which events may change an answer. What is known to concern one thing alone is not asked
/// again for the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Concern {
    /// Those about this tenant and what belongs to it.
    Tenant(TenantId),
    /// Those about the instance of this name, whichever it is.
    Instance(InstanceKey),
    /// Those about any instance.
    Instances,
    /// Those that are about no tenant and no instance: users, tokens, settings.
    Shared,
    /// All of them.
    Everything,
}

impl Concern {
    /// By the path, for it names what an answer is about.
    fn of(route: &Route, path: &str, world: &World) -> Concern {
        let words: Vec<&str> = path.split('/').skip(1).collect();
        let named = match (route.path, words.as_slice()) {
            (pattern, [_, _, id, ..]) if pattern.starts_with("/api/tenants/{id}") => {
                id.parse().ok().map(Concern::Tenant)
            }
            (pattern, [_, _, id, ..]) if pattern.starts_with("/api/deployments/{id}") => {
                let deployment = id.parse().ok().and_then(|id| world.deployments.get(id));
                deployment.map(|deployment| Concern::Tenant(deployment.tenant_id))
            }
            (pattern, [_, _, service, id, ..]) if pattern.starts_with("/api/instances/{service}/{id}") => {
                service
                    .parse()
                    .ok()
                    .zip(id.parse().ok())
                    .map(|(service, id)| Concern::Instance(InstanceKey { service, id }))
            }
            ("/api/instances", _) => Some(Concern::Instances),
            (pattern, [_, "users" | "tokens" | "settings", ..]) if pattern.starts_with("/api/") => {
                Some(Concern::Shared)
            }
            _ => None,
        };
        named.unwrap_or(Concern::Everything)
    }
}

/// Tells `wake` of each concern that an event is, or that it may be any: names and settings
/// may stand in every answer.
pub(super) fn concerns(recorded: &Recorded, world: &World, mut wake: impl FnMut(Option<Concern>)) {
    let is_about_all = matches!(
        recorded.event,
        Event::UserCreated(_)
            | Event::UserUpdated(_)
            | Event::UserDeleted(_)
            | Event::TokenCreated(_)
            | Event::TokenRevoked(_)
            | Event::SettingChanged(_)
            | Event::SettingCleared(_)
            | Event::ConfigChanged(_)
            | Event::SystemStarted(_)
    );
    if is_about_all {
        return wake(None);
    }
    wake(Some(Concern::Everything));
    if let Some(tenant) = recorded.tenant_id {
        wake(Some(Concern::Tenant(tenant)));
    }
    if let Some(id) = recorded.instance_id {
        wake(Some(Concern::Instances));
        if let Some(name) = world.instances.name(id) {
            wake(Some(Concern::Instance(name.clone())));
        }
    }
    if recorded.tenant_id.is_none() && recorded.instance_id.is_none() {
        wake(Some(Concern::Shared));
    }
}

/// What is asked, and by whom: all that an answer follows from, besides the World.
#[derive(Clone)]
pub(super) struct Question {
    /// The same for the same question of the same credential, and for no other.
    pub(super) name: Arc<str>,
    pub(super) concern: Concern,
    pub(super) uri: Uri,
    pub(super) shape: Shape,
    principal: Arc<Principal>,
    proof: Proof,
    listener: Listener,
}

impl Question {
    pub(super) fn new(route: &Route, request: &Request, scope: &Scope) -> Question {
        let uri = request.uri().clone();
        let shape = frame::shape(scope.listener, Some(route), request.method(), request.headers());
        let Principal { actor, role, scope: reach, name } = &*scope.principal;
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let name =
            format!("{path} {shape:?} {:?} {actor:?} {role:?} {reach:?} {name}", scope.listener).into();
        let concern = Concern::of(route, uri.path(), &scope.world);
        Question {
            name,
            concern,
            uri,
            shape,
            principal: Arc::clone(&scope.principal),
            proof: scope.proof,
            listener: scope.listener,
        }
    }

    /// What the asker may see of a World.
    pub(super) fn scope(&self, world: Arc<World>) -> Scope {
        Scope {
            principal: Arc::clone(&self.principal),
            world,
            as_of: None,
            listener: self.listener,
            proof: self.proof,
        }
    }
}

/// An answer as it is sent: rendered once for all who follow.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// The World that it shows.
    pub(super) seq: Seq,
    /// Of the body, so that the same is not sent again.
    pub(super) digest: [u8; 32],
    /// One server-sent event.
    pub(super) frame: Bytes,
    /// Whether nothing comes after it.
    pub(super) is_last: bool,
}

impl Shown {
    /// A state.
    pub(super) async fn of(seq: Seq, body: Body) -> Result<Shown, ApiError> {
        let body = to_bytes(body, LONGEST).await.map_err(|error| {
            tracing::error!(error = %crate::error::chain(&error), "an answer is too long to be followed");
            ApiError::internal()
        })?;
        Ok(Shown::framed(seq, None, &body))
    }

    /// The end: what was followed is there no more, or not for this asker.
    pub(super) async fn end(seq: Seq, body: Body) -> Shown {
        let body = to_bytes(body, LONGEST).await.unwrap_or_default();
        Shown { is_last: true, ..Shown::framed(seq, Some("gone"), &body) }
    }

    fn framed(seq: Seq, event: Option<&str>, body: &[u8]) -> Shown {
        let mut frame = format!("id: {seq}\n").into_bytes();
        if let Some(event) = event {
            frame.extend_from_slice(format!("event: {event}\n").as_bytes());
        }
        for line in body.split(|byte| matches!(byte, b'\n' | b'\r')) {
            frame.extend_from_slice(b"data: ");
            frame.extend_from_slice(line);
            frame.push(b'\n');
        }
        frame.push(b'\n');
        Shown { seq, digest: *blake3::hash(body).as_bytes(), frame: frame.into(), is_last: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_state_is_one_event_whatever_its_lines() {
        let shown = Shown::of(Seq(7), Body::from("{\n1}")).await.unwrap();
        assert_eq!(shown.frame, "id: 7\ndata: {\ndata: 1}\n\n");
        let end = Shown::end(Seq(8), Body::from("{}")).await;
        assert_eq!((end.frame, end.is_last), (Bytes::from("id: 8\nevent: gone\ndata: {}\n\n"), true));
    }
}
