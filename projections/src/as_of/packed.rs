//! Worlds of the past, packed: what is otherwise than in the one before, in few bytes.
//!
//! A World that is kept whole takes a node of a map and a whole instance for each instance that
//! changed since the one before, some 700 bytes, where fifty say it. So of most Worlds that are
//! kept at even distances only these are there, and what a look needs is put together: a World
//! that lies before, and on it, for each thing, what the last step said of it. That costs what is
//! there and not what happened; and of an instance it is opened when somebody looks at it.
//!
//! The five maps in which nearly all changes are, are packed; of the rest of a World a clone is
//! kept, which costs little. Changes are found by comparing, not by knowing what an event does.

use std::collections::HashMap;
use std::sync::Arc;

use imbl::OrdMap;
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::id::{DeploymentId, InstanceId, TenantId};

use crate::world::World;
use crate::world::configurations::Configuration;
use crate::world::deployments::{Deployment, Step};
use crate::world::instances::later::{self, HotBytes};
use crate::world::instances::{Instance, hot};
use crate::world::tenants::Tenant;

/// What changed in a map, by key; nothing where an entry is gone.
type Changes<K, V> = Vec<(K, Option<V>)>;

/// What is kept of each change besides it: its key, its allocation.
const ENTRY_BYTES: usize = 48;
/// A short text, sealed.
const SEALED_BYTES: usize = 192;
/// A tenant's details, sealed, and opened for the indexes.
const DETAILS_BYTES: usize = 768;
/// What the rest of a World takes that shares most of itself with the next.
const REST_BYTES: usize = 8 * 1024;

/// Short names for instances, in the order in which they were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(later::Numbers);

impl Numbers {
    fn of(&mut self, id: InstanceId) -> u32 {
        let new = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(id).or_insert(new)
    }
}

/// What is otherwise in a World than in the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    /// For each instance of which only what is hot changed, in the order of their numbers: the
    /// distance from the number before, a length, and what is hot.
    hot: Box<[u8]>,
    /// The other instances.
    instances: Changes<InstanceId, Arc<Instance>>,
    tenants: Changes<TenantId, Arc<Tenant>>,
    deployments: Changes<DeploymentId, Arc<Deployment>>,
    of_tenants: Changes<TenantId, Arc<[DeploymentId]>>,
    configurations: Changes<TenantId, Configuration>,
}

impl Changed {
    /// What is otherwise in `now`.
    pub(super) fn between(before: &World, now: &World, numbers: &mut Numbers) -> Changed {
        let mut instances = Vec::new();
        let mut hot: Vec<(u32, Vec<u8>)> = Vec::new();
        compare(before.instances.map(), now.instances.map(), Arc::ptr_eq, |id, before, now| {
            match (before, now) {
                (Some(before), Some(now)) if hot::differs_only_in_what_is_hot(before, now) => {
                    let mut bytes = Vec::new();
                    hot::put(&mut bytes, now);
                    // Whatever it does not say well is kept as it is.
                    if hot::take(&mut bytes.as_slice(), before).as_ref() == Some(&**now) {
                        hot.push((numbers.of(id), bytes));
                    } else {
                        instances.push((id, Some(Arc::clone(now))));
                    }
                }
                (_, now) => instances.push((id, now.cloned())),
            }
        });
        hot.sort_unstable_by_key(|(number, _)| *number);
        Changed {
            hot: written(hot.into_iter()),
            instances,
            tenants: changes(before.tenants.map(), now.tenants.map(), Arc::ptr_eq),
            deployments: changes(before.deployments.map(), now.deployments.map(), Arc::ptr_eq),
            of_tenants: changes(before.deployments.of_tenants(), now.deployments.of_tenants(), Arc::ptr_eq),
            configurations: changes(before.configurations.map(), now.configurations.map(), PartialEq::eq),
        }
    }

    /// How many things it speaks of, besides what is hot.
    pub(super) fn entries(&self) -> usize {
        self.instances.len()
            + self.tenants.len()
            + self.deployments.len()
            + self.of_tenants.len()
            + self.configurations.len()
    }

