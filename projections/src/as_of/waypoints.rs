//! Worlds that are kept in memory at even distances over the whole journal, so that any moment
//! is a short fold from one of them.
//!
//! They are clones of one World that is folded from the first event on, so each costs what
//! changed since the one before, and no more. What all of them may take is bounded: when they
//! take more, they are packed (`packed`), and from then on one in some dozen is there to put
//! the next ones together from; when that takes more as well, every other one is let go, and the
//! distance doubles. They hold opened values, and nothing of them is ever written: a start folds
//! them again, beside the present.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;

use super::packed::{Changed, Numbers, bytes_of, opened, put_together, rest_of, summed};
use super::{AsOfError, TimeTravel, fold_and_watch};
use crate::world::World;
use crate::world::deployments::{Deployment, Step};
use crate::world::instances::Instance;
use crate::world::instances::later::HotBytes;
use crate::world::tenants::Tenant;

/// The distance to begin with: some ten milliseconds of folding.
const FIRST_SPACING: u64 = 8192;
/// What all of them may take together, by estimate, where nobody says something else.
pub const MOST_BYTES: usize = 512 * 1024 * 1024;
/// Events that are folded at a time: a few milliseconds, after which whoever does it looks
/// whether it is still wanted.
const STEP: u64 = 2048;
/// Where they are packed, one in so many at least is a base that the next ones are put together
/// from.
const BETWEEN_BASES: usize = 64;
/// Changes, besides what is hot of instances, after which there is a base: what is put together
/// costs about a microsecond for each.
const MOST_CHANGES: usize = 8192;
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
    /// As it was put together: its instances as they once were, and what became of them.
    Base(World, Arc<HotBytes>),
    /// Its rest; see [`packed`](super::packed).
    Packed(World),
}

impl Form {
    fn world(self) -> World {
        match self {
            Form::Whole(world) | Form::Base(world, _) | Form::Packed(world) => world,
        }
    }
}

struct Waypoint {
    form: Form,
    /// What is otherwise than in the one before.
    changed: Changed,
    /// Since the one before, where this one is whole.
    touched: Touched,
    /// Requests since the one before.
    requests: usize,
    bytes: usize,
}

impl Waypoint {
    fn weigh(&mut self) -> usize {
        let form = match &self.form {
            Form::Whole(world) => self.touched.bytes(world),
            Form::Base(world, hot) => bytes_of(world, hot),
            Form::Packed(_) => 0,
        };
        self.bytes = form + self.changed.bytes() + self.requests * REQUEST_BYTES;
        self.bytes
    }

    /// Packs it; gives what is let go.
    fn pack(&mut self) -> Option<Form> {
        let (Form::Whole(world) | Form::Base(world, _)) = &self.form else { return None };
        let rest = Form::Packed(rest_of(world.clone()));
        self.touched = Touched::default();
        Some(std::mem::replace(&mut self.form, rest))
    }
}

