//! Stored logins: `$XDG_CONFIG_HOME/tenantry/login.json`, one credential for each server.
//!
//! The file has mode 0600 in a directory of mode 0700. It is written aside and renamed, under a
//! lock, so that no reader sees half of it and no login of another process is lost. A file that
//! others can read, or that belongs to somebody else, is refused.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::failure::{FAILED, Failure};

const FILE: &str = "login.json";
/// More than any number of logins takes, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// What is known of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    /// What goes behind `Bearer`.
    pub(super) token: String,
    /// Whose it is; not known of an API token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
}

/// All stored logins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Logins {
    /// The server of the last login: asked when no other is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    /// By address.
    #[serde(default)]
    pub(super) servers: BTreeMap<String, Login>,
}

/// Where they lie; `None` for somebody without a home.
fn directory() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(config.join("tenantry"))
}

fn writable_directory() -> Result<PathBuf, Failure> {
    directory().ok_or_else(|| {
        Failure::new(
            FAILED,
            "there is no place to store a login",
            "Set XDG_CONFIG_HOME or HOME to a directory.",
        )
    })
}

impl Logins {
    /// Those that are stored; none when there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, or others can.
    pub(super) fn load() -> anyhow::Result<Logins> {
        match directory() {
            Some(directory) => Logins::read(&directory),
            None => Ok(Logins::default()),
        }
    }

    /// The credential for an address.
    pub(super) fn token(&self, address: &str) -> Option<String> {
        self.servers.get(address).map(|login| login.token.clone())
    }

    /// Changes what is stored; gives the file's path.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(super) fn change(change: impl FnOnce(&mut Logins)) -> anyhow::Result<PathBuf> {
        Logins::change_in(&writable_directory()?, change)
    }

    fn read(directory: &Path) -> anyhow::Result<Logins> {
        let path = directory.join(FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Logins::default()),
            opened => opened.with_context(|| format!("{} cannot be read", path.display()))?,
        };
        let metadata = file.metadata()?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            let message = format!("{} belongs to somebody else and is not used", path.display());
            return Err(Failure::new(
                FAILED,
                message,
                "Remove it, or set XDG_CONFIG_HOME, and log in again.",
            )
            .into());
        }
        if metadata.mode() & 0o077 != 0 {
            let message = format!("{} can be read by others and is not used", path.display());
            let next =
                format!("Its credentials may be known: `chmod 600 {}`, then log in again.", path.display());
            return Err(Failure::new(FAILED, message, next).into());
        }
        let mut text = String::new();
        file.take(LARGEST_FILE).read_to_string(&mut text)?;
        let unreadable = |error| {
            let message = format!("{} is damaged: {error}", path.display());
            Failure::new(FAILED, message, format!("Remove it and log in again: rm {}", path.display()))
        };
        Ok(serde_json::from_str(&text).map_err(unreadable)?)
    }

    fn change_in(directory: &Path, change: impl FnOnce(&mut Logins)) -> anyhow::Result<PathBuf> {
        let unwritable = || format!("{} cannot be written", directory.display());
        DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(unwritable)?;
        let locked = File::open(directory).with_context(unwritable)?;
        flock(&locked, FlockOperation::LockExclusive).with_context(unwritable)?;
        // It is ours alone, also when something else made it.
        locked.set_permissions(Permissions::from_mode(0o700)).with_context(unwritable)?;
        let mut logins = Logins::read(directory)?;
        change(&mut logins);
        let path = directory.join(FILE);
        let aside = directory.join(".login.json.new");
        logins.write(&aside, &path).with_context(unwritable)?;
        locked.sync_all().with_context(unwritable)?;
        Ok(path)
    }

    fn write(&self, aside: &Path, path: &Path) -> io::Result<()> {
        // What a process left that was killed while it wrote.
        match std::fs::remove_file(aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(aside, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(token: &str) -> Login {
        Login { token: token.into(), username: None }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_login_is_stored_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new/tenantry");
        assert_eq!(Logins::read(&dir).unwrap(), Logins::default());
        let path = Logins::change_in(&dir, |logins| {
            logins.current = Some("http://a".into());
            logins.servers.insert("http://a".into(), login("t"));
        });
        let path = path.unwrap();
        assert_eq!((mode(&path), mode(&dir)), (0o600, 0o700));
        Logins::change_in(&dir, |logins| drop(logins.servers.insert("http://b".into(), login("u")))).unwrap();
        let logins = Logins::read(&dir).unwrap();
        assert_eq!(
            (logins.token("http://a"), logins.token("http://b")),
            (Some("t".into()), Some("u".into()))
        );
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "what was written aside is gone");
    }

    #[test]
    fn a_directory_that_others_may_enter_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        Logins::change_in(dir.path(), |_| {}).unwrap();
        assert_eq!(mode(dir.path()), 0o700);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = Logins::change_in(dir.path(), |_| {}).unwrap();
        for (bits, is_refused) in [(0o640, true), (0o604, true), (0o620, true), (0o400, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
            assert_eq!(Logins::read(dir.path()).is_err(), is_refused, "{bits:o}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = Logins::read(dir.path()).unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert!(failure.next.contains("chmod 600"), "{failure:?}");
    }
}
