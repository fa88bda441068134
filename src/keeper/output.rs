//! From the pipes of a process to its spool: reads without ever waiting for the disk,
//! cuts lines, and hands over batches.
//!
//! When the spool's queue is full the process has to wait, which loses nothing; but not
//! for longer than [`PATIENCE`]: an application must not hang because a disk does. From
//! then on output is dropped and counted until there is room again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::spool::{Batch, Entry, Key, Lines, Options, Shape, Stream};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::child;
use super::files::Files;
use super::spooler::{Spool, Spooler};

/// How long lines gather before they are written: one system call for many lines, and
/// still at once to the eye. It is also what a killed keeper may lose.
const GATHER: Duration = Duration::from_millis(20);
/// How long a line may pause before what there is of it is shown, such as a prompt.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a full queue holds up a process.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much is read at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// How much is read after the end at most, when something still writes into the pipe: the
/// largest size that an unprivileged process can give to a pipe.
const LAST: usize = 1 << 20;

/// Everything that carries output in this keeper.
pub(super) struct Outputs {
    files: Files,
    spooler: Spooler,
    sinks: RefCell<HashMap<InstanceId, Weak<Sink>>>,
    /// Sinks with a batch that waits for [`GATHER`].
    gathering: RefCell<Vec<Rc<Sink>>>,
    gather: Notify,
    chunk: RefCell<Box<[u8]>>,
}

impl Outputs {
    pub(super) fn new(files: Files, spooler: Spooler) -> Rc<Outputs> {
        let outputs = Rc::new(Outputs {
            files,
            spooler,
            sinks: RefCell::default(),
            gathering: RefCell::default(),
            gather: Notify::new(),
            chunk: RefCell::new(vec![0; CHUNK].into_boxed_slice()),
        });
        tokio::task::spawn_local(Rc::clone(&outputs).write_what_gathered());
        outputs
    }

    /// Begins to read a run's two pipes.
    pub(super) fn pump(
        self: &Rc<Self>,
        run: RunId,
        instance: InstanceId,
        key: Option<Key>,
        keep: Options,
        pipes: [OwnedFd; 2],
    ) -> std::io::Result<Pump> {
        let sink = self.sink(instance, key, keep);
        let end = CancellationToken::new();
        let until = Rc::new(Cell::new(Until::End));
        let [out, err] = pipes;
        let mut tasks = Vec::with_capacity(2);
        for (stream, fd) in [(Stream::Stdout, out), (Stream::Stderr, err)] {
            let fd = child::readable(fd)?;
            let (sink, lines) = (Rc::clone(&sink), Lines::default());
            let pipe = Pipe {
                fd,
                cutter: Cutter { run, stream, lines, pause_ends: None, sink },
                until: Rc::clone(&until),
            };
            tasks.push(tokio::task::spawn_local(pipe.pump(Rc::clone(self), end.clone())));
        }
        Ok(Pump { sink, end, until, tasks: RefCell::new(tasks) })
    }

    fn sink(self: &Rc<Self>, instance: InstanceId, key: Option<Key>, keep: Options) -> Rc<Sink> {
        let mut sinks = self.sinks.borrow_mut();
        let known = sinks.get(&instance).and_then(Weak::upgrade);
        if let Some(sink) = known.filter(|sink| sink.spool.is_same(key.as_ref(), keep)) {
            return sink;
        }
        let spool = Arc::new(Spool::new(instance, self.files.spool(instance.0), key, keep));
        let sink = Rc::new(Sink {
            spool,
            batch: RefCell::default(),
            run: Cell::default(),
            is_gathering: Cell::new(false),
            is_stuck: Cell::new(false),
            spooler: self.spooler.clone(),
        });
        sinks.retain(|_, sink| sink.strong_count() > 0);
        sinks.insert(instance, Rc::downgrade(&sink));
        sink
    }

    /// Writes every batch that has gathered for long enough, for all runs in one task.
    async fn write_what_gathered(self: Rc<Self>) {
        loop {
            self.gather.notified().await;
            tokio::time::sleep(GATHER).await;
            let sinks = std::mem::take(&mut *self.gathering.borrow_mut());
            for sink in sinks {
                if sink.offer() {
                    sink.is_gathering.set(false);
                } else {
                    self.gathering.borrow_mut().push(sink);
                    self.gather.notify_one();
                }
            }
        }
    }

    /// Reads once and cuts what came; returns how much that was.
    fn read(&self, fd: &OwnedFd, cutter: &mut Cutter) -> std::io::Result<usize> {
        let mut chunk = self.chunk.borrow_mut();
        let len = rustix::io::read(fd, &mut **chunk)?;
        cutter.take(chunk.get(..len).unwrap_or_default());
        Ok(len)
    }

    /// Writes what has gathered without waiting, and waits until it is on disk.
    pub(super) async fn flush(&self, within: Duration) {
        for sink in self.gathering.borrow().iter() {
            let _ = sink.offer();
        }
        let _ = timeout(within, self.spooler.flush()).await;
    }

    fn begin_to_gather(&self, sink: &Rc<Sink>) {
        if !sink.batch.borrow().is_empty() && !sink.is_gathering.replace(true) {
            self.gathering.borrow_mut().push(Rc::clone(sink));
            self.gather.notify_one();
        }
    }
}

