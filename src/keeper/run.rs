//! One run in the keeper: its process from start to end, and the end of everything that
//! the process left behind.
//!
//! The leader stays a zombie until its group is dead, so that its pid, which is also the
//! group's, cannot come to mean anything else. Only then is the end told.

mod begin;

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tenantry_journal::event::instance::ExitStatus;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::cgroup::Group;
use super::child;
use super::files::RunFile;
use super::output::{Pump, Until};
use super::process::{self, Member, Stat};
use super::protocol::{RunReport, RunState, Spawned};
use super::server::Server;

pub(super) use begin::{Started, start};

/// How often what is left of a run is looked for and killed before we give up on it: each
/// round catches what was forked in the round before.
const SWEEPS: usize = 20;
/// How long a killed process may take to be gone. One that waits for a dead disk takes longer,
/// and must not keep the end of its run from being told.
const DEATH: Duration = Duration::from_millis(500);
/// How often a group that is not empty yet is tried to be removed, and how long after one
/// another: the dead leave it a moment after their end is seen.
const REMOVALS: usize = 100;
/// As above.
const REMOVAL: Duration = Duration::from_millis(20);
/// How long the last output may take to reach the spool before the end is told without it.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// How a shell ends whose command was killed.
const KILLED_TO_A_SHELL: i32 = 137;

/// How a run is seen by this keeper.
pub(super) struct Run {
    pub(super) file: RefCell<RunFile>,
    /// Started by this keeper, so that its status can be known and its pid is ours until
    /// we let go of it.
    is_child: bool,
    /// Our child that has not been waited for.
    is_held: Cell<bool>,
    /// Whether the leader was seen alive by this keeper.
    was_seen: bool,
    kill_at: Cell<Option<Instant>>,
    /// Told when `kill_at` was set.
    stop: Notify,
    pub(super) pump: RefCell<Option<Rc<Pump>>>,
    /// The reading ends of its pipes while the key is awaited.
    pub(super) pipes: RefCell<Option<[OwnedFd; 2]>>,
    /// Empty without one.
    group: Group,
}

impl Run {
    fn new(file: RunFile, is_child: bool, was_seen: bool) -> Run {
        Run {
            group: Group(file.groups.clone()),
            file: RefCell::new(file),
            is_child,
            is_held: Cell::new(is_child),
            was_seen,
            kill_at: Cell::new(None),
            stop: Notify::new(),
            pump: RefCell::new(None),
            pipes: RefCell::new(None),
        }
    }

    pub(super) fn spawned(&self) -> Spawned {
        let (pid, start_ticks) = self.file.borrow().process.unwrap_or_default();
        Spawned { pid, start_ticks }
    }

    pub(super) fn is_over(&self) -> bool {
        self.file.borrow().exit.is_some()
    }

    /// The pid of a child that must not be reaped yet.
    pub(super) fn held_pid(&self) -> Option<u32> {
        self.is_held.get().then(|| self.spawned().pid)
    }

    /// Not a child of this keeper, so that what it leaves behind is not either.
    pub(super) fn is_stranger(&self) -> bool {
        !self.is_child
    }

    pub(super) fn report(&self) -> RunReport {
        let file = self.file.borrow();
        let Spawned { pid, start_ticks } = self.spawned();
        let state = file.exit.map_or(RunState::Running, |(status, at)| RunState::Exited { status, at });
        RunReport {
            run_id: file.run_id,
            instance_id: file.instance_id,
            pid,
            start_ticks,
            state,
            adopted: !self.is_child,
            awaits_key: self.pipes.borrow().is_some(),
            dropped_bytes: self.pump.borrow().as_ref().map_or(0, |pump| pump.dropped()),
        }
    }