    /// What it takes, more or less, with a World that is kept without what is packed.
    pub(super) fn bytes(&self) -> usize {
        let tenant = size_of::<Tenant>() + DETAILS_BYTES;
        let step = size_of::<Step>() + SEALED_BYTES;
        let deployment = size_of::<Deployment>() + SEALED_BYTES + StepKind::ALL.len() * step;
        let ids = self.of_tenants.iter().flat_map(|(_, ids)| ids).map(|ids| size_of_val(&**ids));
        size_of::<World>()
            + REST_BYTES
            + self.hot.len()
            + self.instances.len() * (size_of::<Instance>() + ENTRY_BYTES)
            + self.tenants.len() * (tenant + ENTRY_BYTES)
            + self.deployments.len() * (deployment + ENTRY_BYTES)
            + self.of_tenants.len() * ENTRY_BYTES
            + ids.sum::<usize>()
            + self.configurations.len() * (size_of::<Configuration>() + size_of::<TenantId>())
    }
}

/// A World without what is packed.
pub(super) fn rest_of(mut world: World) -> World {
    *world.instances.map_mut() = OrdMap::new();
    *world.tenants.map_mut() = OrdMap::new();
    *world.deployments.map_mut() = OrdMap::new();
    *world.deployments.of_tenants_mut() = OrdMap::new();
    *world.configurations.map_mut() = OrdMap::new();
    world
}

/// What several steps say, one after the other: of each thing the last word.
struct Gathered<'a> {
    /// By number.
    hot: Vec<Option<&'a [u8]>>,
    instances: Last<'a, InstanceId, Arc<Instance>>,
    tenants: Last<'a, TenantId, Arc<Tenant>>,
    deployments: Last<'a, DeploymentId, Arc<Deployment>>,
    of_tenants: Last<'a, TenantId, Arc<[DeploymentId]>>,
    configurations: Last<'a, TenantId, Configuration>,
}

/// The last word on each thing.
type Last<'a, K, V> = HashMap<K, &'a Option<V>>;

impl<'a> Gathered<'a> {
    /// What the steps say, after what was said of instances before them.
    fn of(
        before: Option<&'a HotBytes>,
        steps: impl Iterator<Item = &'a Changed>,
        numbers: &Numbers,
    ) -> Gathered<'a> {
        let said = |number| before.and_then(|before| before.get(number));
        let mut hot: Vec<Option<&[u8]>> = (0..).map(said).take(numbers.0.len()).collect();
        let (mut instances, mut tenants, mut deployments) = (Last::new(), Last::new(), Last::new());
        let (mut of_tenants, mut configurations) = (Last::new(), Last::new());
        for step in steps {
            // In a step that is several, what is hot comes after what is not.
            for (id, instance) in &step.instances {
                instances.insert(*id, instance);
                if let Some(slot) = numbers.0.get(id).and_then(|number| hot.get_mut(*number as usize)) {
                    *slot = None;
                }
            }
            for (number, bytes) in written_in(&step.hot) {
                // Each has a number already.
                if let Some(slot) = hot.get_mut(number as usize) {
                    *slot = Some(bytes);
                }
            }
            tenants.extend(step.tenants.iter().map(|(id, now)| (*id, now)));
            deployments.extend(step.deployments.iter().map(|(id, now)| (*id, now)));
            of_tenants.extend(step.of_tenants.iter().map(|(id, now)| (*id, now)));
            configurations.extend(step.configurations.iter().map(|(id, now)| (*id, now)));
        }
        Gathered { hot, instances, tenants, deployments, of_tenants, configurations }
    }
}

/// What several steps come to, as one.
pub(super) fn summed<'a>(steps: impl Iterator<Item = &'a Changed>, numbers: &Numbers) -> Changed {
    let all = Gathered::of(None, steps, numbers);
    let hot = (0..).zip(&all.hot).filter_map(|(number, bytes)| bytes.map(|bytes| (number, bytes)));
    Changed {
        hot: written(hot),
        instances: owned(all.instances),
        tenants: owned(all.tenants),
        deployments: owned(all.deployments),
        of_tenants: owned(all.of_tenants),
        configurations: owned(all.configurations),
    }
}

fn owned<K, V: Clone>(last: Last<'_, K, V>) -> Changes<K, V> {
    last.into_iter().map(|(key, now)| (key, now.clone())).collect()
}

