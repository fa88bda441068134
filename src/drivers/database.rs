//! A tenant's SQLite database: an empty one to begin with, and whether it is well.
//!
//! The application owns the file. We make an empty one when the template has no init command,
//! and otherwise only ever read it, for a bounded time.

use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::below::{BelowError, Dir, Missing};

/// How long a check may read: a tenth of a second is enough for most databases, and one that
/// is not read through by then showed no damage so far.
const CHECK_TIME: Duration = Duration::from_secs(2);
/// How long a check waits for the application's own transaction.
const BUSY_TIME: Duration = Duration::from_millis(500);

/// The directory of copies, below the tenant's.
const BACKUPS: &str = "database-backups";
/// How long a copy may take: a gigabyte takes some seconds.
const BACKUP_TIME: Duration = Duration::from_secs(600);
/// How long a copy waits for the application's own transaction.
const BACKUP_BUSY: Duration = Duration::from_secs(10);
/// How often it is looked whether a copy was called off.
const BACKUP_LOOK: Duration = Duration::from_millis(100);

/// Why a database could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Its directory could not be reached.
    #[error(transparent)]
    Below(#[from] BelowError),
    /// The configured path is none below the tenant's directory.
    #[error("the database path '{0}' must be relative and name a file below the tenant's directory")]
    Path(String),
    /// SQLite could not copy it.
    #[error("cannot copy the database {path}: {source}")]
    Copy {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The copy could not be put in its place.
    #[error("cannot keep the copy {path}: {source}")]
    Keep {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("cannot make the database {path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Document 1's status of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseStatus {
    /// SQLite reads it and finds no damage.
    Healthy,
    /// There is no such file.
    Missing,
    /// It is no database, or a damaged one.
    Damaged,
}

impl DatabaseStatus {
    /// The word of document 1.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DatabaseStatus::Healthy => "healthy",
            DatabaseStatus::Missing => "missing",
            DatabaseStatus::Damaged => "damaged",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseHealth {
    /// Whether it is well.
    pub status: DatabaseStatus,
    /// Its size; the write-ahead log is not counted.
    pub size_bytes: u64,
    /// Open descriptors of it in all processes.
    pub connections: u32,
    /// What SQLite said, when it is not well.
    pub detail: String,
}

impl DatabaseHealth {
    /// Its size in units of 1,000,000 bytes, to two decimals.
    #[must_use]
    pub fn size_mb(&self) -> f64 {
        (self.size_bytes as f64 / 10_000.0).round() / 100.0
    }
}

/// The database's place: its directory (made when missing) and its path.
fn place(directory: &Dir, database: &str) -> Result<(Dir, PathBuf), DatabaseError> {
    let path = Path::new(database);
    let bad = || DatabaseError::Path(database.to_owned());
    let name = path.file_name().ok_or_else(bad)?;
    if !path.components().all(|component| matches!(component, Component::Normal(_))) {
        return Err(bad());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = match parent {
        Some(parent) => directory.below(parent, Missing::Create)?,
        None => directory.below(directory.path(), Missing::Fail).or_else(|_| {
            // The tenant's directory itself: a second descriptor of it.
            Dir::root(&directory.anchored(), Missing::Fail)
        })?,
    };
    let path = directory.path().join(parent.unwrap_or(Path::new(""))).join(name);
    Ok((dir, path))
}

/// Makes the directory that the database lies in, for the init command to find.
///
/// # Errors
/// When the path leads out of the tenant's directory, or it cannot be made.
pub fn ensure_parent(directory: &Dir, database: &str) -> Result<PathBuf, DatabaseError> {
    place(directory, database).map(|(_, path)| path)
}

/// Makes an empty, valid database when the file is missing. Says whether it did.
///
/// # Errors
/// When the path leads out of the tenant's directory, or SQLite refuses.
pub fn ensure_empty(directory: &Dir, database: &str) -> Result<bool, DatabaseError> {
    let (dir, path) = place(directory, database)?;
    let name = path.file_name().unwrap_or_default();
    if rustix::fs::statat(dir.fd(), name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(false);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let sqlite = |source| DatabaseError::Sqlite { path: path.clone(), source };
    let connection = Connection::open_with_flags(&path, flags).map_err(sqlite)?;
    // An empty file would do for SQLite; other tools expect the header, which this writes.
    connection.execute_batch("VACUUM").map_err(sqlite)?;
    Ok(true)
}

/// Copies a database as it is now to `database-backups/before-release-N.db` and keeps the newest
/// `keep` of these. A copy for that release that is there already stays: what is in the database
/// since then may be half of what the release makes of it. `None` when there is no database.
///
/// # Errors
/// When SQLite cannot read it, or the copy cannot be written.
pub fn back_up(
    directory: &Dir,
    database: &str,
    release: u32,
    keep: u32,
    is_called_off: impl Fn() -> bool,
) -> Result<Option<PathBuf>, DatabaseError> {
    let (dir, path) = place(directory, database)?;
    let name = path.file_name().unwrap_or_default();
    let found = rustix::fs::statat(dir.fd(), name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    let is_file = |mode| rustix::fs::FileType::from_raw_mode(mode).is_file();
    if !found.is_ok_and(|stat| stat.st_size > 0 && is_file(stat.st_mode)) {
        return Ok(None);
    }
    let backups = directory.child(std::ffi::OsStr::new(BACKUPS), Missing::Create)?;
    let name = backup_name(release);
    let kept = backups.path().join(&name);
    if std::fs::symlink_metadata(backups.anchored().join(&name)).is_ok() {
        return Ok(Some(kept));
    }
    let failed = |source| DatabaseError::Keep { path: kept.clone(), source };
    let aside = backups.anchored().join(format!("{name}.partial"));
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let copied = vacuum_into(&path, &aside, is_called_off);
    if let Err(source) = copied {
        let _ = std::fs::remove_file(&aside);
        return Err(DatabaseError::Copy { path, source });
    }
    let file = std::fs::File::open(&aside).map_err(failed)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&aside, backups.anchored().join(&name)).map_err(failed)?;
    backups.sync()?;
    drop_oldest(&backups, keep)?;
    Ok(Some(kept))
}

fn backup_name(release: u32) -> String {
    format!("before-release-{release}.db")
}

fn drop_oldest(backups: &Dir, keep: u32) -> Result<(), DatabaseError> {
    let number = |name: std::ffi::OsString| -> Option<u32> {
        name.to_str()?.strip_prefix("before-release-")?.strip_suffix(".db")?.parse().ok()
    };
    let mut releases: Vec<u32> = backups.names()?.into_iter().filter_map(number).collect();
    releases.sort_unstable_by(|a, b| b.cmp(a));
    for release in releases.into_iter().skip(usize::try_from(keep).unwrap_or(usize::MAX)) {
        let name = backup_name(release);
        std::fs::remove_file(backups.anchored().join(&name))
            .map_err(|source| DatabaseError::Keep { path: backups.path().join(&name), source })?;
    }
    Ok(())
}

/// A copy of one moment, however many write meanwhile.
fn vacuum_into(path: &Path, into: &Path, is_called_off: impl Fn() -> bool) -> Result<(), rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BACKUP_BUSY)?;
    let interrupt = connection.get_interrupt_handle();
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let into = into.display().to_string();
    let copying = std::thread::spawn(move || {
        let copied = connection.execute("VACUUM INTO ?1", [into]).map(drop);
        drop(done);
        copied
    });
    let begun = std::time::Instant::now();
    while ended.recv_timeout(BACKUP_LOOK) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        if is_called_off() || begun.elapsed() > BACKUP_TIME {
            interrupt.interrupt();
        }
    }
    copying.join().unwrap_or(Err(rusqlite::Error::InvalidQuery))
}

/// Checks a database without changing it. Blocks for at most a few seconds. `connections` counts
/// how often the file is open.
#[must_use]
pub fn check(path: &Path, connections: impl FnOnce(&Metadata) -> u32) -> DatabaseHealth {
    let ill = |status, detail: String| DatabaseHealth { status, size_bytes: 0, connections: 0, detail };
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => meta,
        Ok(_) => return ill(DatabaseStatus::Damaged, "it is no regular file".into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return ill(DatabaseStatus::Missing, "there is no such file".into());
        }
        Err(error) => return ill(DatabaseStatus::Missing, error.to_string()),
    };
    let (status, detail) = match quick_check(path) {
        Ok(detail) if detail == "ok" => (DatabaseStatus::Healthy, String::new()),
        Ok(detail) => (DatabaseStatus::Damaged, detail),
        Err(rusqlite::Error::SqliteFailure(error, detail)) => match error.code {
            // Too large to be read through in time, or in use: no sign of damage.
            ErrorCode::OperationInterrupted | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                (DatabaseStatus::Healthy, String::new())
            }
            _ => (DatabaseStatus::Damaged, detail.unwrap_or_else(|| error.to_string())),
        },
        Err(error) => (DatabaseStatus::Damaged, error.to_string()),
    };
    DatabaseHealth { status, size_bytes: meta.len(), connections: connections(&meta), detail }
}

fn quick_check(path: &Path) -> Result<String, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIME)?;
    let interrupt = connection.get_interrupt_handle();
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(CHECK_TIME) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    drop(done);
    // It ends as soon as its channel is closed.
    let _ = watch.join();
    found
}

