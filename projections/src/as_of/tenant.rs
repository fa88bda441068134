//! One tenant at any moment, folded from its own events alone.
//!
//! What becomes of a tenant follows from the events that are about it: what another tenant or
//! a user does is in none of its fields. So its past costs what the tenant did, however long
//! the journal. The World that comes out holds this tenant, its instances, deployments,
//! analyses, ports and configuration, and nothing else. (Whether another one took a deleted
//! tenant's directory since is a question to the live World.)

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::recorded::Recorded;

use super::by_tenant::ByTenant;
use super::{AsOfError, Point, TimeTravel};
use crate::world::World;

/// Tenants of the past that are kept in memory; each takes some KiB.
const KEPT_TENANTS: usize = 256;
/// Events of one tenant after which it is kept on the way, so that whoever asks for another
/// moment of a busy one folds no more than these.
const BETWEEN_KEPT: usize = 512;
/// Events that are indexed at a time: a few milliseconds, in which nobody else finds anything.
const STEP: u64 = 20_000;
/// Events that a question waits for to be indexed; with more to come it is answered by a fold
/// of everything.
const WAITS_FOR: u64 = 400_000;

/// The index, read from its file when it is first asked.
#[derive(Debug, Default)]
pub(super) struct Indexed {
    unread: Option<PathBuf>,
    index: ByTenant,
}

impl TimeTravel {
    /// Keeps which events are whose in a file as well.
    #[must_use]
    pub fn indexed_in(self, path: impl Into<PathBuf>) -> TimeTravel {
        self.indexed().unread = Some(path.into());
        self
    }

