//! The rules of the switch, as given / when / then.

use std::sync::Arc;

use tenantry::domain::command::{Command, DeploySwitches, StepReport};
use tenantry::domain::effect::Effect;
use tenantry::domain::rejection::Reason;
use tenantry::domain::rollout::forwarded;
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth, Listen};
use tenantry_journal::id::{DeploymentId, RunId, TenantId};
use tenantry_projections::world::deployments::DeploymentStatus;
use tenantry_projections::world::instances::Side;
use tenantry_projections::world::releases::ReleaseStatus;

use crate::support::scenario::Scenario;

const NAMES: [&str; 2] = ["frontend:smith", "backend:smith"];

fn done() -> StepReport {
    StepReport::Done { detail: "done".into(), commit: None }
}

/// Up to the switch of a further release.
fn to_the_switch(s: &mut Scenario, tenant: TenantId) -> DeploymentId {
    let deployment_id = s.deploy(tenant);
    for step in [StepKind::CopyFiles, StepKind::InitializeDatabase, StepKind::CreateServices] {
        s.attempt(&Command::BeginStep { deployment_id, step }).unwrap();
        s.attempt(&Command::FinishStep { deployment_id, step, report: done() }).unwrap();
    }
    let step = StepKind::StartServices;
    s.when(Command::BeginStep { deployment_id, step }).then(&["deployment.step_started"]);
    s.when(Command::SwitchServices { deployment_id }).then(&["instance.restart_requested"; 2]);
    s.when(Command::SwitchServices { deployment_id }).then(&[]);
    deployment_id
}

/// Brings a successor up to its process; gives its run.
fn rise(s: &mut Scenario, name: &str) -> RunId {
    let instance_id = s.instance(name).id;
    assert!(s.effects().contains(&Effect::BeginSuccessor(instance_id)));
    let listening = s.listening.clone();
    s.when(Command::BeginSuccessor { instance_id, listening }).then(&["instance.successor_starting"]);
    let run_id = s.instance(name).beside.as_ref().unwrap().run.id;
    s.when(Command::RunStarted { instance_id, run_id, pid: 7, start_ticks: 7 }).then(&["instance.started"]);
    run_id
}

fn healthy(s: &Scenario, name: &str, run_id: RunId) -> Command {
    let instance_id = s.instance(name).id;
    Command::HealthObserved {
        instance_id,
        run_id,
        health: InstanceHealth::Healthy,
        detail: "HTTP 200".into(),
    }
}

fn release(s: &Scenario, name: &str) -> String {
    s.instance(name).spec.open().unwrap().args.join(" ")
}

#[test]
fn the_successors_of_a_release_take_over_together_and_then_the_old_ones_end() {
    let mut s = Scenario::rolling();
    let tenant = s.deployed("smith");
    let deployment_id = to_the_switch(&mut s, tenant);
    let before = NAMES.map(|name| s.run(name).1);
    let runs = NAMES.map(|name| rise(&mut s, name));
    s.when(healthy(&s, NAMES[0], runs[0])).then(&["instance.health_changed"]);
    assert_eq!(s.instance(NAMES[0]).beside.as_ref().map(|beside| beside.side), Some(Side::Risen));
    assert_eq!(s.run(NAMES[0]).1, before[0], "one took over before the other could");
    assert!(!s.effects().iter().any(|effect| matches!(effect, Effect::EndRun(..))));
    s.when(healthy(&s, NAMES[1], runs[1])).then(&[
        "instance.health_changed",
        "instance.successor_promoted",
        "instance.successor_promoted",
    ]);
    for ((name, run), before) in NAMES.into_iter().zip(runs).zip(before) {
        assert_eq!(s.run(name).1, run);
        assert!(release(&s, name).contains("releases/2/"));
        assert_eq!(s.instance(name).deployment, Some(deployment_id));
        assert!(s.effects().contains(&Effect::EndRun(s.instance(name).id, before)));
    }
}

