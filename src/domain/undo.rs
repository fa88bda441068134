//! What takes a command back: one table says of every kind of event whether its command has an
//! undo, and why not when it has none.
//!
//! An undo is a new command that leads back; nothing that was recorded is changed. It touches
//! only what the command had set, and only while that is still as the command had set it.

mod table;
mod tenants;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tenantry_journal::event::Event;
use tenantry_journal::event::access::Role;
use tenantry_journal::event::instance::{
    InstanceSpawned, InstanceStartRequested, InstanceStopRequested, InstanceWeightChanged, ProcessSpec,
};
use tenantry_journal::id::{InstanceId, Seq};
use tenantry_journal::recorded::{Actor, Recorded};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance};

use super::command::Listening;
use super::ctx::Ctx;
use super::rejection::Rejection;
use super::restore::Left;
use super::user::{self, UserChanges};
use super::{access, instance, setting, tenant};

pub use table::{TABLE, Way, way};

/// The World before a command; too large to be printed.
#[derive(Clone)]
pub struct Before(pub Arc<World>);

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Before").field(&self.0.seq).finish()
    }
}

/// A command that is to be taken back.
#[derive(Clone, Debug)]
pub struct Undo {
    /// Everything that it recorded.
    pub events: Vec<Recorded>,
    /// The event that names it, one of these.
    pub seq: Seq,
    /// What was before it.
    pub before: Before,
    /// Ports that are not free whatever the World says.
    pub listening: Listening,
    /// What is left of the files of a tenant that the command deleted.
    pub left: Left,
    /// Digests of logos whose files are lost.
    pub lost_logos: BTreeSet<String>,
}

/// Who may take a command back: whoever may give the one that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// At least this role.
    pub role: Role,
    /// Powers that are not limited to tenants or a service.
    pub unlimited: bool,
}

/// What taking back an event of this kind takes.
#[must_use]
pub fn needs(kind: &str) -> Needs {
    let governs = ["setting.", "user.", "token."].iter().any(|prefix| kind.starts_with(prefix));
    if governs {
        Needs { role: Role::Admin, unlimited: true }
    } else {
        Needs { role: Role::Operator, unlimited: false }
    }
}

fn never(reason: impl Into<String>, hint: &str) -> Rejection {
    Rejection::conflict("no_undo", reason.into(), hint)
}

fn changed_since(what: &str) -> Rejection {
    Rejection::conflict(
        "changed_since",
        format!("{what} was changed again since"),
        "undo the later change first, or restore the tenant to an earlier moment",
    )
}

/// The event by which a command is taken back: the first of its events that has an undo.
///
/// # Errors
/// The reason when it has none.
pub fn lead(events: &[Recorded], seq: Seq) -> Result<&Recorded, Rejection> {
    let named = events.iter().find(|event| event.seq == seq).or(events.first());
    let Some(named) = named else { return Err(never("the event is not there", "")) };
    let kind = named.event.kind();
    let found = events.iter().find(|event| matches!(way(event.event.kind()), Way::Back(_)));
    match (named.actor, found, way(kind)) {
        (Actor::System, _, Way::Never(reason)) => Err(never(format!("{kind}: {reason}"), "")),
        (Actor::System, _, Way::Back(_)) => {
            let message =
                format!("event {seq} was recorded by the control plane itself, nobody asked for it");
            let hint =
                named.caused_by.map(|cause| format!("it answers event {cause}: undo what asked for that"));
            Err(Rejection { hint: hint.unwrap_or_default(), ..never(message, "") })
        }
        (_, Some(found), _) => Ok(found),
        (_, None, Way::Never(reason)) => Err(never(format!("{kind}: {reason}"), "")),
        (_, None, Way::Back(_)) => Err(never(format!("{kind} has no undo"), "")),
    }
}

