//! Tenants' sites and certificates, kept as the World and the configuration say.
//!
//! A deployment makes a tenant's sites; from then on they follow by themselves: another
//! domain, another certificate, another address of the proxy. Which tenants have sites is
//! seen in nginx's own directory, so that nothing is remembered that a crash could lose.
//! Certificates are renewed before their end, and everything that is tried is recorded first.

mod keep;
mod secure;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tenantry_journal::event::site::Signer;
use tenantry_journal::event::tenant::TenantDetails;
use tenantry_journal::id::TenantId;
use tenantry_journal::name::{Domain, Slug};
use tenantry_journal::sealed::Secret;
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::Tenant;
use tokio::sync::{Notify, Semaphore};

use crate::config::{Config, Ssl};
use crate::drivers::acme::{Authority, LETS_ENCRYPT};
use crate::drivers::certificates::{Certificates, is_local};
use crate::drivers::nginx::{Counts, Ensured, Kind, Listen, Nginx, Ports, Settings, Shared, Site, Tls};
use crate::engine::Handle;

/// Where Debian's nginx has its sites.
const AVAILABLE: &str = "/etc/nginx/sites-available";
const ENABLED: &str = "/etc/nginx/sites-enabled";
const HTTP: Listen = Listen { address: None, port: 80 };
const HTTPS: Listen = Listen { address: None, port: 443 };
/// Orders under way at once: an authority takes a few at a time from one address.
const ORDERS: usize = 4;

/// What the configuration says of sites.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    /// Whether deployments make sites.
    nginx: bool,
    ssl: Ssl,
    authority: Authority,
}

/// Tenants' sites and certificates.
pub struct Sites {
    /// nginx itself.
    pub nginx: Arc<Nginx>,
    handle: Handle,
    certificates: Certificates,
    wanted: ArcSwap<Wanted>,
    edge: Secret,
    /// Something else than the World has changed.
    changed: Notify,
    /// One certificate at a time for each tenant.
    turns: Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<()>>>>,
    orders: Semaphore,
}

fn settings(config: &Config) -> Settings {
    let nginx = &config.nginx;
    // Without IPv6 the file is empty or not there.
    let has_ipv6 = std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| !text.trim().is_empty());
    Settings {
        command: nginx.command.clone().unwrap_or_else(|| vec!["nginx".to_owned()]),
        available: nginx.sites_available.clone().unwrap_or_else(|| AVAILABLE.into()),
        enabled: nginx.sites_enabled.clone().unwrap_or_else(|| ENABLED.into()),
        pid: nginx.pid.clone(),
        ports: Ports {
            http: nginx.listen.unwrap_or(HTTP),
            https: nginx.listen_tls.unwrap_or(HTTPS),
            has_ipv6,
        },
    }
}

fn wanted(config: &Config) -> Wanted {
    let acme = &config.acme;
    Wanted {
        nginx: config.deploy.nginx,
        ssl: config.deploy.ssl,
        authority: Authority {
            directory: acme.directory.clone().unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
            contact: acme.contact.clone(),
            ca_file: acme.ca_file.clone(),
            accounts: config.data_dir.join("acme"),
        },
    }
}

impl Sites {
    /// By a configuration; `edge` is what nginx shows to the proxy.
    #[must_use]
    pub fn new(config: &Config, handle: Handle, edge: Secret, counts: Counts) -> Arc<Sites> {
        Arc::new(Sites {
            nginx: Nginx::new(settings(config), counts),
            handle,
            certificates: Certificates::new(config.data_dir.join("certs")),
            wanted: ArcSwap::from_pointee(wanted(config)),
            edge,
            changed: Notify::new(),
            turns: Mutex::default(),
            orders: Semaphore::new(ORDERS),
        })
    }

    /// Takes on another configuration.
    pub fn follow(&self, config: &Config) {
        self.nginx.configure(settings(config));
        self.wanted.store(Arc::new(wanted(config)));
        self.changed.notify_one();
    }

