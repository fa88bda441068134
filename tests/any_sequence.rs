//! Whatever is commanded, in whatever order: the invariants of the World hold, and folding
//! what was recorded gives the same World.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use support::scenario::Scenario;
use tenantry::domain::command::{Command, DeploySwitches, StepReport};
use tenantry::domain::effect::Effect;
use tenantry::domain::request::QUEUE;
use tenantry::domain::tenant_config::{ConfigChanges, EnvChanges};
use tenantry::domain::theme::{Found, ThemeChanges, theory};
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth};
use tenantry_journal::event::tenant::Removal;
use tenantry_journal::event::theme::SuggestionSource;
use tenantry_journal::id::{DeploymentId, RunId, TenantId};
use tenantry_projections::history::diff;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::DeploymentStatus;
use tenantry_projections::world::instances::{Desired, Instance, Rest};

/// What may happen next; the numbers choose among what is there.
#[derive(Clone, Debug)]
enum Move {
    Create(u8, Option<u16>),
    Delete(u8),
    /// Deletes one, and has it forgotten.
    Erase(u8),
    Deploy(u8),
    RollBack(u8),
    Cancel(u8),
    Retry(u8),
    Start(u8),
    Stop(u8),
    Restart(u8),
    Spawn(u8),
    Remove(u8),
    /// Performs one effect that is due, well or badly.
    Perform(u8, bool),
    Exit(u8, i32),
    Sicken(u8),
    /// Puts one to sleep, as after its idle timeout.
    Sleep(u8),
    /// A request comes for one.
    Wake(u8),
    Weigh(u8),
    /// Changes a configuration, and asks for its file.
    Configure(u8, u8),
    /// Replaces one by a new run.
    Roll(u8),
    /// Changes one's look.
    Dress(u8, u8),
    /// Asks for an analysis of one's website, or takes what one suggested.
    Look(u8, bool),
    Wait(u32),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (any::<u8>(), prop::option::weighted(0.2, 32295..32420_u16)).prop_map(|(n, p)| Move::Create(n, p)),
        1 => any::<u8>().prop_map(Move::Delete),
        1 => any::<u8>().prop_map(Move::Erase),
        3 => any::<u8>().prop_map(Move::Deploy),
        1 => any::<u8>().prop_map(Move::RollBack),
        1 => any::<u8>().prop_map(Move::Cancel),
        1 => any::<u8>().prop_map(Move::Retry),
        1 => any::<u8>().prop_map(Move::Start),
        1 => any::<u8>().prop_map(Move::Stop),
        1 => any::<u8>().prop_map(Move::Restart),
        2 => any::<u8>().prop_map(Move::Spawn),
        1 => any::<u8>().prop_map(Move::Remove),
        20 => (any::<u8>(), prop::bool::weighted(0.85)).prop_map(|(n, well)| Move::Perform(n, well)),
        2 => (any::<u8>(), 0..3_i32).prop_map(|(n, code)| Move::Exit(n, code)),
        1 => any::<u8>().prop_map(Move::Sicken),
        2 => any::<u8>().prop_map(Move::Sleep),
        2 => any::<u8>().prop_map(Move::Wake),
        1 => any::<u8>().prop_map(Move::Weigh),
        2 => (any::<u8>(), 0..4_u8).prop_map(|(n, value)| Move::Configure(n, value)),
        3 => any::<u8>().prop_map(Move::Roll),
        2 => (any::<u8>(), 0..4_u8).prop_map(|(n, color)| Move::Dress(n, color)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(n, ask)| Move::Look(n, ask)),
        1 => (0..120_000_u32).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..200)
}

fn pick<T: Clone>(n: u8, of: &[T]) -> Option<T> {
    of.get(usize::from(n) % of.len().max(1)).cloned()
}

fn tenant(s: &Scenario, n: u8) -> Option<TenantId> {
    pick(n, &s.world.tenants.iter().map(|tenant| tenant.id).collect::<Vec<_>>())
}

fn deployment(s: &Scenario, n: u8) -> Option<DeploymentId> {
    pick(n, &s.world.deployments.iter().map(|deployment| deployment.id).collect::<Vec<_>>())
}

fn report(well: bool) -> StepReport {
    if well {
        StepReport::Done { detail: "done".into(), commit: None }
    } else {
        StepReport::Failed { detail: "failed".into() }
    }
}

/// The present run, and the one beside it.
fn runs_of(instance: &Instance) -> impl Iterator<Item = RunId> {
    let beside = instance.beside.as_ref().map(|beside| &beside.run);
    instance.run.iter().chain(beside).map(|run| run.id)
}

