//! Rules for another configuration: which instances run something else under it.
//!
//! An instance is concerned when the two configurations give it different specifications, and
//! what it has is not the new one yet. It is restarted when its process would be another one,
//! and left running when only how it is watched has changed. An instance whose service or role
//! is in the configuration no more runs on as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tenantry_journal::event::Event;
use tenantry_journal::event::instance::{
    InstanceRespecified, InstanceRestartRequested, Listen, ProcessSpec, RestartReason, Role,
};
use tenantry_journal::event::system::ConfigChanged;
use tenantry_journal::id::TenantId;
use tenantry_journal::name::InstanceKey;
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance, Phase};

use super::command::Listening;
use super::policy::{Policy, ServiceTemplate};
use super::rejection::Rejection;
use super::{deployment, instance, ports};

/// Names of changed settings in one event; the others are counted.
const MOST_NAMES: usize = 200;

/// Another configuration, as far as decisions depend on it.
#[derive(Clone)]
pub struct Reconfigure {
    /// What held until now.
    pub before: Arc<Policy>,
    /// What holds from here on.
    pub after: Arc<Policy>,
    /// A keyed hash of the whole configuration.
    pub hash: String,
    /// Names of what changed, in order; none means that nothing did.
    pub changed: Vec<String>,
    /// Names of what counts only after the program was started again.
    pub needs_restart: Vec<String>,
    /// Ports that are not free whatever the World says.
    pub listening: Listening,
}

/// Policies hold the environment of services, which may hold secrets.
impl fmt::Debug for Reconfigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconfigure").field("changed", &self.changed).finish_non_exhaustive()
    }
}

pub(super) fn reconfigure(world: &World, wanted: &Reconfigure) -> Result<Vec<Event>, Rejection> {
    if wanted.changed.is_empty() {
        return Ok(Vec::new());
    }
    let names = |all: &[String]| all.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>();
    let mut events: Vec<Event> = vec![
        ConfigChanged {
            hash: wanted.hash.clone(),
            changed: names(&wanted.changed),
            needs_restart: names(&wanted.needs_restart),
            more: wanted.changed.len().saturating_sub(MOST_NAMES) as u64,
        }
        .into(),
    ];
    let mut taken = Taken { ports: (*wanted.listening).clone(), sockets: BTreeSet::new() };
    for instance in world.instances.iter().filter(|instance| instance.desired != Desired::Removed) {
        let Some(spec) = new_spec(world, instance, wanted, &mut taken)? else { continue };
        let Some(before) = instance.spec.open() else { continue };
        let restarts = instance.desired == Desired::Running
            && instance.phase != Phase::Failed
            && !is_same_process(before, &spec);
        let (instance_id, deployment_id) = (instance.id, instance.deployment);
        let spec = Sealed::new(instance.spec.key(), spec);
        events.push(InstanceRespecified { instance_id, spec, deployment_id }.into());
        if restarts {
            let (reason, release, deployment_id) = (RestartReason::Requested, None, None);
            events.push(InstanceRestartRequested { instance_id, reason, release, deployment_id }.into());
        }
    }
    Ok(events)
}

/// What instances may not be given any more.
struct Taken {
    ports: BTreeSet<u16>,
    sockets: BTreeSet<String>,
}

/// Whether two specifications run the same process, watched in another way at most.
fn is_same_process(left: &ProcessSpec, right: &ProcessSpec) -> bool {
    let watched = ProcessSpec {
        health: left.health.clone(),
        restart: left.restart,
        startup_timeout_ms: left.startup_timeout_ms,
        stop_timeout_ms: left.stop_timeout_ms,
        health_interval_ms: left.health_interval_ms,
        idle_timeout_ms: left.idle_timeout_ms,
        restart_mode: left.restart_mode,
        given: left.given.clone(),
        ..right.clone()
    };
    watched == *left
}

/// What the instance is to run; `None` when it is not concerned.
fn new_spec(
    world: &World,
    instance: &Instance,
    wanted: &Reconfigure,
    taken: &mut Taken,
) -> Result<Option<ProcessSpec>, Rejection> {
    let (Some(key), Some(stored)) = (instance.name.open(), instance.spec.open()) else { return Ok(None) };
    let specs = match instance.tenant {
        Some((tenant, role)) => of_tenant(world, tenant, role, stored, wanted),
        None => of_service(world, instance, key, stored, wanted, taken)?,
    };
    Ok(specs.and_then(|(before, after)| {
        let concerned = before.as_ref() != Some(&after) && after != *stored;
        concerned.then_some(after)
    }))
}

/// A tenant's process under both configurations. While it is being deployed its deployment
/// decides what it runs, by the configuration that holds then.
fn of_tenant(
    world: &World,
    tenant: TenantId,
    role: Role,
    stored: &ProcessSpec,
    wanted: &Reconfigure,
) -> Option<(Option<ProcessSpec>, ProcessSpec)> {
    let tenant = world.tenants.get(tenant)?;
    if world.deployments.under_way(tenant.id).is_some() {
        return None;
    }
    let (details, release) = (tenant.details.open()?, tenant.release?);
    let present = Some(&stored.listen);
    let spec = |policy: &Policy| deployment::spec_at(policy, tenant, details, role, release, present);
    Some((spec(&wanted.before), spec(&wanted.after)?))
}

fn of_service(
    world: &World,
    instance: &Instance,
    key: &InstanceKey,
    stored: &ProcessSpec,
    wanted: &Reconfigure,
    taken: &mut Taken,
) -> Result<Option<(Option<ProcessSpec>, ProcessSpec)>, Rejection> {
    let Some(template) = wanted.after.services.get(&key.service) else { return Ok(None) };
    let old = wanted.before.services.get(&key.service);
    if old == Some(template) {
        return Ok(None);
    }
    let env = given(stored, old);
    let had = match stored.listen {
        Listen::Port(port) => Some(port),
        Listen::Socket(_) => None,
    };
    let before = match old {
        Some(old) => {
            Some(instance::spec(&wanted.before, old, key, env.clone(), || Ok(had.unwrap_or_default()))?)
        }
        None => None,
    };
    let port = || match had {
        Some(port) => Ok(port),
        None => new_port(world, wanted, taken),
    };
    let after = instance::spec(&wanted.after, template, key, env, port)?;
    if let Listen::Socket(path) = &after.listen {
        instance::check_socket(world, path, Some(instance.id))?;
        if !taken.sockets.insert(path.clone()) {
            return Err(Rejection::conflict(
                "socket_taken",
                format!("socket path '{path}' would belong to two instances"),
                "use {id} in the service's 'socket'",
            ));
        }
    }
    Ok(Some((before, after)))
}

fn new_port(world: &World, wanted: &Reconfigure, taken: &mut Taken) -> Result<u16, Rejection> {
    let port = ports::next_instance_port(world, &wanted.after, &taken.ports).ok_or_else(|| {
        Rejection::conflict(
            "no_ports_left",
            "no port is free for an instance that loses its socket".into(),
            "widen [ports] in the configuration",
        )
    })?;
    taken.ports.insert(port);
    Ok(port)
}

/// The variables that came with the request. Where that was not noted: those that the
/// configuration did not set.
fn given(stored: &ProcessSpec, old: Option<&ServiceTemplate>) -> BTreeMap<String, Secret> {
    let is_given = |name: &String| match &stored.given {
        Some(names) => names.contains(name),
        None => old.is_none_or(|old| !old.env.contains_key(name)),
    };
    stored
        .env
        .iter()
        .filter(|(name, _)| is_given(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
