//! Health checks: one connection, one request, one verdict.
//!
//! hyper parses the answer, so the verdict rests on the status code and nothing else in it.
//! The answer must come to its end (or be long) within [`PROBE_TIMEOUT`].

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

/// How long connecting and answering may take together.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// No more of an answer is read than this; health pages are short.
const BODY_BYTES: usize = 64 * 1024;

/// Where a process accepts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// TCP on 127.0.0.1.
    Port(u16),
    /// A unix socket.
    Socket(PathBuf),
}

/// What a probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// Whether it is well.
    pub up: bool,
    /// The status code, when there was an answer.
    pub status_code: Option<u16>,
    /// From the beginning to the verdict, in milliseconds.
    pub response_time_ms: u64,
    /// A few words: `HTTP 200`, `connection refused`, `no answer within 5s`.
    pub detail: String,
}

/// Asks for `path` and judges by the status code: 2xx and 3xx are well.
pub async fn http(target: &Target, path: &str) -> ProbeReport {
    http_within(target, path, PROBE_TIMEOUT).await
}

async fn http_within(target: &Target, path: &str, limit: Duration) -> ProbeReport {
    within(limit, async {
        match target {
            Target::Port(port) => ask(tcp(*port).await?, path).await,
            Target::Socket(socket) => ask(UnixStream::connect(socket).await.map_err(said)?, path).await,
        }
    })
    .await
}

/// Only connects; accepting is well.
pub async fn connect(target: &Target) -> ProbeReport {
    within(PROBE_TIMEOUT, async {
        match target {
            Target::Port(port) => tcp(*port).await.map(drop)?,
            Target::Socket(socket) => UnixStream::connect(socket).await.map(drop).map_err(said)?,
        }
        Ok(None)
    })
    .await
}

/// A status code that is not well, or why there is none.
struct Ill {
    status: Option<u16>,
    detail: String,
}

fn said(error: std::io::Error) -> Ill {
    let detail = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::NotFound => "no socket yet".to_owned(),
        _ => error.to_string(),
    };
    Ill { status: None, detail }
}

async fn within(limit: Duration, probe: impl Future<Output = Result<Option<u16>, Ill>>) -> ProbeReport {
    let began = Instant::now();
    let result = tokio::time::timeout(limit, probe).await;
    let response_time_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (up, status_code, detail) = match result {
        Ok(Ok(Some(status))) => (true, Some(status), format!("HTTP {status}")),
        Ok(Ok(None)) => (true, None, "accepts connections".to_owned()),
        Ok(Err(ill)) => (false, ill.status, ill.detail),
        Err(_) => (false, None, format!("no answer within {limit:?}")),
    };
    ProbeReport { up, status_code, response_time_ms, detail }
}

async fn tcp(port: u16) -> Result<TcpStream, Ill> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect(address).await.map_err(said)?;
    // A port of the ephemeral range can connect to itself while nobody listens on it.
    if stream.local_addr().ok() == Some(address) {
        return Err(Ill { status: None, detail: "connection refused".into() });
    }
    Ok(stream)
}

async fn ask<S>(stream: S, path: &str) -> Result<Option<u16>, Ill>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Ill { status: None, detail: format!("no HTTP answer: {error}") };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(path)
        .header("host", "localhost")
        .header("user-agent", "tenantry-health/1")
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Ill { status: None, detail: format!("the health path is wrong: {error}") })?;
    let answer = async {
        let mut answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let mut seen = 0;
        while seen < BODY_BYTES {
            match answer.body_mut().frame().await {
                Some(Ok(frame)) => seen += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => {
                    let detail = format!("HTTP {}, cut short", status.as_u16());
                    return Err(Ill { status: Some(status.as_u16()), detail });
                }
                None => break,
            }
        }
        if status.is_success() || status.is_redirection() {
            return Ok(Some(status.as_u16()));
        }
        Err(Ill { status: Some(status.as_u16()), detail: format!("HTTP {}", status.as_u16()) })
    };
    // Both live in this future: nothing goes on when it is dropped.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        verdict = &mut answer => verdict,
        // The connection's end is not the answer's: its last bytes may still be read.
        _ = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests;
