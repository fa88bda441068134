//! How long a look into the past takes: everything at a random moment, one tenant at a random
//! moment, what a restore of it would come to, and a page of its history.
//!
//! The journal is written by its own pipeline, with the snapshots that a control plane writes
//! and keeps. Measured in the same run: reading as many events in a row as one tenant's past
//! is folded from, and one tenant's past taken out of everything's, as it is without the index.
//!
//! `cargo bench --bench as_of [-- EVENTS TENANTS [DIR]]`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::history::History;
use support::{journal, machine};
use tenantry::domain::ctx::{Ctx, Ids};
use tenantry::domain::restore::{OnConflict, Restore, Then, plan};
use tenantry::engine::JournalSource;
use tenantry_journal::Opened;
use tenantry_journal::event::Event;
use tenantry_journal::event::health::{HealthChanged, TenantHealth};
use tenantry_journal::event::tenant::Part;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Vault;
use tenantry_projections::as_of::{Source as _, TimeTravel};
use tenantry_projections::history;
use tenantry_projections::snapshot::{Snapshots, TreeState};
use tenantry_projections::world::World;

mod support {
    pub(crate) mod history;
    pub(crate) mod journal;
    pub(crate) mod machine;
}

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: u64 = 1_000_000;
const TENANTS: u64 = 10_000;
/// As the control plane does it.
const BETWEEN_SNAPSHOTS: u64 = 50_000;
/// Of one tenant, besides what it has like the others.
const OF_THE_BUSY: u64 = 10_000;
const QUESTIONS: u64 = 1_000;
/// A look at everything takes long.
const WHOLE_QUESTIONS: u64 = 60;

const WHOLE_GOAL: Duration = Duration::from_millis(50);
const TENANT_GOAL: Duration = Duration::from_millis(10);
const PREVIEW_GOAL: Duration = Duration::from_millis(20);

fn main() {
    let (events, tenants) = (machine::number(0, EVENTS), machine::number(1, TENANTS));
    let place = machine::argument(2).unwrap_or(env!("CARGO_TARGET_TMPDIR").to_owned());
    println!("{}", machine::about());
    let dir = tempfile::tempdir_in(place).unwrap();
    let made = Made::new(dir.path(), events, tenants);
    made.measure(dir.path());
}

/// A journal, with what is known of it.
struct Made {
    opened: Opened,
    head: World,
    tenants: Vec<TenantId>,
    /// The one with the most events.
    busy: TenantId,
}

/// The history with a tenant that does more than the others: it is healthy, and then not so.
fn events(count: u64, tenants: u64) -> impl Iterator<Item = Recorded> {
    let every = (count / OF_THE_BUSY).max(2);
    let mut history = History::of(tenants).peekable();
    let first = history.peek().unwrap().clone();
    let busy = first.tenant_id.unwrap();
    (1..=count).map(move |seq| {
        if !seq.is_multiple_of(every) {
            return Recorded { seq: Seq(seq), ..history.next().unwrap() };
        }
        let (overall, state) = match seq / every % 2 {
            0 => (TenantHealth::Healthy, "up"),
            _ => (TenantHealth::Degraded, "down"),
        };
        let changed = HealthChanged {
            tenant_id: busy,
            overall,
            frontend: state.to_owned(),
            backend: state.to_owned(),
            database: "healthy".to_owned(),
        };
        let mut recorded = Recorded { seq: Seq(seq), ..first.clone() };
        recorded.draft.event = Event::from(changed);
        recorded
    })
}

impl Made {
    fn new(path: &Path, count: u64, tenants: u64) -> Made {
        let opened = journal::write(path, events(count, tenants), |_| {});
        let snapshots = Snapshots::open(path.join("snapshots"), vault(&opened)).unwrap();
        let mut world = World::default();
        let mut bytes = 0;
        for recorded in events(count, tenants) {
            world.evolve(&recorded);
            if recorded.seq.0.is_multiple_of(BETWEEN_SNAPSHOTS) {
                bytes = snapshots.write(&world, &TreeState::default()).unwrap();
                snapshots.prune().unwrap();
            }
        }
        println!(
            "{} snapshots are kept, the newest has {:.1} MB",
            snapshots.list().len(),
            bytes as f64 / 1e6
        );
        let tenants: Vec<TenantId> = world.tenants.iter().map(|tenant| tenant.id).collect();
        let busy = *tenants.first().unwrap();
        Made { opened, head: world, tenants, busy }
    }

    fn travel(&self, path: &Path) -> TimeTravel {
        let source = JournalSource::new(Arc::clone(&self.opened.store) as _, vault(&self.opened));
        let snapshots = Snapshots::open(path.join("snapshots"), vault(&self.opened)).unwrap();
        TimeTravel::new(Arc::new(source), Arc::new(snapshots)).indexed_in(path.join("tenants.seqs"))
    }
}

fn vault(opened: &Opened) -> Arc<dyn Vault> {
    Arc::clone(&opened.keyring) as Arc<dyn Vault>
}

