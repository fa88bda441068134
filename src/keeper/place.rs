//! The place of a run: its directories, its socket, its program. The same whoever starts it.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::files;
use super::protocol::SpawnRequest;

/// Where a name is looked up when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Makes what a run needs before its process, and finds its program. The text says what cannot be.
pub(crate) fn prepare(request: &SpawnRequest, account: Option<&Account>) -> Result<PathBuf, String> {
    fn at<'a>(path: &'a Path, what: &'a str) -> impl FnOnce(io::Error) -> String + 'a {
        move |error| format!("{what} {}: {error}", path.display())
    }
    let workdir = &request.workdir;
    make_for(workdir, account).map_err(at(workdir, "working directory"))?;
    if let Some(socket) = &request.socket {
        let made = socket.parent().map_or(Ok(()), |dir| make_for(dir, account));
        made.and_then(|()| files::make_way(socket)).map_err(at(socket, "socket"))?;
    }
    find(request).map_err(at(Path::new(&request.command), "command"))
}

/// Makes a directory when it is missing, and gives it to the one who will work in it.
fn make_for(dir: &Path, account: Option<&Account>) -> io::Result<()> {
    let is_new = account.is_some() && !dir.exists();
    std::fs::create_dir_all(dir)?;
    match account.filter(|_| is_new) {
        Some(account) => own(&std::fs::File::open(dir)?, account),
        None => Ok(()),
    }
}

pub(super) fn own(file: &impl AsFd, account: &Account) -> io::Result<()> {
    let (user, group) = (rustix::fs::Uid::from_raw(account.uid), rustix::fs::Gid::from_raw(account.gid));
    Ok(rustix::fs::fchown(file, Some(user), Some(group))?)
}

/// The program's path, as the child's own `PATH` has it.
pub(crate) fn find(request: &SpawnRequest) -> io::Result<PathBuf> {
    let missing = || io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
    if request.command.is_empty() {
        return Err(missing());
    }
    if request.command.contains('/') {
        return Ok(PathBuf::from(&request.command));
    }
    let path = request.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let mut found = Err(missing());
    for dir in path.split(':').filter(|dir| !dir.is_empty()) {
        let candidate = Path::new(dir).join(&request.command);
        if let Ok(meta) = std::fs::metadata(request.workdir.join(&candidate))
            && meta.is_file()
        {
            if meta.permissions().mode() & 0o111 != 0 {
                return Ok(candidate);
            }
            found = Err(io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error()));
        }
    }
    found
}
