//! Document 1's log: every event as a line with a level and a category.
//!
//! The lines themselves are made from events when they are read. What is kept here is an index:
//! for each block of [`BLOCK`] events how many lines of which tenant, level and category it has.
//! So the total of any filter is exact, and a page is found without reading what lies before it.

mod line;

use std::collections::{BTreeSet, HashMap};

pub use line::{Category, Level, category, level, message};
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::recorded::Recorded;

/// Events of one block: read in well under a millisecond.
pub const BLOCK: u64 = 1024;
/// Stands for events that are about no tenant.
const NO_TENANT: u32 = u32::MAX;

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of these tenants.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// Only of this level.
    pub level: Option<Level>,
    /// Only of this category.
    pub category: Option<Category>,
}

impl Filter {
    /// Whether an event's line is wanted.
    #[must_use]
    pub fn takes(&self, recorded: &Recorded) -> bool {
        let tenants = self.tenants.as_ref();
        tenants.is_none_or(|wanted| recorded.tenant_id.is_some_and(|tenant| wanted.contains(&tenant)))
            && self.level.is_none_or(|wanted| level(recorded) == wanted)
            && self.category.is_none_or(|wanted| category(recorded) == wanted)
    }
}

/// So many lines of one sort; 8 bytes.
#[derive(Clone, Copy, Debug)]
struct Count {
    tenant: u32,
    level: Level,
    category: Category,
    lines: u16,
}

/// Where a page lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// How many lines the filter takes in all.
    pub total: u64,
    /// The blocks that hold the page, the newest first: first and last position.
    pub blocks: Vec<(Seq, Seq)>,
    /// How many wanted lines of those blocks are newer than the page.
    pub skip: usize,
}

/// How many lines of which sort there are, and where.
#[derive(Debug, Default)]
pub struct Index {
    tenants: HashMap<TenantId, u32>,
    blocks: Vec<Vec<Count>>,
    noted: u64,
}

impl Index {
    /// The position of the first event that is not noted yet.
    #[must_use]
    pub fn next(&self) -> Seq {
        Seq(self.noted + 1)
    }

    /// Notes the next event. One that is noted already, or not the next, changes nothing.
    pub fn note(&mut self, recorded: &Recorded) {
        if recorded.seq != self.next() {
            return;
        }
        if self.noted.is_multiple_of(BLOCK) {
            self.blocks.push(Vec::new());
        }
        self.noted += 1;
        let tenant = recorded.tenant_id.map_or(NO_TENANT, |tenant| {
            let number = u32::try_from(self.tenants.len()).unwrap_or(NO_TENANT);
            *self.tenants.entry(tenant).or_insert(number)
        });
        let (level, category) = (level(recorded), category(recorded));
        let Some(block) = self.blocks.last_mut() else { return };
        let same =
            |count: &&mut Count| (count.tenant, count.level, count.category) == (tenant, level, category);
        match block.iter_mut().rev().find(same) {
            Some(count) => count.lines += 1,
            None => block.push(Count { tenant, level, category, lines: 1 }),
        }
    }

    /// Where the lines `offset` to `offset + limit`, counted from the newest, lie.
    #[must_use]
    pub fn place(&self, filter: &Filter, offset: usize, limit: usize) -> Place {
        let mut place = Place::default();
        let wanted = filter.tenants.as_ref();
        let tenants: Option<Vec<u32>> = wanted
            .map(|wanted| wanted.iter().filter_map(|tenant| self.tenants.get(tenant).copied()).collect());
        let is_wanted = |count: &&Count| {
            tenants.as_ref().is_none_or(|tenants| tenants.contains(&count.tenant))
                && filter.level.is_none_or(|level| count.level == level)
                && filter.category.is_none_or(|category| count.category == category)
        };
        let end = offset.saturating_add(limit) as u64;
        for (number, block) in self.blocks.iter().enumerate().rev() {
            let lines: u64 = block.iter().filter(is_wanted).map(|count| u64::from(count.lines)).sum();
            let newer = place.total;
            place.total += lines;
            if lines > 0 && newer < end && place.total > offset as u64 {
                if place.blocks.is_empty() {
                    place.skip = usize::try_from(offset as u64 - newer).unwrap_or(usize::MAX);
                }
                let first = number as u64 * BLOCK + 1;
                place.blocks.push((Seq(first), Seq((first + BLOCK - 1).min(self.noted))));
            }
        }
        place
    }
}
