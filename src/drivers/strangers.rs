//! Who else listens on ports that are somebody's: a drift between what is allocated and what is.
//!
//! The keeper listens on tenants' ports; a process that has a port of its own may as well.
//! Whoever else does, on whatever address, gets what is meant for a tenant. Usually one list of
//! listeners and the keeper's descriptors tell that there is nobody; all processes are looked
//! through only when there is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde::Serialize;

use super::listening::{self, Listener};
use super::owner::{self, Owned};

/// Somebody who listens on a port that is not theirs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[schemars(rename = "PortStranger")]
pub struct Stranger {
    /// The port.
    pub port: u16,
    /// The process; `None` when it cannot be seen from here.
    pub pid: Option<u32>,
    /// What it is called, as the kernel knows it.
    pub program: Option<String>,
}

/// Who may listen.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// The keeper, which may listen on all of them.
    pub keeper: Option<u32>,
    /// Processes that have a port of their own, with what they started.
    pub processes: HashMap<u16, u32>,
}

/// Those who listen on one of these ports and may not, by port. Reads `/proc`; call it where
/// blocking is allowed.
#[must_use]
pub fn on(ports: &BTreeSet<u16>, own: &Own) -> BTreeMap<u16, Vec<Stranger>> {
    let mut found: Vec<Listener> =
        listening::all().into_iter().filter(|listener| ports.contains(&listener.port)).collect();
    if let Some(keeper) = own.keeper.filter(|_| !found.is_empty()) {
        let held = sockets_of(keeper);
        found.retain(|listener| !held.contains(&listener.inode));
    }
    found.retain(|listener| {
        let process = own.processes.get(&listener.port);
        process.is_none_or(|pid| owner::is_listening(*pid, listener.port) == Owned::ByAnother)
    });
    if found.is_empty() {
        return BTreeMap::new();
    }
    let wanted: HashSet<u32> = found.iter().map(|listener| listener.inode).collect();
    let holders = holders(&wanted);
    let mut strangers: BTreeMap<u16, Vec<Stranger>> = BTreeMap::new();
    for listener in found {
        let pid = holders.get(&listener.inode).copied();
        let stranger = Stranger { port: listener.port, pid, program: pid.and_then(name) };
        let on_port = strangers.entry(listener.port).or_default();
        // One process may listen on two addresses.
        if !on_port.contains(&stranger) {
            on_port.push(stranger);
        }
    }
    strangers
}

/// The inodes of the sockets that a process has open.
fn sockets_of(pid: u32) -> HashSet<u32> {
    let dir = Path::new("/proc").join(pid.to_string()).join("fd");
    let links = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    links
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// A process for each of these sockets, as far as processes may be looked into.
fn holders(wanted: &HashSet<u32>) -> HashMap<u32, u32> {
    let mut holders = HashMap::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten();
    let pids = processes.filter_map(|process| process.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        for inode in sockets_of(pid).intersection(wanted) {
            holders.entry(*inode).or_insert(pid);
        }
        if holders.len() == wanted.len() {
            break;
        }
    }
    holders
}

/// What a process is called; at most 15 bytes, without its arguments.
fn name(pid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_a_stranger_unless_it_is_the_keepers_or_the_ports_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ports = BTreeSet::from([port]);
        let own_pid = std::process::id();
        let found = on(&ports, &Own::default());
        let [stranger] = &found[&port][..] else { panic!("{found:?}") };
        assert_eq!((stranger.port, stranger.pid), (port, Some(own_pid)));
        assert_eq!(stranger.program, name(own_pid));
        let keeper = Own { keeper: Some(own_pid), ..Own::default() };
        assert!(on(&ports, &keeper).is_empty());
        let process = Own { keeper: Some(1), processes: HashMap::from([(port, own_pid)]) };
        assert!(on(&ports, &process).is_empty());
        assert!(on(&BTreeSet::from([1]), &Own::default()).is_empty());
    }
}
