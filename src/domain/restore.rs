//! Rules for bringing one tenant back to what it was at an earlier moment.
//!
//! Nothing is rewound: what is recorded are the events that lead from the tenant as it is to the
//! tenant as it was, and the world outside follows by the effects that these have anyway. What
//! somebody else holds by now stays theirs.

mod revive;
mod theme;

use std::collections::BTreeSet;
use std::sync::Arc;

use tenantry_journal::event::Event;
use tenantry_journal::event::configuration::EnvRequested;
use tenantry_journal::event::instance::{
    InstanceRestartRequested, InstanceStartRequested, InstanceStopRequested, RestartReason,
};
use tenantry_journal::event::port::{PortAllocated, PortPair, PortReleased};
use tenantry_journal::event::tenant::{
    Conflict, NotRestored, Part, TenantDetails, TenantRestored, TenantUpdated,
};
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::name::Domain;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance};
use tenantry_projections::world::releases::ReleaseStatus;
use tenantry_projections::world::tenants::Tenant;

use super::command::Listening;
use super::ctx::Ctx;
use super::rejection::Rejection;
use super::tenant::{details, existing, instances};
use super::{erasure, ports, request, tenant_config};

pub(super) use theme::change as theme_change;

/// A tenant as it was.
#[derive(Clone, Debug)]
pub struct Then {
    /// Right after this event.
    pub seq: Seq,
    /// What it was.
    pub tenant: Arc<Tenant>,
    /// Whether its processes were meant to run; `None` when it had none.
    pub ran: Option<bool>,
}

impl Then {
    /// A tenant in the World of a moment, if that had it.
    #[must_use]
    pub fn of(world: &World, id: TenantId) -> Option<Then> {
        let tenant = Arc::clone(world.tenants.get(id)?);
        let mut ran = None;
        for instance in instances(world, &tenant) {
            ran = Some(ran.unwrap_or(false) || instance.desired == Desired::Running);
        }
        Some(Then { seq: world.seq, tenant, ran })
    }
}

/// What to do when somebody else holds a name or a port by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Refuse.
    #[default]
    Fail,
    /// Take another, or keep the present one.
    Reassign,
}

/// Whether a deleted tenant's files are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whereabouts {
    /// They are not.
    #[default]
    Lost,
    /// They are, and known for its own by their mark, wherever they lie.
    Found,
    /// Something lies where it had its files, and bears nobody's mark.
    Unmarked,
}

/// What is left of a deleted tenant's files.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Whether they are there.
    pub whereabouts: Whereabouts,
    /// The releases that are whole.
    pub releases: BTreeSet<u32>,
}

/// What is to be brought back.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The tenant.
    pub tenant_id: TenantId,
    /// To this.
    pub then: Then,
    /// What of it.
    pub include: BTreeSet<Part>,
    /// What to do about conflicts.
    pub on_conflict: OnConflict,
    /// Ports that are not free whatever the World says.
    pub listening: Listening,
    /// What is left of a deleted tenant's files.
    pub left: Left,
    /// Digests of logos whose files are lost.
    pub lost_logos: BTreeSet<String>,
}

impl Restore {
    fn includes(&self, part: Part) -> bool {
        self.include.contains(&part)
    }
}

/// What a restore would come to.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What is recorded; none when everything is as it was.
    pub events: Vec<Event>,
    /// What somebody else holds by now, and what is taken instead.
    pub conflicts: Vec<Conflict>,
    /// What does not come back, and why.
    pub not_restored: Vec<NotRestored>,
}

impl Plan {
    fn conflict(
        &mut self,
        field: &str,
        wanted: String,
        held_by: Option<TenantId>,
        resolution: Option<String>,
    ) {
        self.conflicts.push(Conflict { field: field.to_owned(), wanted, held_by, resolution });
    }

    fn lacks(&mut self, field: &str, reason: impl Into<String>) {
        self.not_restored.push(NotRestored { field: field.to_owned(), reason: reason.into() });
    }
}

/// Says what a restore comes to, with another taken in place of whatever somebody else holds.
///
/// # Errors
/// A [`Rejection`] when it cannot be, whatever is taken instead.
pub fn plan(world: &World, restore: &Restore, ctx: &Ctx) -> Result<Plan, Rejection> {
    let mut plan = Plan::default();
    let id = restore.tenant_id;
    erasure::check(world, id)?;
    match (world.tenants.get(id), world.tenants.gone(id)) {
        (None, Some(gone)) => revive::plan(world, restore, gone, ctx, &mut plan)?,
        _ => present(world, restore, existing(world, id)?, ctx, &mut plan)?,
    }
    if restore.includes(Part::Release) {
        plan.lacks("database", "the content of the database is not rewound");
    }
    Ok(plan)
}

