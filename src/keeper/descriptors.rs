//! Descriptors on their way over a unix socket (`SCM_RIGHTS`, unix(7)).
//!
//! They travel with the first byte of a frame. Whoever reads must ask for them with each
//! read, or the kernel closes them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

/// More than one frame ever carries: one for each listener.
pub(super) const MOST: usize = 8;

/// Reads a stream, and keeps the descriptors that come with the bytes.
pub(super) struct Receiver {
    half: OwnedReadHalf,
    received: Vec<OwnedFd>,
}

impl Receiver {
    pub(super) fn new(half: OwnedReadHalf) -> Receiver {
        Receiver { half, received: Vec::new() }
    }

    /// What has come since the last time.
    pub(super) fn take(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.received)
    }
}

impl AsyncRead for Receiver {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let stream: &UnixStream = this.half.as_ref();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let read = stream.try_io(Interest::READABLE, || {
                let mut into = [IoSliceMut::new(buf.initialize_unfilled())];
                Ok(recvmsg(stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes)
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(bytes) => {
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                            this.received.extend(descriptors);
                        }
                    }
                    // Nobody sends so many; a stranger must not fill our table with them.
                    this.received.truncate(MOST);
                    buf.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

/// Writes a frame with descriptors.
pub(super) async fn send(
    stream: &UnixStream,
    mut frame: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut with = descriptors;
    while !frame.is_empty() {
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !with.is_empty() && !control.push(SendAncillaryMessage::ScmRights(with)) {
                    return Err(io::Error::other("too many descriptors for one frame"));
                }
                Ok(sendmsg(stream, &[IoSlice::new(frame)], &mut control, SendFlags::NOSIGNAL)?)
            })
            .await?;
        with = &[];
        frame = frame.get(sent..).unwrap_or_default();
    }
    Ok(())
}
