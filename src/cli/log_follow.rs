//! Lines as they are printed, over a WebSocket, across restarts of the server.
//!
//! The socket begins with what is printed from its upgrade on. So it is opened first, a ping is
//! waited for (the server answers when it follows), and only then are the earlier lines asked
//! for: between the two nothing is lost, and what comes both ways is printed once.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use url::Url;

use super::client::{CONNECT, Client, LARGEST_PAGE, list, text};
use super::failure::{FAILED, Failure, NOT_ALLOWED, UNREACHABLE};
use super::logs::{Source, repeated};

/// A server that was silent for so long is gone; it pings every 20 s.
const SILENCE: Duration = Duration::from_secs(65);
/// How soon a lost connection is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Pages that are read to catch up after a lost connection: what a busy service prints in some
/// seconds. What is older is left out, and that is said.
const MOST_PAGES: usize = 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Prints the newest lines and then every new one, until it fails for good.
pub(super) async fn run(
    client: &Client,
    source: &Source,
    wanted: usize,
    print: impl Fn(&Value) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut printed = Printed::default();
    let mut follower = open(client, source).await?;
    let answer = source.newest(client, wanted.max(1)).await?;
    let lines = list(&answer, "logs");
    for line in lines {
        printed.note(line);
    }
    printed.begin();
    for line in lines.iter().skip(lines.len().saturating_sub(wanted)) {
        print(line)?;
    }
    loop {
        let end = receive(&mut follower, &mut printed, &print).await?;
        if let Some(failure) = end {
            return Err(failure.into());
        }
        eprintln!("tenantry: the connection is lost; trying again");
        let lines;
        (follower, lines) = reopen(client, source, &printed).await?;
        for line in lines {
            print(&line)?;
            printed.note(&line);
        }
        printed.begin();
        eprintln!("tenantry: connected again");
    }
}

/// A socket that follows, and what came before its first pong.
struct Follower {
    socket: Socket,
    waiting: Vec<Value>,
}

async fn open(client: &Client, source: &Source) -> Result<Follower, Failure> {
    let lost = |why: &str| Failure::unreachable(&client.address, why);
    let mut url = Url::parse(&format!("{}{}", client.address, source.path))
        .map_err(|error| Failure::usage(error.to_string()))?;
    url.set_scheme("ws").map_err(|()| Failure::usage("the address must begin with http://"))?;
    url.query_pairs_mut().extend_pairs(&source.query).append_pair("follow", "true");
    let mut request =
        url.as_str().into_client_request().map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(bearer) = client.bearer() {
        request.headers_mut().insert(AUTHORIZATION, bearer.clone());
    }
    let connected = timeout(CONNECT, connect_async(request)).await.map_err(|_| lost("it does not answer"))?;
    let mut socket = match connected {
        Ok((socket, _)) => socket,
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().map(serde_json::from_slice).transpose();
            let body = body.ok().flatten().unwrap_or_default();
            let status = StatusCode::from_u16(response.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
            return Err(Failure::answered(&client.address, status, &body));
        }
        Err(error) => return Err(lost(&error.to_string())),
    };
    socket.send(Message::Ping("follows".into())).await.map_err(|error| lost(&error.to_string()))?;
    let mut waiting = Vec::new();
    loop {
        match timeout(SILENCE, socket.next()).await {
            Ok(Some(Ok(Message::Pong(_)))) => return Ok(Follower { socket, waiting }),
            Ok(Some(Ok(Message::Text(line)))) => waiting.extend(serde_json::from_str::<Value>(&line).ok()),
            Ok(Some(Ok(Message::Close(frame)))) => {
                return Err(ended(frame.as_ref()).unwrap_or_else(|| lost("it is ending")));
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Err(lost(&error.to_string())),
            Ok(None) | Err(_) => return Err(lost("the connection ended")),
        }
    }
}

/// Tries until the server is there again, and gives what was missed. A refusal ends it; a
/// restart does not.
async fn reopen(
    client: &Client,
    source: &Source,
    printed: &Printed,
) -> Result<(Follower, Vec<Value>), Failure> {
    let (mut wait, longest) = RETRY;
    loop {
        let opened = async {
            let follower = open(client, source).await?;
            Ok::<_, Failure>((follower, missed(client, source, printed).await?))
        };
        match opened.await {
            Err(failure) if failure.code == UNREACHABLE || failure.code == FAILED => {}
            opened => return opened,
        }
        sleep(wait).await;
        wait = (wait * 2).min(longest);
    }
}

/// Prints what comes; gives why it is over, or nothing when the connection was lost.
async fn receive(
    follower: &mut Follower,
    printed: &mut Printed,
    print: impl Fn(&Value) -> std::io::Result<()>,
) -> anyhow::Result<Option<Failure>> {
    for line in std::mem::take(&mut follower.waiting) {
        if printed.is_new(&line) {
            print(&line)?;
        }
    }
    loop {
        let message = match timeout(SILENCE, follower.socket.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_)) | None) | Err(_) => return Ok(None),
        };
        match message {
            Message::Text(text) => {
                let line: Value = serde_json::from_str(&text)?;
                if printed.is_new(&line) {
                    print(&line)?;
                }
            }
            Message::Close(frame) => return Ok(ended(frame.as_ref())),
            _ => {}
        }
    }
}

