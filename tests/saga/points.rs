//! A life that ends exactly before or after a step of a deployment is recorded.
//!
//! strace stops the server as each commit is written to the write-ahead file, and shows what
//! stands in it. A commit that is not meant goes on. As the one that is meant is written, not
//! synced and told to nobody, the server is killed; what a power cut would take, since
//! nothing has synced it, is taken from the file when the commit is to be lost.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::app::{PATIENCE, alive, signal};

/// How often it is looked what was written.
const LOOK: Duration = Duration::from_millis(1);
/// So near behind the kind of an event its step stands.
const NEAR: usize = 400;

/// A line of the saga: a step begins, or it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Begun(&'static str),
    Ended(&'static str),
}

/// Before or after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// What it says is so, and not recorded.
    Before(Line),
    /// It is recorded, and nobody was told.
    After(Line),
}

impl Line {
    fn kind_and_step(self) -> (&'static str, &'static str) {
        match self {
            Line::Begun(step) => ("deployment.step_started", step),
            Line::Ended(step) => ("deployment.step_finished", step),
        }
    }

    /// Whether it stands in what was written, as strace shows it.
    fn stands_in(self, shown: &str) -> bool {
        let (kind, step) = self.kind_and_step();
        shown.match_indices(kind).any(|(at, _)| {
            let rest: String = shown[at..].chars().take(NEAR).collect();
            // The next event is not its own.
            let own = rest[kind.len()..].split("deployment.").next().unwrap();
            own.contains(step)
        })
    }

    /// Whether an event is this line of a deployment.
    pub(crate) fn is(self, event: &Value, deployment: &str) -> bool {
        let (kind, step) = self.kind_and_step();
        event["kind"] == kind && event["data"]["step"] == step && event["data"]["deployment_id"] == deployment
    }
}

impl Point {
    /// Before and after each step's two lines, in their order.
    pub(crate) fn of(steps: &[&'static str]) -> Vec<Point> {
        let lines = steps.iter().flat_map(|step| [Line::Begun(step), Line::Ended(step)]);
        lines.flat_map(|line| [Point::Before(line), Point::After(line)]).collect()
    }

    pub(crate) fn line(self) -> Line {
        match self {
            Point::Before(line) | Point::After(line) => line,
        }
    }
}

/// A commit as it was written.
struct Write {
    file: PathBuf,
    shown: String,
    length: usize,
    offset: u64,
}

impl Write {
    /// From a line of strace, with whatever follows it.
    fn read(line: &str) -> Option<Write> {
        let (_, rest) = line.split_once("pwrite64(")?;
        let (_, rest) = rest.split_once('<')?;
        let (file, rest) = rest.split_once(">, \"")?;
        let (shown, rest) = rest.rsplit_once("\", ")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).filter(|text| !text.is_empty());
        let (length, offset) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Write { file: file.into(), shown: shown.to_owned(), length, offset })
    }

    /// Takes it from the file, as a power cut does.
    fn lose(&self) {
        let file = std::fs::File::options().write(true).open(&self.file).unwrap();
        file.write_all_at(&vec![0; self.length], self.offset).unwrap();
    }
}

/// Between two looks of a thread that watches files and processes.
#[allow(clippy::disallowed_methods, reason = "what is waited for tells nobody")]
fn look_again() {
    std::thread::sleep(LOOK);
}

/// Sees to it that the server below a strace ends at a point. Ends with it.
pub(crate) fn watch(strace: u32, trace: PathBuf, point: Point) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut seen = Seen { trace, at: 0, rest: String::new(), entered: None };
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && alive(strace.into()) {
            let Some(written) = seen.next() else {
                look_again();
                continue;
            };
            let server = child(strace);
            wait_for_rest(strace, server);
            if !point.line().stands_in(&written.shown) {
                signal(server, "CONT");
                continue;
            }
            signal(server, "KILL");
            while alive(server.into()) {
                look_again();
            }
            if matches!(point, Point::Before(_)) {
                written.lose();
            }
            return;
        }
    })
}

/// Waits until the server is stopped and strace knows: strace gives up when a stop is over before it has taken note of it.
fn wait_for_rest(strace: u32, server: u32) {
    let mut looks = 0;
    // One look may fall between a stop and its news.
    while looks < 2 && alive(server.into()) && alive(strace.into()) {
        looks = if is_at_rest(strace, server) { looks + 1 } else { 0 };
        look_again();
    }
}

/// Whether every thread of the server is stopped, and strace waits for the next event.
fn is_at_rest(strace: u32, server: u32) -> bool {
    let state = |path: &Path| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    let threads = std::fs::read_dir(format!("/proc/{server}/task")).into_iter().flatten().flatten();
    let are_stopped =
        threads.map(|thread| state(&thread.path())).all(|state| matches!(state, Some('t' | 'T')));
    are_stopped && state(Path::new(&format!("/proc/{strace}"))) == Some('S')
}

fn child(strace: u32) -> u32 {
    let path = format!("/proc/{strace}/task/{strace}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(strace)
}

/// What strace has shown so far.
struct Seen {
    trace: PathBuf,
    at: u64,
    rest: String,
    entered: Option<Write>,
}

impl Seen {
    /// The next commit that was written.
    fn next(&mut self) -> Option<Write> {
        self.at += read_on(&self.trace, self.at, &mut self.rest);
        while let Some((line, rest)) = self.rest.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.rest = rest;
            if let Some(write) = Write::read(&line) {
                self.entered = Some(write);
            }
            let is_left = line.rsplit_once(") = ").is_some_and(|(_, result)| result.parse::<u64>().is_ok());
            if is_left && self.entered.is_some() {
                return self.entered.take();
            }
        }
        None
    }
}

fn read_on(path: &Path, from: u64, into: &mut String) -> u64 {
    let Ok(mut file) = std::fs::File::open(path) else { return 0 };
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    into.push_str(std::str::from_utf8(&bytes).expect("strace writes ASCII"));
    bytes.len() as u64
}

/// Each life ended at its point: what was to be recorded is the last of its life, and what was to
/// be lost is not in it.
#[track_caller]
pub(crate) fn assert_cut_at(events: &[Value], deployment: &str, points: &[Point]) {
    let first = events.iter().position(|event| {
        event["kind"] == "deployment.requested" && event["data"]["deployment_id"] == deployment
    });
    // The request came in the first of the lives.
    let asked = first.expect("it was requested");
    let begun = events[..asked].iter().rposition(|event| event["kind"] == "system.started").unwrap();
    let lives: Vec<&[Value]> = events[begun + 1..].split(|event| event["kind"] == "system.started").collect();
    assert!(lives.len() > points.len(), "{} lives for {} points", lives.len(), points.len());
    for (life, point) in lives.iter().zip(points) {
        let place = life.iter().position(|event| point.line().is(event, deployment));
        match point {
            Point::Before(_) => assert_eq!(place, None, "{point:?}: {life:#?}"),
            Point::After(line) => {
                let after = &life[place.unwrap_or_else(|| panic!("{point:?}: {life:#?}")) + 1..];
                // The end of a step may be that of steps that are skipped and of the deployment, too;
                // and what was observed meanwhile may stand in the same write.
                let goes_on = |event: &Value| {
                    event["command_id"] != life[place.unwrap()]["command_id"]
                        && event["kind"].as_str().unwrap().starts_with("deployment.")
                };
                assert!(!after.iter().any(goes_on), "{line:?} was not the last: {after:#?}");
            }
        }
    }
}
