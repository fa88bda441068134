//! A history to measure with: what a control plane with so many tenants records, in order.
//!
//! Repeatable: the same number of tenants gives the same events, whoever asks.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use std::collections::{BTreeMap, VecDeque};

use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::*;
use tenantry_journal::event::instance::*;
use tenantry_journal::event::port::{PortAllocated, PortPair};
use tenantry_journal::event::tenant::*;
use tenantry_journal::id::{CommandId, DeploymentId, EventId, InstanceId, RunId, Seq, TenantId};
use tenantry_journal::recorded::{Actor, Draft, Recorded};
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_journal::time::Timestamp;
use uuid::Uuid;

/// A repeatable history: every tenant is created and deployed, then its processes live.
///
/// It has no end; what was made and not yet taken is a few dozen events.
pub(crate) struct History {
    tenants: u64,
    /// Tenants that were created.
    created: u64,
    /// Events that were made.
    count: u64,
    waiting: VecDeque<Recorded>,
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

impl Iterator for History {
    type Item = Recorded;

    fn next(&mut self) -> Option<Recorded> {
        while self.waiting.is_empty() {
            self.go_on();
        }
        self.waiting.pop_front()
    }
}

impl History {
    /// The history of so many tenants, at most 27,000: each has a pair of ports.
    pub(crate) fn of(tenants: u64) -> History {
        History {
            tenants,
            created: 0,
            count: 0,
            waiting: VecDeque::new(),
            runs: vec![Uuid::nil(); 2 * tenants as usize],
            random: 1,
        }
    }

    fn go_on(&mut self) {
        if self.created < self.tenants {
            self.create(self.created);
            self.created += 1;
            return;
        }
        let n = self.draw() % self.tenants;
        let process = 2 * n + self.draw() % 2;
        match self.draw() % 100 {
            0..2 => self.update(n),
            2 => self.deploy(n),
            3..40 => self.crash(process),
            _ => self.blip(process),
        }
    }

    /// What was not taken yet, and then the end of every process: whoever serves such a journal starts none.
    #[allow(dead_code, reason = "whoever only reads a journal needs no end of it")]
    pub(crate) fn rest(mut self) -> impl Iterator<Item = Recorded> {
        for n in 0..2 * self.created {
            let (instance_id, run_id) = (instance(n), RunId(self.runs[n as usize]));
            let exited_at = Timestamp(1_763_726_400_000 + self.count);
            self.about(n, InstanceStopRequested { instance_id });
            self.about(n, InstanceStopping { instance_id, run_id });
            self.about(n, InstanceExited { instance_id, run_id, status: ExitStatus::Code(0), exited_at });
            self.about(n, InstanceEnded { instance_id, failed: false });
        }
        self.waiting.into_iter()
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn push(&mut self, tenant_id: TenantId, instance_id: Option<InstanceId>, event: impl Into<Event>) {
        self.count += 1;
        let seq = self.count;
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
        self.waiting.push_back(Recorded { seq: Seq(seq), draft });
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
        let config = Sealed::new(
            tenant_id,
            TenantConfig { fields: BTreeMap::from(fields), custom_env, secret_env: [].into() },
        );
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
            given: None,
            limits: Limits::default(),
            idle_timeout_ms: None,
            restart_mode: tenantry_journal::event::instance::RestartMode::Replace,
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
        let deployment_id = DeploymentId(uuid(self.count));
        let text = |text: &str| Sealed::new(tenant_id, text.to_owned());
        let steps = StepKind::ALL.into_iter().map(|kind| PlannedStep { kind, skip: None }).collect();
        let source = text("https://git.example.com/campaign.git");
        let requested = DeploymentRequested {
            deployment_id,
            tenant_id,
            release: 1,
            source,
            steps,
            git_ref: None,
            rollback: false,
        };
        self.push(tenant_id, None, requested);
        for step in StepKind::ALL {
            self.push(tenant_id, None, StepStarted { deployment_id, step });
            let detail = text("done as planned");
            let finished =
                StepFinished { deployment_id, step, outcome: StepOutcome::Success, detail, commit: None };
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
        self.runs[n as usize] = uuid(self.count);
        let (instance_id, run_id) = (instance(n), RunId(self.runs[n as usize]));
        self.about(n, InstanceStarting { instance_id, run_id });
        self.about(n, InstanceStarted { instance_id, run_id, pid: 7, start_ticks: n });
        self.health(n, InstanceHealth::Healthy);
    }

    fn crash(&mut self, n: u64) {
        let (instance_id, run_id) = (instance(n), RunId(self.runs[n as usize]));
        let now = Timestamp(1_763_726_400_000 + self.count);
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
