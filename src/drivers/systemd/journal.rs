//! What units printed, out of systemd's journal.
//!
//! Lines are chosen by the slice that the journal itself noted of the process, which no process can
//! claim for itself; what systemd says about the units is not among them.

use std::process::Stdio;

use async_stream::stream;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use tenantry_journal::id::InstanceId;
use tenantry_journal::time::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Systemd, unit};
use crate::drivers::tool::{LANG, PATH};

/// Longest entry that is read; journald cuts lines at 48 KiB, and JSON may write each byte as a
/// number.
const ENTRY_BYTES: u64 = 1 << 20;
/// Bytes of a line that are shown, as of a line in a spool.
const LINE_BYTES: usize = 16 * 1024;

/// A line that a unit printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The unit's name.
    pub unit: String,
    /// The line; what is not UTF-8 is replaced, a very long one is cut and says so.
    pub text: String,
}

/// The journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// journalctl could not be run.
    #[error("journalctl cannot be run")]
    Run(#[from] std::io::Error),
    /// It ended without having read everything.
    #[error("journalctl failed: {0}")]
    Failed(String),
}

fn journalctl(instance: InstanceId, lines: usize) -> Command {
    let mut command = Command::new("journalctl");
    command.env_clear().env("PATH", PATH).env("LANG", LANG).current_dir("/");
    command.args([
        "--no-pager",
        "--quiet",
        "--all",
        "--output=json",
        "--output-fields=MESSAGE,_SYSTEMD_UNIT",
    ]);
    command.arg(format!("--lines={lines}")).arg(format!("_SYSTEMD_SLICE={}", unit::slice(instance)));
    command.arg("_TRANSPORT=stdout");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Systemd {
    /// The last lines that an instance's units printed, oldest first; with `since`, of those
    /// from that moment on.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn last_lines(
        &self,
        instance: InstanceId,
        count: usize,
        since: Option<Timestamp>,
    ) -> Result<Vec<Printed>, JournalError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut command = journalctl(instance, count);
        // Whole seconds: a line too many is better than one too few.
        command.args(since.map(|since| format!("--since=@{}", since.0 / 1000)));
        let mut child = command.spawn()?;
        let mut lines = std::pin::pin!(entries(&mut child));
        let mut last = Vec::new();
        while let Some(line) = lines.next().await {
            last.push(line?);
        }
        Ok(last)
    }

    /// The last lines, then each that is printed. Ends when the journal cannot be read.
    pub fn follow_lines(
        &self,
        instance: InstanceId,
        count: usize,
    ) -> impl Stream<Item = Result<Printed, JournalError>> + Send + use<> {
        stream! {
            let mut child = match journalctl(instance, count).arg("--follow").spawn() {
                Ok(child) => child,
                Err(error) => {
                    yield Err(error.into());
                    return;
                }
            };
            let mut lines = std::pin::pin!(entries(&mut child));
            while let Some(line) = lines.next().await {
                yield line;
            }
        }
    }
}

/// The messages that journalctl prints; an error when it ends badly.
fn entries(child: &mut Child) -> impl Stream<Item = Result<Printed, JournalError>> + Send {
    stream! {
        let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else { return };
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut entry = Vec::new();
            match (&mut stdout).take(ENTRY_BYTES).read_until(b'\n', &mut entry).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    yield Err(error.into());
                    return;
                }
            }
            if let Some(line) = message(&entry) {
                yield Ok(line);
            }
        }
        let mut words = String::new();
        let _ = (&mut stderr).take(LINE_BYTES as u64).read_to_string(&mut words).await;
        match child.wait().await {
            Ok(status) if status.success() => {}
            Ok(_) => yield Err(JournalError::Failed(words.trim().to_owned())),
            Err(error) => yield Err(error.into()),
        }
    }
}

/// The message of an entry: a text, or its bytes as numbers when it is none.
fn message(entry: &[u8]) -> Option<Printed> {
    let entry: Value = serde_json::from_slice(entry).ok()?;
    let mut line = match entry.get("MESSAGE")? {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => return None,
    };
    if line.len() > LINE_BYTES {
        let end = (0..=LINE_BYTES).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        let more = line.len() - end;
        line.truncate(end);
        line.push_str(&format!("[{more} bytes not shown]"));
    }
    let unit = entry.get("_SYSTEMD_UNIT").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Printed { unit, text: line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_be_bytes() {
        let printed = message(br#"{"MESSAGE":"a\u001b[31m","_SYSTEMD_UNIT":"x.service"}"#);
        assert_eq!(printed, Some(Printed { unit: "x.service".into(), text: "a\u{1b}[31m".into() }));
        assert_eq!(message(br#"{"MESSAGE":[104,105,255]}"#).unwrap().text, "hi\u{fffd}");
        assert_eq!(message(br#"{"MESSAGE":null}"#), None);
        assert_eq!(message(b"no json"), None);
        let long = message(format!(r#"{{"MESSAGE":"{}"}}"#, "ü".repeat(LINE_BYTES)).as_bytes());
        let long = long.unwrap().text;
        assert!(long.ends_with("[16384 bytes not shown]") && long.len() < LINE_BYTES + 40);
    }
}
