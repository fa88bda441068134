//! Tenants' ports: which of them the keeper passes on, and where to.
//!
//! What is passed on follows from the World alone and is told as a whole, whenever it has
//! changed and on every new connection to the keeper. Whoever changes where a process listens
//! tells it at once; everything else is noticed by looking.

use std::time::Duration;

use tenantry_journal::event::instance::Listen;
use tokio::time::Instant;

use super::Supervisor;
use crate::domain::rollout::forwarded;
use crate::keeper::client::{Forward, KeeperError, Place};

/// How often the World is looked at for changes that nobody told of.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is asked whether connections still wait for an answer.
const ASK_EVERY: Duration = Duration::from_millis(20);

fn place(listen: &Listen) -> Place {
    match listen {
        Listen::Port(port) => Place::Port(*port),
        Listen::Socket(path) => Place::Socket(path.into()),
    }
}

/// Keeps what is passed on as it is to be.
pub(super) async fn keep(supervisor: &Supervisor) {
    let mut changes = supervisor.handle.changes();
    loop {
        changes.mark_unchanged();
        supervisor.forward().await;
        if changes.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Supervisor {
    /// Has tenants' ports lead to where their processes listen now. When no keeper answers
    /// the next one is told.
    pub async fn forward(&self) {
        let mut told = self.forwarded.lock().await;
        let Some(keeper) = self.keeper.borrow().clone() else { return };
        let mut all: Vec<Forward> = forwarded(&self.handle.world())
            .map(|forwarded| Forward { port: forwarded.port, to: place(&forwarded.to) })
            .collect();
        all.sort_unstable();
        if told.as_ref() == Some(&all) {
            return;
        }
        if !keeper.forwards() {
            // It is replaced once nothing runs any more.
            tracing::error!("the keeper is of an earlier version and does not serve tenants' ports");
            *told = Some(all);
            return;
        }
        match keeper.forward(all.clone()).await {
            Ok(not_yet) => {
                for port in not_yet {
                    tracing::warn!(
                        port = port.port,
                        reason = port.reason,
                        "something else has a tenant's port; it is served as soon as that is free"
                    );
                }
                *told = Some(all);
            }
            // It is told again on the next connection.
            Err(error) => tracing::debug!(error = crate::error::chain(&error), "the keeper was not told"),
        }
    }

    /// A new keeper passes nothing on.
    pub(super) async fn forward_anew(&self) {
        *self.forwarded.lock().await = None;
        self.forward().await;
    }

    /// Waits until no connection that was passed on there waits for an answer. False when
    /// that takes longer than `limit`.
    pub async fn answered(&self, listen: &Listen, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let Some(keeper) = self.keeper.borrow().clone().filter(|keeper| keeper.forwards()) else {
                return true;
            };
            match keeper.busy(place(listen)).await {
                Ok(0) | Err(KeeperError::Lost) => return true,
                _ if Instant::now() >= end => return false,
                _ => tokio::time::sleep(ASK_EVERY).await,
            }
        }
    }

    /// Whether processes of tenants may listen on ports of their own.
    pub async fn forwards(&self) -> bool {
        self.keeper().await.forwards()
    }
}
