//! Whose listener a TCP port is: the one of a process's session or of what it started, or
//! somebody else's.

use std::collections::HashSet;
use std::path::Path;

/// Whether a listener belongs to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owned {
    /// One of the session's processes listens.
    BySession,
    /// Somebody listens, and none of the session's processes does.
    ByAnother,
    /// Nobody listens, or it cannot be found out here.
    Unknown,
}

/// Looks who listens on a port, for the session that `leader` leads.
#[must_use]
pub fn is_listening(leader: u32, port: u16) -> Owned {
    let sockets: HashSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return Owned::Unknown;
    }
    // Nearly always it is the leader itself, which costs one directory to find out.
    match holds(leader, &sockets) {
        Some(true) => return Owned::BySession,
        None => return Owned::Unknown,
        Some(false) => {}
    }
    let Ok(processes) = std::fs::read_dir("/proc") else { return Owned::Unknown };
    let found = processes
        .filter_map(|process| process.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| session(*pid) == Some(leader) || descends(*pid, leader))
        .any(|pid| holds(pid, &sockets) == Some(true));
    if found { Owned::BySession } else { Owned::ByAnother }
}

/// The inodes of listening sockets on a port, from a table of /proc/net (proc(5)).
fn listeners(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
            let inode = fields.nth(5)?;
            (local.ends_with(&port) && state == LISTEN).then(|| inode.to_owned())
        })
        .collect()
}

/// Whether a process has one of these sockets open; `None` when it cannot be looked into.
fn holds(pid: u32, sockets: &HashSet<String>) -> Option<bool> {
    let open = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).ok()?;
    let mut targets = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    Some(targets.any(|target| target.to_str().is_some_and(|target| sockets.contains(target))))
}

fn session(pid: u32) -> Option<u32> {
    field(pid, 3)
}

/// Whether a process was started by another, or by what that started: in namespaces of its own
/// a program has another session than the process that the keeper knows.
fn descends(pid: u32, ancestor: u32) -> bool {
    // Deeper than anybody starts processes; they come and go while we look.
    const DEPTH: usize = 32;
    let parents = std::iter::successors(Some(pid), |pid| field(*pid, 1).filter(|parent| *parent > 1));
    parents.take(DEPTH).any(|pid| pid == ancestor)
}

/// A number of `/proc/PID/stat`, counted from the state on, which is 0 (proc(5)).
fn field(pid: u32, index: usize) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_listener_is_told_from_a_strangers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(is_listening(std::process::id(), port), Owned::BySession);
        let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let seen = is_listening(stranger.id(), port);
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert_eq!(seen, Owned::ByAnother);
        drop(listener);
        assert_eq!(is_listening(std::process::id(), port), Owned::Unknown);
    }
}
