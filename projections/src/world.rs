//! The state of everything at one position of the journal.
//!
//! A [`World`] is made of persistent maps, so cloning it costs nothing to speak of: readers,
//! dry runs and previews each take a clone. [`World::evolve`] is the only way it changes; it
//! cannot fail, because facts happened, and it knows no clock and no I/O. An event that speaks
//! of something this World does not hold changes nothing.
//!
//! Fields marked `serde(skip)` are indexes. They may hold opened personal data, so they are
//! never written to a snapshot but rebuilt by [`World::reindex`].

pub mod access;
pub mod deployments;
pub mod instances;
pub mod ports;
pub mod releases;
pub mod requests;
pub mod tenants;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::id::{DeploymentId, InstanceId, Seq, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_journal::time::Timestamp;

use access::Access;
use deployments::Deployments;
use instances::Instances;
use ports::Ports;
use requests::Requests;
use tenants::Tenants;

/// Something that the world outside may still lack; the reactor looks at these alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    /// What is wished and what is observed of this instance differ.
    Instance(InstanceId),
    /// This deployment has not ended.
    Deployment(DeploymentId),
    /// This tenant is being deleted.
    Tenant(TenantId),
}

/// A process that is unique on this machine until the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Process id.
    pub pid: u32,
    /// Start of the process in clock ticks since boot.
    pub start_ticks: u64,
}

/// A setting as somebody set it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its value.
    pub value: Sealed<Secret>,
    /// When it was set.
    pub updated_at: Timestamp,
    /// The event that set it.
    pub changed: Seq,
}

/// Everything, at one position.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// Position of the last event folded in.
    pub seq: Seq,
    /// Time of that event.
    pub at: Timestamp,
    /// Boot id of the machine when the control plane last started.
    pub boot_id: String,
    /// The keeper that answered last and was not lost since.
    pub keeper: Option<ProcessMark>,
    /// The customers.
    pub tenants: Tenants,
    /// Who holds which ports.
    pub ports: Ports,
    /// The processes.
    pub instances: Instances,
    /// The deployments, the last few of each tenant.
    pub deployments: Deployments,
    /// Users and tokens.
    pub access: Access,
    /// Settings that somebody set, by key.
    pub settings: OrdMap<String, Setting>,
    /// Requests that carried an idempotency key, the recent ones.
    pub requests: Requests,
    /// What the reactor has to look at.
    #[serde(skip)]
    pub attention: OrdSet<Attention>,
}

