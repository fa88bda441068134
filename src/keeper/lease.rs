//! The control plane's end of having its listening sockets held.
//!
//! A connection of its own, since descriptors come with bytes and the other connection reads
//! without them. It stays open for as long as the control plane lives: see `sockets`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::timeout;

use super::descriptors::{Receiver, send};
use super::files::Files;
use super::protocol::{Answer, Ask, Call, Message, Refusal, SocketName, VERSION, encode, read};

/// How long an answer may take: the keeper has nothing to do for it but to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Why nothing is held.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// No keeper answers, or the connection broke.
    #[error("the keeper cannot be asked to hold the listening sockets")]
    Io(#[from] io::Error),
    /// It is of an earlier version, which holds none, or says no.
    #[error("the keeper does not hold listening sockets: {0}")]
    Refused(#[from] Refusal),
}

/// The connection to the keeper that holds the sockets.
pub struct Lease {
    from: Receiver,
    to: OwnedWriteHalf,
    calls: u64,
}

impl Lease {
    /// Connects to the keeper of a data directory, and takes what it holds.
    ///
    /// # Errors
    /// When there is no keeper, or one that holds no sockets.
    pub async fn open(data_dir: &Path) -> Result<(Lease, Vec<(SocketName, OwnedFd)>), LeaseError> {
        let (address, _dir) = Files::new(data_dir).socket_address()?;
        let (from, to) = UnixStream::connect(address).await?.into_split();
        let mut lease = Lease { from: Receiver::new(from), to, calls: 0 };
        lease.ask(Ask::Hello { version: VERSION }, &[]).await?;
        match lease.ask(Ask::TakeSockets, &[]).await? {
            Answer::Sockets(names) => {
                let sockets = lease.from.take();
                Ok((lease, names.into_iter().zip(sockets).collect()))
            }
            _ => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        }
    }

    /// Has these held, and nothing else.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn hold(&mut self, sockets: &[(SocketName, OwnedFd)]) -> Result<(), LeaseError> {
        let names = sockets.iter().map(|(name, _)| name.clone()).collect();
        let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
        self.ask(Ask::HoldSockets { sockets: names }, &descriptors).await.map(drop)
    }

    /// Has everything closed that is held.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn release(&mut self) -> Result<(), LeaseError> {
        self.ask(Ask::ReleaseSockets, &[]).await.map(drop)
    }

    /// Returns when the keeper has gone.
    pub async fn lost(&mut self) {
        while let Ok(Some(_)) = read::<Message>(&mut self.from).await {}
    }

    async fn ask(&mut self, ask: Ask, descriptors: &[BorrowedFd<'_>]) -> Result<Answer, LeaseError> {
        self.calls += 1;
        let frame = encode(&Call { id: self.calls, ask })?;
        let asked = async {
            send(self.to.as_ref(), &frame, descriptors).await?;
            loop {
                match read(&mut self.from).await? {
                    Some(Message::Reply { id, answer }) if id == self.calls => return Ok(answer?),
                    // What else it tells is for the other connection.
                    Some(_) => {}
                    None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                }
            }
        };
        timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }
}