/// Why a socket was closed, when trying again is of no use.
fn ended(frame: Option<&CloseFrame>) -> Option<Failure> {
    let frame = frame?;
    match u16::from(frame.code) {
        4401 => Some(Failure::new(
            NOT_ALLOWED,
            "the credential is not valid, or not any more",
            "Log in with `tenantry login`, or set TENANTRY_TOKEN.",
        )),
        4403 => Some(Failure::new(NOT_ALLOWED, "the credential does not go so far", "")),
        1008 | 1009 => {
            let why = super::safe_text::safe(&frame.reason).into_owned();
            Some(Failure::new(FAILED, format!("the server ended the connection: {why}"), ""))
        }
        _ => None,
    }
}

/// What was printed since, oldest first.
async fn missed(client: &Client, source: &Source, printed: &Printed) -> Result<Vec<Value>, Failure> {
    let mut lines: Vec<Value> = Vec::new();
    for _ in 0..MOST_PAGES {
        let page = source.page(client, LARGEST_PAGE, lines.len()).await?;
        let older = list(&page, "logs");
        let new = older.len() - repeated(older, &lines);
        let reaches_back = older.iter().any(|line| printed.has(line));
        lines.splice(0..0, older.iter().take(new).cloned());
        if reaches_back || older.len() < LARGEST_PAGE {
            return Ok(printed.new_ones(lines));
        }
    }
    eprintln!("tenantry: more was printed than is caught up with; some lines are left out");
    Ok(printed.new_ones(lines))
}

/// What has been printed: for each instance its last moment and that moment's lines.
///
/// Within an instance lines come in the order of their times. Times are RFC 3339 in UTC with
/// milliseconds, so they compare as text.
#[derive(Debug, Default)]
struct Printed {
    last: HashMap<String, Moment>,
    /// Lines that may come a second time: of the moments at which the connection began.
    again: HashMap<String, Moment>,
    /// The newest time of all when the first connection began. An instance that nothing was
    /// printed of since then is caught up with from here.
    floor: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Moment {
    at: String,
    messages: Vec<String>,
}

impl Printed {
    fn note(&mut self, line: &Value) {
        let (at, message) = (text(line, "timestamp"), text(line, "message"));
        let moment = self.last.entry(text(line, "instance")).or_default();
        if moment.at != at {
            *moment = Moment { at, messages: Vec::new() };
        }
        moment.messages.push(message);
    }

    /// A connection begins: what was printed until now may come again.
    fn begin(&mut self) {
        self.again = self.last.clone();
        if self.floor.is_none() {
            self.floor = Some(self.last.values().map(|moment| moment.at.clone()).max().unwrap_or_default());
        }
    }

