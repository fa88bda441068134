//! What processes printed, as the API asks for it: the spools that the keeper writes.

use std::path::PathBuf;
use std::sync::Arc;

use async_stream::stream;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tenantry_journal::id::InstanceId;
use tenantry_journal::spool::{Key, Reader, Record, Shape, Stream};

use crate::engine::Handle;
use crate::error::chain;
use crate::http::observed::{Line, OutputError, Outputs, Source};
use crate::supervisor::Supervisor;

/// Lines that one step of a follower reads: it holds a page and no more.
const PAGE: usize = 512;

/// Reads the spools of all instances.
pub struct Spools {
    handle: Handle,
    supervisor: Arc<Supervisor>,
    dir: PathBuf,
}

impl Spools {
    /// Reads what the keeper of this data directory writes.
    #[must_use]
    pub fn new(handle: Handle, supervisor: Arc<Supervisor>, data_dir: &std::path::Path) -> Spools {
        Spools { handle, supervisor, dir: data_dir.join("spool") }
    }

    fn reader(&self, instance: InstanceId) -> Reader {
        let world = self.handle.world();
        let key =
            world.instances.sealed_name(instance).and_then(|name| self.supervisor.spool_key(name.key()));
        let key = key.map(Key::new);
        Reader::open(&self.supervisor.spool(instance), instance.0, key.as_ref())
    }
}

fn failed(error: &dyn std::error::Error) -> OutputError {
    OutputError(chain(error))
}

fn line(record: Record) -> Line {
    let mut text = String::from_utf8_lossy(&record.bytes).into_owned();
    if let Shape::Cut(bytes) | Shape::Lost(bytes) = record.shape {
        text.push_str(&format!(" [{bytes} bytes not kept]"));
    }
    let source = match record.stream {
        Stream::Stdout => Source::Stdout,
        Stream::Stderr => Source::Stderr,
    };
    Line { position: record.position, at: record.at, source, text }
}

impl Outputs for Spools {
    fn kept(&self) -> Result<Vec<InstanceId>, OutputError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut ids: Vec<InstanceId> = names.collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn count(&self, instance: InstanceId) -> Result<u64, OutputError> {
        let mut reader = self.reader(instance);
        let newest = reader.last(1, None).map_err(|error| failed(&error))?;
        let oldest = reader.read(1).map_err(|error| failed(&error))?;
        let kept = newest.first().zip(oldest.first());
        Ok(kept.map_or(0, |(newest, oldest)| (newest.position + 1).saturating_sub(oldest.position)))
    }

    fn newest(
        &self,
        instance: InstanceId,
        max: usize,
        before: Option<u64>,
    ) -> Result<Vec<Line>, OutputError> {
        let records = self.reader(instance).last(max, before).map_err(|error| failed(&error))?;
        Ok(records.into_iter().map(line).collect())
    }

    fn follow(&self, instance: InstanceId, after: Option<u64>) -> BoxStream<'static, Line> {
        let mut reader = self.reader(instance);
        let mut printed = self.supervisor.printed();
        let from = match after {
            Some(after) => Ok(after),
            None => reader.last(1, None).map(|newest| newest.first().map_or(0, |record| record.position)),
        };
        stream! {
            let mut read = from.map(|after| reader.seek(after + 1));
            loop {
                printed.mark_unchanged();
                while read.is_ok() {
                    let page;
                    (reader, page) = match step(reader).await {
                        Some(step) => step,
                        None => return,
                    };
                    match page {
                        Ok(records) if records.is_empty() => break,
                        Ok(records) => for record in records {
                            yield line(record);
                        },
                        Err(error) => read = Err(error),
                    }
                }
                if let Err(error) = &read {
                    tracing::warn!(instance.id = %instance, error = chain(error), "output cannot be read");
                    return;
                }
                if printed.changed().await.is_err() {
                    return;
                }
            }
        }
        .boxed()
    }
}

type Page = Result<Vec<Record>, tenantry_journal::spool::SpoolError>;

/// Reads one page on a thread for blocking work; `None` when the program is ending.
async fn step(mut reader: Reader) -> Option<(Reader, Page)> {
    let read = move || {
        let page = reader.read(PAGE);
        (reader, page)
    };
    tokio::task::spawn_blocking(read).await.ok()
}