/// What the reactor would submit for an effect, in order.
fn perform(s: &mut Scenario, effect: Effect, well: bool) {
    let commands = match effect {
        Effect::BeginRun(instance_id) => {
            vec![Command::BeginRun { instance_id, listening: Some(s.listening.clone()) }]
        }
        Effect::BeginSuccessor(instance_id) => {
            vec![Command::BeginSuccessor { instance_id, listening: s.listening.clone() }]
        }
        Effect::EnsureRun(instance_id, run_id) if well => vec![
            Command::RunStarted { instance_id, run_id, pid: 2, start_ticks: 3 },
            Command::HealthObserved {
                instance_id,
                run_id,
                health: InstanceHealth::Healthy,
                detail: String::new(),
            },
        ],
        Effect::EnsureRun(instance_id, run_id) => {
            vec![Command::RunFailed { instance_id, run_id, reason: "no".into() }]
        }
        Effect::EndRun(instance_id, run_id) => vec![
            Command::BeginStop { instance_id, run_id },
            Command::RunExited { instance_id, run_id, status: ExitStatus::Signal(15), at: s.now },
        ],
        Effect::ForgetInstance(instance_id) => vec![Command::InstanceGone { instance_id }],
        Effect::RunStep(deployment_id, step) => {
            let mut commands = vec![Command::BeginStep { deployment_id, step }];
            if step == StepKind::StartServices {
                commands.push(Command::SwitchServices { deployment_id });
            }
            commands.push(Command::FinishStep { deployment_id, step, report: report(well) });
            commands
        }
        Effect::RollBack(deployment_id) => {
            vec![Command::RolledBack { deployment_id, detail: "back".into() }]
        }
        Effect::WriteEnv(tenant_id) => {
            let wanted = s.world.configurations.get(tenant_id).and_then(|one| one.env_wanted);
            let answer = |answers| {
                if well {
                    let (path, backup) = ("/srv/.env".to_owned(), None);
                    Command::EnvWritten { tenant_id, answers, path, backup }
                } else {
                    Command::EnvFailed { tenant_id, answers, reason: "disk full".to_owned() }
                }
            };
            wanted.map(answer).into_iter().collect()
        }
        Effect::RemoveTenant(tenant_id) => {
            let removed = Removal { files: true, nginx: false, services: true };
            vec![Command::TenantRemoved { tenant_id, removed }]
        }
        Effect::EraseTenant(tenant_id) => vec![Command::TenantErased { tenant_id }],
        Effect::ApplyTheme(tenant_id) => {
            let theme = s.world.tenants.get(tenant_id).unwrap().theme.changed;
            vec![Command::ThemeApplied { tenant_id, theme }]
        }
        Effect::Analyze(analysis_id) => {
            let found = Found {
                source: SuggestionSource::Palette,
                model: None,
                drafts: theory::suggest(&[]),
                palette: Vec::new(),
                screenshot: None,
                notes: Vec::new(),
            };
            let report = Box::new(if well { Ok(found) } else { Err("failed".to_owned()) });
            vec![Command::BeginAnalysis { analysis_id }, Command::FinishAnalysis { analysis_id, report }]
        }
    };
    for command in commands {
        s.attempt(&command).expect("what the reactor reports is never refused");
    }
}