    /// Says where the proxy listens; before that no site can be made. Reads a file.
    pub fn listen_at(&self, proxy: SocketAddr) {
        let here = Listen { address: Some(proxy.ip()), port: proxy.port() }.local();
        let thumbprint = self.nginx.thumbprint();
        self.nginx.share(Shared { proxy: here, edge: self.edge.clone(), thumbprint, long_names: false });
        self.changed.notify_one();
    }

    /// The sites that a tenant is to have.
    fn of(&self, tenant: &Tenant) -> Option<Vec<Site>> {
        let details = tenant.details.open()?;
        let tls = self.tls(tenant, details);
        let site = |kind, domain: &Domain| Site {
            tenant: tenant.id,
            kind,
            domain: domain.clone(),
            tls: tls.clone(),
        };
        let api = details.api_domain.as_ref().map(|domain| site(Kind::Api, domain));
        Some([Some(site(Kind::Frontend, &details.domain)), api].into_iter().flatten().collect())
    }

    /// The certificate by which a tenant's sites are served.
    fn tls(&self, tenant: &Tenant, details: &TenantDetails) -> Option<Tls> {
        if self.wanted.load().ssl == Ssl::Off {
            return None;
        }
        let certificate = tenant.tls.certificate.as_ref()?;
        let own = certificate.names.open()?;
        if !names(details).iter().all(|name| own.contains(name)) {
            return None;
        }
        let (certificate, key) = self.certificates.files(&details.slug, &certificate.version)?;
        Some(Tls { certificate, key })
    }

    /// Has a tenant's sites be live as they are to be now.
    ///
    /// # Errors
    /// A sentence: why they are not. Then what was there before is there again.
    pub async fn configure(&self, tenant: TenantId) -> Result<(Vec<Site>, Ensured), String> {
        let world = self.handle.world();
        let sites = world.tenants.get(tenant).and_then(|tenant| self.of(tenant));
        let sites = sites.ok_or("the tenant is gone")?;
        let ensured = self.nginx.ensure(tenant, sites.clone()).await;
        let ensured = ensured.map_err(|error| crate::error::chain(&*error))?;
        Ok((sites, ensured))
    }

    /// Removes a tenant's sites and certificates. Says whether there were sites.
    ///
    /// # Errors
    /// A sentence: why they are still there.
    pub async fn remove(&self, tenant: TenantId, slug: Option<&Slug>) -> Result<bool, String> {
        let nginx = Arc::clone(&self.nginx);
        let present = tokio::task::spawn_blocking(move || nginx.present()).await;
        let had_sites = present.is_ok_and(|present| present.iter().any(|(owner, _)| *owner == tenant));
        if had_sites {
            let removed = self.nginx.ensure(tenant, Vec::new()).await;
            removed.map_err(|error| crate::error::chain(&*error))?;
        }
        if let Some(slug) = slug {
            self.certificates.remove(slug).map_err(|error| crate::error::chain(&error))?;
        }
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
        Ok(had_sites)
    }

    /// Who signs for these names, by the configuration.
    fn signer(&self, names: &[Domain]) -> Option<Signer> {
        let wanted = self.wanted.load();
        match wanted.ssl {
            Ssl::Off => None,
            Ssl::SelfSigned => Some(Signer::SelfSigned),
            // No public authority signs for them; one of one's own may.
            Ssl::Acme if wanted.authority.is_public() && names.iter().any(is_local) => {
                Some(Signer::SelfSigned)
            }
            Ssl::Acme => Some(Signer::Acme),
        }
    }

    fn turn(&self, tenant: TenantId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(tenant).or_default())
    }
}

/// The names that a tenant's certificate has to be good for, its domain first.
fn names(details: &TenantDetails) -> Vec<Domain> {
    std::iter::once(&details.domain).chain(&details.api_domain).cloned().collect()
}

/// The details of a tenant that stays.
fn details(world: &World, tenant: TenantId) -> Option<(&Tenant, &TenantDetails)> {
    let tenant = world.tenants.get(tenant).filter(|tenant| tenant.deletion.is_none())?;
    Some((tenant, tenant.details.open()?))
}
