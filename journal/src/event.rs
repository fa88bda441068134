//! The vocabulary: every fact that the journal can hold, past tense.
//!
//! One table below ties each kind's name and version to its type. A name is never used
//! again for another meaning, a field never changes its meaning; a field may be added
//! with a default, anything else is a new version and an upcaster (see `upcast`).

pub mod access;
pub mod configuration;
pub mod deployment;
pub mod health;
pub mod instance;
pub mod port;
pub mod setting;
pub mod site;
pub mod system;
pub mod tenant;
pub mod theme;

use serde::{Serialize, Serializer};

use crate::codec::fields::from_slice;
use crate::id::KeyId;

/// An event's bytes are not what its kind and version say.
#[derive(Debug, thiserror::Error)]
pub enum BadEvent {
    /// Written by a newer program, or damaged: this program has no such kind.
    #[error("event kind '{kind}' is unknown to this version of tenantry")]
    UnknownKind {
        /// The kind as stored.
        kind: String,
    },
    /// The kind is known, but the event was written by a newer program.
    #[error("event kind '{kind}' has version {version}, this version of tenantry knows up to {known}")]
    FutureVersion {
        /// The kind as stored.
        kind: String,
        /// The version as stored.
        version: u16,
        /// The newest version that this program reads.
        known: u16,
    },
    /// The fields do not decode.
    #[error("the fields of event kind '{kind}' do not decode")]
    Fields {
        /// The kind as stored.
        kind: String,
        /// What the decoder says.
        #[source]
        source: rmp_serde::decode::Error,
    },
}

macro_rules! vocabulary {
    ($($kind:literal $version:literal => $variant:ident($type:ty);)+) => {
        /// One fact.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $(#[doc = concat!("`", $kind, "`")] $variant($type),)+
        }

        impl Event {
            /// Every kind with its current version, in the order of the table.
            pub const KINDS: &'static [(&'static str, u16)] = &[$(($kind, $version)),+];

            /// The kind's name on the wire and in storage.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Event::$variant(_) => $kind),+ }
            }

            /// The version in which this program writes this kind.
            #[must_use]
            pub fn version(&self) -> u16 {
                match self { $(Event::$variant(_) => $version),+ }
            }

            /// The version in which this program writes `kind`; `None` when it has no such kind.
            #[must_use]
            pub fn version_of(kind: &str) -> Option<u16> {
                match kind {
                    $($kind => Some($version),)+
                    _ => None,
                }
            }

            /// Appends the event's fields to `out` as a MessagePack named map.
            ///
            /// # Errors
            /// When a sealed field's key is not in scope (`with_vault`).
            pub fn encode_fields(&self, out: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
                let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
                match self { $(Event::$variant(event) => event.serialize(&mut serializer)),+ }
            }

            /// Decodes fields that were written in this program's version of `kind`.
            ///
            /// # Errors
            /// When the kind is unknown or the bytes do not decode.
            pub fn decode_fields(kind: &str, fields: &[u8]) -> Result<Event, BadEvent> {
                match kind {
                    $($kind => from_slice(fields).map(Event::$variant).map_err(|source| {
                        BadEvent::Fields { kind: kind.to_owned(), source }
                    }),)+
                    _ => Err(BadEvent::UnknownKind { kind: kind.to_owned() }),
                }
            }
        }

        /// The event's fields alone, as the `data` of the wire format.
        impl Serialize for Event {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Event::$variant(event) => event.serialize(serializer)),+ }
            }
        }

        $(impl From<$type> for Event {
            fn from(event: $type) -> Event {
                Event::$variant(event)
            }
        })+
    };
}

