//! How fast the World is folded, copied, kept and shown, at 10,000 tenants and 1,000,000
//! events in memory; decoding them is measured with the journal. The baseline is the least
//! that any read model does for an event: find its subject in a map and change it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::*;
use tenantry_journal::event::instance::*;
use tenantry_journal::event::port::{PortAllocated, PortPair};
use tenantry_journal::event::tenant::*;
use tenantry_journal::id::{CommandId, DeploymentId, EventId, InstanceId, KeyId, RunId, Seq, TenantId};
use tenantry_journal::recorded::{Actor, Draft, Recorded};
use tenantry_journal::sealed::{Sealed, Secret, Vault};
use tenantry_journal::time::Timestamp;
use tenantry_projections::event_view::EventView;
use tenantry_projections::snapshot::{Snapshots, TreeState};
use tenantry_projections::world::World;
use uuid::Uuid;

const TENANTS: u64 = 10_000;
const EVENTS: usize = 1_000_000;
/// Each figure is the best of so many runs.
const RUNS: usize = 3;
/// Events of one commit: the World is published, and so copied, after each.
const COMMIT: usize = 64;

fn main() {
    let events = Stream::new().fill();
    let sealed = events.iter().filter(|recorded| is_sealed(&recorded.event)).count();
    println!(
        "{} events about {TENANTS} tenants, {} % with sealed fields",
        events.len(),
        sealed * 100 / events.len()
    );

    let baseline = per_second(events.len(), || touch(&events));
    row("find and change in a BTreeMap (baseline)", baseline, baseline);
    row("find and change in a HashMap", per_second(events.len(), || touch_hashed(&events)), baseline);
    row("fold", per_second(events.len(), || fold(&events)), baseline);
    row(
        "fold, a copy kept for each commit of 64",
        per_second(events.len(), || fold_and_publish(&events)),
        baseline,
    );

    let world = fold(&events);
    row(
        "copies of the World",
        per_second(EVENTS, || (0..EVENTS).for_each(|_| drop(black_box(world.clone())))),
        baseline,
    );
    row("events shown as JSON", per_second(events.len(), || show(&events, &world)), baseline);
    keep(&world);
}

fn keep(world: &World) {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(dir.path(), Arc::new(PadVault)).unwrap();
    let tree = TreeState::default();
    let (bytes, write) = timed(|| snapshots.write(world, &tree).unwrap());
    let (loaded, load) = timed(|| snapshots.load(world.seq).unwrap());
    assert!(loaded.world == *world, "a snapshot gives back what was written");
    // What was read has its ciphertext at hand.
    let (_, again) = timed(|| snapshots.write(&loaded.world, &tree).unwrap());
    println!(
        "snapshot: {:.1} MB, {:.0} ms to write and sync ({:.0} ms when read from one), {:.0} ms to load",
        bytes as f64 / 1e6,
        write.as_secs_f64() * 1e3,
        again.as_secs_f64() * 1e3,
        load.as_secs_f64() * 1e3,
    );
}

fn row(what: &str, rate: f64, baseline: f64) {
    println!("{what:<44} {:>8.2} M/s {:>8.2} x", rate / 1e6, rate / baseline);
}

fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn per_second<R>(count: usize, mut work: impl FnMut() -> R) -> f64 {
    // What the work made is dropped after the clock stopped.
    let best = (0..RUNS).map(|_| timed(|| black_box(work())).1).min().unwrap();
    count as f64 / best.as_secs_f64()
}

fn fold(events: &[Recorded]) -> World {
    let mut world = World::default();
    for recorded in events {
        world.evolve(recorded);
    }
    world
}

fn fold_and_publish(events: &[Recorded]) -> World {
    let mut world = World::default();
    let mut published = world.clone();
    for commit in events.chunks(COMMIT) {
        for recorded in commit {
            world.evolve(recorded);
        }
        published = world.clone();
    }
    published
}

fn touch(events: &[Recorded]) -> BTreeMap<Uuid, Box<[u64; 16]>> {
    let mut map: BTreeMap<Uuid, Box<[u64; 16]>> = BTreeMap::new();
    for recorded in events {
        map.entry(subject(recorded)).or_default()[0] = recorded.seq.0;
    }
    map
}

fn touch_hashed(events: &[Recorded]) -> HashMap<Uuid, Box<[u64; 16]>> {
    let mut map: HashMap<Uuid, Box<[u64; 16]>> = HashMap::new();
    for recorded in events {
        map.entry(subject(recorded)).or_default()[0] = recorded.seq.0;
    }
    map
}

