//! What is found, line by line, against a look at every line.

use super::*;
use crate::output::level::Level;
use crate::search::tokens;

const PRINTERS: u128 = 3;
const BATCHES: u64 = 4;
/// Lines of each printer in each batch: some words are in most of a segment, some in few.
const LINES: u64 = 700;

struct Line {
    printer: u128,
    position: u64,
    at: u64,
    text: String,
}

/// A line of words that are common, seldom and unique, often more than once.
fn text(n: u64) -> String {
    let mut bytes = blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof();
    let mut pick = || {
        let mut byte = [0];
        bytes.fill(&mut byte);
        usize::from(byte[0])
    };
    let common = ["error", "the", "database", "request", "time", "timeout"];
    let words = 3 + pick() % 6;
    let mut line = ["", "WARN ", "ERROR ", ""][pick() % 4].to_owned();
    for _ in 0..words {
        let word = match pick() {
            0..200 => common[pick() % common.len()].to_owned(),
            200..250 => format!("s{}", pick() % 100),
            _ => format!("u{n}"),
        };
        line.push_str(&word);
        line.push(if pick() % 5 == 0 { '-' } else { ' ' });
    }
    line
}

fn matches(query: &Query, line: &Line) -> bool {
    match query {
        Query::All => true,
        Query::And(all) => all.iter().all(|one| matches(one, line)),
        Query::Or(all) => all.iter().any(|one| matches(one, line)),
        Query::Not(one) => !matches(one, line),
        Query::Words { words, prefix } => {
            let here = tokens::words(&line.text);
            here.windows(words.len()).any(|row| {
                row.iter().zip(words).enumerate().all(|(at, (here, word))| {
                    if *prefix && at + 1 == words.len() { here.starts_with(word) } else { here == word }
                })
            })
        }
        Query::Instance(name) => name.parse::<u128>() == Ok(line.printer),
        Query::Service(name) => line.printer.is_multiple_of(2) == (name == "even"),
        Query::Level(level) => Level::of(&line.text, Stream::Stdout) == *level,
    }
}

const QUERIES: [&str; 25] = [
    "",
    "error",
    "s17",
    "u1234",
    "nothing",
    "error database",
    "s17 error",
    "error s17 s3",
    "\"database error\"",
    "\"error error\"",
    "\"the database error\"",
    "\"s17 error\"",
    "\"time the\" OR \"the time\"",
    "u12*",
    "s*",
    "tim*",
    "\"error tim*\"",
    "error-data*",
    "(timeout OR error) NOT database",
    "NOT error",
    "NOT s1 NOT s2 error",
    "s1 OR s2 OR s3 OR u77",
    "level:error database",
    "instance:2 error",
    "service:odd -timeout",
];

/// Every line that is found, in pages, with the text that its place in the spool holds.
fn found(bench: &Bench, query: &str, times: (Option<u64>, Option<u64>), page: usize) -> Vec<(u128, String)> {
    let mut all = Vec::new();
    loop {
        let found = bench
            .ask(query, |request| {
                (request.limit, request.offset) = (page, all.len());
                (request.since, request.until) = times;
            })
            .unwrap();
        if found.hits.is_empty() {
            assert_eq!(found.total, all.len(), "{query}: the total");
            return all;
        }
        let mut texts = HashMap::new();
        for printer in 1..=PRINTERS {
            let own = found.hits.iter().filter(|hit| hit.instance == id(printer));
            let positions: Vec<u64> = own.map(|hit| hit.position).collect();
            let records = bench.spools.reader(id(printer)).unwrap().at(&positions).unwrap();
            texts.extend(records.into_iter().map(|record| ((printer, record.position), record.bytes)));
        }
        for hit in &found.hits {
            let printer = hit.instance.0.as_u128();
            let text = texts.get(&(printer, hit.position)).expect("a line that is found is there");
            all.push((printer, String::from_utf8(text.clone()).unwrap()));
        }
    }
}

fn check(bench: &Bench, lines: &[Line]) {
    let windows = [(None, None), (Some(3_000), None), (None, Some(2_999)), (Some(1_001), Some(5_005))];
    for text in QUERIES {
        let query = Query::parse(text).unwrap();
        for (since, until) in windows {
            let asked = |line: &&Line| {
                matches(&query, line)
                    && since.is_none_or(|since| line.at >= since)
                    && until.is_none_or(|until| line.at <= until)
            };
            let mut expected: Vec<&Line> = lines.iter().filter(asked).collect();
            expected.sort_by_key(|line| std::cmp::Reverse(line.at));
            let expected: Vec<(u128, String)> =
                expected.into_iter().map(|line| (line.printer, line.text.clone())).collect();
            let page = (expected.len() / 3).max(1) + 1;
            let found = found(bench, text, (since, until), page);
            assert!(found == expected, "{text} {since:?} {until:?}: {} of {}", found.len(), expected.len());
        }
        // The same lines by relevance, in another order.
        let newest = bench.ask(text, |request| request.limit = 10_000).unwrap();
        let best = bench.ask(text, |request| (request.limit, request.sort) = (10_000, Sort::Relevance));
        let (mut newest, best) = (newest.hits, best.unwrap());
        let mut hits = best.hits;
        assert_eq!(best.total, newest.len(), "{text}");
        newest.sort_by_key(|hit| (hit.instance, hit.position));
        hits.sort_by_key(|hit| (hit.instance, hit.position));
        assert_eq!(hits, newest, "{text}");
    }
}

#[test]
fn every_line_that_matches_is_found_once_in_its_order_and_no_other() {
    let spools = Spools::new();
    let bench = Bench::start(&spools);
    let mut lines = Vec::new();
    for batch in 0..BATCHES {
        for printer in 1..=PRINTERS {
            let first = batch * LINES;
            for n in first..first + LINES {
                let at = n * PRINTERS as u64 + printer as u64;
                lines.push(Line { printer, position: n + 1, at, text: text(at) });
            }
            let new: Vec<(u64, &str)> = lines
                .iter()
                .filter(|line| line.printer == printer && line.position > first)
                .map(|line| (line.at, line.text.as_str()))
                .collect();
            spools.print(printer, &new);
        }
        bench.search.look_at_all();
        // A commit for each batch: the index has some segments.
        bench.has(lines.len());
    }
    check(&bench, &lines);
    drop(bench);
    // Again from its files, and with lines that are marked as deleted.
    std::fs::remove_dir_all(spools.path(id(2))).unwrap();
    lines.retain(|line| line.printer != 2);
    let bench = Bench::start(&spools);
    bench.has(lines.len());
    check(&bench, &lines);
}
