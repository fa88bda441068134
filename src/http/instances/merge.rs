//! The newest lines of many instances in one order, read backwards and no further than needed.

use std::collections::BinaryHeap;

use regex::Regex;
use serde::Serialize;
use tenantry_journal::id::InstanceId;
use tenantry_journal::name::InstanceKey;
use tenantry_journal::time::Timestamp;

use super::level::Level;
use crate::http::listing::Page;
use crate::http::observed::{Line, OutputError, Outputs};

/// Lines that are looked at for one answer with a filter: some ten MB of output, which takes
/// tens of milliseconds. What is older is not found.
const MOST_LOOKED_AT: usize = 100_000;
/// Lines that are fetched of one instance at a time.
const FETCH: usize = 128;

/// A line as document 2 shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct LogLine {
    timestamp: Timestamp,
    instance: InstanceKey,
    level: Level,
    message: String,
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
        let level = Level::of(&line.text, line.source);
        let wanted = self.level.is_none_or(|wanted| wanted == level)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&line.text));
        wanted.then(|| LogLine { timestamp: line.at, instance: instance.clone(), level, message: line.text })
    }
}

/// One instance, read backwards.
struct Backwards<'a> {
    id: InstanceId,
    name: &'a InstanceKey,
    /// Oldest first; taken from the end.
    fetched: Vec<Line>,
    before: Option<u64>,
}

impl Backwards<'_> {
    fn next(&mut self, outputs: &dyn Outputs) -> Result<Option<Line>, OutputError> {
        if self.fetched.is_empty() && self.before != Some(1) {
            self.fetched = outputs.newest(self.id, FETCH, self.before)?;
            // The position before which the next fetch begins; 1 when nothing is left.
            self.before = Some(self.fetched.first().map_or(1, |line| line.position));
        }
        Ok(self.fetched.pop())
    }
}

/// A page counted from the newest line, oldest first, and how many lines there are in all
/// (with a filter: among those that were looked at). Reads files.
pub(super) fn page(
    outputs: &dyn Outputs,
    instances: &[(InstanceId, InstanceKey)],
    filter: &LineFilter,
    page: Page,
) -> Result<(Vec<LogLine>, usize), OutputError> {
    let mut sources: Vec<Backwards<'_>> = instances
        .iter()
        .map(|(id, name)| Backwards { id: *id, name, fetched: Vec::new(), before: None })
        .collect();
    // The newest line of each source; the source's number breaks ties.
    let mut newest = BinaryHeap::with_capacity(sources.len());
    for (index, source) in sources.iter_mut().enumerate() {
        if let Some(line) = source.next(outputs)? {
            newest.push((line.at, line.position, index, Waiting(line)));
        }
    }
    let mut found = 0_usize;
    let mut lines = Vec::new();
    let mut looked_at = 0_usize;
    while let Some((_, _, index, Waiting(line))) = newest.pop() {
        let Some(source) = sources.get_mut(index) else { break };
        if let Some(shown) = filter.show(source.name, line) {
            if found >= page.offset && lines.len() < page.limit {
                lines.push(shown);
            }
            found += 1;
        }
        looked_at += 1;
        let is_full = lines.len() == page.limit && filter.is_open();
        if is_full || looked_at >= MOST_LOOKED_AT {
            break;
        }
        if let Some(line) = source.next(outputs)? {
            newest.push((line.at, line.position, index, Waiting(line)));
        }
    }
    lines.reverse();
    let mut total = found;
    if filter.is_open() {
        total = 0;
        for (id, _) in instances {
            total += usize::try_from(outputs.count(*id)?).unwrap_or(usize::MAX);
        }
    }
    Ok((lines, total))
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
        fn count(&self, instance: InstanceId) -> Result<u64, OutputError> {
            Ok(LAST / step(instance))
        }
        fn newest(
            &self,
            instance: InstanceId,
            max: usize,
            before: Option<u64>,
        ) -> Result<Vec<Line>, OutputError> {
            let last = before.map_or(self.count(instance)?, |before| before - 1);
            let first = last.saturating_sub(max as u64) + 1;
            Ok((first..=last)
                .map(|position| Line {
                    position,
                    at: Timestamp(position * step(instance)),
                    source: Source::Stdout,
                    text: format!(
                        "{} at {}",
                        if position % 2 == 0 { "warn" } else { "info" },
                        position * step(instance)
                    ),
                })
                .collect())
        }
        fn follow(&self, _: InstanceId, _: Option<u64>) -> BoxStream<'static, Line> {
            futures_util::stream::pending().boxed()
        }
    }

    fn instances() -> Vec<(InstanceId, InstanceKey)> {
        [2_u128, 3].map(|n| (InstanceId(Uuid::from_u128(n)), format!("api:{n}").parse().unwrap())).to_vec()
    }

    fn times(filter: &LineFilter, limit: usize, offset: usize) -> (Vec<u64>, usize) {
        let (lines, total) = page(&Printed, &instances(), filter, Page { limit, offset }).unwrap();
        (lines.iter().map(|line| line.timestamp.0).collect(), total)
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
    fn a_filter_counts_what_it_finds() {
        let warnings = LineFilter { level: Some(Level::Warn), pattern: None };
        assert_eq!(times(&warnings, 2, 0), (vec![996, 1000], 416));
        let pattern = LineFilter { level: None, pattern: Some(Regex::new("at 99[0-9]$").unwrap()) };
        assert_eq!(times(&pattern, 100, 0).1, 9);
    }
}
