//! The rules, as given / when / then: which events a command causes, and what it is refused for.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use support::scenario::{Scenario, policy};
use tenantry::domain::command::{Command, DeploySwitches, StepReport, TenantChanges};
use tenantry::domain::effect::Effect;
use tenantry::domain::policy::Policy;
use tenantry::domain::reconfigure::Reconfigure;
use tenantry::domain::rejection::Reason;
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth};
use tenantry_journal::event::tenant::Removal;
use tenantry_journal::id::TenantId;
use tenantry_projections::world::instances::{Desired, Phase};
use tenantry_projections::world::tenants::TenantStatus;

const ALL: Removal = Removal { files: true, nginx: true, services: true };

fn done() -> StepReport {
    StepReport::Done { detail: "done".into(), commit: None }
}

#[test]
fn a_new_tenant_gets_the_lowest_free_pair_of_ports() {
    let mut s = Scenario::new();
    s.when(s.create("smith")).then(&["tenant.created", "port.allocated"]);
    s.when(s.create("jones")).then(&["tenant.created", "port.allocated"]);
    let ports: Vec<u16> = s.world.ports.held().map(|held| held.ports.frontend).collect();
    assert_eq!(ports, [32300, 32310]);
}

#[test]
fn a_pair_that_something_listens_on_is_not_given_out() {
    let mut s = Scenario::new();
    s.listening = Arc::new(BTreeSet::from([32301]));
    s.when(s.create("smith")).then(&["tenant.created", "port.allocated"]);
    assert_eq!(s.world.ports.held().next().map(|held| held.ports.frontend), Some(32310));
}

#[test]
fn a_released_pair_is_given_out_last() {
    let mut s = Scenario::new();
    let smith = s.tenant("smith");
    s.when(Command::DeleteTenant { tenant_id: smith, remove: ALL }).then(&["tenant.deletion_requested"]);
    s.when(Command::TenantRemoved { tenant_id: smith, removed: ALL })
        .then(&["port.released", "tenant.deleted"]);
    for slug in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        s.tenant(slug);
        assert!(s.world.ports.held().all(|held| held.ports.frontend != 32300), "reused for {slug}");
    }
    s.tenant("last");
    assert!(s.world.ports.held().any(|held| held.ports.frontend == 32300));
    s.when(s.create("more")).rejected(Reason::Conflict, "no_ports_left");
}

#[test]
fn refuses_what_is_taken_or_out_of_range() {
    let mut s = Scenario::new();
    s.tenant("smith");
    s.when(s.create("smith")).rejected(Reason::Conflict, "slug_taken");
    let with = |change: &dyn Fn(&mut tenantry::domain::command::CreateTenant)| {
        let Command::CreateTenant(mut create) = s.create("jones") else { unreachable!("it is a create") };
        change(&mut create);
        Command::CreateTenant(create)
    };
    let cases = [
        (with(&|c| c.domain = "smith.example.com".parse().unwrap()), Reason::Conflict, "domain_taken"),
        (with(&|c| c.domain = "smithapi.example.com".parse().unwrap()), Reason::Conflict, "domain_taken"),
        (with(&|c| c.api_domain = Some(c.domain.clone())), Reason::Invalid, "invalid_domain"),
        (with(&|c| c.domain = "127.0.0.1".parse().unwrap()), Reason::Invalid, "invalid_domain"),
        (with(&|c| c.api_domain = Some("localhost".parse().unwrap())), Reason::Invalid, "invalid_domain"),
        (with(&|c| c.frontend_port = Some(32300)), Reason::Conflict, "port_taken"),
        (with(&|c| c.backend_port = Some(32301)), Reason::Conflict, "port_taken"),
        (with(&|c| c.frontend_port = Some(80)), Reason::Invalid, "invalid_port"),
        (
            with(&|c| {
                c.frontend_port = Some(40_000);
                c.backend_port = Some(40_000);
            }),
            Reason::Invalid,
            "invalid_port",
        ),
        (with(&|c| c.name = "a\u{0}b".into()), Reason::Invalid, "invalid_field"),
        (with(&|c| c.name = " ".into()), Reason::Invalid, "invalid_field"),
        (with(&|c| c.notes = Some("\u{1b}[2J".into())), Reason::Invalid, "invalid_field"),
        (with(&|c| c.github_repo = Some("--upload-pack=id".into())), Reason::Invalid, "invalid_repository"),
    ];
    for (command, reason, code) in cases {
        s.when(command).rejected(reason, code);
    }
}

