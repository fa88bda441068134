//! Bodies on their way: streamed both ways, never held.
//!
//! The body of an answer drives the connection that it comes on, and gives it back to the
//! pool at its end. One that breaks off breaks off for the client too: it never looks whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::guarded::Answering;
use super::runs::UnderWay;
use super::traffic::Open;
use super::upstream::Link;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// When something of a request's body moved last.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds after `began`.
    last: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Arc<Progress> {
        Arc::new(Progress { began: Instant::now(), last: AtomicU64::new(0) })
    }

    fn note(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// The body of a request to an instance.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// There is none.
    None,
    /// As the client sends it.
    Sent(Incoming, Arc<Progress>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            RequestBody::None => Poll::Ready(None),
            RequestBody::Sent(body, progress) => {
                let polled = Pin::new(body).poll_frame(cx);
                if polled.is_ready() {
                    progress.note();
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::None => true,
            RequestBody::Sent(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::None => SizeHint::with_exact(0),
            RequestBody::Sent(body, _) => body.size_hint(),
        }
    }
}

/// An answer's body as an instance sends it.
pub(super) struct Answer {
    pub(super) incoming: Incoming,
    /// The connection it comes on; none when a task of its own drives that.
    pub(super) link: Option<Link>,
    /// None when it changed the protocol: such a stream may last for ever.
    pub(super) under_way: Option<UnderWay>,
    pub(super) open: Open,
}

impl Answer {
    fn give_back(&mut self) {
        if let (Some(link), Some(under_way)) = (self.link.take(), &self.under_way) {
            under_way.keep(link);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // A body whose end is known from its length is not asked for that end.
        if self.incoming.is_end_stream() {
            self.give_back();
        }
    }
}

enum Kind {
    Api(axum::body::Body),
    Page(Full<Bytes>),
    Answer(Box<Answer>),
}

/// The body of an answer to a client.
pub(super) struct ResponseBody {
    kind: Kind,
    _answering: Answering,
}

impl ResponseBody {
    pub(super) fn api(body: axum::body::Body, answering: Answering) -> ResponseBody {
        ResponseBody { kind: Kind::Api(body), _answering: answering }
    }

    pub(super) fn page(page: String, answering: Answering) -> ResponseBody {
        ResponseBody { kind: Kind::Page(Full::from(page)), _answering: answering }
    }

    pub(super) fn answer(answer: Answer, answering: Answering) -> ResponseBody {
        ResponseBody { kind: Kind::Answer(Box::new(answer)), _answering: answering }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().kind {
            Kind::Api(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Page(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Kind::Answer(answer) => {
                if let Some(link) = &mut answer.link {
                    link.drive(cx);
                }
                let polled = Pin::new(&mut answer.incoming).poll_frame(cx);
                match &polled {
                    Poll::Ready(None) => answer.give_back(),
                    Poll::Ready(Some(Err(error))) => {
                        tracing::debug!(%error, "an instance broke off in its answer");
                        answer.open.note_error();
                        answer.link = None;
                    }
                    Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
                }
                polled.map_err(Into::into)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Api(body) => body.is_end_stream(),
            Kind::Page(body) => body.is_end_stream(),
            Kind::Answer(answer) => answer.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Api(body) => body.size_hint(),
            Kind::Page(body) => body.size_hint(),
            Kind::Answer(answer) => answer.incoming.size_hint(),
        }
    }
}