/// The output of one instance on its way to the spool.
struct Sink {
    spool: Arc<Spool>,
    batch: RefCell<Batch>,
    /// The run that printed last.
    run: Cell<uuid::Uuid>,
    is_gathering: Cell<bool>,
    /// The queue was full for longer than [`PATIENCE`].
    is_stuck: Cell<bool>,
    spooler: Spooler,
}

impl Sink {
    /// Queues the batch if there is room.
    fn offer(&self) -> bool {
        let batch = std::mem::take(&mut *self.batch.borrow_mut());
        if batch.is_empty() {
            return true;
        }
        match self.spooler.offer(&self.spool, self.run.get(), batch) {
            Ok(()) => {
                self.is_stuck.set(false);
                true
            }
            Err(batch) => {
                *self.batch.borrow_mut() = batch;
                false
            }
        }
    }

    /// Queues the batch, waits for room if need be, and gives it up if there is none.
    async fn send(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let room = self.spool.room.notified();
            if self.offer() {
                return;
            }
            if self.is_stuck.get() || tokio::time::timeout_at(until, room).await.is_err() {
                self.is_stuck.set(true);
                self.spool.drop_batch(&self.batch.take());
                return;
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.offer() {
            self.spool.drop_batch(&self.batch.take());
        }
        self.spooler.close(self.spool.instance);
    }
}

/// Why reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The run is over: a last line without its newline is a line.
    End,
    /// Another keeper will read on: a line may still get its end.
    NextKeeper,
}

/// The reading of one run's output.
pub(super) struct Pump {
    sink: Rc<Sink>,
    end: CancellationToken,
    until: Rc<Cell<Until>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

impl Pump {
    /// Reads what the pipes still hold, and gives it to the spool.
    pub(super) async fn finish(&self, until: Until) {
        self.until.set(until);
        self.end.cancel();
        for task in self.tasks.take() {
            let _ = task.await;
        }
        self.sink.send().await;
    }

    pub(super) fn dropped(&self) -> u64 {
        self.sink.spool.dropped()
    }
}

/// One of a run's two pipes.
struct Pipe {
    fd: AsyncFd<OwnedFd>,
    cutter: Cutter,
    until: Rc<Cell<Until>>,
}

impl Pipe {
    async fn pump(self, outputs: Rc<Outputs>, end: CancellationToken) {
        let Pipe { fd, mut cutter, until } = self;
        loop {
            let woken = tokio::select! {
                biased;
                () = end.cancelled() => break,
                // Before the pause: who waited for the disk has not paused.
                ready = fd.readable() => Some(ready),
                () = cutter.pause() => None,
            };
            let Some(ready) = woken else {
                cutter.show_pause();
                outputs.begin_to_gather(&cutter.sink);
                continue;
            };
            let Ok(mut guard) = ready else { break };
            match guard.try_io(|fd| outputs.read(fd.get_ref(), &mut cutter)) {
                // The pipe was empty; or a signal came in between.
                Err(_) => {}
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // No process has the pipe open any more.
                Ok(Ok(0)) => break,
                Ok(Ok(_)) => cutter.hand_over(&outputs).await,
                Ok(Err(error)) => {
                    tracing::warn!(run.id = %cutter.run, %error, "a pipe cannot be read");
                    break;
                }
            }
        }
        let mut left = LAST;
        while let Ok(len @ 1..) = outputs.read(fd.get_ref(), &mut cutter)
            && left > 0
        {
            left = left.saturating_sub(len);
            cutter.hand_over(&outputs).await;
        }
        match until.get() {
            Until::End => cutter.finish(),
            Until::NextKeeper => cutter.show_pause(),
        }
        outputs.begin_to_gather(&cutter.sink);
    }
}

/// Makes records of what one pipe holds.
struct Cutter {
    run: RunId,
    stream: Stream,
    lines: Lines,
    /// When what there is of a waiting line is to be shown.
    pause_ends: Option<Instant>,
    sink: Rc<Sink>,
}

impl Cutter {
    fn take(&mut self, chunk: &[u8]) {
        let lines_before = self.sink.batch.borrow().count();
        self.step(|lines, emit| lines.push(chunk, emit));
        let is_new = self.sink.batch.borrow().count() > lines_before;
        self.pause_ends = match self.pause_ends {
            _ if !self.lines.is_waiting() => None,
            Some(before) if !is_new => Some(before),
            _ => Some(Instant::now() + PAUSE),
        };
    }

    async fn pause(&self) {
        match self.pause_ends {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn show_pause(&mut self) {
        self.pause_ends = None;
        self.step(|lines, emit| lines.flush(emit));
    }

    fn finish(&mut self) {
        self.step(|lines, emit| lines.finish(emit));
    }

    async fn hand_over(&self, outputs: &Outputs) {
        let is_full = self.sink.batch.borrow().is_full();
        if is_full {
            self.sink.send().await;
        } else {
            outputs.begin_to_gather(&self.sink);
        }
    }

    /// Adds to the batch what a step of the line cutter gives.
    fn step(&mut self, step: impl FnOnce(&mut Lines, &mut dyn FnMut(&[u8], Shape))) {
        let at = super::now();
        let (run, stream) = (self.run.0, self.stream);
        self.sink.run.set(run);
        let mut batch = self.sink.batch.borrow_mut();
        step(&mut self.lines, &mut |bytes, shape| batch.push(&Entry { run, stream, at, bytes, shape }));
    }
}
