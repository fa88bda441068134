//! The wire of a socket: its handler reads and writes it, and whoever has the same message for
//! many sockets offers it to each without waiting.
//!
//! Messages are written whole, whoever writes. What an offer could not send to its end is sent
//! by the handler's task, which the socket wakes: nobody else ever waits for a slow client.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::Instant;

/// A socket. Clones are the same one.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<State>>);

struct State {
    socket: WebSocket,
    /// Whether something that was offered is not sent to its end.
    has_rest: bool,
    /// When the client was heard of last, or took what was sent to it.
    heard: Instant,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The connection took it.
    Sent,
    /// It goes out when the client reads on; until then nothing more is taken.
    Begun,
    /// It was not taken: something is in its way, or the socket is broken.
    Refused,
}

impl Wire {
    pub(super) fn new(socket: WebSocket) -> Wire {
        Wire(Arc::new(Mutex::new(State { socket, has_rest: false, heard: Instant::now() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long nothing was heard of the client.
    pub(super) fn silence(&self) -> Duration {
        self.state().heard.elapsed()
    }

    /// The next message of the client. May be dropped and called again; for one task alone.
    pub(super) async fn recv(&self) -> Option<Result<Message, axum::Error>> {
        poll_fn(|cx| {
            let State { socket, has_rest, heard } = &mut *self.state();
            // What breaks here is told by reading.
            if *has_rest && socket.poll_flush_unpin(cx).is_ready() {
                *has_rest = false;
            }
            let received = ready!(socket.poll_next_unpin(cx));
            *heard = Instant::now();
            Poll::Ready(received)
        })
        .await
    }

    /// Sends a message; waits while the client does not read.
    pub(super) async fn send(&self, message: Message) -> Result<(), axum::Error> {
        let mut message = Some(message);
        poll_fn(|cx| {
            let State { socket, heard, .. } = &mut *self.state();
            if message.is_some() {
                ready!(socket.poll_ready_unpin(cx))?;
            }
            if let Some(message) = message.take() {
                socket.start_send_unpin(message)?;
            }
            ready!(socket.poll_flush_unpin(cx))?;
            // It takes what is sent, so it is there. While it did not, nobody asked it for a
            // pong, and its silence says nothing.
            *heard = Instant::now();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Sends a message if the connection takes it at once. Else the socket wakes `handler`, the
    /// task that reads it, when it takes more.
    pub(in crate::http) fn offer(&self, text: Utf8Bytes, handler: &Waker) -> Offered {
        let State { socket, has_rest, heard } = &mut *self.state();
        let mut cx = Context::from_waker(handler);
        if !matches!(socket.poll_ready_unpin(&mut cx), Poll::Ready(Ok(())))
            || socket.start_send_unpin(Message::Text(text)).is_err()
        {
            return Offered::Refused;
        }
        match socket.poll_flush_unpin(&mut cx) {
            Poll::Ready(Ok(())) => {
                *heard = Instant::now();
                Offered::Sent
            }
            Poll::Ready(Err(_)) => Offered::Refused,
            Poll::Pending => {
                *has_rest = true;
                Offered::Begun
            }
        }
    }
}
