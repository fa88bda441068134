//! Sites follow the World by themselves, and certificates are renewed before their end.
//!
//! Level-triggered: what is to be is compared with what lies in nginx's directory whenever
//! something that sites depend on has changed, and once in a while all the same.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tenantry_journal::id::TenantId;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::Tenant;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Sites, names};
use crate::clock;
use crate::config::Ssl;
use crate::domain::certificate::{Asked, is_current, renewed_at};
use crate::domain::command::{Command, Submission};
use crate::drivers::nginx::Site;

/// After a change it is waited until for this long none came, so that a burst is one reload.
const BURST: Duration = Duration::from_millis(100);
/// But not longer than this: somebody waits for the first of them.
const LONGEST_BURST: Duration = Duration::from_secs(1);
/// The directory is looked at so often even when nothing seems to have changed.
const EVERY: Duration = Duration::from_secs(60);
/// The shortest wait for a renewal that is about to be due.
const SOON: Duration = Duration::from_millis(50);

/// How often somebody who waits for sites looks at their files.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is remembered between two looks; all of it can be forgotten.
#[derive(Default)]
struct Memory {
    signature: u64,
    has_asked: bool,
    looked: Option<Instant>,
    /// When a renewal may be due; at once without it.
    renew: Option<Instant>,
    renewing: HashSet<TenantId>,
}