    /// TERM to everything that belongs to the run, and KILL after the timeout.
    pub(super) fn stop(self: &Rc<Self>, server: &Rc<Server>, within: Duration) {
        if self.is_over() {
            return;
        }
        let at = Instant::now() + within;
        let first = self.kill_at.get().is_none();
        if self.kill_at.get().is_none_or(|before| at < before) {
            self.kill_at.set(Some(at));
            self.stop.notify_one();
        }
        if first && !within.is_zero() && self.file.borrow().is_apart {
            // Its first process passes it on to everybody, once.
            let Spawned { pid, start_ticks } = self.spawned();
            if let Some(leader) = process::open(pid, start_ticks) {
                process::signal(&leader, Signal::TERM);
            }
        } else if first && !within.is_zero() {
            let in_group = self.signal_group(Signal::TERM);
            let (run, server) = (Rc::clone(self), Rc::clone(server));
            tokio::task::spawn_local(async move {
                let pid = run.spawned().pid;
                for (fd, group) in run.members(&server).await {
                    if !(in_group && group == pid) {
                        process::signal(&fd, Signal::TERM);
                    }
                }
            });
        }
    }

    /// Signals the whole group at once, if its pid is certain to be ours.
    fn signal_group(&self, signal: Signal) -> bool {
        let pid = self.held_pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        pid.is_some_and(|pid| kill_process_group(pid, signal).is_ok())
    }

    /// Handles on all living processes of the run, with their groups.
    async fn members(&self, server: &Server) -> Vec<(OwnedFd, u32)> {
        let snapshot = server.snapshot().await;
        let Spawned { pid, start_ticks } = self.spawned();
        let sure = self.is_held.get()
            || match snapshot.stat(pid) {
                Some(stat) => stat.start_ticks == start_ticks,
                // It has just died and left its pid to its session, or to nobody.
                None => self.was_seen,
            };
        let mut members = snapshot.members(self.file.borrow().run_id, pid, sure);
        let mut grouped = self.group.pids();
        grouped.retain(|pid| members.iter().all(|member| member.pid != *pid));
        members.extend(grouped.into_iter().filter_map(|pid| Some(Member { pid, stat: Stat::of(pid)? })));
        let open = members.into_iter();
        open.filter_map(|m| Some((process::open(m.pid, m.stat.start_ticks)?, m.stat.group))).collect()
    }

    /// Follows the leader to its end, ends what it left behind, and tells.
    pub(super) async fn watch(self: Rc<Self>, server: Rc<Server>, leader: Option<OwnedFd>) {
        if let Some(leader) = leader {
            match child::readable(leader) {
                Ok(leader) => self.await_leader(&leader).await,
                Err(error) => tracing::error!(%error, "a process cannot be watched"),
            }
        }
        let at = super::now();
        let status = self.status();
        self.sweep(&server).await;
        self.let_go();
        tokio::task::spawn_local(end_group(self.group.clone()));
        server.reap_orphans();
        self.finish_output(&server).await;
        self.file.borrow_mut().exit = Some((status, at));
        let saved = server.files.save(&self.file.borrow());
        if let Err(error) = saved {
            tracing::error!(%error, "the end of a run cannot be saved");
        }
        server.tell_exit(&self, status, at);
    }

    /// Brings what the pipes still hold to the spool.
    pub(super) async fn finish_output(&self, server: &Server) {
        let pump = self.pump.borrow().clone();
        if let Some(pump) = pump {
            let finish = async {
                pump.finish(Until::End).await;
                server.outputs.flush(LAST_OUTPUT).await;
            };
            let _ = timeout(LAST_OUTPUT, finish).await;
        }
    }

