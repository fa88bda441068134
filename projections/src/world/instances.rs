//! The processes: what is wished of each, and what was observed.
//!
//! The transition table stands in [`World`]'s methods below, one for each event. An
//! observation that names another run than the present one changes nothing: it is late.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::instance::{
    ExitStatus, InstanceAdopted, InstanceEnded, InstanceExited, InstanceHealth, InstanceHealthChanged,
    InstanceRespecified, InstanceRestartRequested, InstanceRestartScheduled, InstanceSpawned,
    InstanceStartFailed, InstanceStarted, InstanceStarting, InstanceStopping, InstanceSuccessorPromoted,
    InstanceSuccessorStarting, InstanceWeightChanged, Listen, ProcessSpec, RestartMode, RestartReason, Role,
};
use tenantry_journal::id::{DeploymentId, InstanceId, KeyId, RunId, Seq, TenantId};
use tenantry_journal::name::{InstanceKey, InstanceName, ServiceName};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;

use super::{Attention, ProcessMark, World};
use later::Later;

pub(crate) mod hot;
pub(crate) mod later;

/// What somebody wishes of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It shall run.
    Running,
    /// It shall not.
    Stopped,
    /// It shall not, and be forgotten.
    Removed,
}

/// What was observed of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No process.
    Idle,
    /// A run was named; whether it has a process is not known yet, or it is not healthy yet.
    Starting,
    /// It has a process that was healthy once in this run.
    Running,
    /// Its process was told to end.
    Stopping,
    /// No process; the next run waits for its moment.
    Backoff,
    /// No process, and the policy leaves it so though it failed.
    Failed,
}

/// Whether an instance is stopped only because nobody asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// It runs, or was stopped on purpose.
    #[default]
    Awake,
    /// It is stopped, and the next request starts it.
    Asleep,
    /// A request started it, and it was not healthy since.
    Waking,
}

/// The share of traffic that an instance begins with.
pub const FULL_WEIGHT: u8 = 100;

/// One life of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// When it was named.
    pub named_at: Timestamp,
    /// Its process, once there is one.
    pub process: Option<ProcessMark>,
    /// When the process began.
    pub started_at: Option<Timestamp>,
    /// When the run was healthy first.
    pub healthy_at: Option<Timestamp>,
}

/// Which of two runs the one beside is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// It shall take the present run's place when it is healthy.
    Rising,
    /// It is healthy, and waits until the others of its release are.
    Risen,
    /// It was the present run, or did not come up, and is to end.
    Retiring,
    /// It was told to end.
    Stopping,
}

/// A second run, while one takes over from the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// The run.
    pub run: Run,
    /// What it runs, and where.
    pub spec: Sealed<ProcessSpec>,
    /// Which of the two it is.
    pub side: Side,
    /// The deployment that said what it runs, if one did.
    pub deployment: Option<DeploymentId>,
    /// Whether it takes over only together with the others of its deployment.
    pub waits: bool,
    /// It did not come up in time.
    pub given_up: bool,
}

impl Beside {
    /// Whether it may still take the present run's place.
    #[must_use]
    pub fn is_successor(&self) -> bool {
        matches!(self.side, Side::Rising | Side::Risen)
    }
}

/// What the run that takes the present one's place is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Of which release.
    pub release: u32,
    /// The deployment that waits for it.
    pub deployment: Option<DeploymentId>,
}

/// How the run before ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastExit {
    /// The exit status; `None` when there never was a process.
    pub status: Option<ExitStatus>,
    /// When.
    pub at: Timestamp,
    /// What the operating system said when no process could be made.
    pub reason: Option<Sealed<String>>,
}