/// Numbers that look random, the same ones in each run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Asks so many times; gives the middle and the 99th of a hundred, in milliseconds.
fn asked(count: u64, mut ask: impl FnMut(u64)) -> (f64, f64) {
    let mut times: Vec<f64> = (0..count)
        .map(|n| {
            let began = Instant::now();
            ask(n);
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (machine::at(&times, 0.5), machine::at(&times, 0.99))
}

impl Made {
    fn measure(&self, path: &Path) {
        let (head, count) = (&self.head, self.head.seq.0);
        let travel = self.travel(path);
        let began = Instant::now();
        travel.index(head.seq).unwrap();
        let indexed = began.elapsed();
        travel.keep_index().unwrap();
        let again = self.travel(path);
        let began = Instant::now();
        again.index(head.seq).unwrap();
        println!(
            "whose each event is: read from the journal in {:.0} ms, from its file in {:.0} ms, {:.1} MB in memory",
            indexed.as_secs_f64() * 1e3,
            began.elapsed().as_secs_f64() * 1e3,
            again.index_memory() as f64 / 1e6,
        );
        println!("\n| {count} events, {} tenants | p50 ms | p99 ms | goal |", self.tenants.len());
        println!("| --- | ---: | ---: | --- |");
        let line = |name: &str, (p50, p99): (f64, f64), goal: Option<Duration>| {
            let goal = goal.map_or(String::new(), |goal| {
                format!("p99 {goal:?} {}", machine::verdict(p99 <= goal.as_secs_f64() * 1e3))
            });
            println!("| {name} | {p50:.2} | {p99:.2} | {goal} |");
        };
        let mut draw = Draw(42);
        let mut moment = || Seq(1 + draw.below(count));
        // The files are in the page cache for all of them alike.
        let source = JournalSource::new(Arc::clone(&self.opened.store) as _, vault(&self.opened));
        let own = usize::try_from(count).unwrap() / self.tenants.len() / 2;
        let in_a_row = asked(QUESTIONS, |_| {
            let from = moment();
            let until = Seq(from.0 + own as u64).min(head.seq);
            source.read(from, until, &mut |_| ControlFlow::Continue(())).unwrap();
        });
        line(&format!("baseline: {own} events in a row, read"), in_a_row, None);
        let mut draw = Draw(7);
        let mut one = || {
            let tenant = self.tenants[draw.below(self.tenants.len() as u64) as usize];
            (tenant, Seq(1 + draw.below(count)))
        };
        let tenants = asked(QUESTIONS, |_| {
            let (tenant, seq) = one();
            travel.tenant_at(tenant, seq, head).unwrap();
        });
        line("one tenant", tenants, Some(TENANT_GOAL));
        let mut draw = Draw(9);
        let busy = asked(QUESTIONS / 10, |_| {
            travel.forget();
            travel.tenant_at(self.busy, Seq(1 + draw.below(count)), head).unwrap();
        });
        line("the one with over 10,000 events, nothing kept", busy, None);
        let policy = Arc::new(tenantry::config::Config::parse("", &Default::default()).unwrap().policy());
        let previews = asked(QUESTIONS, |_| {
            let (tenant, seq) = one();
            let then = travel.tenant_at(tenant, seq, head).unwrap();
            let Some(then) = Then::of(&then, tenant) else { return };
            let ctx = Ctx { now: head.at, ids: Ids::new(head.at, 0), policy: Arc::clone(&policy) };
            let restore = Restore {
                tenant_id: tenant,
                then,
                include: Part::ALL.into(),
                on_conflict: OnConflict::Fail,
                listening: Default::default(),
                left: Default::default(),
                lost_logos: Default::default(),
            };
            // One that is being deployed is refused, after as much work.
            let Ok(plan) = plan(head, &restore, &ctx) else { return };
            let mut after = head.clone();
            for event in plan.events {
                let draft = tenantry_journal::recorded::Draft::of_system(
                    tenantry_journal::id::EventId(uuid::Uuid::nil()),
                    head.at,
                    event,
                );
                after.evolve(&Recorded { seq: after.seq.next(), draft });
            }
            std::hint::black_box(history::diff(head, &after, tenant));
        });
        line("what a restore of one tenant comes to", previews, Some(PREVIEW_GOAL));
        let first = asked(QUESTIONS / 10, |_| {
            travel.forget();
            let page = history::history(&travel, head, self.busy, (Seq::ZERO, head.seq), 100).unwrap();
            assert_eq!(page.entries.len(), 100);
        });
        line("the first page of over 10,000 events of one tenant", first, Some(TENANT_GOAL));
        let whole = asked(WHOLE_QUESTIONS, |_| {
            travel.forget();
            travel.world_at(moment(), head).unwrap();
        });
        line("everything, from the nearest snapshot, nothing kept", whole, Some(WHOLE_GOAL));
        println!("One tenant's past is {:.0} times as fast as everything's.", whole.0 / tenants.0);
    }
}
