//! What cgroups are found in the mount tables of machines of either version, and what is written to them.

use super::*;

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /box /sys/fs/cgroup/memory rw,relatime shared:4 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

fn table(mounts: &str, own: &str) -> Table {
    Table { mounts: mounts.to_owned(), own: own.to_owned() }
}

fn files(dir: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(dir).unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(dir.join(name), text).unwrap());
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn our_own_group_is_found_in_a_hybrid_machine() {
    let table = table(HYBRID, "9:cpu,cpuacct:/a/b\n4:memory:/box/x\n0::/\n");
    let v1 = |own: &str| Some(Place { version: Version::V1, own: own.into() });
    assert_eq!(table.place("memory"), v1("/sys/fs/cgroup/memory/x"));
    assert_eq!(table.place("cpu"), v1("/sys/fs/cgroup/cpu,cpuacct/a/b"));
    assert_eq!(table.place("cpuacct"), table.place("cpu"));
}

#[test]
fn the_unified_hierarchy_serves_only_the_controllers_that_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("service");
    files(&own.join(unified::OURSELVES), &[]);
    files(&own, &[("cgroup.controllers", "cpu pids\n")]);
    let mounts = format!("41 31 0:38 / {} rw - cgroup2 none rw\n", dir.path().display());
    // Whoever stands in the leaf for ourselves belongs to the group above it.
    for stand in ["service", "service/tenantry-main"] {
        let table = table(&mounts, &format!("0::/{stand}\n"));
        assert_eq!(table.place("cpu"), Some(Place { version: Version::V2, own: own.clone() }));
        assert_eq!(table.place("memory"), None);
    }
}

#[test]
fn limits_are_written_in_the_words_of_each_version() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, cpu, unified) = (dir.path().join("m"), dir.path().join("c"), dir.path().join("u"));
    files(&memory, &[("memory.limit_in_bytes", ""), ("memory.memsw.limit_in_bytes", "")]);
    files(&cpu, &[("cpu.shares", "")]);
    files(&unified, &[("memory.max", ""), ("memory.swap.max", ""), ("cpu.weight", "")]);
    let old = Group(vec![memory.clone(), cpu.clone()]);
    old.limit_memory(64 << 20).unwrap();
    old.weigh(50).unwrap();
    assert_eq!(read(memory.join("memory.limit_in_bytes")), "67108864");
    assert_eq!(read(memory.join("memory.memsw.limit_in_bytes")), "67108864");
    assert_eq!(read(cpu.join("cpu.shares")), "512");
    let new = Group(vec![unified.clone()]);
    new.limit_memory(64 << 20).unwrap();
    new.weigh(50).unwrap();
    assert_eq!(read(unified.join("memory.max")), "67108864");
    assert_eq!(read(unified.join("memory.swap.max")), "0");
    assert_eq!(read(unified.join("cpu.weight")), "50");
}

#[test]
fn usage_is_read_from_either_version() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    files(
        &old,
        &[
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.stat", "inactive_file 7\ntotal_inactive_file 400\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("cpuacct.usage", "1500000000\n"),
        ],
    );
    files(
        &new,
        &[
            ("memory.current", "2000\n"),
            ("memory.stat", "anon 5\ninactive_file 500\n"),
            ("memory.events", "low 0\noom 3\noom_kill 1\n"),
            ("cpu.stat", "usage_usec 250000\nuser_usec 1\n"),
        ],
    );
    let (old, new) = (Group(vec![old]), Group(vec![new]));
    assert_eq!((old.memory_bytes(), old.oom_kills(), old.cpu_seconds()), (Some(600), 2, Some(1.5)));
    assert_eq!((new.memory_bytes(), new.oom_kills(), new.cpu_seconds()), (Some(1500), 1, Some(0.25)));
}

#[test]
fn a_machine_without_controllers_says_what_has_no_effect() {
    let none = Cgroups { name: "x".into(), memory: None, cpu: None, accounting: None };
    let limits = Limits { memory_limit_mb: Some(1), cpu_shares: Some(1), ..Limits::default() };
    let words = none.lacking(&limits);
    assert_eq!(words.len(), 2);
    assert!(words[0].starts_with("memory_limit_mb has no effect"), "{words:?}");
    assert!(none.lacking(&Limits::default()).is_empty());
}