#[test]
fn what_does_not_come_up_leaves_both_old_runs_and_the_other_successor_ends() {
    let mut s = Scenario::rolling();
    let tenant = s.deployed("smith");
    let first = s.instance(NAMES[0]).deployment;
    let deployment_id = to_the_switch(&mut s, tenant);
    let before = NAMES.map(|name| s.run(name).1);
    let runs = NAMES.map(|name| rise(&mut s, name));
    s.when(healthy(&s, NAMES[0], runs[0])).then(&["instance.health_changed"]);
    let (instance_id, at) = (s.instance(NAMES[1]).id, s.now);
    let status = ExitStatus::Code(3);
    s.when(Command::RunExited { instance_id, run_id: runs[1], status, at }).then(&["instance.exited"]);
    let step = StepKind::StartServices;
    let report = StepReport::Failed { detail: "exit status 3".into() };
    s.when(Command::FinishStep { deployment_id, step, report }).then(&["deployment.step_finished"]);
    s.when(Command::RolledBack { deployment_id, detail: "as before".into() }).then(&[
        "instance.replacement_cancelled",
        "deployment.step_rolled_back",
        "deployment.finished",
    ]);
    let waiting = s.instance(NAMES[0]).id;
    assert_eq!(s.effects(), [Effect::EndRun(waiting, runs[0])]);
    for (name, before) in NAMES.into_iter().zip(before) {
        assert_eq!((s.run(name).1, s.instance(name).deployment), (before, first));
        assert!(release(&s, name).contains("releases/1/"));
    }
    let kept = &s.world.tenants.get(tenant).unwrap().kept;
    assert_eq!(kept.get(2).map(|release| release.status), Some(ReleaseStatus::Failed));
    assert_eq!(kept.get(1).map(|release| release.status), Some(ReleaseStatus::Healthy));
}

#[test]
fn a_cancelled_switch_is_taken_back_before_it_ends() {
    let mut s = Scenario::rolling();
    let tenant = s.deployed("smith");
    let deployment_id = to_the_switch(&mut s, tenant);
    let before = NAMES.map(|name| s.run(name).1);
    let runs = NAMES.map(|name| rise(&mut s, name));
    s.when(healthy(&s, NAMES[0], runs[0])).then(&["instance.health_changed"]);
    s.when(Command::CancelDeployment { deployment_id }).then(&["deployment.cancel_requested"]);
    s.when(Command::CancelDeployment { deployment_id }).then(&[]);
    assert!(s.effects().contains(&Effect::RollBack(deployment_id)));
    // What comes late changes nothing any more.
    s.when(healthy(&s, NAMES[1], runs[1])).then(&["instance.health_changed"]);
    let step = StepKind::StartServices;
    s.when(Command::FinishStep { deployment_id, step, report: done() }).then(&[]);
    s.when(Command::RolledBack { deployment_id, detail: "as before".into() }).then(&[
        "instance.replacement_cancelled",
        "instance.replacement_cancelled",
        "deployment.step_rolled_back",
        "deployment.finished",
    ]);
    assert_eq!(NAMES.map(|name| s.run(name).1), before);
    let status = s.world.deployments.get(deployment_id).map(|deployment| deployment.status);
    assert_eq!(status, Some(DeploymentStatus::Cancelled));
    s.when(Command::CancelDeployment { deployment_id }).rejected(Reason::Conflict, "deployment_over");
    s.when(Command::RetryDeployment { deployment_id }).then(&["deployment.retried"]);
    assert!(s.effects().contains(&Effect::RunStep(deployment_id, StepKind::CreateServices)));
}

#[test]
fn a_process_that_dies_while_its_successor_waits_is_succeeded_at_once() {
    let mut s = Scenario::rolling();
    let tenant = s.deployed("smith");
    to_the_switch(&mut s, tenant);
    let runs = NAMES.map(|name| rise(&mut s, name));
    s.when(healthy(&s, NAMES[0], runs[0])).then(&["instance.health_changed"]);
    s.exit(NAMES[0], ExitStatus::Signal(9), &["instance.exited"]);
    assert_eq!(s.run(NAMES[0]).1, runs[0]);
    s.exit(NAMES[1], ExitStatus::Signal(9), &["instance.exited"]);
    assert_eq!(s.run(NAMES[1]).1, runs[1]);
    s.when(healthy(&s, NAMES[1], runs[1])).then(&["instance.health_changed"]);
    assert!(NAMES.iter().all(|name| s.instance(name).beside.is_none()));
}