vocabulary! {
    "system.started" 1 => SystemStarted(system::SystemStarted);
    "system.keeper_connected" 1 => KeeperConnected(system::KeeperConnected);
    "system.keeper_lost" 1 => KeeperLost(system::KeeperLost);

    "tenant.created" 1 => TenantCreated(tenant::TenantCreated);
    "tenant.updated" 1 => TenantUpdated(tenant::TenantUpdated);
    "tenant.deletion_requested" 1 => TenantDeletionRequested(tenant::TenantDeletionRequested);
    "tenant.deleted" 1 => TenantDeleted(tenant::TenantDeleted);
    "tenant.restored" 1 => TenantRestored(tenant::TenantRestored);
    "tenant.erasure_requested" 1 => ErasureRequested(tenant::ErasureRequested);
    "tenant.erased" 1 => TenantErased(tenant::TenantErased);
    "tenant.config_updated" 1 => TenantConfigUpdated(tenant::TenantConfigUpdated);
    "tenant.backed_up" 1 => TenantBackedUp(tenant::TenantBackedUp);
    "tenant.env_requested" 1 => EnvRequested(configuration::EnvRequested);
    "tenant.env_written" 1 => EnvWritten(configuration::EnvWritten);
    "tenant.env_failed" 1 => EnvFailed(configuration::EnvFailed);

    "port.allocated" 1 => PortAllocated(port::PortAllocated);
    "port.released" 1 => PortReleased(port::PortReleased);

    "instance.spawned" 1 => InstanceSpawned(instance::InstanceSpawned);
    "instance.respecified" 1 => InstanceRespecified(instance::InstanceRespecified);
    "instance.start_requested" 1 => InstanceStartRequested(instance::InstanceStartRequested);
    "instance.stop_requested" 1 => InstanceStopRequested(instance::InstanceStopRequested);
    "instance.restart_requested" 1 => InstanceRestartRequested(instance::InstanceRestartRequested);
    "instance.removal_requested" 1 => InstanceRemovalRequested(instance::InstanceRemovalRequested);
    "instance.starting" 1 => InstanceStarting(instance::InstanceStarting);
    "instance.successor_starting" 1 => InstanceSuccessorStarting(instance::InstanceSuccessorStarting);
    "instance.successor_promoted" 1 => InstanceSuccessorPromoted(instance::InstanceSuccessorPromoted);
    "instance.replacement_cancelled" 1 =>
        InstanceReplacementCancelled(instance::InstanceReplacementCancelled);
    "instance.started" 1 => InstanceStarted(instance::InstanceStarted);
    "instance.start_failed" 1 => InstanceStartFailed(instance::InstanceStartFailed);
    "instance.health_changed" 1 => InstanceHealthChanged(instance::InstanceHealthChanged);
    "instance.stopping" 1 => InstanceStopping(instance::InstanceStopping);
    "instance.exited" 1 => InstanceExited(instance::InstanceExited);
    "instance.restart_scheduled" 1 => InstanceRestartScheduled(instance::InstanceRestartScheduled);
    "instance.ended" 1 => InstanceEnded(instance::InstanceEnded);
    "instance.adopted" 1 => InstanceAdopted(instance::InstanceAdopted);
    "instance.weight_changed" 1 => InstanceWeightChanged(instance::InstanceWeightChanged);
    "instance.fell_asleep" 1 => InstanceFellAsleep(instance::InstanceFellAsleep);
    "instance.woken" 1 => InstanceWoken(instance::InstanceWoken);
    "instance.removed" 1 => InstanceRemoved(instance::InstanceRemoved);

    "deployment.requested" 1 => DeploymentRequested(deployment::DeploymentRequested);
    "deployment.step_started" 1 => StepStarted(deployment::StepStarted);
    "deployment.step_finished" 1 => StepFinished(deployment::StepFinished);
    "deployment.step_rolled_back" 1 => StepRolledBack(deployment::StepRolledBack);
    "deployment.release_activated" 1 => ReleaseActivated(deployment::ReleaseActivated);
    "deployment.cancel_requested" 1 => DeploymentCancelRequested(deployment::DeploymentCancelRequested);
    "deployment.retried" 1 => DeploymentRetried(deployment::DeploymentRetried);
    "deployment.releases_pruned" 1 => ReleasesPruned(deployment::ReleasesPruned);
    "deployment.finished" 1 => DeploymentFinished(deployment::DeploymentFinished);

    "health.changed" 1 => HealthChanged(health::HealthChanged);
    "theme.updated" 1 => ThemeUpdated(theme::ThemeUpdated);
    "theme.applied" 1 => ThemeApplied(theme::ThemeApplied);
    "theme.analysis_requested" 1 => AnalysisRequested(theme::AnalysisRequested);
    "theme.analysis_started" 1 => AnalysisStarted(theme::AnalysisStarted);
    "theme.analysis_completed" 1 => AnalysisCompleted(theme::AnalysisCompleted);
    "theme.analysis_failed" 1 => AnalysisFailed(theme::AnalysisFailed);
    "setting.changed" 1 => SettingChanged(setting::SettingChanged);
    "setting.cleared" 1 => SettingCleared(setting::SettingCleared);

    "user.created" 1 => UserCreated(access::UserCreated);
    "user.password_changed" 1 => UserPasswordChanged(access::UserPasswordChanged);
    "user.updated" 1 => UserUpdated(access::UserUpdated);
    "user.deleted" 1 => UserDeleted(access::UserDeleted);
    "token.created" 1 => TokenCreated(access::TokenCreated);
    "token.revoked" 1 => TokenRevoked(access::TokenRevoked);

    "access.denied" 1 => AccessDenied(access::AccessDenied);
    "access.login_failed" 1 => LoginFailed(access::LoginFailed);
    "access.unrecorded" 1 => DenialsUnrecorded(access::DenialsUnrecorded);

    "config.changed" 1 => ConfigChanged(system::ConfigChanged);

    "nginx.reloaded" 1 => NginxReloaded(site::NginxReloaded);
    "site.configured" 1 => SiteConfigured(site::SiteConfigured);
    "certificate.requested" 1 => CertificateRequested(site::CertificateRequested);
    "certificate.issued" 1 => CertificateIssued(site::CertificateIssued);
    "certificate.failed" 1 => CertificateFailed(site::CertificateFailed);
}

impl Event {
    /// The key that this event brings into being, made durable with it.
    #[must_use]
    pub fn new_key(&self) -> Option<KeyId> {
        match self {
            Event::TenantCreated(created) => Some(created.tenant_id.into()),
            Event::UserCreated(created) => Some(created.user_id.into()),
            _ => None,
        }
    }
}
