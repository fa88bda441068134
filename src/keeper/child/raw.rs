//! The calls that a helper makes between its own start and the program's: forking, signals,
//! namespaces, exec. The helper has one thread, so nothing of ours can be left half done in a
//! fork's child.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::process::Pid;

/// What a process that passes signals on passes on.
const PASSED: [libc::c_int; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// Which side of a fork.
pub(in crate::keeper) enum Fork {
    /// The old process, with the new one's id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// A signal that came.
pub(in crate::keeper) enum Came {
    /// A child has ended.
    Child,
    /// One to be passed on.
    Signal(libc::c_int),
}

fn result(code: libc::c_int) -> io::Result<libc::c_int> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

/// Takes over a descriptor that this process was started with; `None` when there is none.
pub(in crate::keeper) fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl only looks, and marks it to be closed on exec. The descriptor is open and
    // nobody else in this program owns one that it was started with.
    unsafe {
        if libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) != 0 {
            return None;
        }
        Some(OwnedFd::from_raw_fd(fd))
    }
}

/// A second process like this one. To be called only where there is one thread.
pub(in crate::keeper) fn fork() -> io::Result<Fork> {
    // SAFETY: this process has a single thread, so the child's memory is consistent.
    let pid = result(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid).map_or(Fork::Child, Fork::Parent))
}

/// Gives this process, or its children to come, namespaces of their own.
pub(in crate::keeper) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no flag for sharing descriptors or memory is ever given.
    result(unsafe { libc::unshare(flags) }).map(drop)
}

fn awaited() -> MaybeUninit<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is initialised by sigemptyset before signals are added to it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in PASSED.into_iter().chain([libc::SIGCHLD]) {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
    }
    set
}

/// From here on the signals that matter wait until they are asked for with [`next_signal`].
/// A blocked signal reaches the first process of a pid namespace too.
pub(in crate::keeper) fn hold_signals() -> io::Result<()> {
    let set = awaited();
    // SAFETY: the set is initialised; the old mask is not asked for.
    result(unsafe { libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) }).map(drop)
}

/// Waits for the next signal that was held.
pub(in crate::keeper) fn next_signal() -> Came {
    let set = awaited();
    loop {
        // SAFETY: the set is initialised; nothing more about the signal is asked for.
        let signal = unsafe { libc::sigwaitinfo(set.as_ptr(), ptr::null_mut()) };
        match signal {
            libc::SIGCHLD => return Came::Child,
            1.. => return Came::Signal(signal),
            // Interrupted by a signal that is not waited for.
            _ => {}
        }
    }
}

/// Sends a signal to a child of ours that was not reaped, or (a negative number) to its group;
/// -1 is everybody that this process may signal, which in a pid namespace is everybody in it.
pub(in crate::keeper) fn kill(whom: libc::pid_t, signal: libc::c_int) {
    // SAFETY: sends a signal and touches no memory.
    unsafe { libc::kill(whom, signal) };
}

/// As a program expects to find it: nothing blocked, and a broken pipe ends it, which the
/// standard library has switched off for us.
fn default_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the set is initialised by sigemptyset; the default action is no handler of ours.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Becomes another program. Returns only when that failed.
pub(in crate::keeper) fn exec(program: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    default_signals();
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: the arrays end in null and their strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process as another one has ended, of which `status` is what wait told.
pub(in crate::keeper) fn end_as(status: libc::c_int) -> ! {
    if libc::WIFSIGNALED(status) {
        // Not worth a core of our own: the program's is there if it has one.
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
        default_signals();
        let signal = libc::WTERMSIG(status);
        // SAFETY: the default action replaces nothing of ours; then this process signals itself.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
    std::process::exit(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1 })
}

fn c_text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Mounts a file system, or changes a mount; see mount(2) for flags and options.
pub(in crate::keeper) fn mount(
    kind: &CStr,
    target: &Path,
    flags: libc::c_ulong,
    options: Option<&CStr>,
) -> io::Result<()> {
    let target = c_text(target)?;
    let options = options.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: all texts end in a zero byte and outlive the call, which keeps none of them.
    let code = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.cast()) };
    result(code).map(drop)
}

/// Flags of open_tree(2) and move_mount(2), which libc does not name on every target.
const TREE_CLONE: libc::c_uint = 1;
/// As above.
const MOVE_EMPTY_PATH: libc::c_uint = 4;

/// A mount of what lies at a path with all below, not attached anywhere yet (Linux 5.2).
pub(in crate::keeper) fn open_tree(path: &Path) -> io::Result<OwnedFd> {
    let path = c_text(path)?;
    let flags = TREE_CLONE | libc::O_CLOEXEC as libc::c_uint | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: the path outlives the call; what it returns is a descriptor of ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags);
        result(fd as libc::c_int).map(|fd| OwnedFd::from_raw_fd(fd))
    }
}

/// Attaches such a mount.
pub(in crate::keeper) fn attach(tree: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = c_text(path)?;
    // SAFETY: the descriptor is open, and both texts outlive the call.
    let code = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_EMPTY_PATH,
        )
    };
    result(code as libc::c_int).map(drop)
}

/// Names the host of this uts namespace.
pub(in crate::keeper) fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length are of one text.
    result(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}