pub(super) fn decide(world: &World, restore: &Restore, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
    let plan = plan(world, restore, ctx)?;
    if restore.on_conflict == OnConflict::Fail && !plan.conflicts.is_empty() {
        let fields: Vec<&str> = plan.conflicts.iter().map(|conflict| conflict.field.as_str()).collect();
        return Err(Rejection::conflict(
            "restore_conflict",
            format!("somebody else holds what the tenant had: {}", fields.join(", ")),
            "restore with \"on_conflict\": \"reassign\", or leave the part out by \"include\"",
        ));
    }
    Ok(plan.events)
}

/// The event that says that the rest is a restore.
fn restored(restore: &Restore, plan: &Plan) -> TenantRestored {
    TenantRestored {
        tenant_id: restore.tenant_id,
        as_of: restore.then.seq,
        include: restore.include.clone(),
        revived: None,
        conflicts: Sealed::new(restore.tenant_id, plan.conflicts.clone()),
        not_restored: plan.not_restored.clone(),
    }
}

fn present(
    world: &World,
    restore: &Restore,
    tenant: &Tenant,
    ctx: &Ctx,
    plan: &mut Plan,
) -> Result<(), Rejection> {
    let (id, then) = (tenant.id, &restore.then);
    let (mut after, mut events) = (tenant.clone(), Vec::new());
    if restore.includes(Part::Details) {
        let named = named(world, details(tenant)?, details(&then.tenant)?, id, plan);
        let changed = changed(details(tenant)?, &named);
        if !changed.is_empty() {
            after.details = Sealed::new(id, named);
            events.push(TenantUpdated { tenant_id: id, changed, details: after.details.clone() }.into());
        }
    }
    if restore.includes(Part::Config) {
        let config = then.tenant.config.as_ref().and_then(Sealed::open).cloned().unwrap_or_default();
        if let Some(event) = tenant_config::replaced(tenant, config) {
            after.config = Some(event.config.clone());
            events.push(event.into());
        }
    }
    if restore.includes(Part::Theme) {
        events.extend(theme::back(restore, &tenant.theme, plan));
    }
    if restore.includes(Part::Ports)
        && let Some(wanted) = then.tenant.ports.filter(|wanted| Some(*wanted) != tenant.ports)
    {
        let own = tenant.ports;
        let is_free = check_ports(world, restore, wanted, own, plan, |half| own.map(half));
        if is_free {
            events.extend(own.map(|ports| PortReleased { tenant_id: id, ports }.into()));
            events.push(PortAllocated { tenant_id: id, ports: wanted }.into());
            after.ports = Some(wanted);
        }
    }
    let respecified = tenant_config::respecified(world, tenant, &after, &ctx.policy);
    if tenant_config::differ(&ctx.policy, tenant, &after) {
        events.push(EnvRequested { tenant_id: id }.into());
    }
    let is_changed = !respecified.is_empty();
    events.extend(respecified);
    let released =
        if restore.includes(Part::Release) { release(world, restore, tenant, ctx, plan)? } else { None };
    match released {
        Some(released) => events.extend(released),
        None => events.extend(processes(world, restore, tenant, is_changed)),
    }
    if !events.is_empty() {
        plan.events = std::iter::once(restored(restore, plan).into()).chain(events).collect();
    }
    Ok(())
}

/// The names and origin as they were, as far as nobody else has them by now.
fn named(
    world: &World,
    now: &TenantDetails,
    then: &TenantDetails,
    id: TenantId,
    plan: &mut Plan,
) -> TenantDetails {
    let mut after =
        TenantDetails { slug: now.slug.clone(), directory: now.directory.clone(), ..then.clone() };
    let holder = |domain: &Domain| world.tenants.by_domain(domain).filter(|holder| *holder != id);
    if let Some(holder) = holder(&then.domain) {
        plan.conflict("domain", then.domain.to_string(), Some(holder), Some(now.domain.to_string()));
        after.domain = now.domain.clone();
    }
    if let Some(wanted) = &then.api_domain
        && let Some(holder) = holder(wanted)
    {
        let kept = now.api_domain.clone();
        plan.conflict("api_domain", wanted.to_string(), Some(holder), kept.as_ref().map(ToString::to_string));
        after.api_domain = kept;
    }
    // What is kept of the one may be what the other was then.
    if after.api_domain.as_ref() == Some(&after.domain) {
        after.api_domain = None;
        plan.lacks("api_domain", "it is the present domain, which stays");
    }
    after
}

