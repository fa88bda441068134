//! A client that sends exactly what it is told to, and reads answers strictly.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::app::PATIENCE;

/// An answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The body came to the end that its head promised.
    pub(crate) is_whole: bool,
}

impl Reply {
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        assert!(self.is_whole, "{self:?}");
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.text()
    }
}

/// A connection that is kept.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Connection {
        Connection { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// More bytes; false at the end of the stream.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("no answer");
        read.is_ok_and(|bytes| bytes > 0)
    }

    /// What has come of a body, as it came.
    pub(crate) async fn some(&mut self) -> String {
        if self.buffer.is_empty() {
            self.more().await;
        }
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, length: usize, body: &mut Vec<u8>) -> bool {
        while self.buffer.len() < length {
            if !self.more().await {
                body.append(&mut self.buffer);
                return false;
            }
        }
        body.extend(self.buffer.drain(..length));
        true
    }

    /// Reads a head; `None` when the connection ends before it.
    pub(crate) async fn head(&mut self) -> Option<Reply> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Some(Reply { status, headers, body: Vec::new(), is_whole: true })
    }

    /// Reads an answer; `None` when the connection ends before its head.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let reply = self.head().await?;
        Some(self.body(reply).await)
    }

    /// Reads the body behind a head.
    pub(crate) async fn body(&mut self, mut reply: Reply) -> Reply {
        let mut body = Vec::new();
        if reply.headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            reply.is_whole = false;
            while let Some(line) = self.line().await {
                let size = usize::from_str_radix(&line, 16).unwrap();
                if !self.take(size, &mut body).await || self.line().await.is_none() {
                    break;
                }
                if size == 0 {
                    reply.is_whole = true;
                    break;
                }
            }
        } else {
            let length = reply.headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            reply.is_whole = self.take(length, &mut body).await;
        }
        reply.body = body;
        reply
    }

    /// Whether the other side closes it, with nothing more said.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }
}

/// Sends a request on a connection of its own.
pub(crate) async fn ask(address: &str, text: &str) -> Reply {
    let mut connection = Connection::open(address).await;
    connection.send(text).await;
    connection.reply().await.expect("the connection was closed without an answer")
}
