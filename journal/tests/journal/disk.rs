//! Real disks that fail: a power cut and a full disk, on small file systems of their own.
//!
//! These need root, loop devices and `mkfs.ext4`; without them they say loudly that they
//! proved nothing. The writer is a process of its own, started from this test binary, so
//! that its death frees the file system.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::codec::EncodedCommit;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::scan;
use tenantry_journal::store::sled::{Sizes, SledJournal};
use tenantry_journal::store::{Journal, StoreError, StoredCommit};

use crate::support::*;

/// Tells the writer process where to write, and with which store.
const WRITER_DIR: &str = "TENANTRY_TEST_WRITER_DIR";
const WRITER_STORE: &str = "TENANTRY_TEST_WRITER_STORE";
/// Acknowledged before the power is cut.
const ENOUGH: u64 = 500;

/// A file system in a file, mounted; unmounted when dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None`, told loudly, where it cannot be had.
    fn new(megabytes: u64) -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        let disk = Disk { dir };
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
        if made.and_then(|()| disk.mount()).is_err() {
            let text = "SKIPPED, AND NOTHING PROVED: this test needs root, loop devices and mkfs.ext4\n";
            std::io::stderr().write_all(text.as_bytes()).unwrap();
            return None;
        }
        Some(disk)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn mount(&self) -> Result<(), String> {
        let image = self.dir.path().join("image");
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(self.path()))
    }

    fn unmount(&self) -> Result<(), String> {
        run(Command::new("umount").arg(self.path()))
    }

    /// Cuts the power: what the disk has it keeps, what the kernel still held is gone.
    /// False when the system offers no way.
    fn cut(&self) -> bool {
        // EXT4_IOC_SHUTDOWN with NOLOGFLUSH. There is no safe way to it from Rust.
        let script = "import fcntl,os,struct,sys\n\
                      fcntl.ioctl(os.open(sys.argv[1],os.O_RDONLY),0x8004587d,struct.pack('I',2))";
        run(Command::new("python3").args(["-c", script]).arg(self.path())).is_ok()
    }

    fn power_on(&self) {
        self.unmount().unwrap();
        self.mount().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The seeded bug: acknowledges what is only in the kernel's memory.
struct AcknowledgesTooEarly(SledJournal);

impl Journal for AcknowledgesTooEarly {
    fn append(&self, commit: &EncodedCommit) -> Result<(), StoreError> {
        self.0.append(commit)
    }
    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError> {
        self.0.read(from, max_bytes)
    }
    fn head(&self) -> Seq {
        self.0.head()
    }
    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.0.size_on_disk()
    }
}

/// Not a test by itself: the writer process. Records as long as it can and prints the last
/// seq that was acknowledged after each answer.
#[test]
fn writer_process() {
    let Some(dir) = std::env::var_os(WRITER_DIR) else {
        return;
    };
    let opened = tenantry_journal::open(Path::new(&dir)).unwrap();
    let tenant = TenantId(uuid(7));
    let store: Arc<dyn Journal> = if std::env::var_os(WRITER_STORE).is_some_and(|store| store == "early") {
        let store = Arc::into_inner(opened.store).expect("nobody else has it");
        Arc::new(AcknowledgesTooEarly(store))
    } else if std::env::var_os(WRITER_STORE).is_some_and(|store| store == "busy") {
        // Rounds, batches and volumes so short that all of them end all the time.
        let sizes = Sizes {
            volume: 400_000,
            half: 40_000,
            batch: 3000,
            idle: Duration::from_millis(1),
            ..Sizes::default()
        };
        drop(opened.store);
        Arc::new(SledJournal::open_with(&Path::new(&dir).join("journal"), sizes).unwrap())
    } else {
        opened.store
    };
    let rig = Rig::start(store, opened.keyring);
    rig.keyring.create(tenant.into());
    let mut out = std::io::stdout();
    let mut number = 0u16;
    while let Ok(seqs) = rig.record(vec![numbered(number), updated(tenant, "n".repeat(900))]) {
        writeln!(out, "acknowledged {}", seqs[1]).unwrap();
        number = number.wrapping_add(1);
    }
    assert_eq!(rig.events().len() as u64, rig.feed.head().0.max(rig.store.head().0), "reads go on");
    writeln!(out, "poisoned, {} readable", rig.feed.head()).unwrap();
    // Ends when it is told to, so that nothing is flushed on the way out before the cut.
    let _ = std::io::stdin().read(&mut [0]);
}

