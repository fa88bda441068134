//! Rules for certificates: how often one may be asked for, when the next try is due, and when
//! one is renewed.

use tenantry_journal::event::Event;
use tenantry_journal::event::site::{
    CertificateFailed, CertificateIssued, CertificateRequested, Signer, SiteConfigured,
};
use tenantry_journal::id::TenantId;
use tenantry_journal::name::Domain;
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::certificates::Certificate;

use super::ctx::Ctx;
use super::rejection::Rejection;
use super::tenant::existing;

/// Orders of one tenant within an hour; Let's Encrypt takes five failed ones of an account.
const ORDERS_PER_HOUR: usize = 5;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// The wait after the first failure, doubled with each further one.
const FIRST_WAIT_MS: u64 = 60_000;
/// The longest wait: what is broken for long is tried once a day.
const LAST_WAIT_MS: u64 = DAY_MS;
/// What an authority may at most ask for: whatever it says, a year is nonsense.
const LONGEST_BAR_MS: u64 = 7 * DAY_MS;
/// A certificate is renewed this long before its end, or (a short one) in its last third.
const RENEW_BEFORE_MS: u64 = 30 * DAY_MS;
/// Renewals are spread over this part of that time, so that tenants of one day do not come at once.
const SPREAD: u64 = 10;

/// On whose account a certificate is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A person deploys: no wait of ours delays that.
    ByAPerson,
    /// It is due.
    ByItself,
}

/// A certificate that lies in the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obtained {
    /// Who signed it.
    pub signer: Signer,
    /// The names that it is good for, the tenant's domain first.
    pub names: Vec<Domain>,
    /// What it says about who signed it.
    pub issuer: String,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// Names its directory below the tenant's.
    pub version: String,
}

/// When a certificate is renewed: the same moment whenever it is asked.
#[must_use]
pub fn renewed_at(not_before: Timestamp, not_after: Timestamp, tenant: TenantId) -> Timestamp {
    let lifetime = not_after.since_ms(not_before);
    let margin = RENEW_BEFORE_MS.min(lifetime / 3);
    let spread = (margin / SPREAD).max(1);
    // The last bits of a version 7 id are random.
    let (_, random) = tenant.0.as_u64_pair();
    Timestamp(not_after.0.saturating_sub(margin).saturating_add(random % spread))
}

/// Whether a certificate is good for these names and not due for renewal.
#[must_use]
pub fn is_current(certificate: &Certificate, names: &[Domain], tenant: TenantId, now: Timestamp) -> bool {
    certificate.names.open().is_some_and(|own| names.iter().all(|name| own.contains(name)))
        && now < renewed_at(certificate.not_before, certificate.not_after, tenant)
}

pub(super) fn site_configured(world: &World, tenant_id: TenantId, tls: bool) -> Vec<Event> {
    let is_there = world.tenants.get(tenant_id).is_some();
    is_there.then(|| SiteConfigured { tenant_id, tls }.into()).into_iter().collect()
}

pub(super) fn request(
    world: &World,
    tenant_id: TenantId,
    signer: Signer,
    asked: Asked,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    let tls = &existing(world, tenant_id)?.tls;
    if signer == Signer::Acme {
        if let Some(until) = tls.barred_until.filter(|until| ctx.now < *until) {
            return Err(Rejection::conflict(
                "certificate_barred",
                format!("the certificate authority wants not to be asked again before {until}"),
                "wait until then",
            ));
        }
        let recent = tls.orders.iter().filter(|at| ctx.now.since_ms(**at) < HOUR_MS).count();
        if recent >= ORDERS_PER_HOUR {
            return Err(Rejection::conflict(
                "too_many_orders",
                format!("{recent} certificates were asked for within an hour, {ORDERS_PER_HOUR} are allowed"),
                "wait an hour, and see what the earlier ones failed of",
            ));
        }
    }
    if asked == Asked::ByItself
        && let Some(until) = tls.retry_at.filter(|until| ctx.now < *until)
    {
        return Err(Rejection::conflict("certificate_waits", format!("the next try is due at {until}"), ""));
    }
    Ok(vec![CertificateRequested { tenant_id, signer }.into()])
}

pub(super) fn obtained(world: &World, tenant_id: TenantId, obtained: &Obtained) -> Vec<Event> {
    let Some(tenant) = world.tenants.get(tenant_id) else { return Vec::new() };
    if tenant.tls.certificate.as_ref().is_some_and(|known| known.version == obtained.version) {
        return Vec::new();
    }
    let Obtained { signer, names, issuer, not_before, not_after, version } = obtained.clone();
    let names = Sealed::new(tenant_id, names);
    vec![CertificateIssued { tenant_id, signer, names, issuer, not_before, not_after, version }.into()]
}

pub(super) fn refused(
    world: &World,
    tenant_id: TenantId,
    detail: &str,
    barred_ms: Option<u64>,
    ctx: &Ctx,
) -> Vec<Event> {
    let Some(tenant) = world.tenants.get(tenant_id) else { return Vec::new() };
    let doublings = tenant.tls.failures.min(32);
    let wait = FIRST_WAIT_MS.saturating_mul(1 << doublings).min(LAST_WAIT_MS);
    let barred = barred_ms.map(|ms| ms.min(LONGEST_BAR_MS));
    let after = |ms: u64| Timestamp(ctx.now.0.saturating_add(ms));
    let detail = Sealed::new(tenant_id, detail.to_owned());
    let retry_at = after(wait.max(barred.unwrap_or(0)));
    vec![CertificateFailed { tenant_id, detail, retry_at, barred_until: barred.map(after) }.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(random: u64) -> TenantId {
        TenantId(uuid::Uuid::from_u64_pair(0, random))
    }

    #[test]
    fn a_certificate_is_renewed_thirty_days_before_its_end_or_in_its_last_third() {
        let year = renewed_at(Timestamp(0), Timestamp(365 * DAY_MS), tenant(0));
        assert_eq!(year, Timestamp(335 * DAY_MS));
        let short = renewed_at(Timestamp(0), Timestamp(60_000), tenant(0));
        assert_eq!(short, Timestamp(40_000));
        let all: Vec<u64> = [1, 7_000_000, u64::MAX]
            .into_iter()
            .map(|random| renewed_at(Timestamp(0), Timestamp(365 * DAY_MS), tenant(random)).0)
            .collect();
        assert!(all.iter().all(|at| (335 * DAY_MS..338 * DAY_MS).contains(at)), "{all:?}");
        assert!(all.windows(2).all(|two| two[0] != two[1]), "they do not come at once: {all:?}");
    }
}
