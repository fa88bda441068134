//! What a run may use, as whom it runs and what it sees, with real processes under the keeper.
//!
//! Needs root, and for some tests cgroup controllers or namespaces: what the machine does not
//! give is skipped, loudly.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on says where")]

#[path = "support/kept.rs"]
mod kept;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kept::{Bench, exe, exit_of, kill_9, lives, until};
use tenantry::keeper::client::{SpawnError, SpawnRequest};
use tenantry_journal::event::instance::{ExitStatus, Isolation, Limits};
use tenantry_journal::id::RunId;

/// A user and group that every Debian has.
const NOBODY: (&str, u32, u32) = ("nobody", 65534, 65534);

fn request(bench: &Bench, command: &str, args: &[&str], limits: Limits) -> SpawnRequest {
    SpawnRequest { limits, stop_timeout_ms: 2000, ..bench.request(command, args) }
}

fn sh(bench: &Bench, script: &str, limits: Limits) -> SpawnRequest {
    request(bench, "sh", &["-c", script], limits)
}

fn python(bench: &Bench, script: &str, limits: Limits) -> SpawnRequest {
    request(bench, "python3", &["-uc", script], limits)
}

/// Whether this machine gives what a test needs; says so when it does not.
fn has(what: &str, is_there: bool) -> bool {
    if !is_there {
        eprintln!("SKIPPED: this machine has no {what}");
    }
    is_there
}

fn is_root() -> bool {
    has("root", rustix::process::geteuid().is_root())
}

fn has_namespaces() -> bool {
    let check = std::process::Command::new(exe()).args(["__run", "--check"]).output().unwrap();
    has("namespaces", check.status.success())
}

/// Where version 1 has a controller on the machines that these tests know.
fn has_v1(controller: &str) -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let is_there = own
        .lines()
        .any(|line| line.split(':').nth(1).is_some_and(|all| all.split(',').any(|c| c == controller)));
    has(&format!("cgroup v1 {controller} controller"), is_there && is_root())
}

/// The directories of control groups that a run has, on this machine's first hierarchies.
fn groups_of(run: RunId) -> Vec<PathBuf> {
    fn below(dir: &Path, depth: usize, name: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name() == *name {
                found.push(entry.path());
            } else if depth > 0 {
                below(&entry.path(), depth - 1, name, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), 6, &run.to_string(), &mut found);
    found
}

/// The process that has a text in its command line.
fn pid_with(text: &str) -> Option<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text) && lives(*pid) && *pid != std::process::id()
    })
}

fn apart() -> Limits {
    Limits { isolation: Isolation::Namespace, ..Limits::default() }
}

const EAT: &str = "
x = []
while True:
    x.append(bytearray(1 << 20))
";

#[tokio::test]
async fn a_process_that_eats_more_than_its_memory_limit_is_killed_and_the_end_says_so() {
    if !has_v1("memory") {
        return;
    }
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let limits = Limits { memory_limit_mb: Some(64), ..Limits::default() };
    let request = python(&bench, EAT, limits.clone());
    let run = request.run_id;
    connected.keeper.spawn(request).await.unwrap();
    assert_eq!(exit_of(&mut connected, run).await, ExitStatus::MemoryLimit);
    until("its groups are gone", || groups_of(run).is_empty()).await;
    // The same program within its limit, killed by somebody else, is no such end.
    let request = sh(&bench, "kill -9 $$", limits);
    let run = request.run_id;
    connected.keeper.spawn(request).await.unwrap();
    assert_eq!(exit_of(&mut connected, run).await, ExitStatus::Signal(9));
}

#[tokio::test]
async fn limits_are_in_force_before_the_program_runs() {
    if !has_v1("memory") || !has_v1("cpu") {
        return;
    }
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let limits = Limits {
        memory_limit_mb: Some(48),
        cpu_shares: Some(50),
        max_open_files: Some(77),
        ..Limits::default()
    };
    let request =
        sh(&bench, "cat /proc/self/cgroup; echo files $(ulimit -Sn) $(ulimit -Hn); sleep 1000", limits);
    let run = request.run_id;
    connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(bench.line(&request, "files").await, "files 77 77");
    let joined = bench.lines(&request).iter().filter(|line| line.ends_with(&run.to_string())).count();
    assert!(joined >= 2, "{:?}", bench.lines(&request));
    let groups = groups_of(run);
    let read = |name: &str| {
        let path = groups.iter().map(|dir| dir.join(name)).find(|path| path.exists()).unwrap();
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    };
    assert_eq!(read("memory.limit_in_bytes"), (48 << 20).to_string());
    assert_eq!(read("cpu.shares"), "512");
    connected.keeper.stop(run, 2000).await.unwrap();
    assert_eq!(exit_of(&mut connected, run).await, ExitStatus::Signal(15));
    until("its groups are gone", || groups_of(run).is_empty()).await;
}