struct Writer {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    _stdin: ChildStdin,
}

impl Writer {
    fn start(dir: &Path, store: &str) -> Writer {
        let test = std::env::current_exe().unwrap();
        let mut command = if store == "lied to" {
            // A disk that says that it synced and did not: the seeded bug, one level below.
            let mut strace = Command::new("strace");
            strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]);
            strace.args(["-e", "inject=fdatasync:retval=0"]).arg(test);
            strace
        } else {
            Command::new(test)
        };
        let mut child = command
            .args(["--exact", "disk::writer_process", "--nocapture", "--test-threads=1"])
            .env(WRITER_DIR, dir)
            .env(WRITER_STORE, store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let stdin = child.stdin.take().unwrap();
        Writer { child, lines, _stdin: stdin }
    }

    /// The next line that the writer meant for us; `None` when it ended.
    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The test harness prints its own lines, and begins ours with its own words.
            if let Some(at) = line.find("acknowledged ").or_else(|| line.find("poisoned, ")) {
                return Some(line[at..].trim().to_owned());
            }
        }
    }

    fn acknowledged(&mut self) -> Option<u64> {
        self.line()?.strip_prefix("acknowledged ").map(|seq| seq.parse().unwrap())
    }

    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        let mut last = 0;
        while let Some(seq) = self.acknowledged() {
            last = seq;
        }
        self.child.wait().unwrap();
        last
    }
}

/// Records, cuts the power, and says how much was acknowledged and what came back.
fn cut_the_power(store: &str) -> Option<(u64, Result<Seq, String>)> {
    let disk = Disk::new(128)?;
    let dir = disk.path().join("data");
    let mut writer = Writer::start(&dir, store);
    let mut acknowledged = 0;
    while acknowledged < ENOUGH {
        acknowledged = writer.acknowledged().expect("the writer goes on");
    }
    if !disk.cut() {
        writer.kill();
        std::io::stderr().write_all(b"SKIPPED, AND NOTHING PROVED: no python3 to cut the power\n").unwrap();
        return None;
    }
    let acknowledged = acknowledged.max(writer.kill());
    disk.power_on();
    let found = tenantry_journal::open(&dir).map_err(|error| error.to_string()).map(|opened| {
        let head = opened.tail.head;
        let verified = scan::verify(&*opened.store, head).unwrap();
        assert!(verified.bad.is_none(), "{:?}", verified.bad);
        let vault = opened.keyring as _;
        assert_eq!(read_all(&*opened.store, &vault).len() as u64, head.0, "every event opens");
        head
    });
    Some((acknowledged, found))
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let Some((acknowledged, found)) = cut_the_power("sled") else {
        return;
    };
    let head = found.expect("the journal opens");
    assert!(head.0 >= acknowledged, "{acknowledged} were acknowledged, {head} came back");
}

/// Proof that the test above can fail.
#[test]
fn a_store_that_acknowledges_before_the_sync_is_caught_by_a_power_cut() {
    let Some((acknowledged, found)) = cut_the_power("early") else {
        return;
    };
    // Refusing to open is as good a catch as opening with less.
    let head = found.unwrap_or(Seq::ZERO);
    assert!(head.0 < acknowledged, "all {acknowledged} came back: the power cut cuts nothing");
}

#[test]
fn a_power_cut_while_events_move_into_the_store_loses_nothing() {
    for _ in 0..3 {
        let Some((acknowledged, found)) = cut_the_power("busy") else {
            return;
        };
        let head = found.expect("the journal opens");
        assert!(head.0 >= acknowledged, "{acknowledged} were acknowledged, {head} came back");
    }
}

