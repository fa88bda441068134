//! The newest lines of many instances in one order, read backwards and no further than needed.

use std::collections::BinaryHeap;

use regex::Regex;
use serde::Serialize;
use tenantry_journal::id::InstanceId;
use tenantry_journal::name::InstanceKey;
use tenantry_journal::time::Timestamp;
use tenantry_projections::output::level::Level;

use crate::http::listing::Page;
use crate::http::observed::{Backwards, Line, OutputError, Outputs};

/// Lines that are looked at for one answer: some hundred MB of output, which takes a second or
/// two. What is older is not found, and the answer says so.
const MOST_LOOKED_AT: usize = 1_000_000;

/// A line as document 2 shows it.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub(super) struct LogLine {
    timestamp: Timestamp,
    instance: InstanceKey,
    level: Level,
    message: String,
}

impl LogLine {
    /// What was printed.
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

/// Which lines somebody wants to see.
#[derive(Clone, Debug, Default)]
pub(super) struct LineFilter {
    pub(super) level: Option<Level>,
    pub(super) pattern: Option<Regex>,
}

impl LineFilter {
    fn is_open(&self) -> bool {
        self.level.is_none() && self.pattern.is_none()
    }

    /// The line as it is shown, if it is wanted.
    pub(super) fn show(&self, instance: &InstanceKey, line: Line) -> Option<LogLine> {
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(&line.text)) {
            return None;
        }
        let level = Level::of(&line.text, line.source);
        let wanted = self.level.is_none_or(|wanted| wanted == level);
        wanted.then(|| LogLine { timestamp: line.at, instance: instance.clone(), level, message: line.text })
    }
}

/// One instance, read backwards.
struct Source<'a> {
    name: &'a InstanceKey,
    /// Oldest first; taken from the end.
    block: Vec<Line>,
    older: Backwards,
}

impl Source<'_> {
    fn next(&mut self) -> Result<Option<Line>, OutputError> {
        while self.block.is_empty() {
            match self.older.next() {
                Some(block) => self.block = block?,
                None => return Ok(None),
            }
        }
        Ok(self.block.pop())
    }
}

/// A page of lines.
pub(super) struct Lines {
    /// Oldest first.
    pub(super) lines: Vec<LogLine>,
    /// How many there are in all; with a filter, among those that were looked at.
    pub(super) total: usize,
    /// Whether all were looked at that had to be.
    pub(super) complete: bool,
}

/// A page counted from the newest line. Reads files.
pub(super) fn page(
    outputs: &dyn Outputs,
    instances: &[(InstanceId, InstanceKey)],
    filter: &LineFilter,
    page: Page,
) -> Result<Lines, OutputError> {
    let mut kept = 0_u64;
    let mut begin = None;
    if filter.is_open() {
        for (id, _) in instances {
            let (oldest, next) = outputs.range(*id)?;
            kept += next.saturating_sub(oldest);
            begin = Some(next.saturating_sub(page.offset as u64));
        }
    }
    // Of one instance, positions tell where the page begins.
    let before = begin.filter(|_| instances.len() == 1);
    let offset = if before.is_some() { 0 } else { page.offset };
    let mut sources = Vec::with_capacity(instances.len());
    for (id, name) in instances {
        sources.push(Source { name, block: Vec::new(), older: outputs.backwards(*id, before)? });
    }
    // The newest line of each source; the source's number breaks ties.
    let mut newest = BinaryHeap::with_capacity(sources.len());
    for (index, source) in sources.iter_mut().enumerate() {
        if let Some(line) = source.next()? {
            newest.push((line.at, line.position, index, Waiting(line)));
        }
    }
    let (mut found, mut looked_at, mut complete) = (0_usize, 0_usize, true);
    let mut lines = Vec::new();
    while let Some((_, _, index, Waiting(line))) = newest.pop() {
        let Some(source) = sources.get_mut(index) else { break };
        if let Some(next) = source.next()? {
            newest.push((next.at, next.position, index, Waiting(next)));
        }
        if filter.is_open() && found < offset {
            found += 1;
        } else if let Some(shown) = filter.show(source.name, line) {
            if found >= offset && lines.len() < page.limit {
                lines.push(shown);
            }
            found += 1;
        }
        looked_at += 1;
        if lines.len() == page.limit && filter.is_open() {
            break;
        }
        if looked_at >= MOST_LOOKED_AT {
            complete = newest.is_empty();
            break;
        }
    }
    lines.reverse();
    let total = if filter.is_open() { usize::try_from(kept).unwrap_or(usize::MAX) } else { found };
    Ok(Lines { lines, total, complete })
}

/// Compares as equal: the heap orders by what stands before it.
struct Waiting(Line);

