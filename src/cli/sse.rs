//! Server-sent events whose data is JSON, read one by one, and taken up again when they break.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::client::{Client, Query};
use super::failure::{FAILED, Failure, UNREACHABLE};

/// How soon a broken stream is asked for again.
const RECONNECT: Duration = Duration::from_secs(1);
/// A stream that was silent for so long is broken: the server comments every 15 s.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest line of a stream; the largest event is some MiB.
const LONGEST_LINE: usize = 16 << 20;

/// The events of one answer.
pub(super) struct Events {
    chunks: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    pending: Vec<u8>,
    /// How many bytes of `pending` hold no line feed.
    looked_at: usize,
}

impl Events {
    /// Those of an answer.
    pub(super) fn new(response: reqwest::Response) -> Events {
        Events { chunks: response.bytes_stream().boxed(), pending: Vec::new(), looked_at: 0 }
    }

    /// Asks again until the server is there; a refusal ends it.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn again(client: &Client, path: &str, query: &Query) -> Result<Events, Failure> {
        loop {
            sleep(RECONNECT).await;
            match client.stream(path, query).await {
                Err(failure) if failure.code == UNREACHABLE || failure.code == FAILED => {}
                answer => return answer.map(Events::new),
            }
        }
    }

    /// The data of the next event; `None` when the stream is broken or over.
    ///
    /// # Errors
    /// When the stream holds something else.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            while let Some(line) = self.line() {
                if let Some(data) = line.strip_prefix(b"data:") {
                    return Ok(Some(
                        serde_json::from_slice(data).context("the stream holds something else")?,
                    ));
                }
            }
            if self.pending.len() > LONGEST_LINE {
                bail!("the stream holds a line of more than {LONGEST_LINE} bytes");
            }
            match timeout(SILENCE, self.chunks.next()).await {
                Ok(Some(Ok(chunk))) => self.pending.extend_from_slice(&chunk),
                Ok(Some(Err(_)) | None) | Err(_) => return Ok(None),
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let new = self.pending.get(self.looked_at..).unwrap_or_default();
        match new.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let end = self.looked_at + end;
                self.looked_at = 0;
                Some(self.pending.drain(..=end).collect())
            }
            None => {
                self.looked_at = self.pending.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn events_are_found_wherever_the_chunks_end() {
        let text = ": hello\nid: 1\nevent: log\ndata: {\"a\":1}\n\n: still here\n\ndata:{\"a\":2}\n\n";
        for size in [1, 3, 1000] {
            let chunks: Vec<_> =
                text.as_bytes().chunks(size).map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk))).collect();
            let chunks = futures_util::stream::iter(chunks).boxed();
            let mut events = Events { chunks, pending: Vec::new(), looked_at: 0 };
            let mut found = Vec::new();
            while let Some(event) = events.next().await.expect("reads") {
                found.push(event);
            }
            assert_eq!(found, [json!({"a": 1}), json!({"a": 2})]);
        }
    }
}
