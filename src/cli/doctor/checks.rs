//! The checks of `tenantry doctor`, each by itself.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, geteuid, getrlimit};

use super::Finding;
use crate::cli::safe_text::safe;
use crate::config::Config;
use crate::domain::policy::Services;
use crate::drivers::strangers::{self, Own, Stranger};
use crate::drivers::{disk, systemd, tool};
use crate::keeper::cgroup::{Cgroups, Place};
use crate::keeper::client::{Keeper, KeeperError, RunState};
use crate::keeper::launch;

/// Two pipes, a handle, a spool segment and some connections for each of a thousand instances.
const FILES: u64 = 16_384;
/// Writes that are timed.
const SYNCS: usize = 20;
/// A write that takes longer to become durable makes every change slow.
const SLOW_SYNC: Duration = Duration::from_millis(20);
/// So many strangers are named.
const SHOWN: usize = 5;
/// 2026-01-01: a clock before this was never set.
const EARLIEST_MS: u64 = 1_767_225_600_000;
/// How far the future may be in what was written before.
const AHEAD: Duration = Duration::from_secs(60);

/// Everything, in the order in which it is shown.
pub(super) fn all(config: &Config) -> Vec<Finding> {
    let machine = Cgroups::find(format!("doctor-{}", std::process::id()));
    let mut findings = vec![
        user(),
        controller("cgroup memory", "memory_limit_mb", machine.memory.as_ref()),
        controller("cgroup cpu", "cpu_shares", machine.cpu.as_ref()),
        namespaces(),
        open_files(),
        clock(&config.data_dir),
    ];
    findings.extend(data_directory(&config.data_dir));
    let (keeper, is_serving, pid) = keeper(&config.data_dir);
    findings.push(keeper);
    findings.push(listener("manager address", config.manager, is_serving));
    findings.push(listener("instances address", config.instances, is_serving));
    findings.push(tenant_ports(config, pid));
    findings.extend(tools(config));
    findings
}

fn user() -> Finding {
    let uid = geteuid();
    if uid.is_root() {
        return Finding::ok("user", "root");
    }
    Finding::warn(
        "user",
        format!("user {}", uid.as_raw()),
        "run as root for 'user', 'group', isolation = \"namespace\" and cgroups that were not delegated",
    )
}

/// Tries to make a group and removes it again.
fn controller(check: &'static str, key: &str, place: Option<&Place>) -> Finding {
    let Some(Place { version, own }) = place else {
        let advice = format!(
            "{key} has no effect: mount cgroup v2, or run as a systemd service with Delegate=yes; an \
             address-space limit would be no memory limit, so none is set"
        );
        return Finding::warn(check, "no such controller", advice);
    };
    let trial = own.join(format!("tenantry-doctor-{}", std::process::id()));
    match std::fs::create_dir(&trial).and_then(|()| std::fs::remove_dir(&trial)) {
        Ok(()) => Finding::ok(check, format!("{version}, writable at {}", own.display())),
        Err(error) => Finding::warn(
            check,
            format!("{version} at {}, not writable: {error}", own.display()),
            format!("{key} has no effect: run as root, or as a systemd service with Delegate=yes"),
        ),
    }
}

fn namespaces() -> Finding {
    let mut trial = Command::new("/proc/self/exe");
    trial.args([launch::COMMAND, "--check"]).env_clear().stdin(Stdio::null());
    match trial.output() {
        Ok(output) if output.status.success() => {
            Finding::ok("namespaces", "pid, mount, uts and ipc are permitted")
        }
        Ok(output) => Finding::warn(
            "namespaces",
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            "services with isolation = \"namespace\" will not start: run as root, outside of a container that \
             forbids it",
        ),
        Err(error) => Finding::warn("namespaces", error.to_string(), "try again"),
    }
}

fn open_files() -> Finding {
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < FILES => Finding::warn(
            "open files",
            format!("at most {most}"),
            format!("raise the hard limit to {FILES} or more (LimitNOFILE= in a unit, ulimit -Hn)"),
        ),
        Some(most) => Finding::ok("open files", format!("at most {most}")),
        None => Finding::ok("open files", "no limit"),
    }
}

