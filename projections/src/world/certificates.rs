//! Tenants' certificates: the one that holds, and what came of asking for the next.

use serde::{Deserialize, Serialize};
use tenantry_journal::event::site::{CertificateFailed, CertificateIssued, CertificateRequested, Signer};
use tenantry_journal::name::Domain;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;

use super::World;

/// Orders are counted within an hour.
const HOUR_MS: u64 = 3_600_000;
/// More orders than any limit are not remembered.
const MOST_ORDERS: usize = 32;

/// A certificate that lies in the data directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Who signed it.
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

/// A tenant's certificate, and what came of asking for one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tls {
    /// The one that holds.
    pub certificate: Option<Certificate>,
    /// When the orders of the last hour were placed, oldest first.
    pub orders: Vec<Timestamp>,
    /// How often in a row none came of it.
    pub failures: u32,
    /// Not to be tried by itself before.
    pub retry_at: Option<Timestamp>,
    /// Not to be tried by anybody before.
    pub barred_until: Option<Timestamp>,
}

impl World {
    pub(super) fn certificate_requested(&mut self, recorded: &Recorded, event: &CertificateRequested) {
        if event.signer == Signer::SelfSigned {
            return;
        }
        self.tenants.change_quietly(event.tenant_id, |tenant| {
            let orders = &mut tenant.tls.orders;
            orders.retain(|at| recorded.at.since_ms(*at) < HOUR_MS);
            if orders.len() < MOST_ORDERS {
                orders.push(recorded.at);
            }
        });
    }

    pub(super) fn certificate_issued(&mut self, recorded: &Recorded, event: &CertificateIssued) {
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| {
            tenant.tls.certificate = Some(Certificate {
                signer: event.signer,
                names: event.names.clone(),
                issuer: event.issuer.clone(),
                not_before: event.not_before,
                not_after: event.not_after,
                version: event.version.clone(),
            });
            tenant.tls.failures = 0;
            tenant.tls.retry_at = None;
            tenant.tls.barred_until = None;
        });
    }

    pub(super) fn certificate_failed(&mut self, _: &Recorded, event: &CertificateFailed) {
        self.tenants.change_quietly(event.tenant_id, |tenant| {
            tenant.tls.failures = tenant.tls.failures.saturating_add(1);
            tenant.tls.retry_at = Some(event.retry_at);
            tenant.tls.barred_until = event.barred_until;
        });
    }
}
