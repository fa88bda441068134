//! The keeper: a small process of its own that is the parent of every instance.
//!
//! It holds their pipes and their exit statuses, writes their output to the spool, and
//! ends them with everything that they started. The control plane may be killed or
//! replaced: the processes go on, and when it is back it asks what is so. It knows no
//! HTTP, no journal and no policy: it does what it is told, and tells what it sees.
//!
//! It also holds the control plane's listening sockets while that is away, so that nobody
//! is refused meanwhile, and the ports of tenants: each process listens on a port of its own,
//! and connections to the tenant's are passed on to it (see `forward`).
//!
//! When the keeper itself is killed, the processes go on too (they hold both ends of
//! their own pipes), and the next keeper takes them over by pid, start time and boot.
//! What a killed keeper had read and not written, some 20 ms of output, is lost; so is what
//! a process that ends before the next keeper comes had left in its pipes.
//!
//! A process that leaves its session, gives up its environment and outlives its parents is
//! the one thing that cannot be told from a stranger: it is reaped, and not ended. In a control
//! group or in namespaces of its own it can be told, and is ended.

pub(crate) mod account;
pub(crate) mod cgroup;
pub(crate) mod child;
pub mod client;
mod descriptors;
mod files;
mod forward;
mod isolate;
pub mod launch;
pub mod lease;
mod output;
pub(crate) mod place;
pub(crate) mod process;
pub mod protocol;
mod run;
mod server;
mod sockets;
mod spooler;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::Mode;
use tenantry_journal::time::Timestamp;

pub use process::MARK;

use files::Files;

/// The exit code of a keeper that found another one on its data directory.
pub const ALREADY_KEPT: u8 = 75;

/// Is the keeper of a data directory, until told to end.
#[must_use]
pub fn run(data_dir: &Path) -> ExitCode {
    // What cannot be logged is left out. The default is to panic, and the log lies on the disk
    // that is full when there is something to say about it.
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).log_internal_errors(false).init();
    match keep(data_dir) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            tracing::error!(path = %data_dir.display(), "another keeper has this data directory");
            ExitCode::from(ALREADY_KEPT)
        }
        Err(error) => {
            tracing::error!(%error, path = %data_dir.display(), "the keeper cannot go on");
            ExitCode::FAILURE
        }
    }
}

/// False when another keeper is there.
fn keep(data_dir: &Path) -> io::Result<bool> {
    let files = Files::new(&std::path::absolute(data_dir)?);
    let Some(_lock) = files.lock()? else { return Ok(false) };
    child::seal_inherited();
    // Fails when we lead a session already, which is as good.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    files.prepare()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let server = server::Server::new(files.clone())?;
        // Only now: whoever can connect sees everything that was taken over.
        let listener = listen(&files)?;
        tracing::info!(pid = std::process::id(), "keeping");
        server.serve(tokio::net::UnixListener::from_std(listener)?).await?;
        std::fs::remove_file(files.socket())
    })?;
    Ok(true)
}

fn listen(files: &Files) -> io::Result<UnixListener> {
    // We have the lock, so nobody listens on what lies there.
    files::make_way(&files.socket())?;
    let (address, _dir) = files.socket_address()?;
    let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let listener = UnixListener::bind(address);
    rustix::process::umask(mask);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The time of day, which a keeper gives to what it sees.
#[allow(clippy::disallowed_methods, reason = "the keeper's one clock; it is a process of its own")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}