impl World {
    /// Folds one event in.
    pub fn evolve(&mut self, recorded: &Recorded) {
        self.seq = recorded.seq;
        self.at = recorded.at;
        self.requests.note(recorded);
        match &recorded.event {
            Event::SystemStarted(event) => self.boot_id.clone_from(&event.boot_id),
            Event::KeeperConnected(event) => {
                self.keeper = Some(ProcessMark { pid: event.pid, start_ticks: event.start_ticks });
            }
            Event::KeeperLost(_) => self.keeper = None,
            Event::ConfigChanged(_) => {}

            Event::TenantCreated(event) => self.tenant_created(recorded, event),
            Event::TenantUpdated(event) => self.tenant_updated(recorded, event),
            Event::TenantConfigUpdated(event) => self.tenant_config_updated(recorded, event),
            Event::TenantDeletionRequested(event) => self.tenant_deletion_requested(recorded, event),
            Event::TenantDeleted(event) => self.tenant_deleted(event.tenant_id),
            Event::ThemeUpdated(event) => self.theme_updated(recorded, event),
            Event::HealthChanged(event) => self.health_changed(recorded, event),

            Event::PortAllocated(event) => self.port_allocated(recorded, event),
            Event::PortReleased(event) => self.port_released(recorded, event),

            Event::InstanceSpawned(event) => self.instance_spawned(recorded, event),
            Event::InstanceRespecified(event) => self.instance_respecified(recorded, event),
            Event::InstanceStartRequested(event) => {
                self.instance_start_requested(recorded, event.instance_id)
            }
            Event::InstanceStopRequested(event) => self.instance_stop_requested(recorded, event.instance_id),
            Event::InstanceRestartRequested(event) => self.instance_restart_requested(recorded, event),
            Event::InstanceRemovalRequested(event) => {
                self.instance_removal_requested(recorded, event.instance_id);
            }
            Event::InstanceStarting(event) => self.instance_starting(recorded, event),
            Event::InstanceSuccessorStarting(event) => self.instance_successor_starting(recorded, event),
            Event::InstanceSuccessorPromoted(event) => self.instance_successor_promoted(recorded, event),
            Event::InstanceReplacementCancelled(event) => {
                self.instance_replacement_cancelled(recorded, event.instance_id);
            }
            Event::InstanceStarted(event) => self.instance_started(recorded, event),
            Event::InstanceStartFailed(event) => self.instance_start_failed(recorded, event),
            Event::InstanceHealthChanged(event) => self.instance_health_changed(recorded, event),
            Event::InstanceStopping(event) => self.instance_stopping(recorded, event),
            Event::InstanceExited(event) => self.instance_exited(recorded, event),
            Event::InstanceRestartScheduled(event) => self.instance_restart_scheduled(recorded, event),
            Event::InstanceEnded(event) => self.instance_ended(recorded, event),
            Event::InstanceAdopted(_) => {}
            Event::InstanceWeightChanged(event) => self.instance_weight_changed(recorded, event),
            Event::InstanceFellAsleep(event) => self.instance_fell_asleep(recorded, event.instance_id),
            Event::InstanceWoken(event) => self.instance_woken(recorded, event.instance_id),
            Event::InstanceRemoved(event) => self.instance_removed(event.instance_id),

            Event::DeploymentRequested(event) => self.deployment_requested(recorded, event),
            Event::StepStarted(event) => self.step_started(recorded, event),
            Event::StepFinished(event) => self.step_finished(recorded, event),
            Event::StepRolledBack(event) => self.step_rolled_back(recorded, event),
            Event::ReleaseActivated(event) => self.release_activated(recorded, event),
            Event::DeploymentCancelRequested(event) => self.deployment_cancel_requested(recorded, event),
            Event::DeploymentRetried(event) => self.deployment_retried(recorded, event),
            Event::ReleasesPruned(event) => self.releases_pruned(recorded, event),
            Event::DeploymentFinished(event) => self.deployment_finished(recorded, event),

            Event::SettingChanged(event) => {
                let setting =
                    Setting { value: event.value.clone(), updated_at: recorded.at, changed: recorded.seq };
                self.settings.insert(event.key.clone(), setting);
            }

            Event::UserCreated(event) => self.access.user_created(recorded, event),
            Event::UserPasswordChanged(event) => self.access.user_password_changed(recorded, event),
            Event::TokenCreated(event) => self.access.token_created(recorded, event),
            Event::TokenRevoked(event) => self.access.token_revoked(event),
        }
    }

    /// Rebuilds every index from the fields that are stored; call it on a World that was
    /// read from a snapshot.
    pub fn reindex(&mut self) {
        self.reindex_names();
        self.reindex_attention();
    }

    /// The part that opens names, and needs no deployments.
    pub(crate) fn reindex_names(&mut self) {
        self.tenants.reindex();
        self.ports.reindex();
        self.instances.reindex();
        self.access.reindex();
    }

    pub(crate) fn reindex_attention(&mut self) {
        self.attention = OrdSet::new();
        let instances: Vec<InstanceId> = self.instances.iter().map(|instance| instance.id).collect();
        for id in instances {
            self.attend_instance(id);
        }
        for deployment in self.deployments.iter().filter(|deployment| !deployment.is_over()) {
            self.attention.insert(Attention::Deployment(deployment.id));
        }
        for tenant in self.tenants.iter().filter(|tenant| tenant.deletion.is_some()) {
            self.attention.insert(Attention::Tenant(tenant.id));
        }
    }
}
