//! The listening sockets: taken from the keeper when it holds them, else bound, and handed to
//! it, so that connections wait in the kernel's queue while the control plane is replaced.
//!
//! Without a keeper, or with one of an earlier version, everything works but that.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::keeper::lease::{Lease, LeaseError};
use crate::keeper::protocol::SocketName;
use crate::supervisor::Supervisor;

/// Connections that may wait to be accepted: what a busy minute's restart gathers. The
/// kernel's own limit (`net.core.somaxconn`, 4096 by default) holds below it.
const QUEUE: u32 = 4096;
/// How soon the keeper is asked again to hold them.
const AGAIN: Duration = Duration::from_millis(200);

/// The sockets of one start.
pub(super) struct Listeners {
    data_dir: PathBuf,
    lease: Option<Lease>,
    held: Vec<(SocketName, OwnedFd)>,
    ours: Vec<(SocketName, OwnedFd)>,
}

impl Listeners {
    /// Asks the keeper what it holds, if there is one.
    pub(super) async fn open(data_dir: &Path) -> Listeners {
        let (lease, held) = match Lease::open(data_dir).await {
            Ok((lease, held)) => (Some(lease), held),
            // There is none yet, or it is told of when the sockets are handed over.
            Err(_) => (None, Vec::new()),
        };
        Listeners { data_dir: data_dir.to_path_buf(), lease, held, ours: Vec::new() }
    }

    /// The socket of a listener.
    pub(super) fn bind(&mut self, listener: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let name = SocketName { listener: listener.to_owned(), address: address.to_string() };
        // By its name, or because it is bound there: one that began with port 0 may be asked for
        // by the port that it got.
        let is_there = |socket: &OwnedFd| bound_to(socket).is_some_and(|bound| bound == address);
        let held = self.held.iter().position(|(held, socket)| *held == name || is_there(socket));
        let socket = match held {
            Some(at) => {
                tracing::info!(listener, %address, "taking the socket over from the keeper");
                let socket = std::net::TcpListener::from(self.held.swap_remove(at).1);
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)?
            }
            None => bind(address)
                .with_context(|| format!("cannot listen on {address}; choose another address"))?,
        };
        self.ours.push((name, socket.as_fd().try_clone_to_owned()?));
        Ok(socket)
    }

    /// Has the keeper hold the sockets until `shutdown`, and close them then.
    pub(super) async fn keep(mut self, supervisor: Arc<Supervisor>, shutdown: CancellationToken) {
        self.held.clear();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.hold(&supervisor) => return shutdown.cancelled().await,
        }
        let Some(mut lease) = self.lease.take() else { return };
        if let Err(error) = lease.release().await {
            tracing::debug!(
                error = crate::error::chain(&error),
                "the keeper was not asked to close the sockets"
            );
        }
    }

    /// Returns when the keeper cannot.
    async fn hold(&mut self, supervisor: &Supervisor) {
        loop {
            let lease = match &mut self.lease {
                Some(lease) => lease,
                None => {
                    let _ = supervisor.keeper().await;
                    match Lease::open(&self.data_dir).await {
                        Ok((lease, _)) => self.lease.insert(lease),
                        Err(LeaseError::Refused(refusal)) => {
                            tracing::warn!(%refusal, "connections will be refused while this program is replaced");
                            return;
                        }
                        Err(LeaseError::Io(error)) => {
                            tracing::debug!(%error, "the keeper does not hold the sockets yet");
                            tokio::time::sleep(AGAIN).await;
                            continue;
                        }
                    }
                }
            };
            match lease.hold(&self.ours).await {
                Ok(()) => {
                    tracing::info!(sockets = self.ours.len(), "the keeper holds the listening sockets");
                    lease.lost().await;
                }
                Err(error) => {
                    tracing::warn!(error = crate::error::chain(&error), "the sockets are not held");
                }
            }
            self.lease = None;
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn bound_to(socket: &OwnedFd) -> Option<SocketAddr> {
    rustix::net::getsockname(socket).ok().and_then(|address| SocketAddr::try_from(address).ok())
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}
