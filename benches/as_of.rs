//! How long a look into the past takes: everything at a random moment, one tenant at a random
//! moment, what a restore of it would come to, and a page of its history.
//!
//! The journal is written by its own pipeline, with the snapshots that a control plane writes
//! and keeps. Measured in the same run: reading as many events in a row as one tenant's past
//! is folded from, one tenant's past taken out of everything's, as it is without the index,
//! and the parts that a look at everything is made of.
//!
//! `cargo bench --bench as_of [-- EVENTS TENANTS [DIR [write|tenant|whole [MIB]]]]`. With `write`
//! the journal is left in DIR; `tenant` and `whole` ask one that was, each for its part. Worlds of
//! the past take up to MIB.

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
use tenantry_projections::as_of::waypoints::MOST_BYTES;
use tenantry_projections::as_of::{self, Source as _, TimeTravel};
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
/// A look at everything without a World nearby takes long.
const EARLY_QUESTIONS: u64 = 15;

/// No kind of question is asked for longer: where answers take long, fewer tell as much.
const LONGEST: Duration = Duration::from_secs(10);

const WHOLE_GOAL: Duration = Duration::from_millis(50);
const TENANT_GOAL: Duration = Duration::from_millis(10);
const PREVIEW_GOAL: Duration = Duration::from_millis(20);

fn main() {
    let (events, tenants) = (machine::number(0, EVENTS), machine::number(1, TENANTS));
    let place = machine::argument(2).unwrap_or(env!("CARGO_TARGET_TMPDIR").to_owned());
    println!("{}", machine::about());
    match machine::argument(3).as_deref() {
        Some("write") => drop(Made::new(Path::new(&place), events, tenants)),
        Some("tenant") => Made::open(Path::new(&place)).of_one_tenant(Path::new(&place)),
        Some("whole") => Made::open(Path::new(&place)).of_everything(Path::new(&place)),
        _ => {
            let dir = tempfile::tempdir_in(place).unwrap();
            let made = Made::new(dir.path(), events, tenants);
            made.of_one_tenant(dir.path());
            made.of_everything(dir.path());
        }
    }
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
        let last = count - count % BETWEEN_SNAPSHOTS;
        for recorded in events(count, tenants) {
            world.evolve(&recorded);
            if recorded.seq.0.is_multiple_of(BETWEEN_SNAPSHOTS) && is_kept(recorded.seq.0, last) {
                bytes = snapshots.write(&world, &TreeState::default()).unwrap();
                snapshots.prune().unwrap();
            }
        }
        println!(
            "{} snapshots are kept, the newest has {:.1} MB",
            snapshots.list().len(),
            bytes as f64 / 1e6
        );
        Made::at(opened, world)
    }

    /// One that was left.
    fn open(path: &Path) -> Made {
        let opened = tenantry_journal::open(path).unwrap();
        let snapshots = Snapshots::open(path.join("snapshots"), vault(&opened)).unwrap();
        let head = opened.tail.head;
        let began = Instant::now();
        let mut world = snapshots.latest_at_or_before(head).unwrap().world;
        println!("the newest snapshot is loaded in {:.0} ms", ms(began));
        let source = JournalSource::new(Arc::clone(&opened.store) as _, vault(&opened));
        as_of::fold(&source, &mut world, head).unwrap();
        Made::at(opened, world)
    }

    fn at(opened: Opened, head: World) -> Made {
        let tenants: Vec<TenantId> = head.tenants.iter().map(|tenant| tenant.id).collect();
        let busy = *tenants.first().unwrap();
        Made { opened, head, tenants, busy }
    }

    fn travel(&self, path: &Path) -> TimeTravel {
        let source = JournalSource::new(Arc::clone(&self.opened.store) as _, vault(&self.opened));
        let snapshots = Snapshots::open(path.join("snapshots"), vault(&self.opened)).unwrap();
        let travel = TimeTravel::new(Arc::new(source), Arc::new(snapshots));
        let mib = machine::number(4, MOST_BYTES as u64 >> 20);
        travel.let_take(usize::try_from(mib << 20).unwrap());
        travel.indexed_in(path.join("tenants.seqs"))
    }
}

/// Whether a snapshot would be one of those that are kept when the last one is written, more or
/// less: most of a long journal's were removed again, and need not be written here.
fn is_kept(seq: u64, last: u64) -> bool {
    let back = (last - seq) / BETWEEN_SNAPSHOTS;
    back < 16 || back.is_power_of_two()
}

fn line(name: &str, (p50, p99): (f64, f64), goal: Option<Duration>) {
    let goal = goal.map_or(String::new(), |goal| {
        format!("p99 {goal:?} {}", machine::verdict(p99 <= goal.as_secs_f64() * 1e3))
    });
    println!("| {name} | {p50:.2} | {p99:.2} | {goal} |");
}