#[test]
fn ports_outside_the_grid_are_allowed_when_free() {
    let mut s = Scenario::new();
    let Command::CreateTenant(mut create) = s.create("smith") else { unreachable!("it is a create") };
    create.frontend_port = Some(40_000);
    s.when(Command::CreateTenant(create)).then(&["tenant.created", "port.allocated"]);
    let ports = s.world.ports.held().next().map(|held| (held.ports.frontend, held.ports.backend));
    assert_eq!(ports, Some((40_000, 40_001)));
}

#[test]
fn an_update_names_what_changed_and_nothing_else_records_nothing() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    let changes = TenantChanges { notes: Some(Some("new".into())), ..TenantChanges::default() };
    s.when(Command::UpdateTenant { tenant_id: id, changes: changes.clone() }).then(&["tenant.updated"]);
    s.when(Command::UpdateTenant { tenant_id: id, changes }).then(&[]);
    let changes = TenantChanges { domain: Some("moved.example.com".parse().unwrap()), ..Default::default() };
    s.when(Command::UpdateTenant { tenant_id: id, changes }).then(&["tenant.updated"]);
    assert_eq!(s.world.tenants.by_domain(&"moved.example.com".parse().unwrap()), Some(id));
    assert_eq!(s.world.tenants.by_domain(&"smith.example.com".parse().unwrap()), None);
}

#[test]
fn a_deployment_goes_step_by_step_and_skips_what_is_off() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    let deployment_id = s.deploy(id);
    s.when(Command::DeployTenant { tenant_id: id, switches: DeploySwitches::default() })
        .rejected(Reason::Conflict, "deployment_running");
    assert_eq!(s.effects(), [Effect::RunStep(deployment_id, StepKind::CopyFiles)]);

    let step = StepKind::InitializeDatabase;
    s.when(Command::BeginStep { deployment_id, step }).then(&[]);
    s.step(deployment_id, StepKind::CopyFiles, &["deployment.step_finished"]);
    s.step(deployment_id, StepKind::InitializeDatabase, &["deployment.step_finished"]);
    s.step(
        deployment_id,
        StepKind::CreateServices,
        &[
            "instance.spawned",
            "instance.spawned",
            "deployment.step_finished",
            "deployment.step_finished",
            "deployment.step_finished",
        ],
    );
    let step = StepKind::StartServices;
    assert_eq!(s.effects(), [Effect::RunStep(deployment_id, step)]);
    s.when(Command::BeginStep { deployment_id, step }).then(&["deployment.step_started"]);
    let switched = ["instance.respecified", "instance.start_requested"].repeat(2);
    s.when(Command::SwitchServices { deployment_id }).then(&switched);
    s.when(Command::SwitchServices { deployment_id }).then(&[]);
    s.bring_up("frontend:smith");
    s.bring_up("backend:smith");
    s.when(Command::FinishStep { deployment_id, step, report: done() }).then(&[
        "deployment.release_activated",
        "deployment.step_finished",
        "deployment.finished",
    ]);
    let tenant = s.world.tenants.get(id).unwrap();
    assert_eq!(s.world.tenant_status(tenant), TenantStatus::Running);
    assert_eq!(tenant.release, Some(1));
    assert_eq!(s.effects(), []);
}

#[test]
fn a_step_that_was_started_is_done_again_after_a_crash() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    let deployment_id = s.deploy(id);
    let step = StepKind::CopyFiles;
    s.when(Command::BeginStep { deployment_id, step }).then(&["deployment.step_started"]);
    assert_eq!(s.effects(), [Effect::RunStep(deployment_id, step)]);
    s.when(Command::BeginStep { deployment_id, step }).then(&["deployment.step_started"]);
    s.when(Command::FinishStep { deployment_id, step, report: done() }).then(&["deployment.step_finished"]);
    s.when(Command::FinishStep { deployment_id, step, report: done() }).then(&[]);
}

