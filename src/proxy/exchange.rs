//! One request and its answer.
//!
//! A request that found its connection closed is sent again on another, if nothing of it was
//! sent or it is safe to repeat; one whose instance was replaced meanwhile goes to the next
//! run. Everything else is answered with what happened.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tenantry_journal::id::{InstanceId, RunId};
use tokio::time::{Instant, timeout_at};

use super::Proxy;
use super::body::{Answer, Progress, RequestBody, ResponseBody};
use super::guarded::Answering;
use super::headers::{self, Peer};
use super::page::Refusal;
use super::ready::{self, Target};
use super::route::{Route, State, choose, state};
use super::runs::UnderWay;
use super::traffic::Open;
use super::upstream::{self, Link};

/// How long an instance may take from the last byte of a request to the head of its answer;
/// nginx's default.
pub(super) const HEAD: Duration = Duration::from_secs(60);
/// How long it may take until it is known that a process that does not answer has ended.
const KNOWN: Duration = Duration::from_secs(1);
/// How often it is tried at most to send a request: each time to another run.
const ATTEMPTS: u32 = 6;
/// More open requests to one instance than any process on one machine works at.
const OPEN: u64 = 16_384;

/// Why there is no answer of the instance's.
pub(super) enum Failure {
    /// Nothing of the request was sent.
    Unsent,
    /// The connection was closed before the answer; whether the request may be sent again.
    Broken { again: bool },
    /// It is told to the client.
    Told(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Told(refusal)
    }
}

/// A way to send a request to a process and to get the head of its answer.
pub(super) trait Way: Send {
    /// An answer whose head has come.
    type Answer: Send;

    /// Sends it. It is asked again, with another run, after what may be tried again.
    fn send(
        &mut self,
        proxy: &Arc<Proxy>,
        target: &Target,
        under_way: &UnderWay,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// An instance has answered.
pub(super) struct Reached<T> {
    pub(super) answer: T,
    pub(super) under_way: UnderWay,
    pub(super) open: Open,
}

/// A request on its way.
struct Passing {
    parts: Parts,
    body: Option<RequestBody>,
    /// It wants to change the protocol, on a connection of its own.
    is_upgrade: bool,
    /// Set when there is a body that moves.
    progress: Option<Arc<Progress>>,
    /// Sending it twice is as good as once.
    is_repeatable: bool,
}

impl Proxy {
    /// Answers a request with what its instance answers, or says why not.
    pub(super) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        route: Route,
        host: HeaderValue,
        peer: &Peer,
        answering: Answering,
    ) -> Response<ResponseBody> {
        match self.exchange(request, &route, &host, peer).await {
            Ok((response, answer)) => response.map(|()| ResponseBody::answer(answer, answering)),
            Err(refusal) => refusal.page().map(|page| ResponseBody::page(page, answering)),
        }
    }

    async fn exchange(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        route: &Route,
        host: &HeaderValue,
        peer: &Peer,
    ) -> Result<(Response<()>, Answer), Refusal> {
        let is_upgrade = request.headers().contains_key(UPGRADE)
            && request.body().is_end_stream()
            && names_upgrade(request.headers());
        let upgraded = is_upgrade.then(|| hyper::upgrade::on(&mut request));
        let mut passing = prepare(request, host, peer, is_upgrade)?;
        let Reached { answer: (mut response, link), under_way, open } =
            self.reach(route, &mut passing).await?;
        if response.status().is_server_error() {
            open.note_error();
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgraded) = upgraded else {
                return Err(note(&open, Refusal::Unreachable));
            };
            let theirs = hyper::upgrade::on(&mut response);
            return Ok(self.join(response, upgraded, theirs, open));
        }
        headers::to_client(response.headers_mut());
        let (mut parts, incoming) = response.into_parts();
        // An instance that speaks 1.0 speaks it to us alone.
        parts.version = Version::HTTP_11;
        let answer = Answer { incoming, link, under_way: Some(under_way), open };
        Ok((Response::from_parts(parts, ()), answer))
    }

