//! Journals to measure with, written by the journal's own pipeline.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tenantry_journal::Opened;
use tenantry_journal::group::{Author, Committed, GroupCommit, Poisoned, Publisher, Refused, Stage, Start};
use tenantry_journal::recorded::{Draft, Recorded};
use tenantry_journal::store::Journal as _;
use tokio::sync::oneshot;

/// Events that are recorded as one command's.
const COMMAND: usize = 64;
/// Commands that wait to become durable at once.
const AHEAD: usize = 64;

/// Records what it is handed.
struct Scribe;

impl Author for Scribe {
    type Request = (Vec<Draft>, oneshot::Sender<()>);
    type Reply = oneshot::Sender<()>;
    type State = ();

    fn decide(&mut self, (drafts, caller): Self::Request, stage: &mut Stage) -> Self::Reply {
        stage.record(drafts).expect("the events are recordable");
        caller
    }

    fn state(&mut self) {}
}

struct Teller;

impl Publisher<Scribe> for Teller {
    fn publish(&mut self, (): (), _: &[Committed]) {}

    fn answer(&mut self, caller: oneshot::Sender<()>, outcome: Result<(), Poisoned>) {
        outcome.expect("durable");
        let _ = caller.send(());
    }
}

/// Writes events into a new journal, and hands each over beside it.
pub(crate) fn write(
    path: &Path,
    mut events: impl Iterator<Item = Recorded>,
    mut each: impl FnMut(&Recorded),
) -> Opened {
    let began = Instant::now();
    let opened = tenantry_journal::open(path).unwrap();
    let (store, keyring) = (Arc::clone(&opened.store), Arc::clone(&opened.keyring));
    let group = GroupCommit::start(store, keyring, Start::default(), Scribe, Teller).unwrap();
    let mut waiting = VecDeque::new();
    let mut count = 0;
    loop {
        let command: Vec<_> = events.by_ref().take(COMMAND).collect();
        if command.is_empty() {
            break;
        }
        command.iter().for_each(&mut each);
        count += command.len();
        let (caller, answer) = oneshot::channel();
        let drafts = command.into_iter().map(|recorded| recorded.draft).collect();
        match group.submit((drafts, caller)) {
            Ok(()) => {}
            Err(Refused::Busy(_) | Refused::Stopped(_)) => panic!("the queue is longer than we are ahead"),
        }
        waiting.push_back(answer);
        if waiting.len() >= AHEAD {
            waiting.pop_front().unwrap().blocking_recv().unwrap();
        }
    }
    for answer in waiting {
        answer.blocking_recv().unwrap();
    }
    drop(group);
    println!(
        "\nwrote {count} events in {:.1?}, {:.0} MB on disk",
        began.elapsed(),
        opened.store.size_on_disk().unwrap() as f64 / 1e6
    );
    opened
}