#[test]
fn a_failed_copy_ends_the_deployment_and_touches_nothing_that_serves() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    let before = s.world.clone();
    let deployment_id = s.deploy(id);
    let step = StepKind::CopyFiles;
    s.when(Command::BeginStep { deployment_id, step }).then(&["deployment.step_started"]);
    let report = StepReport::Failed { detail: "no such repository".into() };
    s.when(Command::FinishStep { deployment_id, step, report })
        .then(&["deployment.step_finished", "deployment.finished"]);
    assert_eq!(s.world.instances, before.instances);
    assert_eq!(s.world.tenant_status(s.world.tenants.get(id).unwrap()), TenantStatus::Running);
}

#[test]
fn a_release_that_stays_unhealthy_gives_way_to_the_one_before() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    let deployment_id = s.deploy(id);
    for step in [StepKind::CopyFiles, StepKind::InitializeDatabase] {
        s.step(deployment_id, step, &["deployment.step_finished"]);
    }
    s.step(deployment_id, StepKind::CreateServices, &["deployment.step_finished"; 3]);
    let step = StepKind::StartServices;
    s.when(Command::BeginStep { deployment_id, step }).then(&["deployment.step_started"]);
    s.when(Command::SwitchServices { deployment_id })
        .then(&["instance.respecified", "instance.restart_requested"].repeat(2));
    let workdir = |s: &Scenario| s.instance("backend:smith").spec.open().unwrap().args.join(" ");
    assert!(workdir(&s).contains("releases/2/"));
    let report = StepReport::Failed { detail: "never healthy".into() };
    s.when(Command::FinishStep { deployment_id, step, report }).then(&["deployment.step_finished"]);
    assert!(s.effects().contains(&Effect::RollBack(deployment_id)));
    s.when(Command::RolledBack { deployment_id, detail: "release 1 again".into() }).then(&[
        "instance.respecified",
        "instance.restart_requested",
        "instance.respecified",
        "instance.restart_requested",
        "deployment.step_rolled_back",
        "deployment.finished",
    ]);
    assert!(workdir(&s).contains("releases/1/"));
    assert_eq!(s.world.tenants.get(id).unwrap().release, Some(1));
}

#[test]
fn start_before_any_deployment_is_a_conflict() {
    let mut s = Scenario::new();
    let tenant_id = s.tenant("smith");
    s.when(Command::StartTenant { tenant_id }).rejected(Reason::Conflict, "not_deployed");
    s.when(Command::StopTenant { tenant_id }).rejected(Reason::Conflict, "not_deployed");
    s.when(Command::RestartTenant { tenant_id }).rejected(Reason::Conflict, "not_deployed");
}

/// Deploys a tenant with its services left out.
fn deploy_without_services(s: &mut Scenario, tenant_id: TenantId) {
    let switches = DeploySwitches { skip_services: true, ..DeploySwitches::default() };
    s.when(Command::DeployTenant { tenant_id, switches }).then(&["deployment.requested"]);
    let deployment_id = s.world.tenants.get(tenant_id).unwrap().deployment.unwrap();
    s.step(deployment_id, StepKind::CopyFiles, &["deployment.step_finished"]);
    s.step(
        deployment_id,
        StepKind::InitializeDatabase,
        &[
            "deployment.step_finished",
            "deployment.step_finished",
            "deployment.step_finished",
            "deployment.step_finished",
            "deployment.step_finished",
            "deployment.finished",
        ],
    );
}

#[test]
fn what_was_deployed_without_its_services_is_stopped_until_it_is_started() {
    let mut s = Scenario::new();
    let tenant_id = s.tenant("smith");
    deploy_without_services(&mut s, tenant_id);
    let status = |s: &Scenario| s.world.tenant_status(s.world.tenants.get(tenant_id).unwrap());
    assert_eq!(status(&s), TenantStatus::Stopped);
    s.when(Command::RestartTenant { tenant_id }).rejected(Reason::Conflict, "not_deployed");
    s.when(Command::StartTenant { tenant_id }).then(&[
        "instance.spawned",
        "instance.start_requested",
        "instance.spawned",
        "instance.start_requested",
        "deployment.release_activated",
    ]);
    assert_eq!(s.world.tenants.get(tenant_id).unwrap().release, Some(1));
    assert_eq!(s.effects().len(), 2);
    s.bring_up("frontend:smith");
    s.bring_up("backend:smith");
    assert_eq!(status(&s), TenantStatus::Running);
    s.when(Command::StartTenant { tenant_id }).then(&[]);
}

