//! The keeper with real processes: what it must withstand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on says where")]

#[path = "support/kept.rs"]
mod kept;
#[path = "keeper/sockets.rs"]
mod sockets;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kept::{Bench, PATIENCE, exe, exit_of, kill_9, lives, stat, until};
use tenantry::keeper::client::{
    Connected, Keeper, KeeperError, KeeperEvent, RunReport, RunState, SpawnError, SpawnRequest, Spawned,
};
use tenantry::keeper::protocol::SpoolKey;
use tenantry_journal::event::instance::ExitStatus;
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::spool::{Key, Retain, Shape, Stream};

async fn report(keeper: &Keeper, run: RunId) -> RunReport {
    keeper.list().await.unwrap().into_iter().find(|report| report.run_id == run).expect("the run is listed")
}

async fn until_over(keeper: &Keeper, run: RunId) {
    let over = tokio::time::timeout(PATIENCE, async {
        while report(keeper, run).await.state == RunState::Running {
            tokio::task::yield_now().await;
        }
    });
    assert!(over.await.is_ok(), "the run never ended");
}

fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

async fn pid_in(path: &Path) -> u32 {
    until(&format!("a pid in {}", path.display()), || read_pid(path).is_some()).await;
    read_pid(path).unwrap()
}

/// The numbers that were printed, in the order of the spool.
fn numbers(lines: &[String]) -> Vec<u64> {
    lines.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect()
}

/// Prints numbered lines until it is stopped.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.002; done";

#[tokio::test]
async fn tells_exit_codes_and_signals() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    for (script, expected) in [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 7", ExitStatus::Code(7)),
        ("kill -9 $$", ExitStatus::Signal(9)),
        ("kill -SEGV $$", ExitStatus::Signal(11)),
    ] {
        let request = bench.sh(script);
        let spawned = connected.keeper.spawn(request.clone()).await.unwrap();
        assert!(spawned.pid > 0 && spawned.start_ticks > 0);
        assert_eq!(exit_of(&mut connected, request.run_id).await, expected, "{script}");
    }
}

#[tokio::test]
async fn starts_a_run_only_once_also_when_it_is_over() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let marks = bench.dir.path().join("marks");
    let request = bench.sh(&format!("echo started >> {}", marks.display()));
    let first = connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(connected.keeper.spawn(request.clone()).await.unwrap(), first);
    exit_of(&mut connected, request.run_id).await;
    assert_eq!(connected.keeper.spawn(request.clone()).await.unwrap(), first);
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), "started\n");
}

#[tokio::test]
async fn says_why_there_is_no_process() {
    let bench = Bench::new();
    let connected = bench.connect().await;
    let plain = bench.dir.path().join("plain");
    std::fs::write(&plain, "not a program").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o600)).unwrap();
    let script = bench.dir.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let no_dir = SpawnRequest { workdir: plain.join("below"), ..bench.sh("true") };
    let not_a_socket = SpawnRequest { socket: Some(plain.clone()), ..bench.sh("true") };
    for (request, words) in [
        (bench.request("no-such-command", &[]), "No such file"),
        (bench.request("/no/such/command", &[]), "No such file"),
        (bench.request("", &[]), "No such file"),
        (bench.request(plain.to_str().unwrap(), &[]), "Permission denied"),
        (bench.request(script.to_str().unwrap(), &[]), "No such file"),
        (bench.request("sh", &["a\0b"]), "zero byte"),
        (no_dir, "Not a directory"),
        (not_a_socket, "not a socket"),
    ] {
        let error = connected.keeper.spawn(request.clone()).await.unwrap_err();
        assert!(matches!(&error, SpawnError::Exec(text) if text.contains(words)), "{words}: {error:?}");
    }
    assert_eq!(connected.keeper.list().await.unwrap(), []);
    assert!(plain.exists(), "what is not a socket was removed");
}