/// The names of the fields of two details that differ.
pub(super) fn changed(before: &TenantDetails, after: &TenantDetails) -> Vec<String> {
    [
        ("name", before.name != after.name),
        ("domain", before.domain != after.domain),
        ("api_domain", before.api_domain != after.api_domain),
        ("github_repo", before.github_repo != after.github_repo),
        ("notes", before.notes != after.notes),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(field, _)| field.to_owned())
    .collect()
}

/// One port of a pair.
type Half = fn(PortPair) -> u16;

/// Whether a pair may be taken; what is in the way of it is noted. `instead` says what a half of
/// the pair becomes then.
fn check_ports(
    world: &World,
    restore: &Restore,
    wanted: PortPair,
    own: Option<PortPair>,
    plan: &mut Plan,
    instead: impl Fn(Half) -> Option<u16>,
) -> bool {
    let id = restore.tenant_id;
    let own: Vec<u16> = own.into_iter().flat_map(|own| [own.frontend, own.backend]).collect();
    let halves: [(&str, Half); 2] =
        [("frontend_port", |pair| pair.frontend), ("backend_port", |pair| pair.backend)];
    let mut all_free = true;
    for (field, half) in halves {
        let port = half(wanted);
        let holder = world.ports.holder(port).filter(|holder| *holder != id);
        let of_own_process = world.instances.by_port(port).is_some_and(|holder| {
            world.instances.get(holder).is_some_and(|i| i.tenant.is_some_and(|(tenant, _)| tenant == id))
        });
        let is_own = own.contains(&port) || of_own_process;
        if holder.is_some() || (!is_own && !ports::is_free(world, &restore.listening, port)) {
            plan.conflict(field, port.to_string(), holder, instead(half).map(|port| port.to_string()));
            all_free = false;
        }
    }
    all_free
}

/// What brings the release back that served then; `None` when it serves.
fn release(
    world: &World,
    restore: &Restore,
    tenant: &Tenant,
    ctx: &Ctx,
    plan: &mut Plan,
) -> Result<Option<Vec<Event>>, Rejection> {
    if let Some(running) = world.deployments.under_way(tenant.id) {
        return Err(Rejection::conflict(
            "deployment_running",
            format!("deployment '{}' of this tenant is under way", running.id),
            "wait until it has ended or cancel it, or leave out the release by \"include\"",
        ));
    }
    let Some(wanted) = restore.then.tenant.release else {
        if let Some(serving) = tenant.release {
            plan.lacks("release", format!("no release served then; release {serving} stays"));
        }
        return Ok(None);
    };
    if tenant.release == Some(wanted) {
        return Ok(None);
    }
    let there = tenant.kept.get(wanted).filter(|kept| kept.status != ReleaseStatus::Failed);
    if there.is_none() {
        let commit = restore.then.tenant.kept.get(wanted).and_then(|kept| kept.commit.as_deref());
        plan.lacks("release", gone_release(wanted, commit));
        return Ok(None);
    }
    let starts = restore.then.ran != Some(false);
    let mut events = Vec::new();
    if !starts {
        plan.lacks("release", format!("release {wanted} serves when the tenant is started again"));
        events.extend(processes(world, restore, tenant, false));
    }
    let requested = request::bring_back(tenant, wanted, starts, request::Sites::AsTheyAre, ctx)?;
    events.push(requested);
    Ok(Some(events))
}

/// A sentence about a release whose files are not there any more.
fn gone_release(number: u32, commit: Option<&str>) -> String {
    match commit {
        Some(commit) => {
            format!("the files of release {number} are gone; its commit was {commit}, deploy that")
        }
        None => format!("the files of release {number} are gone"),
    }
}

/// Starts, stops and restarts processes, so that they run when they did then, by what holds.
fn processes(world: &World, restore: &Restore, tenant: &Tenant, is_changed: bool) -> Vec<Event> {
    let had_release = restore.includes(Part::Release) && restore.then.tenant.release.is_some();
    let runs_then = restore.then.ran.filter(|_| had_release);
    let one = |instance: &Instance| -> Option<Event> {
        let instance_id = instance.id;
        let runs = instance.desired == Desired::Running;
        match runs_then.unwrap_or(runs) {
            true if !super::instance::is_up(instance) && runs_then.is_some() => {
                Some(InstanceStartRequested { instance_id }.into())
            }
            true if runs && is_changed => {
                let (reason, release, deployment_id) = (RestartReason::Requested, None, None);
                Some(InstanceRestartRequested { instance_id, reason, release, deployment_id }.into())
            }
            false if runs => Some(InstanceStopRequested { instance_id }.into()),
            _ => None,
        }
    };
    instances(world, tenant).filter_map(one).collect()
}
