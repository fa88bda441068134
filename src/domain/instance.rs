//! Rules for instances: one of a name, started and removed only when somebody asks.

use std::collections::{BTreeMap, BTreeSet};

use tenantry_journal::event::Event;
use tenantry_journal::event::instance::{
    InstanceRemovalRequested, InstanceRespecified, InstanceRestartRequested, InstanceSpawned,
    InstanceStartRequested, InstanceStopRequested, InstanceWeightChanged, Listen, ProcessSpec, RestartReason,
};
use tenantry_journal::id::{InstanceId, KeyId};
use tenantry_journal::name::InstanceKey;
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, FULL_WEIGHT, Instance, Phase, Rest};

use super::ctx::Ctx;
use super::policy::{Placeholders, Policy, ServiceTemplate};
use super::rejection::Rejection;
use super::{ports, text};

/// Longest path of a unix socket: the kernel's `sun_path` of 108 bytes less its final NUL.
const SOCKET_PATH_BYTES: usize = 107;
/// More variables than any process needs; keeps one event below the size of a commit.
const ENV_VARIABLES: usize = 256;

/// Whether an instance runs or is about to, as somebody wished.
#[must_use]
pub fn is_up(instance: &Instance) -> bool {
    instance.desired == Desired::Running
        && matches!(instance.phase, Phase::Idle | Phase::Starting | Phase::Running | Phase::Stopping)
}

fn existing<'a>(world: &'a World, key: &InstanceKey) -> Result<&'a Instance, Rejection> {
    world
        .instances
        .by_key(key)
        .filter(|instance| instance.desired != Desired::Removed)
        .map(|instance| &**instance)
        .ok_or_else(|| Rejection::not_found("instance_not_found", format!("Instance '{key}' not found")))
}

pub(super) fn spawn(
    world: &World,
    key: &InstanceKey,
    env: &BTreeMap<String, Secret>,
    listening: &BTreeSet<u16>,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    let before = world.instances.by_key(key);
    if let Some(instance) = before {
        if instance.desired == Desired::Removed {
            return Err(Rejection::conflict(
                "instance_stopping",
                format!("Instance '{key}' is being stopped"),
                "try again when it is gone",
            ));
        }
        if is_up(instance) {
            return Err(Rejection::conflict(
                "instance_exists",
                format!("Instance '{key}' is already running"),
                "restart it, or delete it first",
            ));
        }
        if instance.tenant.is_some() {
            return Err(Rejection::conflict(
                "instance_of_tenant",
                format!("Instance '{key}' belongs to a tenant"),
                "start the tenant instead",
            ));
        }
    }
    let template = ctx.policy.services.get(&key.service).ok_or_else(|| {
        Rejection::not_found(
            "service_not_found",
            format!("Service '{}' is not in the configuration", key.service),
        )
    })?;
    if env.len() > ENV_VARIABLES {
        return Err(Rejection::invalid(
            "invalid_env",
            format!("more than {ENV_VARIABLES} environment variables"),
        ));
    }
    for (name, value) in env {
        text::environment(name, value.reveal())?;
    }
    let port = || choose_port(world, before.map(|instance| &**instance), listening, ctx);
    let spec = spec(&ctx.policy, template, key, env.clone(), port)?;
    if let Listen::Socket(path) = &spec.listen {
        check_socket(world, path, before.map(|instance| instance.id))?;
    }
    let spec = Sealed::new(KeyId::CONTROL_PLANE, spec);
    let mut events: Vec<Event> = Vec::with_capacity(2);
    let instance_id = match before {
        Some(instance) => {
            events.push(InstanceRespecified { instance_id: instance.id, spec, deployment_id: None }.into());
            instance.id
        }
        None => {
            let instance_id: InstanceId = ctx.ids.make();
            let name = Sealed::new(KeyId::CONTROL_PLANE, key.clone());
            events.push(InstanceSpawned { instance_id, name, tenant: None, spec }.into());
            instance_id
        }
    };
    events.push(InstanceStartRequested { instance_id }.into());
    Ok(events)
}

fn placeholders<'a>(key: &'a InstanceKey, data_dir: &'a str, listen: Option<&Listen>) -> Placeholders<'a> {
    let (port, socket) = match listen {
        Some(Listen::Port(port)) => (port.to_string(), String::new()),
        Some(Listen::Socket(path)) => (String::new(), path.clone()),
        None => (String::new(), String::new()),
    };
    let (name, id) = (key.service.as_str(), key.id.as_str());
    Placeholders { name, id, data_dir, port, socket, directory: "", release: String::new() }
}

