//! The thread that writes spools, so that a slow or full disk never holds up the keeper.
//!
//! It takes batches from a queue whose length is bounded for each spool and for all
//! together. What cannot be written is counted, and told in the spool itself by a `Lost`
//! record as soon as it can be written again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tenantry_journal::id::InstanceId;
use tenantry_journal::spool::{Batch, Entry, Key, Options, Shape, Stream, Writer};
use tenantry_journal::time::Timestamp;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

/// Bytes of one spool that may wait: about four batches, enough to keep the thread busy.
const SPOOL_QUEUE: usize = 512 * 1024;
/// Bytes of all spools that may wait, so that two hundred noisy ones do not take 100 MiB.
const QUEUE: usize = 16 << 20;

/// How often output that is past its age is looked for; ages are days.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// What the keeper and the thread share about one spool.
pub(super) struct Spool {
    pub(super) instance: InstanceId,
    dir: PathBuf,
    key: Option<Key>,
    keep: Options,
    queued: AtomicUsize,
    /// Told whenever room was made in the queue.
    pub(super) room: Notify,
    dropped: AtomicU64,
    /// Dropped and not yet told of in the spool.
    untold: AtomicU64,
}

impl Spool {
    pub(super) fn new(instance: InstanceId, dir: PathBuf, key: Option<Key>, keep: Options) -> Spool {
        Spool {
            instance,
            dir,
            key,
            keep,
            queued: AtomicUsize::new(0),
            room: Notify::new(),
            dropped: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    pub(super) fn is_same(&self, key: Option<&Key>, keep: Options) -> bool {
        self.key.as_deref() == key.map(|key| &**key) && self.keep == keep
    }

    /// Bytes of output that could not be kept.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Gives up a batch that could not be written or even queued.
    pub(super) fn drop_batch(&self, batch: &Batch) {
        self.dropped.fetch_add(batch.output(), Ordering::Relaxed);
        self.untold.fetch_add(batch.output(), Ordering::Relaxed);
    }
}

enum Job {
    Write {
        spool: Arc<Spool>,
        run: Uuid,
        batch: Batch,
    },
    /// Answered once everything before it has been dealt with.
    Flush(oneshot::Sender<()>),
    Close(InstanceId),
}

/// The keeper's side of the thread.
#[derive(Clone)]
pub(super) struct Spooler {
    jobs: std::sync::mpsc::Sender<Job>,
    queued: Arc<AtomicUsize>,
    grown: Arc<Grown>,
}

/// The spools that have grown since last asked.
#[derive(Default)]
pub(super) struct Grown {
    positions: Mutex<HashMap<InstanceId, u64>>,
    told: Notify,
}

impl Grown {
    /// Waits until some have, and gives their newest positions.
    pub(super) async fn wait(&self) -> HashMap<InstanceId, u64> {
        loop {
            self.told.notified().await;
            let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
            if !positions.is_empty() {
                return std::mem::take(&mut *positions);
            }
        }
    }

    fn tell(&self, instance: InstanceId, position: u64) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.insert(instance, position);
        self.told.notify_one();
    }
}

impl Spooler {
    /// Starts the thread; it ends when the last of these is dropped.
    pub(super) fn start() -> std::io::Result<Spooler> {
        let (jobs, inbox) = std::sync::mpsc::channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let grown = Arc::new(Grown::default());
        let mut thread =
            Thread { queued: Arc::clone(&queued), grown: Arc::clone(&grown), writers: HashMap::new() };
        std::thread::Builder::new().name("spool".into()).spawn(move || {
            let mut expired = Instant::now();
            loop {
                match inbox.recv_timeout(EXPIRE_EVERY) {
                    Ok(job) => thread.take(job),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if expired.elapsed() >= EXPIRE_EVERY {
                    thread.expire();
                    expired = Instant::now();
                }
            }
        })?;
        Ok(Spooler { jobs, queued, grown })
    }

    pub(super) fn grown(&self) -> Arc<Grown> {
        Arc::clone(&self.grown)
    }

    /// Queues a batch, or gives it back when there is no room for it or nobody to write it.
    pub(super) fn offer(&self, spool: &Arc<Spool>, run: Uuid, batch: Batch) -> Result<(), Batch> {
        let size = batch.size();
        let own = spool.queued.load(Ordering::Acquire);
        let all = self.queued.load(Ordering::Acquire);
        // A spool with nothing queued always gets its turn, whatever the others queued.
        if own > 0 && (own + size > SPOOL_QUEUE || all + size > QUEUE) {
            return Err(batch);
        }
        spool.queued.fetch_add(size, Ordering::AcqRel);
        self.queued.fetch_add(size, Ordering::AcqRel);
        match self.jobs.send(Job::Write { spool: Arc::clone(spool), run, batch }) {
            Err(SendError(Job::Write { batch, .. })) => {
                spool.queued.fetch_sub(size, Ordering::AcqRel);
                self.queued.fetch_sub(size, Ordering::AcqRel);
                Err(batch)
            }
            _ => Ok(()),
        }
    }

    /// Told once all that was queued so far has been written or given up.
    pub(super) fn flush(&self) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        let _ = self.jobs.send(Job::Flush(done));
        wait
    }

