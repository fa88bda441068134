//! What processes printed, as the API asks for it: the spools that the keeper writes, and the
//! index over them.

mod retention;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use async_stream::stream;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tenantry_journal::id::{InstanceId, KeyId, TenantId};
use tenantry_journal::spool::{Key, Places, Reader, Record, Shape, Stream};
use tenantry_journal::time::Timestamp;
use tenantry_projections::search::{Found, Request, Search};
use tokio_util::sync::CancellationToken;

use crate::background::give_way;
use crate::domain::policy::Policy;
use crate::engine::Handle;
use crate::error::chain;
use crate::http::observed::{Backwards, Line, OutputError, Outputs};
use crate::supervisor::Supervisor;
use crate::telemetry::Metrics;

/// Lines that one step of a follower reads: it holds a page and no more.
const PAGE: usize = 512;

/// The spools of all instances.
#[derive(Clone)]
pub struct Spools {
    handle: Handle,
    supervisor: Arc<Supervisor>,
    dir: PathBuf,
    places: Arc<Places>,
}

/// Spools with their index.
pub struct Output {
    spools: Spools,
    search: Search,
}

impl Output {
    /// Reads what the keeper of this data directory writes, and begins to index it. The
    /// thread ends with [`Output::keep_in_bounds`].
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        handle: Handle,
        supervisor: Arc<Supervisor>,
        data_dir: &std::path::Path,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Output, JoinHandle<()>)> {
        let spools = Spools { handle, supervisor, dir: data_dir.join("spool"), places: Arc::default() };
        let source = source::Indexed::new(spools.clone(), metrics);
        let (search, thread) =
            Search::start(data_dir.join("search"), Arc::new(source), || give_way("the index"))?;
        let told = search.clone();
        spools.supervisor.on_growth(Box::new(move |grown| match grown {
            Some(grown) => told.grown(grown),
            None => told.look_at_all(),
        }));
        Ok((Output { spools, search }, thread))
    }

    /// Deletes what is past its age or above its size, of instances that are gone too, until
    /// `shutdown`; then the index ends.
    pub async fn keep_in_bounds(self: Arc<Self>, policy: Arc<ArcSwap<Policy>>, shutdown: CancellationToken) {
        tokio::select! {
            () = retention::sweep(&self.spools, &self.search, policy) => {}
            () = shutdown.cancelled() => {}
        }
        self.search.stop();
    }

    /// Takes everything that these instances printed out of the index and deletes their
    /// spools. Call it where blocking is allowed, after their processes have ended.
    ///
    /// # Errors
    /// When a directory cannot be deleted.
    pub fn forget(&self, instances: &[InstanceId]) -> std::io::Result<()> {
        for instance in instances {
            match std::fs::remove_dir_all(self.spools.supervisor.spool(*instance)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.search.forget(instances);
        Ok(())
    }
}

impl Output {
    /// The same for everything that a tenant's processes printed, gone ones too. Call it
    /// before the tenant's key is erased from the World, or what was whose is not known.
    ///
    /// # Errors
    /// When a directory cannot be read or deleted.
    pub fn forget_tenant(&self, tenant: TenantId) -> std::io::Result<()> {
        let world = self.spools.handle.world();
        let key = KeyId::from(tenant);
        let mut instances = self.spools.kept()?;
        instances.retain(|id| world.instances.sealed_name(*id).is_some_and(|name| name.key() == key));
        self.forget(&instances)
    }
}

impl Spools {
    fn reader(&self, instance: InstanceId) -> Reader {
        let world = self.handle.world();
        let key =
            world.instances.sealed_name(instance).and_then(|name| self.supervisor.spool_key(name.key()));
        let key = key.map(Key::new);
        Reader::open(&self.supervisor.spool(instance), instance.0, key.as_ref()).sharing(&self.places)
    }

    /// Every instance that has a spool.
    fn kept(&self) -> std::io::Result<Vec<InstanceId>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut ids: Vec<InstanceId> = names.collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

fn failed(error: impl std::error::Error) -> OutputError {
    OutputError(chain(&error))
}

fn line(record: Record) -> Line {
    let text = match record.shape {
        // Ours, and worded so that its level is seen to be a warning.
        Shape::Lost(bytes) => {
            format!("WARN {bytes} bytes of output were lost here: the disk was full or too slow")
        }
        Shape::Cut(bytes) => {
            let mut text = String::from_utf8_lossy(&record.bytes).into_owned();
            text.push_str(&format!(" [{bytes} bytes not kept]"));
            text
        }
        Shape::Line | Shape::Piece => match String::from_utf8(record.bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        },
    };
    Line { position: record.position, at: record.at, source: record.stream, text }
}

/// Stands for lines that were deleted before a follower could read them.
fn gap(from: u64, to: u64, at: Timestamp) -> Line {
    let count = to - from;
    let text = format!("WARN {count} lines were deleted here by retention before they could be sent");
    Line { position: to - 1, at, source: Stream::Stdout, text }
}

impl Outputs for Output {
    fn kept(&self) -> Result<Vec<InstanceId>, OutputError> {
        self.spools.kept().map_err(failed)
    }

    fn range(&self, instance: InstanceId) -> Result<(u64, u64), OutputError> {
        self.spools.reader(instance).range().map_err(failed)
    }

    fn backwards(&self, instance: InstanceId, before: Option<u64>) -> Result<Backwards, OutputError> {
        let mut back = self.spools.reader(instance).backwards(before).map_err(failed)?;
        Ok(Box::new(std::iter::from_fn(move || {
            let records = back.next_frame().map_err(failed).transpose()?;
            Some(records.map(|records| records.into_iter().map(line).collect()))
        })))
    }

    fn at(&self, instance: InstanceId, positions: &[u64]) -> Result<Vec<Line>, OutputError> {
        let records = self.spools.reader(instance).at(positions).map_err(failed)?;
        Ok(records.into_iter().map(line).collect())
    }

    fn follow(&self, instance: InstanceId, after: Option<u64>) -> BoxStream<'static, Line> {
        let mut reader = self.spools.reader(instance);
        let supervisor = Arc::clone(&self.spools.supervisor);
        let mut printed = supervisor.printed();
        let from = match after {
            Some(after) => Ok(after + 1),
            None => reader.range().map(|(_, next)| next),
        };
        stream! {
            let mut expected = *from.as_ref().unwrap_or(&1);
            let mut read = from.map(|position| reader.seek(position));
            let mut looked = None;
            loop {
                let epoch = *printed.borrow_and_update();
                // Somebody printed something; whether it was this one is known by its position.
                let grew = supervisor.grew(instance, expected, looked);
                looked = Some(epoch);
                while grew && read.is_ok() {
                    let page;
                    (reader, page) = match step(reader).await {
                        Some(step) => step,
                        None => return,
                    };
                    match page {
                        Ok(records) if records.is_empty() => break,
                        Ok(records) => for record in records {
                            // A first line that is not the first of all was deleted before we came.
                            if record.position > expected && expected > 1 {
                                yield gap(expected, record.position, record.at);
                            }
                            expected = record.position + 1;
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

    fn search(&self, request: &Request<'_>) -> Result<Found, OutputError> {
        self.search.find(request).map_err(failed)
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