#[tokio::test]
async fn a_stale_socket_makes_way_and_missing_directories_are_made() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let (socket, workdir) =
        (bench.dir.path().join("sockets").join("app.sock"), bench.dir.path().join("work/deep"));
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let script = format!("test ! -e {} && test \"$PWD\" = {}", socket.display(), workdir.display());
    let request = SpawnRequest { socket: Some(socket), workdir, ..bench.sh(&script) };
    connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Code(0));
}

#[tokio::test]
async fn what_a_process_says_before_it_exits_at_once_is_kept() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let request = bench.sh("echo to stdout; echo to stderr >&2; printf unfinished");
    connected.keeper.spawn(request.clone()).await.unwrap();
    exit_of(&mut connected, request.run_id).await;
    let mut said: Vec<_> = bench.output(&request).into_iter().map(|r| (r.stream, r.bytes)).collect();
    said.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
    let expected = [
        (Stream::Stdout, b"to stdout".to_vec()),
        (Stream::Stdout, b"unfinished".to_vec()),
        (Stream::Stderr, b"to stderr".to_vec()),
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_neither_end_the_capture_nor_change() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let request = bench.sh(r"printf 'a\377\376\000b\n'; echo after");
    connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Code(0));
    let said: Vec<_> = bench.output(&request).into_iter().map(|record| record.bytes).collect();
    assert_eq!(said, [b"a\xff\xfe\0b".to_vec(), b"after".to_vec()]);
}

#[tokio::test]
async fn a_process_that_ignores_term_is_killed_after_its_timeout() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let request = bench.sh("trap '' TERM; echo ready; while :; do sleep 1; done");
    let spawned = connected.keeper.spawn(request.clone()).await.unwrap();
    bench.line(&request, "ready").await;
    let begin = std::time::Instant::now();
    connected.keeper.stop(request.run_id, 3_000).await.unwrap();
    assert!(lives(spawned.pid), "stop waits for the end");
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Signal(9));
    assert!(begin.elapsed() >= Duration::from_secs(3), "it got no time");
    assert!(!lives(spawned.pid));
}

#[tokio::test]
async fn a_process_gets_to_end_in_its_own_way() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let request = bench.sh("trap 'echo goodbye; exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    connected.keeper.spawn(request.clone()).await.unwrap();
    bench.line(&request, "ready").await;
    connected.keeper.stop(request.run_id, 10_000).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Code(3));
    assert_eq!(bench.lines(&request).last().unwrap(), "goodbye");
}

#[tokio::test]
async fn the_child_of_a_shell_that_dies_at_once_still_gets_its_time_to_end() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let child = "trap 'sleep 0.2; echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let request = bench.sh(&format!("sh -c \"{child}\" & wait"));
    connected.keeper.spawn(request.clone()).await.unwrap();
    bench.line(&request, "ready").await;
    connected.keeper.stop(request.run_id, 10_000).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Signal(15));
    assert_eq!(bench.lines(&request).last().unwrap(), "tidied");
}

/// Leaves a child in its group, one in a session of its own, and a daemon that was forked
/// twice; none of them cares about TERM.
fn litter(bench: &Bench) -> (String, [PathBuf; 3]) {
    let paths = ["group", "session", "daemon"].map(|name| bench.dir.path().join(name));
    let [group, session, daemon] = paths.each_ref().map(|path| {
        format!("sh -c \"trap '' TERM; echo \\$\\$ > {}; while :; do sleep 1; done\"", path.display())
    });
    (format!("{group} & setsid {session} & (setsid {daemon} &) & "), paths)
}