fn subject(recorded: &Recorded) -> Uuid {
    recorded.instance_id.map(|id| id.0).or(recorded.tenant_id.map(|id| id.0)).unwrap_or_default()
}

fn show(events: &[Recorded], world: &World) -> usize {
    let mut out = Vec::new();
    let mut bytes = 0;
    for recorded in events {
        out.clear();
        EventView::new(recorded, world).append_to(&mut out).unwrap();
        bytes += out.len();
    }
    bytes
}

fn is_sealed(event: &Event) -> bool {
    matches!(
        event,
        Event::TenantCreated(_)
            | Event::TenantUpdated(_)
            | Event::TenantConfigUpdated(_)
            | Event::InstanceSpawned(_)
            | Event::DeploymentRequested(_)
            | Event::StepFinished(_)
    )
}

/// Stands for the keyring at about the price of its cipher.
struct PadVault;

impl Vault for PadVault {
    fn seal(&self, key: KeyId, plain: &[u8]) -> Option<Vec<u8>> {
        let mut pad = vec![0; plain.len() + 16];
        blake3::Hasher::new().update(key.0.as_bytes()).finalize_xof().fill(&mut pad);
        pad.iter_mut().zip(plain).for_each(|(pad, byte)| *pad ^= byte);
        Some(pad)
    }

    fn open(&self, key: KeyId, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.seal(key, sealed)?;
        plain.truncate(sealed.len().checked_sub(16)?);
        Some(plain)
    }
}

/// A repeatable history: every tenant is created and deployed, then its processes live.
struct Stream {
    events: Vec<Recorded>,
    /// The present run of each instance.
    runs: Vec<Uuid>,
    random: u64,
}

fn tenant(n: u64) -> TenantId {
    TenantId(uuid(n))
}

fn instance(n: u64) -> InstanceId {
    InstanceId(uuid(n))
}

