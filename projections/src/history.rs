//! What became of one tenant: the difference between two moments, and each event's share.
//!
//! A tenant is seen as a flat list of fields. Secrets are compared by what they are and
//! shown as hidden, so that a changed password is seen to have changed and nothing more.

mod fields;

use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::Value;
use tenantry_journal::id::{EventId, Seq, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::time::Timestamp;

use crate::as_of::{AsOfError, TimeTravel, fold_and_watch};
use crate::event_view::ActorView;
use crate::world::World;
use fields::Fields;

/// The largest page: a few hundred kilobytes of changes.
pub const MAX_ENTRIES: usize = 1000;
/// The most events that one page looks at: a fold reads a million a second.
const MOST_LOOKED_AT: u64 = 300_000;

/// A field that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Change {
    /// Which, such as `domain`, `config.site_title` or `frontend.phase`.
    pub field: String,
    /// What it was; `null` when it was not there.
    pub from: Value,
    /// What it is; `null` when it is not there.
    pub to: Value,
}

/// What one event changed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The event.
    pub recorded: Recorded,
    /// Its share, in the order of the fields' names. Empty when it only noted something.
    pub changes: Vec<Change>,
}

/// Something that happened to a tenant, and what it changed.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "HistoryEntry")]
pub struct EntryView<'a> {
    seq: Seq,
    id: EventId,
    at: Timestamp,
    actor: ActorView<'a>,
    #[schemars(extend("enum" = crate::event_view::kinds()))]
    kind: &'static str,
    changes: &'a [Change],
}

impl Entry {
    /// Document 3's form, with the names of `world`.
    #[must_use]
    pub fn view<'a>(&'a self, world: &'a World) -> EntryView<'a> {
        EntryView {
            seq: self.recorded.seq,
            id: self.recorded.id,
            at: self.recorded.at,
            actor: ActorView::new(self.recorded.actor, world),
            kind: self.recorded.event.kind(),
            changes: &self.changes,
        }
    }
}

/// Part of a tenant's history, oldest first.
#[derive(Clone, Debug)]
pub struct History {
    /// The part.
    pub entries: Vec<Entry>,
    /// Where the next part begins: pass it as `after`. `None` when this was the last.
    pub next_after: Option<Seq>,
}

/// How a tenant differs between two Worlds, in the order of the fields' names.
#[must_use]
pub fn diff(from: &World, to: &World, tenant: TenantId) -> Vec<Change> {
    changes(fields::of(from, tenant), &fields::of(to, tenant))
}

fn changes(mut before: Fields, after: &Fields) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (field, to) in after {
        let from = before.remove(field);
        if from.as_ref() != Some(to) {
            let from = from.map_or(Value::Null, fields::Field::shown);
            changes.push(Change { field: field.clone(), from, to: to.clone().shown() });
        }
    }
    let gone = before.into_iter();
    changes.extend(gone.map(|(field, from)| Change { field, from: from.shown(), to: Value::Null }));
    changes.sort_by(|a, b| a.field.cmp(&b.field));
    changes
}

/// One tenant's events after `after` up to and with `until`, at most `limit` (and never
/// more than [`MAX_ENTRIES`]), with what each changed. `head` is the live World. Of a long
/// journal one call looks at a part: the page may hold fewer entries and not be the last.
///
/// # Errors
/// When there is no World at `after` or at `until`, or the journal fails.
pub fn history(
    time: &TimeTravel,
    head: &World,
    tenant: TenantId,
    (after, until): (Seq, Seq),
    limit: usize,
) -> Result<History, AsOfError> {
    let limit = limit.clamp(1, MAX_ENTRIES);
    let until = until.min(head.seq);
    if let Some(seqs) = time.positions(tenant, after, until, limit + 1)? {
        return of_its_own(time, head, tenant, after, &seqs, limit);
    }
    let mut world = time.world_at(after, head)?;
    let mut before = world.clone();
    let mut entries: Vec<Entry> = Vec::new();
    let most = Seq(after.0.saturating_add(MOST_LOOKED_AT));
    let mut next_after = (most < until).then_some(most);
    fold_and_watch(time.source(), &mut world, until.min(most), |world, recorded| {
        if recorded.tenant_id != Some(tenant) {
            return ControlFlow::Continue(());
        }
        if entries.len() == limit {
            next_after = Some(Seq(recorded.seq.0 - 1));
            return ControlFlow::Break(());
        }
        let changes = diff(&before, world, tenant);
        entries.push(Entry { recorded: recorded.clone(), changes });
        before = world.clone();
        ControlFlow::Continue(())
    })?;
    Ok(History { entries, next_after })
}

/// The same from the tenant's own events, whose positions these are: at most one more than are
/// wanted.
fn of_its_own(
    time: &TimeTravel,
    head: &World,
    tenant: TenantId,
    after: Seq,
    seqs: &[Seq],
    limit: usize,
) -> Result<History, AsOfError> {
    let (page, more) = seqs.split_at(limit.min(seqs.len()));
    let began = time.times_forgotten();
    let mut world = time.tenant_at(tenant, after, head)?;
    let mut before = fields::of(&world, tenant);
    let mut entries: Vec<Entry> = Vec::with_capacity(page.len());
    time.fold_these(&mut world, page, |world, recorded| {
        let after = fields::of(world, tenant);
        let changes = changes(std::mem::take(&mut before), &after);
        entries.push(Entry { recorded: recorded.clone(), changes });
        before = after;
        ControlFlow::Continue(())
    })?;
    let last = more.first().and(page.last()).copied();
    if last.is_some() {
        // The next page begins there.
        time.keep_tenant(tenant, &world, began);
    }
    Ok(History { entries, next_after: last })
}