fn clock(data_dir: &Path) -> Finding {
    let now = crate::clock::now();
    if now.0 < EARLIEST_MS {
        return Finding::fail("clock", format!("it says {now}"), "set the clock; run an NTP client");
    }
    let newest = std::fs::metadata(data_dir).and_then(|meta| meta.modified()).ok();
    let ahead = newest.and_then(|at| at.elapsed().err()).map(|error| error.duration());
    match ahead.filter(|ahead| *ahead > AHEAD) {
        Some(ahead) => Finding::warn(
            "clock",
            format!("it says {now}, {} s before the data directory was last changed", ahead.as_secs()),
            "the clock was set back: run an NTP client",
        ),
        None => Finding::ok("clock", now.to_string()),
    }
}

fn data_directory(dir: &Path) -> Vec<Finding> {
    let shown = dir.display();
    // It is made at the first start: until then its place counts.
    let Some(there) = dir.ancestors().find(|path| path.is_dir()) else {
        return vec![Finding::fail("data directory", format!("{shown} is not there"), "make it")];
    };
    let mut findings = Vec::new();
    match disk::space(there) {
        Ok(space) => {
            let words = format!("{} MiB free at {}", space.free_bytes >> 20, there.display());
            let advice = "make room, or move data_dir to a larger disk";
            findings.push(match space.enough() {
                disk::Enough::No => Finding::fail("disk space", words, advice),
                disk::Enough::Little => Finding::warn("disk space", words, advice),
                disk::Enough::Yes => Finding::ok("disk space", words),
            });
        }
        Err(error) => findings.push(Finding::warn("disk space", error.to_string(), "look at the disk")),
    }
    findings.push(match sync_time(there) {
        Ok(time) => {
            let words = format!("a write of 4 KiB is durable after {:.2} ms", time.as_secs_f64() * 1000.0);
            if time > SLOW_SYNC {
                Finding::warn("disk sync", words, "put data_dir on a faster disk: each change waits for this")
            } else {
                Finding::ok("disk sync", words)
            }
        }
        Err(error) => Finding::fail(
            "disk sync",
            format!("{}: {error}", there.display()),
            "make the data directory writable for the user that serves",
        ),
    });
    findings
}

/// The median time of a durable write.
fn sync_time(dir: &Path) -> std::io::Result<Duration> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let timed = || -> std::io::Result<Vec<Duration>> {
        let mut file = std::fs::File::create_new(&path)?;
        let mut times = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            let begin = Instant::now();
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
            times.push(begin.elapsed());
        }
        Ok(times)
    };
    let times = timed();
    let removed = std::fs::remove_file(&path);
    let mut times = times?;
    removed?;
    times.sort_unstable();
    Ok(times.get(SYNCS / 2).copied().unwrap_or_default())
}

/// The keeper, whether a control plane seems to be serving with it, and its process.
fn keeper(data_dir: &Path) -> (Finding, bool, Option<u32>) {
    let asked = async {
        let connected = Keeper::connect(data_dir).await?;
        let runs = connected.keeper.list().await?;
        let alive = runs.iter().filter(|run| run.state == RunState::Running).count();
        Ok::<_, KeeperError>((connected.info.pid, alive))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map(|runtime| runtime.block_on(asked)) {
        Ok(Ok((pid, alive))) => {
            let version = crate::keeper::protocol::VERSION;
            let words = format!("process {pid} speaks protocol {version} and keeps {alive} runs");
            (Finding::ok("keeper", words), true, Some(pid))
        }
        Ok(Err(KeeperError::Absent { .. })) => {
            (Finding::ok("keeper", "not running; `tenantry serve` starts it"), false, None)
        }
        Ok(Err(error)) => (
            Finding::fail(
                "keeper",
                crate::error::chain(&error),
                "it is of another version or hangs: stop all instances (`tenantry stop --all`) and serve again",
            ),
            true,
            None,
        ),
        Err(error) => (Finding::warn("keeper", error.to_string(), "try again"), false, None),
    }
}

fn listener(check: &'static str, address: SocketAddr, is_serving: bool) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) if is_serving => Finding::ok(check, format!("{address} is in use: {error}")),
        Err(error) => Finding::fail(
            check,
            format!("{address}: {error}"),
            "choose another address, or end what listens there",
        ),
    }
}

