//! Worlds that are kept in memory at even distances over the whole journal, so that any moment
//! is a short fold from one of them.
//!
//! They are clones of one World that is folded from the first event on, so each costs what
//! changed since the one before, and no more. What all of them may take is bounded: when they
//! take more, every other one that is whole is packed (`packed`); when few
//! are whole, every other one is let go, and the distance doubles. They hold opened values, and
//! nothing of them is ever written: a start folds them again, beside the present.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;

use super::packed::{Changed, Numbers, rest_of, summed, unpacked};
use super::{AsOfError, TimeTravel, fold_and_watch};
use crate::world::World;
use crate::world::deployments::{Deployment, Step};
use crate::world::instances::Instance;
use crate::world::tenants::Tenant;

/// The distance to begin with: some ten milliseconds of folding.
const FIRST_SPACING: u64 = 8192;
/// What all of them may take together, by estimate, where nobody says something else.
pub const MOST_BYTES: usize = 384 * 1024 * 1024;
/// Events that are folded at a time: a few milliseconds, after which whoever does it looks
/// whether it is still wanted.
const STEP: u64 = 2048;
/// One in so many is whole at least.
const MOST_PACKED: u64 = 512;
/// One in so many packed ones has a sum of all that changed since the last whole one: what lies
/// between is put together from it and fewer than so many others.
const BETWEEN_SUMS: u64 = 32;
/// What a request that is remembered by its key takes.
const REQUEST_BYTES: usize = 256;

/// What a change of an entry costs besides the entry: its count, and what it holds that is new.
const ENTRY_BYTES: usize = 96;
/// Of a tenant that did more than run: sealed details, and the steps of a deployment.
const STEPS: usize = 12;
/// A node of a map, and how many entries it holds where they came in order and some in between.
const NODE_BYTES: usize = 64 * 24;
const IN_A_NODE: usize = 40;

/// What changed between two Worlds, by who it is about.
#[derive(Clone, Debug, Default)]
struct Touched {
    instances: HashSet<u64>,
    tenants: HashSet<u64>,
    requests: usize,
}

impl Touched {
    fn note(&mut self, recorded: &Recorded) {
        // The half of an id that is random.
        let half = |id: uuid::Uuid| id.as_u64_pair().1;
        self.requests += usize::from(recorded.idempotency.is_some());
        match (recorded.instance_id, recorded.tenant_id) {
            (Some(instance), _) => drop(self.instances.insert(half(instance.0))),
            (None, Some(tenant)) => drop(self.tenants.insert(half(tenant.0))),
            (None, None) => {}
        }
    }

    fn add(&mut self, other: Touched) {
        self.instances.extend(other.instances);
        self.tenants.extend(other.tenants);
        self.requests += other.requests;
    }

    /// What a World takes that shares the rest with one in which this was otherwise.
    fn bytes(&self, world: &World) -> usize {
        let instance = size_of::<Instance>() + ENTRY_BYTES;
        let deployment = size_of::<Deployment>() + STEPS * size_of::<Step>();
        let tenant = size_of::<Tenant>() + deployment + 2 * ENTRY_BYTES;
        let (instances, tenants) = (self.instances.len(), self.tenants.len());
        // A tenant's change is one of its deployments as well.
        let nodes = nodes(instances, world.instances.len()) + 2 * nodes(tenants, world.tenants.len());
        let noted = size_of::<u64>() * 2 * (instances + tenants);
        size_of::<World>() + instances * instance + tenants * tenant + nodes * NODE_BYTES + noted
    }
}

/// How many nodes of a map of so many entries are others, when so many entries, anywhere in it,
/// are.
fn nodes(changed: usize, entries: usize) -> usize {
    let all = (entries / IN_A_NODE).max(1) as f64;
    (all * (1.0 - (-(changed as f64) / all).exp())).ceil() as usize
}

