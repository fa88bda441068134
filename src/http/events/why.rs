//! `GET /api/events/why`: the chain of causes from the present state of an instance or a tenant
//! back to what a person asked for.

mod words;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::event::instance::{ExitStatus, ProcessSpec};
use tenantry_journal::id::{InstanceId, Seq, TenantId};
use tenantry_journal::name::InstanceKey;
use tenantry_journal::recorded::{Actor, Recorded};
use tenantry_journal::scan::ScanError;
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;
use tenantry_projections::event_view::EventView;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance, Phase};
use tenantry_projections::world::tenants::Tenant;

use super::get::one;
use super::history::check_known;
use super::list::unreadable;
use super::may_see;
use super::undo::command_of;
use crate::domain::undo;
use crate::engine;
use crate::http::error::ApiError;
use crate::http::extract::{Query, Scope};
use crate::http::state::AppState;
use crate::http::write::answer;

/// Links that are followed: a thousand ends of a process, one after the other, have some five each.
const LONGEST: usize = 5_000;
/// Events before an end that are looked through for who set the limit.
const LOOK_BACK: u64 = 200_000;
/// Events that are read at a time.
const STEP: u64 = 512;

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "WhyQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct Subject {
    instance: Option<InstanceKey>,
    tenant_id: Option<TenantId>,
}

/// The present state, and the event behind it.
struct Present {
    state: &'static str,
    cause: Seq,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "WhyLink")]
struct Link<'a> {
    #[serde(flatten)]
    event: EventView<'a>,
    /// Its part of the sentence; null when it adds nothing to it.
    because: Option<&'a str>,
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Why<'a> {
    instance: Option<&'a InstanceKey>,
    tenant_id: Option<TenantId>,
    state: &'static str,
    since: Timestamp,
    sentence: String,
    /// Ends of the process before the one in the chain, one after the other.
    earlier_ends: usize,
    chain: Vec<Link<'a>>,
}

/// `GET /api/events/why?instance=` or `?tenant_id=`
pub(super) async fn why(
    State(app): State<AppState>,
    scope: Scope,
    Query(subject): Query<Subject>,
) -> Result<Response, ApiError> {
    let present = match (&subject.instance, subject.tenant_id) {
        (Some(key), None) => {
            let found = scope.world.instances.by_key(key);
            let found = found.filter(|one| scope.principal.reaches_instance(&scope.world, one.id));
            let missing = || ApiError::not_found("instance_not_found", format!("Instance '{key}' not found"));
            of_instance(found.ok_or_else(missing)?)
        }
        (None, Some(id)) => {
            check_known(&scope, id)?;
            of_tenant(&scope.world, id)
        }
        _ => {
            return Err(
                ApiError::bad_request("Name one of instance and tenant_id.").coded("invalid_parameter")
            );
        }
    };
    let (engine, names) = (app.engine.clone(), app.engine.world());
    let reading = tokio::task::spawn_blocking(move || {
        let found = chain(&engine, present.cause, |event| may_see(&scope.principal, event, &names))?;
        Ok::<Response, ScanError>(told(&subject, &present, &found, &names))
    });
    reading.await.map_err(|_| ApiError::internal())?.map_err(|error| unreadable(&error))
}

fn told(subject: &Subject, present: &Present, found: &Found, names: &World) -> Response {
    let effects = std::iter::once(None).chain(found.links.iter().map(Some));
    let clauses: Vec<Option<String>> =
        found.links.iter().zip(effects).map(|(link, effect)| words::clause(link, effect, names)).collect();
    let since = found.links.first().map_or(names.at, |link| link.at);
    let parts = clauses.iter().flatten().map(String::as_str);
    let why = Why {
        instance: subject.instance.as_ref(),
        tenant_id: subject.tenant_id,
        state: present.state,
        since,
        sentence: words::sentence(present.state, since, found.earlier_ends, parts),
        earlier_ends: found.earlier_ends,
        chain: found
            .links
            .iter()
            .zip(&clauses)
            .map(|(link, because)| Link { event: EventView::new(link, names), because: because.as_deref() })
            .collect(),
    };
    answer(StatusCode::OK, &why)
}

fn of_instance(instance: &Instance) -> Present {
    let state = match (instance.desired, instance.phase) {
        (_, Phase::Running) => "running",
        (_, Phase::Starting) => "starting",
        (_, Phase::Stopping) => "stopping",
        (_, Phase::Backoff) => "waiting to be started again",
        (_, Phase::Failed) => "failed",
        (Desired::Running, Phase::Idle) => "about to start",
        (Desired::Stopped | Desired::Removed, Phase::Idle) => "stopped",
    };
    Present { state, cause: instance.cause }
}

/// What a tenant is like follows from its deployment, then from what of it does not run, then
/// from what does.
fn of_tenant(world: &World, id: TenantId) -> Present {
    let Some(tenant) = world.tenants.get(id) else {
        let cause = world.tenants.gone(id).map_or(Seq::ZERO, |gone| gone.deleted);
        return Present { state: "deleted", cause };
    };
    if tenant.deletion.is_some() {
        return Present { state: "being deleted", cause: tenant.changed };
    }
    let state = words::status(world.tenant_status(tenant));
    Present { state, cause: cause_of(world, tenant) }
}