#[tokio::test]
async fn a_stop_ends_everything_that_was_forked() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let (script, paths) = litter(&bench);
    let request = bench.sh(&format!("{script} while :; do sleep 1; done"));
    connected.keeper.spawn(request.clone()).await.unwrap();
    let mut pids = Vec::new();
    for path in &paths {
        pids.push(pid_in(path).await);
    }
    assert!(pids.iter().all(|pid| lives(*pid)));
    connected.keeper.stop(request.run_id, 100).await.unwrap();
    exit_of(&mut connected, request.run_id).await;
    assert_eq!(pids.iter().filter(|pid| lives(**pid)).count(), 0);
    until("none is left as a zombie either", || pids.iter().all(|pid| stat(*pid).is_none())).await;
}

#[tokio::test]
async fn a_leader_that_dies_by_itself_leaves_nobody_behind() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let (script, paths) = litter(&bench);
    let wait = paths.each_ref().map(|path| format!("until test -s {}; do sleep 0.01; done", path.display()));
    let request = bench.sh(&format!("{script} {}; exit 5", wait.join("; ")));
    connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Code(5));
    for path in &paths {
        assert!(!lives(pid_in(path).await), "{} is left", path.display());
    }
}

#[tokio::test]
async fn a_line_without_end_takes_bounded_memory_and_does_not_block_the_process() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let request = bench.sh("head -c 100000000 /dev/zero | tr '\\0' x; echo; echo done");
    connected.keeper.spawn(request.clone()).await.unwrap();
    assert_eq!(exit_of(&mut connected, request.run_id).await, ExitStatus::Code(0));
    let said = bench.output(&request);
    assert_eq!(said.last().unwrap().bytes, b"done");
    let cut: u64 = said.iter().map(|r| if let Shape::Cut(count) = r.shape { count } else { 0 }).sum();
    let kept: usize = said.iter().rev().skip(1).map(|record| record.bytes.len()).sum();
    assert_eq!(cut + kept as u64, 100_000_000);
    assert!(said.len() <= 4, "{} records", said.len());
    let status = std::fs::read_to_string(format!("/proc/{}/status", connected.info.pid)).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64 * 1024, "the keeper took {peak} KiB");
}

#[tokio::test]
async fn a_flood_of_lines_arrives_whole_and_delays_no_other() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let flood = bench.sh("seq -f 'line %.0f' 1 300000");
    connected.keeper.spawn(flood.clone()).await.unwrap();
    let other = bench.sh("echo hello");
    connected.keeper.spawn(other.clone()).await.unwrap();
    bench.line(&other, "hello").await;
    until_over(&connected.keeper, flood.run_id).await;
    assert_eq!(report(&connected.keeper, flood.run_id).await.dropped_bytes, 0);
    let seen = numbers(&bench.lines(&flood));
    let gap = seen.iter().zip(1..).find(|(seen, expected)| **seen != *expected);
    assert_eq!((gap, seen.len()), (None, 300_000));
    assert_eq!(exit_of(&mut connected, flood.run_id).await, ExitStatus::Code(0));
}

#[tokio::test]
async fn a_noisy_instance_pushes_out_no_lines_but_its_own() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let quiet = bench.sh("echo kept");
    connected.keeper.spawn(quiet.clone()).await.unwrap();
    exit_of(&mut connected, quiet.run_id).await;
    let retain = Some(Retain { bytes: 256 * 1024, ms: None });
    let noisy = SpawnRequest { retain, ..bench.sh("seq -f 'line %.0f' 1 300000") };
    connected.keeper.spawn(noisy.clone()).await.unwrap();
    exit_of(&mut connected, noisy.run_id).await;
    let left = numbers(&bench.lines(&noisy));
    assert!(left[0] > 1, "nothing was pushed out, and this proves nothing");
    assert_eq!(left.last(), Some(&300_000));
    assert_eq!(bench.lines(&quiet), ["kept"]);
}

#[tokio::test]
async fn a_spool_that_cannot_be_written_stops_no_process_and_the_loss_is_told() {
    lose_output_and_store_it_again(&Bench::new()).await;
}