/// How a World is kept.
enum Form {
    Whole(World),
    /// Its rest; see [`packed`](super::packed).
    Packed(World),
}

struct Waypoint {
    form: Form,
    /// What is otherwise than in the one before.
    changed: Changed,
    /// What is otherwise than in the last one that is whole, where that is a sum of many.
    sum: Option<Changed>,
    /// Since the last one that is whole, where this one is.
    touched: Touched,
    /// Requests since the one before.
    requests: usize,
    bytes: usize,
}

impl Waypoint {
    fn weigh(&mut self) -> usize {
        let whole = match &self.form {
            Form::Whole(world) => self.touched.bytes(world),
            Form::Packed(_) => 0,
        };
        let sum = self.sum.as_ref().map_or(0, Changed::bytes_as_sum);
        self.bytes = whole + self.changed.bytes() + sum + self.requests * REQUEST_BYTES;
        self.bytes
    }

    /// Packs it; gives what is let go.
    fn pack(&mut self) -> Option<World> {
        let Form::Whole(world) = &self.form else { return None };
        let rest = Form::Packed(rest_of(world.clone()));
        match std::mem::replace(&mut self.form, rest) {
            Form::Whole(world) | Form::Packed(world) => Some(world),
        }
    }
}

/// The Worlds, by their positions, which are multiples of the spacing.
pub(super) struct Waypoints {
    kept: BTreeMap<Seq, Waypoint>,
    spacing: u64,
    /// Those at multiples of this are whole; a multiple of the spacing.
    whole_every: u64,
    bytes: usize,
    most: usize,
    numbers: Numbers,
    /// The last World that was handed in, and what changed up to it since the last that is kept.
    last: World,
    pending: Option<(Changed, usize)>,
    /// Since the last one that is whole.
    touched: Touched,
}

impl Default for Waypoints {
    fn default() -> Waypoints {
        Waypoints::new(FIRST_SPACING, MOST_BYTES)
    }
}

impl Waypoints {
    pub(super) fn new(spacing: u64, most: usize) -> Waypoints {
        let spacing = spacing.max(1);
        Waypoints {
            kept: BTreeMap::new(),
            spacing,
            whole_every: spacing,
            bytes: 0,
            most,
            numbers: Numbers::default(),
            last: World::default(),
            pending: None,
            touched: Touched::default(),
        }
    }

    /// The last one after a position and at or before another; where it is packed, only when that
    /// spares more than it costs.
    pub(super) fn between(&self, after: Seq, seq: Seq) -> Option<World> {
        if after >= seq {
            return None;
        }
        let (at, waypoint) = self.kept.range(after.next()..=seq).next_back()?;
        let rest = match &waypoint.form {
            Form::Whole(world) => return Some(world.clone()),
            Form::Packed(rest) => rest,
        };
        if after != Seq::ZERO && at.0 - after.0 < self.spacing / 2 {
            return None;
        }
        let empty = World::default();
        let (from, whole) = self.whole_before(*at).unwrap_or((Seq::ZERO, &empty));
        let world = unpacked(whole, self.steps(from, *at), rest, &self.numbers);
        if world.is_none() {
            tracing::error!(
                event.seq = at.0,
                "a World of the past is packed badly; what follows an earlier one is folded"
            );
        }
        world.or_else(|| (from > after).then(|| whole.clone()))
    }

    fn whole_before(&self, at: Seq) -> Option<(Seq, &World)> {
        self.kept.range(..at).rev().find_map(|(seq, waypoint)| match &waypoint.form {
            Form::Whole(world) => Some((*seq, world)),
            Form::Packed(_) => None,
        })
    }

