//! The short way of a plain request: its head is rewritten into the one for the instance, and
//! the answer is passed on as it comes.
//!
//! Nearly all traffic is plain: one head, a body that came with it or none, no other protocol.
//! The library takes each head apart and puts it together again, on both sides; that is most
//! of what a request costs. A connection begins here, and goes over to the library with the
//! first request that is not plain or not for an instance.

mod answer;
pub(super) mod api;
mod head;
mod own;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::answer::{Answer, Came};
use self::head::MOST_HEADERS;
use self::own::write_page;
use super::Proxy;
use super::alarm::Alarm;
use super::exchange::{Failure, HEAD, Reached, Way};
use super::guarded::{Answering, Guarded};
use super::headers::Peer;
use super::page::Refusal;
use super::ready::Target;
use super::route::Route;
use super::runs::UnderWay;
use super::serve::{Client, Watch};
use super::strict::{Ambiguous, HEAD_LIMIT};
use super::upstream::{self, Stream};
use crate::http::origin;

/// How much is read of a client at a time: more than most heads have.
const FROM_CLIENT: usize = 4 * 1024;
/// How much is read of an instance at a time.
const FROM_INSTANCE: usize = 16 * 1024;
/// How much memory a connection keeps for what it writes while it waits for its next request.
const KEPT_ROOM: usize = 4 * 1024;

/// How a connection goes on.
pub(super) enum Left {
    /// It is over.
    Closed,
    /// With the library, in traffic; what was read is read again.
    Library,
    /// The same with the API.
    Api,
}

/// A connection to an instance that can take a plain request.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    /// What came of it and was not passed on.
    buffer: Vec<u8>,
}

impl Link {
    /// Whether it still waits, and nothing has come that nobody asked for.
    pub(super) fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0; 1];
        self.buffer.is_empty()
            && Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

/// What is passed on, and what has to be known of it.
struct Request {
    route: Route,
    is_head: bool,
    is_repeatable: bool,
    closes: bool,
}

/// What came of a client.
enum Next {
    Part,
    Other,
    Api,
    Plain(Request),
}

/// A client's connection.
struct Short<'c> {
    client: &'c Client,
    io: &'c mut Guarded<TcpStream>,
    /// What came of the client and belongs to no request yet.
    inbox: Vec<u8>,
    /// The present request, as the instance gets it.
    request: Vec<u8>,
    /// What the client gets next.
    answer: Vec<u8>,
    alarm: Alarm,
    /// Whether the client has said that it will send no more.
    is_half: bool,
}

/// Answers requests as long as they are plain.
pub(super) async fn serve(io: &mut Guarded<TcpStream>, client: &Client, watch: &mut Watch<'_>) -> Left {
    let mut short = Short::new(io, client);
    loop {
        let next = if client.told.is_refused() { Next::Other } else { short.next() };
        match next {
            Next::Plain(request) => {
                if !short.pass(request, watch).await {
                    return Left::Closed;
                }
            }
            Next::Part => {
                if !short.read(watch).await {
                    return Left::Closed;
                }
            }
            Next::Other | Next::Api => {
                short.give_back();
                return if matches!(next, Next::Api) { Left::Api } else { Left::Library };
            }
        }
    }
}

