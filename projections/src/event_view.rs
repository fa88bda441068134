//! An event as it goes out, and which events somebody wants to see.
//!
//! Names are not recorded in events: they are looked up in a World as the event is written,
//! and `null` once their key is gone. Secrets write themselves as hidden. An event is
//! written straight into the caller's buffer, for thousands of them go out each second.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use tenantry_journal::event::Event;
use tenantry_journal::id::{CommandId, EventId, InstanceId, Seq, TenantId};
use tenantry_journal::name::InstanceKey;
use tenantry_journal::recorded::{Actor, Recorded};
use tenantry_journal::time::Timestamp;
use uuid::Uuid;

use crate::world::World;

/// Who did it, with the name that they have in a World.
#[derive(Clone, Copy, Debug)]
pub struct ActorView<'a> {
    actor: Actor,
    name: Option<&'a str>,
}

impl<'a> ActorView<'a> {
    /// Looks the name up.
    #[must_use]
    pub fn new(actor: Actor, world: &'a World) -> ActorView<'a> {
        ActorView { actor, name: world.access.actor_name(actor) }
    }
}

impl Serialize for ActorView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Actor", 3)?;
        out.serialize_field("type", self.actor.type_name())?;
        out.serialize_field("id", &self.actor.id())?;
        out.serialize_field("name", &self.name)?;
        out.end()
    }
}

/// Writes a name without making a `String` of it first.
struct Text<'a>(&'a InstanceKey);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// Document 3's form of an event.
#[derive(Clone, Copy)]
pub struct EventView<'a> {
    recorded: &'a Recorded,
    world: &'a World,
}

impl<'a> EventView<'a> {
    /// Shows an event with the names of `world`, which should be the live one: it knows the
    /// names of what is gone, too.
    #[must_use]
    pub fn new(recorded: &'a Recorded, world: &'a World) -> EventView<'a> {
        EventView { recorded, world }
    }

    /// Appends the event to `out` as one line of JSON, without a line end.
    ///
    /// # Errors
    /// Never, as far as is known; a field that JSON cannot express would be one.
    pub fn append_to(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        serde_json::to_writer(out, self)
    }
}

impl Serialize for EventView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let EventView { recorded, world } = *self;
        let instance = recorded.instance_id.and_then(|id| world.instances.name(id)).map(Text);
        let mut out = serializer.serialize_struct("Event", 10)?;
        out.serialize_field("seq", &recorded.seq)?;
        out.serialize_field("id", &recorded.id)?;
        out.serialize_field("at", &recorded.at)?;
        out.serialize_field("kind", recorded.event.kind())?;
        out.serialize_field("actor", &ActorView::new(recorded.actor, world))?;
        out.serialize_field("tenant_id", &recorded.tenant_id)?;
        out.serialize_field("instance", &instance)?;
        out.serialize_field("command_id", &recorded.command_id)?;
        out.serialize_field("caused_by", &recorded.caused_by)?;
        out.serialize_field("data", &recorded.event)?;
        out.end()
    }
}

/// Who did something.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "described, never made")]
struct ActorFields {
    /// What sort of actor: the control plane itself is `system`.
    #[schemars(extend("enum" = ["user", "token", "system"]))]
    r#type: String,
    /// The user's or token's id; `null` for the control plane itself.
    id: Option<Uuid>,
    /// What they are called now; `null` when that is erased.
    name: Option<String>,
}

impl JsonSchema for ActorView<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Actor".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ActorFields::json_schema(generator)
    }
}

/// Something that happened.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "described, never made")]
struct EventFields<'a> {
    /// Its position in the one order of everything; starts at 1 and has no gaps.
    seq: Seq,
    /// Its id.
    id: EventId,
    /// When it was decided.
    at: Timestamp,
    /// What happened.
    #[schemars(extend("enum" = kinds()))]
    kind: String,
    /// Who did it.
    actor: ActorView<'a>,
    /// The tenant that it is about.
    tenant_id: Option<TenantId>,
    /// The instance that it is about, `service:id`.
    instance: Option<InstanceKey>,
    /// Ties together all that one command did.
    command_id: CommandId,
    /// The event that this one answers.
    caused_by: Option<Seq>,
    /// The fields of its kind. Secrets and files stand here as references or digests only.
    data: serde_json::Map<String, serde_json::Value>,
}

/// Every `kind` there is, for schemas.
pub(crate) fn kinds() -> Vec<&'static str> {
    Event::KINDS.iter().map(|(kind, _)| *kind).collect()
}

impl JsonSchema for EventView<'_> {
    fn schema_name() -> Cow<'static, str> {
        "EventView".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        EventFields::json_schema(generator)
    }
}

/// Which events somebody wants to see; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// From this position on.
    pub from_seq: Option<Seq>,
    /// Up to and with this position.
    pub to_seq: Option<Seq>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Up to and with this time.
    pub until: Option<Timestamp>,
    /// About this tenant.
    pub tenant_id: Option<TenantId>,
    /// About an instance of this name, there, gone or to come.
    pub instance: Option<InstanceKey>,
    /// Of a kind that begins so.
    pub kind: Option<String>,
    /// By this user or token.
    pub actor: Option<Uuid>,
    /// Of this command.
    pub command_id: Option<CommandId>,
}

impl EventFilter {
    /// Whether the event is wanted. `world` gives instances their names and has to have
    /// folded the event in.
    #[must_use]
    pub fn matches(&self, recorded: &Recorded, world: &World) -> bool {
        let named = |id: Option<InstanceId>| id.and_then(|id| world.instances.name(id));
        self.from_seq.is_none_or(|seq| recorded.seq >= seq)
            && self.to_seq.is_none_or(|seq| recorded.seq <= seq)
            && self.since.is_none_or(|at| recorded.at >= at)
            && self.until.is_none_or(|at| recorded.at <= at)
            && self.tenant_id.is_none_or(|id| recorded.tenant_id == Some(id))
            && self.command_id.is_none_or(|id| recorded.command_id == id)
            && self.actor.is_none_or(|id| recorded.actor.id() == Some(id))
            && self.kind.as_deref().is_none_or(|prefix| recorded.event.kind().starts_with(prefix))
            && self.instance.as_ref().is_none_or(|key| named(recorded.instance_id) == Some(key))
    }

    /// Whether no event after `recorded` can match: seq and time only grow.
    #[must_use]
    pub fn is_past(&self, recorded: &Recorded) -> bool {
        self.to_seq.is_some_and(|seq| recorded.seq >= seq) || self.until.is_some_and(|at| recorded.at > at)
    }
}