    /// What changed after the whole one at `from` up to `at`, in as few steps as there are.
    fn steps(&self, from: Seq, at: Seq) -> impl Iterator<Item = &Changed> {
        let sums = self.kept.range(from.next()..=at).rev();
        let sum = sums.filter_map(|(seq, waypoint)| Some((*seq, waypoint.sum.as_ref()?))).next();
        let after = sum.map_or(from, |(seq, _)| seq).next();
        let single = self.kept.range(after..).take_while(move |(seq, _)| **seq <= at);
        sum.map(|(_, sum)| sum).into_iter().chain(single.map(|(_, waypoint)| &waypoint.changed))
    }

    /// Sums up what changed up to one that is packed, where that is to be.
    fn sum_up(&mut self, at: Seq) {
        let every = self.spacing.saturating_mul(BETWEEN_SUMS);
        if !at.0.is_multiple_of(every) || at.0.is_multiple_of(self.whole_every) {
            return;
        }
        let from = self.whole_before(at).map_or(Seq::ZERO, |(seq, _)| seq);
        let sum = summed(self.steps(from, at), &self.numbers);
        if let Some(waypoint) = self.kept.get_mut(&at) {
            waypoint.sum = Some(sum);
        }
    }

    /// Keeps one more. What is let go for it is given back: dropping it takes a while, in which
    /// nobody should have to wait.
    #[must_use]
    fn keep(&mut self, world: &World, touched: Touched) -> Vec<World> {
        let mut requests = touched.requests;
        let mut changed = Changed::between(&self.last, world, &mut self.numbers);
        if let Some((before, more)) = self.pending.take() {
            changed = self.both(before, changed);
            requests += more;
        }
        let mut gone = vec![std::mem::replace(&mut self.last, world.clone())];
        self.touched.add(touched);
        let is_whole = world.seq.0.is_multiple_of(self.whole_every);
        let (form, touched) = if is_whole {
            (Form::Whole(world.clone()), std::mem::take(&mut self.touched))
        } else {
            (Form::Packed(rest_of(world.clone())), Touched::default())
        };
        let waypoint = Waypoint { form, changed, sum: None, touched, requests, bytes: 0 };
        self.kept.insert(world.seq, waypoint);
        self.sum_up(world.seq);
        self.bytes += self.kept.get_mut(&world.seq).map_or(0, Waypoint::weigh);
        while self.bytes > self.most && self.kept.len() > 1 {
            if self.whole_every < self.spacing.saturating_mul(MOST_PACKED) {
                self.pack_more(&mut gone);
            } else {
                self.thin_out(&mut gone);
            }
        }
        gone
    }

    /// Packs every other one that is whole. What was touched on the way to one that is packed is
    /// the next whole one's.
    fn pack_more(&mut self, gone: &mut Vec<World>) {
        self.whole_every = self.whole_every.saturating_mul(2);
        let mut on_the_way = Touched::default();
        for (seq, waypoint) in &mut self.kept {
            let touched = std::mem::take(&mut waypoint.touched);
            on_the_way.add(touched);
            if seq.0.is_multiple_of(self.whole_every) {
                waypoint.touched = std::mem::take(&mut on_the_way);
            } else {
                gone.extend(waypoint.pack());
            }
            waypoint.sum = None;
        }
        on_the_way.add(std::mem::take(&mut self.touched));
        self.touched = on_the_way;
        let all: Vec<Seq> = self.kept.keys().copied().collect();
        for seq in all {
            self.sum_up(seq);
        }
        self.weigh();
    }

    /// Lets go of every other one. What changed on the way to one that is gone is the next
    /// one's.
    fn thin_out(&mut self, gone: &mut Vec<World>) {
        self.spacing = self.spacing.saturating_mul(2);
        let mut on_the_way: Option<(Changed, usize)> = None;
        let mut kept = BTreeMap::new();
        for (seq, mut waypoint) in std::mem::take(&mut self.kept) {
            if let Some((before, requests)) = on_the_way.take() {
                waypoint.changed = self.both(before, waypoint.changed);
                waypoint.requests += requests;
            }
            if seq.0.is_multiple_of(self.spacing) {
                if !seq.0.is_multiple_of(self.spacing.saturating_mul(BETWEEN_SUMS)) {
                    waypoint.sum = None;
                }
                kept.insert(seq, waypoint);
            } else {
                let Waypoint { form: Form::Whole(world) | Form::Packed(world), changed, requests, .. } =
                    waypoint;
                gone.push(world);
                on_the_way = Some((changed, requests));
            }
        }
        self.pending = on_the_way;
        self.kept = kept;
        self.weigh();
    }

