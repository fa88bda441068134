//! A run in namespaces of its own: pid, mount, uts and ipc.
//!
//! Three processes: the one that the keeper knows, outside; the first of the new pid namespace,
//! which reaps and passes signals on; and the program, as that one's child. The one that unshares
//! never executes anything itself, since a process whose children are in another pid namespace
//! cannot start threads. Each dies with the one before it, and with the first of a pid namespace
//! the kernel ends everybody in it, so nothing of the run can outlive its end.
//!
//! The program sees a `/proc` of its own processes, and of the data directory only what is its
//! own. The network is shared, `/tmp` too.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal, setsid, wait, waitpid};
use serde::{Deserialize, Serialize};

use super::child::raw::{self, Came, Fork};
use super::launch::{self, Plan};

/// What a run in namespaces of its own looks like from inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Space {
    pub(super) hostname: String,
    /// Directories of which it sees only what is in `kept`.
    pub(super) hidden: Vec<PathBuf>,
    pub(super) kept: Vec<PathBuf>,
}

/// No program gains powers from a file in there, and no file in there is a device.
const CLOSED: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV;
/// Bytes of a tmpfs that holds nothing but mount points.
const ROOM: &std::ffi::CStr = c"mode=0755,size=256k";

/// Starts the program in namespaces and ends as it ends. Returns only when there is no program,
/// with the reason.
pub(super) fn enter(space: &Space, plan: Plan, report: File) -> (String, File) {
    match divide() {
        Err(words) => (words, report),
        Ok((Fork::Child, _, status)) => inside(space, plan, report, status),
        Ok((Fork::Parent(first), statuses, status)) => {
            drop((plan, report, status));
            raw::end_as(follow(first, statuses))
        }
    }
}

/// Splits into the process that the keeper knows and the first of a new pid namespace, with a
/// pipe from this to that.
fn divide() -> Result<(Fork, OwnedFd, OwnedFd), String> {
    let failed = |error: io::Error| format!("isolation: {error}");
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (statuses, status) = pipe.map_err(|error| failed(error.into()))?;
    raw::hold_signals().map_err(failed)?;
    raw::unshare(libc::CLONE_NEWPID).map_err(|error| impossible("pid namespace", &error))?;
    Ok((raw::fork().map_err(failed)?, statuses, status))
}

fn impossible(what: &str, error: &io::Error) -> String {
    format!("isolation = \"namespace\" is not possible here: {what}: {error}")
}

/// Passes signals on to the first process until it ends.
fn follow(first: Pid, statuses: OwnedFd) -> i32 {
    let ended = loop {
        match raw::next_signal() {
            Came::Signal(signal) => raw::kill(first.as_raw_nonzero().get(), signal),
            Came::Child => match waitpid(Some(first), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => break status.as_raw(),
                Ok(None) => {}
                Err(_) => break 1 << 8,
            },
        }
    };
    let mut told = [0; 4];
    match File::from(statuses).read_exact(&mut told) {
        Ok(()) => i32::from_ne_bytes(told),
        // It was killed itself, by us or by the kernel.
        Err(_) => ended,
    }
}

/// In the first process of the pid namespace.
fn inside(space: &Space, plan: Plan, report: File, status: OwnedFd) -> ! {
    let program = match begin(space, &plan, &report) {
        Ok(program) => program,
        Err(words) => {
            launch::complain(&report, &words);
            std::process::exit(127)
        }
    };
    // The program has its own copy of the pipe, which its exec closes.
    drop((plan, report));
    let ended = reap(program);
    let _ = File::from(status).write_all(&ended.to_ne_bytes());
    std::process::exit(0)
}

fn begin(space: &Space, plan: &Plan, report: &File) -> Result<Pid, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("isolation: {what}: {error}");
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| failed("death signal")(error.into()))?;
    setsid().map_err(|error| failed("session")(error.into()))?;
    raw::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC)
        .map_err(|error| impossible("mount, uts and ipc namespaces", &error))?;
    // What is mounted in here stays in here, and what is mounted outside stays outside.
    raw::mount(c"none", Path::new("/"), libc::MS_PRIVATE | libc::MS_REC, None).map_err(failed("mounts"))?;
    space.hidden.iter().try_for_each(|dir| hide(dir, &space.kept))?;
    let flags = CLOSED | libc::MS_NOEXEC;
    raw::mount(c"proc", Path::new("/proc"), flags, None).map_err(failed("a /proc of its own"))?;
    if Path::new("/dev/shm").is_dir() {
        let options = Some(c"mode=1777");
        raw::mount(c"tmpfs", Path::new("/dev/shm"), CLOSED, options).map_err(failed("/dev/shm"))?;
    }
    raw::set_host_name(&space.hostname).map_err(failed("host name"))?;
    launch::give_up_powers()?;
    match raw::fork().map_err(|error| format!("isolation: {error}"))? {
        Fork::Parent(program) => Ok(program),
        Fork::Child => {
            let words = setsid().map_or_else(|error| error.to_string(), |_| launch::become_program(plan));
            launch::complain(report, &words);
            std::process::exit(127)
        }
    }
}

/// Puts an empty directory in a directory's place, with those of `kept` in it that lie there.
fn hide(dir: &Path, kept: &[PathBuf]) -> Result<(), String> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("isolation: {path}: {error}")
    };
    if kept.iter().any(|path| path == dir) {
        let dir = dir.display();
        return Err(format!(
            "isolation: {dir} cannot be hidden from a process that works in it; set 'workdir'"
        ));
    }
    let own = kept.iter().filter(|path| path.starts_with(dir));
    let own = own.map(|path| Ok((path, path.is_dir(), raw::open_tree(path).map_err(at(path))?)));
    let own = own.collect::<Result<Vec<_>, String>>()?;
    raw::mount(c"tmpfs", dir, CLOSED, Some(ROOM)).map_err(at(dir))?;
    for (path, is_dir, tree) in own {
        let point = if is_dir { path } else { path.parent().unwrap_or(path) };
        std::fs::create_dir_all(point).map_err(at(path))?;
        if !is_dir {
            File::create(path).map_err(at(path))?;
        }
        raw::attach(&tree, path).map_err(at(path))?;
    }
    raw::mount(c"tmpfs", dir, CLOSED | libc::MS_REMOUNT | libc::MS_RDONLY, Some(ROOM)).map_err(at(dir))
}

/// Reaps whoever ends here until the program has ended; after a TERM, until everybody has, for
/// then each has its own time to end. Gives what wait told of the program.
fn reap(program: Pid) -> i32 {
    let raw_pid = program.as_raw_nonzero().get();
    let (mut ended, mut is_ending) = (None, false);
    loop {
        match raw::next_signal() {
            Came::Signal(libc::SIGTERM) => {
                is_ending = true;
                raw::kill(-1, libc::SIGTERM);
            }
            Came::Signal(signal) => raw::kill(-raw_pid, signal),
            Came::Child => {}
        }
        let is_alone = loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == program => ended = Some(status.as_raw()),
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        match ended {
            Some(status) if is_alone || !is_ending => return status,
            _ => {}
        }
    }
}

/// Whether namespaces are possible here, tried on this very process.
pub(super) fn try_it() -> Result<(), String> {
    let all = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    raw::unshare(all).map_err(|error| impossible("namespaces", &error))
}
