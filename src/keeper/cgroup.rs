//! Control groups of runs: made below our own group, joined before the program is executed,
//! removed when nobody is left in them.
//!
//! A run's group is the directory `OWN/tenantry-NAME/RUN` in each hierarchy that serves it:
//! one in version 2, one for each controller in version 1. Which version there is, is read from
//! `/proc`; a group is known by its files, so that it can be found again after a keeper died.
//! What cannot be limited here is told as a sentence, never passed over.

mod unified;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tenantry_journal::event::instance::Limits;
use tenantry_journal::id::RunId;

/// The weight of version 2 that is worth [`SHARES`] of version 1: what a group has unasked.
const WEIGHT: u64 = 100;
/// As above.
const SHARES: u64 = 1024;
/// The fewest shares that version 1 takes.
const FEWEST_SHARES: u64 = 2;
/// Bytes in a megabyte of the configuration.
const MIB: u64 = 1 << 20;

/// Which kind of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A hierarchy for each controller.
    V1,
    /// The unified one.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V1 => "cgroup v1",
            Version::V2 => "cgroup v2",
        })
    }
}

/// Our own group in the hierarchy of one controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) version: Version,
    pub(crate) own: PathBuf,
}

/// What this machine has, from where this process stands.
#[derive(Clone, Debug)]
pub(crate) struct Cgroups {
    /// Told apart from other data directories by this.
    name: String,
    pub(crate) memory: Option<Place>,
    pub(crate) cpu: Option<Place>,
    /// Where processor time is counted, when that is not `cpu`'s own.
    accounting: Option<Place>,
}

impl Cgroups {
    /// Looks at the machine. `name` tells our groups from those of another data directory.
    pub(crate) fn find(name: String) -> Cgroups {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let table = Table { mounts: read("/proc/self/mountinfo"), own: read("/proc/self/cgroup") };
        let cpu = table.place("cpu");
        let accounting = table.place("cpuacct").filter(|place| Some(place) != cpu.as_ref());
        Cgroups { name, memory: table.place("memory"), cpu, accounting }
    }

    /// What of these limits has no effect here, as sentences.
    pub(crate) fn lacking(&self, limits: &Limits) -> Vec<String> {
        let mut words = Vec::new();
        if limits.memory_limit_mb.is_some() && self.memory.is_none() {
            words.push(
                "memory_limit_mb has no effect: there is no cgroup memory controller (an address-space \
                 limit would be no memory limit, so none is set)"
                    .to_owned(),
            );
        }
        if limits.cpu_shares.is_some() && self.cpu.is_none() {
            words.push("cpu_shares has no effect: there is no cgroup cpu controller".to_owned());
        }
        words
    }

    fn base(&self, place: &Place) -> PathBuf {
        place.own.join(format!("tenantry-{}", self.name))
    }

    /// Makes a run's group and sets its limits. With it comes what has no effect, as sentences.
    pub(super) fn make(&self, run: RunId, limits: &Limits) -> (Group, Vec<String>) {
        let mut words = self.lacking(limits);
        let mut group = Group::default();
        let wanted = [
            (&self.memory, "memory", limits.memory_limit_mb.is_some()),
            (&self.cpu, "cpu", limits.cpu_shares.is_some()),
            (&self.accounting, "cpuacct", false),
        ];
        for (place, controller, is_asked) in wanted {
            let Some(place) = place else { continue };
            match self.directory(place, controller, run) {
                Ok(dir) if group.0.contains(&dir) => {}
                Ok(dir) => group.0.push(dir),
                Err(error) if is_asked => {
                    words.push(format!("a {controller} limit has no effect: {error}"));
                }
                Err(_) => {}
            }
        }
        if let Some(megabytes) = limits.memory_limit_mb
            && let Err(error) = group.limit_memory(megabytes.saturating_mul(MIB))
        {
            words.push(format!("memory_limit_mb has no effect: {error}"));
        }
        if let Some(weight) = limits.cpu_shares
            && let Err(error) = group.weigh(weight)
        {
            words.push(format!("cpu_shares has no effect: {error}"));
        }
        (group, words)
    }

