//! The index over real spools.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use tenantry_journal::spool::{Entry, Options, Shape, Stream, Writer};
use tenantry_journal::time::Timestamp;
use uuid::Uuid;

use super::*;

mod model;

const PATIENCE: Duration = Duration::from_secs(30);

/// Spools in a directory, named by their numbers.
struct Spools {
    dir: tempfile::TempDir,
    read: Mutex<(u64, u64)>,
}

fn id(n: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(n))
}

impl Spools {
    fn new() -> Arc<Spools> {
        Arc::new(Spools { dir: tempfile::tempdir().unwrap(), read: Mutex::default() })
    }

    fn path(&self, instance: InstanceId) -> PathBuf {
        self.dir.path().join("spool").join(instance.to_string())
    }

    fn index(&self) -> PathBuf {
        self.dir.path().join("search")
    }

    fn writer(&self, n: u128) -> Writer {
        let options = Options { segment_bytes: 2_000, retain_bytes: 1 << 30, retain_ms: None };
        Writer::open(&self.path(id(n)), id(n).0, None, options).unwrap()
    }

    fn print(&self, n: u128, lines: &[(u64, &str)]) {
        let mut writer = self.writer(n);
        for (at, line) in lines {
            let (run, stream, at) = (Uuid::nil(), Stream::Stdout, Timestamp(*at));
            writer.append(&Entry { run, stream, at, bytes: line.as_bytes(), shape: Shape::Line }).unwrap();
        }
        writer.flush().unwrap();
    }
}

impl Source for Spools {
    fn instances(&self) -> std::io::Result<Vec<InstanceId>> {
        let entries = std::fs::read_dir(self.dir.path().join("spool"));
        Ok(entries
            .into_iter()
            .flatten()
            .map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect())
    }

    fn reader(&self, instance: InstanceId) -> Option<Reader> {
        Some(Reader::open(&self.path(instance), instance.0, None))
    }

    fn read(&self, lines: u64, lost: u64) {
        let mut read = self.read.lock().unwrap();
        *read = (read.0 + lines, read.1 + lost);
    }
}

/// Instances are called by their numbers; the service `even` has those of even number.
struct ByNumber;

impl Names for ByNumber {
    fn named(&self, name: &str) -> Vec<InstanceId> {
        name.parse().map(id).into_iter().collect()
    }
    fn of_service(&self, service: &str) -> Vec<InstanceId> {
        (1..10).filter(|n| (n % 2 == 0) == (service == "even")).map(id).collect()
    }
}

struct Bench {
    spools: Arc<Spools>,
    search: Search,
    thread: Option<JoinHandle<()>>,
}

impl Bench {
    fn start(spools: &Arc<Spools>) -> Bench {
        let source = Arc::clone(spools) as Arc<dyn Source>;
        let (search, thread) = Search::start(spools.index(), source, || ()).unwrap();
        Bench { spools: Arc::clone(spools), search, thread: Some(thread) }
    }

