//! Events as JSON, rendered once for all who follow.
//!
//! A thousand subscribers at the head want the same event within the same millisecond. The
//! recent ones are kept, each in the slot of its position, so that the first to come renders
//! it and the others share the bytes. Readers in the past render for themselves and leave
//! the slots alone.

use std::sync::{Mutex, PoisonError};

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_projections::event_view::EventView;
use tenantry_projections::world::World;

/// How many events are kept: what a subscriber that keeps up may be behind.
const SLOTS: usize = 1024;
/// Longer events are not kept, so that all slots together stay below 16 MiB.
const LONGEST_KEPT: usize = 16 * 1024;

/// The frame of document 3 around an event on a socket, without a `sub`.
const BEFORE: &[u8] = br#"{"type":"event","event":"#;
const AFTER: &[u8] = b"}";

/// An event as JSON, alone and in its frame; both are the same bytes.
#[derive(Clone, Debug)]
pub struct Json(Utf8Bytes);

impl Json {
    fn render(recorded: &Recorded, world: &World) -> Json {
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(BEFORE);
        if let Err(error) = EventView::new(recorded, world).append_to(&mut text) {
            tracing::error!(%error, event.seq = recorded.seq.0, "an event does not render");
            text.truncate(BEFORE.len());
            text.extend_from_slice(b"null");
        }
        text.extend_from_slice(AFTER);
        // serde_json writes UTF-8 alone.
        Json(Utf8Bytes::try_from(Bytes::from(text)).unwrap_or_default())
    }

    /// `{"type":"event","event":{...}}`
    #[must_use]
    pub fn frame(&self) -> Utf8Bytes {
        self.0.clone()
    }

    /// The event alone.
    #[must_use]
    pub fn event(&self) -> &str {
        let text = self.0.as_str();
        text.get(BEFORE.len()..text.len().saturating_sub(AFTER.len())).unwrap_or("null")
    }
}

/// The recent events as JSON.
pub struct Rendered {
    slots: Vec<Mutex<Option<(Seq, Json)>>>,
    count: Counter,
}

impl Rendered {
    /// Nothing yet. `count` counts what is rendered.
    #[must_use]
    pub fn new(count: Counter) -> Rendered {
        Rendered { slots: (0..SLOTS).map(|_| Mutex::default()).collect(), count }
    }

    /// An event as JSON, with the names of `world`, which has to have folded it in.
    #[must_use]
    pub fn of(&self, recorded: &Recorded, world: &World) -> Json {
        let render = || {
            self.count.inc();
            Json::render(recorded, world)
        };
        let seq = recorded.seq;
        let index = usize::try_from(seq.0).unwrap_or_default() % SLOTS;
        let Some(slot) = self.slots.get(index).filter(|_| seq.0 + SLOTS as u64 > world.seq.0) else {
            return render();
        };
        // Held while rendering, so that whoever comes meanwhile waits for these bytes
        // instead of making them again.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some((kept, json)) if *kept == seq => json.clone(),
            Some((kept, _)) if *kept > seq => render(),
            _ => {
                let json = render();
                *slot = (json.0.len() <= LONGEST_KEPT).then(|| (seq, json.clone()));
                json
            }
        }
    }

    /// Forgets everything; to be called when a key was erased, for names stand in the bytes.
    pub fn forget(&self) {
        for slot in &self.slots {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use tenantry_journal::event::system::KeeperLost;
    use tenantry_journal::id::{CommandId, EventId};
    use tenantry_journal::recorded::{Actor, Draft};
    use tenantry_journal::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn recorded(seq: u64) -> Recorded {
        let draft = Draft {
            id: EventId(Uuid::from_u128(seq.into())),
            at: Timestamp(seq),
            actor: Actor::System,
            tenant_id: None,
            instance_id: None,
            command_id: CommandId(Uuid::from_u128(9)),
            caused_by: None,
            idempotency: None,
            event: KeeperLost { pid: 7 }.into(),
        };
        Recorded { seq: Seq(seq), draft }
    }

    #[test]
    fn a_thousand_readers_cost_one_rendering() {
        let rendered = Rendered::new(Counter::default());
        let world = World { seq: Seq(5), ..World::default() };
        for _ in 0..1000 {
            let json = rendered.of(&recorded(5), &world);
            assert!(json.event().starts_with(r#"{"seq":5,"#));
            assert_eq!(json.frame().as_str(), format!(r#"{{"type":"event","event":{}}}"#, json.event()));
        }
        assert_eq!(rendered.count.get(), 1);
    }

    #[test]
    fn a_reader_in_the_past_does_not_displace_the_present() {
        let rendered = Rendered::new(Counter::default());
        let (old, new) = (recorded(7), recorded(7 + SLOTS as u64));
        let world = World { seq: new.seq, ..World::default() };
        for _ in 0..10 {
            assert!(rendered.of(&old, &world).event().contains("\"seq\":7,"));
            assert!(rendered.of(&new, &world).event().contains("\"seq\":1031,"));
        }
        assert_eq!(rendered.count.get(), 11);
    }
}