fn make(s: &mut Scenario, step: &Move) {
    let command = match *step {
        Move::Create(n, port) => {
            let Command::CreateTenant(mut create) = s.create(&format!("t{}", n % 14)) else {
                unreachable!("it creates")
            };
            create.frontend_port = port;
            Some(Command::CreateTenant(create))
        }
        Move::Delete(n) => tenant(s, n).map(|tenant_id| Command::DeleteTenant {
            tenant_id,
            remove: Removal { files: n % 2 == 0, nginx: true, services: true },
        }),
        Move::Erase(n) => tenant(s, n).map(|tenant_id| Command::EraseTenant {
            tenant_id,
            remove: Removal { files: n % 2 == 0, nginx: true, services: true },
        }),
        Move::Deploy(n) => tenant(s, n).map(|tenant_id| Command::DeployTenant {
            tenant_id,
            switches: DeploySwitches {
                skip_services: n % 7 == 0,
                queue: n % 3 == 0,
                ..DeploySwitches::default()
            },
        }),
        Move::RollBack(n) => tenant(s, n).map(|tenant_id| Command::RollBackTenant {
            tenant_id,
            release: (n % 2 == 0).then_some(u32::from(n % 5)),
        }),
        Move::Cancel(n) => deployment(s, n).map(|deployment_id| Command::CancelDeployment { deployment_id }),
        Move::Retry(n) => deployment(s, n).map(|deployment_id| Command::RetryDeployment { deployment_id }),
        Move::Start(n) => tenant(s, n).map(|tenant_id| Command::StartTenant { tenant_id }),
        Move::Stop(n) => tenant(s, n).map(|tenant_id| Command::StopTenant { tenant_id }),
        Move::Restart(n) => tenant(s, n).map(|tenant_id| Command::RestartTenant { tenant_id }),
        Move::Spawn(n) => Some(s.spawn(&format!(
            "{}:i{}",
            pick(n, &["api", "never", "on-failure", "rolling", "rolling"]).unwrap_or("api"),
            n % 9
        ))),
        Move::Remove(n) => {
            let keys: Vec<_> = s.world.instances.iter().filter_map(|i| i.name.open().cloned()).collect();
            pick(n, &keys).map(|key| Command::RemoveInstance { key })
        }
        Move::Perform(n, well) => {
            if let Some(effect) = pick(n, &s.effects()) {
                perform(s, effect, well);
            }
            None
        }
        Move::Exit(n, code) => {
            let runs: Vec<_> =
                s.world.instances.iter().flat_map(|i| runs_of(i).map(|run| (i.id, run))).collect();
            let (status, at) = (ExitStatus::Code(code), s.now);
            pick(n, &runs).map(|(instance_id, run_id)| Command::RunExited { instance_id, run_id, status, at })
        }
        Move::Sicken(n) => {
            let runs: Vec<_> =
                s.world.instances.iter().flat_map(|i| runs_of(i).map(|run| (i.id, run))).collect();
            let (health, detail) = (InstanceHealth::Unhealthy, "HTTP 500".to_owned());
            pick(n, &runs).map(|(instance_id, run_id)| Command::HealthObserved {
                instance_id,
                run_id,
                health,
                detail,
            })
        }
        Move::Sleep(n) => {
            let runs: Vec<_> =
                s.world.instances.iter().filter_map(|i| i.run.as_ref().map(|run| (i.id, run.id))).collect();
            pick(n, &runs).map(|(instance_id, run_id)| Command::PutToSleep { instance_id, run_id })
        }
        Move::Wake(n) => {
            let ids: Vec<_> = s.world.instances.iter().map(|instance| instance.id).collect();
            pick(n, &ids).map(|instance_id| Command::Wake { instance_id })
        }
        Move::Roll(n) => {
            let keys: Vec<_> = s.world.instances.iter().filter_map(|i| i.name.open().cloned()).collect();
            pick(n, &keys).map(|key| Command::RestartInstance { key })
        }
        Move::Weigh(n) => {
            let keys: Vec<_> = s.world.instances.iter().filter_map(|i| i.name.open().cloned()).collect();
            pick(n, &keys).map(|key| Command::ChangeWeight { key, weight: n })
        }
        Move::Dress(n, color) => tenant(s, n).map(|tenant_id| {
            let colors = [("primary_color".to_owned(), format!("#0000{color:02x}"))].into();
            Command::UpdateTheme { tenant_id, changes: ThemeChanges { colors, ..ThemeChanges::default() } }
        }),
        Move::Look(n, true) => tenant(s, n).map(|tenant_id| Command::RequestAnalysis {
            tenant_id,
            website: "https://example.com/".into(),
            capture_screenshot: n % 2 == 0,
        }),
        Move::Look(n, false) => {
            let all: Vec<_> = s
                .world
                .analyses
                .iter()
                .filter_map(|analysis| Some((analysis.tenant_id, analysis.result()?.suggestions.first()?.id)))
                .collect();
            pick(n, &all)
                .map(|(tenant_id, suggestion_id)| Command::ApplySuggestion { tenant_id, suggestion_id })
        }
        Move::Configure(n, value) => {
            if let Some(tenant_id) = tenant(s, n) {
                let all = Some(BTreeMap::from([(format!("V{value}"), value.to_string())]));
                let changes = ConfigChanges { env: EnvChanges { all, secret: None }, ..Default::default() };
                let _ = s.attempt(&Command::UpdateConfig { tenant_id, changes });
            }
            tenant(s, n).map(|tenant_id| Command::RegenerateEnv { tenant_id })
        }
        Move::Wait(ms) => {
            s.now = s.now.plus_ms(u64::from(ms));
            None
        }
    };
    if let Some(command) = command {
        // A refusal is as good an answer as any; what it must not do is record something.
        let before = s.world.clone();
        if s.attempt(&command).is_err() {
            assert_eq!(s.world, before, "a refused command changed the World");
        }
    }
}