    fn ask(&self, query: &str, change: impl FnOnce(&mut Request<'_>)) -> Result<Found, SearchError> {
        let query = Query::parse(query).unwrap();
        let mut request = Request {
            query: &query,
            names: &ByNumber,
            allowed: None,
            since: None,
            until: None,
            sort: Sort::Newest,
            limit: 10,
            offset: 0,
        };
        change(&mut request);
        self.search.find(&request)
    }

    /// Instance and position of what is found.
    fn find(&self, query: &str) -> Vec<(u128, u64)> {
        pairs(&self.ask(query, |_| ()).unwrap())
    }

    fn until(&self, mut wanted: impl FnMut(&Bench) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted(self) {
            assert!(Instant::now() < end, "it never came so far");
            std::thread::yield_now();
        }
    }

    /// Until so many lines are in.
    fn has(&self, lines: usize) {
        self.until(|bench| bench.ask("", |_| ()).is_ok_and(|found| found.total == lines && !found.indexing));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.search.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pairs(found: &Found) -> Vec<(u128, u64)> {
    found.hits.iter().map(|hit| (hit.instance.0.as_u128(), hit.position)).collect()
}

fn sample() -> Arc<Spools> {
    let spools = Spools::new();
    spools.print(
        1,
        &[
            (10, "database error connecting to pg"),
            (30, "request completed in 12 ms"),
            (50, "error: the database is gone"),
        ],
    );
    spools.print(
        2,
        &[
            (20, "{\"level\":\"warn\",\"msg\":\"databases are slow\"}"),
            (40, "user-42 logged in"),
            (40, "done"),
        ],
    );
    spools
}

#[test]
fn words_phrases_prefixes_fields_and_their_combinations_find_the_newest_first() {
    let bench = Bench::start(&sample());
    bench.has(6);
    assert_eq!(bench.find("error database"), [(1, 3), (1, 1)]);
    assert_eq!(bench.find("\"database error\""), [(1, 1)]);
    assert_eq!(bench.find("databa*"), [(1, 3), (2, 1), (1, 1)]);
    assert_eq!(bench.find("databa* NOT error"), [(2, 1)]);
    assert_eq!(bench.find("pg OR (user-42 AND logged)"), [(2, 2), (1, 1)]);
    assert_eq!(bench.find("user-4*"), [(2, 2)]);
    assert_eq!(bench.find("level:error"), [(1, 3)]);
    assert_eq!(bench.find("level:warn slow"), [(2, 1)]);
    assert_eq!(bench.find("instance:2"), [(2, 3), (2, 2), (2, 1)]);
    assert_eq!(bench.find("service:even done"), [(2, 3)]);
    assert_eq!(bench.find("NOT service:even"), [(1, 3), (1, 2), (1, 1)]);
    assert_eq!(bench.find("nothing"), []);
    assert_eq!(bench.find("instance:77"), []);
}

#[test]
fn limits_times_and_reach_narrow_the_answer_and_the_total_is_true() {
    let bench = Bench::start(&sample());
    bench.has(6);
    let page = bench.ask("", |r| (r.limit, r.offset) = (2, 1)).unwrap();
    assert_eq!((pairs(&page), page.total), (vec![(2, 3), (2, 2)], 6));
    let some = bench.ask("", |r| (r.since, r.until) = (Some(20), Some(40))).unwrap();
    assert_eq!((pairs(&some), some.total), (vec![(2, 3), (2, 2), (1, 2), (2, 1)], 4));
    let own = bench.ask("databa*", |r| r.allowed = Some(vec![id(2)])).unwrap();
    assert_eq!((pairs(&own), own.total), (vec![(2, 1)], 1));
    assert_eq!(bench.ask("", |r| r.allowed = Some(vec![])).unwrap().total, 0);
    let best = bench.ask("database OR error", |r| r.sort = Sort::Relevance).unwrap();
    assert_eq!(best.total, 2);
    assert_eq!(bench.ask("", |r| (r.limit, r.offset) = (5, 99)).unwrap().hits, []);
}

#[test]
fn what_is_printed_is_found_and_the_index_goes_on_after_its_end() {
    let spools = sample();
    let bench = Bench::start(&spools);
    bench.has(6);
    let begun = Instant::now();
    spools.print(1, &[(60, "late news")]);
    bench.search.grown([id(1)]);
    bench.until(|bench| bench.find("late") == [(1, 4)]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop(bench);
    assert_eq!(*spools.read.lock().unwrap(), (7, 0));
    spools.print(2, &[(70, "later news")]);
    let bench = Bench::start(&spools);
    bench.until(|bench| bench.find("news") == [(2, 4), (1, 4)]);
    assert_eq!(spools.read.lock().unwrap().0, 8, "only what is new was read");
}

fn damage(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        if path.extension().is_some_and(|e| e != "lock" && e != "json") && !bytes.is_empty() {
            bytes[middle] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

#[test]
fn an_index_of_an_earlier_layout_is_built_again() {
    let spools = sample();
    let bench = Bench::start(&spools);
    bench.has(6);
    drop(bench);
    let meta = spools.index().join("meta.json");
    let text = std::fs::read_to_string(&meta).unwrap();
    let earlier = text.replace("\\\"version\\\":3", "\\\"version\\\":2");
    assert_ne!(text, earlier, "the test would prove nothing");
    std::fs::write(&meta, earlier).unwrap();
    let before = spools.read.lock().unwrap().0;
    let bench = Bench::start(&spools);
    bench.has(6);
    assert_eq!(spools.read.lock().unwrap().0, before + 6, "every line was read again");
    assert_eq!(bench.find("error database"), [(1, 3), (1, 1)]);
}

#[test]
fn a_damaged_or_deleted_index_is_built_again() {
    let spools = sample();
    let bench = Bench::start(&spools);
    bench.has(6);
    drop(bench);
    damage(&spools.index());
    let bench = Bench::start(&spools);
    bench.has(6);
    assert_eq!(bench.find("error database"), [(1, 3), (1, 1)]);
    // While it serves.
    std::fs::remove_dir_all(spools.index()).unwrap();
    spools.print(1, &[(60, "after the loss")]);
    bench.search.grown([id(1)]);
    bench.until(|bench| bench.spools.index().join("meta.json").exists());
    bench.has(7);
    assert_eq!(bench.find("loss"), [(1, 4)]);
}

#[test]
fn an_index_that_is_damaged_while_it_serves_is_built_again() {
    let spools = sample();
    let bench = Bench::start(&spools);
    bench.has(6);
    // In their place, as a bad disk does it: what is open stays open.
    for entry in std::fs::read_dir(spools.index()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "term") {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            let len = file.metadata().unwrap().len() as usize;
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xff; len], 0).unwrap();
        }
    }
    let mut refused = 0;
    bench.until(|bench| {
        let found = bench.ask("error database", |_| ());
        refused += usize::from(found.is_err());
        found.is_ok_and(|found| pairs(&found) == [(1, 3), (1, 1)])
    });
    assert!(refused > 0, "the test would prove nothing");
    bench.has(6);
}

/// Whether a word stands in any file: in the lists of a segment that counts, or in a segment
/// that does not count any more and lies there still.
fn holds(dir: &Path, word: &str) -> bool {
    let index = tantivy::Index::open(squeezed::Squeezed::open(dir).unwrap()).unwrap();
    let text = index.schema().get_field("text").unwrap();
    let segments = index.reader().unwrap().searcher().segment_readers().to_vec();
    let term = tantivy::Term::from_field_text(text, word);
    let listed = segments
        .iter()
        .any(|segment| segment.inverted_index(text).unwrap().get_term_info(&term).unwrap().is_some());
    let known: BTreeSet<String> =
        index.searchable_segment_ids().unwrap().iter().map(|id| id.uuid_string()).collect();
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let strays = files.filter(|path| path.extension().is_some_and(|kind| kind == "term"));
    let mut strays = strays.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    listed || strays.any(|stray| !known.contains(&stray))
}

#[test]
fn what_is_forgotten_is_in_no_file_any_more_and_does_not_come_back() {
    let spools = sample();
    spools.print(3, &[(80, "zweihundertfuenfzig")]);
    let bench = Bench::start(&spools);
    bench.has(7);
    assert!(holds(&spools.index(), "zweihundertfuenfzig"), "the test would prove nothing");
    bench.search.forget(&[id(3)]);
    assert_eq!(bench.find("zweihundertfuenfzig"), []);
    assert!(!holds(&spools.index(), "zweihundertfuenfzig"));
    bench.search.look_at_all();
    spools.print(1, &[(90, "marker")]);
    bench.search.grown([id(1)]);
    bench.until(|bench| bench.find("marker").len() == 1);
    assert_eq!(bench.find("zweihundertfuenfzig"), []);
    assert_eq!(bench.find("error database"), [(1, 3), (1, 1)]);
}

#[test]
fn a_spool_that_is_gone_at_the_start_is_forgotten() {
    let spools = sample();
    drop({
        let bench = Bench::start(&spools);
        bench.has(6);
        bench
    });
    std::fs::remove_dir_all(spools.path(id(2))).unwrap();
    let bench = Bench::start(&spools);
    bench.has(3);
    assert_eq!(bench.find("databa*"), [(1, 3), (1, 1)]);
}

#[test]
fn many_lines_over_many_segments_stay_in_order_and_are_counted() {
    let spools = Spools::new();
    for n in 1..=3 {
        let lines: Vec<(u64, String)> =
            (0..4_000).map(|i| (i * 3 + n as u64, format!("request {i} of many"))).collect();
        let lines: Vec<(u64, &str)> = lines.iter().map(|(at, line)| (*at, line.as_str())).collect();
        spools.print(n, &lines);
    }
    let bench = Bench::start(&spools);
    bench.has(12_000);
    let found = bench.ask("request many", |r| r.limit = 6).unwrap();
    assert_eq!(pairs(&found), [(3, 4_000), (2, 4_000), (1, 4_000), (3, 3_999), (2, 3_999), (1, 3_999)]);
    assert_eq!(found.total, 12_000);
    let deep = bench.ask("request", |r| (r.limit, r.offset) = (2, 11_998)).unwrap();
    assert_eq!(pairs(&deep), [(2, 1), (1, 1)]);
}