impl PartialEq for Waiting {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use futures_util::stream::BoxStream;
    use uuid::Uuid;

    use tenantry_projections::search::{Found, Request};

    use super::*;
    use crate::http::observed::Source;

    /// Instance `n` prints a line at each moment that `n` divides, of 1000.
    struct Printed;

    const LAST: u64 = 1000;

    fn step(instance: InstanceId) -> u64 {
        instance.0.as_u128() as u64
    }

    impl Outputs for Printed {
        fn kept(&self) -> Result<Vec<InstanceId>, OutputError> {
            Ok(Vec::new())
        }
        fn range(&self, instance: InstanceId) -> Result<(u64, u64), OutputError> {
            Ok((1, LAST / step(instance) + 1))
        }
        fn backwards(&self, instance: InstanceId, before: Option<u64>) -> Result<Backwards, OutputError> {
            let next = before.unwrap_or(LAST / step(instance) + 1);
            let text = |n: u64| if n.is_multiple_of(2) { "warn" } else { "info" };
            let line = move |position: u64| Line {
                position,
                at: Timestamp(position * step(instance)),
                source: Source::Stdout,
                text: format!("{} at {}", text(position), position * step(instance)),
            };
            let all: Vec<Line> = (1..next).map(line).collect();
            let blocks: Vec<Vec<Line>> = all.chunks(7).map(<[Line]>::to_vec).collect();
            Ok(Box::new(blocks.into_iter().rev().map(Ok)))
        }
        fn at(&self, _: InstanceId, _: &[u64]) -> Result<Vec<Line>, OutputError> {
            Ok(Vec::new())
        }
        fn search(&self, _: &Request<'_>) -> Result<Found, OutputError> {
            Err(OutputError("no index".into()))
        }
        fn follow(&self, _: InstanceId, _: Option<u64>) -> BoxStream<'static, Line> {
            futures_util::stream::pending().boxed()
        }
    }

    fn instances() -> Vec<(InstanceId, InstanceKey)> {
        [2_u128, 3].map(|n| (InstanceId(Uuid::from_u128(n)), format!("api:{n}").parse().unwrap())).to_vec()
    }

    fn times(filter: &LineFilter, limit: usize, offset: usize) -> (Vec<u64>, usize) {
        let found = page(&Printed, &instances(), filter, Page { limit, offset }).unwrap();
        assert!(found.complete);
        (found.lines.iter().map(|line| line.timestamp.0).collect(), found.total)
    }

    #[test]
    fn pages_count_from_the_newest_line_and_cover_everything_once() {
        let open = LineFilter::default();
        assert_eq!(times(&open, 4, 0), (vec![996, 998, 999, 1000], 833));
        assert_eq!(times(&open, 3, 4), (vec![993, 994, 996], 833));
        let (mut all, _) = times(&open, 1000, 0);
        assert_eq!(all.len(), 833);
        assert!(all.is_sorted());
        all.dedup();
        assert_eq!(all.len(), 667, "moments that 2 or 3 divides");
        assert_eq!(times(&open, 10, 833), (vec![], 833));
    }

    #[test]
    fn the_page_of_one_instance_begins_at_its_position() {
        let one = &instances()[..1];
        let open = LineFilter::default();
        let found = page(&Printed, one, &open, Page { limit: 3, offset: 400 }).unwrap();
        let times: Vec<u64> = found.lines.iter().map(|line| line.timestamp.0).collect();
        assert_eq!((times, found.total), (vec![196, 198, 200], 500));
        assert!(page(&Printed, one, &open, Page { limit: 3, offset: 900 }).unwrap().lines.is_empty());
    }

    /// The case that makes backtracking engines take years.
    #[test]
    fn a_pattern_takes_time_linear_in_the_line() {
        let filter = LineFilter { level: None, pattern: Some(Regex::new("(a+)+$").unwrap()) };
        let key: InstanceKey = "api:1".parse().unwrap();
        let text = "a".repeat(16 * 1024 - 1) + "b";
        let lines: Vec<Line> = (1..=64)
            .map(|position| Line { position, at: Timestamp(1), source: Source::Stdout, text: text.clone() })
            .collect();
        let begun = std::time::Instant::now();
        assert!(lines.into_iter().all(|line| filter.show(&key, line).is_none()));
        // 50 ms in a release build; this one is not optimized and shares the machine.
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_filter_counts_what_it_finds() {
        let warnings = LineFilter { level: Some(Level::Warn), pattern: None };
        assert_eq!(times(&warnings, 2, 0), (vec![996, 1000], 416));
        let pattern = LineFilter { level: None, pattern: Some(Regex::new("at 99[0-9]$").unwrap()) };
        assert_eq!(times(&pattern, 100, 0).1, 9);
    }
}
