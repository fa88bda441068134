//! What stands between tenants and the world: nginx sites and certificates.

use serde::{Deserialize, Serialize};

use crate::id::TenantId;
use crate::name::Domain;
use crate::sealed::Sealed;
use crate::time::Timestamp;

/// Somebody had nginx take its configuration on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NginxReloaded {}

/// A tenant's sites were written anew outside of a deployment, since what they say had changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteConfigured {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Whether they are served by TLS.
    pub tls: bool,
}

/// Who signs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    /// An ACME authority.
    Acme,
    /// Itself.
    SelfSigned,
}

impl Signer {
    /// Its name in the configuration, in answers and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Signer::Acme => "acme",
            Signer::SelfSigned => "self-signed",
        }
    }
}

/// A certificate is about to be asked for; counted against the limit of orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateRequested {
    /// For whom.
    pub tenant_id: TenantId,
    /// Whom.
    pub signer: Signer,
}

/// A certificate lies in the data directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateIssued {
    /// For whom.
    pub tenant_id: TenantId,
    /// By whom.
    pub signer: Signer,
    /// The names that it is good for, the tenant's domain first.
    pub names: Sealed<Vec<Domain>>,
    /// What it says about who signed it.
    pub issuer: String,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// Names its directory below the tenant's.
    pub version: String,
}

/// No certificate came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateFailed {
    /// For whom.
    pub tenant_id: TenantId,
    /// A sentence: why not.
    pub detail: Sealed<String>,
    /// Not to be tried again by itself before.
    pub retry_at: Timestamp,
    /// Not to be tried again by anybody before: the authority said so.
    pub barred_until: Option<Timestamp>,
}