#[test]
fn a_release_without_services_is_started_only_when_the_one_before_it_has_stopped() {
    let mut s = Scenario::new();
    let tenant_id = s.deployed("smith");
    deploy_without_services(&mut s, tenant_id);
    let release = |s: &Scenario| s.world.tenants.get(tenant_id).unwrap().release;
    s.when(Command::StartTenant { tenant_id }).then(&[]);
    assert_eq!(release(&s), Some(1));
    s.when(Command::StopTenant { tenant_id }).then(&["instance.stop_requested"; 2]);
    for name in ["frontend:smith", "backend:smith"] {
        s.exit(name, ExitStatus::Signal(15), &["instance.exited"]);
    }
    s.when(Command::StartTenant { tenant_id }).then(&[
        "instance.respecified",
        "instance.start_requested",
        "instance.respecified",
        "instance.start_requested",
        "deployment.release_activated",
    ]);
    assert_eq!(release(&s), Some(2));
    let spec = s.instance("backend:smith").spec.open().unwrap();
    assert!(spec.args.iter().any(|arg| arg.contains("releases/2/")), "{:?}", spec.args);
}

#[test]
fn deletion_waits_for_the_processes_and_then_gives_the_ports_back() {
    let mut s = Scenario::new();
    let tenant_id = s.deployed("smith");
    s.when(Command::DeleteTenant { tenant_id, remove: ALL }).then(&[
        "tenant.deletion_requested",
        "instance.removal_requested",
        "instance.removal_requested",
    ]);
    s.when(Command::DeleteTenant { tenant_id, remove: ALL }).rejected(Reason::Conflict, "tenant_deleting");
    s.when(Command::TenantRemoved { tenant_id, removed: ALL }).then(&[]);
    assert!(!s.effects().contains(&Effect::RemoveTenant(tenant_id)));
    for name in ["frontend:smith", "backend:smith"] {
        let instance_id = s.instance(name).id;
        s.exit(name, ExitStatus::Signal(15), &["instance.exited"]);
        s.when(Command::InstanceGone { instance_id }).then(&["instance.removed"]);
    }
    assert_eq!(s.effects(), [Effect::RemoveTenant(tenant_id)]);
    s.when(Command::TenantRemoved { tenant_id, removed: ALL }).then(&["port.released", "tenant.deleted"]);
    assert!(s.world.tenants.is_empty());
    assert_eq!(s.effects(), []);
}

#[test]
fn an_instance_is_spawned_once() {
    let mut s = Scenario::new();
    let spawn = s.spawn("api:user123");
    s.when(spawn.clone()).then(&["instance.spawned", "instance.start_requested"]);
    s.when(spawn.clone()).rejected(Reason::Conflict, "instance_exists");
    s.bring_up("api:user123");
    s.when(spawn).rejected(Reason::Conflict, "instance_exists");
    s.when(s.spawn("nothing:x")).rejected(Reason::NotFound, "service_not_found");
    let Command::SpawnInstance { key, listening, .. } = s.spawn("api:b") else { unreachable!("it spawns") };
    let env = BTreeMap::from([("A=B".to_owned(), tenantry_journal::sealed::Secret::new(String::new()))]);
    s.when(Command::SpawnInstance { key, env, listening }).rejected(Reason::Invalid, "invalid_env");
}

