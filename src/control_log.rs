//! The control plane's own log (document 1's), made from events when somebody asks for it.
//!
//! Its index is filled by the first request and kept up by each later one; who never asks pays
//! nothing. It is memory alone: after a start it is filled again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::scan::ScanError;
use tenantry_projections::audit_log::{BLOCK, Filter, Index};
use tokio::time::Instant;

use crate::engine;

/// How long one request reads on before it answers that there is more: a fold reads about a
/// million events a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The index is still being filled; the next request goes on.
    #[error("{noted} of {head} events are read")]
    Behind {
        /// So far.
        noted: Seq,
        /// In all.
        head: Seq,
    },
    /// The journal cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ScanError),
}

/// Part of the log, the newest line first.
#[derive(Debug)]
pub struct LogPage {
    /// The events of its lines.
    pub events: Vec<Recorded>,
    /// How many lines the filter takes in all.
    pub total: u64,
}

/// The log.
#[derive(Debug, Default)]
pub struct ControlLog {
    index: Mutex<Index>,
    /// Who fills the index; others wait.
    turn: Mutex<()>,
}

impl ControlLog {
    /// A page, counted from the newest line. Reads the journal: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn page(
        &self,
        engine: &engine::Handle,
        filter: &Filter,
        offset: usize,
        limit: usize,
    ) -> Result<LogPage, LogError> {
        self.catch_up(engine)?;
        let place = self.index().place(filter, offset, limit);
        let (mut events, mut skip) = (Vec::new(), place.skip);
        for (first, last) in place.blocks {
            let block = events_of(engine, first, last)?;
            let wanted = block.into_iter().rev().filter(|event| filter.takes(event));
            for event in wanted {
                match skip.checked_sub(1) {
                    Some(left) => skip = left,
                    None if events.len() < limit => events.push(event),
                    None => break,
                }
            }
        }
        Ok(LogPage { events, total: place.total })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn catch_up(&self, engine: &engine::Handle) -> Result<(), LogError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, begun) = (engine.world().seq, Instant::now());
        loop {
            let next = self.index().next();
            if next > head {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(LogError::Behind { noted: Seq(next.0 - 1), head });
            }
            let events = events_of(engine, next, Seq(next.0 + BLOCK - 1).min(head))?;
            let mut index = self.index();
            events.iter().for_each(|event| index.note(event));
        }
    }
}

/// The events between two positions, both included.
fn events_of(engine: &engine::Handle, first: Seq, last: Seq) -> Result<Vec<Recorded>, ScanError> {
    let wanted = usize::try_from(last.0 - first.0 + 1).unwrap_or(usize::MAX);
    let mut events: Vec<Recorded> = Vec::with_capacity(wanted);
    while events.len() < wanted {
        let from = Seq(first.0 + events.len() as u64);
        let slices = engine.feed().read(from, wanted - events.len())?;
        let before = events.len();
        events.extend(slices.iter().flat_map(|slice| slice.iter()).cloned());
        if events.len() == before {
            break;
        }
    }
    Ok(events)
}
