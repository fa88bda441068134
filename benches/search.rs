//! Search over five million lines: the time until an answer with its hundred newest lines,
//! read from the sealed spools and marked, and its true total, against SQLite FTS5 over the
//! same lines; until a line that is printed is found; bytes on disk; and `grep` of a pattern
//! that makes backtracking engines take years.
//!
//! Each query is asked of both in the same run, many times, with other words each time where
//! the kind of query allows it. FTS5 keeps its rows in the order of time, in a database that
//! is merged to one segment and in memory, and answers with `ORDER BY rowid DESC LIMIT 100`,
//! the lines marked by `highlight`, and with `count(*)`.
//!
//! `cargo bench -p tenantry-projections --bench search [-- LINES ROUNDS]`

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::machine;
use tenantry_journal::id::InstanceId;
use tenantry_journal::spool::{Entry, Key, Options, Places, Reader, Shape, Stream, Writer};
use tenantry_journal::time::Timestamp;
use tenantry_projections::search::{Names, Query, Request, Search, Sort, Source, highlights};
use uuid::Uuid;

mod support {
    pub(crate) mod lines;
    pub(crate) mod machine;
}

const LINES: u64 = 5_000_000;
const ROUNDS: u64 = 40;
const INSTANCES: u64 = 10;
const LIMIT: usize = 100;
/// How often it is measured how soon a line is found.
const NEWS: u64 = 20;
/// How often a pattern is looked for.
const GREPS: usize = 50;

struct Spools {
    dir: PathBuf,
    places: Arc<Places>,
}

fn id(n: u64) -> InstanceId {
    InstanceId(Uuid::from_u128(u128::from(n) + 1))
}

/// Every spool is sealed, as the keeper writes them.
fn key() -> Key {
    Key::new([7; 32])
}

impl Spools {
    fn writer(&self, n: u64) -> Writer {
        let options = Options { retain_bytes: 1 << 40, ..Options::default() };
        Writer::open(&self.path(n), id(n).0, Some(&key()), options).unwrap()
    }
    fn path(&self, n: u64) -> PathBuf {
        self.dir.join("spool").join(id(n).to_string())
    }
}

impl Source for Spools {
    fn instances(&self) -> std::io::Result<Vec<InstanceId>> {
        Ok((0..INSTANCES).map(id).collect())
    }
    fn reader(&self, instance: InstanceId) -> Option<Reader> {
        let dir = self.dir.join("spool").join(instance.to_string());
        Some(Reader::open(&dir, instance.0, Some(&key())).sharing(&self.places))
    }
    fn read(&self, _: u64, _: u64) {}
}

impl Names for Spools {
    fn named(&self, name: &str) -> Vec<InstanceId> {
        name.parse().map(id).into_iter().collect()
    }
    fn of_service(&self, _: &str) -> Vec<InstanceId> {
        (0..INSTANCES).map(id).collect()
    }
}

/// Kinds of queries, the same for both; `#` is another number each time.
const QUERIES: [(&str, &str); 7] = [
    ("one word in every fourth line", "request"),
    ("two words, any order", "upstream connection"),
    ("a seldom and a common word", "s# request"),
    ("a phrase", "\"database error\""),
    ("a prefix", "deliv*"),
    ("OR and NOT", "(timeout OR error) NOT pg"),
    ("a word of a few lines", "u#"),
];