#[test]
fn a_crash_is_restarted_with_a_growing_wait_that_a_stable_run_forgets() {
    let mut s = Scenario::new();
    let spawn = s.spawn("api:a");
    s.when(spawn).then(&["instance.spawned", "instance.start_requested"]);
    let mut waits = Vec::new();
    for _ in 0..3 {
        s.bring_up("api:a");
        s.exit("api:a", ExitStatus::Code(1), &["instance.exited", "instance.restart_scheduled"]);
        let not_before = s.instance("api:a").not_before.unwrap();
        waits.push(not_before.since_ms(s.now));
        let instance_id = s.instance("api:a").id;
        s.when(Command::BeginRun { instance_id, listening: None }).then(&[]);
        s.now = not_before;
    }
    assert_eq!(waits, [500, 1000, 2000]);
    assert_eq!(s.instance("api:a").restart_count, 3);
    s.bring_up("api:a");
    s.now = s.now.plus_ms(policy().backoff.stable_ms);
    s.exit("api:a", ExitStatus::Code(1), &["instance.exited", "instance.restart_scheduled"]);
    assert_eq!(s.instance("api:a").not_before.unwrap().since_ms(s.now), 500);
}

#[test]
fn a_restart_that_a_person_asked_for_is_at_once_and_not_counted() {
    let mut s = Scenario::new();
    let spawn = s.spawn("api:a");
    s.when(spawn).then(&["instance.spawned", "instance.start_requested"]);
    s.bring_up("api:a");
    let key = "api:a".parse().unwrap();
    s.when(Command::RestartInstance { key }).then(&["instance.restart_requested"]);
    let (id, run) = s.run("api:a");
    assert_eq!(s.effects(), [Effect::EndRun(id, run)]);
    s.exit("api:a", ExitStatus::Signal(15), &["instance.exited"]);
    assert_eq!(s.effects(), [Effect::BeginRun(id)]);
    assert_eq!(s.instance("api:a").restart_count, 0);
}

#[test]
fn a_run_that_systemd_started_again_goes_on_as_another_process() {
    let mut s = Scenario::new();
    let spawn = s.spawn("api:a");
    s.when(spawn).then(&["instance.spawned", "instance.start_requested"]);
    s.bring_up("api:a");
    let (instance_id, run_id) = s.run("api:a");
    let process = |s: &Scenario| s.instance("api:a").run.as_ref().unwrap().process.unwrap();
    let before = process(&s);
    let adopt = |pid, start_ticks| Command::RunAdopted { instance_id, run_id, pid, start_ticks };
    s.when(adopt(before.pid, None)).then(&["instance.adopted"]);
    assert_eq!(process(&s), before);
    s.when(adopt(4711, Some(9))).then(&["instance.adopted"]);
    assert_eq!((process(&s).pid, process(&s).start_ticks), (4711, 9));
    assert_eq!((s.instance("api:a").phase, s.effects()), (Phase::Running, Vec::new()));
}

#[test]
fn policies_say_what_follows_an_exit() {
    for (policy, status, then, phase) in [
        ("never", ExitStatus::Code(0), "instance.ended", Phase::Idle),
        ("never", ExitStatus::Code(3), "instance.ended", Phase::Failed),
        ("on-failure", ExitStatus::Code(0), "instance.ended", Phase::Idle),
        ("on-failure", ExitStatus::Signal(9), "instance.restart_scheduled", Phase::Backoff),
        ("always", ExitStatus::Code(0), "instance.restart_scheduled", Phase::Backoff),
    ] {
        let mut s = Scenario::new();
        let name = format!("{policy}:a");
        let spawn = s.spawn(&name);
        s.when(spawn).then(&["instance.spawned", "instance.start_requested"]);
        s.bring_up(&name);
        s.exit(&name, status, &["instance.exited", then]);
        assert_eq!(s.instance(&name).phase, phase, "{policy} after {status:?}");
    }
}

#[test]
fn an_instance_that_turns_unhealthy_is_replaced_and_counted_once() {
    let mut s = Scenario::new();
    let spawn = s.spawn("api:a");
    s.when(spawn).then(&["instance.spawned", "instance.start_requested"]);
    s.bring_up("api:a");
    let (instance_id, run_id) = s.run("api:a");
    let observed =
        |health| Command::HealthObserved { instance_id, run_id, health, detail: "HTTP 500".into() };
    s.when(observed(InstanceHealth::Unhealthy))
        .then(&["instance.health_changed", "instance.restart_requested"]);
    s.when(observed(InstanceHealth::Unhealthy)).then(&[]);
    assert_eq!(s.effects(), [Effect::EndRun(instance_id, run_id)]);
    s.when(Command::BeginStop { instance_id, run_id }).then(&["instance.stopping"]);
    s.exit("api:a", ExitStatus::Signal(15), &["instance.exited", "instance.restart_scheduled"]);
    assert_eq!(s.instance("api:a").restart_count, 1);
}