impl<'c> Short<'c> {
    fn new(io: &'c mut Guarded<TcpStream>, client: &'c Client) -> Short<'c> {
        Short {
            client,
            io,
            inbox: Vec::new(),
            request: Vec::new(),
            answer: Vec::new(),
            alarm: Alarm::default(),
            is_half: false,
        }
    }

    /// Has the next reader of the connection read again what was read of it.
    fn give_back(&mut self) {
        self.io.take_back(std::mem::take(&mut self.inbox));
    }

    /// Sends what is written; false when the client is gone.
    async fn flush(&mut self) -> bool {
        let is_sent = self.answer.is_empty() || self.io.write_all(&self.answer).await.is_ok();
        self.answer.clear();
        is_sent
    }

    /// Gives up what a long message has needed.
    fn give_up_room(&mut self) {
        for room in [&mut self.answer, &mut self.request] {
            if room.capacity() > KEPT_ROOM {
                *room = Vec::new();
            }
        }
    }

    /// Reads more of the client; false at the end of the connection.
    async fn read(&mut self, watch: &mut Watch<'_>) -> bool {
        if self.is_half {
            return false;
        }
        let is_waiting = self.inbox.is_empty();
        self.inbox.reserve(FROM_CLIENT);
        let mut read = pin!(self.io.read_buf(&mut self.inbox));
        let read = poll_fn(|cx| {
            // Between two requests it may be closed.
            if watch.is_over(cx) && is_waiting {
                return Poll::Ready(Ok(0));
            }
            read.as_mut().poll(cx)
        });
        match read.await {
            Ok(bytes) => bytes > 0,
            Err(error) => {
                tracing::debug!(%error, client.address = %self.client.address, "a connection broke");
                false
            }
        }
    }

    /// The request that came, if it is whole and plain; it is moved out of the inbox.
    fn next(&mut self) -> Next {
        if self.inbox.is_empty() {
            return Next::Part;
        }
        let (front, inbox) = (&*self.client.front, &self.inbox);
        let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let head = match head::read(inbox, &mut room) {
            head::Came::Plain(head) => head,
            head::Came::Part if inbox.len() <= HEAD_LIMIT => return Next::Part,
            head::Came::Other(Some(host)) if self.client.is_own(origin::name_of(host)) => return Next::Api,
            head::Came::Part | head::Came::Other(_) => return Next::Other,
        };
        let name = origin::name_of(head.host);
        let beyond =
            head.edge.and_then(|shown| Peer::spoken_for(shown, head.address, head.scheme, &front.edge));
        if beyond.is_none() && self.client.is_own(name) {
            return Next::Api;
        }
        let Some(route) = front.proxy.route(name.trim_end_matches('.')) else { return Next::Other };
        self.request.clear();
        head.write(beyond.as_ref().unwrap_or(&self.client.peer), &mut self.request);
        let (length, closes) = (head.length, head.closes);
        let (is_head, is_repeatable) = (head.is_head(), head.is_repeatable());
        if length == self.inbox.len() {
            self.inbox.clear();
        } else {
            self.inbox.drain(..length);
        }
        Next::Plain(Request { route, is_head, is_repeatable, closes })
    }

    /// Passes a request on and its answer back; false at the end of the connection.
    async fn pass(&mut self, request: Request, watch: &Watch<'_>) -> bool {
        let proxy = &self.client.front.proxy;
        let answering = self.client.told.answering();
        self.answer.clear();
        let Request { route, is_head, is_repeatable, closes } = request;
        let mut passing = Passing { short: self, watch, is_head, is_repeatable, closes, is_gone: false };
        let reached = proxy.reach(&route, &mut passing).await;
        let (is_gone, mut closes) = (passing.is_gone, passing.closes);
        let is_kept = match reached {
            _ if is_gone => false,
            Ok(reached) => self.stream(reached).await,
            Err(refusal) => {
                closes |= refusal.closes();
                self.answer.clear();
                write_page(refusal, is_head, closes, &mut self.answer);
                self.flush().await
            }
        };
        drop::<Answering>(answering);
        self.give_up_room();
        if is_kept && closes {
            let _ = self.io.shutdown().await;
        }
        is_kept && !closes
    }

    /// Passes the body of an answer on, after its head; false when it breaks off.
    async fn stream(&mut self, reached: Reached<(Link, Answer)>) -> bool {
        let Reached { answer: (mut link, mut answer), under_way, open } = reached;
        if answer.status >= 500 {
            open.note_error();
        }
        let mut is_over = false;
        loop {
            if !is_over {
                match answer.pass(&mut link.buffer, &mut self.answer) {
                    Ok(is_end) => is_over = is_end,
                    Err(Ambiguous) => {
                        tracing::debug!("an instance's answer is not what its head says");
                        open.note_error();
                        return false;
                    }
                }
            }
            if !self.flush().await {
                return false;
            }
            if is_over {
                break;
            }
            match self.more(&mut link, None).await {
                More::Bytes => {}
                More::End if answer.end(&mut self.answer) => is_over = true,
                More::Gone => return false,
                More::End | More::Late => {
                    tracing::debug!("an instance broke off in its answer");
                    open.note_error();
                    return false;
                }
            }
        }
        if answer.keeps(&link.buffer) {
            under_way.keep_plain(link);
        }
        true
    }

    /// Waits for more of an instance, until `deadline`.
    async fn more(&mut self, link: &mut Link, deadline: Option<Instant>) -> More {
        if link.buffer.capacity() - link.buffer.len() < FROM_INSTANCE / 4 {
            link.buffer.reserve(FROM_INSTANCE);
        }
        let mut alarm = std::mem::take(&mut self.alarm);
        let mut read = pin!(link.stream.read_buf(&mut link.buffer));
        let came = poll_fn(|cx| match (read.as_mut().poll(cx), deadline) {
            (Poll::Ready(Ok(0) | Err(_)), _) => Poll::Ready(More::End),
            (Poll::Ready(Ok(_)), _) => Poll::Ready(More::Bytes),
            (Poll::Pending, Some(deadline)) => alarm.poll(deadline, cx).map(|()| More::Late),
            (Poll::Pending, None) => Poll::Pending,
        });
        let more = self.meanwhile(came).await.unwrap_or(More::Gone);
        self.alarm = alarm;
        more
    }

    /// Waits for something that others do; `None` when the client is gone before.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let Short { io, inbox, is_half, .. } = self;
        // What a client sends meanwhile waits: the system holds the rest of it.
        let mut is_watched = !*is_half && inbox.len() < HEAD_LIMIT;
        if is_watched {
            inbox.reserve(FROM_CLIENT);
        }
        let mut what = pin!(what);
        let mut sent = pin!(io.read_buf(inbox));
        poll_fn(|cx| {
            if let Poll::Ready(done) = what.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            if is_watched && let Poll::Ready(sent) = sent.as_mut().poll(cx) {
                is_watched = false;
                match sent {
                    // Whoever has closed its sending half still gets its answer.
                    Ok(0) => *is_half = true,
                    Ok(_) => {}
                    Err(_) => return Poll::Ready(None),
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// What a wait for an instance has come to.
enum More {
    Bytes,
    /// It has closed, or broken, the connection.
    End,
    /// The client is not there any more.
    Gone,
    /// The time is over.
    Late,
}

/// A plain request on its way.
struct Passing<'s, 'c, 'w> {
    short: &'s mut Short<'c>,
    watch: &'s Watch<'w>,
    is_head: bool,
    is_repeatable: bool,
    closes: bool,
    is_gone: bool,
}

impl Way for Passing<'_, '_, '_> {
    type Answer = (Link, Answer);

    async fn send(
        &mut self,
        _: &Arc<Proxy>,
        target: &Target,
        under_way: &UnderWay,
    ) -> Result<(Link, Answer), Failure> {
        loop {
            let kept = poll_fn(|cx| Poll::Ready(under_way.kept_plain(cx))).await;
            let is_kept = kept.is_some();
            let mut link = match kept {
                Some(link) => link,
                None => Link { stream: upstream::connect_or_say(target).await?, buffer: Vec::new() },
            };
            match self.ask(&mut link).await {
                Ok(answer) => return Ok((link, answer)),
                // The instance closed it while nobody looked: that says nothing about it.
                Err(Failure::Unsent | Failure::Broken { again: true }) if is_kept => {}
                Err(failure) => return Err(failure),
            }
        }
    }
}

impl Passing<'_, '_, '_> {
    /// Sends the request and reads the head of its answer.
    async fn ask(&mut self, link: &mut Link) -> Result<Answer, Failure> {
        let deadline = Instant::now() + HEAD;
        let broken = Failure::Broken { again: self.is_repeatable };
        match write(&mut link.stream, &self.short.request, &mut self.short.alarm, deadline).await {
            Ok(()) => {}
            Err(Unwritten { sent: 0, .. }) => return Err(Failure::Unsent),
            Err(Unwritten { error, .. }) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Failure::Told(Refusal::Late));
            }
            // It may have answered before it closed.
            Err(_) => {}
        }
        loop {
            match self.short.more(link, Some(deadline)).await {
                More::Bytes => {}
                More::End => return Err(broken),
                More::Late => return Err(Failure::Told(Refusal::Late)),
                More::Gone => {
                    self.is_gone = true;
                    return Err(Failure::Told(Refusal::Slow));
                }
            }
            if let Some(answer) = self.head(link)? {
                return Ok(answer);
            }
        }
    }

    /// The head of the answer, when it has come, as the client gets it.
    fn head(&mut self, link: &mut Link) -> Result<Option<Answer>, Failure> {
        // Whoever stops serving says so in its last answer.
        let closes = self.closes || self.watch.is_begun();
        loop {
            let came = answer::read(&link.buffer, self.is_head, closes, &mut self.short.answer);
            match came {
                Ok(Came::Whole(answer, length)) => {
                    link.buffer.drain(..length);
                    self.closes = closes;
                    return Ok(Some(answer));
                }
                Ok(Came::Interim(length)) => drop(link.buffer.drain(..length)),
                Ok(Came::Part) if link.buffer.len() <= HEAD_LIMIT => return Ok(None),
                Ok(Came::Part) | Err(Ambiguous) => {
                    tracing::debug!("an instance's answer cannot be understood");
                    return Err(Failure::Told(Refusal::Unreachable));
                }
            }
        }
    }
}

/// Not everything was written.
struct Unwritten {
    sent: usize,
    error: io::Error,
}

async fn write(
    stream: &mut Stream,
    bytes: &[u8],
    alarm: &mut Alarm,
    deadline: Instant,
) -> Result<(), Unwritten> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        let written = poll_fn(|cx| match Pin::new(&mut *stream).poll_write(cx, rest) {
            Poll::Ready(written) => Poll::Ready(written),
            Poll::Pending => alarm.poll(deadline, cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        });
        match written.await {
            Ok(0) => return Err(Unwritten { sent, error: io::ErrorKind::WriteZero.into() }),
            Ok(written) => sent += written,
            Err(error) => return Err(Unwritten { sent, error }),
        }
    }
    Ok(())
}
