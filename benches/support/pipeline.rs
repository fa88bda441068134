//! Group commit in short, of the journal's public parts, with its tree of hashes or without.
//!
//! The journal cannot append without its tree, so what the tree costs is measured here: the same
//! two threads and the same rule of who commits when, the same encoding, sealing, checksum, store
//! and `fdatasync`. What the journal has beside that (poison, publishing, a commit by the writer
//! itself when it is alone) is left out on both sides.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use tenantry_journal::codec::{CommitBuilder, EncodedCommit, encode_record};
use tenantry_journal::id::Seq;
use tenantry_journal::merkle::{self, Frontier};
use tenantry_journal::recorded::{Draft, Recorded};
use tenantry_journal::sealed::{Vault, with_vault};
use tenantry_journal::store::Journal;
use tenantry_journal::store::sled::PART_BYTES;
use tokio::sync::oneshot;

/// As in the journal.
const QUEUE: usize = 4096;
const GROUP: usize = 1024;
const IDLE_YIELDS: u32 = 50;

/// Whether the events are hashed into a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Kept,
    LeftOut,
}

/// An event, and who waits for it.
pub(crate) type Request = (Draft, oneshot::Sender<Seq>);

type Group = (Vec<EncodedCommit>, Vec<(oneshot::Sender<Seq>, Seq)>);

/// The right to commit.
struct Turn;

/// The two threads; they end when nobody can submit any more.
pub(crate) struct Pipeline {
    requests: Option<Sender<Request>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    pub(crate) fn start(store: Arc<dyn Journal>, vault: Arc<dyn Vault>, tree: Tree) -> Pipeline {
        let (requests, queue) = bounded(QUEUE);
        let (groups, handed_over) = bounded::<(Group, Turn)>(1);
        let (give_back, turns) = bounded(1);
        give_back.send(Turn).unwrap();
        let commit = move || {
            for ((commits, callers), turn) in handed_over {
                commits.iter().for_each(|commit| store.append(commit).unwrap());
                store.sync().unwrap();
                for (caller, seq) in callers {
                    let _ = caller.send(seq);
                }
                let _ = give_back.send(turn);
            }
        };
        let stage = Stage::new(vault, tree);
        let threads = vec![
            std::thread::spawn(move || write(stage, &queue, &turns, &groups)),
            std::thread::spawn(commit),
        ];
        Pipeline { requests: Some(requests), threads }
    }

    pub(crate) fn submitter(&self) -> Sender<Request> {
        self.requests.clone().unwrap()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        drop(self.requests.take());
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// Encodes what waits until it is this thread's turn to hand a group over.
fn write(
    mut stage: Stage,
    queue: &Receiver<Request>,
    turns: &Receiver<Turn>,
    groups: &Sender<(Group, Turn)>,
) {
    while let Ok(first) = queue.recv() {
        let mut callers = vec![stage.record(first)];
        let mut idle = 0;
        let turn = loop {
            let before = callers.len();
            callers.extend(queue.try_iter().take(GROUP - before).map(|request| stage.record(request)));
            if callers.len() > before {
                continue;
            }
            if let Ok(turn) = turns.try_recv() {
                break turn;
            }
            if idle == IDLE_YIELDS || callers.len() == GROUP {
                let turn = turns.recv().unwrap();
                let room = GROUP - callers.len();
                callers.extend(queue.try_iter().take(room).map(|request| stage.record(request)));
                break turn;
            }
            idle += 1;
            std::thread::yield_now();
        };
        if groups.send(((stage.take(), callers), turn)).is_err() {
            return;
        }
    }
}

/// Events as commits, as the journal's own stage makes them.
struct Stage {
    vault: Arc<dyn Vault>,
    tree: Tree,
    frontier: Frontier,
    head: Seq,
    builder: Option<CommitBuilder>,
    events: Vec<Recorded>,
    commits: Vec<EncodedCommit>,
    framed: Vec<u8>,
    fields: Vec<u8>,
}

impl Stage {
    fn new(vault: Arc<dyn Vault>, tree: Tree) -> Stage {
        Stage {
            vault,
            tree,
            frontier: Frontier::default(),
            head: Seq::ZERO,
            builder: None,
            events: Vec::new(),
            commits: Vec::new(),
            framed: Vec::new(),
            fields: Vec::new(),
        }
    }

    fn record(&mut self, (draft, caller): Request) -> (oneshot::Sender<Seq>, Seq) {
        let Stage { vault, framed, fields, .. } = self;
        let recorded = Recorded { seq: self.head.next(), draft };
        framed.clear();
        framed.extend_from_slice(&[0; 4]);
        with_vault(vault, || encode_record(&recorded, fields, framed)).unwrap();
        let (length, record) = framed.split_first_chunk_mut().unwrap();
        *length = (record.len() as u32).to_be_bytes();
        let leaf = (self.tree == Tree::Kept).then(|| merkle::leaf(record));
        if self.builder.as_ref().is_some_and(|open| open.len() + self.framed.len() > PART_BYTES) {
            self.close();
        }
        let (first, frontier) = (recorded.seq, &self.frontier);
        let builder = self.builder.get_or_insert_with(|| {
            let root = if self.tree == Tree::Kept { frontier.root() } else { merkle::Hash::default() };
            CommitBuilder::with_room(first, root, PART_BYTES)
        });
        builder.push_framed(&self.framed, 1, recorded.at);
        if let Some(leaf) = leaf {
            self.frontier.push(leaf);
        }
        self.head = recorded.seq;
        self.events.push(recorded);
        (caller, self.head)
    }

    fn close(&mut self) {
        self.commits.extend(self.builder.take().map(CommitBuilder::finish));
        self.events.clear();
    }

    fn take(&mut self) -> Vec<EncodedCommit> {
        self.close();
        std::mem::take(&mut self.commits)
    }
}