/// Leaves its session, gives up its environment, and outlives its parent: without a group
/// nobody could tell whose it is.
const GHOST: &str = "
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve('/bin/sleep', ['sleep', sys.argv[1]], {})
    os._exit(0)
os.wait()
print('ready')
import time
time.sleep(1000)
";

#[tokio::test]
async fn a_double_forked_child_without_a_name_dies_with_its_instance() {
    if !has_v1("memory") {
        return;
    }
    let bench = Bench::new();
    for (limits, nap) in
        [(Limits { max_open_files: Some(100), ..Limits::default() }, "86301.1"), (apart(), "86302.1")]
    {
        if limits == apart() && !has_namespaces() {
            continue;
        }
        let mut connected = bench.connect().await;
        let request = request(&bench, "python3", &["-uc", GHOST, nap], limits);
        let run = request.run_id;
        connected.keeper.spawn(request.clone()).await.unwrap();
        bench.line(&request, "ready").await;
        let ghost = format!("sleep\0{nap}");
        until("the ghost walks", || pid_with(&ghost).is_some()).await;
        let pid = pid_with(&ghost).unwrap();
        connected.keeper.stop(run, 1000).await.unwrap();
        exit_of(&mut connected, run).await;
        assert!(!lives(pid), "it outlived its instance");
    }
}

#[tokio::test]
async fn groups_that_a_killed_keeper_left_are_taken_over_or_removed() {
    if !has_v1("memory") {
        return;
    }
    let bench = Bench::new();
    let connected = bench.connect().await;
    let limits = Limits { memory_limit_mb: Some(64), ..Limits::default() };
    let (kept, lost) =
        (sh(&bench, "echo up; sleep 1000", limits.clone()), sh(&bench, "echo up; sleep 1000", limits));
    let stray = connected.keeper.spawn(lost.clone()).await.unwrap();
    connected.keeper.spawn(kept.clone()).await.unwrap();
    bench.line(&kept, "up").await;
    bench.line(&lost, "up").await;
    kill_9(connected.info);
    // Nobody knows of this run any more.
    std::fs::remove_dir_all(bench.data().join("keeper/runs").join(lost.run_id.to_string())).unwrap();
    let mut connected = bench.connect().await;
    until("the stray is ended", || !lives(stray.pid) && groups_of(lost.run_id).is_empty()).await;
    connected.keeper.stop(kept.run_id, 1000).await.unwrap();
    exit_of(&mut connected, kept.run_id).await;
    until("its groups are gone", || groups_of(kept.run_id).is_empty()).await;
}

#[tokio::test]
async fn a_process_runs_as_its_user_with_that_users_groups_and_owns_what_is_made_for_it() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let (name, uid, gid) = NOBODY;
    let limits = Limits { user: Some(name.into()), ..Limits::default() };
    let script = "echo id $(id -u) $(id -g) $(id -G); echo again > /dev/stdout; touch mine $(dirname $SOCKET_PATH)/it && echo made";
    let mut request = sh(&bench, script, limits);
    let socket = bench.dir.path().join("run/of-one/app.sock");
    request.socket = Some(socket.clone());
    request.env.insert("SOCKET_PATH".into(), socket.display().to_string());
    connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Code(0));
    let lines = bench.lines(&request);
    assert_eq!(lines[0], format!("id {uid} {gid} {gid}"));
    assert_eq!(lines[1..], ["again", "made"]);
    assert_eq!(std::fs::metadata(bench.dir.path().join("work/mine")).unwrap().uid(), uid);
    // What was there before is not given away.
    assert_eq!(std::fs::metadata(bench.dir.path().join("run")).unwrap().uid(), 0);
}