/// Proof that it is the sync that the tests above see.
#[test]
fn a_sync_that_does_nothing_is_caught_by_a_power_cut() {
    if Command::new("strace").arg("-V").output().is_err() {
        std::io::stderr().write_all(b"SKIPPED, AND NOTHING PROVED: this test needs strace\n").unwrap();
        return;
    }
    let Some((acknowledged, found)) = cut_the_power("lied to") else {
        return;
    };
    let head = found.unwrap_or(Seq::ZERO);
    assert!(head.0 < acknowledged, "all {acknowledged} came back: fdatasync is not what made them durable");
}

#[test]
fn a_full_disk_ends_writing_and_loses_nothing() {
    let Some(disk) = Disk::new(48) else {
        return;
    };
    let dir = disk.path().join("data");
    let mut writer = Writer::start(&dir, "sled");
    let mut acknowledged = 0;
    let readable: u64 = loop {
        let line = writer.line().expect("the writer says how it ended");
        match line.strip_prefix("acknowledged ") {
            Some(seq) => acknowledged = seq.parse().unwrap(),
            None => break line.split(' ').nth(1).unwrap().parse().unwrap(),
        }
    };
    assert_eq!(readable, acknowledged, "what was acknowledged is readable, and nothing else");
    assert!(acknowledged > 100, "{acknowledged} fitted");
    writer.kill();
    // On the full disk it opens, or refuses and says why; with room it opens.
    if let Err(error) = tenantry_journal::open(&dir) {
        let text = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        assert!(text.contains("No space left"), "{text}");
    }
    let image = disk.dir.path().join("image");
    disk.unmount().unwrap();
    std::fs::File::options().write(true).open(&image).unwrap().set_len(96 << 20).unwrap();
    let _ = run(Command::new("e2fsck").args(["-f", "-y"]).arg(&image));
    run(Command::new("resize2fs").arg(&image)).unwrap();
    disk.mount().unwrap();
    let opened = tenantry_journal::open(&dir).unwrap();
    assert!(opened.tail.head.0 >= acknowledged, "{acknowledged} acknowledged, {:?}", opened.tail);
    let vault = opened.keyring as _;
    assert_eq!(read_all(&*opened.store, &vault).len() as u64, opened.tail.head.0);
}

/// Enough to open a journal, and less than has to stay free.
const LEFT: u64 = 40 << 20;

#[test]
fn plain_files_are_not_made_of_the_last_of_a_disk() {
    let Some(disk) = Disk::new(160) else {
        return;
    };
    let dir = disk.path().join("data");
    let sizes = Sizes { volume: 3000, ..Sizes::default() };
    let begin = || {
        let store = SledJournal::open_with(&dir.join("journal"), sizes).unwrap();
        Rig::start(Arc::new(store), keyring(&dir))
    };
    let plain = || {
        let entries = std::fs::read_dir(dir.join("journal/plain"));
        entries.map_or(0, |entries| entries.filter(|entry| entry.is_ok()).count())
    };
    let rig = begin();
    (0..20).for_each(|i| drop(rig.record((0..10).map(|j| numbered(i * 10 + j)).collect()).unwrap()));
    drop(rig);
    let _ = std::fs::remove_dir_all(dir.join("journal/plain"));
    let filler = disk.path().join("filler");
    let free = || rustix::fs::statvfs(disk.path()).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
    std::fs::write(&filler, vec![7; usize::try_from(free() - LEFT).unwrap()]).unwrap();
    let look = |rig: &Rig| {
        let head = rig.store.head();
        for seq in 1..=head.0 {
            let page = scan::page(&*rig.store, &rig.vault, Seq(seq), head, 1).unwrap();
            assert_eq!(number_of(page.first().unwrap()), seq as u16 - 1);
        }
    };
    let rig = begin();
    look(&rig);
    // Whoever makes them has ended, in the other tests of this process too.
    while threads().iter().any(|name| name == "journal-plain") {
        std::thread::yield_now();
    }
    assert_eq!(plain(), 0, "{} bytes are free", free());
    drop(rig);
    std::fs::remove_file(&filler).unwrap();
    let rig = begin();
    let begun = std::time::Instant::now();
    while plain() < 2 {
        assert!(begun.elapsed() < PATIENCE);
        look(&rig);
    }
}

/// The names of this process's threads.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}