#[test]
fn a_start_that_never_gets_healthy_is_ended_and_tried_again() {
    let mut s = Scenario::new();
    let spawn = s.spawn("api:a");
    s.when(spawn).then(&["instance.spawned", "instance.start_requested"]);
    let instance_id = s.instance("api:a").id;
    s.when(Command::BeginRun { instance_id, listening: None }).then(&["instance.starting"]);
    let (_, run_id) = s.run("api:a");
    let (pid, start_ticks) = (7, 7);
    s.when(Command::RunStarted { instance_id, run_id, pid, start_ticks }).then(&["instance.started"]);
    let (health, detail) = (InstanceHealth::Unhealthy, "not healthy within 30 s".into());
    s.when(Command::HealthObserved { instance_id, run_id, health, detail })
        .then(&["instance.health_changed"]);
    assert_eq!(s.effects(), [Effect::EndRun(instance_id, run_id)]);
    s.when(Command::BeginStop { instance_id, run_id }).then(&["instance.stopping"]);
    s.exit("api:a", ExitStatus::Code(0), &["instance.exited", "instance.restart_scheduled"]);
}

#[test]
fn reports_about_an_earlier_run_change_nothing() {
    let mut s = Scenario::new();
    let spawn = s.spawn("api:a");
    s.when(spawn).then(&["instance.spawned", "instance.start_requested"]);
    s.bring_up("api:a");
    let (instance_id, old) = s.run("api:a");
    s.exit("api:a", ExitStatus::Code(1), &["instance.exited", "instance.restart_scheduled"]);
    s.now = s.now.plus_ms(1000);
    s.bring_up("api:a");
    let before = s.world.clone();
    let (status, at) = (ExitStatus::Code(1), s.now);
    s.when(Command::RunExited { instance_id, run_id: old, status, at }).then(&[]);
    s.when(Command::RunFailed { instance_id, run_id: old, reason: String::new() }).then(&[]);
    s.when(Command::RunStarted { instance_id, run_id: old, pid: 1, start_ticks: 1 }).then(&[]);
    s.when(Command::BeginStop { instance_id, run_id: old }).then(&[]);
    assert_eq!(s.world, before);
}

#[test]
fn a_stopped_instance_stays_stopped_until_somebody_asks() {
    let mut s = Scenario::new();
    let tenant_id = s.deployed("smith");
    s.when(Command::StopTenant { tenant_id }).then(&["instance.stop_requested"; 2]);
    for name in ["frontend:smith", "backend:smith"] {
        s.exit(name, ExitStatus::Signal(15), &["instance.exited"]);
        let instance_id = s.instance(name).id;
        s.when(Command::BeginRun { instance_id, listening: None }).then(&[]);
        assert_eq!(s.instance(name).desired, Desired::Stopped);
    }
    assert_eq!(s.effects(), []);
    assert_eq!(s.world.tenant_status(s.world.tenants.get(tenant_id).unwrap()), TenantStatus::Stopped);
    s.when(Command::StartTenant { tenant_id }).then(&["instance.start_requested"; 2]);
    assert_eq!(s.effects().len(), 2);
}

#[test]
fn a_process_that_cannot_be_made_is_tried_again_with_a_wait() {
    let mut s = Scenario::new();
    let spawn = s.spawn("api:a");
    s.when(spawn.clone()).then(&["instance.spawned", "instance.start_requested"]);
    let instance_id = s.instance("api:a").id;
    s.when(Command::BeginRun { instance_id, listening: None }).then(&["instance.starting"]);
    let (_, run_id) = s.run("api:a");
    s.when(Command::RunFailed { instance_id, run_id, reason: "No such file or directory".into() })
        .then(&["instance.start_failed", "instance.restart_scheduled"]);
    assert_eq!(s.instance("api:a").phase, Phase::Backoff);
    s.when(spawn).then(&["instance.respecified", "instance.start_requested"]);
    assert_eq!(s.effects(), [Effect::BeginRun(instance_id)]);
}

