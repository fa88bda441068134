//! Events as JSON, rendered once for all who follow.
//!
//! A thousand subscribers at the head want the same event within the same millisecond. The
//! recent ones are kept, each in the slot of its position, so that the first to come renders
//! it and the others share the bytes. Readers in the past render for themselves and leave
//! the slots alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_projections::event_view::EventView;
use tenantry_projections::world::World;

/// How many events are kept: what a subscriber that keeps up may be behind.
const SLOTS: usize = 1024;
/// Memory of all that is kept, in bytes: twice what as many events of the usual length take.
/// When longer ones come the oldest go before their slot's turn.
const KEPT_BYTES: usize = 2 * 1024 * 1024;
/// Longer events are rendered for each reader, so that one of them does not push out all
/// others.
const LONGEST_KEPT: usize = 64 * 1024;

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
        // What is kept is what was counted.
        text.shrink_to_fit();
        // serde_json writes UTF-8 alone.
        Json(Utf8Bytes::try_from(Bytes::from(text)).unwrap_or_default())
    }

    /// `{"type":"event","event":{...}}`, with the `sub` of a subscription that has a name; without
    /// one it is shared by everybody.
    #[must_use]
    pub fn frame(&self, sub: Option<&str>) -> Utf8Bytes {
        let Some(sub) = sub else { return self.0.clone() };
        let sub = serde_json::Value::from(sub);
        format!(r#"{{"type":"event","sub":{sub},"event":{}}}"#, self.event()).into()
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
    slots: Vec<Mutex<Slot>>,
    /// Of everything in the slots.
    bytes: AtomicUsize,
    count: Counter,
}

type Slot = Option<(Seq, Json)>;

impl Rendered {
    /// Nothing yet. `count` counts what is rendered.
    #[must_use]
    pub fn new(count: Counter) -> Rendered {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Rendered { slots, bytes: AtomicUsize::new(0), count }
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
        let mut slot = lock(slot);
        match &*slot {
            Some((kept, json)) if *kept == seq => return json.clone(),
            Some((kept, _)) if *kept > seq => return render(),
            _ => {}
        }
        let json = render();
        self.fill(&mut slot, (json.0.len() <= LONGEST_KEPT).then(|| (seq, json.clone())));
        // No lock is waited for while another is held.
        drop(slot);
        self.make_room(index);
        json
    }

    fn fill(&self, slot: &mut Slot, content: Slot) {
        let size = |slot: &Slot| slot.as_ref().map_or(0, |(_, json)| json.0.len());
        self.bytes.fetch_add(size(&content), Ordering::Relaxed);
        self.bytes.fetch_sub(size(slot), Ordering::Relaxed);
        *slot = content;
    }

    /// Empties the slots behind `newest`, which hold the oldest, until the rest is within
    /// its bounds.
    fn make_room(&self, newest: usize) {
        let oldest_first = self.slots.iter().cycle().skip(newest + 1).take(SLOTS - 1);
        for slot in oldest_first {
            if self.bytes.load(Ordering::Relaxed) <= KEPT_BYTES {
                return;
            }
            self.fill(&mut lock(slot), None);
        }
    }

    /// Forgets everything; to be called when a key was erased, for names stand in the bytes.
    pub fn forget(&self) {
        for slot in &self.slots {
            self.fill(&mut lock(slot), None);
        }
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tenantry_journal::event::system::{KeeperLost, SystemStarted};
    use tenantry_journal::id::EventId;
    use tenantry_journal::recorded::Draft;
    use tenantry_journal::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn recorded(seq: u64) -> Recorded {
        let id = EventId(Uuid::from_u128(seq.into()));
        Recorded { seq: Seq(seq), draft: Draft::of_system(id, Timestamp(seq), KeeperLost { pid: 7 }) }
    }

    #[test]
    fn a_thousand_readers_cost_one_rendering() {
        let rendered = Rendered::new(Counter::default());
        let world = World { seq: Seq(5), ..World::default() };
        for _ in 0..1000 {
            let json = rendered.of(&recorded(5), &world);
            assert!(json.event().starts_with(r#"{"seq":5,"#));
            assert_eq!(json.frame(None).as_str(), format!(r#"{{"type":"event","event":{}}}"#, json.event()));
        }
        assert_eq!(rendered.count.get(), 1);
    }

    #[test]
    fn long_events_push_out_the_oldest_and_the_bytes_stay_bounded() {
        let rendered = Rendered::new(Counter::default());
        let event = |seq: u64, len: usize| {
            let mut recorded = recorded(seq);
            recorded.draft.event = SystemStarted { version: "v".repeat(len), boot_id: String::new() }.into();
            recorded
        };
        const EVENTS: u64 = 500;
        for seq in 1..=EVENTS {
            let world = World { seq: Seq(seq), ..World::default() };
            assert!(rendered.of(&event(seq, 20_000), &world).event().len() > 20_000);
            let held: usize = rendered
                .slots
                .iter()
                .filter_map(|slot| lock(slot).clone())
                .map(|(_, json)| json.0.len())
                .sum();
            assert_eq!(rendered.bytes.load(Ordering::Relaxed), held);
            assert!(held <= KEPT_BYTES, "{held} bytes");
        }
        let world = World { seq: Seq(EVENTS), ..World::default() };
        for seq in EVENTS - 90..=EVENTS {
            assert!(
                rendered.of(&event(seq, 20_000), &world).event().starts_with(&format!("{{\"seq\":{seq},"))
            );
        }
        assert_eq!(rendered.count.get(), EVENTS, "the newest are still there");
        assert!(rendered.of(&event(1, 20_000), &world).event().starts_with("{\"seq\":1,"));
        assert_eq!(rendered.count.get(), EVENTS + 1, "the oldest are not");

        let longest = event(EVENTS + 1, LONGEST_KEPT + 1);
        let world = World { seq: longest.seq, ..World::default() };
        assert_eq!(rendered.of(&longest, &world).event(), rendered.of(&longest, &world).event());
        assert_eq!(rendered.count.get(), EVENTS + 3, "one that is too long is not kept");
        rendered.forget();
        assert_eq!(rendered.bytes.load(Ordering::Relaxed), 0);
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
