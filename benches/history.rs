//! Leaves a long journal for a control plane to serve, so that what stands before one can be measured: the dashboard's
//! time machine (`npm run bench`) takes such a directory. Every process is stopped at its end, so that none is started.
//!
//! `cargo bench -p tenantry-journal --bench history -- EVENTS TENANTS DIR`

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::path::Path;

use support::history::History;
use support::journal;
use tenantry_journal::recorded::Recorded;

mod support {
    pub(crate) mod history;
    pub(crate) mod journal;
}

const EVENTS: usize = 1_000_000;
const TENANTS: u64 = 10_000;

fn main() {
    // cargo puts `--bench` among the arguments.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let Some(dir) = args.get(2) else {
        // As one of all benches it has nothing to measure.
        return println!("say EVENTS TENANTS DIR, and a journal is left in DIR");
    };
    let events = args.first().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let tenants = args.get(1).and_then(|text| text.parse().ok()).unwrap_or(TENANTS);
    let mut history = History::of(tenants);
    let busy: Vec<Recorded> = history.by_ref().take(events).collect();
    drop(journal::write(Path::new(dir), busy.into_iter().chain(history.rest()), |_| {}));
}