/// One process definition that the control plane keeps running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its name, `service:id`.
    pub name: Sealed<InstanceKey>,
    /// The tenant whose process it is, and which one.
    pub tenant: Option<(TenantId, Role)>,
    /// What to run.
    pub spec: Sealed<ProcessSpec>,
    /// The deployment that said so, if one did.
    pub deployment: Option<DeploymentId>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// The last event about it (for `ETag`).
    pub changed: Seq,
    /// The event behind its present state: the cause of whatever is done next.
    pub cause: Seq,
    /// What is wished.
    pub desired: Desired,
    /// What was observed.
    pub phase: Phase,
    /// The present run; `None` when there is none.
    pub run: Option<Run>,
    /// Set when the present run is to be replaced.
    pub restart: Option<RestartReason>,
    /// What it is to be replaced by, when that is not what is specified.
    pub wanted: Option<Wanted>,
    /// What the checks of the present run say.
    pub health: InstanceHealth,
    /// Restarts by policy since it was registered.
    pub restart_count: u32,
    /// Ends without a stable run in between.
    pub failures: u32,
    /// In [`Phase::Backoff`]: the next run begins not before this.
    pub not_before: Option<Timestamp>,
    /// How the run before ended.
    pub last_exit: Option<LastExit>,
    /// Its share of its service's traffic, from 0 to 100.
    pub weight: u8,
    /// Whether it sleeps.
    pub rest: Rest,
    /// A second run, while one takes over from the other.
    pub beside: Option<Beside>,
}

impl Instance {
    /// Whether the world outside has to be changed to match what is wished.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        if self.beside.is_some() {
            return true;
        }
        match (self.desired, self.phase) {
            (Desired::Running, Phase::Running) => self.restart.is_some(),
            (Desired::Running, Phase::Failed) | (Desired::Stopped, Phase::Idle | Phase::Failed) => false,
            (Desired::Running | Desired::Stopped | Desired::Removed, _) => true,
        }
    }

    /// The run of this name: the present one, or the one beside it.
    #[must_use]
    pub fn find_run(&self, run: RunId) -> Option<&Run> {
        let beside = self.beside.as_ref().map(|beside| &beside.run);
        self.run.iter().chain(beside).find(|found| found.id == run)
    }

    /// Which side a run is that is beside the present one.
    #[must_use]
    pub fn side_of(&self, run: RunId) -> Option<Side> {
        self.beside.as_ref().filter(|beside| beside.run.id == run).map(|beside| beside.side)
    }

    /// Whether it serves until a successor is healthy, instead of ending first.
    #[must_use]
    pub fn is_rolling(&self) -> bool {
        let is_usual = || self.spec.open().is_some_and(|spec| spec.restart_mode == RestartMode::Rolling);
        self.desired == Desired::Running
            && self.phase == Phase::Running
            && matches!(self.restart, Some(RestartReason::Requested | RestartReason::Deployed))
            && (self.wanted.is_some() || is_usual())
    }

    /// Whether a run is to begin beside the present one.
    #[must_use]
    pub fn awaits_successor(&self) -> bool {
        self.is_rolling() && self.beside.is_none()
    }

    fn is_run(&self, run: RunId) -> bool {
        self.run.as_ref().is_some_and(|present| present.id == run)
    }

    /// The one beside takes the present run's place, and the other way round.
    fn shift(&mut self) {
        let Some(Beside { run, spec, deployment, .. }) = self.beside.take() else { return };
        let before = std::mem::replace(&mut self.spec, spec);
        let deployed_by = std::mem::replace(&mut self.deployment, deployment);
        if let Some(retired) = self.run.replace(run) {
            self.beside = Some(Beside {
                run: retired,
                spec: before,
                side: Side::Retiring,
                deployment: deployed_by,
                waits: false,
                given_up: false,
            });
        }
        self.settle();
    }

    /// Nothing is to take the present run's place any more.
    fn settle(&mut self) {
        self.restart = None;
        self.wanted = None;
    }

    fn start(&mut self, rest: Rest) {
        self.desired = Desired::Running;
        self.rest = rest;
        self.failures = 0;
        self.not_before = None;
        if matches!(self.phase, Phase::Backoff | Phase::Failed) {
            self.phase = Phase::Idle;
        }
    }

    fn stop(&mut self, rest: Rest) {
        self.desired = Desired::Stopped;
        self.rest = rest;
        self.settle();
        self.not_before = None;
        if self.phase == Phase::Backoff {
            self.phase = Phase::Idle;
        }
    }

    /// The present run is over.
    fn exit(&mut self, recorded: &Recorded, exit: &LastExit) {
        self.cause = recorded.seq;
        self.close_run();
        self.settle();
        match self.beside.as_ref().map(|beside| beside.side) {
            // The one that rises is all there is now.
            Some(Side::Rising) => {
                self.shift();
                self.phase = Phase::Starting;
            }
            Some(Side::Risen) => {
                self.shift();
                self.phase = Phase::Running;
                self.health = InstanceHealth::Healthy;
            }
            _ => {}
        }
        self.last_exit = Some(exit.clone());
    }

    fn close_run(&mut self) {
        self.run = None;
        self.health = InstanceHealth::Unknown;
        self.phase = Phase::Idle;
    }
}

