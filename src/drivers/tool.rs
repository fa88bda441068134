//! Runs a program to its end: git, a template's init command.
//!
//! It gets a process group of its own, a clean environment and no shell. When it ends, times
//! out or is no longer wanted (the future is dropped), the whole group is killed while the
//! leader is not yet reaped, so that the group's id cannot have passed to a stranger.
//! A [`Tool::claim`] file is held locked by the group itself through its standard input, so
//! that after a crash of ours the same work is not begun while the old group still runs.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::time::Instant;

/// Where a child looks for programs: the usual places, never what our own caller had.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The language of a child: UTF-8 without translations, so that messages can be read by us.
pub const LANG: &str = "C.UTF-8";

/// How many last lines are kept for the report of a failure: a stack trace's worth.
const TAIL_LINES: usize = 20;
/// The longest line that is passed on whole; a longer one is passed on in pieces.
const LINE_BYTES: usize = 16 * 1024;
/// How long what is left in the pipe is read after the end, should a descendant that left
/// the group still hold it.
const DRAIN: Duration = Duration::from_millis(500);
/// How long the group of an earlier attempt may take to be gone after it was killed.
const CLAIM_WAIT: Duration = Duration::from_secs(10);
/// How often a held claim is tried again.
const CLAIM_RETRY: Duration = Duration::from_millis(50);

/// What to run.
#[derive(Clone, Debug)]
pub struct Tool<'a> {
    /// Program: a path, or a name looked up in [`PATH`].
    pub program: &'a str,
    /// Its arguments, each passed as it is.
    pub args: &'a [String],
    /// Where it starts.
    pub workdir: &'a Path,
    /// What it takes for its home directory.
    pub home: &'a Path,
    /// The environment besides `PATH`, `HOME` and `LANG`.
    pub env: &'a [(String, String)],
    /// How long it may take.
    pub timeout: Duration,
    /// A file that names this piece of work; only one group at a time may hold it.
    pub claim: Option<&'a Path>,
}

/// How a tool ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// The last lines that it printed.
    pub tail: Vec<String>,
}

/// Why a tool did not come to an end of its own.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// There is no such program, or it cannot be executed.
    #[error("cannot run '{program}': {source}")]
    Spawn {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// It took too long, and its group was killed.
    #[error("'{program}' was stopped after {} s without an end", after.as_secs())]
    TimedOut {
        /// The program.
        program: String,
        /// After how long.
        after: Duration,
        /// The last lines that it printed.
        tail: Vec<String>,
    },
    /// An earlier attempt still runs and could not be ended.
    #[error("an earlier attempt still holds {path}")]
    Claimed {
        /// The claim.
        path: PathBuf,
    },
    /// The operating system refused something else.
    #[error("cannot follow '{program}': {source}")]
    Io {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Runs a tool to its end and hands over each line that it prints (both outputs, in order).
///
/// # Errors
/// When it cannot be started, takes too long, or an earlier attempt cannot be ended. An exit
/// status other than 0 is no error here.
pub async fn run(tool: &Tool<'_>, mut line: impl FnMut(&str) + Send) -> Result<Ended, ToolError> {
    let program = || tool.program.to_owned();
    let fail = |source: io::Error| ToolError::Io { program: program(), source };
    let deadline = Instant::now() + tool.timeout;
    let claim = match tool.claim {
        Some(path) => Some(take_claim(path).await?),
        None => None,
    };
    let (reading, writing) = io::pipe().map_err(fail)?;
    let stdin = match &claim {
        Some(claim) => Stdio::from(claim.try_clone().map_err(fail)?),
        None => Stdio::null(),
    };
    let group = Group::spawn(tool, stdin, writing).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            ToolError::Spawn { program: program(), source }
        }
        _ => fail(source),
    })?;
    if let Some(mut claim) = claim {
        note_holder(&mut claim, group.pid).map_err(fail)?;
    }
    let mut output = pipe::Receiver::from_owned_fd(OwnedFd::from(reading)).map_err(fail)?;
    let mut lines = Lines::default();
    let mut chunk = vec![0_u8; LINE_BYTES];
    let mut open = true;
    let ended = loop {
        tokio::select! {
            read = output.read(&mut chunk), if open => match read {
                Ok(0) | Err(_) => open = false,
                Ok(count) => lines.push(chunk.get(..count).unwrap_or_default(), &mut line),
            },
            exited = group.exited() => { exited.map_err(fail)?; break true; }
            () = tokio::time::sleep_until(deadline) => break false,
        }
    };
    group.kill();
    let status = group.reap().await.map_err(fail)?;
    let drained = tokio::time::timeout(DRAIN, async {
        while open && let Ok(count @ 1..) = output.read(&mut chunk).await {
            lines.push(chunk.get(..count).unwrap_or_default(), &mut line);
        }
    });
    // Whoever still holds the pipe left the group; what it prints from here on is not ours.
    let _ = drained.await;
    let tail = lines.finish(&mut line);
    if ended {
        Ok(Ended { status, tail })
    } else {
        Err(ToolError::TimedOut { program: program(), after: tool.timeout, tail })
    }
}

