//! The thread that indexes: reads what spools have grown by, in turns, and commits.
//!
//! Turns are short, so that one process that floods its spool does not keep another's line
//! from being found. After any error the index is built again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tantivy::query::{BooleanQuery, Occur, Query, RangeQuery, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{TantivyError, Term};
use tenantry_journal::id::InstanceId;
use tenantry_journal::spool::{Reader, Record, Shape, SpoolError};

use super::index::{Files, Known};
use super::segment::Segment;
use super::{Inbox, Live, Shared, Source};

/// Lines of one spool that are read in its turn.
const TURN: usize = 1024;
/// Turns before the inbox is looked at again.
const TURNS: usize = 16;
/// Between two commits: what is printed is findable within 2 s, and a commit syncs files.
const COMMIT_EVERY: Duration = Duration::from_millis(700);
/// How often it is looked whether the files are still there, without other work.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often deleted segments of spools are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// After an error, before the next attempt.
const RETRY: Duration = Duration::from_secs(5);
/// Readers kept open between turns.
const READERS: usize = 64;

pub(super) struct Worker {
    dir: PathBuf,
    source: Arc<dyn Source>,
    shared: Arc<Shared>,
    files: Option<Files>,
    /// Instances that may have more to read, in the order of their turns.
    queue: VecDeque<InstanceId>,
    readers: HashMap<InstanceId, Reader>,
    forgotten: BTreeSet<InstanceId>,
    /// The position up to which each spool was counted.
    counted: HashMap<InstanceId, u64>,
    uncommitted: bool,
    committed: Instant,
    swept: Instant,
}

impl Worker {
    pub(super) fn new(dir: PathBuf, source: Arc<dyn Source>, shared: Arc<Shared>) -> Worker {
        let now = Instant::now();
        Worker {
            dir,
            source,
            shared,
            files: None,
            queue: VecDeque::new(),
            readers: HashMap::new(),
            forgotten: BTreeSet::new(),
            counted: HashMap::new(),
            uncommitted: false,
            committed: now,
            swept: now,
        }
    }

