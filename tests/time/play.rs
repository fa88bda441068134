//! Does what a World lacks, at once and always with success, until it lacks nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenantry::domain::command::{Command, StepReport};
use tenantry::domain::effect::Effect;
use tenantry::domain::restore::{Left, OnConflict, Restore, Then, Whereabouts};
use tenantry::domain::tenant_config::ConfigChanges;
use tenantry::domain::theme::ThemeChanges;
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth};
use tenantry_journal::event::tenant::{Part, Removal};
use tenantry_journal::id::TenantId;

use crate::support::scenario::Scenario;

/// Effects that are performed before a test fails: no story of a test takes so many.
const MOST: usize = 500;

/// Performs effects until there is none.
pub(crate) fn settle(s: &mut Scenario) {
    for _ in 0..MOST {
        let Some(effect) = s.effects().into_iter().next() else { return };
        perform(s, effect);
    }
    panic!("it does not settle: {:?}", s.effects());
}

fn submit(s: &mut Scenario, command: Command) {
    s.attempt(&command).unwrap();
}

fn perform(s: &mut Scenario, effect: Effect) {
    let at = s.now;
    match effect {
        Effect::BeginRun(instance_id) => submit(s, Command::BeginRun { instance_id, listening: None }),
        Effect::BeginSuccessor(instance_id) => {
            submit(s, Command::BeginSuccessor { instance_id, listening: Arc::default() });
        }
        Effect::EnsureRun(instance_id, run_id) => {
            submit(s, Command::RunStarted { instance_id, run_id, pid: 42, start_ticks: 42 });
            let (health, detail) = (InstanceHealth::Healthy, "HTTP 200".into());
            submit(s, Command::HealthObserved { instance_id, run_id, health, detail });
        }
        Effect::EndRun(instance_id, run_id) => {
            submit(s, Command::BeginStop { instance_id, run_id });
            submit(s, Command::RunExited { instance_id, run_id, status: ExitStatus::Signal(15), at });
        }
        Effect::ForgetInstance(instance_id) => submit(s, Command::InstanceGone { instance_id }),
        Effect::RunStep(deployment_id, step) => {
            submit(s, Command::BeginStep { deployment_id, step });
            if step == StepKind::StartServices {
                submit(s, Command::SwitchServices { deployment_id });
                let own = |effect: &Effect| !matches!(effect, Effect::RunStep(..));
                while let Some(next) = s.effects().into_iter().find(own) {
                    perform(s, next);
                }
            }
            let report = StepReport::Done { detail: "done".into(), commit: None };
            submit(s, Command::FinishStep { deployment_id, step, report });
        }
        Effect::RollBack(deployment_id) => {
            submit(s, Command::RolledBack { deployment_id, detail: "taken back".into() });
        }
        Effect::RemoveTenant(tenant_id) => {
            let removed = s.world.tenants.get(tenant_id).and_then(|tenant| tenant.deletion).unwrap();
            submit(s, Command::TenantRemoved { tenant_id, removed });
        }
        Effect::EraseTenant(tenant_id) => submit(s, Command::TenantErased { tenant_id }),
        Effect::ApplyTheme(tenant_id) => {
            let theme = s.world.tenants.get(tenant_id).unwrap().theme.changed;
            submit(s, Command::ThemeApplied { tenant_id, theme });
        }
        Effect::Analyze(_) => panic!("nobody asked for an analysis"),
        Effect::WriteEnv(tenant_id) => {
            let answers = s.world.configurations.get(tenant_id).and_then(|one| one.env_wanted).unwrap();
            submit(s, Command::EnvWritten { tenant_id, answers, path: "/x/.env".into(), backup: None });
        }
    }
}

/// Everything of a tenant, back to this; what is taken fails.
pub(crate) fn back(s: &Scenario, tenant_id: TenantId, then: &Then) -> Restore {
    let kept = s.world.tenants.gone(tenant_id).map(|gone| gone.kept.iter().map(|one| one.number).collect());
    Restore {
        tenant_id,
        then: then.clone(),
        include: Part::ALL.into(),
        on_conflict: OnConflict::Fail,
        listening: s.listening.clone(),
        left: Left { whereabouts: Whereabouts::Unmarked, releases: kept.unwrap_or_default() },
        lost_logos: BTreeSet::new(),
    }
}

pub(crate) fn command(restore: Restore) -> Command {
    Command::RestoreTenant(Box::new(restore))
}

pub(crate) fn set_config(tenant_id: TenantId, field: &'static str, value: Option<&str>) -> Command {
    let fields = BTreeMap::from([(field, value.map(str::to_owned))]);
    Command::UpdateConfig { tenant_id, changes: ConfigChanges { fields, ..ConfigChanges::default() } }
}

pub(crate) fn set_color(tenant_id: TenantId, field: &str, color: &str) -> Command {
    let colors = BTreeMap::from([(field.to_owned(), color.to_owned())]);
    Command::UpdateTheme { tenant_id, changes: ThemeChanges { colors, ..ThemeChanges::default() } }
}

pub(crate) fn delete(s: &mut Scenario, tenant_id: TenantId, files: bool) {
    let remove = Removal { files, nginx: true, services: true };
    submit(s, Command::DeleteTenant { tenant_id, remove });
    settle(s);
    assert!(s.world.tenants.get(tenant_id).is_none());
}