/// A user of this machine who is in a group that is not their own, and that group's number.
fn member() -> Option<(String, String)> {
    let groups = std::fs::read_to_string("/etc/group").unwrap();
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let is_user = |name: &str| users.lines().any(|line| line.split(':').next() == Some(name));
    groups.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let member = fields.get(3)?.split(',').find(|name| *name != "root" && is_user(name))?;
        Some((member.to_owned(), fields[2].to_owned()))
    })
}

#[tokio::test]
async fn a_process_is_in_every_group_of_its_user() {
    if !is_root() {
        return;
    }
    let Some((user, group)) = member() else {
        eprintln!("!!! SKIPPED: nobody on this machine is in a second group");
        return;
    };
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let limits = Limits { user: Some(user.clone()), ..Limits::default() };
    let request = sh(&bench, "echo $(id -G)", limits);
    connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Code(0));
    let lines = bench.lines(&request);
    assert!(lines[0].split(' ').any(|own| own == group), "{user} is not in {group}: {lines:?}");
}

#[tokio::test]
async fn a_user_that_cannot_be_is_refused_and_nothing_runs_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let connected = bench.connect().await;
    let refused = async |request: SpawnRequest| match connected.keeper.spawn(request).await {
        Err(SpawnError::Exec(words)) => words,
        other => panic!("{other:?}"),
    };
    let mark = bench.dir.path().join("mark");
    let script = format!("touch {}", mark.display());
    let unknown = Limits { user: Some("nobody-of-that-name".into()), ..Limits::default() };
    let words = refused(sh(&bench, &script, unknown)).await;
    assert!(words.contains("user 'nobody-of-that-name' is unknown"), "{words}");
    let limits = Limits { user: Some(NOBODY.0.into()), ..Limits::default() };
    let mut closed = sh(&bench, &script, limits.clone());
    closed.workdir = bench.dir.path().join("closed");
    std::fs::create_dir(&closed.workdir).unwrap();
    std::fs::set_permissions(&closed.workdir, std::fs::Permissions::from_mode(0o700)).unwrap();
    let words = refused(closed).await;
    assert!(words.contains("user 'nobody' cannot enter the working directory"), "{words}");
    let words =
        refused(SpawnRequest { command: "/nowhere/app".into(), ..sh(&bench, "", limits.clone()) }).await;
    assert!(words.contains("/nowhere/app"), "{words}");
    let mut shared = sh(&bench, &script, limits);
    shared.socket = Some(bench.data().join("app.sock"));
    let words = refused(shared).await;
    assert!(words.contains("cannot make its socket in"), "{words}");
    assert!(!mark.exists());
}

const THREADS: &str = "
import threading, os
t = threading.Thread(target=lambda: print('thread ran'))
t.start(); t.join()
print('pid', os.getpid(), 'parent', os.getppid())
print('host', os.uname().nodename)
print('seen', sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))
";

#[tokio::test]
async fn a_namespace_has_its_own_processes_host_name_and_threads() {
    if !is_root() || !has_namespaces() {
        return;
    }
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let other = sh(&bench, "sleep 1000", Limits::default());
    connected.keeper.spawn(other.clone()).await.unwrap();
    let request = python(&bench, THREADS, apart());
    connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(
        exit_of(&mut connected, request.run_id).await,
        ExitStatus::Code(0),
        "{:?}",
        bench.lines(&request)
    );
    let lines = bench.lines(&request);
    assert_eq!(lines, ["thread ran", "pid 2 parent 1", "host box-of-one", "seen [1, 2]"]);
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_ne!(own.trim(), "box-of-one", "the host kept its name");
}

