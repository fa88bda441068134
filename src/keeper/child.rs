//! The calls into the operating system that have no safe door: starting a process, and
//! seeing which child has died. The one module with `unsafe` in it.
//!
//! Processes are started with `posix_spawn`, which borrows the parent's memory until exec
//! instead of copying its page tables, runs no code of ours in between, and reports what
//! went wrong in the child.
#![allow(
    unsafe_code,
    reason = "posix_spawn, close_range, fork, exec, waitid with a pid and AsyncFd have no safe door"
)]

pub(super) mod raw;

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process to be started, in the terms of the operating system.
pub(super) struct Launch<'a> {
    pub(super) program: &'a CStr,
    /// With the program's name as the first.
    pub(super) args: &'a [CString],
    /// `NAME=value`; nothing else is inherited.
    pub(super) env: &'a [CString],
    pub(super) workdir: &'a CStr,
    pub(super) stdin: BorrowedFd<'a>,
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// What else it gets, as descriptor 3 and so on; each open above 9.
    pub(super) more: &'a [BorrowedFd<'a>],
}

/// Starts a process as the leader of a session of its own, with default signal handlers
/// and no signal blocked. Returns only once its exec has succeeded or failed.
pub(super) fn spawn(launch: &Launch<'_>) -> io::Result<Pid> {
    let pointers = |strings: &[CString]| -> Vec<*mut libc::c_char> {
        strings.iter().map(|text| text.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
    };
    let (args, env) = (pointers(launch.args), pointers(launch.env));
    let attributes = Attributes::new()?;
    let actions = Actions::new(launch)?;
    let mut pid = 0;
    // SAFETY: all pointers are to live, initialised values; the arrays end in null and
    // their strings outlive the call, which does not keep any of them.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            launch.program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            args.as_ptr(),
            env.as_ptr(),
        )
    })?;
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("posix_spawn gave no process id"))
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: init writes the value or fails; it is assumed initialised only after success.
        let mut this = unsafe {
            check(libc::posix_spawnattr_init(raw.as_mut_ptr()))?;
            Attributes(raw.assume_init())
        };
        let flags =
            i32::from(libc::POSIX_SPAWN_SETSID) | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let (mut none, mut all) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the sets are initialised by sigemptyset and sigfillset, which cannot fail
        // on valid pointers; the attributes were initialised above.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigfillset(all.as_mut_ptr());
            check(libc::posix_spawnattr_setflags(&raw mut this.0, flags as libc::c_short))?;
            check(libc::posix_spawnattr_setsigmask(&raw mut this.0, none.as_ptr()))?;
            check(libc::posix_spawnattr_setsigdefault(&raw mut this.0, all.as_ptr()))?;
        }
        Ok(this)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(launch: &Launch<'_>) -> io::Result<Actions> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: init writes the value or fails; it is assumed initialised only after success.
        let mut this = unsafe {
            check(libc::posix_spawn_file_actions_init(raw.as_mut_ptr()))?;
            Actions(raw.assume_init())
        };
        // SAFETY: the actions were initialised above; addchdir copies its path.
        unsafe {
            check(libc::posix_spawn_file_actions_addchdir_np(&raw mut this.0, launch.workdir.as_ptr()))?;
        }
        let standard = [(launch.stdin, 0), (launch.stdout, 1), (launch.stderr, 2)];
        let more = launch.more.iter().copied().zip(3..);
        for (fd, target) in standard.into_iter().chain(more) {
            // SAFETY: as above; the descriptors are open for the life of `launch`.
            unsafe {
                check(libc::posix_spawn_file_actions_adddup2(&raw mut this.0, fd.as_raw_fd(), target))?;
            }
        }
        Ok(this)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// The posix_spawn family returns the error instead of setting errno.
fn check(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// Keeps whatever this process inherited besides stdin, stdout and stderr from its children.
pub(super) fn seal_inherited() {
    // SAFETY: sets a flag on descriptors and closes none. It fails only on kernels before
    // 5.11, where the descriptors that we open ourselves are still marked one by one.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Makes the command the leader of a session of its own, out of reach of its parent's
/// terminal, with none of the parent's descriptors but stdin, stdout and stderr: a lock or a
/// listening socket that our own parent left open must not live on in a process that outlives us.
pub(super) fn detach(command: &mut tokio::process::Command) {
    // SAFETY: between fork and exec only setsid and close_range are called, which are bare
    // system calls; std's own descriptors there are marked to be closed on exec already.
    unsafe {
        command.pre_exec(|| {
            seal_inherited();
            Ok(rustix::process::setsid().map(drop)?)
        });
    }
}

/// Some child that has died and was not reaped yet; it stays so.
pub(super) fn dead_child() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: info is a valid place; zeroed is a valid siginfo, and si_pid stays 0 in it
    // when no child has died. si_pid may be read because waitid fills that union member.
    let pid = unsafe {
        if libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) != 0 {
            return None;
        }
        info.assume_init().si_pid()
    };
    Pid::from_raw(pid)
}

/// Makes it possible to wait until a descriptor can be read.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd always gives the same descriptor and keeps it open until the
    // AsyncFd, which owns it, has let go of it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
