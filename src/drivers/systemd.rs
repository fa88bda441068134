//! systemd as the parent of tenants' processes.
//!
//! A unit is rendered from typed parts, checked by `systemd-analyze verify` before it is in
//! place, written aside, synced and renamed, enabled, and started. Its name is its run's, so nothing that
//! systemd has read is ever changed and no reload of all units is needed. Only files that bear our
//! mark and our data directory are touched. Programs of systemd are run without a shell.

mod journal;
mod quote;
mod state;
mod unit;

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tenantry_journal::id::{InstanceId, RunId};
use tokio::sync::Semaphore;

use super::tool::{self, Ended, Tool, ToolError};
pub use journal::{JournalError, Printed};
pub use state::{End, State};
pub use unit::{Homes, Restart, Unit, name};
use unit::{MARK, PREFIX, SUFFIX};

/// Where unit files of the administrator lie, which outlive a boot.
const UNITS: &str = "/etc/systemd/system";
/// Is there when systemd is this machine's init (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// The oldest systemd whose `systemd-analyze verify` says what is wrong with one unit alone.
const OLDEST: u32 = 250;
/// How long a call may take that waits for no process of a tenant.
const CALL: Duration = Duration::from_secs(30);
/// How long a start may take: the unit's own limit, and systemd's work before it.
const START: Duration = Duration::from_secs(60);
/// On top of a unit's own stop timeout.
const STOP: Duration = Duration::from_secs(30);
/// How many calls run at once: each is a process, and systemd answers one after another.
const CALLS: usize = 4;
/// No unit file of ours is longer than its command line and some.
const UNIT_BYTES: u64 = 1 << 20;

/// Why systemd has not done as asked.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// It is not this machine's init.
    #[error("systemd is not this machine's init ({BOOTED} is missing)")]
    Absent,
    /// It is too old.
    #[error("systemd is too old: {OLDEST} or later is needed, and systemctl says '{found}'")]
    Old {
        /// What it says of itself.
        found: String,
    },
    /// There is no such program, or it did not end.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A unit was refused before it was in place.
    #[error("systemd-analyze refuses the unit {name}, nothing was changed: {output}")]
    Refused {
        /// The unit.
        name: String,
        /// What it says.
        output: String,
    },
    /// A call failed.
    #[error("'systemctl {call}' failed: {output}")]
    Failed {
        /// What was asked.
        call: String,
        /// What it says.
        output: String,
    },
    /// The unit has no process.
    #[error("systemd could not start {name}: {why}")]
    NotStarted {
        /// The unit.
        name: String,
        /// What is known.
        why: String,
    },
    /// Something that a unit file cannot hold.
    #[error("this {what} cannot stand in a unit file: {text:?}")]
    Unwritable {
        /// What it is.
        what: &'static str,
        /// Its text.
        text: String,
    },
    /// A command line that is too long for a unit file.
    #[error("the command line has {bytes} bytes, a unit file holds {most}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// The file system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SystemdError + 'a {
    move |source| SystemdError::Io { what, path: path.to_path_buf(), source }
}

/// A unit of ours that lies in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// The run.
    pub run: RunId,
    /// Whose run it is.
    pub instance: InstanceId,
}

/// What was asked of systemd, by how it came out.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Calls that did what they should.
    pub done: Counter,
    /// Calls that failed.
    pub failed: Counter,
}

/// This machine's systemd.
#[derive(Debug)]
pub struct Systemd {
    units: PathBuf,
    data_dir: PathBuf,
    places: Semaphore,
    counts: Counts,
}

impl Systemd {
    /// For the control plane of a data directory.
    #[must_use]
    pub fn new(data_dir: &Path, counts: Counts) -> Systemd {
        Systemd {
            units: UNITS.into(),
            data_dir: data_dir.to_path_buf(),
            places: Semaphore::new(CALLS),
            counts,
        }
    }

