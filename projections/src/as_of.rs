//! The World of any moment: the nearest one that is at hand, and a fold from there.
//!
//! At hand are the live World, the few that were asked for last, those kept at even distances
//! (`waypoints`), and the snapshots. A fold is work of up to seconds: call it on a thread that
//! may block. Only one runs at a time, so that curiosity about the past never takes more than
//! one core from the present.

pub mod by_tenant;
mod packed;
pub mod point;
mod tenant;
pub mod waypoints;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::time::Timestamp;

pub use point::{BadPoint, Point};
pub use waypoints::AtHand;

use tenant::Indexed;
use waypoints::{Pathfinder, Waypoints};

use crate::snapshot::Snapshots;
use crate::world::World;

/// How many Worlds of the past are kept in memory: enough for a page that shows a few
/// moments side by side, and each may hold megabytes that no other World shares.
const KEPT_WORLDS: usize = 8;
/// Reading so much of a snapshot costs as much as folding one event. Both were measured with
/// 10,000 tenants.
const SNAPSHOT_BYTES_PER_EVENT: u64 = 300;

/// The journal could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the journal could not be read")]
pub struct SourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where events come from: the journal, an export, or a test's list.
pub trait Source: Send + Sync {
    /// Position of the last event; [`Seq::ZERO`] when there is none.
    fn head(&self) -> Seq;

    /// Hands over the events after `after` up to and with `until`, in order, until the
    /// visitor breaks off.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn read(
        &self,
        after: Seq,
        until: Seq,
        visit: &mut dyn FnMut(&Recorded) -> ControlFlow<()>,
    ) -> Result<(), SourceError>;

    /// The last event at or before a time; [`Seq::ZERO`] when there is none.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn seq_at(&self, at: Timestamp) -> Result<Seq, SourceError>;

    /// Hands over the events at these positions, which ascend, until the visitor breaks off.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn read_at(
        &self,
        seqs: &[Seq],
        visit: &mut dyn FnMut(&Recorded) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let mut go_on = ControlFlow::Continue(());
        for seq in seqs {
            self.read(Seq(seq.0.saturating_sub(1)), *seq, &mut |recorded| {
                go_on = visit(recorded);
                go_on
            })?;
            if go_on.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Tells whose the events after `after` up to and with `until` are.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn tenants(
        &self,
        after: Seq,
        until: Seq,
        each: &mut dyn FnMut(Seq, Option<TenantId>),
    ) -> Result<(), SourceError> {
        self.read(after, until, &mut |recorded| {
            each(recorded.seq, recorded.tenant_id);
            ControlFlow::Continue(())
        })
    }
}

/// There is no World of that moment.
#[derive(Debug, thiserror::Error)]
pub enum AsOfError {
    /// Nothing was recorded yet.
    #[error("{0} lies before the first event")]
    BeforeFirst(Point),
    /// It has not come yet.
    #[error("{wanted} lies after the last event, seq {head}")]
    AfterHead {
        /// What was asked for.
        wanted: Point,
        /// The last event.
        head: Seq,
    },
    /// The journal failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The journal gave another event than the next one.
    #[error("the journal gives seq {found} where seq {expected} belongs")]
    Gap {
        /// The event that should have come.
        expected: Seq,
        /// The event that came, or the last one when none came.
        found: Seq,
    },
}

/// Folds the events after the World's position up to and with `until` into it. Returns how
/// many.
///
/// # Errors
/// When the journal cannot be read or leaves out an event; the World is then left at the
/// last event that was folded in.
pub fn fold(source: &dyn Source, world: &mut World, until: Seq) -> Result<u64, AsOfError> {
    fold_and_watch(source, world, until, |_, _| ControlFlow::Continue(()))
}

/// Like [`fold`], with a look at the World after each event, which may break off.
pub(crate) fn fold_and_watch(
    source: &dyn Source,
    world: &mut World,
    until: Seq,
    mut watch: impl FnMut(&World, &Recorded) -> ControlFlow<()>,
) -> Result<u64, AsOfError> {
    let after = world.seq;
    if until <= after {
        return Ok(0);
    }
    let mut gap = None;
    let mut broken_off = false;
    source.read(after, until, &mut |recorded| {
        if recorded.seq != world.seq.next() {
            gap = Some(AsOfError::Gap { expected: world.seq.next(), found: recorded.seq });
            return ControlFlow::Break(());
        }
        world.evolve(recorded);
        let flow = watch(world, recorded);
        broken_off = flow.is_break();
        flow
    })?;
    if let Some(gap) = gap {
        return Err(gap);
    }
    if world.seq != until && !broken_off {
        return Err(AsOfError::Gap { expected: world.seq.next(), found: world.seq });
    }
    Ok(world.seq.0 - after.0)
}

