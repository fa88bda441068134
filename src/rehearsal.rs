//! Whether this program reads a journal as the one before did: the whole journal folded again, and
//! compared with the snapshots and with what was done because of it.
//!
//! A snapshot is what another fold made of the same events. An effect that was begun says what the
//! program of then wanted at that moment; this one's `react` must want it, too, in the World just
//! before. Nothing is written or done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use tenantry_journal::event::Event;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::merkle::Frontier;
use tenantry_journal::recorded::{Actor, Recorded};
use tenantry_journal::scan::{self, ScanError};
use tenantry_journal::sealed::Vault;
use tenantry_journal::store::Journal;
use tenantry_projections::history;
use tenantry_projections::snapshot::Snapshots;
use tenantry_projections::world::World;

use crate::domain::effect::Effect;
use crate::domain::react::react;
use crate::error::chain;

/// Differences that are listed; more are counted.
const MOST_LISTED: usize = 1000;

/// What became of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// The same World.
    Same,
    /// The same, apart from tenants that were erased since.
    SameButErased,
    /// Another World.
    Different,
    /// It cannot be read by this program: for this reason.
    NotComparable(String),
}

/// Something that this program sees in another way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// At this event.
    pub seq: Seq,
    /// A sentence without anything personal.
    pub what: String,
}

/// What a rehearsal found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rehearsal {
    /// Version of the program that began to serve last.
    pub written_by: String,
    /// This program's.
    pub version: String,
    /// Events that were folded.
    pub events: u64,
    /// The snapshots, by position.
    pub snapshots: BTreeMap<u64, Compared>,
    /// Effects that were begun and are wanted here, too.
    pub effects: u64,
    /// What this program would do now.
    pub due: Vec<String>,
    /// Everything that differs, as far as it is listed.
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub more: u64,
}

impl Rehearsal {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.differences.is_empty()
    }

    fn differs(&mut self, seq: Seq, what: String) {
        if self.differences.len() < MOST_LISTED {
            self.differences.push(Difference { seq, what });
        } else {
            self.more += 1;
        }
    }
}

/// Folds a whole journal and compares. `tick` is told of every event.
///
/// # Errors
/// When the journal is damaged, or holds an event that this program does not know: the error names
/// its kind, version and seq.
pub fn rehearse(
    store: &dyn Journal,
    vault: &Arc<dyn Vault>,
    snapshots: &Snapshots,
    mut tick: impl FnMut(Seq),
) -> Result<Rehearsal, ScanError> {
    let head = store.head();
    let there: BTreeSet<Seq> = snapshots.list().into_iter().filter(|seq| *seq <= head).collect();
    let mut found = Rehearsal { version: env!("CARGO_PKG_VERSION").to_owned(), ..Rehearsal::default() };
    let mut world = World::default();
    // Compared at the end, when it is known who was erased.
    let mut taken: Vec<World> = Vec::new();
    let mut frontier = Frontier::default();
    scan::replay(store, vault, &mut frontier, Seq::ZERO, head, |recorded| {
        if let Some(effect) = begun(recorded) {
            if react(&world).iter().any(|due| due.effect == effect) {
                found.effects += 1;
            } else {
                let kind = recorded.event.kind();
                found.differs(
                    recorded.seq,
                    format!("{kind} was recorded, and this program would not have begun it"),
                );
            }
        }
        world.evolve(recorded);
        if there.contains(&recorded.seq) {
            taken.push(world.clone());
        }
        tick(recorded.seq);
    })?;
    found.events = head.0;
    found.written_by.clone_from(&world.version);
    for folded in &taken {
        let compared = match snapshots.load(folded.seq) {
            Ok(snapshot) => compare(&mut found, &snapshot.world, folded, &world),
            Err(reason) => Compared::NotComparable(chain(&reason)),
        };
        found.snapshots.insert(folded.seq.0, compared);
    }
    found.due = react(&world).iter().map(|due| format!("{:?}", due.effect)).collect();
    Ok(found)
}