/// The TCP ports of its runs.
fn held_ports(instance: &Instance) -> impl Iterator<Item = u16> {
    let beside = instance.beside.as_ref().map(|beside| &beside.spec);
    let specs = std::iter::once(&instance.spec).chain(beside);
    specs.filter_map(|spec| match spec.open()?.listen {
        Listen::Port(port) => Some(port),
        Listen::Socket(_) => None,
    })
}

/// Before or at the first instance of a service: no name sorts before `0`.
fn first_name(service: &ServiceName) -> InstanceKey {
    let id: InstanceName = "0".parse().expect("a digit is a name");
    InstanceKey { service: service.clone(), id }
}

/// All instances, in the order in which they came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Instances {
    by_id: OrdMap<InstanceId, Arc<Instance>>,
    /// What became of them, in a World of the past that was put together.
    later: Option<Later>,
    /// Names of the ones that are gone, so that old events can still be shown by name.
    gone: OrdMap<InstanceId, Sealed<InstanceKey>>,
    by_key: OrdMap<InstanceKey, InstanceId>,
    /// Stored, though it follows from the sealed specs: ports are nobody's secret, and the
    /// specs are the largest values that would have to be opened for it.
    by_port: OrdMap<u16, InstanceId>,
}

/// What is written of them.
#[derive(Serialize, Deserialize)]
struct Stored {
    by_id: OrdMap<InstanceId, Arc<Instance>>,
    gone: OrdMap<InstanceId, Sealed<InstanceKey>>,
    by_port: OrdMap<u16, InstanceId>,
}

impl From<Instances> for Stored {
    fn from(all: Instances) -> Stored {
        let by_id = match &all.later {
            None => all.by_id,
            Some(_) => all.iter().map(|instance| (instance.id, Arc::clone(instance))).collect(),
        };
        Stored { by_id, gone: all.gone, by_port: all.by_port }
    }
}

impl From<Stored> for Instances {
    fn from(Stored { by_id, gone, by_port }: Stored) -> Instances {
        Instances { by_id, gone, by_port, ..Instances::default() }
    }
}

impl PartialEq for Instances {
    fn eq(&self, other: &Instances) -> bool {
        self.iter().eq(other.iter())
            && (&self.gone, &self.by_key, &self.by_port) == (&other.gone, &other.by_key, &other.by_port)
    }
}

impl Instances {
    /// All of them as the map has them, for who packs a World that was folded and not put
    /// together.
    pub(crate) fn map(&self) -> &OrdMap<InstanceId, Arc<Instance>> {
        &self.by_id
    }

    pub(crate) fn map_mut(&mut self) -> &mut OrdMap<InstanceId, Arc<Instance>> {
        &mut self.by_id
    }

    /// Says what became of those in the map.
    pub(crate) fn became(&mut self, numbers: later::Numbers, hot: Arc<later::HotBytes>) {
        self.later = Some(Later::new(numbers, hot));
    }

    /// One of the map as it is now.
    fn now<'a>(&'a self, one: &'a Arc<Instance>) -> &'a Arc<Instance> {
        self.later.as_ref().map_or(one, |later| later.of(one))
    }

    /// Has the map say the last word on an instance.
    fn settle(&mut self, id: InstanceId) {
        if let Some(later) = &mut self.later {
            if let Some(one) = self.by_id.get_mut(&id) {
                let now = Arc::clone(later.of(one));
                *one = now;
            }
            later.settle(id);
        }
    }

    /// One instance.
    #[must_use]
    pub fn get(&self, id: InstanceId) -> Option<&Arc<Instance>> {
        self.by_id.get(&id).map(|one| self.now(one))
    }

    /// The instance of this name.
    #[must_use]
    pub fn by_key(&self, key: &InstanceKey) -> Option<&Arc<Instance>> {
        self.by_key.get(key).and_then(|id| self.get(*id))
    }

    /// The instances of a service, by name.
    pub fn of_service(&self, service: &ServiceName) -> impl Iterator<Item = &Arc<Instance>> {
        let (service, first) = (service.clone(), first_name(service));
        self.by_key
            .range(first..)
            .take_while(move |(key, _)| key.service == service)
            .filter_map(|(_, id)| self.get(*id))
    }