/// A sentence for an exit status: `exit status 3`, `signal 9`.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown exit status".to_owned(),
    }
}

/// A process group with its leader, which is ours to reap.
struct Group {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    /// `None` once somebody else is to reap it.
    child: Option<Child>,
}

impl Group {
    fn spawn(tool: &Tool<'_>, stdin: Stdio, output: io::PipeWriter) -> io::Result<Group> {
        let mut command = Command::new(tool.program);
        command
            .args(tool.args)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", tool.home)
            .env("LANG", LANG)
            .envs(tool.env.iter().map(|(name, value)| (name, value)))
            .current_dir(tool.workdir)
            .process_group(0)
            .stdin(stdin)
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        // Until the group is whole its leader is waited for by nobody: kill it on the way out.
        let unwatched = Unwatched(Some(child));
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        let pidfd = watch(pidfd)?;
        Ok(Group { pid, pidfd, child: unwatched.into_inner() })
    }

    /// Returns when the leader has ended; it is not reaped.
    async fn exited(&self) -> io::Result<()> {
        self.pidfd.readable().await.map(|_| ())
    }

    /// Kills the group. The leader is unreaped while this value lives, so its id is its own.
    fn kill(&self) {
        if self.child.is_some() {
            // A group that is gone already is what was wanted.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
    }

    async fn reap(mut self) -> io::Result<ExitStatus> {
        self.exited().await?;
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        drop(Unwatched(self.child.take()));
    }
}

#[expect(deprecated, reason = "its replacement is unsafe; an owned descriptor that stays put is sound")]
fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, tokio::io::Interest::READABLE)
}

/// Kills and reaps a child that nobody waits for.
struct Unwatched(Option<Child>);

impl Unwatched {
    fn into_inner(mut self) -> Option<Child> {
        self.0.take()
    }
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Dead at once, or already; the wait is for the kernel alone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Takes the claim, after ending the group of an earlier attempt that still holds it.
async fn take_claim(path: &Path) -> Result<File, ToolError> {
    let fail = |source: io::Error| ToolError::Io { program: path.display().to_string(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(fail)?;
    }
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(fail)?;
    let deadline = Instant::now() + CLAIM_WAIT;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                end_holder(path);
                tokio::time::sleep(CLAIM_RETRY).await;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(ToolError::Claimed { path: path.to_path_buf() });
            }
            Err(errno) => return Err(fail(errno.into())),
        }
    }
}

/// Removes a claim's file, unless a group still holds it.
pub fn drop_claim(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        // One that stays is only a file.
        let _ = std::fs::remove_file(path);
    }
}

/// Writes who holds the claim: process id and start, which together are unique until the next
/// boot (and no lock outlives a boot).
fn note_holder(claim: &mut File, pid: Pid) -> io::Result<()> {
    let pid = pid.as_raw_nonzero().get();
    let ticks = start_ticks(pid.unsigned_abs()).unwrap_or(0);
    claim.set_len(0)?;
    claim.write_all(format!("{pid} {ticks}\n").as_bytes())
}

fn end_holder(path: &Path) {
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let mut words = text.split_whitespace();
    let (Some(Ok(pid)), Some(Ok(ticks))) =
        (words.next().map(str::parse::<u32>), words.next().map(str::parse::<u64>))
    else {
        return;
    };
    if start_ticks(pid) == Some(ticks)
        && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
    {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

/// When a process began, in clock ticks since boot; `None` when there is none, or only a zombie.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; what follows the last bracket is numbers.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Cuts output into lines and keeps the last few.
#[derive(Default)]
struct Lines {
    part: Vec<u8>,
    tail: VecDeque<String>,
}

impl Lines {
    fn push(&mut self, chunk: &[u8], line: &mut impl FnMut(&str)) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.part.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.part.len() >= LINE_BYTES {
                self.emit(line);
            }
        }
    }

    fn emit(&mut self, line: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.part);
        let text = text.trim_end_matches(['\n', '\r']);
        line(text);
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(text.to_owned());
        self.part.clear();
    }

    fn finish(mut self, line: &mut impl FnMut(&str)) -> Vec<String> {
        if !self.part.is_empty() {
            self.emit(line);
        }
        self.tail.into()
    }
}

#[cfg(test)]
mod tests;