#[cfg(test)]
mod tests {
    use super::super::open_files::OpenFiles;
    use super::*;

    fn tenant() -> (tempfile::TempDir, Dir) {
        let scratch = tempfile::tempdir().unwrap();
        let root = Dir::root(scratch.path(), Missing::Fail).unwrap();
        let dir = root.below(Path::new("smith"), Missing::Create).unwrap();
        (scratch, dir)
    }

    #[test]
    fn an_empty_database_is_made_once_and_is_healthy() {
        let (scratch, dir) = tenant();
        for database in ["app.db", "data/deep/app.db"] {
            let path = scratch.path().join("smith").join(database);
            assert_eq!(check(&path, |_| 0).status, DatabaseStatus::Missing);
            assert!(ensure_empty(&dir, database).unwrap());
            let own = Connection::open(&path).unwrap();
            own.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
            assert!(!ensure_empty(&dir, database).unwrap(), "what is there stays");
            let health = check(&path, |found| OpenFiles::default().count(found, Duration::ZERO));
            assert_eq!((health.status, health.connections), (DatabaseStatus::Healthy, 1));
            assert!(health.size_bytes >= 4096 && health.size_mb() > 0.0);
        }
    }

    #[test]
    fn paths_and_links_that_lead_outside_are_refused() {
        let (scratch, dir) = tenant();
        for database in ["../x.db", "/tmp/x.db", "", "a/../../x.db"] {
            assert!(matches!(ensure_empty(&dir, database), Err(DatabaseError::Path(_))), "{database}");
        }
        let victim = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(victim.path(), scratch.path().join("smith/data")).unwrap();
        assert!(ensure_empty(&dir, "data/x.db").is_err());
        assert_eq!(std::fs::read_dir(victim.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_copy_is_of_one_moment_and_made_once_for_a_release() {
        let (scratch, dir) = tenant();
        let never = || false;
        assert_eq!(back_up(&dir, "data/app.db", 1, 2, never).unwrap(), None);
        ensure_empty(&dir, "data/app.db").unwrap();
        let own = Connection::open(scratch.path().join("smith/data/app.db")).unwrap();
        own.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        let count = |path: &Path| -> i64 {
            let copy = Connection::open(path).unwrap();
            copy.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
        };
        let first = back_up(&dir, "data/app.db", 2, 2, never).unwrap().unwrap();
        own.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(back_up(&dir, "data/app.db", 2, 2, never).unwrap(), Some(first.clone()));
        assert_eq!(count(&first), 1, "a copy was overwritten");
        for release in [3, 10] {
            let copy = back_up(&dir, "data/app.db", release, 2, never).unwrap().unwrap();
            assert_eq!(count(&copy), 2);
        }
        let mut names = std::fs::read_dir(first.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>();
        names.sort();
        assert_eq!(names, ["before-release-10.db", "before-release-3.db"]);
    }

    #[test]
    fn a_copy_of_what_is_no_database_fails_and_leaves_nothing() {
        let (scratch, dir) = tenant();
        std::fs::write(scratch.path().join("smith/app.db"), "this is no database, only some text").unwrap();
        assert!(matches!(back_up(&dir, "app.db", 1, 2, || false), Err(DatabaseError::Copy { .. })));
        assert_eq!(std::fs::read_dir(scratch.path().join("smith").join(BACKUPS)).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_file_is_told_from_a_healthy_one() {
        let (scratch, dir) = tenant();
        let path = scratch.path().join("smith/app.db");
        std::fs::write(&path, "this is no database, only text that is long enough to be looked at").unwrap();
        assert_eq!(check(&path, |_| 0).status, DatabaseStatus::Damaged);
        std::fs::remove_file(&path).unwrap();
        ensure_empty(&dir, "app.db").unwrap();
        let own = Connection::open(&path).unwrap();
        own.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(50000))").unwrap();
        drop(own);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..8192].fill(0xAB);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(check(&path, |_| 0).status, DatabaseStatus::Damaged);
    }

    #[test]
    fn one_that_is_being_written_is_healthy() {
        let (scratch, dir) = tenant();
        ensure_empty(&dir, "app.db").unwrap();
        let path = scratch.path().join("smith/app.db");
        let own = Connection::open(&path).unwrap();
        own.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert_eq!(check(&path, |_| 0).status, DatabaseStatus::Healthy);
    }
}
