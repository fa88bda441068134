//! The front of every listener: takes connections, and tells requests for instances from
//! those for the API.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body as ApiBody;
use axum::extract::ConnectInfo;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

use super::Proxy;
use super::body::ResponseBody;
use super::guarded::{Guarded, LIMITS, Told};
use super::headers::{EdgeKey, Peer};
use super::page::Refusal;
use super::plain::{self, Left};
use super::strict::HEAD_LIMIT;
use crate::http::api::Api;
use crate::http::origin;
use crate::http::state::HttpSettings;

/// How long nobody is let in after that failed: without descriptors it fails again at once.
const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// After how long a silent client is asked whether it is still there.
const ALIVE_AFTER: Duration = Duration::from_secs(60);
/// How often, and how many times, before it is given up.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const ALIVE_TIMES: u32 = 4;
/// How long sent bytes may stay untaken, in milliseconds: a client that does not read holds
/// no connection to an instance for longer.
const UNTAKEN_MS: u32 = 300_000;

/// What stands behind a listener.
pub struct Front {
    /// The API; a listener without one serves instances alone.
    pub api: Option<Api>,
    /// Where connections of the API go on; where they came in, without one.
    pub api_runtime: Option<Handle>,
    /// The way to instances.
    pub proxy: Arc<Proxy>,
    /// Which names are the API's.
    pub settings: Arc<ArcSwap<HttpSettings>>,
    /// What nginx shows to be believed.
    pub edge: EdgeKey,
}

/// One client.
pub(super) struct Client {
    pub(super) front: Arc<Front>,
    pub(super) told: Arc<Told>,
    pub(super) address: SocketAddr,
    pub(super) peer: Peer,
}

/// The end of a listener, as its connections see it. Asking the token itself takes a lock that
/// all of them share.
#[derive(Default)]
struct Ending {
    is_begun: AtomicBool,
    /// Wakes them.
    begun: CancellationToken,
}

impl Ending {
    fn begin(&self) {
        // Before they wake: they look at it then.
        self.is_begun.store(true, Ordering::Release);
        self.begun.cancel();
    }

    fn is_begun(&self) -> bool {
        self.is_begun.load(Ordering::Acquire)
    }
}

/// How one connection looks at the end of its listener.
pub(super) struct Watch<'e> {
    ending: &'e Ending,
    begun: Pin<Box<WaitForCancellationFuture<'e>>>,
    is_registered: bool,
}

impl<'e> Watch<'e> {
    fn new(ending: &'e Ending) -> Watch<'e> {
        Watch { ending, begun: Box::pin(ending.begun.cancelled()), is_registered: false }
    }

    pub(super) fn is_begun(&self) -> bool {
        self.ending.is_begun()
    }

    /// Whether the end has begun; else the task that asks is woken then. One task alone may ask.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if std::mem::replace(&mut self.is_registered, true) {
            return self.ending.is_begun();
        }
        self.begun.as_mut().poll(cx).is_ready()
    }
}