    /// Sends a request to the instance that it is for, once that is up.
    ///
    /// # Errors
    /// When it did not answer.
    pub(super) async fn reach<W: Way>(
        self: &Arc<Self>,
        route: &Route,
        way: &mut W,
    ) -> Result<Reached<W::Answer>, Refusal> {
        let (first, patience) = {
            let world = self.handle.world();
            let chosen = choose(&world, route)?;
            (chosen.id, ready::patience(chosen))
        };
        let deadline = Instant::now() + patience;
        let mut open = self.enter(first).await?;
        let mut chosen = first;
        let (mut attempts, mut was_broken) = (0, false);
        loop {
            attempts += 1;
            let target = match self.target(route, &mut chosen, &mut open, deadline).await {
                Ok(target) => target,
                Err(refusal) => return Err(note(&open, refusal)),
            };
            let under_way = self.runs.enter(target.run);
            if !self.is_up(chosen, target.run) {
                continue;
            }
            match way.send(self, &target, &under_way).await {
                Ok(answer) => return Ok(Reached { answer, under_way, open }),
                Err(Failure::Told(refusal)) => return Err(note(&open, refusal)),
                Err(Failure::Broken { again }) => {
                    // One that ended a run is not let loose on each run after it.
                    let is_first = !std::mem::replace(&mut was_broken, true);
                    if !(again && is_first && self.moved_on(chosen, target.run).await) {
                        return Err(note(&open, Refusal::Unreachable));
                    }
                }
                Err(Failure::Unsent) => {
                    if attempts >= ATTEMPTS || !self.moved_on(chosen, target.run).await {
                        return Err(note(&open, Refusal::Unreachable));
                    }
                }
            }
        }
    }

    /// Counts a request to an instance.
    async fn enter(&self, instance: InstanceId) -> Result<Open, Refusal> {
        let open = self.traffic.counter(instance).enter().await;
        if open.in_flight() > OPEN {
            return Err(note(&open, Refusal::Busy));
        }
        Ok(open)
    }

    /// Where the request goes, once that is up.
    async fn target(
        &self,
        route: &Route,
        chosen: &mut InstanceId,
        open: &mut Open,
        deadline: Instant,
    ) -> Result<Target, Refusal> {
        let world = self.handle.world();
        let before = world.instances.get(*chosen);
        // What was chosen stays chosen while it is able: a weight is decided on once.
        let instance = match before {
            Some(instance) if !matches!(state(instance), State::Down) => instance,
            _ => choose(&world, route)?,
        };
        if instance.id != *chosen {
            *open = self.enter(instance.id).await?;
            *chosen = instance.id;
        }
        ready::up(&self.handle, instance, deadline).await
    }

    /// Whether a run is the one that answers, as the World is now.
    fn is_up(&self, instance: InstanceId, run: RunId) -> bool {
        let world = self.handle.world();
        let present = world.instances.get(instance).map(|instance| state(instance));
        matches!(present, Some(State::Up(present, _)) if present == run)
    }

    /// Whether another run may answer soon: the one that did not is over, or about to be.
    async fn moved_on(&self, instance: InstanceId, run: RunId) -> bool {
        let moved = self.handle.until(Instant::now() + KNOWN, |world| {
            let present = world.instances.get(instance).map(|instance| state(instance));
            (!matches!(present, Some(State::Up(present, _)) if present == run)).then_some(())
        });
        moved.await.is_some()
    }

