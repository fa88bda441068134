//! Refused attempts on their way into the journal, bounded against floods.
//!
//! Whoever refuses only counts, in memory. Attempts alike (address, who, what, route) are one
//! event: the first within a second or two, what follows a minute later with its count. No
//! more than [`MOST_A_MINUTE`] events are recorded in any minute, whoever asks however often;
//! what does not fit is counted and recorded as one number (at the end of the program beside them). So a stranger adds some MB a day
//! at most. A crash loses the counts of the last minute.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tenantry_journal::id::UserId;
use tenantry_journal::recorded::Actor;
use tenantry_journal::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::login_limit::network;
use crate::domain::command::{Command, Submission};
use crate::domain::denied::{Denial, Refused, Times};
use crate::engine::Handle;

/// Events in any minute: at 300 bytes each 9 MB in a day of nothing but attacks, and more than
/// anybody reads.
pub const MOST_A_MINUTE: usize = 20;
/// Attempts alike are recorded no more often than this.
const WINDOW: Duration = Duration::from_secs(60);
/// How long the first waits for others like it.
const TICK: Duration = Duration::from_secs(1);
/// Sorts of attempts that are counted apart; what comes then is one number. Together some
/// hundred KiB.
const MOST_SORTS: usize = 1000;

/// Attempts that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sort {
    from: IpAddr,
    actor: Option<Actor>,
    what: Refused,
}

#[derive(Default)]
struct Book {
    waiting: HashMap<Sort, Times>,
    /// When a sort was recorded last, for as long as that matters.
    recorded: HashMap<Sort, Instant>,
    /// When events were recorded, within the last minute.
    spent: VecDeque<Instant>,
    /// What found no room.
    others: Option<Times>,
    others_recorded: Option<Instant>,
}

fn add(times: &mut Times, more: Times) {
    times.count += more.count;
    times.first_at = times.first_at.min(more.first_at);
    times.last_at = times.last_at.max(more.last_at);
}

impl Book {
    fn note(&mut self, sort: Sort, now: Timestamp) {
        let once = Times { count: 1, first_at: now, last_at: now };
        if let Some(times) = self.waiting.get_mut(&sort) {
            add(times, once);
        } else if self.waiting.len() < MOST_SORTS {
            self.waiting.insert(sort, once);
        } else {
            self.not_told(once);
        }
    }

    fn not_told(&mut self, times: Times) {
        match &mut self.others {
            Some(others) => add(others, times),
            None => self.others = Some(times),
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.others.is_none()
    }

    /// What is to be recorded now; at the end, without waiting for more.
    fn due(&mut self, now: Instant, is_end: bool) -> Vec<Denial> {
        self.spent.retain(|at| now.duration_since(*at) < WINDOW);
        self.recorded.retain(|_, at| now.duration_since(*at) < WINDOW);
        let mut room = MOST_A_MINUTE - self.spent.len().min(MOST_A_MINUTE);
        let mut due: Vec<(Sort, Times)> = self
            .waiting
            .iter()
            .filter(|(sort, _)| is_end || !self.recorded.contains_key(*sort))
            .map(|(sort, times)| (sort.clone(), *times))
            .collect();
        due.sort_by_key(|(_, times)| (std::cmp::Reverse(times.count), times.first_at));
        let mut told = Vec::new();
        for (sort, times) in due {
            self.waiting.remove(&sort);
            // The last place is for the number of those that find none.
            if room <= 1 {
                self.not_told(times);
                continue;
            }
            room -= 1;
            self.spent.push_back(now);
            told.push(Denial::Told {
                what: sort.what.clone(),
                actor: sort.actor,
                from: shown(sort.from),
                times,
            });
            self.recorded.insert(sort, now);
        }
        let is_time = self.others_recorded.is_none_or(|at| now.duration_since(at) >= WINDOW);
        if (room > 0 && is_time || is_end)
            && let Some(others) = self.others.take()
        {
            self.spent.push_back(now);
            self.others_recorded = Some(now);
            told.push(Denial::Counted(others));
        }
        told
    }
}

fn shown(from: IpAddr) -> String {
    match from {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(network) => format!("{network}/64"),
    }
}

/// What is counted of them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests refused with 401.
    pub unauthenticated: Counter,
    /// Requests refused with 403.
    pub forbidden: Counter,
    /// Logins that failed.
    pub logins: Counter,
    /// Attempts that are recorded as a number alone.
    pub unrecorded: Counter,
}

/// Takes note of what is refused.
#[derive(Default)]
pub struct Denials {
    book: Mutex<Book>,
    wake: Notify,
    counts: Counts,
}