fn ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
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
    let began = Instant::now();
    let mut times: Vec<f64> = (0..count)
        .take_while(|_| began.elapsed() < LONGEST)
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
    fn of_one_tenant(&self, path: &Path) {
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
        self.head_of_table();
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
        let page = asked(QUESTIONS, |_| {
            travel.forget();
            let tenant = self.tenants[moment().0 as usize % self.tenants.len()];
            history::history(&travel, head, tenant, (Seq::ZERO, moment()), 100).unwrap();
        });
        line("the first page of a random tenant up to a random moment", page, None);
    }

    fn head_of_table(&self) {
        println!("\n| {} events, {} tenants | p50 ms | p99 ms | goal |", self.head.seq, self.tenants.len());
        println!("| --- | ---: | ---: | --- |");
    }

    fn of_everything(&self, path: &Path) {
        let head = &self.head;
        let travel = self.travel(path);
        let mut draw = Draw(42);
        let mut moment = || Seq(1 + draw.below(head.seq.0));
        self.head_of_table();
        let early = asked(EARLY_QUESTIONS, |_| {
            travel.forget();
            travel.world_at(moment(), head).unwrap();
        });
        line("everything, right after a start: from the nearest snapshot", early, None);
        let whole = self.waypoints(&travel, || {
            asked(QUESTIONS / 2, |_| {
                travel.world_at(moment(), head).unwrap();
            })
        });
        line("everything, one random moment after the other", whole, Some(WHOLE_GOAL));
        self.parts();
    }

    /// Has the past prepared as the control plane does it; tells what that costs, and asks.
    fn waypoints<R>(&self, travel: &TimeTravel, ask: impl FnOnce() -> R) -> R {
        travel.forget();
        let before = machine::memory(std::process::id()).rss;
        let (began, cpu) = (Instant::now(), machine::own_cpu_time());
        let mut longest = 0.0_f64;
        loop {
            let step = Instant::now();
            let more = travel.prepare(self.head.seq).unwrap();
            longest = longest.max(ms(step));
            if !more {
                break;
            }
        }
        let (took, cpu) = (ms(began), machine::own_cpu_time() - cpu);
        let taken = machine::memory(std::process::id()).rss.saturating_sub(before);
        let at_hand = travel.at_hand();
        println!(
            "| prepared in {took:.0} ms ({} of processor time), the longest step {longest:.1} ms: {} Worlds, {} of \
             them whole, {} events apart, {:.0} MB by estimate, {:.0} MB more in memory | | | |",
            machine::ms(cpu),
            at_hand.worlds,
            at_hand.whole,
            at_hand.spacing,
            at_hand.bytes as f64 / 1e6,
            taken as f64 * 1024.0 / 1e6,
        );
        ask()
    }

    /// What a look at everything is made of, each alone.
    fn parts(&self) {
        const EVENTS: u64 = 8192;
        let mut draw = Draw(11);
        let last = self.head.seq.0 - EVENTS;
        let source = JournalSource::new(Arc::clone(&self.opened.store) as _, vault(&self.opened));
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..40 {
            let after = Seq(draw.below(last));
            let until = Seq(after.0 + EVENTS);
            let (mut events, mut own) = (Vec::new(), 0);
            let began = Instant::now();
            source.tenants(after, after.next(), &mut |_, _| own += 1).unwrap();
            let reached = ms(began);
            let began = Instant::now();
            source.tenants(after, until, &mut |_, _| own += 1).unwrap();
            let read = ms(began);
            let began = Instant::now();
            source.read(after, until, &mut |_| ControlFlow::Continue(())).unwrap();
            let decoded = ms(began);
            source
                .read(after, until, &mut |recorded| {
                    events.push(recorded.clone());
                    ControlFlow::Continue(())
                })
                .unwrap();
            let mut world = self.head.clone();
            let began = Instant::now();
            events.iter().for_each(|recorded| world.evolve(recorded));
            let folded = ms(began);
            std::hint::black_box((&world, own));
            for (times, time) in times.iter_mut().zip([reached, read, decoded, folded]) {
                times.push(time);
            }
        }
        let [reached, read, decoded, folded] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            format!("p50 {:.2} ms, p90 {:.2} ms", machine::at(&times, 0.5), machine::at(&times, 0.9))
        });
        println!("\nThe parts, for {EVENTS} events in a row at a random place:");
        println!("- the first of them is reached: {reached}");
        println!("- read and checked: {read}");
        println!("- read, checked and decoded: {decoded}");
        println!("- folded into a World that is shared: {folded}");
    }
}
