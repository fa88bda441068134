//! Given / when / then for decisions: a World, commands, and what they record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tenantry::domain::command::{Command, CreateTenant, DeploySwitches, Listening, StepReport};
use tenantry::domain::ctx::{Ctx, Ids};
use tenantry::domain::decide::{decide, subject};
use tenantry::domain::effect::Effect;
use tenantry::domain::policy::{
    Backoff, DeployTemplate, Deploying, Edges, Policy, PortRange, Retention, ServiceTemplate,
};
use tenantry::domain::react::react;
use tenantry::domain::rejection::{Reason, Rejection};
use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth, Limits, RestartPolicy};
use tenantry_journal::id::{DeploymentId, InstanceId, RunId, TenantId};
use tenantry_journal::recorded::{Actor, Draft, Recorded};
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::Instance;

fn service(restart: RestartPolicy) -> ServiceTemplate {
    ServiceTemplate {
        command: "python3".into(),
        args: vec!["{release}/app.py".into()],
        env: BTreeMap::new(),
        socket: None,
        health: Some("/health".into()),
        workdir: None,
        restart,
        startup_timeout_ms: 30_000,
        stop_timeout_ms: 10_000,
        health_interval_ms: 10_000,
        limits: Limits::default(),
        idle_timeout_ms: None,
        restart_mode: tenantry_journal::event::instance::RestartMode::Replace,
    }
}

fn rolling() -> ServiceTemplate {
    let restart_mode = tenantry_journal::event::instance::RestartMode::Rolling;
    ServiceTemplate { restart_mode, ..service(RestartPolicy::Always) }
}

/// The policy of every scenario: three services, one for each restart policy, and `api`.
pub(crate) fn policy() -> Policy {
    let services = [
        ("api", RestartPolicy::Always),
        ("always", RestartPolicy::Always),
        ("on-failure", RestartPolicy::OnFailure),
        ("never", RestartPolicy::Never),
    ];
    Policy {
        data_dir: PathBuf::from("/data"),
        deploy_root: PathBuf::from("/data/tenants"),
        ports: PortRange { first: 32300, last: 32399, step: 10 },
        instance_ports: (28000, 28999),
        services: services
            .into_iter()
            .map(|(name, p)| (name.parse().unwrap(), service(p)))
            .chain([("rolling".parse().unwrap(), rolling())])
            .collect(),
        template: DeployTemplate {
            frontend: Some(service(RestartPolicy::Always)),
            backend: Some(service(RestartPolicy::Always)),
            init: None,
            migrate: None,
            database: "data/app.db".into(),
        },
        deploying: Deploying::default(),
        edges: Edges { nginx_off: Some("nginx is off".into()), ssl_off: Some("ssl is off".into()) },
        backoff: Backoff { initial_ms: 500, cap_ms: 60_000, stable_ms: 60_000 },
        retention: Retention::default(),
    }
}

/// A World under decision.
pub(crate) struct Scenario {
    pub(crate) world: World,
    pub(crate) now: Timestamp,
    pub(crate) listening: Listening,
    pub(crate) recorded: Vec<Recorded>,
    policy: Arc<Policy>,
    commands: u64,
}

/// What a command came to.
pub(crate) struct Then {
    what: Result<Vec<&'static str>, Rejection>,
}

impl Then {
    /// It recorded exactly these kinds.
    #[track_caller]
    pub(crate) fn then(self, kinds: &[&str]) {
        assert_eq!(self.what.as_deref(), Ok(kinds));
    }

    /// It was refused, and recorded nothing.
    #[track_caller]
    pub(crate) fn rejected(self, reason: Reason, code: &str) {
        let rejection = self.what.expect_err("it was not refused");
        assert_eq!((rejection.reason, rejection.code), (reason, code), "{rejection}");
    }
}

impl Scenario {
    pub(crate) fn new() -> Scenario {
        Scenario {
            world: World::default(),
            now: Timestamp(1_700_000_000_000),
            listening: Arc::new(BTreeSet::new()),
            policy: Arc::new(policy()),
            recorded: Vec::new(),
            commands: 0,
        }
    }

    /// With tenants whose processes are replaced by a run beside them.
    pub(crate) fn rolling() -> Scenario {
        let mut policy = policy();
        policy.template.frontend = Some(rolling());
        policy.template.backend = Some(rolling());
        Scenario { policy: Arc::new(policy), ..Scenario::new() }
    }

    /// Decides a command and folds what it recorded.
    pub(crate) fn attempt(&mut self, command: &Command) -> Result<Vec<Event>, Rejection> {
        self.commands += 1;
        let ctx = Ctx { now: self.now, ids: Ids::new(self.now, self.commands), policy: self.policy.clone() };
        let events = decide(&self.world, command, &ctx)?;
        for event in &events {
            let (tenant_id, instance_id) = subject(&self.world, event);
            let draft = Draft {
                id: ctx.ids.make(),
                at: self.now,
                actor: Actor::System,
                tenant_id,
                instance_id,
                command_id: ctx.ids.make(),
                caused_by: None,
                idempotency: None,
                event: event.clone(),
            };
            let recorded = Recorded { seq: self.world.seq.next(), draft };
            self.world.evolve(&recorded);
            self.recorded.push(recorded);
        }
        Ok(events)
    }

