//! Search over five million lines: the time until an answer with its hundred newest lines,
//! read from the spools, and its true total, against SQLite FTS5 over the same lines.
//!
//! Each query is asked of both in the same run, many times, with other words each time where
//! the kind of query allows it. FTS5 keeps its rows in the order of time and answers
//! `ORDER BY rowid DESC LIMIT 100` and `count(*)`, with the line's text.
//!
//! `cargo bench --bench search [-- LINES ROUNDS]`

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::machine;
use tenantry_journal::id::InstanceId;
use tenantry_journal::spool::{Entry, Options, Reader, Shape, Stream, Writer};
use tenantry_journal::time::Timestamp;
use tenantry_projections::search::{Names, Query, Request, Search, Sort, Source};
use uuid::Uuid;

mod support {
    pub(crate) mod lines;
    pub(crate) mod machine;
}

const LINES: u64 = 5_000_000;
const ROUNDS: u64 = 40;
const INSTANCES: u64 = 10;
const LIMIT: usize = 100;

struct Spools(PathBuf);

fn id(n: u64) -> InstanceId {
    InstanceId(Uuid::from_u128(u128::from(n) + 1))
}

impl Source for Spools {
    fn instances(&self) -> std::io::Result<Vec<InstanceId>> {
        Ok((0..INSTANCES).map(id).collect())
    }
    fn reader(&self, instance: InstanceId) -> Option<Reader> {
        Some(Reader::open(&self.0.join(instance.to_string()), instance.0, None))
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

/// Kinds of queries, ours and FTS5's; `#` is another number each time.
const QUERIES: [(&str, &str, &str); 7] = [
    ("one word in every third line", "request", "request"),
    ("two words, any order", "upstream connection", "upstream connection"),
    ("a seldom and a common word", "s# request", "s# request"),
    ("a phrase", "\"database error\"", "\"database error\""),
    ("a prefix", "deliv*", "deliv*"),
    ("OR and NOT", "(timeout OR error) NOT pg", "(timeout OR error) NOT pg"),
    ("a word of a few lines", "u#", "u#"),
];

fn main() {
    let (lines, rounds) = (machine::number(0, LINES), machine::number(1, ROUNDS));
    println!("{}", machine::about());
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let raw = print(dir.path(), lines);
    let spools = Arc::new(Spools(dir.path().into()));
    let begun = Instant::now();
    let source = Arc::clone(&spools) as Arc<dyn Source>;
    let (search, thread) = Search::start(dir.path().join("search"), source, || ()).unwrap();
    while search.is_indexing() || ask(&search, &spools, "", 1).1 < lines as usize {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    println!("indexed {lines} lines, {raw} bytes, in {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let lite = fill(&dir.path().join("fts.db"), lines);
    println!("FTS5 took {:.1} s", begun.elapsed().as_secs_f64());

    println!(
        "\n| {lines} lines, {LIMIT} newest and the total | matches | p50 | p99 | FTS5 p50 | FTS5 p99 | x FTS5, p99 |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let (mut all_ours, mut all_theirs) = (Vec::new(), Vec::new());
    for (kind, ours, theirs) in QUERIES {
        let (mut own, mut other, mut total) = (Vec::new(), Vec::new(), 0);
        for round in 0..rounds {
            let number = (round * 37 % 1000).to_string();
            let begun = Instant::now();
            let (shown, found) = ask(&search, &spools, &ours.replace('#', &number), LIMIT);
            own.push(begun.elapsed());
            let begun = Instant::now();
            let (lite_shown, lite_found) = ask_lite(&lite, &theirs.replace('#', &number));
            other.push(begun.elapsed());
            assert_eq!((shown, found), (lite_shown, lite_found), "{kind} of {number}");
            total = found;
        }
        row(kind, &total.to_string(), &own, &other);
        all_ours.extend(own);
        all_theirs.extend(other);
    }
    let (own, other) = row("all of them", "", &all_ours, &all_theirs);
    println!(
        "\np99 under 50 ms: {}; at least 5 times faster than FTS5: {}",
        machine::verdict(own < Duration::from_millis(50)),
        machine::verdict(other >= own * 5),
    );
    search.stop();
    thread.join().unwrap();
}

fn row(kind: &str, total: &str, own: &[Duration], other: &[Duration]) -> (Duration, Duration) {
    let at = |times: &[Duration], share| {
        let mut sorted = times.to_vec();
        sorted.sort();
        machine::at(&sorted, share)
    };
    println!(
        "| {kind} | {total} | {} | {} | {} | {} | {:.1} |",
        machine::ms(at(own, 0.5)),
        machine::ms(at(own, 0.99)),
        machine::ms(at(other, 0.5)),
        machine::ms(at(other, 0.99)),
        at(other, 0.99).as_secs_f64() / at(own, 0.99).as_secs_f64(),
    );
    (at(own, 0.99), at(other, 0.99))
}

/// Writes the lines into the spools of all instances in turns; returns their bytes.
fn print(dir: &Path, lines: u64) -> u64 {
    let options = Options { retain_bytes: 1 << 40, ..Options::default() };
    let mut writers: Vec<Writer> = (0..INSTANCES)
        .map(|n| Writer::open(&dir.join(id(n).to_string()), id(n).0, None, options).unwrap())
        .collect();
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
        if !positions.is_empty() {
            shown += spools.reader(id(n)).unwrap().at(&positions).unwrap().len();
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
    lite.execute_batch("INSERT INTO lines (lines) VALUES ('optimize');").unwrap();
    lite
}

fn ask_lite(lite: &rusqlite::Connection, query: &str) -> (usize, usize) {
    let mut newest = lite
        .prepare_cached("SELECT message FROM lines WHERE lines MATCH ?1 ORDER BY rowid DESC LIMIT 100")
        .unwrap();
    let shown = newest.query_map([query], |row| row.get::<_, String>(0)).unwrap().count();
    let mut count = lite.prepare_cached("SELECT count(*) FROM lines WHERE lines MATCH ?1").unwrap();
    let total: i64 = count.query_row([query], |row| row.get(0)).unwrap();
    (shown, total as usize)
}
