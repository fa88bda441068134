//! From a host name to what is meant by it, and from there to one instance.

use std::sync::Arc;

use rand::RngExt;
use tenantry_journal::event::instance::{Listen, Role};
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::name::{Domain, InstanceKey, ServiceName};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance, Phase, Rest};

use super::page::Refusal;

/// What a host name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// One instance.
    Instance(InstanceId),
    /// Whichever instance of a service.
    Service(ServiceName),
    /// A name of ours that nothing is registered under.
    Nothing,
}

/// What an instance can do for a request now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its present run answers there.
    Up(RunId, Listen),
    /// It has to be woken.
    Asleep,
    /// It will be up, if all goes well.
    Coming,
    /// It will not.
    Down,
}

/// What a host name means; `None` when it is not ours to route.
pub(super) fn route(world: &World, domain: Option<&Domain>, host: &str) -> Option<Route> {
    let lower = host.to_ascii_lowercase();
    if let Ok(name) = lower.parse::<Domain>()
        && let Some(tenant) = world.tenants.by_domain(&name).and_then(|id| world.tenants.get(id))
    {
        let details = tenant.details.open()?;
        let role = if details.domain == name { Role::Frontend } else { Role::Backend };
        return Some(tenant.instance(role).map_or(Route::Nothing, Route::Instance));
    }
    let domain = domain?.as_str();
    if lower == domain {
        return Some(Route::Nothing);
    }
    lower.strip_suffix(domain)?.strip_suffix('.')?;
    // Names of instances keep their case where the client does.
    let prefix = host.get(..host.len() - domain.len() - 1)?;
    let lower = lower.get(..prefix.len())?;
    Some(below(world, prefix).or_else(|| below(world, lower)).unwrap_or(Route::Nothing))
}

/// What `id.service` or `service` means.
fn below(world: &World, prefix: &str) -> Option<Route> {
    if let Some((id, service)) = prefix.rsplit_once('.')
        && let (Ok(service), Ok(id)) = (service.parse(), id.parse())
        && let Some(instance) = world.instances.by_key(&InstanceKey { service, id })
    {
        return Some(Route::Instance(instance.id));
    }
    let service: ServiceName = prefix.parse().ok()?;
    let is_there = world.instances.of_service(&service).next().is_some();
    is_there.then_some(Route::Service(service))
}

/// What an instance can do for a request now.
pub(super) fn state(instance: &Instance) -> State {
    match (instance.desired, instance.phase) {
        (Desired::Removed, _) => State::Down,
        (Desired::Stopped, _) if instance.rest == Rest::Asleep => State::Asleep,
        (Desired::Stopped, _) | (Desired::Running, Phase::Failed) => State::Down,
        (Desired::Running, Phase::Running) if instance.restart.is_none() || instance.is_rolling() => {
            match (instance.run.as_ref(), instance.spec.open()) {
                (Some(run), Some(spec)) => State::Up(run.id, spec.listen.clone()),
                _ => State::Down,
            }
        }
        (Desired::Running, _) => State::Coming,
    }
}

/// The instance that a request goes to.
///
/// # Errors
/// When there is none.
pub(super) fn choose<'a>(world: &'a World, route: &Route) -> Result<&'a Arc<Instance>, Refusal> {
    match route {
        Route::Nothing => Err(Refusal::Unknown),
        Route::Instance(id) => world.instances.get(*id).ok_or(Refusal::Unknown),
        Route::Service(service) => {
            let all = || world.instances.of_service(service);
            if all().next().is_none() {
                return Err(Refusal::Unknown);
            }
            if all().all(|instance| instance.weight == 0) {
                return Err(Refusal::NoWeight);
            }
            // One that sleeps has its share like one that is up; one that starts does not, as
            // long as others answer.
            let able = |instance: &Instance| matches!(state(instance), State::Up(..) | State::Asleep);
            by_weight(all(), able)
                .or_else(|| by_weight(all(), |instance| state(instance) == State::Coming))
                .ok_or(Refusal::Stopped)
        }
    }
}

fn by_weight<'a>(
    all: impl Iterator<Item = &'a Arc<Instance>>,
    able: impl Fn(&Instance) -> bool,
) -> Option<&'a Arc<Instance>> {
    let able: Vec<&Arc<Instance>> = all.filter(|instance| instance.weight > 0 && able(instance)).collect();
    if let [only] = able.as_slice() {
        return Some(only);
    }
    let total: u32 = able.iter().map(|instance| u32::from(instance.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut left = rand::rng().random_range(0..total);
    able.into_iter().find(|instance| {
        let weight = u32::from(instance.weight);
        let is_it = left < weight;
        left = left.saturating_sub(weight);
        is_it
    })
}