    pub(crate) fn when(&mut self, command: Command) -> Then {
        let what = self.attempt(&command).map(|events| events.iter().map(Event::kind).collect());
        Then { what }
    }

    pub(crate) fn effects(&self) -> Vec<Effect> {
        react(&self.world).into_iter().map(|due| due.effect).collect()
    }

    pub(crate) fn create(&self, slug: &str) -> Command {
        Command::CreateTenant(CreateTenant {
            name: format!("{slug} for Senate"),
            slug: slug.parse().unwrap(),
            domain: format!("{slug}.example.com").parse().unwrap(),
            api_domain: Some(format!("{slug}api.example.com").parse().unwrap()),
            frontend_port: None,
            backend_port: None,
            github_repo: Some("file:///srv/app".into()),
            notes: None,
            listening: self.listening.clone(),
        })
    }

    /// A tenant that was just created.
    pub(crate) fn tenant(&mut self, slug: &str) -> TenantId {
        let create = self.create(slug);
        self.attempt(&create).unwrap();
        self.world.tenants.by_slug(&slug.parse().unwrap()).unwrap()
    }

    /// A deployment that was just requested.
    pub(crate) fn deploy(&mut self, tenant_id: TenantId) -> DeploymentId {
        self.when(Command::DeployTenant { tenant_id, switches: DeploySwitches::default() })
            .then(&["deployment.requested"]);
        self.world.tenants.get(tenant_id).unwrap().deployment.unwrap()
    }

    /// Begins and finishes a step.
    #[track_caller]
    pub(crate) fn step(&mut self, deployment_id: DeploymentId, step: StepKind, then: &[&str]) {
        self.when(Command::BeginStep { deployment_id, step }).then(&["deployment.step_started"]);
        let report = StepReport::Done { detail: "done".into(), commit: None };
        self.when(Command::FinishStep { deployment_id, step, report }).then(then);
    }

    /// A tenant whose first release serves.
    pub(crate) fn deployed(&mut self, slug: &str) -> TenantId {
        let tenant_id = self.tenant(slug);
        let deployment_id = self.deploy(tenant_id);
        for step in [StepKind::CopyFiles, StepKind::InitializeDatabase, StepKind::CreateServices] {
            self.attempt(&Command::BeginStep { deployment_id, step }).unwrap();
            let report = StepReport::Done { detail: String::new(), commit: None };
            self.attempt(&Command::FinishStep { deployment_id, step, report }).unwrap();
        }
        let step = StepKind::StartServices;
        self.attempt(&Command::BeginStep { deployment_id, step }).unwrap();
        self.attempt(&Command::SwitchServices { deployment_id }).unwrap();
        self.bring_up(&format!("frontend:{slug}"));
        self.bring_up(&format!("backend:{slug}"));
        let report = StepReport::Done { detail: String::new(), commit: None };
        self.attempt(&Command::FinishStep { deployment_id, step, report }).unwrap();
        tenant_id
    }

    pub(crate) fn spawn(&self, name: &str) -> Command {
        let key = name.parse().unwrap();
        Command::SpawnInstance { key, env: BTreeMap::new(), listening: self.listening.clone() }
    }

    pub(crate) fn instance(&self, name: &str) -> &Instance {
        self.world.instances.by_key(&name.parse().unwrap()).expect("the instance is there")
    }

    pub(crate) fn run(&self, name: &str) -> (InstanceId, RunId) {
        let instance = self.instance(name);
        (instance.id, instance.run.as_ref().expect("it has a run").id)
    }

    /// Starts a run and makes it healthy.
    #[track_caller]
    pub(crate) fn bring_up(&mut self, name: &str) {
        let instance_id = self.instance(name).id;
        self.when(Command::BeginRun { instance_id, listening: None }).then(&["instance.starting"]);
        let (_, run_id) = self.run(name);
        let (pid, start_ticks) = (42, 42);
        self.when(Command::RunStarted { instance_id, run_id, pid, start_ticks }).then(&["instance.started"]);
        let (health, detail) = (InstanceHealth::Healthy, "HTTP 200".into());
        self.when(Command::HealthObserved { instance_id, run_id, health, detail })
            .then(&["instance.health_changed"]);
    }

    /// Ends the present run.
    #[track_caller]
    pub(crate) fn exit(&mut self, name: &str, status: ExitStatus, then: &[&str]) {
        let (instance_id, run_id) = self.run(name);
        let at = self.now;
        self.when(Command::RunExited { instance_id, run_id, status, at }).then(then);
    }
}