    /// All instances, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Instance>> {
        self.by_id.values().map(|one| self.now(one))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Which instance was given this TCP port.
    #[must_use]
    pub fn by_port(&self, port: u16) -> Option<InstanceId> {
        self.by_port.get(&port).copied()
    }

    /// The sealed name of an instance that is there or was: it says whose key it is under.
    #[must_use]
    pub fn sealed_name(&self, id: InstanceId) -> Option<&Sealed<InstanceKey>> {
        self.by_id.get(&id).map(|instance| &instance.name).or_else(|| self.gone.get(&id))
    }

    /// The name of an instance that is there or was; `None` when unknown or erased.
    #[must_use]
    pub fn name(&self, id: InstanceId) -> Option<&InstanceKey> {
        self.sealed_name(id)?.open()
    }

    /// Lets go of the names of those that are gone and were named under a key.
    pub(super) fn erase(&mut self, key: KeyId) {
        let ids: Vec<InstanceId> =
            self.gone.iter().filter(|(_, name)| name.key() == key).map(|(id, _)| *id).collect();
        for id in ids {
            self.gone.insert(id, Sealed::erased(key));
        }
    }

    fn index(&mut self, instance: &Instance) {
        if let Some(key) = instance.name.open() {
            self.by_key.insert(key.clone(), instance.id);
        }
        for port in held_ports(instance) {
            self.by_port.insert(port, instance.id);
        }
    }

    fn unindex(&mut self, instance: &Instance) {
        if let Some(key) = instance.name.open() {
            self.by_key.remove(key);
        }
        self.unindex_port(instance);
    }

    fn unindex_port(&mut self, instance: &Instance) {
        for port in held_ports(instance) {
            if self.by_port(port) == Some(instance.id) {
                self.by_port.remove(&port);
            }
        }
    }

    pub(super) fn reindex(&mut self) {
        let named =
            self.by_id.values().filter_map(|instance| Some((instance.name.open()?.clone(), instance.id)));
        self.by_key = named.collect();
    }
}

impl World {
    /// Puts an instance on or off the reactor's list, by what it needs now.
    pub(super) fn attend_instance(&mut self, id: InstanceId) {
        let needed = self.instances.get(id).is_some_and(|instance| instance.needs_attention());
        if needed {
            self.attention.insert(Attention::Instance(id));
        } else {
            self.attention.remove(&Attention::Instance(id));
        }
    }

    fn change_instance(&mut self, id: InstanceId, recorded: &Recorded, change: impl FnOnce(&mut Instance)) {
        self.change_instance_if(id, recorded, |_| true, change);
    }

    /// Returns whether it was changed. The attention list is touched only when the answer is
    /// another one, and the instance is looked up once: this is where a fold spends its time.
    fn change_instance_if(
        &mut self,
        id: InstanceId,
        recorded: &Recorded,
        applies: impl FnOnce(&Instance) -> bool,
        change: impl FnOnce(&mut Instance),
    ) -> bool {
        self.instances.settle(id);
        let Some(instance) = self.instances.by_id.get_mut(&id).filter(|instance| applies(instance)) else {
            return false;
        };
        let instance = Arc::make_mut(instance);
        let needed = instance.needs_attention();
        instance.changed = recorded.seq;
        change(instance);
        match (needed, instance.needs_attention()) {
            (false, true) => drop(self.attention.insert(Attention::Instance(id))),
            (true, false) => drop(self.attention.remove(&Attention::Instance(id))),
            _ => {}
        }
        true
    }

    /// Applies an observation, if it is of the present run; returns whether it is. Nearly all
    /// are, so the run beside is asked for only afterwards.
    fn observe(
        &mut self,
        id: InstanceId,
        run: RunId,
        recorded: &Recorded,
        change: impl FnOnce(&mut Instance),
    ) -> bool {
        let is_present = |instance: &Instance| instance.is_run(run) && instance.side_of(run).is_none();
        self.change_instance_if(id, recorded, is_present, change)
    }

    /// Changes an instance so that its ports may be others.
    fn change_places(&mut self, id: InstanceId, recorded: &Recorded, change: impl FnOnce(&mut Instance)) {
        let Some(before) = self.instances.get(id).cloned() else { return };
        self.instances.unindex_port(&before);
        self.change_instance(id, recorded, change);
        if let Some(after) = self.instances.get(id).cloned() {
            self.instances.index(&after);
        }
    }