    /// Sends a request on a connection of the pool, or on a new one.
    async fn send(
        &self,
        target: &Target,
        under_way: &UnderWay,
        passing: &mut Passing,
    ) -> Result<(Response<Incoming>, Option<Link>), Failure> {
        loop {
            let kept = kept(under_way).await;
            let is_kept = kept.is_some();
            let mut link = match kept {
                Some(link) => link,
                None => {
                    let stream = upstream::connect_or_say(target).await?;
                    let (sender, driver) = upstream::handshake(stream).await.map_err(|_| Failure::Unsent)?;
                    Link::new(sender, driver)
                }
            };
            let Some(request) = passing.request() else { return Err(Failure::Broken { again: false }) };
            let sent = passing.within(link.send(request)).await?;
            match sent {
                Ok(response) => return Ok((response, Some(link))),
                Err(error) => {
                    let failure = passing.take_back(error);
                    // The instance closed it while nobody looked: that says nothing about it.
                    let is_stale =
                        is_kept && matches!(failure, Failure::Unsent | Failure::Broken { again: true });
                    if !is_stale {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Sends a request to change the protocol, on a connection of its own.
    async fn send_upgrading(
        &self,
        target: &Target,
        passing: &mut Passing,
    ) -> Result<(Response<Incoming>, Option<Link>), Failure> {
        let stream = upstream::connect_or_say(target).await?;
        let Ok((mut sender, driver)) = upstream::handshake(stream).await else { return Err(Failure::Unsent) };
        tokio::spawn(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::debug!(%error, "a connection to an instance broke");
            }
        });
        let Some(request) = passing.request() else { return Err(Failure::Broken { again: false }) };
        let sent = passing.within(sender.try_send_request(request)).await?;
        match sent {
            Ok(response) => Ok((response, None)),
            Err(error) => Err(passing.take_back(error)),
        }
    }

    /// Joins the two streams, once both sides have changed the protocol.
    fn join(
        self: &Arc<Self>,
        mut response: Response<Incoming>,
        ours: hyper::upgrade::OnUpgrade,
        theirs: hyper::upgrade::OnUpgrade,
        open: Open,
    ) -> (Response<()>, Answer) {
        headers::to_client_upgrading(response.headers_mut());
        let (mut parts, incoming) = response.into_parts();
        // An instance that speaks 1.0 speaks it to us alone.
        parts.version = Version::HTTP_11;
        let counter = open.again();
        tokio::spawn(async move {
            let _open = counter;
            let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
            let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
            // Either side may end it, and half of it too.
            if let Err(error) = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await {
                tracing::debug!(%error, "a stream broke");
            }
        });
        let answer = Answer { incoming, link: None, under_way: None, open };
        (Response::from_parts(parts, ()), answer)
    }
}

/// A connection that waited and still lives.
async fn kept(under_way: &UnderWay) -> Option<Link> {
    while let Some(mut link) = under_way.kept() {
        let is_ready = std::future::poll_fn(|cx| std::task::Poll::Ready(link.is_ready(cx))).await;
        if is_ready {
            return Some(link);
        }
    }
    None
}

fn note(open: &Open, refusal: Refusal) -> Refusal {
    if refusal.is_error() {
        open.note_error();
    }
    refusal
}

/// Whether the connection's options ask for another protocol.
fn names_upgrade(headers: &hyper::HeaderMap) -> bool {
    headers
        .get_all(hyper::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

fn prepare(
    request: Request<Incoming>,
    host: &HeaderValue,
    peer: &Peer,
    is_upgrade: bool,
) -> Result<Passing, Refusal> {
    let (mut parts, incoming) = request.into_parts();
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
    parts.uri = origin_form(&parts.uri)?;
    if is_upgrade {
        headers::to_instance_upgrading(&mut parts.headers, peer, host);
    } else {
        headers::to_instance(&mut parts.headers, peer, host);
    }
    let is_empty = incoming.is_end_stream();
    let is_safe = matches!(
        parts.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    let progress = (!is_empty).then(Progress::new);
    let body = match &progress {
        Some(progress) => RequestBody::Sent(incoming, Arc::clone(progress)),
        None => RequestBody::None,
    };
    Ok(Passing {
        parts,
        body: Some(body),
        is_upgrade,
        progress,
        is_repeatable: is_empty && is_safe && !is_upgrade,
    })
}

/// The target as it is sent to a server, whatever form it came in.
fn origin_form(uri: &Uri) -> Result<Uri, Refusal> {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return Ok(uri.clone());
    }
    let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    Uri::builder().path_and_query(path).build().map_err(|_| Refusal::Malformed)
}

impl Way for Passing {
    type Answer = (Response<Incoming>, Option<Link>);

    async fn send(
        &mut self,
        proxy: &Arc<Proxy>,
        target: &Target,
        under_way: &UnderWay,
    ) -> Result<Self::Answer, Failure> {
        if self.is_upgrade {
            proxy.send_upgrading(target, self).await
        } else {
            proxy.send(target, under_way, self).await
        }
    }
}

impl Passing {
    /// The request to be sent; `None` when its body is gone.
    fn request(&mut self) -> Option<Request<RequestBody>> {
        let body = if self.is_repeatable { RequestBody::None } else { self.body.take()? };
        Some(Request::from_parts(self.parts.clone(), body))
    }

    /// Takes note of a request that got no answer.
    fn take_back(&mut self, mut error: upstream::SendError) -> Failure {
        tracing::debug!(error = %error.error(), "a request got no answer");
        if let Some(unsent) = error.take_message() {
            self.body = Some(unsent.into_body());
            return Failure::Unsent;
        }
        // The client broke off in its request: the instance has done nothing wrong.
        if error.error().is_user() {
            return Failure::Told(Refusal::Slow);
        }
        Failure::Broken { again: self.is_repeatable }
    }

    /// Waits for the head of the answer, from the moment on at which the request was sent.
    async fn within<T>(&self, sending: impl Future<Output = T>) -> Result<T, Failure> {
        let mut sending = std::pin::pin!(sending);
        let mut from = Instant::now();
        loop {
            if let Ok(sent) = timeout_at(from + HEAD, &mut sending).await {
                return Ok(sent);
            }
            match self.progress.as_ref().map(|progress| progress.last()) {
                // Something of the body has moved since.
                Some(last) if last > from => from = last,
                _ => return Err(Failure::Told(Refusal::Late)),
            }
        }
    }
}
