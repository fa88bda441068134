//! A client's connection: watched by the strict reader, and bounded in time.
//!
//! A client may be idle for long, but a head that was begun must come to its end soon, and a
//! body must go on. While a request is answered nothing is timed, so no stream is ever cut.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::strict::{Follower, Phase};

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a connection may wait for its next request.
    idle: Duration,
    /// How long a head may take from its first byte to its last.
    head: Duration,
    /// How long a body may stand still.
    body: Duration,
}

/// nginx's defaults, but for a head, which it lets take 60 s.
pub(super) const LIMITS: Limits =
    Limits { idle: Duration::from_secs(75), head: Duration::from_secs(15), body: Duration::from_secs(60) };

/// What the connection and the requests on it tell each other.
#[derive(Debug, Default)]
pub(super) struct Told {
    is_refused: AtomicBool,
    answering: AtomicU32,
}

impl Told {
    /// Whether something came that must be refused.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Says that a request is being answered, until the value is dropped.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }
}

/// A request is being answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<Told>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    follower: Follower,
    told: Arc<Told>,
    limits: Limits,
    /// When the present head began, or the present wait.
    since: Option<(Phase, Instant)>,
    alarm: Alarm,
    /// What was read, and is to be read again.
    again: Bytes,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, told: Arc<Told>, limits: Limits) -> Guarded<S> {
        let (follower, alarm) = (Follower::default(), Alarm::default());
        Guarded { stream, follower, told, limits, since: None, alarm, again: Bytes::new() }
    }

    /// The same connection by another handle on it.
    pub(super) fn try_map<T>(self, change: impl FnOnce(S) -> io::Result<T>) -> io::Result<Guarded<T>> {
        let Guarded { stream, follower, told, limits, since, alarm: _, again } = self;
        // A timer belongs to its runtime.
        let alarm = Alarm::default();
        Ok(Guarded { stream: change(stream)?, follower, told, limits, since, alarm, again })
    }

    /// Takes back what was read of it, for another reader.
    pub(super) fn take_back(&mut self, bytes: Vec<u8>) {
        self.again = bytes.into();
    }

    /// When the wait that goes on now has lasted too long.
    fn deadline(&mut self) -> Option<Instant> {
        let phase = self.follower.phase();
        let limit = match phase {
            Phase::Beyond => return None,
            Phase::Idle | Phase::Head if self.told.answering.load(Ordering::Relaxed) > 0 => return None,
            Phase::Idle => self.limits.idle,
            Phase::Head => self.limits.head,
            Phase::Body => self.limits.body,
        };
        let begun = match self.since {
            Some((same, begun)) if same == phase => begun,
            _ => Instant::now(),
        };
        self.since = Some((phase, begun));
        Some(begun + limit)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.deadline() {
            Some(deadline) => self.alarm.poll(deadline, cx),
            None => Poll::Pending,
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.follower.follow(bytes);
        if self.follower.is_refused() {
            self.told.is_refused.store(true, Ordering::Relaxed);
        }
        // A head is timed from its beginning, everything else from its last byte.
        if !matches!((self.since, self.follower.phase()), (Some((Phase::Head, _)), Phase::Head)) {
            self.since = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.again.is_empty() {
            let bytes = this.again.split_to(this.again.len().min(buf.remaining()));
            buf.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                this.note(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_timer(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Limits = Limits {
        idle: Duration::from_millis(60),
        head: Duration::from_millis(100),
        body: Duration::from_millis(60),
    };

    #[tokio::test]
    async fn a_head_that_drips_is_cut_and_an_answer_is_not() {
        let (mut client, server) = tokio::io::duplex(64);
        let told = Arc::new(Told::default());
        let mut guarded = Guarded::new(server, Arc::clone(&told), SHORT);
        let began = Instant::now();
        let dripping = tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_millis(10));
            while client.write_all(b"G").await.is_ok() {
                every.tick().await;
            }
        });
        let mut byte = [0];
        let error = loop {
            if let Err(error) = guarded.read_exact(&mut byte).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= SHORT.head, "{:?}", began.elapsed());
        drop(guarded);
        dripping.await.unwrap();

        let (mut client, server) = tokio::io::duplex(64);
        let mut guarded = Guarded::new(server, Arc::clone(&told), SHORT);
        let answering = told.answering();
        let long = tokio::time::timeout(SHORT.idle * 5, guarded.read_exact(&mut byte)).await;
        assert!(long.is_err(), "{long:?}");
        drop(answering);
        client.write_all(b"x").await.unwrap();
        guarded.read_exact(&mut byte).await.unwrap();
    }
}