    /// Applies an observation, if it is of the run beside the present one.
    fn observe_beside(
        &mut self,
        id: InstanceId,
        run: RunId,
        recorded: &Recorded,
        change: impl FnOnce(&mut Instance),
    ) {
        let is_beside = self.instances.get(id).is_some_and(|instance| instance.side_of(run).is_some());
        if is_beside {
            self.change_places(id, recorded, |instance| {
                instance.cause = recorded.seq;
                change(instance);
            });
        }
    }

    pub(super) fn instance_successor_starting(
        &mut self,
        recorded: &Recorded,
        event: &InstanceSuccessorStarting,
    ) {
        self.change_places(event.instance_id, recorded, |instance| {
            instance.cause = recorded.seq;
            let run = Run {
                id: event.run_id,
                named_at: recorded.at,
                process: None,
                started_at: None,
                healthy_at: None,
            };
            let (deployment, waits) = match instance.wanted {
                Some(wanted) => (wanted.deployment, wanted.deployment.is_some()),
                None => (instance.deployment, false),
            };
            let (spec, side) = (event.spec.clone(), Side::Rising);
            instance.beside = Some(Beside { run, spec, side, deployment, waits, given_up: false });
        });
    }

    pub(super) fn instance_successor_promoted(
        &mut self,
        recorded: &Recorded,
        event: &InstanceSuccessorPromoted,
    ) {
        self.observe_beside(event.instance_id, event.run_id, recorded, |instance| {
            if instance.beside.as_ref().is_some_and(|beside| beside.side == Side::Risen) {
                instance.health = InstanceHealth::Healthy;
                instance.shift();
            }
        });
    }