/// The Worlds, by their positions, which are multiples of the spacing.
pub(super) struct Waypoints {
    kept: BTreeMap<Seq, Waypoint>,
    spacing: u64,
    /// Whether none is whole any more.
    is_packed: bool,
    /// Packed ones since the last base, and how many changes they have.
    since_base: (usize, usize),
    bytes: usize,
    most: usize,
    numbers: Numbers,
    /// The last World that was handed in, and what changed up to it since the last that is kept.
    last: World,
    pending: Option<(Changed, usize)>,
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
            is_packed: false,
            since_base: (0, 0),
            bytes: 0,
            most,
            numbers: Numbers::default(),
            last: World::default(),
            pending: None,
        }
    }

    /// The last one after a position and at or before another; where it is packed, only when that
    /// spares more than it costs.
    pub(super) fn between(&self, after: Seq, seq: Seq) -> Option<World> {
        if after >= seq {
            return None;
        }
        let (at, waypoint) = self.kept.range(after.next()..=seq).next_back()?;
        match &waypoint.form {
            Form::Whole(world) => Some(world.clone()),
            Form::Base(world, hot) => Some(opened(world, hot, &self.numbers)),
            Form::Packed(_) if after != Seq::ZERO && at.0 - after.0 < self.spacing / 2 => None,
            Form::Packed(rest) => {
                let (world, hot) = self.put_together(*at, rest);
                Some(opened(&world, &Arc::new(hot), &self.numbers))
            }
        }
    }

    /// The World at a position of which this is the rest.
    fn put_together(&self, at: Seq, rest: &World) -> (World, HotBytes) {
        let nothing = World::default();
        let base = self.kept.range(..at).rev().find_map(|(seq, waypoint)| match &waypoint.form {
            Form::Whole(world) => Some((*seq, (world, None))),
            Form::Base(world, hot) => Some((*seq, (world, Some(&**hot)))),
            Form::Packed(_) => None,
        });
        let (from, base) = base.unwrap_or((Seq::ZERO, (&nothing, None)));
        let steps = self.kept.range(from.next()..=at).map(|(_, waypoint)| &waypoint.changed);
        put_together(base, steps, rest, &self.numbers)
    }

    /// Makes one that is packed a base, when the last one is far. For all of them in turn.
    fn found(&mut self, at: Seq) {
        let Some(waypoint) = self.kept.get(&at) else { return };
        let Form::Packed(rest) = &waypoint.form else { return };
        let (steps, changes) = self.since_base;
        self.since_base = (steps + 1, changes + waypoint.changed.entries());
        if self.since_base.0 < BETWEEN_BASES && self.since_base.1 < MOST_CHANGES {
            return;
        }
        let (world, hot) = self.put_together(at, rest);
        if let Some(waypoint) = self.kept.get_mut(&at) {
            waypoint.form = Form::Base(world, Arc::new(hot));
            self.since_base = (0, 0);
        }
    }

    fn found_all(&mut self) {
        self.since_base = (0, 0);
        let all: Vec<Seq> = self.kept.keys().copied().collect();
        for seq in all {
            self.found(seq);
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
        let (form, touched) = if self.is_packed {
            (Form::Packed(rest_of(world.clone())), Touched::default())
        } else {
            (Form::Whole(world.clone()), touched)
        };
        let waypoint = Waypoint { form, changed, touched, requests, bytes: 0 };
        self.kept.insert(world.seq, waypoint);
        self.found(world.seq);
        self.bytes += self.kept.get_mut(&world.seq).map_or(0, Waypoint::weigh);
        while self.bytes > self.most && self.kept.len() > 1 {
            if self.is_packed {
                self.thin_out(&mut gone);
            } else {
                self.pack(&mut gone);
            }
        }
        gone
    }

    /// Packs all of them.
    fn pack(&mut self, gone: &mut Vec<World>) {
        self.is_packed = true;
        gone.extend(self.kept.values_mut().filter_map(Waypoint::pack).map(Form::world));
        self.found_all();
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
                gone.extend(waypoint.pack().map(Form::world));
                kept.insert(seq, waypoint);
            } else {
                let Waypoint { form, changed, requests, .. } = waypoint;
                gone.push(form.world());
                on_the_way = Some((changed, requests));
            }
        }
        self.pending = on_the_way;
        self.kept = kept;
        self.found_all();
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
        self.is_packed = gone.is_packed;
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
    /// How many of them are whole, or nearly so; the others are packed.
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
            whole: waypoints
                .kept
                .values()
                .filter(|waypoint| !matches!(waypoint.form, Form::Packed(_)))
                .count(),
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
        assert!(waypoints.is_packed);
        assert!(waypoints.spacing > 8);
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
    fn where_they_are_packed_one_in_some_dozen_is_a_base() {
        let mut waypoints = Waypoints::new(10, usize::MAX);
        (1..=100).for_each(|n| drop(waypoints.keep(&world(n * 10), touched(0..100))));
        let bases = |waypoints: &Waypoints| -> Vec<u64> {
            let bases = waypoints.kept.iter().filter(|(_, waypoint)| matches!(waypoint.form, Form::Base(..)));
            bases.map(|(seq, _)| seq.0).collect()
        };
        let wholes = waypoints.bytes;
        let mut gone = Vec::new();
        waypoints.pack(&mut gone);
        assert_eq!((gone.len(), waypoints.kept.len()), (100, 100));
        assert_eq!(bases(&waypoints), [640]);
        assert!(waypoints.bytes < wholes, "{} of {wholes}", waypoints.bytes);
        (101..=300).for_each(|n| drop(waypoints.keep(&world(n * 10), touched(0..100))));
        assert_eq!(bases(&waypoints), [640, 1280, 1920, 2560]);
        waypoints.thin_out(&mut Vec::new());
        assert_eq!((waypoints.kept.len(), bases(&waypoints)), (150, vec![1280, 2560]));
    }

    #[test]
    fn a_single_one_that_is_too_large_is_kept() {
        let mut waypoints = Waypoints::new(10, 1);
        drop(waypoints.keep(&world(10), touched(0..100)));
        assert_eq!(waypoints.kept.len(), 1);
    }
}
