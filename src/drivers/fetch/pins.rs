//! Addresses of hosts that were resolved once and checked; the only resolver of a fetcher.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::FetchError;
use super::address::{Forbidden, Guard, is_public};

/// Hosts that one purpose may resolve: a page names a handful.
const MOST_HOSTS: usize = 64;

/// Addresses of hosts that were resolved once and checked.
pub struct Pins {
    guard: Guard,
    by_host: Mutex<HashMap<String, Vec<SocketAddr>>>,
}

impl Pins {
    /// Knows no host yet.
    #[must_use]
    pub fn new(guard: Guard) -> Pins {
        Pins { guard, by_host: Mutex::default() }
    }

    /// What may be reached.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Where a URL's host is, with the URL's port: resolved the first time, the same from then on.
    ///
    /// # Errors
    /// When it may not be reached, or cannot be found.
    pub async fn pin(&self, url: &Url) -> Result<Vec<SocketAddr>, FetchError> {
        let url = self.guard.check_url(url.clone())?;
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Forbidden::not_public(&url).into());
        };
        let name = match host {
            // Checked by the guard, and never asked of a resolver.
            Host::Ipv4(ip) => return Ok(vec![SocketAddr::new(ip.into(), port)]),
            Host::Ipv6(ip) => return Ok(vec![SocketAddr::new(ip.into(), port)]),
            Host::Domain(name) => name.to_owned(),
        };
        let known = self.by_host.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let found = match known {
            Some(found) => found,
            None => {
                let looked = tokio::net::lookup_host((name.as_str(), 0)).await;
                let found: Vec<SocketAddr> =
                    looked.map_err(|_| FetchError::NoAddress(name.clone()))?.collect();
                if found.is_empty() {
                    return Err(FetchError::NoAddress(name));
                }
                let mut by_host = self.by_host.lock().unwrap_or_else(PoisonError::into_inner);
                if by_host.len() >= MOST_HOSTS && !by_host.contains_key(&name) {
                    return Err(FetchError::NoAddress(name));
                }
                // Whoever was first counts.
                by_host.entry(name.clone()).or_insert(found).clone()
            }
        };
        // One private address among public ones is a trick; and a name that is allowed for one
        // port is not for another.
        if !self.guard.allows(&name, port) && found.iter().any(|address| !is_public(address.ip())) {
            return Err(Forbidden::not_public(&url).into());
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address.ip(), port)).collect())
    }
}

impl Resolve for Pins {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.by_host.lock().unwrap_or_else(PoisonError::into_inner).get(name.as_str()).cloned();
        Box::pin(async move {
            match found {
                Some(found) => Ok(Box::new(found.into_iter()) as Addrs),
                None => Err(format!("{} was not checked", name.as_str()).into()),
            }
        })
    }
}
