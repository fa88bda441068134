//! Looking at processes through `/proc`, and signalling only the one that was meant.
//!
//! A pid alone names nothing: it may be another process a moment later. A process is named
//! by pid + start time + boot, and signalled through a pidfd that was opened before its
//! start time was compared.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tenantry_journal::id::RunId;

use super::child;

/// The environment variable that marks every process of a run.
pub const MARK: &str = "TENANTRY_RUN";

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    pub(super) dead: bool,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    pub(super) start_ticks: u64,
}

impl Stat {
    /// `None` when there is no such process.
    pub(super) fn of(pid: u32) -> Option<Stat> {
        // One read into a fixed place, because a snapshot does this for every process. A
        // line has at most 52 numbers and a name of 64 bytes, which may be cut behind field 22.
        let mut line = [0; 512];
        let len = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
        Stat::parse(&String::from_utf8_lossy(line.get(..len)?))
    }

    fn parse(text: &str) -> Option<Stat> {
        // The name, field 2, may hold spaces and parentheses: the last one closes it.
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        let mut number = || fields.next()?.parse::<i64>().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        // Field 22, of which 6 are read.
        let start_ticks = fields.nth(15)?.parse().ok()?;
        Some(Stat {
            dead: matches!(state, "Z" | "X" | "x"),
            parent: u32::try_from(parent).ok()?,
            group: u32::try_from(group).ok()?,
            session: u32::try_from(session).ok()?,
            start_ticks,
        })
    }
}

/// Names the time since the machine was started: pids and start times mean nothing in another.
pub(super) fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A handle on the living process with this pid and start time, if it is still that one.
pub(crate) fn open(pid: u32, start_ticks: u64) -> Option<OwnedFd> {
    let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let fd = pidfd_open(raw, PidfdFlags::NONBLOCK).ok()?;
    // Compared after opening: the handle then cannot be of a later process.
    let stat = Stat::of(pid)?;
    (stat.start_ticks == start_ticks && !stat.dead).then_some(fd)
}

/// Sends a signal; a process that is gone already needs none.
pub(super) fn signal(fd: &OwnedFd, signal: Signal) {
    if let Err(error) = pidfd_send_signal(fd, signal)
        && error != rustix::io::Errno::SRCH
    {
        tracing::warn!(%error, ?signal, "a process could not be signalled");
    }
}

/// Waits until all of these processes have died, or the time is up.
pub(super) async fn all_dead(fds: Vec<OwnedFd>, within: Duration) {
    let dead = fds.into_iter().map(|fd| async move {
        if let Ok(fd) = child::readable(fd) {
            let _ = fd.readable().await;
        }
    });
    let _ = tokio::time::timeout(within, futures_util::future::join_all(dead)).await;
}

/// All processes at one moment.
pub(super) struct Snapshot(HashMap<u32, Seen>);

struct Seen {
    stat: Stat,
    mark: Option<RunId>,
}

/// A process that belongs to a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) pid: u32,
    pub(super) stat: Stat,
}

impl Snapshot {
    /// Looks at all processes. The environment, which is dear to read, is read only of
    /// those that `root` (the keeper) has for an ancestor and that are in the session of
    /// none of `leaders`; with `strangers` of all others too.
    pub(super) fn take(root: u32, leaders: &HashMap<u32, RunId>, strangers: bool) -> Snapshot {
        let mut seen = HashMap::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, Stat::of(pid)?))) {
                seen.insert(pid, Seen { stat, mark: None });
            }
        }
        let mut snapshot = Snapshot(seen);
        let unclear: Vec<u32> = snapshot
            .0
            .iter()
            .filter(|(pid, seen)| {
                !seen.stat.dead && !leaders.contains_key(&seen.stat.session) && **pid != root
            })
            .filter(|(pid, _)| strangers || snapshot.descends(**pid, root))
            .map(|(pid, _)| *pid)
            .collect();
        for pid in unclear {
            if let Some(seen) = snapshot.0.get_mut(&pid) {
                seen.mark = mark(pid);
            }
        }
        snapshot
    }

    /// The living processes of a run whose leader is (or was) `leader`. When it is not
    /// sure that the leader's pid still is or was just now its own, only the mark counts.
    pub(super) fn members(&self, run: RunId, leader: u32, sure: bool) -> Vec<Member> {
        let ours = |pid: u32, seen: &Seen| {
            seen.mark == Some(run) || sure && (seen.stat.session == leader || self.descends(pid, leader))
        };
        let living = self.0.iter().filter(|(_, seen)| !seen.stat.dead);
        let members = living.filter(|(pid, seen)| ours(**pid, seen));
        members.map(|(pid, seen)| Member { pid: *pid, stat: seen.stat }).collect()
    }

    /// The session leader that carries a run's mark, if there is one.
    pub(super) fn leader(&self, run: RunId) -> Option<Member> {
        let members = self.members(run, 0, false);
        // What it started may lead sessions too; it is the one whose parent is not of the run.
        let is_first = |member: &&Member| members.iter().all(|other| other.pid != member.stat.parent);
        let leaders = members.iter().filter(|member| member.stat.session == member.pid);
        leaders.filter(is_first).min_by_key(|member| member.stat.start_ticks).copied()
    }

    /// What is known of a pid.
    pub(super) fn stat(&self, pid: u32) -> Option<Stat> {
        self.0.get(&pid).map(|seen| seen.stat)
    }

    fn descends(&self, pid: u32, ancestor: u32) -> bool {
        let mut at = pid;
        // Bounded, because processes came and went while we looked, and chains may tangle.
        for _ in 0..64 {
            if at == ancestor {
                return true;
            }
            match self.0.get(&at) {
                Some(seen) if seen.stat.parent > 1 => at = seen.stat.parent,
                _ => return false,
            }
        }
        false
    }
}

fn mark(pid: u32) -> Option<RunId> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environ.split(|byte| *byte == 0).find_map(|variable| {
        variable.strip_prefix(MARK.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
    })?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_whose_name_tries_to_confuse() {
        let text = "42 (a) R 9 (b) S 7 41 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 9 9";
        let stat = Stat::parse(text).expect("a stat line");
        assert_eq!((stat.parent, stat.group, stat.session), (7, 41, 40));
        assert_eq!(stat.start_ticks, 123_456);
        assert!(!stat.dead);
    }

    #[test]
    fn opens_a_process_only_under_its_start_time() {
        let pid = std::process::id();
        let ticks = Stat::of(pid).expect("ourselves").start_ticks;
        assert!(open(pid, ticks).is_some());
        assert!(open(pid, ticks + 1).is_none());
    }
}