/// The unified hierarchy of this machine, and a controller that it can hand on.
fn real_unified() -> Result<(PathBuf, Vec<String>), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("this needs root".into());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).ok_or("there is no cgroup2")?;
    let root = PathBuf::from(line.split(' ').nth(4).unwrap());
    let controllers = read(root.join("cgroup.controllers"));
    let controllers: Vec<String> = controllers.split_whitespace().map(str::to_owned).collect();
    if controllers.is_empty() {
        return Err("every controller is bound to cgroup v1".into());
    }
    Ok((root, controllers))
}

const SKIPPED: &str = "SKIPPED, AND NOTHING PROVED: ";

fn skip(why: &str) {
    use std::io::Write as _;
    let text = format!("{SKIPPED}{why}\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// Puts this process back and removes what is left, however the test ends.
struct Own {
    root: PathBuf,
    own: PathBuf,
    /// What the root group hands on since this test asked it to.
    handed_on: Vec<String>,
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = std::fs::write(self.root.join("cgroup.procs"), std::process::id().to_string());
        let below = [self.own.join("base/run"), self.own.join("base"), self.own.join(unified::OURSELVES)];
        below.iter().chain([&self.own]).for_each(|dir| drop(std::fs::remove_dir(dir)));
        for controller in &self.handed_on {
            let _ = std::fs::write(self.root.join("cgroup.subtree_control"), format!("-{controller}"));
        }
    }
}

/// What the tests above do with made-up files, on the machine's own hierarchy, as far as its
/// controllers are not bound to version 1.
#[test]
fn a_real_unified_hierarchy_takes_what_is_written_to_it() {
    // In a process of its own, which moves between groups.
    let mut process = std::process::Command::new(std::env::current_exe().unwrap());
    process.args([
        "--exact",
        "--ignored",
        "--nocapture",
        "keeper::cgroup::tests::on_a_real_unified_hierarchy",
    ]);
    let output = process.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().filter_map(|line| line.strip_prefix(SKIPPED)).for_each(skip);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
#[ignore = "started by the test above"]
fn on_a_real_unified_hierarchy() {
    let (root, controllers) = match real_unified() {
        Ok(found) => found,
        Err(why) => return skip(&format!("of cgroup v2: {why}")),
    };
    let name = format!("tenantry-test-{}", std::process::id());
    let mut own = Own { own: root.join(name), root, handed_on: Vec::new() };
    std::fs::create_dir(&own.own).unwrap();
    // As a service stands in its group: then that may hand on nothing before it steps aside.
    std::fs::write(own.own.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    let base = own.own.join("base");
    std::fs::create_dir(&base).unwrap();
    for controller in &controllers {
        // The root group hands on first; on a machine of version 2 systemd has done so.
        let all = own.root.join("cgroup.subtree_control");
        let is_on = read(all.clone()).split_whitespace().any(|word| word == controller);
        if !is_on && std::fs::write(all, format!("+{controller}")).is_ok() {
            own.handed_on.push(controller.clone());
        }
        if read(own.own.join("cgroup.controllers")).contains(controller.as_str()) {
            unified::enable(&own.own, &base, controller).unwrap();
        }
    }
    assert!(
        read(own.own.join(unified::OURSELVES).join("cgroup.procs")).contains(&std::process::id().to_string())
    );
    let run = base.join("run");
    std::fs::create_dir(&run).unwrap();
    let group = Group(vec![run.clone()]);
    group.limit_memory(64 << 20).unwrap();
    group.weigh(50).unwrap();
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    std::fs::write(run.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    assert_eq!((group.pids(), group.size()), (BTreeSet::from([sleeper.id()]), 1));
    assert!(group.remove().is_err(), "somebody is in it");
    for controller in ["memory", "cpu"] {
        if !controllers.iter().any(|found| found == controller) {
            skip(&format!("of cgroup v2 {controller}: it is bound to cgroup v1 here"));
        } else if controller == "memory" {
            assert_eq!(read(run.join("memory.max")), "67108864\n");
            assert!(group.memory_bytes().is_some_and(|bytes| bytes < 64 << 20));
            assert_eq!(group.oom_kills(), 0);
        } else {
            assert_eq!(read(run.join("cpu.weight")), "50\n");
        }
    }
    assert!(group.cpu_seconds().is_some());
    assert!(group.kill(), "cgroup.kill is refused");
    let status = sleeper.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(group.pids().is_empty());
    group.remove().unwrap();
    assert!(!run.exists());
}
