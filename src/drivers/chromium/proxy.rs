//! The browser's only way out: a proxy on loopback that connects to what may be fetched, at the
//! addresses that were resolved and checked once.
//!
//! One request a connection: a second one could name another host than the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use crate::drivers::fetch::Pins;

/// The longest head of a request, in bytes.
const HEAD_BYTES: usize = 32 * 1024;
/// The longest body that a page may send, in bytes.
const BODY_BYTES: u64 = 256 * 1024;
/// Connections at once; a browser opens six to a host.
const AT_ONCE: usize = 48;
/// Bytes that all connections may bring in together: a heavy page has 10 MB.
const ALL_BYTES: u64 = 48 * 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(8);
/// A connection on which nothing came for so long is of no use for a picture.
const IDLE: Duration = Duration::from_secs(15);

/// A proxy that ends with this value.
pub(super) struct Proxy {
    /// Its port on 127.0.0.1.
    pub(super) port: u16,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    pins: Arc<Pins>,
    left: AtomicU64,
}

impl Proxy {
    pub(super) async fn start(pins: Arc<Pins>) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared { pins, left: AtomicU64::new(ALL_BYTES) });
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let task = tokio::spawn(async move {
            // Ended with the proxy, since they live in it.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let Ok((stream, _)) = listener.accept().await else { continue };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // A browser makes do with what breaks off.
                    let _ = serve(stream, &shared).await;
                    drop(place);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Proxy { port, task })
    }
}

/// The head of a request with what came after it.
struct Head {
    method: String,
    target: String,
    /// Its lines without the first.
    fields: Vec<String>,
    rest: Vec<u8>,
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<Head>> {
    let mut bytes = Vec::with_capacity(2048);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if bytes.len() > HEAD_BYTES || timeout(IDLE, stream.read_buf(&mut bytes)).await?? == 0 {
            return Ok(None);
        }
    };
    let rest = bytes.split_off(end + 4);
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.trim_end().split("\r\n").map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(_), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    Ok(Some(Head { method: method.to_owned(), target: target.to_owned(), fields: lines.collect(), rest }))
}

fn field<'a>(fields: &'a [String], name: &str) -> Option<&'a str> {
    fields.iter().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

async fn refuse(stream: &mut TcpStream, status: &str) -> std::io::Result<()> {
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some(head) = read_head(&mut stream).await? else {
        return refuse(&mut stream, "400 Bad Request").await;
    };
    let is_tunnel = head.method == "CONNECT";
    // A tunnel is for https; its target is host and port.
    let target = if is_tunnel { format!("https://{}/", head.target) } else { head.target.clone() };
    let Ok(url) = shared.pins.guard().check(&target) else {
        return refuse(&mut stream, "403 Forbidden").await;
    };
    let Ok(addresses) = shared.pins.pin(&url).await else {
        return refuse(&mut stream, "403 Forbidden").await;
    };
    let connected = timeout(CONNECT, TcpStream::connect(addresses.as_slice())).await;
    let Ok(Ok(mut there)) = connected else { return refuse(&mut stream, "502 Bad Gateway").await };
    if is_tunnel {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        there.write_all(&head.rest).await?;
        let (mut from_browser, mut to_browser) = stream.split();
        let (mut from_there, mut to_there) = there.split();
        // Either end ends both: what is cut is a page's own.
        return tokio::select! {
            ended = pass(&mut from_browser, &mut to_there, shared) => ended,
            ended = pass(&mut from_there, &mut to_browser, shared) => ended,
        };
    }
    let length: u64 = match field(&head.fields, "content-length").map(str::parse) {
        None => 0,
        Some(Ok(length)) if length <= BODY_BYTES => length,
        Some(_) => return refuse(&mut stream, "413 Content Too Large").await,
    };
    if field(&head.fields, "transfer-encoding").is_some() {
        return refuse(&mut stream, "411 Length Required").await;
    }
    there.write_all(request(&head, &url).as_bytes()).await?;
    let sent = head.rest.len().min(usize::try_from(length).unwrap_or(0));
    there.write_all(head.rest.get(..sent).unwrap_or_default()).await?;
    let (mut from_browser, mut to_browser) = stream.split();
    let (mut from_there, mut to_there) = there.split();
    let body = async {
        let mut body = (&mut from_browser).take(length - sent as u64);
        tokio::io::copy(&mut body, &mut to_there).await?;
        std::future::pending::<std::io::Result<()>>().await
    };
    tokio::select! {
        ended = body => ended,
        ended = pass(&mut from_there, &mut to_browser, shared) => ended,
    }
}

/// The request as its server expects it: no proxy's fields, and the end of the connection after.
fn request(head: &Head, url: &Url) -> String {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut request = format!("{} {}{query} HTTP/1.1\r\n", head.method, url.path());
    for line in &head.fields {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !matches!(
            name.as_str(),
            "connection" | "proxy-connection" | "proxy-authorization" | "keep-alive" | "upgrade"
        ) {
            request.push_str(line);
            request.push_str("\r\n");
        }
    }
    request.push_str("Connection: close\r\n\r\n");
    request
}

/// Passes bytes on until the end, or until all bytes together are too many.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    shared: &Shared,
) -> std::io::Result<()> {
    let mut chunk = vec![0_u8; 16 * 1024];
    loop {
        let count = timeout(IDLE, from.read(&mut chunk)).await??;
        let taken = shared
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count as u64));
        if count == 0 || taken.is_err() {
            return to.shutdown().await;
        }
        to.write_all(chunk.get(..count).unwrap_or_default()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::fetch::{Fetcher, Guard};

    /// Serves one answer and gives what was asked.
    async fn server() -> (u16, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
                stream.read_buf(&mut bytes).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello").await.unwrap();
            String::from_utf8(bytes).unwrap()
        });
        (port, asked)
    }

    async fn through(proxy: &Proxy, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(IDLE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn what_is_allowed_passes_and_nothing_else_does() {
        let (port, asked) = server().await;
        let guard = Guard::new(&[format!("127.0.0.1:{port}")]);
        let pins = Fetcher::new(guard, tokio::time::Instant::now() + IDLE).unwrap().pins();
        let proxy = Proxy::start(pins).await.unwrap();
        for (target, status) in [
            ("GET http://127.0.0.1:1/ HTTP/1.1", "403"),
            ("GET http://localhost/ HTTP/1.1", "403"),
            ("GET http://169.254.169.254/latest HTTP/1.1", "403"),
            ("CONNECT 127.0.0.1:1 HTTP/1.1", "403"),
            ("CONNECT [::1]:443 HTTP/1.1", "403"),
            ("CONNECT user@127.0.0.1:443 HTTP/1.1", "403"),
            ("GET file:///etc/passwd HTTP/1.1", "403"),
            ("GET / HTTP/1.1", "403"),
            ("nonsense", "400"),
        ] {
            let answer = through(&proxy, &format!("{target}\r\nHost: x\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{target}: {answer}");
        }
        let request = format!(
            "GET http://127.0.0.1:{port}/a?b=c HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nProxy-Connection: keep-alive\r\n\r\n"
        );
        assert!(through(&proxy, &request).await.ends_with("hello"));
        let asked = asked.await.unwrap();
        assert!(
            asked.starts_with("GET /a?b=c HTTP/1.1\r\n") && asked.contains("Connection: close"),
            "{asked}"
        );
        assert!(!asked.contains("Proxy-"), "{asked}");
    }
}