/// The effect that an event is the beginning of, where only one that is wanted is ever begun.
fn begun(recorded: &Recorded) -> Option<Effect> {
    if recorded.actor != Actor::System {
        return None;
    }
    Some(match &recorded.event {
        Event::InstanceStarting(event) => Effect::BeginRun(event.instance_id),
        Event::InstanceSuccessorStarting(event) => Effect::BeginSuccessor(event.instance_id),
        Event::InstanceRemoved(event) => Effect::ForgetInstance(event.instance_id),
        Event::StepStarted(event) => Effect::RunStep(event.deployment_id, event.step),
        Event::TenantDeleted(event) => Effect::RemoveTenant(event.tenant_id),
        Event::TenantErased(event) => Effect::EraseTenant(event.tenant_id),
        Event::AnalysisStarted(event) => Effect::Analyze(event.analysis_id),
        _ => return None,
    })
}

fn compare(found: &mut Rehearsal, snapshot: &World, folded: &World, head: &World) -> Compared {
    if snapshot == folded {
        return Compared::Same;
    }
    let differing = differing(snapshot, folded, head);
    if differing.is_empty() {
        return Compared::SameButErased;
    }
    for what in differing {
        found.differs(folded.seq, format!("the snapshot differs from the fold in {what}"));
    }
    Compared::Different
}

/// The parts in which two Worlds of one moment differ, apart from who was erased by `head`.
fn differing(before: &World, after: &World, head: &World) -> Vec<String> {
    let is_erased = |id: TenantId| head.erasures.get(id).is_some();
    let mut parts = Vec::new();
    let mut note = |is_same: bool, what: String| {
        if !is_same {
            parts.push(what);
        }
    };
    note(before.at == after.at, "the time of its last event".into());
    note(before.boot_id == after.boot_id && before.keeper == after.keeper, "the boot and the keeper".into());
    note(before.version == after.version, "the program's version".into());
    note(before.ports == after.ports, "the ports".into());
    note(before.settings == after.settings, "the settings".into());
    note(before.access == after.access, "users and tokens".into());
    note(before.requests == after.requests, "the repeatable requests".into());
    note(before.erasures == after.erasures, "the erasures".into());
    let tenants: BTreeSet<TenantId> =
        before.tenants.iter().chain(after.tenants.iter()).map(|tenant| tenant.id).collect();
    for id in tenants.into_iter().filter(|id| !is_erased(*id)) {
        if before.tenants.get(id) != after.tenants.get(id) {
            let changes = history::diff(before, after, id);
            let fields: Vec<String> = changes.into_iter().map(|change| change.field).collect();
            note(false, format!("tenant {id} ({})", fields.join(", ")));
        }
        note(before.tenants.gone(id) == after.tenants.gone(id), format!("what is left of tenant {id}"));
        note(
            before.configurations.get(id) == after.configurations.get(id),
            format!("the configuration of tenant {id}"),
        );
    }
    let of = |tenant: Option<TenantId>| tenant.is_none_or(|id| !is_erased(id));
    let instances: BTreeSet<_> =
        before.instances.iter().chain(after.instances.iter()).map(|instance| instance.id).collect();
    for id in instances {
        let (one, other) = (before.instances.get(id), after.instances.get(id));
        let tenant = one.or(other).and_then(|instance| instance.tenant).map(|(tenant, _)| tenant);
        note(!of(tenant) || one == other, format!("instance {id}"));
    }
    let deployments: BTreeSet<_> = before
        .deployments
        .iter()
        .chain(after.deployments.iter())
        .map(|one| (one.id, one.tenant_id))
        .collect();
    for (id, _) in deployments.into_iter().filter(|(_, tenant)| !is_erased(*tenant)) {
        note(before.deployments.get(id) == after.deployments.get(id), format!("deployment {id}"));
    }
    // What is left are names that only the snapshot can still tell, of who was erased since.
    if parts.is_empty() && head.erasures.is_empty() {
        parts.push("something inside".into());
    }
    parts
}