#[test]
fn a_process_gets_a_port_of_its_own_and_the_tenants_port_leads_to_it() {
    let mut s = Scenario::rolling();
    let tenant = s.deployed("smith");
    let ports = s.world.tenants.get(tenant).unwrap().ports.unwrap();
    assert_eq!(forwarded(&s.world).count(), 0, "a run at the tenant's port is passed on to itself");
    s.exit(NAMES[0], ExitStatus::Code(1), &["instance.exited", "instance.restart_scheduled"]);
    s.now = s.now.plus_ms(60_000);
    let (instance_id, listening) = (s.instance(NAMES[0]).id, Some(Arc::new([28_000].into())));
    s.when(Command::BeginRun { instance_id, listening }).then(&["instance.respecified", "instance.starting"]);
    assert_eq!(s.instance(NAMES[0]).spec.open().unwrap().listen, Listen::Port(28_001));
    let (_, run_id) = s.run(NAMES[0]);
    s.when(Command::RunStarted { instance_id, run_id, pid: 7, start_ticks: 7 }).then(&["instance.started"]);
    let all: Vec<_> = forwarded(&s.world).map(|one| (one.port, one.to)).collect();
    assert_eq!(all, [(ports.frontend, Listen::Port(28_001))]);
    s.when(Command::StopTenant { tenant_id: tenant }).then(&["instance.stop_requested"; 2]);
    assert_eq!(forwarded(&s.world).count(), 0, "a tenant that is to stop is reached");
}

#[test]
fn a_few_deployments_wait_and_begin_one_after_another() {
    let mut s = Scenario::rolling();
    let tenant_id = s.tenant("smith");
    let first = s.deploy(tenant_id);
    let queue = || Command::DeployTenant {
        tenant_id,
        switches: DeploySwitches { queue: true, ..DeploySwitches::default() },
    };
    for _ in 0..5 {
        s.when(queue()).then(&["deployment.requested"]);
    }
    s.when(queue()).rejected(Reason::Conflict, "queue_full");
    s.when(Command::RollBackTenant { tenant_id, release: None })
        .rejected(Reason::Conflict, "deployment_running");
    assert_eq!(s.effects(), [Effect::RunStep(first, StepKind::CopyFiles)]);
    let waiting: Vec<_> = s.world.deployments.open(tenant_id).skip(1).map(|one| one.id).collect();
    s.when(Command::BeginStep { deployment_id: waiting[0], step: StepKind::CopyFiles }).then(&[]);
    let over = ["deployment.cancel_requested", "deployment.finished"];
    s.when(Command::CancelDeployment { deployment_id: waiting[0] }).then(&over);
    s.when(Command::CancelDeployment { deployment_id: first }).then(&over);
    assert_eq!(s.effects(), [Effect::RunStep(waiting[1], StepKind::CopyFiles)]);
    s.when(Command::RetryDeployment { deployment_id: first })
        .rejected(Reason::Conflict, "deployment_running");
}

#[test]
fn the_newest_releases_stay_and_whatever_serves() {
    let mut s = Scenario::rolling();
    let tenant_id = s.deployed("smith");
    let numbers = |s: &Scenario| -> Vec<u32> {
        s.world.tenants.get(tenant_id).unwrap().kept.iter().map(|release| release.number).collect()
    };
    for _ in 0..6 {
        let deployment_id = to_the_switch(&mut s, tenant_id);
        let runs = NAMES.map(|name| rise(&mut s, name));
        for (name, run) in NAMES.into_iter().zip(runs) {
            s.attempt(&healthy(&s, name, run)).unwrap();
        }
        for name in NAMES {
            let (instance_id, at) = (s.instance(name).id, s.now);
            let run_id = s.instance(name).beside.as_ref().unwrap().run.id;
            let status = ExitStatus::Code(0);
            s.attempt(&Command::RunExited { instance_id, run_id, status, at }).unwrap();
        }
        let step = StepKind::StartServices;
        s.attempt(&Command::FinishStep { deployment_id, step, report: done() }).unwrap();
    }
    assert_eq!(numbers(&s), [3, 4, 5, 6, 7]);
    assert_eq!(s.effects(), []);
    s.when(Command::RollBackTenant { tenant_id, release: Some(2) })
        .rejected(Reason::NotFound, "release_not_found");
    s.when(Command::RollBackTenant { tenant_id, release: Some(3) }).then(&["deployment.requested"]);
    let back = s.world.deployments.under_way(tenant_id).unwrap();
    assert_eq!((back.release, back.rollback), (3, true));
}