fn main() {
    let (lines, rounds) = (machine::number(0, LINES), machine::number(1, ROUNDS));
    println!("{}", machine::about());
    grep();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let spools = Arc::new(Spools { dir: dir.path().into(), places: Arc::default() });
    let begun = Instant::now();
    let raw = print(&spools, lines);
    println!("\nspooled {lines} lines, {raw} bytes, in {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let source = Arc::clone(&spools) as Arc<dyn Source>;
    let (search, thread) = Search::start(dir.path().join("search"), source, || ()).unwrap();
    while search.is_indexing() || ask(&search, &spools, "", 1).1 < lines as usize {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    println!("indexed in {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let lite = fill(&dir.path().join("fts.db"), lines);
    println!("FTS5 took {:.1} s", begun.elapsed().as_secs_f64());
    disk(dir.path(), raw);
    queries(&search, &spools, &lite, lines, rounds);
    news(&search, &spools);
    search.stop();
    thread.join().unwrap();
}

fn queries(search: &Search, spools: &Spools, lite: &rusqlite::Connection, lines: u64, rounds: u64) {
    println!(
        "\n| {lines} lines, {LIMIT} newest and the total | matches | p50 | p99 | FTS5 p50 | FTS5 p99 | x FTS5, p50 | p99 |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let (mut all_ours, mut all_theirs) = (Vec::new(), Vec::new());
    for (kind, query) in QUERIES {
        let (mut own, mut other, mut total) = (Vec::new(), Vec::new(), 0);
        for round in 0..rounds {
            let query = query.replace('#', &(round * 37 % 1000).to_string());
            let begun = Instant::now();
            let (shown, found) = ask(search, spools, &query, LIMIT);
            own.push(begun.elapsed());
            let begun = Instant::now();
            let (lite_shown, lite_found) = ask_lite(lite, &query);
            other.push(begun.elapsed());
            assert_eq!((shown, found), (lite_shown, lite_found), "{query}");
            total = found;
        }
        row(kind, &total.to_string(), &own, &other);
        all_ours.extend(own);
        all_theirs.extend(other);
    }
    row("all of them", "", &all_ours, &all_theirs);
    let faster = |share| machine::verdict(at(&all_theirs, share) >= at(&all_ours, share) * 5);
    println!(
        "\np99 under 50 ms: {}; at least 5 times faster than FTS5 by the median: {}, by the p99: {}",
        machine::verdict(at(&all_ours, 0.99) < Duration::from_millis(50)),
        faster(0.5),
        faster(0.99),
    );
}

fn row(kind: &str, total: &str, own: &[Duration], other: &[Duration]) {
    let times = |share| at(other, share).as_secs_f64() / at(own, share).as_secs_f64();
    println!(
        "| {kind} | {total} | {} | {} | {} | {} | {:.1} | {:.1} |",
        machine::ms(at(own, 0.5)),
        machine::ms(at(own, 0.99)),
        machine::ms(at(other, 0.5)),
        machine::ms(at(other, 0.99)),
        times(0.5),
        times(0.99),
    );
}

fn at(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    machine::at(&sorted, share)
}

/// Writes the lines into the spools of all instances in turns; returns their bytes.
fn print(spools: &Spools, lines: u64) -> u64 {
    let mut writers: Vec<Writer> = (0..INSTANCES).map(|n| spools.writer(n)).collect();
    let (mut bytes, mut line) = (0, Vec::new());
    for n in 0..lines {
        line.clear();
        support::lines::line(n, &mut line);
        bytes += line.len() as u64;
        let (run, stream, shape) = (Uuid::nil(), Stream::Stdout, Shape::Line);
        // A thousand lines a millisecond would never be told apart.
        let at = Timestamp(1_700_000_000_000 + n / 10);
        let text = line.strip_suffix(b"\n").unwrap();
        let writer = writers.get_mut((n % INSTANCES) as usize).unwrap();
        writer.append(&Entry { run, stream, at, bytes: text, shape }).unwrap();
    }
    writers.iter_mut().for_each(|writer| writer.flush().unwrap());
    bytes
}

fn disk(dir: &Path, raw: u64) {
    let share = |name: &str| size(&dir.join(name)) as f64 / raw as f64;
    let (spool, index, lite) = (share("spool"), share("search"), share("fts.db"));
    println!(
        "\nbytes on disk ÷ raw: spool {spool:.3}, index {index:.3}, both {:.3}; FTS5 {lite:.3}",
        spool + index
    );
    println!(
        "at most 0.5, the lines alone: {}; with the index: {}",
        machine::verdict(spool <= 0.5),
        machine::verdict(spool + index <= 0.5)
    );
}

fn size(path: &Path) -> u64 {
    match path.metadata() {
        Ok(meta) if meta.is_dir() => {
            std::fs::read_dir(path).unwrap().map(|entry| size(&entry.unwrap().path())).sum()
        }
        Ok(meta) => meta.len(),
        Err(_) => 0,
    }
}

/// How many lines are shown, and how many there are.
fn ask(search: &Search, spools: &Spools, query: &str, limit: usize) -> (usize, usize) {
    let query = Query::parse(query).unwrap();
    let request = Request {
        query: &query,
        names: spools,
        allowed: None,
        since: None,
        until: None,
        sort: Sort::Newest,
        limit,
        offset: 0,
    };
    let found = search.find(&request).unwrap();
    let mut shown = 0;
    for n in 0..INSTANCES {
        let own = found.hits.iter().filter(|hit| hit.instance == id(n));
        let positions: Vec<u64> = own.map(|hit| hit.position).collect();
        if positions.is_empty() {
            continue;
        }
        for record in spools.reader(id(n)).unwrap().at(&positions).unwrap() {
            let marked = highlights(&query, std::str::from_utf8(&record.bytes).unwrap());
            assert!(query == Query::All || !marked.is_empty());
            shown += 1;
        }
    }
    (shown, found.total)
}

fn fill(path: &Path, lines: u64) -> rusqlite::Connection {
    let mut lite = rusqlite::Connection::open(path).unwrap();
    lite.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;
         PRAGMA mmap_size = 4294967296;
         CREATE VIRTUAL TABLE lines USING fts5(message, tokenize = \"unicode61 remove_diacritics 0\");",
    )
    .unwrap();
    let all = lite.transaction().unwrap();
    {
        let mut insert = all.prepare("INSERT INTO lines (rowid, message) VALUES (?1, ?2)").unwrap();
        let mut line = Vec::new();
        for n in 0..lines {
            line.clear();
            support::lines::line(n, &mut line);
            let text = std::str::from_utf8(line.strip_suffix(b"\n").unwrap()).unwrap();
            insert.execute((n as i64, text)).unwrap();
        }
    }
    all.commit().unwrap();
    lite.execute_batch("INSERT INTO lines (lines) VALUES ('optimize'); PRAGMA wal_checkpoint(TRUNCATE);")
        .unwrap();
    lite
}

fn ask_lite(lite: &rusqlite::Connection, query: &str) -> (usize, usize) {
    let mut newest = lite
        .prepare_cached(
            "SELECT highlight(lines, 0, '[', ']') FROM lines WHERE lines MATCH ?1 ORDER BY rowid DESC LIMIT 100",
        )
        .unwrap();
    let shown = newest.query_map([query], |row| row.get::<_, String>(0)).unwrap();
    let shown = shown.filter(|line| line.as_ref().is_ok_and(|line| line.contains('['))).count();
    let mut count = lite.prepare_cached("SELECT count(*) FROM lines WHERE lines MATCH ?1").unwrap();
    let total: i64 = count.query_row([query], |row| row.get(0)).unwrap();
    (shown, total as usize)
}

/// From a line's writing to its being found, one at a time, into the full index.
#[allow(
    clippy::disallowed_methods,
    reason = "lines carry the time of day, and nothing else stands here for it"
)]
fn news(search: &Search, spools: &Spools) {
    let mut writer = spools.writer(0);
    let mut took = Vec::new();
    for n in 0..NEWS {
        let word = format!("news{n}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (run, stream, at, shape) =
            (Uuid::nil(), Stream::Stdout, Timestamp(now.as_millis() as u64), Shape::Line);
        let begun = Instant::now();
        writer.append(&Entry { run, stream, at, bytes: word.as_bytes(), shape }).unwrap();
        writer.flush().unwrap();
        search.grown([id(0)]);
        while ask(search, spools, &word, 1).0 == 0 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        took.push(begun.elapsed());
    }
    let (half, most) = (at(&took, 0.5), at(&took, 0.99));
    println!(
        "\na line is found after p50 {}, p99 {}; within 2 s: {}",
        machine::ms(half),
        machine::ms(most),
        machine::verdict(most < Duration::from_secs(2)),
    );
}

/// A pattern over a megabyte that it does not match, in lines of the greatest length, beside a
/// look for a plain text in the same bytes.
fn grep() {
    let line = "a".repeat(16 * 1024 - 1) + "b";
    let lines = vec![line; 64];
    let pattern = regex::Regex::new("(a+)+$").unwrap();
    let time = |work: &dyn Fn() -> usize| {
        let times: Vec<Duration> = (0..GREPS)
            .map(|_| {
                let begun = Instant::now();
                assert_eq!(work(), 0);
                begun.elapsed()
            })
            .collect();
        (at(&times, 0.5), at(&times, 0.99))
    };
    let plain = time(&|| lines.iter().filter(|line| line.contains("aaaac")).count());
    let own = time(&|| lines.iter().filter(|line| pattern.is_match(line)).count());
    println!("\n| 1 MiB in 64 lines | p50 | p99 | x plain |");
    println!("| --- | ---: | ---: | ---: |");
    println!("| the text `aaaac` | {} | {} | 1.0 |", machine::ms(plain.0), machine::ms(plain.1));
    let times = own.0.as_secs_f64() / plain.0.as_secs_f64();
    println!("| the pattern `(a+)+$` | {} | {} | {times:.1} |", machine::ms(own.0), machine::ms(own.1));
    println!("under 50 ms: {}", machine::verdict(own.1 < Duration::from_millis(50)));
}