/// Finds the World of any moment.
pub struct TimeTravel {
    source: Arc<dyn Source>,
    snapshots: Arc<Snapshots>,
    /// Least recently asked for first.
    kept: Mutex<VecDeque<World>>,
    folding: Mutex<()>,
    by_tenant: Mutex<Indexed>,
    /// One tenant each, as of the World's position; least recently asked for first.
    kept_tenants: Mutex<VecDeque<(TenantId, World)>>,
    waypoints: Mutex<Waypoints>,
    pathfinder: Mutex<Pathfinder>,
    /// How often everything was forgotten.
    forgotten: AtomicU64,
}

impl TimeTravel {
    /// Folds from `source`, starting at `snapshots`.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, snapshots: Arc<Snapshots>) -> TimeTravel {
        TimeTravel {
            source,
            snapshots,
            kept: Mutex::default(),
            folding: Mutex::default(),
            by_tenant: Mutex::default(),
            kept_tenants: Mutex::default(),
            waypoints: Mutex::default(),
            pathfinder: Mutex::default(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Where events come from.
    #[must_use]
    pub fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// The position that a point means: for a time, the last event at or before it. A time
    /// after the last event and not after `now` means that event, for nothing has happened
    /// since; a later one has not come yet.
    ///
    /// # Errors
    /// When the point lies before the first event or in the future, or the journal fails.
    pub fn resolve(&self, point: Point, head: &World, now: Timestamp) -> Result<Seq, AsOfError> {
        let after_head = AsOfError::AfterHead { wanted: point, head: head.seq };
        let seq = match point {
            Point::Seq(seq) if seq > head.seq => return Err(after_head),
            Point::Seq(seq) => seq,
            Point::At(at) if at > now && at > head.at => return Err(after_head),
            Point::At(at) if at >= head.at => head.seq,
            Point::At(at) => self.source.seq_at(at)?.min(head.seq),
        };
        if seq == Seq::ZERO { Err(AsOfError::BeforeFirst(point)) } else { Ok(seq) }
    }

    /// The World at a position; `head` is the live one. [`Seq::ZERO`] is the empty World.
    ///
    /// # Errors
    /// When the position lies after the head or the journal fails.
    pub fn world_at(&self, seq: Seq, head: &World) -> Result<World, AsOfError> {
        if seq > head.seq {
            return Err(AsOfError::AfterHead { wanted: Point::Seq(seq), head: head.seq });
        }
        if seq == head.seq {
            return Ok(head.clone());
        }
        if seq == Seq::ZERO {
            return Ok(World::default());
        }
        if let Some(world) = self.recall(seq) {
            return Ok(world);
        }
        let _alone = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever held the lock may have folded the very same.
        if let Some(world) = self.recall(seq) {
            return Ok(world);
        }
        let began = self.times_forgotten();
        let mut world = self.nearest(seq);
        fold(self.source.as_ref(), &mut world, seq)?;
        self.keep(world.clone(), began);
        Ok(world)
    }

    /// Whether somebody waits for a World of the past.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.folding.try_lock().is_err()
    }

    /// How often everything was forgotten: what a fold that began before comes to is not kept.
    pub(crate) fn times_forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    fn recall(&self, seq: Seq) -> Option<World> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let position = kept.iter().position(|world| world.seq == seq)?;
        let world = kept.remove(position)?;
        kept.push_back(world.clone());
        Some(world)
    }

    fn nearest(&self, seq: Seq) -> World {
        let kept = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().filter(|world| world.seq <= seq).max_by_key(|world| world.seq).cloned()
        };
        let kept = kept.unwrap_or_default();
        let kept = self.waypoints().between(kept.seq, seq).unwrap_or(kept);
        if !self.is_worth_a_snapshot(kept.seq, seq) {
            return kept;
        }
        self.snapshots.latest_between(kept.seq, seq).map_or(kept, |snapshot| snapshot.world)
    }

    /// Whether a snapshot between two positions is read faster than folded up to.
    fn is_worth_a_snapshot(&self, kept: Seq, seq: Seq) -> bool {
        let snapshots = self.snapshots.list();
        let between = snapshots.into_iter().rfind(|found| *found > kept && *found <= seq);
        between.is_some_and(|found| {
            kept == Seq::ZERO || self.snapshots.bytes(found) / SNAPSHOT_BYTES_PER_EVENT < found.0 - kept.0
        })
    }

    /// Keeps a World, unless everything was forgotten since its fold began.
    fn keep(&self, world: World, began: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.times_forgotten() != began {
            return;
        }
        kept.push_back(world);
        if kept.len() > KEPT_WORLDS {
            kept.pop_front();
        }
    }
}