    /// Both steps, one after the other, as one.
    fn both(&self, before: Changed, after: Changed) -> Changed {
        summed([&before, &after].into_iter(), &self.numbers)
    }

    fn weigh(&mut self) {
        self.bytes = self.kept.values_mut().map(Waypoint::weigh).sum();
    }

    /// The next position after one where there is to be one.
    fn next(&self, seq: Seq) -> Seq {
        Seq((seq.0 / self.spacing).saturating_add(1).saturating_mul(self.spacing))
    }

    /// Lets go of all, and gives it back.
    #[must_use]
    fn clear(&mut self) -> Waypoints {
        let fresh = Waypoints::new(self.spacing, self.most);
        let gone = std::mem::replace(self, fresh);
        self.whole_every = gone.whole_every;
        gone
    }
}

/// The World that goes along the journal, and what changed in it since the last waypoint.
#[derive(Default)]
pub(super) struct Pathfinder {
    world: World,
    touched: Touched,
}

/// What is at hand of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtHand {
    /// How many Worlds.
    pub worlds: usize,
    /// How many of them are whole; the others are packed.
    pub whole: usize,
    /// Events between two of them.
    pub spacing: u64,
    /// What they take, by estimate, in bytes.
    pub bytes: usize,
    /// The last event up to which they are kept.
    pub upto: Seq,
}

impl TimeTravel {
    /// Keeps Worlds at this distance, and lets them take so many bytes.
    #[must_use]
    pub fn with_waypoints(self, spacing: u64, most_bytes: usize) -> TimeTravel {
        *self.waypoints() = Waypoints::new(spacing, most_bytes);
        self
    }

    /// Lets the Worlds take so many bytes together; none are kept when it is 0. Where that is
    /// something else than before, they are folded again.
    pub fn let_take(&self, most_bytes: usize) {
        let mut pathfinder = self.pathfinder();
        let mut waypoints = self.waypoints();
        if waypoints.most == most_bytes {
            return;
        }
        let fresh = Waypoints::new(FIRST_SPACING, most_bytes);
        let gone = (std::mem::take(&mut *pathfinder), std::mem::replace(&mut *waypoints, fresh));
        drop((waypoints, pathfinder));
        drop(gone);
    }

    pub(super) fn waypoints(&self) -> MutexGuard<'_, Waypoints> {
        self.waypoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pathfinder(&self) -> MutexGuard<'_, Pathfinder> {
        self.pathfinder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes a few milliseconds further in keeping Worlds at even distances up to `head`; says
    /// whether there is more to do. For a thread that has time, and only one: it comes to what
    /// was asked of the past meanwhile first.
    ///
    /// # Errors
    /// When the journal cannot be read. What was folded until then stays.
    pub fn prepare(&self, head: Seq) -> Result<bool, AsOfError> {
        let mut pathfinder = self.pathfinder();
        let Pathfinder { world, touched } = &mut *pathfinder;
        let (next, is_off) = {
            let waypoints = self.waypoints();
            (waypoints.next(world.seq), waypoints.most == 0)
        };
        if next > head || is_off {
            return Ok(false);
        }
        let until = Seq(world.seq.0.saturating_add(STEP)).min(next);
        fold_and_watch(self.source.as_ref(), world, until, |_, recorded| {
            touched.note(recorded);
            ControlFlow::Continue(())
        })?;
        if world.seq == next {
            let gone = self.waypoints().keep(world, std::mem::take(touched));
            drop(pathfinder);
            drop(gone);
        }
        Ok(true)
    }

