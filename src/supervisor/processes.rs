//! What the processes of runs use, from one pass over `/proc`.
//!
//! A process belongs to a run when it is in the session of the run's leader, or descends from
//! it, or did so when it was seen first: one whose parent died is handed to the keeper and
//! leaves its session, and is still the run's. A new child of the keeper that is nobody's yet is
//! asked for its mark, once.

use std::collections::HashMap;

use tenantry_journal::id::RunId;

use crate::keeper::MARK;

/// How many parents are followed at most: processes come and go while we look.
const DEPTH: usize = 64;

/// What a run's processes use together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    /// Processor time of the living and of the dead that they waited for, in clock ticks.
    pub(super) ticks: u64,
    /// Resident pages; shared ones are counted in each process.
    pub(super) pages: u64,
    pub(super) processes: u32,
}

/// What `/proc/PID/stat` says (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    parent: u32,
    session: u32,
    ticks: u64,
    start: u64,
    pages: u64,
}

fn parse(stat: &str) -> Option<Stat> {
    // The name in brackets may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
    let mut after = |skipped: usize| fields.nth(skipped)?.parse::<i64>().ok()?.try_into().ok();
    let (parent, session): (u64, u64) = (after(0)?, after(1)?);
    let (user, system, children, of_children): (u64, u64, u64, u64) =
        (after(7)?, after(0)?, after(0)?, after(0)?);
    let (start, pages): (u64, u64) = (after(4)?, after(1)?);
    Some(Stat {
        parent: u32::try_from(parent).ok()?,
        session: u32::try_from(session).ok()?,
        ticks: user + system + children + of_children,
        start,
        pages,
    })
}

/// Whose each process was when it was seen last.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// By pid: when it started, and whose it is.
    owners: HashMap<u32, (u64, Option<RunId>)>,
}

impl Processes {
    /// Looks at all processes. `leaders` are the first processes of runs, `keeper` their parent.
    pub(super) fn look(&mut self, leaders: &HashMap<u32, RunId>, keeper: u32) -> HashMap<RunId, Sum> {
        let mut all = HashMap::new();
        let mut text = String::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let Some(pid) = pid else { continue };
            text.clear();
            let read = std::fs::File::open(format!("/proc/{pid}/stat"))
                .and_then(|mut file| std::io::Read::read_to_string(&mut file, &mut text));
            if let Some(stat) = read.ok().and_then(|_| parse(&text)) {
                all.insert(pid, stat);
            }
        }
        self.attribute(&all, leaders, keeper, mark)
    }

    fn attribute(
        &mut self,
        all: &HashMap<u32, Stat>,
        leaders: &HashMap<u32, RunId>,
        keeper: u32,
        mark: impl Fn(u32) -> Option<RunId>,
    ) -> HashMap<RunId, Sum> {
        let mut sums: HashMap<RunId, Sum> = HashMap::new();
        let mut owners = HashMap::with_capacity(all.len());
        for (pid, stat) in all {
            let known = self.owners.get(pid).filter(|(start, _)| *start == stat.start).map(|(_, run)| *run);
            let run = leaders
                .get(&stat.session)
                .copied()
                .or_else(|| ancestor(*pid, all, leaders))
                .or_else(|| known.flatten())
                .or_else(|| if known.is_none() && stat.parent == keeper { mark(*pid) } else { None });
            owners.insert(*pid, (stat.start, run));
            if let Some(run) = run {
                let sum = sums.entry(run).or_default();
                sum.ticks += stat.ticks;
                sum.pages += stat.pages;
                sum.processes += 1;
            }
        }
        self.owners = owners;
        sums
    }
}

fn ancestor(pid: u32, all: &HashMap<u32, Stat>, leaders: &HashMap<u32, RunId>) -> Option<RunId> {
    let mut at = pid;
    for _ in 0..DEPTH {
        if let Some(run) = leaders.get(&at) {
            return Some(*run);
        }
        at = all.get(&at)?.parent;
    }
    None
}

fn mark(pid: u32) -> Option<RunId> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environ
        .split(|byte| *byte == 0)
        .find_map(|one| one.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u128) -> RunId {
        RunId(uuid::Uuid::from_u128(n))
    }

    fn stat(parent: u32, session: u32) -> Stat {
        Stat { parent, session, ticks: 10, start: 5, pages: 2 }
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23";
        let stat = Stat { parent: 1, session: 3, ticks: 11 + 12 + 13 + 14, start: 19, pages: 21 };
        assert_eq!(parse(line), Some(stat));
    }

    #[test]
    fn a_process_stays_its_runs_when_its_parents_are_gone() {
        let leaders = HashMap::from([(100, run(1)), (200, run(2))]);
        let mut processes = Processes::default();
        // 101 has a session of its own and descends; 102 is in the session; 300 is a stranger.
        let first = HashMap::from([
            (100, stat(9, 100)),
            (101, stat(100, 101)),
            (102, stat(1, 100)),
            (200, stat(9, 200)),
            (300, stat(1, 300)),
        ]);
        let nobody = |_| None;
        let sums = processes.attribute(&first, &leaders, 9, nobody);
        assert_eq!(sums[&run(1)], Sum { ticks: 30, pages: 6, processes: 3 });
        assert_eq!(sums[&run(2)].processes, 1);
        // 101 was handed to the keeper; 103, new there, is asked; a reused pid is another process.
        let second = HashMap::from([
            (100, stat(9, 100)),
            (101, stat(9, 101)),
            (103, stat(9, 103)),
            (102, Stat { start: 6, ..stat(1, 300) }),
        ]);
        let sums = processes.attribute(&second, &leaders, 9, |pid| (pid == 103).then(|| run(1)));
        assert_eq!(sums[&run(1)].processes, 3);
    }

    #[test]
    fn our_own_process_uses_memory() {
        let leaders = HashMap::from([(std::process::id(), run(1))]);
        let sums = Processes::default().look(&leaders, 1);
        assert!(sums[&run(1)].pages > 0 && sums[&run(1)].processes > 0);
    }
}
