//! Tenants: who they are, what they are called, that they are gone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, Seq, TenantId};
use crate::name::{Domain, Slug};
use crate::sealed::{Sealed, Secret};
use crate::time::Timestamp;

/// What a tenant is called and where it comes from; all of it sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantDetails {
    /// Display name.
    pub name: String,
    /// Short name; names the directory and the instances.
    pub slug: Slug,
    /// Where its frontend is served.
    pub domain: Domain,
    /// Where its backend is served.
    pub api_domain: Option<Domain>,
    /// What is deployed: a git address, or `file://` and a directory.
    pub github_repo: Option<String>,
    /// An operator's remarks.
    pub notes: Option<String>,
    /// Absolute path of the tenant's directory.
    pub directory: String,
}

/// A tenant exists. Its key exists from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantCreated {
    /// The new tenant.
    pub tenant_id: TenantId,
    /// What it is called.
    pub details: Sealed<TenantDetails>,
}

/// The details were replaced: the whole of them as they are from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantUpdated {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The names of the fields that differ from before.
    pub changed: Vec<String>,
    /// The details after the change.
    pub details: Sealed<TenantDetails>,
}

/// What deletion removes beside the tenant itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The tenant's directory.
    pub files: bool,
    /// Its nginx sites.
    pub nginx: bool,
    /// Its services (systemd units or supervised instances). When not removed they are
    /// stopped all the same: a deleted tenant runs nothing.
    pub services: bool,
}

/// Somebody wants the tenant gone; what is outside the journal is removed first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantDeletionRequested {
    /// The tenant.
    pub tenant_id: TenantId,
    /// What to remove.
    pub remove: Removal,
}

/// The tenant is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantDeleted {
    /// The tenant.
    pub tenant_id: TenantId,
    /// What was really removed.
    pub removed: Removal,
}

/// A backup that a tenant's own API made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// Where it says that the backup lies.
    pub path: String,
    /// Its size in MB (10^6 bytes), when it told that.
    pub size_mb: Option<f64>,
}

/// Somebody had the tenant's own API make a backup, and it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantBackedUp {
    /// The tenant.
    pub tenant_id: TenantId,
    /// What it made.
    pub backup: Sealed<Backup>,
}

/// The application's configuration; unset fields are derived from the tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TenantConfig {
    /// Fields of document 1 by name, as far as somebody set them.
    pub fields: BTreeMap<String, String>,
    /// Further environment variables, replaced whole.
    pub custom_env: BTreeMap<String, Secret>,
    /// Names among them that somebody called secret, whatever they look like.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secret_env: BTreeSet<String>,
}

/// The configuration was replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantConfigUpdated {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The names of the fields that differ from before.
    pub changed: Vec<String>,
    /// The whole configuration from here on.
    pub config: Sealed<TenantConfig>,
}

/// Somebody wants what is known of the tenant forgotten for good, once the tenant is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErasureRequested {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Tenants that were there before it in its directory. What lies there is not theirs, and later
    /// nobody can tell any more which directory it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub displaced: Vec<TenantId>,
}

/// The tenant's key is destroyed: what was sealed under it is unreadable in every copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantErased {
    /// The tenant.
    pub tenant_id: TenantId,
}

/// A part of a tenant that can be brought back by itself.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[schemars(rename = "TenantPart")]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What it is called, where it is served and comes from, and the remarks.
    Details,
    /// Its configuration.
    Config,
    /// Its look.
    Theme,
    /// Its two ports.
    Ports,
    /// The release that serves, and whether its processes run.
    Release,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 5] = [Part::Details, Part::Config, Part::Theme, Part::Ports, Part::Release];
}

/// Something that a tenant had and that somebody else holds by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// What it is: `slug`, `domain`, `api_domain`, `frontend_port`, `backend_port`.
    pub field: String,
    /// What the tenant had.
    pub wanted: String,
    /// Which tenant holds it; `None` when it is no tenant.
    pub held_by: Option<TenantId>,
    /// What it gets instead; `None` when it goes without.
    pub resolution: Option<String>,
}

/// Something that did not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NotRestored {
    /// What.
    pub field: String,
    /// A sentence about why, without anything personal.
    pub reason: String,
}

/// A release whose files are still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRelease {
    /// Its number.
    pub number: u32,
    /// The deployment that made it.
    pub deployment_id: DeploymentId,
    /// When its files were whole.
    pub made_at: Timestamp,
    /// Commit of its files, when they came from git.
    pub commit: Option<String>,
    /// Whether it ever served.
    pub served: bool,
}

/// What a tenant that had been deleted begins with again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revived {
    /// What it is called.
    pub details: Sealed<TenantDetails>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Number of releases that were begun.
    pub releases: u32,
    /// Those whose files are there.
    pub kept: Vec<KeptRelease>,
}

/// Somebody brought the tenant back to what it was; the events of the same command after this
/// one say what that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantRestored {
    /// The tenant.
    pub tenant_id: TenantId,
    /// To what it was right after this event.
    pub as_of: Seq,
    /// Which parts of it.
    pub include: BTreeSet<Part>,
    /// Set when it had been deleted.
    pub revived: Option<Revived>,
    /// What somebody else held, and what it got instead.
    pub conflicts: Sealed<Vec<Conflict>>,
    /// What did not come back.
    pub not_restored: Vec<NotRestored>,
}