/// A disk that is full has no room for what the keeper logs about it, either.
#[tokio::test]
async fn a_log_that_cannot_be_written_costs_no_output() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.data()).unwrap();
    // Every write to it fails: no space left on device.
    std::os::unix::fs::symlink("/dev/full", bench.data().join("keeper.log")).unwrap();
    lose_output_and_store_it_again(&bench).await;
}

async fn lose_output_and_store_it_again(bench: &Bench) {
    let connected = bench.connect().await;
    let go = bench.dir.path().join("go");
    let wait = format!("until test -e {}; do sleep 0.01; done", go.display());
    let request = bench.sh(&format!("seq 1 50000; {wait}; echo again; sleep 1000"));
    // A file where the spool's directory should be.
    let place = bench.data().join("spool").join(request.instance_id.to_string());
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(&place, "").unwrap();
    connected.keeper.spawn(request.clone()).await.unwrap();
    let all_lost = async {
        while report(&connected.keeper, request.run_id).await.dropped_bytes < 288_894 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_lost).await.expect("the loss is not told");
    std::fs::remove_file(&place).unwrap();
    std::fs::write(&go, "").unwrap();
    bench.line(&request, "again").await;
    assert_eq!(bench.output(&request).remove(0).shape, Shape::Lost(288_894));
}

#[tokio::test]
async fn output_under_a_key_is_not_readable_on_disk() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let key = SpoolKey(Key::new([3; 32]));
    let request = SpawnRequest { key: Some(key), ..bench.sh("echo the-customers-secret") };
    connected.keeper.spawn(request.clone()).await.unwrap();
    exit_of(&mut connected, request.run_id).await;
    assert_eq!(bench.lines(&request), ["the-customers-secret"]);
    let grep = |what: &[u8]| {
        let mut dirs = vec![bench.data()];
        let mut found = false;
        while let Some(dir) = dirs.pop() {
            for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                let meta = path.symlink_metadata().unwrap();
                if meta.is_dir() {
                    dirs.push(path);
                } else if meta.is_file() {
                    found |= std::fs::read(&path).unwrap().windows(what.len()).any(|window| window == what);
                }
            }
        }
        found
    };
    assert!(grep(request.instance_id.0.as_bytes()), "the search finds what is there");
    assert!(!grep(b"the-customers-secret"));
    assert!(!grep(&[3; 32]), "the key itself was written");
}

#[tokio::test]
async fn the_control_plane_may_come_and_go() {
    let bench = Bench::new();
    let connected = bench.connect().await;
    assert!(connected.fresh);
    let keeper = connected.info;
    let (stays, ends) = (bench.sh(COUNT), bench.sh("sleep 0.05; echo last words; exit 9"));
    let spawned = connected.keeper.spawn(stays.clone()).await.unwrap();
    connected.keeper.spawn(ends.clone()).await.unwrap();
    drop(connected);
    bench.line(&ends, "last words").await;
    bench.line(&stays, "line 100").await;

    let mut connected = bench.connect().await;
    assert!(!connected.fresh);
    assert_eq!(connected.info, keeper);
    until_over(&connected.keeper, ends.run_id).await;
    let ended = report(&connected.keeper, ends.run_id).await;
    assert!(matches!(ended.state, RunState::Exited { status: ExitStatus::Code(9), .. }));
    let living = report(&connected.keeper, stays.run_id).await;
    assert_eq!(Spawned { pid: living.pid, start_ticks: living.start_ticks }, spawned);
    assert_eq!((living.state, living.adopted), (RunState::Running, false));
    connected.keeper.stop(stays.run_id, 5_000).await.unwrap();
    exit_of(&mut connected, stays.run_id).await;
    let seen = numbers(&bench.lines(&stays));
    assert!(seen.len() >= 100);
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>(), "a line was lost or doubled");

    connected.keeper.forget(ends.run_id).await.unwrap();
    connected.keeper.forget(ends.run_id).await.unwrap();
    let left: Vec<_> = connected.keeper.list().await.unwrap().into_iter().map(|run| run.run_id).collect();
    assert_eq!(left, [stays.run_id]);
}

