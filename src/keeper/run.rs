//! One run in the keeper: its process from start to end, and the end of everything that
//! the process left behind.
//!
//! The leader stays a zombie until its group is dead, so that its pid, which is also the
//! group's, cannot come to mean anything else. Only then is the end told.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tenantry_journal::event::instance::{ExitStatus, Isolation};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::account::{self, Account};
use super::cgroup::Group;
use super::child::{self, Launch};
use super::files::{self, RunFile};
use super::isolate::Space;
use super::launch::{self, Plan};
use super::output::{Pump, Until};
use super::process::{self, MARK, Member, Stat};
use super::protocol::{RunReport, RunState, SpawnRequest, Spawned};
use super::server::Server;

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
/// Where a name is looked up when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

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

/// A run that has begun.
pub(super) struct Started {
    pub(super) run: Run,
    /// A handle on its process.
    pub(super) leader: OwnedFd,
    /// The reading ends of its pipes.
    pub(super) pipes: [OwnedFd; 2],
    /// Where a helper says why there will be no program after all.
    pub(super) complaints: Option<OwnedFd>,
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

/// Starts a process. When it fails there is no process and nothing left of the run, and the
/// text says why.
pub(super) fn start(server: &Server, request: &SpawnRequest) -> Result<Started, String> {
    let limits = &request.limits;
    let account = account::resolve(limits)?;
    let (group, words) = if limits.prepares() {
        server.cgroups.make(request.run_id, limits)
    } else {
        (Group::default(), Vec::new())
    };
    for words in words {
        tracing::warn!(run.id = %request.run_id, "{words}");
    }
    let file = RunFile {
        run_id: request.run_id,
        instance_id: request.instance_id,
        boot_id: server.boot_id.clone(),
        process: None,
        sealed: request.key.is_some(),
        stop_timeout_ms: request.stop_timeout_ms,
        retain: request.retain,
        exit: None,
        groups: group.0.clone(),
        is_apart: limits.isolation == Isolation::Namespace,
    };
    let started = launch(server, request, account, file);
    if started.is_err() {
        server.files.remove(request.run_id);
        let _ = group.remove();
    }
    started
}

fn launch(
    server: &Server,
    request: &SpawnRequest,
    account: Option<Account>,
    mut file: RunFile,
) -> Result<Started, String> {
    fn at<'a>(path: &'a Path, what: &'a str) -> impl FnOnce(io::Error) -> String + 'a {
        move |error| format!("{what} {}: {error}", path.display())
    }
    let (run, files) = (request.run_id, &server.files);
    let kept = |error: io::Error| format!("the keeper cannot make a place for the run: {error}");
    let workdir = &request.workdir;
    make_for(workdir, account.as_ref()).map_err(at(workdir, "working directory"))?;
    if let Some(socket) = &request.socket {
        let made = socket.parent().map_or(Ok(()), |dir| make_for(dir, account.as_ref()));
        made.and_then(|()| files::make_way(socket)).map_err(at(socket, "socket"))?;
    }
    let program = find(request).map_err(at(Path::new(&request.command), "command"))?;

    files.create(&file).map_err(kept)?;
    // The reading ends first: opening the others then does not wait for one.
    let pipes = [files.reading_end(run, "out").map_err(kept)?, files.reading_end(run, "err").map_err(kept)?];
    let stdin = files::nothing().map_err(kept)?;
    let stdout = files.writing_end(run, "out").map_err(kept)?;
    let stderr = files.writing_end(run, "err").map_err(kept)?;
    if let Some(account) = &account {
        // So that it can open /dev/stdout by its name.
        own(&stdout, account).and_then(|()| own(&stderr, account)).map_err(kept)?;
    }

    let mark = format!("{MARK}={run}");
    let words = std::iter::once(&request.command).chain(&request.args).cloned().collect();
    let env = request.env.iter().filter(|(name, _)| *name != MARK);
    let env = env.map(|(name, value)| format!("{name}={value}")).chain([mark.clone()]).collect();
    let limit = server.limit;
    let most = request.limits.max_open_files;
    let plan = Plan {
        args: words,
        env,
        workdir: workdir.clone(),
        socket: request.socket.clone(),
        groups: file.groups.clone(),
        open_files: (most.or(limit.current), most.or(limit.maximum)),
        account,
        space: file.is_apart.then(|| space(server, request, &program)),
        program,
    };
    let handover = if request.limits.prepares() { Some(plan.hand_over().map_err(kept)?) } else { None };
    let text = |text: &[u8]| CString::new(text).map_err(|_| "a text holds a zero byte".to_owned());
    let texts = |all: &[String]| all.iter().map(|one| text(one.as_bytes())).collect::<Result<Vec<_>, _>>();
    let more = handover.as_ref().map(launch::Handover::given);
    let (path, args, env) = match &handover {
        None => (text(plan.program.as_os_str().as_bytes())?, texts(&plan.args)?, texts(&plan.env)?),
        // Ourselves, also when the file was replaced since.
        Some(_) => (
            c"/proc/self/exe".to_owned(),
            vec![c"tenantry".to_owned(), text(launch::COMMAND.as_bytes())?],
            texts(&[mark])?,
        ),
    };
    let pid = child::spawn(&Launch {
        program: &path,
        args: &args,
        env: &env,
        workdir: &text(workdir.as_os_str().as_bytes())?,
        stdin: stdin.as_fd(),
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
        more: more.as_ref().map_or(&[], |more| more.as_slice()),
    })
    .map_err(at(&plan.program, "command"))?;

    // Our own higher limit is not for the child. It has only begun to load its libraries.
    if handover.is_none() {
        let _ = rustix::process::prlimit(Some(pid), Resource::Nofile, limit);
    }
    let complaints = handover.map(|handover| handover.complaints);
    let raw = pid.as_raw_nonzero().get().cast_unsigned();
    let start_ticks = Stat::of(raw).map_or(0, |stat| stat.start_ticks);
    file.process = Some((raw, start_ticks));
    if let Err(error) = files.save(&file) {
        // The next keeper would find it by its mark.
        tracing::error!(%error, run.id = %run, "the process of a run cannot be saved");
    }
    // It is our child and not reaped: the pid is certainly its own.
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK) {
        Ok(leader) => Ok(Started { run: Run::new(file, true, true), leader, pipes, complaints }),
        Err(error) => {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
            Err(format!("the process cannot be watched: {error}"))
        }
    }
}