fn cause_of(world: &World, tenant: &Tenant) -> Seq {
    if let Some(deployment) = world.deployments.under_way(tenant.id) {
        return deployment.cause;
    }
    let ids = [tenant.frontend, tenant.backend].into_iter().flatten();
    let instances: Vec<&Instance> = ids.filter_map(|id| world.instances.get(id)).map(|one| &**one).collect();
    let is_down = |one: &&&Instance| matches!(one.phase, Phase::Failed | Phase::Backoff);
    let cause = instances.iter().find(is_down).map(|one| one.cause);
    let cause = cause.or_else(|| instances.iter().map(|one| one.cause).max());
    let deployed = || tenant.deployment.and_then(|id| world.deployments.get(id)).map(|one| one.cause);
    cause.or_else(deployed).unwrap_or(tenant.changed)
}

/// The links of a chain, the last event first.
#[derive(Default)]
struct Found {
    links: Vec<Recorded>,
    earlier_ends: usize,
}

/// Whether an event is one of those that follow each other when a process ends again and again.
fn is_of_a_cycle(event: &Event) -> bool {
    matches!(
        event,
        Event::InstanceExited(_)
            | Event::InstanceRestartScheduled(_)
            | Event::InstanceStarting(_)
            | Event::InstanceStarted(_)
            | Event::InstanceHealthChanged(_)
            | Event::InstanceStopping(_)
    )
}

/// Reads the journal: blocks.
fn chain(engine: &engine::Handle, start: Seq, sees: impl Fn(&Recorded) -> bool) -> Result<Found, ScanError> {
    let mut found = Found::default();
    let mut has_ended = false;
    let mut next = Some(start).filter(|seq| *seq > Seq::ZERO);
    for _ in 0..LONGEST {
        let Some(seq) = next else { break };
        let Some(event) = one(engine, seq)? else { break };
        if event.actor != Actor::System {
            let command = command_of(engine, seq)?;
            let lead = undo::lead(&command, seq).unwrap_or(&event);
            found.links.extend(Some(lead.clone()).filter(&sees));
            break;
        }
        next = before(engine, &event)?.filter(|earlier| *earlier < seq);
        if let Some(setter) = limit_of(engine, &event)? {
            let is_a_persons = setter.actor != Actor::System;
            next = before(engine, &setter)?;
            found.links.extend([event, setter].into_iter().filter(&sees));
            if is_a_persons {
                break;
            }
            has_ended = true;
            continue;
        }
        let is_end = matches!(event.event, Event::InstanceExited(_));
        if has_ended && is_of_a_cycle(&event.event) {
            found.earlier_ends += usize::from(is_end);
            continue;
        }
        has_ended |= is_end;
        found.links.extend(Some(event).filter(&sees));
    }
    Ok(found)
}

/// What an event follows from: what came before it in the same command about the same instance,
/// else what the command answers.
fn before(engine: &engine::Handle, event: &Recorded) -> Result<Option<Seq>, ScanError> {
    if event.seq.0 > 1
        && let Some(earlier) = one(engine, Seq(event.seq.0 - 1))?
        && earlier.command_id == event.command_id
        && (earlier.instance_id == event.instance_id || earlier.instance_id.is_none())
    {
        return Ok(Some(earlier.seq));
    }
    Ok(event.caused_by)
}

/// For an end at the memory limit: the limit's first event, which set it as it was.
fn limit_of(engine: &engine::Handle, event: &Recorded) -> Result<Option<Recorded>, ScanError> {
    let Event::InstanceExited(exited) = &event.event else { return Ok(None) };
    if exited.status != ExitStatus::MemoryLimit {
        return Ok(None);
    }
    let last = Seq(event.seq.0.saturating_sub(LOOK_BACK)).max(Seq(1));
    let mut found: Option<(Option<u64>, Recorded)> = None;
    let mut high = Seq(event.seq.0 - 1);
    while high >= last && high > Seq::ZERO {
        let low = Seq(high.0.saturating_sub(STEP - 1)).max(last);
        let slices = engine.feed().read(low, usize::try_from(high.0 - low.0 + 1).unwrap_or(usize::MAX))?;
        let events: Vec<&Recorded> = slices.iter().flat_map(|slice| slice.iter()).collect();
        for earlier in events.into_iter().rev().filter(|earlier| earlier.seq <= high) {
            let Some(limit) = limit_set(&earlier.event, exited.instance_id) else { continue };
            match &found {
                Some((present, _)) if *present != limit => {
                    return Ok(found.map(|(_, setter)| setter));
                }
                _ => found = Some((limit, earlier.clone())),
            }
        }
        high = Seq(low.0 - 1);
    }
    Ok(found.map(|(_, setter)| setter))
}

/// The memory limit that an event gives an instance, if it says what that runs.
fn limit_set(event: &Event, id: InstanceId) -> Option<Option<u64>> {
    let (instance, spec): (InstanceId, &Sealed<ProcessSpec>) = match event {
        Event::InstanceSpawned(event) => (event.instance_id, &event.spec),
        Event::InstanceRespecified(event) => (event.instance_id, &event.spec),
        Event::InstanceSuccessorStarting(event) => (event.instance_id, &event.spec),
        _ => return None,
    };
    (instance == id).then(|| spec.open().and_then(|spec| spec.limits.memory_limit_mb))
}