pub(super) fn decide(world: &World, undo: &Undo, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    let lead = lead(&undo.events, undo.seq)?;
    let before = &*undo.before.0;
    match &lead.event {
        Event::InstanceSpawned(event) => spawned(world, event),
        Event::InstanceStartRequested(event) => started(world, undo, event.instance_id),
        Event::InstanceStopRequested(event) => stopped(world, undo, event.instance_id, ctx),
        Event::InstanceRemovalRequested(event) => removed(world, undo, event.instance_id, ctx),
        Event::InstanceWeightChanged(event) => weighed(world, before, event),
        Event::SettingChanged(event) => set(world, before, &event.key, Some(lead.seq)),
        Event::SettingCleared(event) => set(world, before, &event.key, None),
        Event::UserCreated(event) => user::delete(world, event.user_id),
        Event::UserUpdated(event) => {
            let present = world.access.user(event.user_id);
            let was = before.access.user(event.user_id);
            let Some(was) = was else { return Err(never("what the user was before is not known", "")) };
            if present.is_some_and(|user| user.changed != lead.seq) {
                return Err(changed_since("the user"));
            }
            let changes = UserChanges {
                email: was.profile.open().map(|profile| profile.email.clone()),
                role: Some(was.role),
                scope: Some(was.scope.clone()),
                disabled: Some(was.disabled),
            };
            user::update(world, event.user_id, &changes)
        }
        Event::TokenCreated(event) => access::revoke_token(world, event.token_id),
        _ => tenants::decide(world, undo, lead, ctx),
    }
}

fn spawned(world: &World, event: &InstanceSpawned) -> Result<Vec<Event>, Rejection> {
    match (event.tenant, event.name.open()) {
        (Some((tenant, _)), _) => tenant::stop(world, tenant),
        (None, Some(key)) => instance::remove(world, key),
        (None, None) => Err(never("the instance was erased", "")),
    }
}

fn present(world: &World, id: InstanceId) -> Result<&Instance, Rejection> {
    let found = world.instances.get(id).map(|instance| &**instance);
    found.ok_or_else(|| Rejection::not_found("instance_not_found", "the instance is gone".to_owned()))
}

/// The instances of a command's events that `pick` picks.
fn all(undo: &Undo, pick: impl Fn(&Event) -> Option<InstanceId>) -> Vec<InstanceId> {
    undo.events.iter().filter_map(|event| pick(&event.event)).collect()
}

fn started(world: &World, undo: &Undo, id: InstanceId) -> Result<Vec<Event>, Rejection> {
    if let Some((tenant, _)) = present(world, id)?.tenant {
        return tenant::stop(world, tenant);
    }
    let ids = all(undo, |event| match event {
        Event::InstanceStartRequested(event) => Some(event.instance_id),
        _ => None,
    });
    let running = ids.into_iter().filter_map(|id| world.instances.get(id));
    let running = running.filter(|instance| instance.desired == Desired::Running);
    Ok(running.map(|instance| InstanceStopRequested { instance_id: instance.id }.into()).collect())
}

fn stopped(world: &World, undo: &Undo, id: InstanceId, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    if let Some((tenant, _)) = present(world, id)?.tenant {
        return tenant::start(world, tenant, ctx);
    }
    let ids = all(undo, |event| match event {
        Event::InstanceStopRequested(event) => Some(event.instance_id),
        _ => None,
    });
    let stopped = ids.into_iter().filter_map(|id| world.instances.get(id));
    let stopped = stopped.filter(|instance| instance.desired == Desired::Stopped);
    Ok(stopped.map(|instance| InstanceStartRequested { instance_id: instance.id }.into()).collect())
}

fn removed(world: &World, undo: &Undo, id: InstanceId, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    let was = present(&undo.before.0, id)?;
    let (Some(key), Some(spec)) = (was.name.open(), was.spec.open()) else {
        return Err(never("the instance was erased", ""));
    };
    let ProcessSpec { env, given, .. } = spec;
    let is_given = |name: &String| given.as_ref().is_some_and(|given| given.contains(name));
    let env = env.iter().filter(|(name, _)| is_given(name));
    let env = env.map(|(name, value)| (name.clone(), value.clone())).collect();
    instance::spawn(world, key, &env, &undo.listening, ctx)
}

fn weighed(world: &World, before: &World, event: &InstanceWeightChanged) -> Result<Vec<Event>, Rejection> {
    let now = present(world, event.instance_id)?;
    if now.weight != event.weight {
        return Err(changed_since("the weight"));
    }
    let Some(key) = now.name.open() else { return Err(never("the instance was erased", "")) };
    instance::change_weight(world, key, present(before, event.instance_id)?.weight)
}

/// Sets a setting to what it was; `by` is the event that set it, if it was set.
fn set(world: &World, before: &World, key: &str, by: Option<Seq>) -> Result<Vec<Event>, Rejection> {
    if world.settings.get(key).map(|setting| setting.changed) != by {
        return Err(changed_since(&format!("the setting {key}")));
    }
    match before.settings.get(key).and_then(|setting| setting.value.open()) {
        Some(value) => setting::change(world, key, value),
        None => setting::clear(world, key),
    }
}