/// Makes a directory when it is missing, and gives it to the one who will work in it.
fn make_for(dir: &Path, account: Option<&Account>) -> io::Result<()> {
    let is_new = account.is_some() && !dir.exists();
    std::fs::create_dir_all(dir)?;
    match account.filter(|_| is_new) {
        Some(account) => own(&std::fs::File::open(dir)?, account),
        None => Ok(()),
    }
}

fn own(file: &impl AsFd, account: &Account) -> io::Result<()> {
    let (user, group) = (rustix::fs::Uid::from_raw(account.uid), rustix::fs::Gid::from_raw(account.gid));
    Ok(rustix::fs::fchown(file, Some(user), Some(group))?)
}

/// What a run in namespaces of its own sees of the directories that it shares with others: where
/// it works, where its socket is, and what its command line names.
fn space(server: &Server, request: &SpawnRequest, program: &Path) -> Space {
    let real = |path: &Path| request.workdir.join(path).canonicalize().ok();
    let hidden = std::iter::once(server.files.data()).chain(request.hidden.iter().map(PathBuf::as_path));
    let mut hidden: Vec<PathBuf> = hidden.filter_map(real).filter(|dir| dir.is_dir()).collect();
    hidden.sort();
    hidden.dedup_by(|below, above| below.starts_with(above));
    let own = [Some(request.workdir.as_path()), request.socket.as_deref().and_then(Path::parent)];
    let named = request.args.iter().map(Path::new).filter(|path| path.is_absolute());
    let named = named.chain([program]).filter_map(real);
    // A directory that is hidden whole is nobody's own, whoever names it.
    let named = named.filter(|path| hidden.iter().any(|dir| path.starts_with(dir) && path != dir));
    let mut kept: Vec<PathBuf> = own.into_iter().flatten().filter_map(real).chain(named).collect();
    kept.sort();
    kept.dedup_by(|below, above| below.starts_with(above));
    Space { hostname: request.hostname.clone(), hidden, kept }
}

/// The program's path, as the child's own `PATH` has it.
fn find(request: &SpawnRequest) -> io::Result<PathBuf> {
    let missing = || io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
    if request.command.is_empty() {
        return Err(missing());
    }
    if request.command.contains('/') {
        return Ok(PathBuf::from(&request.command));
    }
    let path = request.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let mut found = Err(missing());
    for dir in path.split(':').filter(|dir| !dir.is_empty()) {
        let candidate = Path::new(dir).join(&request.command);
        if let Ok(meta) = std::fs::metadata(request.workdir.join(&candidate))
            && meta.is_file()
        {
            if meta.permissions().mode() & 0o111 != 0 {
                return Ok(candidate);
            }
            found = Err(io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error()));
        }
    }
    found
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
