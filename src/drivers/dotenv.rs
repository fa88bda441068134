//! A tenant's `.env` file: quoted so that its readers agree, replaced whole, the one before kept.
//!
//! Readers disagree about quotes: a shell expands `$` within double ones, python-dotenv undoes
//! `\\` within single ones and replaces `${NAME}` within both. So each value is written in the
//! first of these forms that holds it: bare; in single quotes; in double quotes without
//! anything that is special there. What is left is written in double quotes with escapes and
//! references, which a shell and every reader that replaces `${NAME}` read alike.
//!
//! The file is written aside with mode 0600, synced and renamed. The one before gets another
//! name by a link, so there is no moment without a file, and a name that is taken is left alone.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use tenantry_journal::time::Timestamp;

use super::below::{BelowError, Dir};

/// The file's name.
pub const NAME: &str = ".env";
/// Only its owner reads and writes it.
const MODE: u32 = 0o600;
/// A variable that nobody sets, to be replaced by what stands behind it.
const NONE: &str = "TENANTRY_NONE";
/// A variable that stands for a backtick, set in the file itself where it is needed.
const BACKTICK: &str = "TENANTRY_BACKTICK";
/// Names that are tried for one backup after the first: more in one second are a mistake.
const MOST_TRIES: u32 = 1000;
/// No longer file is compared with the new one.
const COMPARED: u64 = 4 << 20;

/// Why the file is not written.
#[derive(Debug, thiserror::Error)]
pub enum DotenvError {
    /// The tenant's directory cannot be used.
    #[error(transparent)]
    Below(#[from] BelowError),
    /// Something else has the file's name.
    #[error("{path} is no file, and is left alone")]
    NoFile {
        /// What has it.
        path: PathBuf,
    },
    /// A file system call failed.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// What to do when the file says already what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// Leave it.
    Leave,
    /// Write it all the same.
    Write,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// Whether it was written anew.
    pub is_new: bool,
    /// Where the one before is.
    pub backup: Option<PathBuf>,
}

/// How to write it.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// Name of the file that it is written to first; one writer at a time uses it.
    pub aside: &'a str,
    /// Whose it becomes, when not ours.
    pub owner: Option<(u32, u32)>,
    /// What to do when it says already what it should.
    pub same: Same,
    /// The time of day, for the backup's name.
    pub now: Timestamp,
}

/// The file's text.
#[must_use]
pub fn render<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let quoted: Vec<(&str, String)> = variables.map(|(name, value)| (name, quote(value))).collect();
    let mut text = String::from(
        "# Written by tenantry from the tenant's configuration. Changes here are lost when it is\n\
         # written again; the file before is kept beside it.\n",
    );
    let reference = format!("${{{BACKTICK}}}");
    if quoted.iter().any(|(_, value)| value.contains(&reference)) {
        text.push_str(&format!("{BACKTICK}='`'\n"));
    }
    for (name, value) in quoted {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}

/// A value as it stands behind `NAME=`. It must not hold a line end or a NUL.
fn quote(value: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    if !value.is_empty() && value.chars().all(is_bare) {
        return value.to_owned();
    }
    let is_replaced = value.contains("${");
    if !value.contains('\'') && !value.contains(r"\\") && !value.ends_with('\\') && !is_replaced {
        return format!("'{value}'");
    }
    if !value.contains(['"', '$', '`', '\\']) {
        return format!("\"{value}\"");
    }
    let mut quoted = String::with_capacity(value.len() + 32);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '\\' | '"' => quoted.extend(['\\', c]),
            '$' => quoted.push_str(&format!("${{{NONE}:-$}}")),
            '`' => quoted.push_str(&format!("${{{BACKTICK}}}")),
            _ => quoted.push(c),
        }
    }
    if value.ends_with('\\') {
        // python-dotenv takes `\\"` for a quote that goes on.
        quoted.push_str(&format!("${{{NONE}:-}}"));
    }
    quoted.push('"');
    quoted
}