    async fn await_leader(&self, leader: &AsyncFd<OwnedFd>) {
        let mut was_killed = false;
        loop {
            let kill_at = self.kill_at.get().filter(|_| !was_killed);
            tokio::select! {
                _ = leader.readable() => return,
                () = self.stop.notified() => {}
                () = async { match kill_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }} => {
                    was_killed = true;
                    self.signal_group(Signal::KILL);
                    process::signal(leader.get_ref(), Signal::KILL);
                }
            }
        }
    }

    /// How our child ended; it stays a zombie.
    fn status(&self) -> ExitStatus {
        let pid = self.held_pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = pid.and_then(|pid| waitid(WaitId::Pid(pid), options).ok().flatten());
        let code = status.as_ref().and_then(|status| status.exit_status());
        let signal = status.as_ref().and_then(|status| status.terminating_signal());
        // Nobody told it to end, and the kernel says that it killed there for want of memory.
        let is_killed = code == Some(KILLED_TO_A_SHELL) || signal == Some(Signal::KILL.as_raw());
        if is_killed && self.kill_at.get().is_none() && self.group.oom_kills() > 0 {
            return ExitStatus::MemoryLimit;
        }
        match (code, signal) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal(signal),
            (None, None) => ExitStatus::Unknown,
        }
    }

    /// Ends everything that the leader left behind: what still has time until the stop's
    /// timeout is waited for, the rest is killed.
    async fn sweep(&self, server: &Server) {
        for _ in 0..SWEEPS {
            let left: Vec<OwnedFd> = self.members(server).await.into_iter().map(|(fd, _)| fd).collect();
            if left.is_empty() {
                return;
            }
            let grace = self.kill_at.get().map(|at| at.saturating_duration_since(Instant::now()));
            if let Some(grace) = grace.filter(|grace| !grace.is_zero()) {
                tokio::select! {
                    () = process::all_dead(left, grace) => {}
                    () = self.stop.notified() => {}
                }
                continue;
            }
            self.group.kill();
            left.iter().for_each(|fd| process::signal(fd, Signal::KILL));
            process::all_dead(left, DEATH).await;
        }
        tracing::warn!(run.id = %self.file.borrow().run_id, "some of its processes could not be ended");
    }

    /// Reaps our child: from here on its pid may mean another process.
    fn let_go(&self) {
        if let Some(pid) = self.held_pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            self.is_held.set(false);
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

/// Kills whoever is in a group, and removes it once it is empty.
pub(super) async fn end_group(group: Group) {
    for _ in 0..REMOVALS {
        if group.remove().is_ok() {
            return;
        }
        if !group.kill() {
            for pid in group.pids() {
                let Some(stat) = Stat::of(pid) else { continue };
                if let Some(fd) = process::open(pid, stat.start_ticks)
                    && group.has(pid)
                {
                    process::signal(&fd, Signal::KILL);
                }
            }
        }
        tokio::time::sleep(REMOVAL).await;
    }
    tracing::warn!(?group, "a control group could not be removed");
}

/// Takes over a run that an earlier keeper left. Returns a handle on its process when it lives.
pub(super) fn adopt(
    server: &Server,
    snapshot: &process::Snapshot,
    mut file: RunFile,
) -> (Run, Option<OwnedFd>) {
    if file.exit.is_some() {
        return (Run::new(file, false, false), None);
    }
    let same_boot = file.boot_id == server.boot_id;
    if same_boot && file.process.is_none() {
        // The keeper died between starting it and writing that down.
        file.process = snapshot.leader(file.run_id).map(|leader| (leader.pid, leader.stat.start_ticks));
    }
    let process = file.process.filter(|_| same_boot);
    let leader = process.and_then(|(pid, start_ticks)| process::open(pid, start_ticks));
    let run = Run::new(file, false, leader.is_some());
    let (id, sealed) = (run.file.borrow().run_id, run.file.borrow().sealed);
    if same_boot {
        let pipe = |name| server.files.reading_end(id, name);
        match pipe("out").and_then(|out| Ok([out, pipe("err")?])) {
            Ok(pipes) if sealed => *run.pipes.borrow_mut() = Some(pipes),
            Ok(pipes) => server.pump(&run, None, pipes),
            Err(error) => tracing::error!(%error, run.id = %id, "the pipes of a run cannot be opened"),
        }
    }
    (run, leader)
}
