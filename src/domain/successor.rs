//! A restart that no request notices: the new run is brought up beside the present one, and
//! takes its place when it is healthy.
//!
//! The two listen at different places, so the new one gets a specification of its own. One
//! that does not become healthy leaves the present run serving.

use std::collections::{BTreeMap, BTreeSet};

use tenantry_journal::event::Event;
use tenantry_journal::event::instance::{
    InstanceRespecified, InstanceStopping, InstanceSuccessorStarting, Listen, ProcessSpec,
};
use tenantry_journal::id::InstanceId;
use tenantry_journal::name::InstanceKey;
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::Instance;

use super::ctx::Ctx;
use super::instance::{filled, socket_is_usable};
use super::policy::ServiceTemplate;
use super::{ports, rollout};

/// What the socket of every other run is called.
const OTHER: &str = ".next";

/// Begins a run beside the present one. When there is no place for it, the present one ends
/// first, as any other does.
pub(super) fn begin(
    world: &World,
    instance_id: InstanceId,
    listening: &BTreeSet<u16>,
    ctx: &Ctx,
) -> Vec<Event> {
    let due = world.instances.get(instance_id).filter(|instance| instance.awaits_successor());
    let Some(instance) = due else { return Vec::new() };
    match (specification(world, instance, listening, ctx), &instance.run) {
        (Some(spec), _) => {
            let spec = Sealed::new(instance.name.key(), spec);
            vec![InstanceSuccessorStarting { instance_id, run_id: ctx.ids.make(), spec }.into()]
        }
        (None, Some(present)) => vec![InstanceStopping { instance_id, run_id: present.id }.into()],
        (None, None) => Vec::new(),
    }
}

/// What a process of a tenant runs after a run that ended before it had a successor.
pub(super) fn in_place(world: &World, instance: &Instance, ctx: &Ctx) -> Option<Event> {
    let (wanted, present) = (instance.wanted?, instance.spec.open()?);
    let spec = rollout::elsewhere(world, instance, Some(wanted.release), &present.listen, ctx)?;
    let spec = Sealed::new(instance.spec.key(), spec);
    let (instance_id, deployment_id) = (instance.id, wanted.deployment);
    Some(InstanceRespecified { instance_id, spec, deployment_id }.into())
}

/// What the successor runs at another place: the same, or the release that is wanted.
fn specification(
    world: &World,
    instance: &Instance,
    listening: &BTreeSet<u16>,
    ctx: &Ctx,
) -> Option<ProcessSpec> {
    let (key, present) = (instance.name.open()?, instance.spec.open()?);
    let listen = match &present.listen {
        Listen::Port(_) => Listen::Port(ports::next_instance_port(world, &ctx.policy, listening)?),
        Listen::Socket(path) => {
            let other = other_socket(path);
            socket_is_usable(world, &other, Some(instance.id)).then_some(Listen::Socket(other))?
        }
    };
    if instance.tenant.is_some() {
        let release = instance.wanted.map(|wanted| wanted.release);
        return rollout::elsewhere(world, instance, release, &listen, ctx);
    }
    let template = ctx.policy.services.get(&key.service)?;
    Some(filled(&ctx.policy, template, key, listen, extra(template, key, present, ctx)))
}

/// The other of the two sockets that runs of one instance take turns with.
#[must_use]
pub fn other_socket(path: &str) -> String {
    path.strip_suffix(OTHER).map_or_else(|| format!("{path}{OTHER}"), str::to_owned)
}

/// The part of its environment that it was given when it was spawned.
fn extra(
    template: &ServiceTemplate,
    key: &InstanceKey,
    present: &ProcessSpec,
    ctx: &Ctx,
) -> BTreeMap<String, Secret> {
    let plain = filled(&ctx.policy, template, key, present.listen.clone(), BTreeMap::new()).env;
    let given = present.env.iter().filter(|(name, value)| match &present.given {
        Some(names) => names.contains(*name),
        None => plain.get(*name) != Some(*value),
    });
    given.map(|(name, value)| (name.clone(), value.clone())).collect()
}