/// Ids made in this order sort in it, as UUIDv7 do, but are not consecutive numbers.
fn uuid(n: u64) -> Uuid {
    let tail = (n ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Uuid::from_u128(u128::from(n) << 80 | 7 << 76 | 2 << 62 | u128::from(tail >> 2))
}

impl Stream {
    fn new() -> Stream {
        Stream {
            events: Vec::with_capacity(EVENTS),
            runs: vec![Uuid::nil(); 2 * TENANTS as usize],
            random: 1,
        }
    }

    fn fill(mut self) -> Vec<Recorded> {
        for n in 0..TENANTS {
            self.create(n);
        }
        while self.events.len() < EVENTS {
            let n = self.draw() % TENANTS;
            let process = 2 * n + self.draw() % 2;
            match self.draw() % 100 {
                0..2 => self.update(n),
                2 => self.deploy(n),
                3..40 => self.crash(process),
                _ => self.blip(process),
            }
        }
        self.events.truncate(EVENTS);
        self.events
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn push(&mut self, tenant_id: TenantId, instance_id: Option<InstanceId>, event: impl Into<Event>) {
        let seq = self.events.len() as u64 + 1;
        let draft = Draft {
            id: EventId(uuid(seq)),
            at: Timestamp(1_763_726_400_000 + seq),
            actor: Actor::System,
            tenant_id: Some(tenant_id),
            instance_id,
            command_id: CommandId(uuid(seq)),
            caused_by: None,
            idempotency: None,
            event: event.into(),
        };
        self.events.push(Recorded { seq: Seq(seq), draft });
    }

    fn details(n: u64, notes: u64) -> Sealed<TenantDetails> {
        let details = TenantDetails {
            name: format!("Campaign of candidate {n}"),
            slug: format!("campaign-{n}").parse().unwrap(),
            domain: format!("campaign-{n}.example.com").parse().unwrap(),
            api_domain: Some(format!("api.campaign-{n}.example.com").parse().unwrap()),
            github_repo: Some("https://git.example.com/campaign.git".to_owned()),
            notes: Some(format!("note {notes}")),
            directory: format!("/srv/tenants/campaign-{n}"),
        };
        Sealed::new(tenant(n), details)
    }

    fn create(&mut self, n: u64) {
        let tenant_id = tenant(n);
        self.push(tenant_id, None, TenantCreated { tenant_id, details: Self::details(n, 0) });
        let first = 2 * u16::try_from(n).unwrap() + 10_000;
        let ports = PortPair { frontend: first, backend: first + 1 };
        self.push(tenant_id, None, PortAllocated { tenant_id, ports });
        let fields =
            ["site_title", "contact_email", "region"].map(|key| (key.to_owned(), format!("value {n}")));
        let custom_env = BTreeMap::from([("API_KEY".to_owned(), Secret::new(format!("key-{n}")))]);
        let config = Sealed::new(tenant_id, TenantConfig { fields: BTreeMap::from(fields), custom_env });
        self.push(
            tenant_id,
            None,
            TenantConfigUpdated { tenant_id, changed: vec!["region".to_owned()], config },
        );
        for (role, port) in [(Role::Frontend, ports.frontend), (Role::Backend, ports.backend)] {
            self.spawn(n, role, port);
        }
        self.deploy(n);
        for offset in 0..2 {
            let instance_id = instance(2 * n + offset);
            self.push(tenant_id, Some(instance_id), InstanceStartRequested { instance_id });
            self.start(2 * n + offset);
        }
    }

    fn spawn(&mut self, n: u64, role: Role, port: u16) {
        let instance_id = instance(2 * n + u64::from(role == Role::Backend));
        let env = (0..6).map(|key| (format!("SETTING_{key}"), Secret::new(format!("value {n}"))));
        let spec = ProcessSpec {
            command: "bin/serve".to_owned(),
            args: vec!["--config".to_owned(), "app.toml".to_owned()],
            env: env.collect(),
            workdir: format!("/srv/tenants/campaign-{n}/current"),
            listen: Listen::Port(port),
            health: Some("/health".to_owned()),
            restart: RestartPolicy::Always,
            startup_timeout_ms: 30_000,
            stop_timeout_ms: 10_000,
            health_interval_ms: 5_000,
        };
        let name = format!("{}:campaign-{n}", role.as_str()).parse().unwrap();
        let spawned = InstanceSpawned {
            instance_id,
            name: Sealed::new(tenant(n), name),
            tenant: Some((tenant(n), role)),
            spec: Sealed::new(tenant(n), spec),
        };
        self.push(tenant(n), Some(instance_id), spawned);
    }

    fn update(&mut self, n: u64) {
        let details = Self::details(n, self.random);
        let tenant_id = tenant(n);
        self.push(tenant_id, None, TenantUpdated { tenant_id, changed: vec!["notes".to_owned()], details });
    }

    fn deploy(&mut self, n: u64) {
        let tenant_id = tenant(n);
        let deployment_id = DeploymentId(uuid(self.events.len() as u64));
        let text = |text: &str| Sealed::new(tenant_id, text.to_owned());
        let steps = StepKind::ALL.into_iter().map(|kind| PlannedStep { kind, skip: None }).collect();
        let source = text("https://git.example.com/campaign.git");
        let requested = DeploymentRequested { deployment_id, tenant_id, release: 1, source, steps };
        self.push(tenant_id, None, requested);
        for step in StepKind::ALL {
            self.push(tenant_id, None, StepStarted { deployment_id, step });
            let detail = text("done as planned");
            let finished = StepFinished { deployment_id, step, outcome: StepOutcome::Success, detail };
            self.push(tenant_id, None, finished);
        }
        self.push(tenant_id, None, ReleaseActivated { deployment_id, tenant_id, release: 1, commit: None });
        let outcome = DeploymentOutcome::Success;
        self.push(tenant_id, None, DeploymentFinished { deployment_id, tenant_id, outcome });
    }

    fn about(&mut self, n: u64, event: impl Into<Event>) {
        self.push(tenant(n / 2), Some(instance(n)), event);
    }

    fn health(&mut self, n: u64, health: InstanceHealth) {
        let (instance_id, run_id) = (instance(n), RunId(self.runs[n as usize]));
        self.about(n, InstanceHealthChanged { instance_id, run_id, health, detail: "HTTP 200".to_owned() });
    }

    fn start(&mut self, n: u64) {
        self.runs[n as usize] = uuid(self.events.len() as u64);
        let (instance_id, run_id) = (instance(n), RunId(self.runs[n as usize]));
        self.about(n, InstanceStarting { instance_id, run_id });
        self.about(n, InstanceStarted { instance_id, run_id, pid: 7, start_ticks: n });
        self.health(n, InstanceHealth::Healthy);
    }

    fn crash(&mut self, n: u64) {
        let (instance_id, run_id) = (instance(n), RunId(self.runs[n as usize]));
        let now = Timestamp(1_763_726_400_000 + self.events.len() as u64);
        let status = ExitStatus::Code(1);
        self.about(n, InstanceExited { instance_id, run_id, status, exited_at: now });
        let scheduled = InstanceRestartScheduled { instance_id, not_before: now, delay_ms: 500, failures: 1 };
        self.about(n, scheduled);
        self.start(n);
    }

    fn blip(&mut self, n: u64) {
        self.health(n, InstanceHealth::Unhealthy);
        self.health(n, InstanceHealth::Healthy);
    }
}