impl Sites {
    /// Keeps sites and certificates as they are to be until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut changes = self.handle.changes();
        let mut memory = Memory::default();
        let mut renewals: JoinSet<TenantId> = JoinSet::new();
        loop {
            changes.mark_unchanged();
            let wake = self.look(&mut memory, &mut renewals).await;
            let wait = async {
                tokio::select! {
                    () = self.changed.notified() => {
                        memory.looked = None;
                        memory.renew = None;
                    }
                    changed = changes.changed() => return changed.is_ok(),
                    Some(ended) = renewals.join_next() => {
                        memory.renew = None;
                        if let Ok(tenant) = ended {
                            memory.renewing.remove(&tenant);
                        } else {
                            memory.renewing.clear();
                        }
                    }
                    () = tokio::time::sleep(wake) => return true,
                }
                true
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                goes_on = wait => if !goes_on { break },
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.settled() => {}
            }
        }
        renewals.shutdown().await;
    }

    /// Waits until sites stay as they are to be.
    async fn settled(&self) {
        let end = Instant::now() + LONGEST_BURST;
        let mut before = None;
        while Instant::now() < end {
            let now = signature(&self.handle.world());
            if before == Some(now) {
                return;
            }
            before = Some(now);
            tokio::time::sleep(BURST).await;
        }
    }

    /// Does what is due. Returns how long until something may be due again.
    async fn look(self: &Arc<Self>, memory: &mut Memory, renewals: &mut JoinSet<TenantId>) -> Duration {
        if !self.wanted.load().nginx || self.nginx.shared().is_none() {
            return EVERY;
        }
        let world = self.handle.world();
        let signature = signature(&world);
        let is_late = memory.looked.is_none_or(|at| at.elapsed() >= EVERY);
        if signature != memory.signature || is_late {
            memory.looked = Some(Instant::now());
            // What failed is tried again at the next look without a reason.
            memory.signature = signature;
            memory.renew = None;
            // What a crash had put in place may not be taken on yet: the first look asks nginx.
            let asks = !std::mem::replace(&mut memory.has_asked, true);
            self.put_right(&world, asks).await;
        }
        let now = Instant::now();
        match memory.renew.filter(|at| *at > now) {
            Some(at) => at - now,
            None => {
                let wait = self.renew(&world, memory, renewals);
                memory.renew = Some(now + wait);
                wait
            }
        }
    }

    /// Waits until a tenant's sites, if it has any, are as they are to be and nginx has taken them
    /// on. False when that is not so at the end.
    pub async fn in_place(&self, tenant: TenantId, end: Instant) -> bool {
        loop {
            if self.are_written(tenant).await {
                // Whoever wrote them is done with nginx when its turn is over, or puts them back.
                self.nginx.idle().await;
                if self.are_written(tenant).await {
                    return true;
                }
            }
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn are_written(&self, id: TenantId) -> bool {
        let world = self.handle.world();
        let sites = world.tenants.get(id).and_then(|tenant| self.of(tenant));
        let (true, Some(sites)) = (self.wanted.load().nginx, sites) else { return true };
        let Ok(wanted) = self.nginx.digests(&sites) else { return false };
        let nginx = Arc::clone(&self.nginx);
        let present = tokio::task::spawn_blocking(move || nginx.present()).await.unwrap_or_default();
        let found: Vec<String> =
            present.into_iter().filter(|(owner, _)| *owner == id).map(|(_, digest)| digest).collect();
        found.is_empty() || found == wanted
    }

    /// Writes the sites anew that are not as they are to be.
    async fn put_right(&self, world: &World, asks: bool) {
        let nginx = Arc::clone(&self.nginx);
        let found = tokio::task::spawn_blocking(move || (nginx.present(), nginx.is_shared_written())).await;
        let Ok((present, is_shared_written)) = found else { return };
        let mut digests: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
        for (tenant, digest) in present {
            digests.entry(tenant).or_default().push(digest);
        }
        let wrong = digests.into_iter().filter_map(|(id, found)| {
            let tenant = world.tenants.get(id).filter(|tenant| tenant.deletion.is_none());
            // A site of nobody's that is known is left: somebody wanted it to stay.
            let sites = tenant.and_then(|tenant| self.of(tenant))?;
            let is_wrong =
                asks || !is_shared_written || self.nginx.digests(&sites).is_ok_and(|wanted| wanted != found);
            is_wrong.then_some((id, sites))
        });
        let wrong: Vec<(TenantId, Vec<Site>)> = wrong.collect();
        if wrong.is_empty() {
            return;
        }
        let outcomes = self.nginx.ensure_all(wrong.clone()).await;
        let (mut written, mut failed) = (Vec::new(), Vec::new());
        for ((tenant, sites), outcome) in wrong.into_iter().zip(outcomes) {
            match outcome {
                Ok(ensured) if ensured.changed > 0 => written.push((tenant, sites)),
                Ok(_) => {}
                Err(error) => failed.push((tenant, crate::error::chain(&*error))),
            }
        }
        join_all(written.into_iter().map(|(tenant, sites)| self.note(tenant, sites))).await;
        // One thing is wrong for all of them, mostly.
        if let Some((tenant, error)) = failed.first() {
            let tenants = failed.len();
            tracing::warn!(tenants, tenant.id = %tenant, error, "sites are not as they are to be");
        }
    }

    /// Takes note that a tenant's sites were written anew.
    async fn note(&self, tenant_id: TenantId, sites: Vec<Site>) {
        let tls = sites.iter().any(|site| site.tls.is_some());
        tracing::info!(tenant.id = %tenant_id, tls, "a tenant's sites were written anew");
        let noted = Submission::system(Command::NoteSite { tenant_id, tls }, None);
        if let Err(error) = self.handle.submit(noted).await {
            tracing::warn!(error = %error, "that sites were written anew is not recorded");
        }
    }

    /// Begins the renewals that are due.
    fn renew(
        self: &Arc<Self>,
        world: &World,
        memory: &mut Memory,
        renewals: &mut JoinSet<TenantId>,
    ) -> Duration {
        if self.wanted.load().ssl == Ssl::Off {
            return EVERY;
        }
        let now = clock::now();
        let mut wake = EVERY;
        for tenant in world.tenants.iter() {
            let Some(at) = self.due(tenant, now) else { continue };
            if at > now {
                wake = wake.min(Duration::from_millis(at.since_ms(now)).max(SOON));
            } else if memory.renewing.insert(tenant.id) {
                let (own, id) = (Arc::clone(self), tenant.id);
                renewals.spawn(async move {
                    if let Err(why) = own.secure(id, Asked::ByItself, None).await {
                        tracing::warn!(tenant.id = %id, why, "a certificate was not renewed");
                    }
                    id
                });
            }
        }
        wake
    }

    /// When a tenant that has a certificate needs another one.
    fn due(&self, tenant: &Tenant, now: Timestamp) -> Option<Timestamp> {
        let certificate = tenant.tls.certificate.as_ref().filter(|_| tenant.deletion.is_none())?;
        let details = tenant.details.open()?;
        let names = names(details);
        let fits = self.signer(&names) == Some(certificate.signer)
            && certificate.names.open().is_some_and(|own| names.iter().all(|name| own.contains(name)))
            && self.certificates.files(&details.slug, &certificate.version).is_some();
        let due = if fits && is_current(certificate, &names, tenant.id, now) {
            renewed_at(certificate.not_before, certificate.not_after, tenant.id)
        } else {
            now
        };
        let tls = &tenant.tls;
        let limit = tls.orders.iter().rev().nth(ORDERS_BY_ITSELF - 1).map(|at| Timestamp(at.0 + HOUR_MS));
        Some([Some(due), tls.retry_at, tls.barred_until, limit].into_iter().flatten().max().unwrap_or(due))
    }
}

/// By itself fewer orders are placed than allowed, so that one is left for a person.
const ORDERS_BY_ITSELF: usize = 4;
const HOUR_MS: u64 = 3_600_000;

/// Something that changes when what sites are made of does.
fn signature(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    for tenant in world.tenants.iter() {
        let Some(details) = tenant.details.open() else { continue };
        tenant.id.hash(&mut hasher);
        details.domain.hash(&mut hasher);
        details.api_domain.hash(&mut hasher);
        tenant.tls.certificate.as_ref().map(|known| &known.version).hash(&mut hasher);
    }
    hasher.finish()
}
