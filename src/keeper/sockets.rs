//! The control plane's listening sockets, held while it is away.
//!
//! Connections that come meanwhile wait in the kernel's queue instead of being refused. The
//! connection over which they came is the lease: while it stands, the control plane lives.
//! When it breaks they are held for [`AWAY`], in which the next one may come and take them;
//! one that ends on purpose has them closed.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use super::protocol::{Answer, Refusal, SocketName};
use super::server::Server;

/// How long sockets are held for a control plane that does not answer: longer than a service
/// manager waits before it starts one again, and no client waits longer for an answer.
const AWAY: Duration = Duration::from_secs(60);

/// What is held.
#[derive(Default)]
pub(super) struct Sockets {
    held: RefCell<Vec<(SocketName, OwnedFd)>>,
    /// The client whose connection is the lease.
    holder: Cell<Option<u64>>,
    /// Moves with each change of holder.
    turn: Cell<u64>,
}

impl Sockets {
    pub(super) fn is_holding(&self) -> bool {
        !self.held.borrow().is_empty()
    }

    fn lend_to(&self, client: Option<u64>) {
        self.holder.set(client);
        self.turn.set(self.turn.get() + 1);
    }

    /// Holds these, and nothing else.
    pub(super) fn hold(
        &self,
        client: u64,
        names: Vec<SocketName>,
        sockets: Vec<OwnedFd>,
    ) -> Result<Answer, Refusal> {
        if names.len() != sockets.len() {
            return Err(Refusal::Sockets { named: names.len(), came: sockets.len() });
        }
        *self.held.borrow_mut() = names.into_iter().zip(sockets).collect();
        self.lend_to(Some(client));
        Ok(Answer::Done)
    }

    /// Copies of what is held, for whoever is the control plane now.
    pub(super) fn take(&self, client: u64) -> (Answer, Vec<OwnedFd>) {
        self.lend_to(Some(client));
        let held = self.held.borrow();
        let copies = held.iter().filter_map(|(name, socket)| Some((name.clone(), socket.try_clone().ok()?)));
        let (names, sockets) = copies.unzip();
        (Answer::Sockets(names), sockets)
    }

    /// Closes what is held.
    pub(super) fn release(&self) -> Answer {
        self.held.borrow_mut().clear();
        Answer::Done
    }
}

impl Server {
    /// A client has left; if it was the control plane, another one may come.
    pub(super) fn note_left(self: &Rc<Self>, client: u64) {
        if self.sockets.holder.get() != Some(client) || !self.sockets.is_holding() {
            return;
        }
        self.sockets.lend_to(None);
        let turn = self.sockets.turn.get();
        tracing::info!("the control plane is away, its sockets are held");
        let server = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(AWAY).await;
            if server.sockets.turn.get() == turn {
                tracing::info!("nobody came for the control plane's sockets, they are closed");
                server.sockets.release();
                server.note_change();
            }
        });
    }
}
