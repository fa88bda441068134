//! Plain requests for the API: taken apart here and not by the library, which costs as much
//! as most of what is asked for.

use std::future::poll_fn;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::task::Poll;

use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use hyper::body::{Body as _, Frame};
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::guarded::Guarded;
use super::super::serve::{Client, Watch};
use super::super::strict::HEAD_LIMIT;
use super::head::{self, Head, MOST_HEADERS};
use super::own::write_head;
use super::{Left, Short};
use crate::http::api::Api;
use crate::http::origin;

/// Data up to this length is copied behind its head, so that both are sent at once.
const TOGETHER: usize = 16 * 1024;

/// A request for the API, and what has to be known of it.
struct Asked {
    request: Request<Body>,
    is_head: bool,
    closes: bool,
}

/// What came of a client.
enum Next {
    Part,
    Other,
    Plain(Box<Asked>),
}

/// Answers requests for the API as long as they are plain.
pub(in super::super) async fn serve(
    io: &mut Guarded<TcpStream>,
    client: &Client,
    api: &Api,
    watch: &mut Watch<'_>,
) -> Left {
    let mut short = Short::new(io, client);
    loop {
        let next = if client.told.is_refused() { Next::Other } else { next(&mut short) };
        match next {
            Next::Plain(asked) => {
                if !answer(&mut short, api, *asked, watch).await {
                    return Left::Closed;
                }
            }
            Next::Part => {
                if !short.read(watch).await {
                    return Left::Closed;
                }
            }
            Next::Other => {
                short.give_back();
                return Left::Library;
            }
        }
    }
}

/// The request that came, if it is whole, plain and for the API; it is moved out of the inbox.
fn next(short: &mut Short<'_>) -> Next {
    if short.inbox.is_empty() {
        return Next::Part;
    }
    // Its headers go on as parts of these bytes.
    let bytes = Bytes::from(std::mem::take(&mut short.inbox));
    let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let (next, length) = match head::read(&bytes, &mut room) {
        head::Came::Plain(head) if head.edge.is_none() && short.client.is_own(origin::name_of(head.host)) => {
            match request(&head, &bytes) {
                Some(mut request) => {
                    request.extensions_mut().insert(ConnectInfo(short.client.address));
                    let (is_head, closes) = (head.is_head(), head.closes);
                    (Next::Plain(Box::new(Asked { request, is_head, closes })), head.length)
                }
                None => (Next::Other, 0),
            }
        }
        head::Came::Part if bytes.len() <= HEAD_LIMIT => (Next::Part, 0),
        head::Came::Plain(_) | head::Came::Part | head::Came::Other(_) => (Next::Other, 0),
    };
    if length == 0 {
        short.inbox = Vec::from(bytes);
    } else if length < bytes.len() {
        short.inbox.extend_from_slice(bytes.get(length..).unwrap_or_default());
    }
    next
}

/// The request as the API takes it.
fn request(head: &Head<'_, '_>, bytes: &Bytes) -> Option<Request<Body>> {
    let mut request = Request::new(match head.body() {
        [] => Body::empty(),
        body => Body::from(bytes.slice_ref(body)),
    });
    *request.method_mut() = Method::from_bytes(head.method().as_bytes()).ok()?;
    let target = bytes.slice_ref(head.target().as_bytes());
    *request.uri_mut() = Uri::from(PathAndQuery::from_maybe_shared(target).ok()?);
    let headers = request.headers_mut();
    headers.reserve(head.headers().len());
    for header in head.headers() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(bytes.slice_ref(header.value)).ok()?);
    }
    Some(request)
}

/// Asks the API and sends its answer; false at the end of the connection.
async fn answer(short: &mut Short<'_>, api: &Api, asked: Asked, watch: &Watch<'_>) -> bool {
    let _answering = short.client.told.answering();
    let Asked { request, is_head, closes } = asked;
    let response = api.answer(request).await;
    // Whoever stops serving says so in its last answer.
    let closes = closes || watch.is_begun() || response.headers().contains_key(CONNECTION);
    short.answer.clear();
    let is_sent = match write_head(&response, is_head, closes, &mut short.answer) {
        Some(is_chunked) => send(short, response.into_body(), is_chunked).await,
        None => short.flush().await,
    };
    short.give_up_room();
    if is_sent && closes {
        let _ = short.io.shutdown().await;
    }
    is_sent && !closes
}

/// Sends a body behind its head; false when it breaks off, or the client is gone.
async fn send(short: &mut Short<'_>, body: Body, is_chunked: bool) -> bool {
    let mut body = pin!(body);
    loop {
        let came = poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx))).await;
        let frame = match came {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                // What is there does not wait for what is still to be made.
                if !short.flush().await {
                    return false;
                }
                match short.meanwhile(poll_fn(|cx| body.as_mut().poll_frame(cx))).await {
                    Some(frame) => frame,
                    None => return false,
                }
            }
        };
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                if !write_data(short, &data, is_chunked).await {
                    return false;
                }
            }
            // None of ours has trailers.
            Some(Ok(Err(_))) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "an answer broke off");
                return false;
            }
            None => break,
        }
    }
    if is_chunked {
        short.answer.extend_from_slice(b"0\r\n\r\n");
    }
    short.flush().await
}

/// Puts data behind what is to be sent; long data is sent at once.
async fn write_data(short: &mut Short<'_>, data: &[u8], is_chunked: bool) -> bool {
    if data.is_empty() {
        return true;
    }
    if is_chunked {
        // Writing to memory does not fail.
        let _ = write!(short.answer, "{:x}\r\n", data.len());
    }
    if short.answer.len() + data.len() <= TOGETHER {
        short.answer.extend_from_slice(data);
    } else if !(short.flush().await && short.io.write_all(data).await.is_ok()) {
        return false;
    }
    if is_chunked {
        short.answer.extend_from_slice(b"\r\n");
    }
    true
}
