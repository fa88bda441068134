//! What deployments printed: one spool for each, written while it runs, readable for good.
//!
//! Lines are in the spool's page cache as soon as they are appended, so they survive a crash
//! of ours. The spool is under its tenant's key: when the key is gone the log is, too.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tenantry_journal::id::DeploymentId;
use tenantry_journal::spool::{Entry, Key, Options, Reader, Record, Shape, SpoolError, Stream, Writer};
use tenantry_journal::time::Timestamp;
use tokio::sync::watch;
use tokio_stream::Stream as Lines;

/// A deployment prints a build's worth of lines; a command that prints for ever must not fill
/// the disk, and its newest lines are the ones that say what went wrong.
const OPTIONS: Options = Options { segment_bytes: 1 << 20, retain_bytes: 8 << 20, retain_ms: None };
/// How many records are read at a time.
const PAGE: usize = 512;
/// The most lines that [`DeployLogs::text`] puts together; what is older is in the stream.
const TEXT_LINES: usize = 20_000;

/// One line of a deployment's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its position in the log, from 1.
    pub position: u64,
    /// When it was printed.
    pub at: Timestamp,
    /// Its text; what was not UTF-8 is replaced.
    pub text: String,
}

impl From<Record> for LogLine {
    fn from(record: Record) -> LogLine {
        let mut text = String::from_utf8_lossy(&record.bytes).into_owned();
        if let Shape::Cut(bytes) | Shape::Lost(bytes) = record.shape {
            text.push_str(&format!(" [{bytes} bytes not kept]"));
        }
        LogLine { position: record.position, at: record.at, text }
    }
}

/// The writing end of one deployment's log. Clones write the same log.
#[derive(Clone)]
pub struct DeployLog {
    id: DeploymentId,
    writer: Arc<Mutex<Writer>>,
    grown: watch::Sender<u64>,
}

