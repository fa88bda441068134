//! The nginx that runs: telling it to read its configuration again, and whether it has.
//!
//! nginx keeps the old configuration in silence when the new one cannot be taken on, so only
//! a request tells. The signal goes to a process that is known to be nginx, never to a bare
//! number from a file.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::NginxError;
use super::site::PROOF;

/// How long one request to nginx may take; it answers by itself and waits for nobody.
const REQUEST: Duration = Duration::from_secs(2);
/// How long nginx may take to take on a configuration of thousands of sites.
const TAKE_ON: Duration = Duration::from_secs(15);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(15);
/// No answer of the kind that is asked for is longer.
const ANSWER_BYTES: u64 = 4096;

/// The master process.
pub(super) struct Master {
    pid: Pid,
    /// Its workers when it was found.
    workers: Vec<u32>,
}

impl Master {
    /// The master whose pid stands in a file; it runs and is nginx.
    pub(super) fn find(file: &Path) -> Result<Master, NginxError> {
        let not_running = || NginxError::NotRunning { pid: file.to_path_buf() };
        let text = std::fs::read_to_string(file).map_err(|_| not_running())?;
        let pid = text.trim().parse::<i32>().ok().and_then(Pid::from_raw).ok_or_else(not_running)?;
        let raw = pid.as_raw_nonzero().get();
        let name = std::fs::read_to_string(format!("/proc/{raw}/comm")).map_err(|_| not_running())?;
        if !matches!(name.trim_end(), "nginx" | "openresty") {
            return Err(not_running());
        }
        Ok(Master { pid, workers: children(raw) })
    }

    /// Has it read its configuration again.
    pub(super) fn reload(&self) -> Result<(), NginxError> {
        let sent = rustix::process::pidfd_open(self.pid, PidfdFlags::empty())
            .and_then(|pidfd| rustix::process::pidfd_send_signal(&pidfd, Signal::HUP));
        sent.map_err(|errno| NginxError::Signal {
            pid: self.pid.as_raw_nonzero().get(),
            source: errno.into(),
        })
    }

    /// Whether a worker with the configuration before still takes connections.
    fn has_old_workers(&self) -> bool {
        self.workers.iter().any(|worker| {
            let line = std::fs::read(format!("/proc/{worker}/cmdline")).unwrap_or_default();
            !line.is_empty() && !String::from_utf8_lossy(&line).contains("shutting down")
        })
    }

    /// Waits until a new configuration has taken the place of the old one in every worker, by
    /// the workers alone. Says whether it came to that.
    pub(super) async fn replaced(&self) -> bool {
        let end = Instant::now() + TAKE_ON;
        while self.has_old_workers() {
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }
}

fn children(pid: i32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Waits until what a name is answered with is as wanted.
///
/// # Errors
/// With what was answered instead.
pub(super) async fn answers(
    address: SocketAddr,
    domain: &str,
    is_so: impl Fn(Result<&String, &String>) -> bool + Send + Sync,
) -> Result<(), String> {
    let end = Instant::now() + TAKE_ON;
    loop {
        let found = ask(address, domain).await;
        if is_so(found.as_ref()) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(match found {
                Ok(answer) => {
                    let shown: String = answer.chars().take(80).flat_map(char::escape_default).collect();
                    format!("it answers '{shown}'")
                }
                Err(why) => why,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What nginx answers for a name, once.
pub(super) async fn ask(address: SocketAddr, domain: &str) -> Result<String, String> {
    let request = format!("GET {PROOF} HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match tokio::time::timeout(REQUEST, exchange).await {
        Ok(Ok(answer)) => String::from_utf8_lossy(&answer).into_owned(),
        Ok(Err(error)) => return Err(format!("no answer at {address}: {error}")),
        Err(_) => return Err(format!("no answer at {address} within {} s", REQUEST.as_secs())),
    };
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(format!("no HTTP at {address}"));
    };
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("it answers with status {status}"));
    }
    Ok(body.trim().to_owned())
}
