//! Which ports are free.

use std::collections::BTreeSet;

use tenantry_journal::event::port::PortPair;
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

/// The first pair of the range that begins at a port of it or after it.
fn pair_at_or_after(range: PortRange, port: u16) -> Option<PortPair> {
    let step = range.step.max(2);
    let passed = port.checked_sub(range.first)?.div_ceil(step);
    let frontend = passed.checked_mul(step)?.checked_add(range.first)?;
    Some(PortPair { frontend, backend: frontend.checked_add(1)? })
}

fn is_on_grid(range: PortRange, pair: PortPair) -> bool {
    (range.first..range.last).contains(&pair.frontend)
        && (pair.frontend - range.first).is_multiple_of(range.step.max(2))
        && pair.backend == pair.frontend + 1
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
    next_in(policy.ports, world, listening)
}

fn next_in(range: PortRange, world: &World, listening: &BTreeSet<u16>) -> Option<PortPair> {
    let is_free =
        |pair: &PortPair| is_free(world, listening, pair.frontend) && is_free(world, listening, pair.backend);
    // Whole stretches of used pairs are passed over at once.
    let mut from = range.first;
    while let Some(port) = world.ports.next_fresh(from).filter(|port| *port < range.last) {
        let Some(pair) = pair_at_or_after(range, port) else { break };
        if pair.frontend != port {
            from = pair.frontend;
        } else if is_free(&pair) {
            return Some(pair);
        } else {
            from = port + 1;
        }
    }
    let released = world.ports.all_released().filter(|(pair, _)| is_on_grid(range, *pair) && is_free(pair));
    released.min_by_key(|(_, seq)| *seq).map(|(pair, _)| pair)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tenantry_journal::event::Event;
    use tenantry_journal::event::port::{PortAllocated, PortReleased};
    use tenantry_journal::id::{EventId, Seq, TenantId};
    use tenantry_journal::recorded::{Draft, Recorded};
    use tenantry_journal::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    const TENANT: TenantId = TenantId(Uuid::from_u128(7));

    fn evolve(world: &mut World, event: impl Into<Event>) {
        let draft = Draft::of_system(EventId(Uuid::from_u128(1)), Timestamp(1), event);
        let draft = Draft { tenant_id: Some(TENANT), ..draft };
        world.evolve(&Recorded { seq: world.seq.next(), draft });
    }

    /// The rule as it is said, without any index.
    fn by_the_rule(world: &World, range: PortRange, listening: &BTreeSet<u16>) -> Option<PortPair> {
        grid(range)
            .filter(|pair| {
                is_free(world, listening, pair.frontend) && is_free(world, listening, pair.backend)
            })
            .min_by_key(|pair| world.ports.released(*pair).unwrap_or(Seq::ZERO))
    }

    proptest! {
        #[test]
        fn the_next_pair_is_the_lowest_fresh_one_or_else_the_one_given_back_longest_ago(
            step in 2..11u16,
            explicit in prop::collection::vec((32_295..32_345u16, 1..3u16), 0..6),
            listening in prop::collection::btree_set(32_300..32_340u16, 0..4),
            releases in prop::collection::vec(0..8usize, 0..40),
        ) {
            let range = PortRange { first: 32_300, last: 32_340, step };
            let mut world = World::default();
            let mut held: Vec<PortPair> = Vec::new();
            for (frontend, apart) in explicit {
                let pair = PortPair { frontend, backend: frontend + apart };
                if is_free(&world, &listening, pair.frontend) && is_free(&world, &listening, pair.backend) {
                    evolve(&mut world, PortAllocated { tenant_id: TENANT, ports: pair });
                    held.push(pair);
                }
            }
            for release in releases {
                let next = next_in(range, &world, &listening);
                prop_assert_eq!(next, by_the_rule(&world, range, &listening));
                match next {
                    Some(ports) if release < 5 => {
                        evolve(&mut world, PortAllocated { tenant_id: TENANT, ports });
                        held.push(ports);
                    }
                    _ if !held.is_empty() => {
                        let ports = held.remove(release % held.len());
                        evolve(&mut world, PortReleased { tenant_id: TENANT, ports });
                    }
                    _ => {}
                }
                let mut indexed_anew = world.clone();
                indexed_anew.reindex();
                prop_assert_eq!(&indexed_anew, &world);
            }
        }
    }
}
