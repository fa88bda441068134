//! Traffic to instances: from a host name to a process that answers.
//!
//! A request is for an instance when its `Host` is a tenant's domain, or lies below the
//! configured one. It needs no credential. It waits while its instance starts, is replaced
//! or wakes; nothing that is not registered, or was stopped on purpose, is ever started.
//! Nothing is held: bodies are streamed, and a stream may last as long as both sides like.

mod alarm;
mod body;
mod exchange;
mod guarded;
pub mod headers;
mod idle;
mod page;
mod plain;
mod ready;
mod route;
pub mod runs;
pub mod serve;
mod strict;
pub mod traffic;
mod upstream;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tenantry_journal::name::Domain;
use tokio_util::sync::CancellationToken;

use crate::engine::Handle;
use route::Route;
use runs::Runs;
use traffic::Traffic;

/// The way from host names to instances.
pub struct Proxy {
    handle: Handle,
    /// Below it every instance has a name.
    domain: ArcSwap<Option<Domain>>,
    traffic: Traffic,
    runs: Runs,
}

impl Proxy {
    /// Routes what the World of this engine holds.
    #[must_use]
    pub fn new(handle: Handle, domain: Option<Domain>, traffic: Traffic, runs: Runs) -> Arc<Proxy> {
        let domain = ArcSwap::from_pointee(domain);
        Arc::new(Proxy { handle, domain, traffic, runs })
    }

    /// Takes on another domain.
    pub fn set_domain(&self, domain: Option<Domain>) {
        self.domain.store(Arc::new(domain));
    }

    /// Puts idle instances to sleep, and tidies up, until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        idle::run(self, shutdown).await;
    }

    /// What a host name means; `None` when it is not ours to route.
    fn route(&self, host: &str) -> Option<Route> {
        route::route(&self.handle.world(), (**self.domain.load()).as_ref(), host)
    }
}
