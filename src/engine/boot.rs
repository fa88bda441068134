//! From a data directory to the World at its head, and the snapshots that make it quick.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;

use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::merkle::{BadFrontier, Frontier};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::scan::{self, ScanError};
use tenantry_journal::sealed::{Vault, take_damage};
use tenantry_journal::store::Journal;
use tenantry_journal::time::Timestamp;
use tenantry_projections::as_of::{Source, SourceError, TimeTravel};
use tenantry_projections::snapshot::{Snapshots, TreeState};
use tenantry_projections::world::World;

use super::Handle;

/// A snapshot is written after this many events: folding as many takes a tenth of a second.
const EVENTS_BETWEEN_SNAPSHOTS: u64 = 50_000;

/// The present, folded from the journal.
pub struct Booted {
    /// The World at the journal's head.
    pub world: World,
    /// The Merkle tree over all events.
    pub frontier: Frontier,
}

/// The journal cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Its bytes cannot be read or are damaged.
    #[error("the journal cannot be read")]
    Scan(#[from] ScanError),
    /// A snapshot holds an impossible tree.
    #[error("a snapshot's Merkle tree is damaged; delete the directory 'snapshots' and start again")]
    Tree(#[from] BadFrontier),
}

/// Folds the journal into the World at its head: from the newest usable snapshot, else from
/// the first event.
///
/// # Errors
/// When the journal is damaged; the error names the seq.
pub fn boot(store: &dyn Journal, vault: &Arc<dyn Vault>, snapshots: &Snapshots) -> Result<Booted, BootError> {
    let head = store.head();
    let (mut world, mut frontier) = match snapshots.latest_at_or_before(head) {
        Some(snapshot) => {
            let frontier = Frontier::resume(snapshot.tree.size, snapshot.tree.peaks)?;
            (snapshot.world, frontier)
        }
        None => (World::default(), Frontier::default()),
    };
    let from = world.seq;
    scan::replay(store, vault, &mut frontier, from, head, |recorded| world.evolve(recorded))?;
    tracing::info!(event.seq = head.0, snapshot.seq = from.0, "journal folded");
    for tenant in world.tenants.iter().filter(|tenant| tenant.details.open().is_none()) {
        tracing::error!(tenant.id = %tenant.id, "the keyring holds no key of this tenant; its data reads as erased");
    }
    Ok(Booted { world, frontier })
}

/// The journal as a source of events for time travel.
pub struct JournalSource {
    store: Arc<dyn Journal>,
    vault: Arc<dyn Vault>,
}

impl JournalSource {
    /// Reads `store`, opening sealed values with `vault`.
    #[must_use]
    pub fn new(store: Arc<dyn Journal>, vault: Arc<dyn Vault>) -> JournalSource {
        JournalSource { store, vault }
    }
}

/// Events decoded at once while folding for time travel.
const PAGE_EVENTS: usize = 4096;

impl Source for JournalSource {
    fn head(&self) -> Seq {
        self.store.head()
    }

    fn read(
        &self,
        after: Seq,
        until: Seq,
        visit: &mut dyn FnMut(&Recorded) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let _of_others = take_damage();
        let mut next = after.next();
        while next <= until {
            let page = scan::page(&*self.store, &self.vault, next, until, PAGE_EVENTS)
                .map_err(|error| SourceError(Box::new(error)))?;
            let Some(last) = page.last().map(|event| event.seq) else { return Ok(()) };
            for recorded in &page {
                let flow = visit(recorded);
                scan::undamaged(recorded.seq).map_err(|error| SourceError(Box::new(error)))?;
                if flow.is_break() {
                    return Ok(());
                }
            }
            next = last.next();
        }
        Ok(())
    }

    fn read_at(
        &self,
        seqs: &[Seq],
        visit: &mut dyn FnMut(&Recorded) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let _of_others = take_damage();
        scan::at(&*self.store, &self.vault, seqs, |recorded| {
            let flow = visit(recorded);
            scan::undamaged(recorded.seq)?;
            Ok(flow)
        })
        .map_err(|error| SourceError(Box::new(error)))
    }

    fn tenants(
        &self,
        after: Seq,
        until: Seq,
        each: &mut dyn FnMut(Seq, Option<TenantId>),
    ) -> Result<(), SourceError> {
        scan::tenants(&*self.store, after.next(), until, each).map_err(|error| SourceError(Box::new(error)))
    }

    fn seq_at(&self, at: Timestamp) -> Result<Seq, SourceError> {
        scan::seq_at(&*self.store, &self.vault, at).map_err(|error| SourceError(Box::new(error)))
    }
}

/// Writes snapshots in the background while events come.
pub struct Snapshotter {
    store: Arc<dyn Journal>,
    snapshots: Arc<Snapshots>,
    handle: Handle,
    frontier: Frontier,
    written: Seq,
    /// What else is brought up to date on the same thread.
    travel: Option<Arc<TimeTravel>>,
}

impl Snapshotter {
    /// Begins at a World that was booted, with the tree over its events.
    #[must_use]
    pub fn new(
        store: Arc<dyn Journal>,
        snapshots: Arc<Snapshots>,
        handle: Handle,
        frontier: Frontier,
    ) -> Snapshotter {
        let written = snapshots.list().into_iter().max().unwrap_or(Seq::ZERO);
        Snapshotter { store, snapshots, handle, frontier, written, travel: None }
    }

    /// Keeps an index of tenants' events up to date, too.
    #[must_use]
    pub fn indexing(self, travel: Arc<TimeTravel>) -> Snapshotter {
        Snapshotter { travel: Some(travel), ..self }
    }

    /// Follows the feed on a thread of its own until `stop` closes, then writes a last one.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(mut self, stop: crossbeam_channel::Receiver<()>) -> std::io::Result<JoinHandle<()>> {
        /// How often the head is looked at; at full load some 600,000 events pass meanwhile.
        const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
        std::thread::Builder::new().name("snapshots".into()).spawn(move || {
            loop {
                self.index();
                let ended = !matches!(
                    stop.recv_timeout(LOOK_EVERY),
                    Err(crossbeam_channel::RecvTimeoutError::Timeout)
                );
                let behind = self.handle.world().seq.0.saturating_sub(self.written.0);
                if behind >= EVENTS_BETWEEN_SNAPSHOTS || (ended && behind > 0) {
                    self.write();
                    self.keep_index();
                }
                if ended {
                    return;
                }
            }
        })
    }

    fn index(&self) {
        let head = self.handle.world().seq;
        if let Some(Err(error)) = self.travel.as_ref().map(|travel| travel.index(head)) {
            tracing::error!(error = crate::error::chain(&error), "tenants' events are not indexed");
        }
    }

    /// What cannot be written is read from the journal at the next start.
    fn keep_index(&self) {
        let Some(travel) = &self.travel else { return };
        self.index();
        match travel.keep_index() {
            Ok(()) => tracing::debug!(bytes = travel.index_memory(), "index of tenants' events written"),
            Err(error) => tracing::error!(%error, "the index of tenants' events cannot be written"),
        }
    }

    /// A snapshot that cannot be written is only slower at the next start: said, not fatal.
    fn write(&mut self) {
        let world = self.handle.world();
        if let Err(error) = scan::hash(&*self.store, &mut self.frontier, world.seq) {
            tracing::error!(error = crate::error::chain(&error), "the journal does not hash; no snapshot");
            return;
        }
        let tree = TreeState { size: self.frontier.size(), peaks: self.frontier.peaks().to_vec() };
        match self.snapshots.write(&world, &tree).and_then(|bytes| Ok((bytes, self.snapshots.prune()?))) {
            Ok((bytes, _)) => {
                self.written = world.seq;
                tracing::info!(event.seq = world.seq.0, bytes, "snapshot written");
            }
            Err(error) => tracing::error!(error = crate::error::chain(&error), "no snapshot written"),
        }
    }
}