    /// Whether systemd can be used here.
    ///
    /// # Errors
    /// With what is missing.
    pub async fn available(&self) -> Result<(), SystemdError> {
        if !is_booted() {
            return Err(SystemdError::Absent);
        }
        let ended = self.run("systemctl", &["--version"], CALL).await?;
        let found = ended.tail.first().cloned().unwrap_or_default();
        match version(&found) {
            Some(version) if version >= OLDEST => Ok(()),
            _ => Err(SystemdError::Old { found }),
        }
    }

    /// Whether a unit would be taken; nothing of it is put in place.
    ///
    /// # Errors
    /// When it cannot be written or systemd has something to say about it.
    pub async fn check(&self, unit: &Unit) -> Result<(), SystemdError> {
        let rendered = unit.render(&self.data_dir, &self.environment(unit.run))?;
        self.verify(&unit.name, &rendered.unit).await
    }

    /// Sees to it that a run's unit is in place, enabled, and was started. One that has ended
    /// since is not started again.
    ///
    /// # Errors
    /// When it has no process. What was written of it is left for [`Systemd::ensure_removed`].
    pub async fn ensure_started(&self, unit: &Unit) -> Result<State, SystemdError> {
        if self.has(&unit.name) {
            let state = self.state(&unit.name).await?;
            if state.last_pid.is_some() {
                return Ok(state);
            }
        }
        self.available().await?;
        let environment = self.environment(unit.run);
        let rendered = unit.render(&self.data_dir, &environment)?;
        self.verify(&unit.name, &rendered.unit).await?;
        let place = self.units.join(&unit.name);
        self.blocking(move || {
            put(&environment, rendered.environment.as_bytes(), 0o600)?;
            put(&place, rendered.unit.as_bytes(), 0o644)
        })
        .await?;
        self.systemctl(&["enable", "--no-reload", &unit.name], CALL).await?;
        if let Err(error) = self.systemctl(&["start", &unit.name], START).await {
            let state = self.state(&unit.name).await?;
            let why = if state.last_pid.is_some() { state.why() } else { error.to_string() };
            return Err(SystemdError::NotStarted { name: unit.name.clone(), why });
        }
        self.state(&unit.name).await
    }

