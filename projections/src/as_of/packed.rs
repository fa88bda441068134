//! Worlds of the past, packed: what is otherwise than in the one before, in few bytes.
//!
//! A World that is kept whole takes a node of a map and a whole instance for each instance that
//! changed since the one before, some 700 bytes, where fifty say it. So of most Worlds that are
//! kept at even distances only these are there, and what a look needs is put together: the last
//! World that is whole, and on it, for each thing, what the last step said of it. That costs
//! what is there and not what happened.
//!
//! The five maps in which nearly all changes are, are packed; of the rest of a World a clone is
//! kept, which costs little. Changes are found by comparing, not by knowing what an event does.

mod hot;

use std::collections::HashMap;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use tenantry_journal::id::{DeploymentId, InstanceId, TenantId};

use crate::world::World;
use crate::world::configurations::Configuration;
use crate::world::deployments::{Deployment, Step};
use crate::world::instances::Instance;
use crate::world::tenants::Tenant;

/// What changed in a map, by key; nothing where an entry is gone.
type Changes<K, V> = Vec<(K, Option<V>)>;

/// What is kept of each change besides it: its allocation, and what it holds that is new.
const ENTRY_BYTES: usize = 96;
/// The steps of a deployment.
const STEPS: usize = 12;
/// What the rest of a World takes that shares most of itself with the next.
const REST_BYTES: usize = 8 * 1024;

/// Short names for instances, in the order in which they were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    of: HashMap<InstanceId, u32>,
    ids: Vec<InstanceId>,
}

impl Numbers {
    fn of(&mut self, id: InstanceId) -> u32 {
        let new = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        let number = *self.of.entry(id).or_insert(new);
        if number == new {
            self.ids.push(id);
        }
        number
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
    of_tenants: Changes<TenantId, Vector<DeploymentId>>,
    configurations: Changes<TenantId, Configuration>,
}

impl Changed {
    /// What is otherwise in `now`.
    pub(super) fn between(before: &World, now: &World, numbers: &mut Numbers) -> Changed {
        let mut instances = Vec::new();
        let mut hot: Vec<(u32, &Instance)> = Vec::new();
        compare(before.instances.map(), now.instances.map(), Arc::ptr_eq, |id, before, now| {
            match (before, now) {
                (Some(before), Some(now)) if hot::differs_only_in_what_is_hot(before, now) => {
                    hot.push((numbers.of(id), now));
                }
                (_, now) => instances.push((id, now.cloned())),
            }
        });
        hot.sort_unstable_by_key(|(number, _)| *number);
        let put = |(number, instance): (u32, &Instance)| {
            let mut one = Vec::new();
            hot::put(&mut one, instance);
            (number, one)
        };
        let bytes = written(hot.into_iter().map(put));
        Changed {
            hot: bytes,
            instances,
            tenants: changes(before.tenants.map(), now.tenants.map(), Arc::ptr_eq),
            deployments: changes(before.deployments.map(), now.deployments.map(), Arc::ptr_eq),
            of_tenants: changes(before.deployments.of_tenants(), now.deployments.of_tenants(), PartialEq::eq),
            configurations: changes(before.configurations.map(), now.configurations.map(), PartialEq::eq),
        }
    }

    /// What it takes as a sum of steps that are there as well, and share what is large with it.
    pub(super) fn bytes_as_sum(&self) -> usize {
        let entries = self.instances.len() + self.tenants.len() + self.deployments.len();
        let others = self.of_tenants.len() + self.configurations.len();
        self.hot.len() + entries * (2 * size_of::<u64>() + ENTRY_BYTES) + others * 2 * ENTRY_BYTES
    }

    /// What it takes, more or less, with a World that is kept without what is packed.
    pub(super) fn bytes(&self) -> usize {
        let deployment = size_of::<Deployment>() + STEPS * size_of::<Step>() + 2 * ENTRY_BYTES;
        size_of::<World>()
            + REST_BYTES
            + self.hot.len()
            + self.instances.len() * (size_of::<Instance>() + ENTRY_BYTES)
            + self.tenants.len() * (size_of::<Tenant>() + 2 * ENTRY_BYTES)
            + self.deployments.len() * deployment
            + self
                .of_tenants
                .iter()
                .map(|(_, ids)| 80 + 16 * ids.as_ref().map_or(0, Vector::len))
                .sum::<usize>()
            + self.configurations.len() * (size_of::<Configuration>() + 16)
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
    of_tenants: Last<'a, TenantId, Vector<DeploymentId>>,
    configurations: Last<'a, TenantId, Configuration>,
}

/// The last word on each thing.
type Last<'a, K, V> = HashMap<K, &'a Option<V>>;

impl<'a> Gathered<'a> {
    fn of(steps: impl Iterator<Item = &'a Changed>, numbers: &Numbers) -> Gathered<'a> {
        let mut hot: Vec<Option<&[u8]>> = vec![None; numbers.ids.len()];
        let (mut instances, mut tenants, mut deployments) = (Last::new(), Last::new(), Last::new());
        let (mut of_tenants, mut configurations) = (Last::new(), Last::new());
        for step in steps {
            // In a step that is several, what is hot comes after what is not.
            for (id, instance) in &step.instances {
                instances.insert(*id, instance);
                if let Some(slot) = numbers.of.get(id).and_then(|number| hot.get_mut(*number as usize)) {
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
    let all = Gathered::of(steps, numbers);
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

/// The World of which `rest` is the rest: what `steps` changed, one after the other, on a whole
/// one. Nothing where what is packed is not whole, which no one can bring about.
pub(super) fn unpacked<'a>(
    whole: &World,
    steps: impl Iterator<Item = &'a Changed>,
    rest: &World,
    numbers: &Numbers,
) -> Option<World> {
    let all = Gathered::of(steps, numbers);
    let mut world = rest.clone();
    *world.instances.map_mut() = whole.instances.map().clone();
    *world.tenants.map_mut() = whole.tenants.map().clone();
    *world.deployments.map_mut() = whole.deployments.map().clone();
    *world.deployments.of_tenants_mut() = whole.deployments.of_tenants().clone();
    *world.configurations.map_mut() = whole.configurations.map().clone();
    apply(world.instances.map_mut(), all.instances);
    apply(world.tenants.map_mut(), all.tenants);
    apply(world.deployments.map_mut(), all.deployments);
    apply(world.deployments.of_tenants_mut(), all.of_tenants);
    apply(world.configurations.map_mut(), all.configurations);
    let map = world.instances.map_mut();
    for (id, bytes) in numbers.ids.iter().zip(&all.hot) {
        if let Some(mut bytes) = *bytes {
            let slot = map.get_mut(id)?;
            *slot = Arc::new(hot::take(&mut bytes, slot)?);
        }
    }
    Some(world)
}

fn apply<K: Ord + Clone, V: Clone>(map: &mut OrdMap<K, V>, last: Last<'_, K, V>) {
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