/// Brings the file in a tenant's directory to this text.
///
/// # Errors
/// When it cannot be written; the file before is then in its place.
pub fn write(dir: &Dir, text: &str, manner: Manner<'_>) -> Result<Written, DotenvError> {
    let path = dir.path().join(NAME);
    let there = kind(dir)?;
    if manner.same == Same::Leave && there == There::File && holds(dir, text) {
        own(dir, manner.owner)?;
        return Ok(Written { path, is_new: false, backup: None });
    }
    write_aside(dir, text, manner)?;
    let backup = match there {
        There::Nothing => None,
        There::File => Some(keep(dir, manner.now)?),
    };
    rustix::fs::renameat(dir.fd(), manner.aside, dir.fd(), NAME).map_err(io("replace", &path))?;
    dir.sync()?;
    Ok(Written { path, is_new: true, backup })
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> DotenvError {
    let path = path.to_path_buf();
    move |errno| DotenvError::Io { what, path, source: errno.into() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    File,
}

/// What has the file's name. A link is no file of ours: whatever it points to is not touched.
fn kind(dir: &Dir) -> Result<There, DotenvError> {
    let path = dir.path().join(NAME);
    match rustix::fs::statat(dir.fd(), NAME, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(There::Nothing),
        Err(errno) => Err(io("look at", &path)(errno)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(There::File),
        Ok(_) => Err(DotenvError::NoFile { path }),
    }
}

fn open(dir: &Dir) -> Result<std::fs::File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir.fd(), NAME, flags, Mode::empty()).map(std::fs::File::from)
}

fn holds(dir: &Dir, text: &str) -> bool {
    let Ok(file) = open(dir) else { return false };
    let mut found = Vec::new();
    let read = std::io::Read::read_to_end(&mut std::io::Read::take(file, COMPARED), &mut found);
    read.is_ok() && found == text.as_bytes()
}

/// Gives the file that is there its mode and owner.
fn own(dir: &Dir, owner: Option<(u32, u32)>) -> Result<(), DotenvError> {
    let path = dir.path().join(NAME);
    let file = open(dir).map_err(io("open", &path))?;
    give(&file, owner).map_err(io("change", &path))
}

fn give(file: &std::fs::File, owner: Option<(u32, u32)>) -> Result<(), Errno> {
    rustix::fs::fchmod(file, Mode::from_raw_mode(MODE))?;
    match owner {
        Some((user, group)) => {
            rustix::fs::fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
        }
        None => Ok(()),
    }
}

fn write_aside(dir: &Dir, text: &str, manner: Manner<'_>) -> Result<(), DotenvError> {
    let path = dir.path().join(manner.aside);
    // Left behind by a writer that was killed.
    match rustix::fs::unlinkat(dir.fd(), manner.aside, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(io("remove", &path)(errno)),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(dir.fd(), manner.aside, flags, Mode::from_raw_mode(MODE));
    let mut file = std::fs::File::from(made.map_err(io("create", &path))?);
    let written = give(&file, manner.owner)
        .map_err(std::io::Error::from)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all());
    written.map_err(|source| {
        let _ = rustix::fs::unlinkat(dir.fd(), manner.aside, AtFlags::empty());
        DotenvError::Io { what: "write", path, source }
    })
}

/// Gives the present file a second name that nothing has: the document's, else with the time.
fn keep(dir: &Dir, now: Timestamp) -> Result<PathBuf, DotenvError> {
    let at: String = now.to_string().chars().filter(char::is_ascii_digit).collect();
    let (date, time) = at.split_at_checked(8).unwrap_or((&at, ""));
    let time = time.get(..6).unwrap_or(time);
    let first = format!("{NAME}.backup.{date}");
    let more = (1..MOST_TRIES).map(|n| match n {
        1 => format!("{first}-{time}"),
        n => format!("{first}-{time}-{n}"),
    });
    let original = dir.path().join(NAME);
    for name in std::iter::once(first.clone()).chain(more) {
        match rustix::fs::linkat(dir.fd(), NAME, dir.fd(), &name, AtFlags::empty()) {
            Ok(()) => {
                own(dir, None)?;
                return Ok(dir.path().join(name));
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(io("keep", &original)(errno)),
        }
    }
    Err(io("keep", &original)(Errno::EXIST))
}

/// The variables of a file's text as names and values, for [`render`].
pub fn pairs<V>(
    variables: &BTreeMap<String, V>,
    reveal: impl Fn(&V) -> &str,
) -> impl Iterator<Item = (&str, &str)> {
    variables.iter().map(move |(name, value)| (name.as_str(), reveal(value)))
}

#[cfg(test)]
mod tests;
