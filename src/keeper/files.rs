//! The keeper's places in the data directory.
//!
//! `keeper.sock`, `keeper.lock`, `keeper.log`; for each run `keeper/runs/<run id>/` with the
//! pipes `out` and `err` and the file `run`, which is written aside and renamed: before the
//! process is started, after, and when it has ended. It never holds a key.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use tenantry_journal::event::instance::ExitStatus;
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::spool::Retain;
use tenantry_journal::time::Timestamp;
use uuid::Uuid;

/// Longest path that fits the address of a unix socket, its closing zero aside.
const SOCKET_PATH_LIMIT: usize = 107;
/// Enough of a hash that two data directories of one machine never share it.
const NAME_LETTERS: usize = 12;

/// What must survive a keeper.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunFile {
    pub(super) run_id: RunId,
    pub(super) instance_id: InstanceId,
    pub(super) boot_id: String,
    /// Missing from before the start until after it.
    pub(super) process: Option<(u32, u64)>,
    /// Its output is encrypted, under a key that must be brought again.
    pub(super) sealed: bool,
    pub(super) stop_timeout_ms: u64,
    #[serde(default)]
    pub(super) retain: Option<Retain>,
    pub(super) exit: Option<(ExitStatus, Timestamp)>,
    /// Its control groups.
    #[serde(default)]
    pub(super) groups: Vec<PathBuf>,
    /// It has namespaces of its own, whose first process passes signals on.
    #[serde(default)]
    pub(super) is_apart: bool,
}

/// The paths under one data directory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    data: PathBuf,
}

impl Files {
    pub(super) fn new(data: &Path) -> Files {
        Files { data: data.to_path_buf() }
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// A short name that no other data directory has.
    pub(super) fn name(&self) -> String {
        let path = self.data.canonicalize().unwrap_or_else(|_| self.data.clone());
        let hash = blake3::hash(path.as_os_str().as_bytes());
        hash.to_hex().chars().take(NAME_LETTERS).collect()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.data.join("keeper.sock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.data.join("keeper.log")
    }

    pub(super) fn spool(&self, owner: Uuid) -> PathBuf {
        self.data.join("spool").join(owner.to_string())
    }

    fn runs(&self) -> PathBuf {
        self.data.join("keeper").join("runs")
    }

    fn run(&self, run: RunId) -> PathBuf {
        self.runs().join(run.to_string())
    }

    /// Makes the directories that hold runs.
    pub(super) fn prepare(&self) -> io::Result<()> {
        private_dir(&self.runs())
    }

    /// Takes the lock that only one keeper can have; it lasts while the file is open.
    /// `None` when another has it.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        use std::io::Write;
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let mut file = options.open(self.data.join("keeper.lock"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            other => other?,
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Some(file))
    }

    /// A path that reaches the socket and fits into its address: when the data directory
    /// lies too deep, through a descriptor of it, which is returned to be kept open.
    pub(super) fn socket_address(&self) -> io::Result<(PathBuf, Option<OwnedFd>)> {
        use std::os::fd::AsRawFd;
        let socket = self.socket();
        if socket.as_os_str().as_bytes().len() <= SOCKET_PATH_LIMIT {
            return Ok((socket, None));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&self.data, flags, Mode::empty())?;
        let through = PathBuf::from(format!("/proc/self/fd/{}/keeper.sock", dir.as_raw_fd()));
        Ok((through, Some(dir)))
    }

    /// Writes what is known of a run, so that either the old or the new is found.
    pub(super) fn save(&self, run: &RunFile) -> io::Result<()> {
        let bytes = rmp_serde::to_vec_named(run).map_err(io::Error::other)?;
        let dir = self.run(run.run_id);
        let (aside, path) = (dir.join("run.new"), dir.join("run"));
        // Not synced: what it tells of does not survive a power cut either.
        std::fs::write(&aside, bytes)?;
        std::fs::rename(aside, path)
    }

    /// Makes a run's directory with its pipes and its file, whatever lay there before.
    pub(super) fn create(&self, run: &RunFile) -> io::Result<()> {
        let dir = self.run(run.run_id);
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_dir_all(&dir)?;
                private_dir(&dir)?;
            }
            other => other?,
        }
        for name in ["out", "err"] {
            rustix::fs::mknodat(CWD, dir.join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        }
        // In its place at once: there is no process yet that a torn file could lose.
        std::fs::write(dir.join("run"), rmp_serde::to_vec_named(run).map_err(io::Error::other)?)
    }

    /// The end of a pipe that the keeper reads, never waiting.
    pub(super) fn reading_end(&self, run: RunId, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::open(self.run(run).join(name), flags, Mode::empty())?)
    }

    /// The end of a pipe that the process writes. Open for reading too, so that it is never
    /// without a reader: a keeper that dies breaks no pipe, and what was written stays in it.
    pub(super) fn writing_end(&self, run: RunId, name: &str) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(self.run(run).join(name), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Removes all that is left of a run.
    pub(super) fn remove(&self, run: RunId) {
        let dir = self.run(run);
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %dir.display(), "what is left of a run could not be removed");
        }
    }

    /// Every run that an earlier keeper left; one that cannot be read is left alone.
    pub(super) fn left_behind(&self) -> io::Result<Vec<RunFile>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.runs())? {
            let entry = entry?;
            let path = entry.path().join("run");
            let named = entry.file_name().to_str().and_then(|name| name.parse::<RunId>().ok());
            let read = std::fs::read(&path).map_err(|error| error.to_string());
            let file = read.and_then(|b| rmp_serde::from_slice::<RunFile>(&b).map_err(|e| e.to_string()));
            match file {
                Ok(file) if named == Some(file.run_id) => found.push(file),
                Ok(_) => tracing::warn!(path = %path.display(), "the file tells of another run"),
                Err(error) => tracing::warn!(error, path = %path.display(), "a run cannot be read"),
            }
        }
        Ok(found)
    }
}

/// Makes a directory that only its owner can enter.
fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a unix socket that nobody listens on any more, and makes its directory. Anything
/// that is not a socket is left alone.
pub(super) fn make_way(socket: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir)?;
    }
    match socket.symlink_metadata() {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(socket),
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is not a socket lies there"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// `/dev/null`, for reading.
pub(super) fn nothing() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
}