#[tokio::test]
async fn a_killed_keeper_is_noticed_and_its_processes_are_taken_over() {
    let bench = Bench::new();
    let mut first = bench.connect().await;
    let key = SpoolKey(Key::new([5; 32]));
    let plain = bench.sh(COUNT);
    let sealed = SpawnRequest { key: Some(key.clone()), ..bench.sh(COUNT) };
    let ends = bench.sh("sleep 0.3");
    let (script, litter) = litter(&bench);
    let leaver = bench.sh(&format!("{script} while :; do sleep 1; done"));
    let mut spawned = BTreeMap::new();
    for request in [&plain, &sealed, &ends, &leaver] {
        spawned.insert(request.run_id, first.keeper.spawn(request.clone()).await.unwrap());
    }
    let mut left = Vec::new();
    for path in &litter {
        left.push(pid_in(path).await);
    }
    bench.line(&plain, "line 5").await;
    bench.line(&sealed, "line 5").await;
    kill_9(first.info);
    assert_eq!(until_lost(&mut first).await, KeeperEvent::Lost);
    assert!(matches!(first.keeper.list().await, Err(KeeperError::Lost)));
    until("the short one ends unseen", || !lives(spawned[&ends.run_id].pid)).await;

    let mut second = bench.connect().await;
    assert!(second.fresh);
    assert_ne!(second.info.pid, first.info.pid);
    until_over(&second.keeper, ends.run_id).await;
    for request in [&plain, &sealed, &leaver] {
        let report = report(&second.keeper, request.run_id).await;
        assert_eq!(Spawned { pid: report.pid, start_ticks: report.start_ticks }, spawned[&request.run_id]);
        assert_eq!((report.state, report.adopted), (RunState::Running, true));
        assert_eq!(second.keeper.spawn(request.clone()).await.unwrap(), spawned[&request.run_id]);
    }

    // What is sealed waits for its key; the rest goes on.
    let seen = numbers(&bench.lines(&sealed)).len();
    let next = format!("line {}", numbers(&bench.lines(&plain)).last().unwrap() + 50);
    bench.line(&plain, &next).await;
    assert!(report(&second.keeper, sealed.run_id).await.awaits_key);
    assert_eq!(numbers(&bench.lines(&sealed)).len(), seen);
    second.keeper.resume(sealed.run_id, key.0).await.unwrap();
    let next = format!("line {}", numbers(&bench.lines(&sealed)).last().unwrap() + 50);
    bench.line(&sealed, &next).await;

    for request in [&plain, &sealed, &leaver] {
        second.keeper.stop(request.run_id, 200).await.unwrap();
        assert_eq!(exit_of(&mut second, request.run_id).await, ExitStatus::Unknown);
        assert!(!lives(spawned[&request.run_id].pid));
        // Nothing twice; what the killed keeper had read and not written may be missing.
        let seen = numbers(&bench.lines(request));
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "a line was doubled");
    }
    for pid in left {
        assert!(!lives(pid), "a process that was left behind lives");
    }
}

async fn until_lost(connected: &mut Connected) -> KeeperEvent {
    let lost = tokio::time::timeout(PATIENCE, async {
        loop {
            match connected.events.recv().await.unwrap() {
                KeeperEvent::Exited { .. } => {}
                KeeperEvent::Lost => return KeeperEvent::Lost,
            }
        }
    });
    lost.await.expect("the loss of the keeper was not noticed")
}

#[tokio::test]
async fn an_end_that_nobody_asked_for_survives_the_keeper() {
    let bench = Bench::new();
    let mut first = bench.connect().await;
    let request = bench.sh("exit 4");
    first.keeper.spawn(request.clone()).await.unwrap();
    exit_of(&mut first, request.run_id).await;
    kill_9(first.info);
    until_lost(&mut first).await;
    let mut second = bench.connect().await;
    let ended = report(&second.keeper, request.run_id).await;
    assert!(matches!(ended.state, RunState::Exited { status: ExitStatus::Code(4), .. }));
    second.keeper.forget(request.run_id).await.unwrap();
    kill_9(second.info);
    until_lost(&mut second).await;
    assert_eq!(bench.connect().await.keeper.list().await.unwrap(), []);
}