#[test]
fn an_instance_of_a_tenant_is_not_removed_behind_its_back() {
    let mut s = Scenario::new();
    s.deployed("smith");
    let key = "backend:smith".parse().unwrap();
    s.when(Command::RemoveInstance { key }).rejected(Reason::Conflict, "instance_of_tenant");
}

/// Another configuration than the scenario's.
fn reconfigured(change: impl FnOnce(&mut Policy)) -> Command {
    let mut after = policy();
    change(&mut after);
    Command::Reconfigure(Box::new(Reconfigure {
        before: Arc::new(policy()),
        after: Arc::new(after),
        hash: "hash".into(),
        changed: vec!["services".into()],
        needs_restart: Vec::new(),
        listening: Arc::default(),
    }))
}

fn set(policy: &mut Policy, service: &str, name: &str, value: &str) {
    let service = policy.services.get_mut(&service.parse().unwrap()).unwrap();
    service.env.insert(name.into(), value.into());
}

#[test]
fn another_configuration_restarts_what_it_concerns_and_nothing_else() {
    let mut s = Scenario::new();
    for name in ["api:a", "api:b", "always:a"] {
        s.when(s.spawn(name)).then(&["instance.spawned", "instance.start_requested"]);
        s.bring_up(name);
    }
    s.attempt(&Command::StopEverything).unwrap();
    s.exit("api:b", ExitStatus::Signal(15), &["instance.exited"]);
    s.exit("api:a", ExitStatus::Signal(15), &["instance.exited"]);
    s.when(s.spawn("api:a")).then(&["instance.respecified", "instance.start_requested"]);
    s.bring_up("api:a");
    let (count, run) = (s.instance("api:a").restart_count, s.run("api:a"));
    s.when(reconfigured(|policy| set(policy, "api", "A", "1"))).then(&[
        "config.changed",
        "instance.respecified",
        "instance.restart_requested",
        "instance.respecified",
    ]);
    for name in ["api:a", "api:b"] {
        assert_eq!(s.instance(name).spec.open().unwrap().env["A"].reveal(), "1");
    }
    assert_eq!(s.instance("api:b").desired, Desired::Stopped, "nobody asked for it");
    assert!(s.effects().contains(&Effect::EndRun(run.0, run.1)));
    assert_eq!(s.instance("api:a").restart_count, count, "nobody crashed");
    // The same again concerns nobody: they have it.
    s.when(reconfigured(|policy| set(policy, "api", "A", "1"))).then(&["config.changed"]);
}

#[test]
fn what_only_watches_a_process_changes_without_a_restart_and_what_is_gone_runs_on() {
    let mut s = Scenario::new();
    s.when(s.spawn("api:a")).then(&["instance.spawned", "instance.start_requested"]);
    s.bring_up("api:a");
    let watch = |policy: &mut Policy| {
        let service = policy.services.get_mut(&"api".parse().unwrap()).unwrap();
        (service.health, service.health_interval_ms) = (Some("/up".into()), 5);
    };
    s.when(reconfigured(watch)).then(&["config.changed", "instance.respecified"]);
    assert_eq!(s.instance("api:a").spec.open().unwrap().health.as_deref(), Some("/up"));
    s.when(reconfigured(|policy| policy.services.clear())).then(&["config.changed"]);
    let Command::Reconfigure(mut nothing) = reconfigured(|_| {}) else { unreachable!("it is one") };
    nothing.changed.clear();
    s.when(Command::Reconfigure(nothing)).then(&[]);
}