    /// Nothing more will come for an instance.
    pub(super) fn close(&self, instance: InstanceId) {
        let _ = self.jobs.send(Job::Close(instance));
    }
}

struct Thread {
    queued: Arc<AtomicUsize>,
    grown: Arc<Grown>,
    writers: HashMap<InstanceId, (Arc<Spool>, Writer)>,
}

impl Thread {
    /// Deletes what is past its age.
    fn expire(&mut self) {
        let now = super::now();
        for (spool, writer) in self.writers.values_mut() {
            if let Err(error) = writer.expire(now) {
                tracing::warn!(instance.id = %spool.instance, %error, "old output stays");
            }
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Flush(done) => drop(done.send(())),
            Job::Close(instance) => drop(self.writers.remove(&instance)),
            Job::Write { spool, run, batch } => {
                match self.write(&spool, run, &batch) {
                    Ok(position) => self.grown.tell(spool.instance, position),
                    Err(error) => {
                        if spool.untold.load(Ordering::Relaxed) == 0 {
                            let cause = std::error::Error::source(&error).map(ToString::to_string);
                            tracing::error!(instance.id = %spool.instance, %error, cause, "output is being lost");
                        }
                        spool.drop_batch(&batch);
                    }
                }
                spool.queued.fetch_sub(batch.size(), Ordering::AcqRel);
                self.queued.fetch_sub(batch.size(), Ordering::AcqRel);
                spool.room.notify_waiters();
            }
        }
    }

    /// Returns the position of the newest record.
    fn write(
        &mut self,
        spool: &Arc<Spool>,
        run: Uuid,
        batch: &Batch,
    ) -> Result<u64, tenantry_journal::spool::SpoolError> {
        let known = self.writers.remove(&spool.instance).filter(|(known, _)| Arc::ptr_eq(known, spool));
        let writer = match known {
            Some((_, writer)) => writer,
            None => Writer::open(&spool.dir, spool.instance.0, spool.key.as_ref(), spool.keep)?,
        };
        let (_, writer) = self.writers.entry(spool.instance).or_insert((Arc::clone(spool), writer));
        let untold = spool.untold.load(Ordering::Relaxed);
        if untold > 0 {
            let mut gap = Batch::default();
            let at: Timestamp = super::now();
            let (stream, shape) = (Stream::Stdout, Shape::Lost(untold));
            gap.push(&Entry { run, stream, at, bytes: b"", shape });
            writer.write(&gap)?;
            spool.untold.fetch_sub(untold, Ordering::Relaxed);
        }
        writer.write(batch)?;
        Ok(writer.next_position() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_nobody_will_write_is_given_back() {
        let (jobs, inbox) = std::sync::mpsc::channel();
        drop(inbox);
        let spooler = Spooler { jobs, queued: Arc::default(), grown: Arc::default() };
        let spool = Arc::new(Spool::new(InstanceId(Uuid::nil()), PathBuf::new(), None, Options::default()));
        let mut batch = Batch::default();
        let (run, stream, shape) = (Uuid::nil(), Stream::Stdout, Shape::Line);
        batch.push(&Entry { run, stream, at: Timestamp(1), bytes: b"line", shape });
        let size = batch.size();
        let given_back = spooler.offer(&spool, run, batch).unwrap_err();
        assert_eq!((given_back.size(), given_back.count()), (size, 1));
        assert_eq!(spool.queued.load(Ordering::Acquire) + spooler.queued.load(Ordering::Acquire), 0);
    }
}
