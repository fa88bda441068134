//! Keeps Worlds of the past at hand, beside the present: on a thread that gives way, from the
//! journal, a few milliseconds at a time. It begins a moment after the start, stands back while
//! many events are recorded, and ends with the step that it is at.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tenantry_journal::id::Seq;
use tenantry_journal::time::Timestamp;
use tenantry_projections::as_of::{AtHand, TimeTravel};
use tokio_util::sync::CancellationToken;

use crate::background::give_way;
use crate::engine::Handle;
use crate::error::chain;
use crate::telemetry::Metrics;

/// How often the head is looked at when everything is done.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Whoever asks for the past gets so much of the machine alone before the next step.
const WHILE_ASKED: Duration = Duration::from_millis(10);
/// When more events than these come in a millisecond, the past can wait.
const BUSY_EVENTS: u64 = 20;
/// Steps between two looks at the head: some tenths of a second.
const STEPS: usize = 64;

/// The work, and what it looks at.
pub struct Preparing {
    /// What is prepared.
    pub travel: Arc<TimeTravel>,
    /// The present.
    pub handle: Handle,
    /// Where it is told how far it is.
    pub metrics: Arc<Metrics>,
    /// Ends the work.
    pub shutdown: CancellationToken,
}

impl Preparing {
    /// Begins on a thread of its own, which ends when `stopped` closes.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(self, stopped: Receiver<()>) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("past".into()).spawn(move || {
            give_way("the past");
            let mut wait = LOOK_EVERY;
            let mut seen = self.position();
            while !has_ended(&stopped, wait) {
                let now = self.position();
                let is_more = if is_busy(seen, now) { Some(false) } else { self.go_on(now.0, &stopped) };
                seen = now;
                match is_more {
                    Some(is_more) => wait = if is_more { Duration::ZERO } else { LOOK_EVERY },
                    None => return,
                }
            }
        })
    }

    fn position(&self) -> (Seq, Timestamp) {
        let world = self.handle.world();
        (world.seq, world.at)
    }

    /// Does a few steps; says whether there is more to do, and nothing at the end or when the
    /// journal cannot be read.
    fn go_on(&self, head: Seq, stopped: &Receiver<()>) -> Option<bool> {
        let before = self.travel.at_hand();
        let mut is_more = true;
        for _ in 0..STEPS {
            let wait = if self.travel.is_asked() { WHILE_ASKED } else { Duration::ZERO };
            if self.shutdown.is_cancelled() || has_ended(stopped, wait) {
                return None;
            }
            is_more = match self.travel.prepare(head) {
                Ok(is_more) => is_more,
                Err(error) => {
                    // What is asked for is folded from a snapshot, and told of this by itself.
                    tracing::error!(error = chain(&error), "the past is no longer kept at hand");
                    return None;
                }
            };
            if !is_more {
                break;
            }
        }
        let at_hand = self.travel.at_hand();
        if at_hand != before {
            self.tell(at_hand, is_more);
        }
        Some(is_more)
    }

    fn tell(&self, at_hand: AtHand, is_more: bool) {
        let AtHand { worlds, whole, spacing, bytes, upto } = at_hand;
        self.metrics.past_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.past_spacing.set(i64::try_from(spacing).unwrap_or(i64::MAX));
        if !is_more {
            tracing::debug!(event.seq = upto.0, worlds, whole, spacing, bytes, "the past is at hand");
        }
    }
}

fn has_ended(stopped: &Receiver<()>, within: Duration) -> bool {
    !matches!(stopped.recv_timeout(within), Err(RecvTimeoutError::Timeout))
}

fn is_busy(seen: (Seq, Timestamp), now: (Seq, Timestamp)) -> bool {
    let events = now.0.0.saturating_sub(seen.0.0);
    events > BUSY_EVENTS * 1000 && events > now.1.0.saturating_sub(seen.1.0).saturating_mul(BUSY_EVENTS)
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use tenantry_journal::keyring::{Keyring, MasterKey};
    use tenantry_journal::sealed::Vault;
    use tenantry_journal::store::Journal;
    use tenantry_journal::store::memory::MemoryJournal;
    use tenantry_projections::snapshot::Snapshots;

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::Config;
    use crate::domain::command::{Command, Submission};
    use crate::engine::{Engine, JournalSource, Setup, boot};

    #[tokio::test]
    async fn what_was_recorded_comes_to_hand_and_the_thread_ends_when_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::open(dir.path(), MasterKey::new([7; 32])).unwrap());
        let vault = Arc::clone(&keyring) as Arc<dyn Vault>;
        let store: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        let snapshots = Arc::new(Snapshots::open(dir.path().join("snapshots"), Arc::clone(&vault)).unwrap());
        let metrics = Arc::new(Metrics::new("test", Timestamp(0)));
        let engine = Engine::start(Setup {
            booted: boot(&*store, &vault, &snapshots).unwrap(),
            store: Arc::clone(&store),
            keyring,
            policy: Arc::new(ArcSwap::from_pointee(Config::parse("", &Default::default()).unwrap().policy())),
            clock: Arc::new(SystemClock),
            metrics: Arc::clone(&metrics),
        })
        .unwrap();
        let handle = engine.handle();
        let source = Arc::new(JournalSource::new(store, vault));
        let travel = Arc::new(TimeTravel::new(source, snapshots).with_waypoints(4, usize::MAX));
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let preparing = Preparing {
            travel: Arc::clone(&travel),
            handle: handle.clone(),
            metrics: Arc::clone(&metrics),
            shutdown: CancellationToken::new(),
        };
        let thread = preparing.start(stopped).unwrap();
        for n in 1..=22 {
            let started = Command::NoteStarted { version: n.to_string(), boot_id: "boot".to_owned() };
            handle.submit(Submission::system(started, None)).await.unwrap();
        }
        let head = handle.world();
        assert!(head.seq >= Seq(22));
        let last = Seq(head.seq.0 / 4 * 4);
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while travel.at_hand().upto < last || metrics.past_spacing.get() == 0 {
            assert!(std::time::Instant::now() < deadline, "{:?}", travel.at_hand());
            std::thread::park_timeout(Duration::from_millis(5));
        }
        assert_eq!((travel.at_hand().spacing, metrics.past_spacing.get()), (4, 4));
        assert_eq!(travel.world_at(Seq(9), &head).unwrap().seq, Seq(9));
        drop(stop);
        thread.join().unwrap();
    }

    #[test]
    fn many_events_in_a_short_time_are_busy_and_few_or_slow_ones_are_not() {
        let at = |seq, ms| (Seq(seq), Timestamp(ms));
        assert!(is_busy(at(1_000, 0), at(101_000, 1_000)));
        assert!(!is_busy(at(1_000, 0), at(101_000, 10_000)));
        assert!(!is_busy(at(1_000, 0), at(2_000, 0)));
        assert!(!is_busy(at(1_000, 0), at(1_000, 0)));
    }
}