    fn indexed(&self) -> MutexGuard<'_, Indexed> {
        self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_tenant(&self) -> Reading<'_> {
        let mut indexed = self.indexed();
        if let Some(path) = indexed.unread.take() {
            let mut index = ByTenant::open(&path, self.source.head());
            if !self.is_of_this_journal(&index) {
                tracing::warn!(path = %path.display(), "the tenants' positions are another journal's, and made again");
                index.clear();
            }
            indexed.index = index;
        }
        Reading(indexed)
    }

    /// Looks at a few events whether they are whose the index says.
    fn is_of_this_journal(&self, index: &ByTenant) -> bool {
        const SAMPLES: u64 = 16;
        let upto = index.upto().0;
        (1..=SAMPLES).map(|n| upto * n / SAMPLES).filter(|seq| *seq > 0).all(|seq| {
            let mut same = false;
            let read = self.source.tenants(Seq(seq - 1), Seq(seq), &mut |seq, tenant| {
                same = tenant.is_none_or(|tenant| index.between(tenant, Seq(seq.0 - 1), seq, 1) == [seq]);
            });
            read.is_ok() && same
        })
    }

    /// Indexes the events up to a position. For a thread that has time.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn index(&self, until: Seq) -> Result<(), AsOfError> {
        loop {
            let mut index = self.by_tenant();
            let upto = index.upto();
            if upto >= until {
                return Ok(());
            }
            let next = Seq(upto.0.saturating_add(STEP)).min(until);
            self.source.tenants(upto, next, &mut |seq, tenant| index.note(seq, tenant))?;
            if index.upto() < next {
                return Err(AsOfError::Gap { expected: index.upto().next(), found: next });
            }
        }
    }

    /// Writes the index to its file, if it has one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_index(&self) -> std::io::Result<()> {
        self.by_tenant().keep()
    }

    /// Bytes of memory that the index takes.
    #[must_use]
    pub fn index_memory(&self) -> usize {
        self.by_tenant().memory()
    }

    /// The positions of a tenant's events after `after` up to and with `until`, at most `limit`;
    /// `None` while that is not known yet.
    pub(crate) fn positions(
        &self,
        tenant: TenantId,
        after: Seq,
        until: Seq,
        limit: usize,
    ) -> Result<Option<Vec<Seq>>, AsOfError> {
        let upto = self.by_tenant().upto();
        if until.0.saturating_sub(upto.0) > WAITS_FOR {
            return Ok(None);
        }
        self.index(until)?;
        Ok(Some(self.by_tenant().between(tenant, after, until, limit)))
    }

    /// One tenant at a position, in a World that holds what is about it and nothing else.
    /// `head` is the live World.
    ///
    /// # Errors
    /// When the position lies after the head or the journal fails.
    pub fn tenant_at(&self, tenant: TenantId, seq: Seq, head: &World) -> Result<World, AsOfError> {
        if seq > head.seq {
            return Err(AsOfError::AfterHead { wanted: Point::Seq(seq), head: head.seq });
        }
        if seq == head.seq {
            return Ok(head.clone());
        }
        let began = self.times_forgotten();
        let mut world = self.recall_tenant(tenant, seq);
        if world.seq == seq {
            return Ok(world);
        }
        let Some(seqs) = self.positions(tenant, world.seq, seq, usize::MAX)? else {
            return self.world_at(seq, head);
        };
        // Of a very busy one those near the end: they are not to drive out the other tenants.
        let from = seqs.len().saturating_sub(BETWEEN_KEPT * KEPT_TENANTS / 4);
        for (index, chunk) in seqs.chunks(BETWEEN_KEPT).enumerate() {
            if index > 0 && index * BETWEEN_KEPT >= from {
                self.keep_tenant(tenant, &world, began);
            }
            self.fold_these(&mut world, chunk, |_, _| ControlFlow::Continue(()))?;
        }
        world.seq = seq;
        self.keep_tenant(tenant, &world, began);
        Ok(world)
    }

    /// Folds the events at these positions into a World, with a look after each.
    pub(crate) fn fold_these(
        &self,
        world: &mut World,
        seqs: &[Seq],
        mut watch: impl FnMut(&World, &Recorded) -> ControlFlow<()>,
    ) -> Result<(), AsOfError> {
        let mut expected = seqs.iter();
        let mut gap = None;
        let mut broken_off = false;
        self.source.read_at(seqs, &mut |recorded| {
            match expected.next() {
                Some(seq) if *seq == recorded.seq => {}
                other => {
                    let expected = other.copied().unwrap_or_default();
                    gap = Some(AsOfError::Gap { expected, found: recorded.seq });
                    return ControlFlow::Break(());
                }
            }
            world.evolve(recorded);
            let flow = watch(world, recorded);
            broken_off = flow.is_break();
            flow
        })?;
        if let Some(gap) = gap {
            return Err(gap);
        }
        match expected.next() {
            Some(missing) if !broken_off => {
                Err(AsOfError::Gap { expected: *missing, found: self.source.head() })
            }
            _ => Ok(()),
        }
    }

    /// The latest of this tenant at or before a position that is kept, or an empty World.
    fn recall_tenant(&self, tenant: TenantId, seq: Seq) -> World {
        let mut kept = self.kept_tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.iter().enumerate().filter(|(_, (id, world))| *id == tenant && world.seq <= seq);
        let found = before.max_by_key(|(_, (_, world))| world.seq).map(|(place, _)| place);
        let Some(found) = found.and_then(|place| kept.remove(place)) else { return World::default() };
        let world = found.1.clone();
        kept.push_back(found);
        world
    }

    /// Keeps a tenant as of the World's position, unless everything was forgotten since its fold
    /// began.
    pub(crate) fn keep_tenant(&self, tenant: TenantId, world: &World, began: u64) {
        let mut kept = self.kept_tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if self.times_forgotten() != began {
            return;
        }
        kept.retain(|(id, other)| *id != tenant || other.seq != world.seq);
        kept.push_back((tenant, world.clone()));
        if kept.len() > KEPT_TENANTS {
            kept.pop_front();
        }
    }
}

/// The index, read.
struct Reading<'a>(MutexGuard<'a, Indexed>);

impl std::ops::Deref for Reading<'_> {
    type Target = ByTenant;
    fn deref(&self) -> &ByTenant {
        &self.0.index
    }
}

impl std::ops::DerefMut for Reading<'_> {
    fn deref_mut(&mut self) -> &mut ByTenant {
        &mut self.0.index
    }
}