    /// Whether a unit of that name lies in place.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.units.join(name).symlink_metadata().is_ok()
    }

    /// Whether there may be units of ours: the directory for what belongs to them is there.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.own_dir().is_dir()
    }

    /// All units of this control plane that lie in place. Reads files: call it where blocking
    /// is allowed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Known>, SystemdError> {
        let owner = unit::mark(&self.data_dir)?;
        let entries = match std::fs::read_dir(&self.units) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &self.units)(error)),
        };
        let ours = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_one = name.starts_with(PREFIX) && name.ends_with(SUFFIX);
            let meta = entry.metadata().ok().filter(|_| is_one)?;
            let is_readable = meta.is_file() && meta.len() <= UNIT_BYTES;
            let text = is_readable.then(|| std::fs::read_to_string(entry.path()).ok())??;
            let (_, marks) = text.split_once(&format!("\n{MARK}\n"))?;
            let of = |key: &str| marks.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            let is_ours = marks.lines().any(|line| line == owner);
            let (run, instance) = (of("Run")?.parse().ok()?, of("Instance")?.parse().ok()?);
            is_ours.then_some(Known { name, run, instance })
        });
        Ok(ours.collect())
    }

    /// What systemd says of a unit; of one that it does not know, that it is inactive.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn state(&self, name: &str) -> Result<State, SystemdError> {
        let ended = self.systemctl(&["show", "--property", state::PROPERTIES, "--", name], CALL).await?;
        Ok(State::parse(&ended.tail))
    }

    /// Sends a signal to all processes of a unit; none is needed when it has none.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn signal(&self, name: &str, signal: &str) -> Result<(), SystemdError> {
        let signal = format!("--signal={signal}");
        match self.systemctl(&["kill", &signal, "--", name], CALL).await {
            Err(SystemdError::Failed { .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sees to it that a unit runs nothing and is not started again. `within` is its own stop timeout.
    ///
    /// # Errors
    /// When systemd does not do it.
    pub async fn ensure_stopped(&self, name: &str, within: Duration) -> Result<(), SystemdError> {
        match self.systemctl(&["stop", "--", name], within + STOP).await {
            // One that is not loaded runs nothing.
            Err(SystemdError::Failed { .. }) if !self.state(name).await?.is_up() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sees to it that nothing is left of a unit: stopped, not enabled, its files gone.
    ///
    /// # Errors
    /// When systemd does not end it or its files stay.
    pub async fn ensure_removed(&self, known: &Known, within: Duration) -> Result<(), SystemdError> {
        let Known { name, run, .. } = known;
        self.ensure_stopped(name, within).await?;
        // A unit that did not fail has nothing to be forgotten.
        let _ = self.systemctl(&["reset-failed", "--", name], CALL).await;
        if self.has(name) {
            self.systemctl(&["disable", "--no-reload", name], CALL).await?;
        }
        let (place, environment) = (self.units.join(name), self.environment(*run));
        self.blocking(move || remove(&place).and_then(|()| remove(&environment))).await
    }

    /// Forgets what all units of an instance shared.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn forget(&self, instance: InstanceId) -> Result<(), SystemdError> {
        match self.systemctl(&["stop", "--", &unit::slice(instance)], CALL).await {
            Err(SystemdError::Failed { .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    fn own_dir(&self) -> PathBuf {
        self.data_dir.join("units")
    }

    fn environment(&self, run: RunId) -> PathBuf {
        self.own_dir().join(format!("{run}.env"))
    }

    /// Has systemd read a unit that is not in place.
    async fn verify(&self, name: &str, text: &str) -> Result<(), SystemdError> {
        let dir = self.own_dir().join("check");
        let file = dir.join(name);
        let (path, bytes) = (file.clone(), text.to_owned());
        self.blocking(move || put(&path, bytes.as_bytes(), 0o600)).await?;
        let path = file.display().to_string();
        let args = ["verify", "--man=no", "--recursive-errors=no", &path];
        let ended = self.run("systemd-analyze", &args, CALL).await;
        self.blocking(move || remove(&file)).await?;
        let ended = ended?;
        // Units of others that it reads besides are not our business. A key that it does not
        // know is only warned of.
        let about: Vec<&str> =
            ended.tail.iter().map(String::as_str).filter(|line| line.contains(name)).collect();
        if ended.status.success() && about.is_empty() {
            return Ok(());
        }
        let lines = if about.is_empty() { ended.tail.join("; ") } else { about.join("; ") };
        Err(SystemdError::Refused { name: name.to_owned(), output: lines })
    }

    async fn systemctl(&self, args: &[&str], timeout: Duration) -> Result<Ended, SystemdError> {
        let all: Vec<&str> = ["--no-ask-password", "--no-pager"].iter().chain(args).copied().collect();
        let ended = self.run("systemctl", &all, timeout).await;
        match &ended {
            Ok(ended) if ended.status.success() => self.counts.done.inc(),
            _ => self.counts.failed.inc(),
        };
        let ended = ended?;
        if ended.status.success() {
            return Ok(ended);
        }
        let said = ended.tail.join("; ");
        let output = if said.is_empty() { tool::describe(ended.status) } else { said };
        Err(SystemdError::Failed { call: args.join(" "), output })
    }

    async fn run(&self, program: &str, args: &[&str], timeout: Duration) -> Result<Ended, SystemdError> {
        // It is never closed.
        let _place = self.places.acquire().await.ok();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let root = Path::new("/");
        let env = [("SYSTEMD_COLORS".to_owned(), "0".to_owned())];
        let tool = Tool { program, args: &args, workdir: root, home: root, env: &env, timeout, claim: None };
        Ok(tool::run(&tool, |_| {}).await?)
    }

    async fn blocking(
        &self,
        work: impl FnOnce() -> Result<(), SystemdError> + Send + 'static,
    ) -> Result<(), SystemdError> {
        let ended = tokio::task::spawn_blocking(work).await;
        ended.unwrap_or_else(|error| Err(failed("work in", &self.own_dir())(io::Error::other(error))))
    }
}

/// Whether systemd is this machine's init.
#[must_use]
pub fn is_booted() -> bool {
    Path::new(BOOTED).is_dir()
}

/// The number in `systemd 252 (252.38-1)`.
fn version(line: &str) -> Option<u32> {
    let number = line.strip_prefix("systemd ")?;
    number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// Writes a file aside, syncs it and renames it.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SystemdError> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed("write", path)(io::ErrorKind::InvalidInput.into()));
    };
    // Nothing that ends so is a unit.
    let aside = dir.join(format!(".{}.aside", name.to_string_lossy()));
    let write = || -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        std::fs::File::open(dir)?.sync_all()
    };
    write().map_err(|error| {
        // Left behind it is overwritten by the next attempt.
        let _ = std::fs::remove_file(&aside);
        failed("write", path)(error)
    })
}

fn remove(path: &Path) -> Result<(), SystemdError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_units_of_this_data_directory_are_ours() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let systemd = |data: &Path| Systemd {
            units: dir.path().join("system"),
            ..Systemd::new(data, Counts::default())
        };
        let (ours, others) = (systemd(&data), systemd(&dir.path().join("other")));
        assert_eq!(ours.list().unwrap(), []);
        let unit = unit::tests::unit();
        let rendered = unit.render(&data, &ours.environment(unit.run)).unwrap();
        put(&ours.units.join(&unit.name), rendered.unit.as_bytes(), 0o644).unwrap();
        put(&ours.units.join("tenantry-own.service"), b"[Service]\nExecStart=/bin/true\n", 0o644).unwrap();
        let known = Known { name: unit.name.clone(), run: unit.run, instance: unit.instance };
        assert_eq!(ours.list().unwrap(), [known]);
        assert_eq!(others.list().unwrap(), []);
        assert!(ours.has(&unit.name) && !ours.is_used());
    }

    #[test]
    fn a_version_is_read() {
        assert_eq!(version("systemd 252 (252.38-1~deb12u1)"), Some(252));
        assert_eq!(version("systemd v"), None);
    }

    #[tokio::test]
    async fn a_unit_that_systemd_would_warn_of_is_refused_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let systemd = Systemd::new(dir.path(), Counts::default());
        let mut unit = unit::tests::unit();
        match systemd.check(&unit).await {
            Err(SystemdError::Tool(ToolError::Spawn { .. })) => {
                eprintln!("!!! SKIPPED: systemd-analyze is missing, so no unit is verified");
                return;
            }
            other => other.unwrap(),
        }
        let text = unit.render(dir.path(), Path::new("/e")).unwrap().unit;
        let warned = text.replace("LockPersonality=yes", "LockPersonalty=yes");
        let refused = systemd.verify(&unit.name, &warned).await.unwrap_err();
        assert!(refused.to_string().contains("LockPersonalty"), "{refused}");
        unit.program = "/nowhere/program".into();
        let refused = systemd.check(&unit).await.unwrap_err();
        assert!(matches!(refused, SystemdError::Refused { .. }), "{refused}");
        let left = std::fs::read_dir(dir.path().join("units/check")).unwrap().count();
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn without_systemd_it_says_so() {
        if is_booted() {
            eprintln!("!!! SKIPPED: systemd is this machine's init, so its absence is not tested");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let systemd = Systemd::new(dir.path(), Counts::default());
        let error = systemd.ensure_started(&unit::tests::unit()).await.unwrap_err();
        assert!(error.to_string().contains("not this machine's init"), "{error}");
        assert!(!systemd.is_used(), "something was written");
    }
}