    pub(super) fn run(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            let inbox = self.wait(pause);
            if inbox.stop {
                if self.uncommitted
                    && let Err(error) = self.commit()
                {
                    tracing::warn!(%error, "the last lines are indexed at the next start");
                }
                return;
            }
            let did = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work(inbox)))
                .unwrap_or_else(|_| Err(TantivyError::InternalError("it panicked".into())));
            pause = match did {
                Ok(()) => self.pause(),
                Err(error) => {
                    tracing::warn!(%error, "the search index is built again");
                    self.close();
                    let created = Files::create(&self.dir).and_then(|files| {
                        self.files = Some(files);
                        self.publish()
                    });
                    match created {
                        Ok(()) => Duration::ZERO,
                        Err(error) => {
                            tracing::error!(%error, path = %self.dir.display(), "there is no search index");
                            RETRY
                        }
                    }
                }
            };
        }
    }

    /// How long nothing need be done unless somebody tells of something.
    fn pause(&self) -> Duration {
        if !self.queue.is_empty() {
            Duration::ZERO
        } else if self.uncommitted {
            COMMIT_EVERY.saturating_sub(self.committed.elapsed())
        } else {
            LOOK_EVERY
        }
    }

    /// What there is to do; waits for it while there is time.
    fn wait(&self, pause: Duration) -> Inbox {
        let inbox = self.shared.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |inbox: &mut Inbox| {
            let told = inbox.all || inbox.rebuild || inbox.stop || !inbox.forget.is_empty();
            !told && inbox.grown.is_empty()
        };
        let (mut inbox, _) = self
            .shared
            .wake
            .wait_timeout_while(inbox, pause, is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *inbox)
    }

    fn close(&mut self) {
        *self.shared.live.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.files = None;
        self.readers.clear();
        self.uncommitted = false;
        self.shared.is_behind.store(true, Ordering::Release);
        // When they are not known now, they are looked for with the next error or growth.
        self.queue = self.source.instances().unwrap_or_default().into();
    }

    fn work(&mut self, inbox: Inbox) -> Result<(), TantivyError> {
        if self.files.is_none() {
            self.queue.clear();
            self.files = Some(Files::open(&self.dir)?);
            self.queue = self.source.instances()?.into();
            self.publish()?;
            self.sweep()?;
        }
        if inbox.rebuild || !self.dir.join("meta.json").exists() {
            // Who waits for something to be forgotten waits for an index that is built again.
            inbox.forget.iter().for_each(|(instances, _)| self.forgotten.extend(instances));
            return Err(TantivyError::InvalidArgument("its files are gone or damaged".into()));
        }
        let new = if inbox.all { self.source.instances()? } else { inbox.grown.into_iter().collect() };
        for instance in new {
            if !self.queue.contains(&instance) {
                self.queue.push_back(instance);
            }
        }
        for (instances, done) in inbox.forget {
            self.forget(&instances)?;
            let _ = done.send(());
        }
        self.read()?;
        if self.swept.elapsed() >= SWEEP_EVERY {
            self.sweep()?;
        }
        if self.uncommitted && self.committed.elapsed() >= COMMIT_EVERY {
            self.commit()?;
        }
        // What was printed in the last moment waits for its commit; that is not behind.
        self.shared.is_behind.store(!self.queue.is_empty(), Ordering::Release);
        Ok(())
    }

    fn read(&mut self) -> Result<(), TantivyError> {
        for _ in 0..TURNS {
            let Some(instance) = self.queue.pop_front() else { return Ok(()) };
            if self.forgotten.contains(&instance) {
                continue;
            }
            match self.turn(instance)? {
                Turn::More => self.queue.push_back(instance),
                Turn::Done if self.readers.len() > READERS => drop(self.readers.remove(&instance)),
                Turn::Done => {}
            }
        }
        Ok(())
    }

    fn turn(&mut self, instance: InstanceId) -> Result<Turn, TantivyError> {
        let Some(files) = &mut self.files else { return Ok(Turn::Done) };
        let known = *files.progress.of(instance);
        let mut reader = match self.readers.remove(&instance) {
            Some(reader) => reader,
            None => match self.source.reader(instance) {
                Some(mut reader) => {
                    reader.seek(known.next);
                    reader
                }
                None => return Ok(Turn::Done),
            },
        };
        let records = match reader.read(TURN) {
            Ok(records) => records,
            Err(error) => {
                warn_unreadable(instance, &error);
                return Ok(Turn::Done);
            }
        };
        for record in &records {
            files.add(known.ordinal, record)?;
        }
        self.count(instance, &records);
        let Some(files) = &mut self.files else { return Ok(Turn::Done) };
        if let Some(last) = records.last() {
            files.progress.of(instance).next = last.position + 1;
            self.uncommitted = true;
        }
        self.readers.insert(instance, reader);
        Ok(if records.len() < TURN { Turn::Done } else { Turn::More })
    }

    /// Tells of what is read for the first time; building the index again does not count twice.
    fn count(&mut self, instance: InstanceId, records: &[Record]) {
        let next = self.counted.entry(instance).or_default();
        let new = records.iter().filter(|record| record.position >= *next);
        let (mut lines, mut lost) = (0, 0);
        for record in new {
            match record.shape {
                Shape::Lost(bytes) => lost += bytes,
                Shape::Line | Shape::Piece | Shape::Cut(_) => lines += 1,
            }
        }
        *next = records.last().map_or(*next, |last| last.position + 1);
        self.source.read(lines, lost);
    }

    fn commit(&mut self) -> Result<(), TantivyError> {
        if let Some(files) = &mut self.files {
            files.commit()?;
        }
        self.uncommitted = false;
        self.committed = Instant::now();
        self.publish()
    }

    fn publish(&self) -> Result<(), TantivyError> {
        let known = self.shared.live.read().unwrap_or_else(PoisonError::into_inner).clone();
        let known = known.as_ref().map_or(&[][..], |live| live.segments.as_slice());
        let live = self.files.as_ref().map(|files| live(files, known)).transpose()?;
        *self.shared.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        Ok(())
    }

    /// Deletes what the spools have deleted.
    fn sweep(&mut self) -> Result<(), TantivyError> {
        self.swept = Instant::now();
        let Some(files) = &mut self.files else { return Ok(()) };
        let there: BTreeSet<InstanceId> = self.source.instances()?.into_iter().collect();
        let known: Vec<InstanceId> = files.progress.instances.keys().copied().collect();
        for instance in known {
            let Known { ordinal, first, .. } = *files.progress.of(instance);
            let whose = Term::from_field_u64(files.fields.instance, ordinal);
            if !there.contains(&instance) {
                files.writer.delete_term(whose);
                files.progress.instances.remove(&instance);
                self.readers.remove(&instance);
                self.uncommitted = true;
                continue;
            }
            // A spool that cannot be read at all any more shows nothing either.
            let Some(reader) = self.source.reader(instance) else { continue };
            let Ok(Some(oldest)) = reader.oldest() else { continue };
            if oldest > first {
                let before = Term::from_field_u64(files.fields.position, oldest);
                let query = BooleanQuery::new(vec![
                    (
                        Occur::Must,
                        Box::new(TermQuery::new(whose, IndexRecordOption::Basic)) as Box<dyn Query>,
                    ),
                    (Occur::Must, Box::new(RangeQuery::new(Bound::Unbounded, Bound::Excluded(before)))),
                ]);
                files.writer.delete_query(Box::new(query))?;
                files.progress.of(instance).first = oldest;
                self.uncommitted = true;
            }
        }
        Ok(())
    }

    fn forget(&mut self, instances: &[InstanceId]) -> Result<(), TantivyError> {
        self.forgotten.extend(instances);
        let Some(mut files) = self.files.take() else { return Ok(()) };
        for instance in instances {
            self.readers.remove(instance);
            if let Some(known) = files.progress.instances.remove(instance) {
                files.writer.delete_term(Term::from_field_u64(files.fields.instance, known.ordinal));
            }
        }
        files.commit()?;
        self.uncommitted = false;
        // Nobody may begin to read the old files while they are taken away.
        self.files = Some(files);
        self.publish()?;
        if let Some(files) = self.files.take() {
            self.files = Some(files.purge()?);
        }
        self.publish()?;
        if let Some(files) = &self.files {
            files.writer.garbage_collect_files().wait()?;
        }
        Ok(())
    }
}

/// What searchers see of the files; segments that were open already stay so.
fn live(files: &Files, known: &[Arc<Segment>]) -> Result<Arc<Live>, TantivyError> {
    let ordinals = files.progress.instances.iter().map(|(id, known)| (*id, known.ordinal));
    let instances = ordinals.clone().map(|(id, ordinal)| (ordinal, id)).collect();
    let searcher = files.reader.searcher();
    let segments = searcher.segment_readers().iter();
    let segments = segments.map(|reader| Segment::open(reader, &files.fields, known));
    let segments = segments.collect::<Result<Vec<_>, TantivyError>>()?;
    let ordinals = ordinals.collect();
    Ok(Arc::new(Live { searcher, segments, fields: files.fields, ordinals, instances }))
}

/// Whether a spool had more than its turn.
enum Turn {
    More,
    Done,
}

fn warn_unreadable(instance: InstanceId, error: &SpoolError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(instance.id = %instance, %error, cause, "output is not indexed");
}
