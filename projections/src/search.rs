//! Search in what processes printed: an index over the spools, in files of its own.
//!
//! The index is derived. Each of its commits carries the position up to which every spool is
//! in it, so it goes on where it stood; missing or damaged, it is built again from the
//! spools while it serves what it has. It holds words and positions and never a line: a line
//! that is found is read from its spool, so what the spool has forgotten cannot be shown.
//! Words are on disk unsealed: [`Search::forget`] takes those of an instance out of the files
//! before it returns, and what retention deleted in the spool is deleted here, too.
//!
//! One thread reads and writes; its owner gives it a low priority. Everything here blocks.

mod docs;
mod find;
mod highlight;
mod index;
mod matching;
mod phrase;
mod query;
mod segment;
mod squeezed;
#[cfg(test)]
mod tests;
mod tokens;
mod words;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use tenantry_journal::id::InstanceId;
use tenantry_journal::spool::Reader;

pub use highlight::{Highlight, highlights};
pub use query::{LONGEST_QUERY, Query, QueryError};
pub use words::words;

/// The spools that are indexed.
pub trait Source: Send + Sync + 'static {
    /// Every instance that has a spool.
    ///
    /// # Errors
    /// When that cannot be found out just now.
    fn instances(&self) -> std::io::Result<Vec<InstanceId>>;

    /// A reader of its spool; `None` when it cannot be opened, such as after its key is gone.
    fn reader(&self, instance: InstanceId) -> Option<Reader>;

    /// Is told how many lines were read for the first time since the start, and of how many
    /// bytes they say that they were lost.
    fn read(&self, lines: u64, lost_bytes: u64);
}

/// In which order lines are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The newest first.
    Newest,
    /// The best match first.
    Relevance,
}

/// Who is called what: instances are known here by their ids alone.
pub trait Names {
    /// The instances of this name (`service:id`, or the id alone), there and gone.
    fn named(&self, name: &str) -> Vec<InstanceId>;

    /// The instances of this service, there and gone.
    fn of_service(&self, service: &str) -> Vec<InstanceId>;
}

/// What is looked for.
pub struct Request<'a> {
    /// The query.
    pub query: &'a Query,
    /// Who is called what.
    pub names: &'a dyn Names,
    /// Only lines of these instances; `None` for all.
    pub allowed: Option<Vec<InstanceId>>,
    /// Not before, in milliseconds since the epoch.
    pub since: Option<u64>,
    /// Not after, in milliseconds since the epoch.
    pub until: Option<u64>,
    /// In which order.
    pub sort: Sort,
    /// How many lines at most.
    pub limit: usize,
    /// How many are left out before them.
    pub offset: usize,
}

/// A line that was found: where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Whose.
    pub instance: InstanceId,
    /// Where in its spool.
    pub position: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The wanted part.
    pub hits: Vec<Hit>,
    /// How many lines match in all.
    pub total: usize,
    /// Whether some of what was printed is not indexed yet, apart from the last moment.
    pub indexing: bool,
}

/// The index cannot be read; it is being built again.
#[derive(Debug, thiserror::Error)]
#[error("the search index cannot be read")]
pub struct SearchError(#[from] tantivy::TantivyError);

/// What there is to do.
#[derive(Default)]
struct Inbox {
    grown: BTreeSet<InstanceId>,
    all: bool,
    forget: Vec<(Vec<InstanceId>, SyncSender<()>)>,
    rebuild: bool,
    stop: bool,
}

/// What searchers see: the index as of its last commit.
struct Live {
    searcher: tantivy::Searcher,
    /// Those of the searcher, in its order.
    segments: Vec<Arc<segment::Segment>>,
    fields: index::Fields,
    ordinals: BTreeMap<InstanceId, u64>,
    instances: HashMap<u64, InstanceId>,
}

struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    live: RwLock<Option<Arc<Live>>>,
    is_behind: std::sync::atomic::AtomicBool,
}

/// The way to the index; cheap to clone.
#[derive(Clone)]
pub struct Search(Arc<Shared>);

impl Search {
    /// Starts the thread that indexes `source` into `dir`. `first` runs on it before
    /// anything else; threads that it starts inherit the priority set there.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        dir: PathBuf,
        source: Arc<dyn Source>,
        first: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<(Search, JoinHandle<()>)> {
        let shared = Arc::new(Shared {
            inbox: Mutex::new(Inbox { all: true, ..Inbox::default() }),
            wake: Condvar::new(),
            live: RwLock::new(None),
            is_behind: true.into(),
        });
        let worker = worker::Worker::new(dir, source, Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("search".into()).spawn(move || {
            first();
            worker.run();
        })?;
        Ok((Search(shared), thread))
    }

    /// These instances printed something.
    pub fn grown(&self, instances: impl IntoIterator<Item = InstanceId>) {
        self.tell(|inbox| inbox.grown.extend(instances));
    }

    /// Any instance may have printed something.
    pub fn look_at_all(&self) {
        self.tell(|inbox| inbox.all = true);
    }

    /// Takes everything that these instances printed out of the index, its files included,
    /// and never takes it up again. Returns when it is done.
    pub fn forget(&self, instances: &[InstanceId]) {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        self.tell(|inbox| inbox.forget.push((instances.to_vec(), done)));
        // An error means that the thread is ending; what is left is forgotten at its next start,
        // because a spool that is gone is forgotten.
        let _ = wait.recv();
    }

    /// Ends the thread, with what was read so far committed.
    pub fn stop(&self) {
        self.tell(|inbox| inbox.stop = true);
    }

    /// Whether some of what was printed is not indexed yet, apart from the last moment.
    #[must_use]
    pub fn is_indexing(&self) -> bool {
        self.0.is_behind.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Looks for lines.
    ///
    /// # Errors
    /// When the index is damaged; it is then built again.
    pub fn find(&self, request: &Request<'_>) -> Result<Found, SearchError> {
        let indexing = self.is_indexing();
        let live = self.0.live.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(live) = live else { return Ok(Found { hits: Vec::new(), total: 0, indexing }) };
        // Damaged files make the library panic in places.
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| find::find(&live, request)))
            .unwrap_or_else(|_| Err(tantivy::TantivyError::InternalError("it panicked".into())));
        match found {
            Ok((hits, total)) => Ok(Found { hits, total, indexing }),
            Err(error) => {
                self.tell(|inbox| inbox.rebuild = true);
                Err(SearchError(error))
            }
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.wake.notify_one();
    }
}