impl Denials {
    /// None yet, counted here.
    #[must_use]
    pub fn counted(counts: Counts) -> Denials {
        Denials { counts, ..Denials::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was refused with 401 or 403.
    pub fn request(
        &self,
        from: IpAddr,
        actor: Option<Actor>,
        (status, method, route): (u16, &'static str, &'static str),
        now: Timestamp,
    ) {
        let counter = if status == 401 { &self.counts.unauthenticated } else { &self.counts.forbidden };
        counter.inc();
        self.note(Sort { from: network(from), actor, what: Refused::Request { status, method, route } }, now);
    }

    /// A login failed.
    pub fn login(&self, from: IpAddr, user_id: Option<UserId>, limited: bool, now: Timestamp) {
        self.counts.logins.inc();
        let what = Refused::Login { user_id, limited };
        self.note(Sort { from: network(from), actor: None, what }, now);
    }

    fn note(&self, sort: Sort, now: Timestamp) {
        let was_empty = {
            let mut book = self.book();
            let was_empty = book.is_empty();
            book.note(sort, now);
            was_empty
        };
        if was_empty {
            self.wake.notify_one();
        }
    }

    /// Records until `shutdown`, and the rest then.
    pub async fn record(self: Arc<Self>, handle: Handle, shutdown: CancellationToken) {
        loop {
            let is_idle = self.book().is_empty();
            let is_end = tokio::select! {
                () = shutdown.cancelled() => true,
                () = self.wake.notified(), if is_idle => false,
                () = tokio::time::sleep(TICK), if !is_idle => false,
            };
            if !is_idle || is_end {
                self.record_due(&handle, is_end).await;
            }
            if is_end {
                return;
            }
        }
    }

    async fn record_due(&self, handle: &Handle, is_end: bool) {
        let due = self.book().due(Instant::now(), is_end);
        for denial in due {
            let (actor, times) = match &denial {
                Denial::Told { actor, times, .. } => (actor.unwrap_or(Actor::System), *times),
                Denial::Counted(times) => (Actor::System, *times),
            };
            let is_counted = matches!(denial, Denial::Counted(_));
            let command = Command::NoteDenial(Box::new(denial));
            let submission = Submission { actor, ..Submission::system(command, None) };
            match handle.submit(submission).await {
                Ok(_) if is_counted => {
                    self.counts.unrecorded.inc_by(times.count);
                    tracing::warn!(
                        count = times.count,
                        "refused attempts were counted and not recorded one by one"
                    );
                }
                Ok(outcome) => {
                    tracing::info!(
                        event.seq = outcome.seq.0,
                        count = times.count,
                        "refused attempts recorded"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, count = times.count, "refused attempts could not be recorded");
                    self.book().not_told(times);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Timestamp = Timestamp(1_763_726_400_000);

    fn sort(from: u32, route: &'static str) -> Sort {
        let from = IpAddr::V4(Ipv4Addr::from(from));
        Sort { from, actor: None, what: Refused::Request { status: 401, method: "GET", route } }
    }

    fn counts(told: &[Denial]) -> Vec<u64> {
        let count = |denial: &Denial| match denial {
            Denial::Told { times, .. } | Denial::Counted(times) => times.count,
        };
        told.iter().map(count).collect()
    }

    #[test]
    fn attempts_alike_are_told_at_once_and_then_once_a_minute_with_their_number() {
        let (mut book, mut now) = (Book::default(), Instant::now());
        book.note(sort(1, "/a"), NOW);
        book.note(sort(1, "/a"), NOW.plus_ms(5));
        book.note(sort(1, "/b"), NOW);
        assert_eq!(counts(&book.due(now, false)), [2, 1]);
        for _ in 0..500 {
            book.note(sort(1, "/a"), NOW.plus_ms(9));
        }
        assert_eq!(counts(&book.due(now, false)), [0; 0]);
        book.note(sort(2, "/a"), NOW);
        assert_eq!(counts(&book.due(now, false)), [1], "somebody else does not wait");
        now += WINDOW;
        assert_eq!(counts(&book.due(now, false)), [500]);
        assert!(book.is_empty());
        book.note(sort(1, "/a"), NOW);
        assert_eq!(counts(&book.due(now, true)), [1], "at the end nothing waits");
    }

    #[test]
    fn a_flood_from_everywhere_is_a_few_events_a_minute_and_every_attempt_is_counted() {
        let (mut book, mut now) = (Book::default(), Instant::now());
        let (mut events, mut told, mut noted) = (0, 0, 0);
        let minutes = 10;
        for _ in 0..minutes * 60 {
            for n in 0..3000 {
                book.note(sort(noted as u32 + n, "/a"), NOW);
            }
            noted += 3000;
            assert!(book.waiting.len() <= MOST_SORTS && book.recorded.len() <= MOST_A_MINUTE);
            let due = book.due(now, false);
            events += due.len();
            told += counts(&due).iter().sum::<u64>();
            now += TICK;
        }
        assert!(events <= (minutes + 1) * MOST_A_MINUTE, "{events} events");
        now += WINDOW;
        told += counts(&book.due(now, true)).iter().sum::<u64>();
        assert_eq!(told, noted);
    }
}