    /// What is at hand.
    #[must_use]
    pub fn at_hand(&self) -> AtHand {
        let waypoints = self.waypoints();
        AtHand {
            worlds: waypoints.kept.len(),
            whole: waypoints.kept.values().filter(|waypoint| matches!(waypoint.form, Form::Whole(_))).count(),
            spacing: waypoints.spacing,
            bytes: waypoints.bytes,
            upto: waypoints.kept.keys().next_back().copied().unwrap_or_default(),
        }
    }

    /// Forgets the Worlds kept in memory. To be called when a key was erased: they hold
    /// opened values. Whoever folds meanwhile does not keep what comes of it.
    pub fn forget(&self) {
        // Who is on the way holds opened values, too.
        let mut pathfinder = self.pathfinder();
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        let on_the_way = std::mem::take(&mut *pathfinder);
        let gone = self.waypoints().clear();
        drop(pathfinder);
        drop((on_the_way, gone));
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.kept_tenants.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(seq: u64) -> World {
        World { seq: Seq(seq), ..World::default() }
    }

    fn touched(ids: impl IntoIterator<Item = u64>) -> Touched {
        Touched { instances: ids.into_iter().collect(), ..Touched::default() }
    }

    #[test]
    fn they_stay_evenly_spread_and_within_their_bytes() {
        let most = 40 * touched(0..10).bytes(&world(0));
        let mut waypoints = Waypoints::new(8, most);
        let mut at = Seq::ZERO;
        while at.0 < 100_000 {
            at = waypoints.next(at);
            let gone = waypoints.keep(&world(at.0), touched((at.0..at.0 + 10).map(|n| n % 50)));
            drop(gone);
            assert!(waypoints.bytes <= most, "{} bytes at {at}", waypoints.bytes);
        }
        assert!(waypoints.spacing > 8);
        assert!(waypoints.whole_every > waypoints.spacing);
        let (seqs, spacing): (Vec<u64>, u64) =
            (waypoints.kept.keys().map(|seq| seq.0).collect(), waypoints.spacing);
        let expected: Vec<u64> = (1..=at.0 / spacing).map(|n| n * spacing).collect();
        assert_eq!(seqs, expected);
        assert!(seqs.len() >= 8, "as many as the bytes allow, and not {}", seqs.len());
        for seq in 1..at.0 {
            let before = waypoints.between(Seq::ZERO, Seq(seq)).map_or(0, |world| world.seq.0);
            assert_eq!(before, seq / spacing * spacing);
        }
    }

    #[test]
    fn what_was_touched_twice_on_the_way_counts_once_when_the_way_is_one() {
        let mut waypoints = Waypoints::new(10, usize::MAX);
        for seq in [10, 20, 30, 40] {
            drop(waypoints.keep(&world(seq), touched(0..100)));
        }
        let whole = |waypoints: &Waypoints| -> Vec<(u64, usize)> {
            let whole = waypoints.kept.iter().filter(|(_, waypoint)| matches!(waypoint.form, Form::Whole(_)));
            whole.map(|(seq, waypoint)| (seq.0, waypoint.bytes)).collect()
        };
        let four = whole(&waypoints);
        waypoints.pack_more(&mut Vec::new());
        assert_eq!(whole(&waypoints), [four[1], four[3]]);
        assert_eq!(waypoints.kept.len(), 4);
        waypoints.thin_out(&mut Vec::new());
        assert_eq!((waypoints.kept.len(), whole(&waypoints).len()), (2, 2));
    }

    #[test]
    fn a_single_one_that_is_too_large_is_kept() {
        let mut waypoints = Waypoints::new(10, 1);
        drop(waypoints.keep(&world(10), touched(0..100)));
        assert_eq!(waypoints.kept.len(), 1);
    }
}