    fn directory(&self, place: &Place, controller: &str, run: RunId) -> io::Result<PathBuf> {
        let base = self.base(place);
        std::fs::create_dir_all(&base)?;
        if place.version == Version::V2 {
            unified::enable(&place.own, &base, controller)?;
        }
        let dir = base.join(run.to_string());
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// The groups that an earlier keeper made and whose runs nobody knows any more.
    pub(super) fn left_behind(&self, known: impl Fn(RunId) -> bool) -> Vec<Group> {
        let places = [&self.memory, &self.cpu, &self.accounting];
        let bases: BTreeSet<PathBuf> = places.into_iter().flatten().map(|place| self.base(place)).collect();
        let dirs = bases.iter().filter_map(|base| std::fs::read_dir(base).ok()).flatten().flatten();
        let strange = dirs.filter(|entry| {
            let run = entry.file_name().to_str().and_then(|name| name.parse::<RunId>().ok());
            run.is_some_and(|run| !known(run))
        });
        strange.map(|entry| Group(vec![entry.path()])).collect()
    }
}

/// Where control groups are mounted, and which of them are ours.
struct Table {
    /// `/proc/self/mountinfo`, see proc(5).
    mounts: String,
    /// `/proc/self/cgroup`, see cgroups(7).
    own: String,
}

impl Table {
    /// Our own group in the hierarchy that has a controller: version 1 where it is bound there.
    fn place(&self, controller: &str) -> Option<Place> {
        let has = |list: &str| list.split(',').any(|word| word == controller);
        if let Some(own) = self.own_path(has)
            && let Some(own) = self.mounted("cgroup", has, own)
        {
            return Some(Place { version: Version::V1, own });
        }
        let own = self.own_path(str::is_empty)?;
        let mut own = self.mounted("cgroup2", |_| true, own)?;
        if own.file_name().is_some_and(|name| name == unified::OURSELVES) {
            own.pop();
        }
        let controllers = std::fs::read_to_string(own.join("cgroup.controllers")).ok()?;
        let has = controllers.split_whitespace().any(|word| word == controller);
        has.then_some(Place { version: Version::V2, own })
    }

    fn own_path(&self, has: impl Fn(&str) -> bool) -> Option<&str> {
        own_path(&self.own, has)
    }

    /// The directory of a group, where a file system with such options is mounted.
    fn mounted(&self, kind: &str, has: impl Fn(&str) -> bool, path: &str) -> Option<PathBuf> {
        self.mounts.lines().find_map(|line| {
            let (place, about) = line.split_once(" - ")?;
            let mut about = about.split(' ');
            let (found, _, options) = (about.next()?, about.next()?, about.next()?);
            let mut place = place.split(' ').skip(3);
            let (root, point) = (place.next()?, place.next()?);
            if found != kind || !has(options) {
                return None;
            }
            let below = path.strip_prefix(root.trim_end_matches('/'))?;
            Some(Path::new(point).join(below.trim_start_matches('/')))
        })
    }
}

fn own_path(text: &str, has: impl Fn(&str) -> bool) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        has(controllers).then_some(path)
    })
}

/// A run's directories, one for each hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group(pub(super) Vec<PathBuf>);

impl Group {
    /// The group that a process was put in for a run, if it was.
    pub(crate) fn of(pid: u32, run: RunId) -> Option<Group> {
        let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let name = run.to_string();
        if !own.lines().any(|line| line.ends_with(&name)) {
            return None;
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let table = Table { mounts, own };
        let mut dirs: Vec<PathBuf> = Vec::new();
        for controller in ["memory", "cpu", "cpuacct"] {
            let dir = table.place(controller).map(|place| place.own);
            dirs.extend(dir.filter(|dir| dir.ends_with(&name) && !dirs.contains(dir)));
        }
        (!dirs.is_empty()).then_some(Group(dirs))
    }

    /// A file that one of the directories has.
    fn file(&self, name: &str) -> Option<PathBuf> {
        self.0.iter().map(|dir| dir.join(name)).find(|path| path.exists())
    }

    fn number(&self, name: &str) -> Option<u64> {
        std::fs::read_to_string(self.file(name)?).ok()?.trim().parse().ok()
    }

    /// The number behind a word in a file of such lines.
    fn entry(&self, name: &str, word: &str) -> Option<u64> {
        let text = std::fs::read_to_string(self.file(name)?).ok()?;
        text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok())
    }

    fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        let bytes = bytes.to_string();
        if let Some(limit) = self.file("memory.limit_in_bytes") {
            std::fs::write(limit, &bytes)?;
            // Else what does not fit goes to swap instead.
            return self
                .file("memory.memsw.limit_in_bytes")
                .map_or(Ok(()), |path| std::fs::write(path, &bytes));
        }
        if let Some(limit) = self.file("memory.max") {
            std::fs::write(limit, &bytes)?;
            return self.file("memory.swap.max").map_or(Ok(()), |path| std::fs::write(path, "0"));
        }
        Ok(())
    }

    fn weigh(&self, weight: u64) -> io::Result<()> {
        if let Some(shares) = self.file("cpu.shares") {
            let worth = (weight * SHARES / WEIGHT).max(FEWEST_SHARES);
            return std::fs::write(shares, worth.to_string());
        }
        self.file("cpu.weight").map_or(Ok(()), |path| std::fs::write(path, weight.to_string()))
    }

    /// Puts this very process into the group.
    pub(super) fn join(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|dir| std::fs::write(dir.join("cgroup.procs"), "0"))
    }

    /// Who is in it.
    pub(super) fn pids(&self) -> BTreeSet<u32> {
        let lists = self.0.iter().filter_map(|dir| std::fs::read_to_string(dir.join("cgroup.procs")).ok());
        lists.flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// How many are in it.
    pub(crate) fn size(&self) -> u32 {
        // Whoever is in one of the directories is in all.
        let list = self.0.first().and_then(|dir| std::fs::read_to_string(dir.join("cgroup.procs")).ok());
        list.map_or(0, |list| u32::try_from(list.lines().count()).unwrap_or(u32::MAX))
    }

    /// Whether a process is in it at this moment.
    pub(super) fn has(&self, pid: u32) -> bool {
        let Ok(own) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
        let name = self.0.first().and_then(|dir| dir.file_name()).and_then(|name| name.to_str());
        name.is_some_and(|name| own.lines().any(|line| line.ends_with(name)))
    }

    /// Kills everybody in it at once where the kernel can (`cgroup.kill`, since 5.14).
    pub(super) fn kill(&self) -> bool {
        self.file("cgroup.kill").is_some_and(|path| std::fs::write(path, "1").is_ok())
    }

    /// How often the kernel killed one of its processes for memory.
    pub(super) fn oom_kills(&self) -> u64 {
        let v1 = || self.entry("memory.oom_control", "oom_kill");
        self.entry("memory.events", "oom_kill").or_else(v1).unwrap_or(0)
    }

    /// Memory in use, in bytes, without the file pages that are dropped first.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let (used, idle) = match self.number("memory.current") {
            Some(used) => (used, self.entry("memory.stat", "inactive_file")),
            None => (self.number("memory.usage_in_bytes")?, self.entry("memory.stat", "total_inactive_file")),
        };
        Some(used.saturating_sub(idle.unwrap_or(0)))
    }

    /// Processor time used since it was made, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        if let Some(nanoseconds) = self.number("cpuacct.usage") {
            return Some(nanoseconds as f64 / 1e9);
        }
        self.entry("cpu.stat", "usage_usec").map(|microseconds| microseconds as f64 / 1e6)
    }

    /// Removes it, and the directory of all runs when this was the last.
    ///
    /// # Errors
    /// While somebody is in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        for dir in &self.0 {
            match std::fs::remove_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // Fails while other runs have theirs in it.
            let _ = dir.parent().map(std::fs::remove_dir);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
