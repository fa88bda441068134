//! One connection to an instance's process.
//!
//! It has no task of its own: whoever sends a request on it drives it, and whoever reads the
//! answer, so that a request takes no detour over another task. One that waits in the pool is
//! driven by nobody, and is looked at before it is used again.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tenantry_journal::event::instance::Listen;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::body::RequestBody;
use super::exchange::Failure;
use super::ready::Target;

/// How long connecting may take: a process on this machine that accepts takes microseconds.
const CONNECT: Duration = Duration::from_secs(5);
/// How soon a full queue is tried again: a process that accepts at all empties it in no time.
const QUEUE_FIRST: Duration = Duration::from_millis(1);
/// The longest wait between two attempts.
const QUEUE_LAST: Duration = Duration::from_millis(20);
/// How long the head of an answer may be, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;

/// What a failed request left.
pub(super) type SendError = hyper::client::conn::TrySendError<hyper::Request<RequestBody>>;
/// The connection, as the HTTP library has it.
pub(super) type Driver = Connection<TokioIo<Stream>, RequestBody>;

/// A stream to a process.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that can take one request at a time.
pub(super) struct Link {
    sender: SendRequest<RequestBody>,
    driver: Option<Driver>,
}

/// Connects to where a process listens.
async fn connect(listen: &Listen) -> io::Result<Stream> {
    let connecting = async {
        match listen {
            Listen::Port(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                let stream = TcpStream::connect(address).await?;
                // A port of the ephemeral range can connect to itself while nobody listens.
                if stream.local_addr()? == address {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Listen::Socket(path) => connect_unix(path).await.map(Stream::Unix),
        }
    };
    tokio::time::timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Connects to a run; a failure is in the log, and nothing was sent.
pub(super) async fn connect_or_say(target: &Target) -> Result<Stream, Failure> {
    connect(&target.listen).await.map_err(|error| {
        tracing::debug!(%error, run.id = %target.run, "an instance could not be connected to");
        Failure::Unsent
    })
}

/// A unix socket whose queue is full refuses at once where TCP would wait (connect(2)).
async fn connect_unix(path: &str) -> io::Result<UnixStream> {
    let mut wait = QUEUE_FIRST;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(QUEUE_LAST);
    }
}

/// Begins to speak HTTP on a stream.
pub(super) async fn handshake(stream: Stream) -> Result<(SendRequest<RequestBody>, Driver), hyper::Error> {
    http1::Builder::new()
        .max_buf_size(HEAD_LIMIT * 4)
        .max_header_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
}

impl Link {
    pub(super) fn new(sender: SendRequest<RequestBody>, driver: Driver) -> Link {
        Link { sender, driver: Some(driver) }
    }

    /// Lets the connection go on.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(ended) = Pin::new(driver).poll(cx)
        {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to an instance broke");
            }
            self.driver = None;
        }
    }

    /// Whether it can take a request; looks at what came meanwhile.
    pub(super) fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether it is known to have ended.
    pub(super) fn is_over(&self) -> bool {
        self.driver.is_none()
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: hyper::Request<RequestBody>,
    ) -> Result<hyper::Response<Incoming>, SendError> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        poll_fn(|cx| {
            if let Some(running) = driver
                && let Poll::Ready(ended) = Pin::new(running).poll(cx)
            {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to an instance broke");
                }
                // What it had to say to us it has said.
                *driver = None;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
