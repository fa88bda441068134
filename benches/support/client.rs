//! As little HTTP client as can be: a connection that is kept, one request at a time.

#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection to a server.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, buffer: Vec::with_capacity(16 * 1024) }
    }

    /// Sends a request that is written out already; gives the status when the answer is read.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> u16 {
        self.try_ask(request).await.expect("the connection is not closed")
    }

    /// The same; `None` when the connection is closed.
    pub(crate) async fn try_ask(&mut self, request: &[u8]) -> Option<u16> {
        self.stream.write_all(request).await.ok()?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
            if let Some((status, length)) = whole(&self.buffer)
                && self.buffer.len() >= length
            {
                return Some(status);
            }
        }
    }

    /// The last answer as it came.
    pub(crate) fn answer(&self) -> &[u8] {
        &self.buffer
    }
}

/// Status and length of an answer whose head is there.
fn whole(bytes: &[u8]) -> Option<(u16, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let status = text[9..12].parse().unwrap();
    let body = text
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        })
        .unwrap_or(0);
    Some((status, head + body))
}

/// A request with a credential, written out.
pub(crate) fn request(method: &str, path: &str, address: &str, token: &str, body: &str) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n");
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