#[tokio::test]
async fn one_tenant_reads_neither_the_others_environment_nor_its_files() {
    if !is_root() || !has_namespaces() {
        return;
    }
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let at = |name: &str| bench.data().join("instances").join(name);
    let mut victim = sh(&bench, "echo treasure > file; echo up; sleep 1000", Limits::default());
    victim.workdir = at("victim");
    victim.env.insert("SECRET".into(), "of-the-victim".into());
    // What asks must not find its own question.
    let spy = "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c 'SECRET=of-the-[v]ictim'";
    connected.keeper.spawn(victim.clone()).await.unwrap();
    bench.line(&victim, "up").await;
    std::fs::write(bench.data().join("keyring"), "key").unwrap();
    let data = bench.data().display().to_string();
    let script = format!(
        "{spy}; find {data} -type f; echo mine > own; echo x > {data}/x; \
         mount -t tmpfs none /mnt; umount {data}; find {data} -name keyring; echo end"
    );
    let mut request = sh(&bench, &script, apart());
    request.workdir = at("spy");
    connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Code(0));
    let lines = bench.lines(&request);
    assert!(!lines.iter().any(|line| line.contains("victim") || line.ends_with("keyring")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("Read-only") || line.contains("read-only")), "{lines:?}");
    assert_eq!(std::fs::read_to_string(at("spy").join("own")).unwrap(), "mine\n");
    assert!(lines.contains(&"0".to_owned()), "{lines:?}");
    // Without namespaces the same question is answered, so it would have been seen.
    let open = sh(&bench, spy, Limits::default());
    connected.keeper.spawn(open.clone()).await.unwrap();
    exit_of(&mut connected, open.run_id).await;
    assert!(!bench.lines(&open).contains(&"0".to_owned()), "{:?}", bench.lines(&open));
    let pid = std::fs::read_to_string(format!("/proc/{}/status", connected.info.pid)).unwrap();
    assert!(pid.contains("tenantry"), "the host's own /proc is whole");
}

#[tokio::test]
async fn the_first_process_reaps_orphans_and_passes_signals_on_once() {
    if !is_root() || !has_namespaces() {
        return;
    }
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let script = "
import os, signal, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.05)
        os._exit(0)
    os._exit(0)
os.wait()
count = 0
def told(*_):
    global count
    count += 1
    print('told', count)
signal.signal(signal.SIGTERM, told)
signal.signal(signal.SIGHUP, lambda *_: print('hup'))
while any(open(f'/proc/{p}/stat').read().split(') ')[1][0] == 'Z' or p not in '12' for p in os.listdir('/proc') if p.isdigit()):
    time.sleep(0.01)
print('no zombies')
while count == 0:
    time.sleep(0.01)
time.sleep(0.3)
os._exit(40 + count)
";
    let request = python(&bench, script, apart());
    let spawned = connected.keeper.spawn(request.clone()).await.unwrap();
    bench.line(&request, "no zombies").await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(spawned.pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    bench.line(&request, "hup").await;
    connected.keeper.stop(request.run_id, 10_000).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Code(41));
}

#[tokio::test]
async fn the_exit_status_is_the_programs_own() {
    if !is_root() || !has_namespaces() {
        return;
    }
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    for (script, status) in [
        ("exit 7", ExitStatus::Code(7)),
        ("kill -9 $$", ExitStatus::Signal(9)),
        ("kill -11 $$", ExitStatus::Signal(11)),
    ] {
        for limits in [apart(), Limits { max_open_files: Some(64), ..Limits::default() }] {
            let request = sh(&bench, script, limits);
            connected.keeper.spawn(request.clone()).await.unwrap();
            assert_eq!(exit_of(&mut connected, request.run_id).await, status, "{script}");
        }
    }
    // What does not end in time is killed with all that it started.
    let request = sh(&bench, "trap '' TERM; echo up; sleep 86303.1", apart());
    connected.keeper.spawn(request.clone()).await.unwrap();
    bench.line(&request, "up").await;
    connected.keeper.stop(request.run_id, 100).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Signal(9));
    until("its child is gone", || pid_with("86303.1").is_none()).await;
}

#[tokio::test]
async fn a_run_in_namespaces_lives_on_without_its_keeper_and_is_taken_over() {
    if !is_root() || !has_namespaces() {
        return;
    }
    let bench = Bench::new();
    let connected = bench.connect().await;
    let request = sh(&bench, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done", apart());
    let spawned = connected.keeper.spawn(request.clone()).await.unwrap();
    bench.line(&request, "up").await;
    kill_9(connected.info);
    let mut connected = bench.connect().await;
    let runs = connected.keeper.list().await.unwrap();
    assert_eq!((runs.len(), runs[0].pid, runs[0].adopted), (1, spawned.pid, true));
    connected.keeper.stop(request.run_id, 5000).await.unwrap();
    exit_of(&mut connected, request.run_id).await;
    assert!(bench.lines(&request).contains(&"bye".to_owned()), "{:?}", bench.lines(&request));
    assert!(!lives(spawned.pid));
}
