//! Which ports are free.

use std::collections::BTreeSet;

use tenantry_journal::event::port::PortPair;
use tenantry_journal::id::Seq;
use tenantry_projections::world::World;

use super::policy::{Policy, PortRange};
use super::rejection::Rejection;

/// Ports below this need privileges that tenants' processes don't have.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Every pair of the range, by number.
pub fn grid(range: PortRange) -> impl Iterator<Item = PortPair> {
    let PortRange { first, last, step } = range;
    (first..last)
        .step_by(usize::from(step.max(2)))
        .map(|frontend| PortPair { frontend, backend: frontend + 1 })
}

/// Whether nobody holds a port and nothing listens on it.
#[must_use]
pub fn is_free(world: &World, listening: &BTreeSet<u16>, port: u16) -> bool {
    world.ports.holder(port).is_none()
        && world.instances.by_port(port).is_none()
        && !listening.contains(&port)
}

/// The pair that the next tenant gets: never used ones first, then the one given back longest ago.
#[must_use]
pub fn next_free(world: &World, policy: &Policy, listening: &BTreeSet<u16>) -> Option<PortPair> {
    grid(policy.ports)
        .filter(|pair| is_free(world, listening, pair.frontend) && is_free(world, listening, pair.backend))
        .min_by_key(|pair| world.ports.released(*pair).unwrap_or(Seq::ZERO))
}

/// The lowest free port for an instance of a configured service.
#[must_use]
pub fn next_instance_port(world: &World, policy: &Policy, listening: &BTreeSet<u16>) -> Option<u16> {
    let (first, last) = policy.instance_ports;
    (first..=last).find(|port| is_free(world, listening, *port))
}

/// The pair for a tenant that asked for one port, two, or none.
///
/// # Errors
/// When a port asked for is out of range or taken, or no pair is left.
pub fn choose(
    world: &World,
    policy: &Policy,
    listening: &BTreeSet<u16>,
    frontend: Option<u16>,
    backend: Option<u16>,
) -> Result<PortPair, Rejection> {
    let pair = match (frontend, backend) {
        (None, None) => {
            return next_free(world, policy, listening).ok_or_else(|| {
                Rejection::conflict(
                    "no_ports_left",
                    format!("no pair of ports is free from {} to {}", policy.ports.first, policy.ports.last),
                    "delete a tenant, widen [ports] in the configuration, or name ports outside of it",
                )
            });
        }
        (Some(frontend), Some(backend)) => PortPair { frontend, backend },
        (Some(frontend), None) => PortPair { frontend, backend: frontend.saturating_add(1) },
        (None, Some(backend)) => PortPair { frontend: backend.saturating_sub(1), backend },
    };
    if pair.frontend == pair.backend {
        return Err(Rejection::invalid(
            "invalid_port",
            format!("frontend_port and backend_port must differ, both are {}", pair.frontend),
        ));
    }
    for (field, port) in [("frontend_port", pair.frontend), ("backend_port", pair.backend)] {
        if port < FIRST_UNPRIVILEGED {
            return Err(Rejection::invalid(
                "invalid_port",
                format!("{field} {port} is not between {FIRST_UNPRIVILEGED} and 65535"),
            ));
        }
        if !is_free(world, listening, port) {
            let who = if listening.contains(&port) && world.ports.holder(port).is_none() {
                "something else on this machine listens on it"
            } else {
                "it is already allocated"
            };
            return Err(Rejection::conflict(
                "port_taken",
                format!("{field} {port} is not free: {who}"),
                "leave the ports out to have a free pair allocated",
            ));
        }
    }
    Ok(pair)
}
