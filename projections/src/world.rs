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
pub mod certificates;
pub mod configurations;
pub mod deployments;
pub mod erasures;
pub mod instances;
pub mod ports;
pub mod releases;
pub mod requests;
pub mod settings;
pub mod tenants;
pub mod themes;

use imbl::OrdSet;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::id::{AnalysisId, DeploymentId, InstanceId, Seq, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::time::Timestamp;

use access::Access;
use configurations::Configurations;
use deployments::Deployments;
use erasures::Erasures;
use instances::Instances;
use ports::Ports;
use requests::Requests;
use settings::Settings;
use tenants::Tenants;
use themes::Analyses;

/// Something that the world outside may still lack; the reactor looks at these alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    /// What is wished and what is observed of this instance differ.
    Instance(InstanceId),
    /// This deployment has not ended.
    Deployment(DeploymentId),
    /// This tenant is being deleted.
    Tenant(TenantId),
    /// This tenant's directory does not show its theme.
    Theme(TenantId),
    /// This analysis has not ended.
    Analysis(AnalysisId),
    /// This tenant's `.env` file is to be written.
    EnvFile(TenantId),
    /// What is known of this tenant, which is gone or going, is to be forgotten.
    Erasure(TenantId),
}

/// A process that is unique on this machine until the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Process id.
    pub pid: u32,
    /// Start of the process in clock ticks since boot.
    pub start_ticks: u64,
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
    /// Version of the program that began to serve last; empty before the first.
    pub version: String,
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
    /// Looks at customers' websites, the last few of each tenant.
    pub analyses: Analyses,
    /// Users and tokens.
    pub access: Access,
    /// Settings that somebody set, by key.
    pub settings: Settings,
    /// What is noted of tenants' configurations.
    pub configurations: Configurations,
    /// Tenants that are to be forgotten, or were.
    pub erasures: Erasures,
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
            Event::SystemStarted(event) => {
                self.boot_id.clone_from(&event.boot_id);
                self.version.clone_from(&event.version);
            }
            Event::KeeperConnected(event) => {
                self.keeper = Some(ProcessMark { pid: event.pid, start_ticks: event.start_ticks });
            }
            Event::KeeperLost(_) => self.keeper = None,
            Event::ConfigChanged(_)
            | Event::AccessDenied(_)
            | Event::LoginFailed(_)
            | Event::DenialsUnrecorded(_) => {}

            Event::TenantCreated(event) => {
                self.tenant_created(recorded, event);
                self.configuration_forgotten(event.tenant_id);
                self.configuration_changed(recorded.seq, event.tenant_id);
            }
            Event::TenantUpdated(event) => {
                self.tenant_updated(recorded, event);
                self.configuration_changed(recorded.seq, event.tenant_id);
            }
            Event::TenantConfigUpdated(event) => {
                self.tenant_config_updated(recorded, event);
                self.configuration_changed(recorded.seq, event.tenant_id);
            }
            Event::EnvRequested(event) => self.env_requested(recorded.seq, event.tenant_id),
            Event::EnvWritten(event) => self.env_answered(event.tenant_id, event.answers),
            Event::EnvFailed(event) => self.env_answered(event.tenant_id, event.answers),
            Event::TenantDeletionRequested(event) => self.tenant_deletion_requested(recorded, event),
            Event::TenantDeleted(event) => {
                self.tenant_deleted(recorded, event);
                self.configuration_forgotten(event.tenant_id);
            }
            Event::TenantRestored(event) => {
                self.tenant_restored(recorded, event);
                if event.revived.is_some() {
                    self.configuration_forgotten(event.tenant_id);
                }
                self.configuration_changed(recorded.seq, event.tenant_id);
            }
            Event::ErasureRequested(event) => {
                self.erasure_requested(recorded.seq, event.tenant_id);
                event.displaced.iter().for_each(|id| self.tenants.displace(*id));
            }
            Event::TenantErased(event) => self.tenant_erased(recorded.seq, event.tenant_id),
            Event::TenantBackedUp(_) => {}
            Event::ThemeUpdated(event) => self.theme_updated(recorded, event),
            Event::ThemeApplied(event) => self.theme_applied(event),
            Event::AnalysisRequested(event) => self.analysis_requested(recorded, event),
            Event::AnalysisStarted(event) => self.analysis_started(recorded, event),
            Event::AnalysisCompleted(event) => self.analysis_completed(recorded, event),
            Event::AnalysisFailed(event) => self.analysis_failed(recorded, event),
            Event::HealthChanged(event) => self.health_changed(recorded, event),

            Event::PortAllocated(event) => {
                self.port_allocated(recorded, event);
                self.configuration_changed(recorded.seq, event.tenant_id);
            }
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
            Event::InstanceAdopted(event) => self.instance_adopted(recorded, event),
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

            Event::NginxReloaded(_) | Event::SiteConfigured(_) => {}
            Event::CertificateRequested(event) => self.certificate_requested(recorded, event),
            Event::CertificateIssued(event) => self.certificate_issued(recorded, event),
            Event::CertificateFailed(event) => self.certificate_failed(recorded, event),

            Event::SettingChanged(event) => self.settings.changed(recorded, event),
            Event::SettingCleared(event) => self.settings.cleared(&event.key),

            Event::UserCreated(event) => self.access.user_created(recorded, event),
            Event::UserPasswordChanged(event) => self.access.user_password_changed(recorded, event),
            Event::UserUpdated(event) => self.access.user_updated(recorded, event),
            Event::UserDeleted(event) => self.access.user_deleted(event.user_id),
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
        for tenant in self.tenants.iter().filter(|tenant| tenant.theme.applied < tenant.theme.changed) {
            self.attention.insert(Attention::Theme(tenant.id));
        }
        for analysis in self.analyses.iter().filter(|analysis| !analysis.is_over()) {
            self.attention.insert(Attention::Analysis(analysis.id));
        }
        self.attention.extend(self.configurations.wanted().map(Attention::EnvFile).collect::<Vec<_>>());
        self.attention.extend(self.erasures.wanted().map(Attention::Erasure).collect::<Vec<_>>());
    }
}