/// A run's file as the keeper writes it.
#[derive(serde::Serialize, serde::Deserialize)]
struct RunFile {
    run_id: RunId,
    instance_id: InstanceId,
    boot_id: String,
    process: Option<(u32, u64)>,
    sealed: bool,
    stop_timeout_ms: u64,
    exit: Option<(ExitStatus, tenantry_journal::time::Timestamp)>,
}

#[tokio::test]
async fn a_reused_pid_is_never_signalled() {
    let bench = Bench::new();
    let mut first = bench.connect().await;
    let request = bench.sh(COUNT);
    let spawned = first.keeper.spawn(request.clone()).await.unwrap();
    kill_9(first.info);
    until_lost(&mut first).await;
    kill_9(spawned);
    // The recorded process is gone, and its pid belongs to an innocent one: the same pid,
    // another start time. A session leader with a child, as a real one would be.
    let path = bench.data().join("keeper/runs").join(request.run_id.to_string()).join("run");
    let mut file: RunFile = rmp_serde::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(file.process, Some((spawned.pid, spawned.start_ticks)));
    let child = bench.dir.path().join("child");
    let script = format!("sleep 1000 & echo $! > {}; wait", child.display());
    let mut innocent = std::process::Command::new("setsid");
    innocent.args(["sh", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut innocent = innocent.spawn().unwrap();
    let child = pid_in(&child).await;
    let (_, ticks) = stat(innocent.id()).unwrap();
    file.process = Some((innocent.id(), ticks + 1));
    std::fs::write(&path, rmp_serde::to_vec_named(&file).unwrap()).unwrap();

    let second = bench.connect().await;
    until_over(&second.keeper, request.run_id).await;
    let ended = report(&second.keeper, request.run_id).await;
    second.keeper.stop(request.run_id, 0).await.unwrap();
    second.keeper.kill(request.run_id).await.unwrap();
    second.keeper.shutdown(true).await.unwrap();
    let unharmed = innocent.try_wait().unwrap().is_none() && lives(child);
    let group = rustix::process::Pid::from_raw(innocent.id() as i32).unwrap();
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    innocent.wait().unwrap();
    assert!(unharmed, "an innocent process was signalled");
    assert!(matches!(ended.state, RunState::Exited { status: ExitStatus::Unknown, .. }));
}

#[tokio::test]
async fn a_second_keeper_refuses_a_directory_that_has_one() {
    let bench = Bench::new();
    let connected = bench.connect().await;
    let mut second = std::process::Command::new(exe());
    second.args(["keeper", "--data-dir"]).arg(bench.data()).stdin(Stdio::null());
    let second = second.output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another keeper"));
    assert_eq!(connected.keeper.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_process_inherits_nothing_of_ours() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let look = "env | sort; ls /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status; ulimit -n";
    let mut request = bench.sh(look);
    request.env.insert("GIVEN".into(), "yes".into());
    connected.keeper.spawn(request.clone()).await.unwrap();
    exit_of(&mut connected, request.run_id).await;
    let mark = format!("TENANTRY_RUN={}", request.run_id);
    let pwd = format!("PWD={}", request.workdir.display());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap().to_string();
    let path = "PATH=/usr/local/bin:/usr/bin:/bin";
    let mut lines = bench.lines(&request);
    // The C library's posix_spawn ignores its own two signals, 32 and 33, until a program's
    // copy of it takes them over.
    let ignored = lines.iter().find_map(|line| line.strip_prefix("SigIgn:\t").map(str::to_owned)).unwrap();
    assert_eq!(u64::from_str_radix(&ignored, 16).unwrap() & !(0b11 << 31), 0, "{ignored}");
    lines.retain(|line| !line.starts_with("SigIgn"));
    // PWD is the shell's own, and descriptor 3 the directory that ls reads.
    let blocked = "SigBlk:\t0000000000000000";
    assert_eq!(lines, ["GIVEN=yes", path, &pwd, &mark, "0", "1", "2", "3", blocked, &limit]);
    let environ = std::fs::read(format!("/proc/{}/environ", connected.info.pid)).unwrap();
    assert_eq!(environ, b"", "the keeper itself must hold nothing of the server's environment");
}

#[tokio::test]
async fn the_keeper_holds_no_descriptor_that_its_parent_left_open() {
    let bench = Bench::new();
    let held = std::fs::File::create(bench.dir.path().join("held")).unwrap();
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
    let connected = bench.connect().await;
    let fds = std::fs::read_dir(format!("/proc/{}/fd", connected.info.pid)).unwrap();
    let open: Vec<_> = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()).collect();
    assert!(open.contains(&bench.data().join("keeper.lock")), "{open:?}");
    assert!(!open.contains(&bench.dir.path().join("held")));
}

#[tokio::test]
async fn a_data_directory_too_deep_for_a_socket_address_works_and_is_private() {
    let outer = tempfile::tempdir().unwrap();
    let deep = outer.path().join("d".repeat(100));
    std::fs::create_dir(&deep).unwrap();
    let bench = Bench::in_dir(tempfile::tempdir_in(&deep).unwrap());
    let connected = bench.connect().await;
    assert_eq!(connected.keeper.list().await.unwrap(), []);
    let mode = |name: &str| std::fs::metadata(bench.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("keeper.sock"), 0o600);
    assert_eq!(mode("keeper.lock"), 0o600);
    assert_eq!(mode("keeper.log"), 0o600);
    assert_eq!(mode("keeper/runs"), 0o700);
}

#[tokio::test]
async fn a_shutdown_without_stop_leaves_processes_to_the_next_keeper() {
    let bench = Bench::new();
    let first = bench.connect().await;
    let request = bench.sh(COUNT);
    let spawned = first.keeper.spawn(request.clone()).await.unwrap();
    bench.line(&request, "line 10").await;
    first.keeper.shutdown(false).await.unwrap();
    let mut second = bench.connect().await;
    let report = report(&second.keeper, request.run_id).await;
    assert_eq!((report.pid, report.state), (spawned.pid, RunState::Running));
    let next = format!("line {}", numbers(&bench.lines(&request)).last().unwrap() + 50);
    bench.line(&request, &next).await;
    second.keeper.stop(request.run_id, 5_000).await.unwrap();
    exit_of(&mut second, request.run_id).await;
    let seen = numbers(&bench.lines(&request));
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>(), "a line was lost or doubled");
}

#[tokio::test]
async fn tells_which_spools_have_grown() {
    let bench = Bench::new();
    let mut connected = bench.connect().await;
    let request = bench.sh("seq 1 1000; sleep 1000");
    connected.keeper.spawn(request.clone()).await.unwrap();
    let grown = tokio::time::timeout(PATIENCE, async {
        while connected.outputs.changed().await.unwrap().get(&request.instance_id) != Some(&1_000) {}
    });
    assert!(grown.await.is_ok(), "growth was not told");
    assert_eq!(bench.reader(&request).last(1, None).unwrap()[0].bytes, b"1000");
}

#[tokio::test]
async fn a_line_that_pauses_is_shown_before_its_end() {
    let bench = Bench::new();
    let connected = bench.connect().await;
    let request = bench.sh("printf 'password: '; sleep 1000");
    connected.keeper.spawn(request.clone()).await.unwrap();
    bench.line(&request, "password: ").await;
    assert_eq!(bench.output(&request)[0].shape, Shape::Piece);
}
