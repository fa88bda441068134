//! What the figures were measured on, and how figures are told.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::fs;
use std::time::Duration;

/// One line about this machine, the load by others included: what else runs is part of the
/// result.
pub(crate) fn about() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()))
        .unwrap_or_else(|| "an unnamed processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .unwrap_or(0);
    let load: Vec<String> = read("/proc/loadavg").split(' ').take(3).map(str::to_owned).collect();
    format!(
        "{cores} cores of {model}, {} GiB, Linux {}; load average before the run {}",
        memory >> 20,
        read("/proc/sys/kernel/osrelease").trim(),
        load.join(" "),
    )
}

/// Asks the kernel to forget what it has read from disks; `false` when it does not let us.
pub(crate) fn forget_cache() -> bool {
    let _ = std::process::Command::new("sync").status();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// The value that a share of all values does not exceed.
pub(crate) fn at<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Processor time of this process so far.
pub(crate) fn cpu_time() -> Duration {
    clock(rustix::time::ClockId::ProcessCPUTime)
}

/// Processor time of the calling thread so far.
pub(crate) fn own_cpu_time() -> Duration {
    clock(rustix::time::ClockId::ThreadCPUTime)
}

fn clock(id: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(id);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processor time of another process so far, its threads' together, to a hundredth of a second.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    at(&values, 0.5)
}

/// `met`, or what is said instead.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

/// In milliseconds.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Memory of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Pages that it has in memory, in KiB.
    pub(crate) rss: u64,
    /// The same, shared pages divided among those who share them, in KiB.
    pub(crate) pss: u64,
}

/// What a process has in memory now.
pub(crate) fn memory(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok())
            .unwrap_or(0)
    };
    Memory { rss: field("Rss:"), pss: field("Pss:") }
}

/// An argument of the command line by its place, cargo's own left out.
pub(crate) fn argument(place: usize) -> Option<String> {
    std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).nth(place)
}

/// A number of the command line by its place.
pub(crate) fn number(place: usize, default: u64) -> u64 {
    argument(place).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// As many open files as we may have: each connection takes one here and one in the server.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, most);
}