#[test]
fn what_came_with_the_request_stays_and_wins() {
    let mut s = Scenario::new();
    let Command::SpawnInstance { key, listening, .. } = s.spawn("api:a") else { unreachable!("it is one") };
    let env = BTreeMap::from([("OWN".to_owned(), tenantry_journal::sealed::Secret::new("mine".into()))]);
    s.when(Command::SpawnInstance { key, env, listening })
        .then(&["instance.spawned", "instance.start_requested"]);
    let change = reconfigured(|policy| {
        set(policy, "api", "OWN", "ours");
        set(policy, "api", "NEW", "{id}");
    });
    s.attempt(&change).unwrap();
    let spec = s.instance("api:a").spec.open().unwrap().clone();
    let env: Vec<(&str, &str)> =
        spec.env.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(env, [("NEW", "a"), ("OWN", "mine")]);
}

#[test]
fn a_socket_is_never_given_to_two_by_another_configuration() {
    let mut s = Scenario::new();
    for name in ["api:a", "api:b"] {
        s.when(s.spawn(name)).then(&["instance.spawned", "instance.start_requested"]);
    }
    let listen = |socket: &'static str| {
        reconfigured(move |policy| {
            policy.services.get_mut(&"api".parse().unwrap()).unwrap().socket = Some(socket.into());
        })
    };
    s.when(listen("/tmp/s")).rejected(Reason::Conflict, "socket_taken");
    s.attempt(&listen("/tmp/{id}")).unwrap();
    let sockets: BTreeSet<String> = ["a", "b"]
        .map(|id| format!("{:?}", s.instance(&format!("api:{id}")).spec.open().unwrap().listen))
        .into();
    assert_eq!(sockets.len(), 2, "{sockets:?}");
}

#[test]
fn a_tenants_processes_follow_the_template_unless_a_deployment_is_under_way() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    let change =
        || reconfigured(|policy| policy.template.backend.as_mut().unwrap().args.push("--fast".into()));
    s.when(change()).then(&["config.changed", "instance.respecified", "instance.restart_requested"]);
    let args = &s.instance("backend:smith").spec.open().unwrap().args;
    assert_eq!(args.last().map(String::as_str), Some("--fast"));
    s.when(change()).then(&["config.changed"]);
    s.deploy(id);
    let other = reconfigured(|policy| policy.template.backend.as_mut().unwrap().args.clear());
    s.when(other).then(&["config.changed"]);
}

#[test]
fn what_sleeps_is_woken_once_and_what_was_stopped_is_not() {
    let mut s = Scenario::new();
    s.when(s.spawn("api:a")).then(&["instance.spawned", "instance.start_requested"]);
    s.bring_up("api:a");
    let (instance_id, run_id) = s.run("api:a");
    s.when(Command::Wake { instance_id }).then(&[]);
    s.when(Command::PutToSleep { instance_id, run_id }).then(&["instance.fell_asleep"]);
    // A request comes before the process has ended: the next run begins after it.
    s.when(Command::Wake { instance_id }).then(&["instance.woken"]);
    s.when(Command::Wake { instance_id }).then(&[]);
    s.when(Command::BeginStop { instance_id, run_id }).then(&["instance.stopping"]);
    s.exit("api:a", ExitStatus::Signal(15), &["instance.exited"]);
    s.when(Command::BeginRun { instance_id, listening: None }).then(&["instance.starting"]);
    let (_, run_id) = s.run("api:a");
    // It does not come up: back to sleep without a back-off, and the next request tries again.
    let reason = "no such file".to_owned();
    s.when(Command::RunFailed { instance_id, run_id, reason })
        .then(&["instance.start_failed", "instance.fell_asleep"]);
    assert_eq!(s.instance("api:a").restart_count, 0);
    s.when(Command::StopEverything).then(&["instance.stop_requested"]);
    s.when(Command::Wake { instance_id }).then(&[]);
}

#[test]
fn a_weight_is_a_percentage_and_changes_once() {
    let mut s = Scenario::new();
    s.when(s.spawn("api:a")).then(&["instance.spawned", "instance.start_requested"]);
    let weigh = |weight| Command::ChangeWeight { key: "api:a".parse().unwrap(), weight };
    s.when(weigh(100)).then(&[]);
    s.when(weigh(0)).then(&["instance.weight_changed"]);
    s.when(weigh(0)).then(&[]);
    s.when(weigh(101)).rejected(Reason::Invalid, "invalid_weight");
    assert_eq!(s.instance("api:a").weight, 0);
}
