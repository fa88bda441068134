//! A control plane as a whole, without a server and beside one: backup, restore, export, import and
//! rehearsal. Whatever is made is made aside, synced and renamed, so that what has its name is whole.

mod backup;
mod export;
mod files;
mod manifest;
mod rehearse;
mod restore;

use crate::cli::{Verdict, Whole};

pub(super) use rehearse::before_upgrade;

/// Does one of them.
pub(super) fn run(asked: &Whole) -> anyhow::Result<Verdict> {
    match asked {
        Whole::Backup(asked) => backup::backup(asked)?,
        Whole::RestoreJournal(asked) => restore::restore(asked)?,
        Whole::Export(asked) => export::export(asked)?,
        Whole::Import(asked) => return export::import(asked),
        Whole::Rehearse(asked) => return rehearse::rehearse(asked),
    }
    Ok(Verdict::Valid)
}