impl DeployLog {
    /// Appends a line. A log that cannot be written is said once for each line in our own
    /// log, and the deployment goes on: its outcome is in the journal.
    pub fn line(&self, text: &str) {
        let entry = Entry {
            run: self.id.0,
            stream: Stream::Stdout,
            at: crate::clock::now(),
            bytes: text.as_bytes(),
            shape: Shape::Line,
        };
        let mut writer = lock(&self.writer);
        if let Err(error) = writer.append(&entry).and_then(|()| writer.flush()) {
            tracing::warn!(deployment.id = %self.id, %error, "a line of a deployment's log is lost");
        }
        drop(writer);
        self.grown.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// All deployments' logs.
#[derive(Clone)]
pub struct DeployLogs {
    dir: PathBuf,
    /// The writers in use: a spool has only one.
    open: Arc<Mutex<HashMap<DeploymentId, Weak<Mutex<Writer>>>>>,
    /// Moves whenever any log grows.
    grown: watch::Sender<u64>,
}

impl DeployLogs {
    /// `dir` is the control plane's own; each log is a directory in it.
    #[must_use]
    pub fn new(dir: PathBuf) -> DeployLogs {
        DeployLogs { dir, open: Arc::default(), grown: watch::Sender::new(0) }
    }

    /// Opens a log for writing; everybody who writes it shares one writer.
    ///
    /// # Errors
    /// When the spool cannot be opened.
    pub fn open(&self, id: DeploymentId, key: Option<[u8; 32]>) -> Result<DeployLog, SpoolError> {
        let mut open = lock(&self.open);
        open.retain(|_, writer| writer.strong_count() > 0);
        let writer = match open.get(&id).and_then(Weak::upgrade) {
            Some(writer) => writer,
            None => {
                let key = key.map(Key::new);
                let writer = Writer::open(&self.path(id), id.0, key.as_ref(), OPTIONS)?;
                let writer = Arc::new(Mutex::new(writer));
                open.insert(id, Arc::downgrade(&writer));
                writer
            }
        };
        Ok(DeployLog { id, writer, grown: self.grown.clone() })
    }

    /// The newest lines of a log (all of them unless there are very many), joined by newlines.
    ///
    /// # Errors
    /// When the spool cannot be read, or not with this key.
    pub fn text(&self, id: DeploymentId, key: Option<[u8; 32]>) -> Result<String, SpoolError> {
        let records = self.reader(id, key).last(TEXT_LINES, None)?;
        let lines: Vec<String> = records.into_iter().map(|record| LogLine::from(record).text).collect();
        Ok(lines.join("\n"))
    }

    /// All lines from the first that is kept, then those to come. Ends once `over` has
    /// happened and everything printed before it was given.
    pub fn follow(
        &self,
        id: DeploymentId,
        key: Option<[u8; 32]>,
        over: impl Future<Output = ()> + Send + 'static,
    ) -> impl Lines<Item = Result<LogLine, SpoolError>> + Send + 'static {
        let mut reader = self.reader(id, key);
        let mut grown = self.grown.subscribe();
        async_stream::stream! {
            let mut over = std::pin::pin!(over);
            let mut ended = false;
            loop {
                grown.mark_unchanged();
                loop {
                    match reader.read(PAGE) {
                        Ok(records) if records.is_empty() => break,
                        Ok(records) => for record in records {
                            yield Ok(LogLine::from(record));
                        },
                        Err(error) => {
                            yield Err(error);
                            return;
                        }
                    }
                }
                if ended {
                    return;
                }
                tokio::select! {
                    () = &mut over => ended = true,
                    // The sender lives as long as this value's clones; without them nothing
                    // more can come.
                    moved = grown.changed() => ended = moved.is_err(),
                }
            }
        }
    }

    /// Removes a log, with everything in it.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn remove(&self, id: DeploymentId) -> std::io::Result<()> {
        match std::fs::remove_dir_all(self.path(id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn reader(&self, id: DeploymentId, key: Option<[u8; 32]>) -> Reader {
        Reader::open(&self.path(id), id.0, key.map(Key::new).as_ref())
    }

    fn path(&self, id: DeploymentId) -> PathBuf {
        self.dir.join(id.to_string())
    }
}

/// A panic while the lock was held leaves nothing half-done that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    const KEY: Option<[u8; 32]> = Some([7; 32]);

    fn id() -> DeploymentId {
        DeploymentId(uuid::Uuid::now_v7())
    }

    #[test]
    fn lines_survive_a_restart_and_go_on() {
        let scratch = tempfile::tempdir().unwrap();
        let id = id();
        for line in ["first", "second"] {
            let logs = DeployLogs::new(scratch.path().into());
            let log = logs.open(id, KEY).unwrap();
            log.line(line);
            logs.open(id, KEY).unwrap().line(&format!("{line}, again"));
        }
        let logs = DeployLogs::new(scratch.path().into());
        assert_eq!(logs.text(id, KEY).unwrap(), "first\nfirst, again\nsecond\nsecond, again");
    }

    #[test]
    fn a_log_is_under_its_tenants_key() {
        let scratch = tempfile::tempdir().unwrap();
        let (logs, id) = (DeployLogs::new(scratch.path().into()), id());
        logs.open(id, KEY).unwrap().line("secret");
        assert!(logs.text(id, Some([8; 32])).is_err());
        assert!(logs.text(id, None).is_err());
        let found = std::fs::read_dir(scratch.path().join(id.to_string())).unwrap();
        for file in found {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"secret"));
        }
    }

    #[test]
    fn a_log_that_was_never_written_is_empty() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(DeployLogs::new(scratch.path().into()).text(id(), KEY).unwrap(), "");
    }

    #[tokio::test]
    async fn a_follower_gets_every_line_once_and_an_end() {
        let scratch = tempfile::tempdir().unwrap();
        let (logs, id) = (DeployLogs::new(scratch.path().into()), id());
        let log = logs.open(id, KEY).unwrap();
        log.line("before");
        let (end, over) = tokio::sync::oneshot::channel::<()>();
        let mut lines = Box::pin(logs.follow(id, KEY, async move { over.await.unwrap_or(()) }));
        assert_eq!(lines.next().await.unwrap().unwrap().text, "before");
        for number in 0..1000 {
            log.line(&number.to_string());
        }
        for number in 0..999 {
            assert_eq!(lines.next().await.unwrap().unwrap().text, number.to_string());
        }
        end.send(()).unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap().text, "999");
        assert!(lines.next().await.is_none());
    }
}