/// The World of which `rest` is the rest, and what became of its instances since they were as it
/// has them: what `steps` changed, one after the other, on one that lies before, and on what had
/// become of that one's instances.
pub(super) fn put_together<'a>(
    (base, hot): (&World, Option<&'a HotBytes>),
    steps: impl Iterator<Item = &'a Changed>,
    rest: &World,
    numbers: &Numbers,
) -> (World, HotBytes) {
    let all = Gathered::of(hot, steps, numbers);
    let mut world = rest.clone();
    *world.instances.map_mut() = base.instances.map().clone();
    *world.tenants.map_mut() = base.tenants.map().clone();
    *world.deployments.map_mut() = base.deployments.map().clone();
    *world.deployments.of_tenants_mut() = base.deployments.of_tenants().clone();
    *world.configurations.map_mut() = base.configurations.map().clone();
    apply(world.instances.map_mut(), all.instances);
    apply(world.tenants.map_mut(), all.tenants);
    apply(world.deployments.map_mut(), all.deployments);
    apply(world.deployments.of_tenants_mut(), all.of_tenants);
    apply(world.configurations.map_mut(), all.configurations);
    (world, HotBytes::of(&all.hot))
}

/// A World that was put together.
pub(super) fn opened(world: &World, hot: &Arc<HotBytes>, numbers: &Numbers) -> World {
    let mut world = world.clone();
    world.instances.became(numbers.0.clone(), Arc::clone(hot));
    world
}

/// What a World that was put together takes, more or less, where nearly each node of its maps is
/// another than the one's before. Its values are the steps'.
pub(super) fn bytes_of(world: &World, hot: &HotBytes) -> usize {
    let entries = |count: usize, value: usize| count * (size_of::<[u64; 2]>() + value) * 8 / 5;
    let pointer = size_of::<usize>();
    size_of::<World>()
        + hot.size()
        + entries(world.tenants.len(), pointer)
        + entries(world.deployments.map().len(), pointer)
        + entries(world.deployments.of_tenants().len(), 2 * pointer)
        + entries(world.configurations.map().len(), size_of::<Configuration>())
}

fn apply<K: Ord + Clone, V: Clone>(map: &mut OrdMap<K, V>, last: Last<'_, K, V>) {
    // Neighbours in the map one after the other.
    let mut last: Vec<(K, &Option<V>)> = last.into_iter().collect();
    last.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (key, now) in last {
        match now {
            Some(value) => drop(map.insert(key, value.clone())),
            None => drop(map.remove(&key)),
        }
    }
}

/// Looks at all entries of both, which takes a millisecond for some ten thousand, and hands over
/// those that are not the same.
fn compare<'a, K: Ord + Copy, V>(
    before: &'a OrdMap<K, V>,
    now: &'a OrdMap<K, V>,
    is_same: impl Fn(&V, &V) -> bool,
    mut changed: impl FnMut(K, Option<&'a V>, Option<&'a V>),
) {
    if before.ptr_eq(now) {
        return;
    }
    let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (before.peek(), now.peek()) {
            (Some((one, _)), Some((other, _))) => one.cmp(other),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return,
        };
        let one = if order.is_le() { before.next() } else { None };
        let other = if order.is_ge() { now.next() } else { None };
        match (one, other) {
            (Some((_, one)), Some((_, other))) if is_same(one, other) => {}
            (one, other) => {
                if let Some((key, _)) = one.or(other) {
                    changed(*key, one.map(|(_, value)| value), other.map(|(_, value)| value));
                }
            }
        }
    }
}

fn changes<K: Ord + Copy, V: Clone>(
    before: &OrdMap<K, V>,
    now: &OrdMap<K, V>,
    is_same: impl Fn(&V, &V) -> bool,
) -> Changes<K, V> {
    let mut changes = Vec::new();
    compare(before, now, is_same, |key, _, now| changes.push((key, now.cloned())));
    changes.shrink_to_fit();
    changes
}

/// Numbers, which ascend, each with some bytes.
fn written(all: impl Iterator<Item = (u32, impl AsRef<[u8]>)>) -> Box<[u8]> {
    let mut out = Vec::new();
    let mut before = 0;
    for (number, bytes) in all {
        hot::number(&mut out, u64::from(number - before));
        let bytes = bytes.as_ref();
        hot::number(&mut out, bytes.len() as u64);
        out.extend_from_slice(bytes);
        before = number;
    }
    out.into_boxed_slice()
}

fn written_in(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut number = 0;
    std::iter::from_fn(move || {
        number += u32::try_from(hot::take_number(&mut bytes)?).ok()?;
        let len = usize::try_from(hot::take_number(&mut bytes)?).ok()?;
        let (one, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some((number, one))
    })
}