/// How many pairs are left, and who listens on one that is not ours to give.
fn tenant_ports(config: &Config, keeper: Option<u32>) -> Finding {
    let ports = config.ports;
    let strangers = strangers::on(&(ports.first..=ports.last).collect(), &Own { keeper, ..Own::default() });
    if !strangers.is_empty() {
        let all: Vec<String> = strangers.into_values().flatten().take(SHOWN).map(|one| shown(&one)).collect();
        return Finding::warn(
            "tenants' ports",
            format!("something else listens there: {}", all.join(", ")),
            "end it, or give [ports] a range of its own: a tenant that has such a port is not reached",
        );
    }
    let all = (ports.first..=ports.last).step_by(usize::from(ports.step.max(1)));
    let pairs: Vec<u16> = all.collect();
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let free =
        pairs.iter().filter(|port| is_free(**port) && port.checked_add(1).is_some_and(is_free)).count();
    let words = format!("{free} of {} pairs from {} on are free", pairs.len(), ports.first);
    if free == 0 {
        return Finding::warn("tenants' ports", words, "widen [ports]: a new tenant would get none");
    }
    Finding::ok("tenants' ports", words)
}

fn shown(stranger: &Stranger) -> String {
    let Stranger { port, pid, program } = stranger;
    match (pid, program) {
        (Some(pid), Some(program)) => format!("{port} by {} (process {pid})", safe(program)),
        (Some(pid), None) => format!("{port} by process {pid}"),
        (None, _) => format!("{port} by a process that cannot be seen"),
    }
}

/// nginx by its configured command, and whether its configuration is valid.
fn nginx(config: &Config) -> Finding {
    let needed = if config.deploy.nginx { "nginx = \"on\" needs it" } else { "needed once nginx is \"on\"" };
    let command = config.nginx.command.clone().unwrap_or_else(|| vec!["nginx".to_owned()]);
    let Some((name, args)) = command.split_first() else {
        return Finding::warn("nginx", "[nginx] command is empty", "name the program");
    };
    let path = if name.contains('/') { Some(PathBuf::from(name)) } else { program(name) };
    let advice = format!("install it, or say with [nginx] command where it is: {needed}");
    let Some(path) = path.filter(|path| path.is_file()) else {
        return Finding::warn("nginx", format!("{name} is not found"), advice);
    };
    if !config.deploy.nginx {
        return Finding::ok("nginx", path.display().to_string());
    }
    let mut asked = Command::new(&path);
    asked.env_clear().env("PATH", tool::PATH).stdin(Stdio::null());
    // It reads the configuration that the command names, with everything that it includes.
    match asked.args(args).arg("-t").output() {
        Ok(output) if output.status.success() => {
            Finding::ok("nginx", format!("{}, its configuration is valid", path.display()))
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let why = said.lines().find(|line| line.contains("[emerg]")).or(said.lines().last());
            let detail = format!("{} -t: {}", command.join(" "), safe(why.unwrap_or("it said nothing")));
            Finding::warn("nginx", detail, "repair its configuration: until then no site can be made")
        }
        Err(error) => Finding::warn("nginx", format!("{}: {error}", path.display()), advice),
    }
}

/// A program, and what needs it.
fn tools(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut look = |check: &'static str, names: &[&str], needed_for: &str| {
        findings.push(match names.iter().find_map(|name| program(name)) {
            Some(path) => Finding::ok(check, path.display().to_string()),
            None => Finding::warn(check, "not found", format!("install it: {needed_for}")),
        });
    };
    look("git", &["git"], "deployments clone repositories with it");
    look("python3", &["python3"], "the demo and many init commands need it");
    look("chromium", &["chromium", "chromium-browser", "google-chrome"], "screenshots of websites need it");
    findings.push(nginx(config));
    let sources: Vec<String> =
        config.deploy.deploying.sources.iter().map(|source| source.display().to_string()).collect();
    findings.push(Finding::ok(
        "local sources",
        if sources.is_empty() {
            "any directory of this machine can be deployed; [deploy] sources limits that".to_owned()
        } else {
            sources.join(", ")
        },
    ));
    findings.push(init(config));
    findings
}

/// Whether tenants' processes can be units.
fn init(config: &Config) -> Finding {
    let missing =
        ["systemctl", "systemd-analyze", "journalctl"].into_iter().find(|name| program(name).is_none());
    let lacking = match missing {
        _ if !systemd::is_booted() => "it is not this machine's init".to_owned(),
        Some(name) => format!("{name} is not found"),
        None => return Finding::ok("systemd", "it is this machine's init"),
    };
    if config.deploy.deploying.services == Services::Systemd {
        let advice =
            "no tenant can be deployed: set services = \"supervisor\", or run this where systemd runs";
        return Finding::fail("systemd", lacking, advice);
    }
    Finding::warn("systemd", lacking, "services = \"systemd\" will not work here")
}

fn program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let candidates = tool::PATH.split(':').chain(["/usr/sbin", "/sbin"]).map(|dir| Path::new(dir).join(name));
    let is_one = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    candidates.into_iter().find(is_one)
}