/// Serves until `shutdown`; then lets open requests end, for as long as they take.
pub async fn serve(listener: TcpListener, front: Front, shutdown: CancellationToken) {
    let front = Arc::new(front);
    let ending = Arc::new(Ending::default());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let (front, ending) = (Arc::clone(&front), Arc::clone(&ending));
                connections.spawn(attend(stream, address, front, ending, connections.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    drop(listener);
    ending.begin();
    connections.close();
    connections.wait().await;
}

/// One connection's life.
async fn attend(
    stream: TcpStream,
    address: SocketAddr,
    front: Arc<Front>,
    ending: Arc<Ending>,
    connections: TaskTracker,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a connection keeps the system's settings");
    }
    let told = Arc::new(Told::default());
    let mut io = Guarded::new(stream, Arc::clone(&told), LIMITS);
    let peer = Peer::new(address.ip());
    let client = Arc::new(Client { front, told, address, peer });
    let left = plain::serve(&mut io, &client, &mut Watch::new(&ending)).await;
    match (left, &client.front.api_runtime) {
        (Left::Closed, _) => {}
        (Left::Api, Some(runtime)) => {
            let runtime = runtime.clone();
            // Known to the other runtime alone, or each read would wake two threads.
            match io.try_map(TcpStream::into_std) {
                Ok(io) => drop(connections.spawn_on(attend_api(io, client, ending), &runtime)),
                Err(error) => tracing::warn!(%error, "a connection could not be handed to the API"),
            }
        }
        // Of its own, so that the others do not carry its room along.
        (Left::Api | Left::Library, _) => Box::pin(attend_whole(io, client, ending)).await,
    }
}

/// The rest of a connection's life in the API's runtime.
async fn attend_api(io: Guarded<std::net::TcpStream>, client: Arc<Client>, ending: Arc<Ending>) {
    match io.try_map(TcpStream::from_std) {
        Ok(mut io) => {
            if let Some(api) = &client.front.api
                && let Left::Closed = plain::api::serve(&mut io, &client, api, &mut Watch::new(&ending)).await
            {
                return;
            }
            Box::pin(attend_whole(io, client, ending)).await;
        }
        Err(error) => tracing::warn!(%error, "the API could not take a connection"),
    }
}

/// The rest of a connection's life, with the HTTP library.
async fn attend_whole(io: Guarded<TcpStream>, client: Arc<Client>, ending: Arc<Ending>) {
    let address = client.address;
    let mut watch = Watch::new(&ending);
    let service = service_fn(move |request| {
        let client = Arc::clone(&client);
        async move { Ok::<_, Infallible>(client.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    // Whoever has closed its sending half still gets its answer. A request may have 100
    // headers, which is hyper's limit: one of our own, even the same, costs it room on the heap.
    http.half_close(true).max_header_size(HEAD_LIMIT).header_read_timeout(None);
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), service).with_upgrades());
    let mut is_ending = false;
    let served = poll_fn(|cx| {
        if !is_ending && watch.is_over(cx) {
            is_ending = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = served.await {
        tracing::debug!(%error, client.address = %address, "a connection broke");
    }
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, ALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ALIVE_TIMES)?;
    sockopt::set_tcp_user_timeout(stream, UNTAKEN_MS)?;
    Ok(())
}

/// The host that a request names, when it names one and only one.
fn host(request: &Request<Incoming>) -> Option<HeaderValue> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next()?;
    if hosts.next().is_some() {
        return None;
    }
    match request.uri().authority() {
        Some(authority) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => None,
        _ => Some(host.clone()),
    }
}

impl Client {
    /// Whether a name is the API's.
    pub(super) fn is_own(&self, name: &str) -> bool {
        origin::is_own(name, &self.front.settings.load().hosts)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let answering = self.told.answering();
        let front = &*self.front;
        let upgrades = request.headers().contains_key(UPGRADE);
        let refuse =
            |refusal: Refusal, answering| refusal.page().map(|page| ResponseBody::page(page, answering));
        if self.told.is_refused() || request.method() == Method::CONNECT {
            return refuse(Refusal::Malformed, answering);
        }
        let named = host(&request);
        let name = named.as_ref().and_then(|host| host.to_str().ok()).map(origin::name_of);
        let is_own = name.is_some_and(|name| self.is_own(name));
        let beyond = Peer::through_edge(request.headers(), &front.edge);
        let peer = beyond.as_ref().unwrap_or(&self.peer);
        // What comes through nginx is for a tenant, or for nobody: never for the API.
        let route = name
            .filter(|_| !is_own || beyond.is_some())
            .and_then(|name| front.proxy.route(name.trim_end_matches('.')));
        let mut response = match (route, named, &front.api) {
            (Some(route), Some(host), _) => front.proxy.answer(request, route, host, peer, answering).await,
            (_, _, Some(api)) if beyond.is_none() => {
                let mut request = request
                    .map(|body| if body.is_end_stream() { ApiBody::empty() } else { ApiBody::new(body) });
                request.extensions_mut().insert(ConnectInfo(self.address));
                api.answer(request).await.map(|body| ResponseBody::api(body, answering))
            }
            (_, Some(_), _) => return refuse(Refusal::Foreign, answering),
            (_, None, _) => return refuse(Refusal::Malformed, answering),
        };
        // What follows a wish to change the protocol is not looked at by the strict reader.
        if upgrades && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