/// Every port has one holder, every name one instance, every deployment that runs a tenant.
fn check(world: &World) {
    let mut holders: BTreeMap<u16, TenantId> = BTreeMap::new();
    for held in world.ports.held() {
        for port in [held.ports.frontend, held.ports.backend] {
            assert_eq!(holders.insert(port, held.tenant_id), None, "port {port} has two holders");
        }
        assert!(world.tenants.get(held.tenant_id).is_some(), "a pair is held by nobody");
    }
    for tenant in world.tenants.iter() {
        let ports = tenant.ports.expect("every tenant has ports");
        assert_eq!(world.ports.holder(ports.frontend), Some(tenant.id));
        assert_eq!(world.ports.holder(ports.backend), Some(tenant.id));
        let of_tenant = || world.deployments.of(tenant.id);
        let running = of_tenant().filter(|deployment| deployment.status == DeploymentStatus::Running).count();
        assert!(running <= 1, "two deployments of one tenant at once");
        let open: BTreeSet<_> = of_tenant().filter(|d| !d.is_over()).map(|d| d.id).collect();
        assert_eq!(open, world.deployments.open(tenant.id).map(|d| d.id).collect());
        assert!(open.len() <= 1 + QUEUE);
        if let Some(release) = tenant.release {
            assert!(tenant.kept.get(release).is_some(), "the release that serves was given up");
        }
    }
    for instance in world.instances.iter() {
        // Only what shall not run sleeps, and only what shall run wakes.
        match instance.rest {
            Rest::Asleep => assert_eq!(instance.desired, Desired::Stopped),
            Rest::Waking => assert_eq!(instance.desired, Desired::Running),
            Rest::Awake => {}
        }
        assert!(instance.weight <= 100);
        let runs: BTreeSet<_> = runs_of(instance).collect();
        assert_eq!(runs.len(), runs_of(instance).count(), "one run is two");
        if instance.beside.as_ref().is_some_and(|beside| beside.is_successor()) {
            assert!(instance.run.is_some(), "a successor of nothing");
        }
    }
    let names: BTreeSet<_> = world.instances.iter().filter_map(|i| i.name.open().cloned()).collect();
    assert_eq!(names.len(), world.instances.len(), "two instances of one name");
    let mut rebuilt = world.clone();
    rebuilt.reindex();
    assert_eq!(&rebuilt, world, "an index differs from what it is rebuilt to");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_and_the_fold_is_the_same(moves in moves()) {
        let mut s = Scenario::rolling();
        for step in &moves {
            make(&mut s, step);
            check(&s.world);
        }
        let mut folded = World::default();
        for recorded in &s.recorded {
            folded.evolve(recorded);
        }
        prop_assert_eq!(&folded, &s.world);
    }

    #[test]
    fn what_becomes_of_a_tenant_follows_from_its_own_events_alone(moves in moves()) {
        let mut s = Scenario::rolling();
        for step in &moves {
            make(&mut s, step);
        }
        let ids: BTreeSet<TenantId> = s.recorded.iter().filter_map(|recorded| recorded.tenant_id).collect();
        for id in ids {
            let mut own = World::default();
            for recorded in s.recorded.iter().filter(|recorded| recorded.tenant_id == Some(id)) {
                own.evolve(recorded);
            }
            let whole = &s.world;
            prop_assert_eq!(own.tenants.get(id), whole.tenants.get(id));
            // Whether somebody took its directory since is asked of the live World alone.
            let gone = |world: &World| world.tenants.gone(id).map(|gone| (gone.deleted, gone.kept.clone()));
            prop_assert_eq!(gone(&own), gone(whole));
            prop_assert!(own.tenants.is_known(id));
            prop_assert_eq!(own.configurations.get(id), whole.configurations.get(id));
            prop_assert!(own.deployments.of(id).eq(whole.deployments.of(id)));
            prop_assert!(own.analyses.of(id).eq(whole.analyses.of(id)));
            let instances = whole.instances.iter().filter(|one| one.tenant.is_some_and(|(of, _)| of == id));
            prop_assert!(own.instances.iter().eq(instances));
            prop_assert_eq!(diff(&own, whole, id), vec![]);
        }
    }

    #[test]
    fn everything_settles_when_every_effect_succeeds(moves in moves()) {
        let mut s = Scenario::rolling();
        for step in &moves {
            make(&mut s, step);
        }
        // Each pass brings each instance and deployment at least one step further; a
        // deployment has six steps and may wait for two instances.
        for _ in 0..64 {
            s.now = s.now.plus_ms(60_000);
            for effect in s.effects() {
                perform(&mut s, effect, true);
            }
        }
        prop_assert_eq!(s.effects(), vec![]);
    }
}