/// What an instance of a service runs. `port` is asked for when the service has no socket.
///
/// # Errors
/// When no port is left.
pub(super) fn spec(
    policy: &Policy,
    template: &ServiceTemplate,
    key: &InstanceKey,
    env: BTreeMap<String, Secret>,
    port: impl FnOnce() -> Result<u16, Rejection>,
) -> Result<ProcessSpec, Rejection> {
    let listen = if let Some(socket) = &template.socket {
        let data_dir = policy.data_dir.display().to_string();
        Listen::Socket(placeholders(key, &data_dir, None).fill(socket))
    } else {
        Listen::Port(port()?)
    };
    Ok(filled(policy, template, key, listen, env))
}

/// What an instance of a service runs when it listens there. `env` came with the request.
pub(super) fn filled(
    policy: &Policy,
    template: &ServiceTemplate,
    key: &InstanceKey,
    listen: Listen,
    env: BTreeMap<String, Secret>,
) -> ProcessSpec {
    let data_dir = policy.data_dir.display().to_string();
    let workdir = policy.data_dir.join("instances").join(key.service.as_str()).join(key.id.as_str());
    let placeholders = placeholders(key, &data_dir, Some(&listen));
    let given = Some(env.keys().cloned().collect());
    ProcessSpec { given, ..template.fill(listen, &placeholders, &workdir, env) }
}

/// Whether an instance can listen there.
pub(super) fn socket_is_usable(world: &World, path: &str, own: Option<InstanceId>) -> bool {
    check_socket(world, path, own).is_ok()
}

pub(super) fn check_socket(world: &World, path: &str, own: Option<InstanceId>) -> Result<(), Rejection> {
    if !path.starts_with('/') || path.len() > SOCKET_PATH_BYTES {
        return Err(Rejection::unprocessable(
            "invalid_socket",
            format!("socket path '{path}' must be absolute and at most {SOCKET_PATH_BYTES} bytes long"),
            "shorten 'socket' in the service's configuration",
        ));
    }
    let taken = world.instances.iter().filter(|instance| Some(instance.id) != own).any(|instance| {
        matches!(instance.spec.open().map(|spec| &spec.listen), Some(Listen::Socket(other)) if other == path)
    });
    if taken {
        return Err(Rejection::conflict(
            "socket_taken",
            format!("socket path '{path}' belongs to another instance"),
            "use {id} in the service's 'socket'",
        ));
    }
    Ok(())
}

/// The port that the instance had, when it still can have it, else the lowest free one.
fn choose_port(
    world: &World,
    before: Option<&Instance>,
    listening: &BTreeSet<u16>,
    ctx: &Ctx,
) -> Result<u16, Rejection> {
    let had = before.and_then(|instance| instance.spec.open()).and_then(|spec| match spec.listen {
        Listen::Port(port) => Some(port),
        Listen::Socket(_) => None,
    });
    if let Some(port) = had.filter(|port| !listening.contains(port)) {
        return Ok(port);
    }
    ports::next_instance_port(world, &ctx.policy, listening).ok_or_else(|| {
        let (first, last) = ctx.policy.instance_ports;
        Rejection::conflict(
            "no_ports_left",
            format!("no port is free from {first} to {last}"),
            "delete an instance, or widen [ports] in the configuration",
        )
    })
}

pub(super) fn restart(world: &World, key: &InstanceKey) -> Result<Vec<Event>, Rejection> {
    let instance_id = existing(world, key)?.id;
    let (reason, release, deployment_id) = (RestartReason::Requested, None, None);
    Ok(vec![InstanceRestartRequested { instance_id, reason, release, deployment_id }.into()])
}

pub(super) fn remove(world: &World, key: &InstanceKey) -> Result<Vec<Event>, Rejection> {
    let instance = existing(world, key)?;
    if instance.tenant.is_some() {
        return Err(Rejection::conflict(
            "instance_of_tenant",
            format!("Instance '{key}' belongs to a tenant"),
            "stop or delete the tenant instead",
        ));
    }
    Ok(vec![InstanceRemovalRequested { instance_id: instance.id }.into()])
}

pub(super) fn change_weight(world: &World, key: &InstanceKey, weight: u8) -> Result<Vec<Event>, Rejection> {
    if weight > FULL_WEIGHT {
        return Err(Rejection::invalid(
            "invalid_weight",
            format!("weight is {weight}, must be from 0 to {FULL_WEIGHT}"),
        ));
    }
    let instance = existing(world, key)?;
    if instance.weight == weight {
        return Ok(Vec::new());
    }
    Ok(vec![InstanceWeightChanged { instance_id: instance.id, weight }.into()])
}

pub(super) fn stop_everything(world: &World) -> Vec<Event> {
    let is_wanted =
        |instance: &Instance| instance.desired == Desired::Running || instance.rest == Rest::Asleep;
    let running = world.instances.iter().filter(|instance| is_wanted(instance));
    running.map(|instance| InstanceStopRequested { instance_id: instance.id }.into()).collect()
}
