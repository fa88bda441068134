//! `tenantry rehearse`, and the rehearsal that a start after an upgrade begins with.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tenantry_journal::sealed::Vault;
use tenantry_journal::store::Journal;
use tenantry_projections::snapshot::Snapshots;

use crate::app::offline;
use crate::cli::progress::Progress;
use crate::cli::{Rehearse, Verdict};
use crate::rehearsal::{Compared, Rehearsal};

pub(super) fn rehearse(asked: &Rehearse) -> anyhow::Result<Verdict> {
    let opened = offline::open(&asked.data_dir)?;
    let vault = Arc::clone(&opened.keyring) as Arc<dyn Vault>;
    let snapshots = Snapshots::open_read_only(asked.data_dir.join("snapshots"), Arc::clone(&vault));
    let progress = Progress::over_events("rehearsing", opened.store.head().0, false);
    let found = crate::rehearsal::rehearse(&*opened.store, &vault, &snapshots, |seq| progress.at(seq.0))
        .with_context(|| offline::cannot_read(&asked.data_dir))?;
    drop(progress);
    if asked.json {
        offline::print(&serde_json::to_value(&found)?)?;
    } else {
        tell(&found);
    }
    Ok(if found.is_same() { Verdict::Valid } else { Verdict::Invalid })
}

fn tell(found: &Rehearsal) {
    let last = if found.written_by.is_empty() { "nobody yet" } else { &found.written_by };
    println!("{} events folded by {}; served last by {last}", found.events, found.version);
    for (seq, compared) in &found.snapshots {
        match compared {
            Compared::Same => println!("snapshot {seq}: the same"),
            Compared::SameButErased => {
                println!("snapshot {seq}: the same, apart from tenants that were erased since")
            }
            Compared::Different => println!("snapshot {seq}: different"),
            Compared::NotComparable(reason) => println!("snapshot {seq}: not comparable, {reason}"),
        }
    }
    println!("{} effects were begun that this program would begin, too", found.effects);
    for due in &found.due {
        println!("due now: {due}");
    }
    for difference in &found.differences {
        println!("event {}: {}", difference.seq, difference.what);
    }
    if found.more > 0 {
        println!("and {} more differences", found.more);
    }
    println!("{}", if found.is_same() { "no difference" } else { "there are differences" });
}

/// Before the first start of another version: refuses when it would see the journal in another way,
/// unless that is accepted. Then snapshots that differ are removed. Returns whether any was.
pub(in crate::app) fn before_upgrade(
    store: &dyn Journal,
    vault: &Arc<dyn Vault>,
    snapshots: &Snapshots,
    is_accepted: bool,
) -> anyhow::Result<bool> {
    let found = crate::rehearsal::rehearse(store, vault, snapshots, |_| {})?;
    let (from, to) = (&found.written_by, &found.version);
    let count = found.differences.len() as u64 + found.more;
    let Some(first) = found.differences.first() else {
        tracing::info!(
            events = found.events,
            effects = found.effects,
            from,
            to,
            "upgrade rehearsed, no difference"
        );
        return Ok(false);
    };
    if !is_accepted {
        bail!(
            "this is version {to}, the journal was last served by {from}, and {count} things would be seen \
             differently; the first: at event {}, {}. `tenantry rehearse` lists them all; start {from} again, or accept \
             them with --accept-differences",
            first.seq,
            first.what
        );
    }
    tracing::warn!(
        from,
        to,
        differences = count,
        first.seq = first.seq.0,
        first = first.what,
        "differences of an upgrade are accepted"
    );
    let different = found.snapshots.iter().filter(|(_, compared)| **compared == Compared::Different);
    for (seq, _) in different {
        snapshots.remove(tenantry_journal::id::Seq(*seq))?;
    }
    Ok(true)
}