    /// Whether a line of the socket was not printed yet; it is noted then.
    fn is_new(&mut self, line: &Value) -> bool {
        let (at, instance) = (text(line, "timestamp"), text(line, "instance"));
        if let Some(moment) = self.again.get_mut(&instance) {
            if at < moment.at {
                return false;
            }
            if at == moment.at {
                let message = text(line, "message");
                if let Some(index) = moment.messages.iter().position(|printed| *printed == message) {
                    moment.messages.swap_remove(index);
                    return false;
                }
            } else {
                self.again.remove(&instance);
            }
        }
        self.note(line);
        true
    }

    /// Whether a line of a page was printed, or is older than everything that was asked for.
    fn has(&self, line: &Value) -> bool {
        let at = text(line, "timestamp");
        match self.last.get(&text(line, "instance")) {
            Some(moment) => {
                at < moment.at || (at == moment.at && moment.messages.contains(&text(line, "message")))
            }
            None => self.floor.as_ref().is_some_and(|floor| at <= *floor),
        }
    }

    /// The lines of some pages that were not printed yet.
    fn new_ones(&self, lines: Vec<Value>) -> Vec<Value> {
        let mut seen = self.last.clone();
        let mut is_new = |line: &Value| {
            let at = text(line, "timestamp");
            match seen.get_mut(&text(line, "instance")) {
                Some(moment) if at == moment.at => {
                    let message = text(line, "message");
                    let index = moment.messages.iter().position(|printed| *printed == message);
                    index.map(|index| moment.messages.swap_remove(index)).is_none()
                }
                Some(moment) => at > moment.at,
                None => self.floor.as_ref().is_none_or(|floor| at > *floor),
            }
        };
        lines.into_iter().filter(|line| is_new(line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(ms: u32, instance: &str, message: &str) -> Value {
        json!({"timestamp": format!("2026-01-01T00:00:00.{ms:03}Z"), "instance": instance, "message": message})
    }

    fn messages(lines: &[Value]) -> Vec<String> {
        lines.iter().map(|line| text(line, "message")).collect()
    }

    #[test]
    fn what_comes_by_page_and_by_socket_is_printed_once() {
        let mut printed = Printed::default();
        for line in [line(1, "api:a", "one"), line(2, "api:a", "two"), line(2, "api:a", "two")] {
            printed.note(&line);
        }
        printed.begin();
        assert!(!printed.is_new(&line(1, "api:a", "one")), "older than what was printed");
        assert!(!printed.is_new(&line(2, "api:a", "two")));
        assert!(!printed.is_new(&line(2, "api:a", "two")), "twice by page, twice by socket");
        assert!(printed.is_new(&line(2, "api:a", "two")), "a third one is new");
        assert!(printed.is_new(&line(2, "api:a", "three")));
        assert!(printed.is_new(&line(3, "api:a", "four")));
        assert!(printed.is_new(&line(3, "api:a", "four")), "a line may repeat itself");
        assert!(printed.is_new(&line(1, "api:b", "other")), "another instance has its own time");
    }

    #[test]
    fn what_was_printed_meanwhile_is_caught_up_with_and_nothing_twice() {
        let mut printed = Printed::default();
        printed.note(&line(5, "api:a", "seen"));
        printed.begin();
        let page = vec![
            line(3, "api:quiet", "before it all"),
            line(4, "api:a", "older"),
            line(5, "api:a", "seen"),
            line(5, "api:a", "same moment"),
            line(7, "api:quiet", "wakes"),
            line(8, "api:new", "first"),
            line(9, "api:a", "later"),
        ];
        assert!(printed.has(&page[2]) && !printed.has(&page[6]));
        assert_eq!(messages(&printed.new_ones(page)), ["same moment", "wakes", "first", "later"]);
    }

    #[test]
    fn a_revoked_credential_ends_it_and_a_restart_does_not() {
        let frame = |code: u16| CloseFrame { code: code.into(), reason: "x".into() };
        assert_eq!(ended(Some(&frame(4401))).map(|failure| failure.code), Some(NOT_ALLOWED));
        assert_eq!(ended(Some(&frame(1008))).map(|failure| failure.code), Some(FAILED));
        for code in [1000, 1001, 1011, 1013] {
            assert_eq!(ended(Some(&frame(code))), None);
        }
        assert_eq!(ended(None), None);
    }
}