    pub(super) fn instance_replacement_cancelled(&mut self, recorded: &Recorded, id: InstanceId) {
        self.change_instance(id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.settle();
            if let Some(beside) = instance.beside.as_mut().filter(|beside| beside.is_successor()) {
                beside.side = Side::Retiring;
            }
        });
    }

    pub(super) fn instance_spawned(&mut self, recorded: &Recorded, event: &InstanceSpawned) {
        let instance = Instance {
            id: event.instance_id,
            name: event.name.clone(),
            tenant: event.tenant,
            spec: event.spec.clone(),
            deployment: None,
            created_at: recorded.at,
            changed: recorded.seq,
            cause: recorded.seq,
            desired: Desired::Stopped,
            phase: Phase::Idle,
            run: None,
            restart: None,
            wanted: None,
            health: InstanceHealth::Unknown,
            restart_count: 0,
            failures: 0,
            not_before: None,
            last_exit: None,
            weight: FULL_WEIGHT,
            rest: Rest::Awake,
            beside: None,
        };
        self.instances.index(&instance);
        self.instances.settle(event.instance_id);
        if let Some(before) = self.instances.by_id.insert(event.instance_id, Arc::new(instance)) {
            self.instance_replaced(&before);
        }
        if let Some((tenant, role)) = event.tenant {
            self.tenants.change(tenant, recorded.seq, |tenant| match role {
                Role::Frontend => tenant.frontend = Some(event.instance_id),
                Role::Backend => tenant.backend = Some(event.instance_id),
            });
        }
    }

    /// An instance was registered again under its id: what was listed for the old one goes.
    fn instance_replaced(&mut self, before: &Instance) {
        self.instances.unindex(before);
        if let Some(after) = self.instances.get(before.id).cloned() {
            self.instances.index(&after);
        }
        self.attend_instance(before.id);
    }

    pub(super) fn instance_respecified(&mut self, recorded: &Recorded, event: &InstanceRespecified) {
        let Some(before) = self.instances.get(event.instance_id).cloned() else { return };
        self.instances.unindex_port(&before);
        self.change_instance(event.instance_id, recorded, |instance| {
            instance.spec = event.spec.clone();
            instance.deployment = event.deployment_id;
        });
        if let Some(after) = self.instances.get(event.instance_id).cloned() {
            self.instances.index(&after);
        }
    }

    pub(super) fn instance_start_requested(&mut self, recorded: &Recorded, id: InstanceId) {
        self.change_instance(id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.start(Rest::Awake);
        });
    }

    pub(super) fn instance_woken(&mut self, recorded: &Recorded, id: InstanceId) {
        self.change_instance(id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.start(Rest::Waking);
        });
    }

    pub(super) fn instance_fell_asleep(&mut self, recorded: &Recorded, id: InstanceId) {
        self.change_instance(id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.stop(Rest::Asleep);
        });
    }

    pub(super) fn instance_weight_changed(&mut self, recorded: &Recorded, event: &InstanceWeightChanged) {
        self.change_instance(event.instance_id, recorded, |instance| instance.weight = event.weight);
    }

    pub(super) fn instance_stop_requested(&mut self, recorded: &Recorded, id: InstanceId) {
        self.change_instance(id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.stop(Rest::Awake);
        });
    }

    pub(super) fn instance_restart_requested(
        &mut self,
        recorded: &Recorded,
        event: &InstanceRestartRequested,
    ) {
        self.change_instance(event.instance_id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.desired = Desired::Running;
            instance.rest = Rest::Awake;
            if event.reason != RestartReason::Unhealthy {
                instance.failures = 0;
                instance.not_before = None;
            }
            let wanted = event.release.map(|release| Wanted { release, deployment: event.deployment_id });
            match instance.phase {
                // What a deployment has begun replaces it anyway.
                Phase::Running if instance.wanted.is_some() && wanted.is_none() => {}
                Phase::Starting | Phase::Running | Phase::Stopping => {
                    instance.restart = Some(event.reason);
                    instance.wanted = wanted;
                }
                Phase::Idle | Phase::Backoff | Phase::Failed => instance.phase = Phase::Idle,
            }
        });
    }

    pub(super) fn instance_removal_requested(&mut self, recorded: &Recorded, id: InstanceId) {
        self.change_instance(id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.desired = Desired::Removed;
            instance.rest = Rest::Awake;
            instance.settle();
        });
    }

    pub(super) fn instance_starting(&mut self, recorded: &Recorded, event: &InstanceStarting) {
        self.change_instance(event.instance_id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.phase = Phase::Starting;
            instance.settle();
            instance.not_before = None;
            instance.health = InstanceHealth::Unknown;
            instance.run = Some(Run {
                id: event.run_id,
                named_at: recorded.at,
                process: None,
                started_at: None,
                healthy_at: None,
            });
        });
    }

    pub(super) fn instance_started(&mut self, recorded: &Recorded, event: &InstanceStarted) {
        let mark = ProcessMark { pid: event.pid, start_ticks: event.start_ticks };
        let is_present = self.observe(event.instance_id, event.run_id, recorded, |instance| {
            instance.cause = recorded.seq;
            if let Some(run) = &mut instance.run {
                run.process = Some(mark);
                run.started_at = Some(recorded.at);
            }
        });
        if !is_present {
            self.observe_beside(event.instance_id, event.run_id, recorded, |instance| {
                if let Some(beside) = &mut instance.beside {
                    beside.run.process = Some(mark);
                    beside.run.started_at = Some(recorded.at);
                }
            });
        }
    }

    /// A run that goes on as another process; one that was merely found again is what it was.
    pub(super) fn instance_adopted(&mut self, recorded: &Recorded, event: &InstanceAdopted) {
        let Some(start_ticks) = event.start_ticks else { return };
        let started = InstanceStarted {
            instance_id: event.instance_id,
            run_id: event.run_id,
            pid: event.pid,
            start_ticks,
        };
        self.instance_started(recorded, &started);
    }

    pub(super) fn instance_start_failed(&mut self, recorded: &Recorded, event: &InstanceStartFailed) {
        let exit = LastExit { status: None, at: recorded.at, reason: Some(event.reason.clone()) };
        let is_present = self.observe(event.instance_id, event.run_id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.close_run();
            instance.settle();
            instance.last_exit = Some(exit.clone());
        });
        if !is_present {
            self.beside_is_over(recorded, event.instance_id, event.run_id, &exit);
        }
    }

    /// The end of a run beside the present one. One that did not come up leaves the present run
    /// serving.
    fn beside_is_over(&mut self, recorded: &Recorded, id: InstanceId, run: RunId, exit: &LastExit) {
        self.observe_beside(id, run, recorded, |instance| {
            let ended = instance.beside.take();
            if ended.is_some_and(|beside| beside.is_successor() || beside.given_up) {
                instance.settle();
                instance.last_exit = Some(exit.clone());
            }
        });
    }

    pub(super) fn instance_health_changed(&mut self, recorded: &Recorded, event: &InstanceHealthChanged) {
        let is_present = self.observe(event.instance_id, event.run_id, recorded, |instance| {
            instance.health = event.health;
            if event.health == InstanceHealth::Healthy {
                if instance.rest == Rest::Waking {
                    instance.rest = Rest::Awake;
                }
                if instance.phase == Phase::Starting {
                    instance.phase = Phase::Running;
                    instance.cause = recorded.seq;
                }
                if let Some(run) = &mut instance.run {
                    run.healthy_at.get_or_insert(recorded.at);
                }
            } else {
                instance.cause = recorded.seq;
            }
        });
        if is_present {
            return;
        }
        self.observe_beside(event.instance_id, event.run_id, recorded, |instance| {
            let Some(beside) = &mut instance.beside else { return };
            match (beside.side, event.health) {
                (Side::Rising, InstanceHealth::Healthy) if instance.desired == Desired::Running => {
                    beside.run.healthy_at.get_or_insert(recorded.at);
                    if beside.waits {
                        beside.side = Side::Risen;
                    } else {
                        instance.health = InstanceHealth::Healthy;
                        instance.shift();
                    }
                }
                (Side::Rising, InstanceHealth::Unhealthy) => {
                    beside.side = Side::Retiring;
                    beside.given_up = true;
                }
                _ => {}
            }
        });
    }

    pub(super) fn instance_stopping(&mut self, recorded: &Recorded, event: &InstanceStopping) {
        let is_present = self.observe(event.instance_id, event.run_id, recorded, |instance| {
            instance.phase = Phase::Stopping;
        });
        if !is_present {
            self.observe_beside(event.instance_id, event.run_id, recorded, |instance| {
                if let Some(beside) = &mut instance.beside {
                    beside.side = Side::Stopping;
                }
            });
        }
    }

    pub(super) fn instance_exited(&mut self, recorded: &Recorded, event: &InstanceExited) {
        let InstanceExited { instance_id: id, run_id: run, .. } = *event;
        let exit = LastExit { status: Some(event.status), at: event.exited_at, reason: None };
        // Its ports stay its own unless another run is there to take its place.
        let is_alone = |instance: &Instance| instance.is_run(run) && instance.beside.is_none();
        if self.change_instance_if(id, recorded, is_alone, |instance| instance.exit(recorded, &exit)) {
            return;
        }
        let Some(instance) = self.instances.get(id) else { return };
        if instance.side_of(run).is_some() {
            self.beside_is_over(recorded, id, run, &exit);
        } else if instance.is_run(run) {
            self.change_places(id, recorded, |instance| instance.exit(recorded, &exit));
        }
    }

    pub(super) fn instance_restart_scheduled(
        &mut self,
        recorded: &Recorded,
        event: &InstanceRestartScheduled,
    ) {
        self.change_instance(event.instance_id, recorded, |instance| {
            instance.cause = recorded.seq;
            instance.phase = Phase::Backoff;
            instance.not_before = Some(event.not_before);
            instance.failures = event.failures;
            instance.restart_count = instance.restart_count.saturating_add(1);
        });
    }

    pub(super) fn instance_ended(&mut self, recorded: &Recorded, event: &InstanceEnded) {
        self.change_instance(event.instance_id, recorded, |instance| {
            instance.phase = if event.failed { Phase::Failed } else { Phase::Idle };
            // A wish to remove it outlives the end of its process.
            if !event.failed && instance.desired == Desired::Running {
                instance.desired = Desired::Stopped;
            }
        });
    }

    pub(super) fn instance_removed(&mut self, id: InstanceId) {
        self.instances.settle(id);
        let Some(instance) = self.instances.by_id.remove(&id) else { return };
        self.instances.unindex(&instance);
        self.instances.gone.insert(id, instance.name.clone());
        self.attention.remove(&Attention::Instance(id));
        if let Some((tenant, role)) = instance.tenant {
            let changed = self.seq;
            self.tenants.change(tenant, changed, |tenant| {
                let held = match role {
                    Role::Frontend => &mut tenant.frontend,
                    Role::Backend => &mut tenant.backend,
                };
                // Its successor may have been registered before it was gone.
                if *held == Some(id) {
                    *held = None;
                }
            });
        }
    }
}
