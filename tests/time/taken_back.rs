//! What an undo gives back field by field, and that it touches nothing that was changed since.

use std::collections::{BTreeMap, BTreeSet};

use tenantry::domain::command::{Command, TenantChanges};
use tenantry::domain::rejection::Reason;
use tenantry::domain::restore::{Restore, Then};
use tenantry::domain::setting::RATE_LIMIT_PER_HOUR;
use tenantry::domain::tenant_config::{ConfigChanges, EnvChanges};
use tenantry::domain::theme::ThemeChanges;
use tenantry::domain::user::UserChanges;
use tenantry_journal::event::Event;
use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::theme::LogoFormat;
use tenantry_journal::id::TenantId;
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_projections::world::themes::Logo;

use crate::play::{back, command, delete, set_config, settle};
use crate::rules::{plan, redeploy, undo_of};
use crate::support::scenario::Scenario;

fn set(value: &str) -> Command {
    Command::ChangeSetting { key: RATE_LIMIT_PER_HOUR.to_owned(), value: Secret::new(value.to_owned()) }
}

fn logos(tenant_id: TenantId, digest: &str) -> Command {
    let logo = Logo { digest: digest.repeat(64), format: LogoFormat::Png };
    let logos = BTreeMap::from([("logo_full".to_owned(), logo)]);
    Command::UpdateTheme { tenant_id, changes: ThemeChanges { logos, ..ThemeChanges::default() } }
}

fn logo(s: &Scenario, id: TenantId) -> Option<String> {
    let theme = &s.world.tenants.get(id).unwrap().theme;
    theme.logos.get("logo_full").map(|logo| logo.digest.chars().take(1).collect())
}

#[test]
fn a_setting_gets_its_value_of_before_unless_it_was_set_again() {
    let mut s = Scenario::new();
    let first = undo_of(&mut s, &set("5000"));
    let second = undo_of(&mut s, &set("6000"));
    s.when(first.clone()).rejected(Reason::Conflict, "changed_since");
    s.when(second).then(&["setting.changed"]);
    assert_eq!(s.world.settings.value(RATE_LIMIT_PER_HOUR), Some("5000"));
    let cleared = undo_of(&mut s, &Command::ClearSetting { key: RATE_LIMIT_PER_HOUR.to_owned() });
    assert_eq!(s.world.settings.value(RATE_LIMIT_PER_HOUR), None);
    s.when(cleared).then(&["setting.changed"]);
    assert_eq!(s.world.settings.value(RATE_LIMIT_PER_HOUR), Some("5000"));
}

#[test]
fn a_removed_instance_comes_back_with_the_variables_that_it_was_given_and_a_weight_with_its_value() {
    let mut s = Scenario::new();
    let key = "api:a".parse().unwrap();
    let env = BTreeMap::from([("COLOR".to_owned(), Secret::new("red".to_owned()))]);
    s.attempt(&Command::SpawnInstance { key, env, listening: s.listening.clone() }).unwrap();
    settle(&mut s);
    let weigh = |weight| Command::ChangeWeight { key: "api:a".parse().unwrap(), weight };
    let first = undo_of(&mut s, &weigh(30));
    let second = undo_of(&mut s, &weigh(60));
    s.when(first).rejected(Reason::Conflict, "changed_since");
    s.when(second).then(&["instance.weight_changed"]);
    assert_eq!(s.instance("api:a").weight, 30);
    let removed = undo_of(&mut s, &Command::RemoveInstance { key: "api:a".parse().unwrap() });
    assert!(s.world.instances.by_key(&"api:a".parse().unwrap()).is_none());
    s.attempt(&removed).unwrap();
    let spec = s.instance("api:a").spec.open().unwrap().clone();
    assert_eq!(spec.env.get("COLOR").map(Secret::reveal), Some("red"));
}

#[test]
fn a_user_gets_back_what_they_were_unless_they_were_changed_again() {
    let mut s = Scenario::new();
    let smith = s.tenant("smith");
    let create = Command::CreateUser {
        username: "olga".into(),
        email: "olga@example.com".into(),
        role: Role::Operator,
        scope: Scope::All,
        password_hash: Secret::new("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA".into()),
    };
    s.attempt(&create).unwrap();
    let user_id = s.world.access.user_by_name("olga").unwrap().id;
    let update = |changes| Command::UpdateUser { user_id, changes };
    let out = UserChanges { disabled: Some(true), ..UserChanges::default() };
    let other = UserChanges {
        email: Some("other@example.com".into()),
        role: Some(Role::Viewer),
        scope: Some(Scope::Tenants(BTreeSet::from([smith]))),
        disabled: None,
    };
    let first = undo_of(&mut s, &update(out.clone()));
    let second = undo_of(&mut s, &update(other));
    s.when(first).rejected(Reason::Conflict, "changed_since");
    s.when(second).then(&["user.updated"]);
    let user = s.world.access.user(user_id).unwrap().clone();
    let email = user.profile.open().map(|profile| profile.email.clone());
    assert_eq!((user.role, user.scope.clone(), user.disabled), (Role::Operator, Scope::All, true));
    assert_eq!(email.as_deref(), Some("olga@example.com"));
    s.attempt(&update(UserChanges { disabled: Some(false), ..UserChanges::default() })).unwrap();
    let again = undo_of(&mut s, &update(out));
    s.when(again).then(&["user.updated"]);
    assert!(!s.world.access.user(user_id).unwrap().disabled);
}

#[test]
fn a_tenant_that_was_deployed_since_is_not_taken_back() {
    let mut s = Scenario::new();
    let create = s.create("smith");
    let undo = undo_of(&mut s, &create);
    let id = s.world.tenants.by_slug(&"smith".parse().unwrap()).unwrap();
    redeploy(&mut s, id);
    s.when(undo).rejected(Reason::Conflict, "no_undo");
    assert!(s.world.tenants.get(id).is_some());
}

#[test]
fn the_second_domain_and_what_nobody_had_set_before_come_back() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    let was = s.world.tenants.get(id).unwrap().details.open().unwrap().api_domain.clone();
    let changes = TenantChanges { api_domain: Some(None), ..TenantChanges::default() };
    let undo = undo_of(&mut s, &Command::UpdateTenant { tenant_id: id, changes });
    s.when(undo).then(&["tenant.updated"]);
    assert_eq!(s.world.tenants.get(id).unwrap().details.open().unwrap().api_domain, was);
    let undo = undo_of(&mut s, &set_config(id, "app_name", Some("Later")));
    s.when(undo).then(&["tenant.config_updated"]);
    let config = s.world.tenants.get(id).unwrap().config.clone().unwrap();
    assert_eq!(config.open().unwrap().fields.get("app_name"), None);
}

#[test]
fn what_was_hidden_of_a_variable_stays_hidden_when_it_comes_back() {
    let mut s = Scenario::new();
    let tenant_id = s.tenant("smith");
    let env = |all: &[(&str, &str)], secret: &[&str]| {
        let all = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let secret = Some(secret.iter().map(|name| (*name).to_owned()).collect());
        let changes =
            ConfigChanges { env: EnvChanges { all: Some(all), secret }, ..ConfigChanges::default() };
        Command::UpdateConfig { tenant_id, changes }
    };
    s.attempt(&env(&[("PLAIN_NAME", "hidden")], &["PLAIN_NAME"])).unwrap();
    let undo = undo_of(&mut s, &env(&[], &[]));
    s.when(undo).then(&["tenant.config_updated"]);
    let config = s.world.tenants.get(tenant_id).unwrap().config.as_ref().and_then(Sealed::open).cloned();
    let config = config.unwrap();
    assert_eq!(config.custom_env.get("PLAIN_NAME").map(Secret::reveal), Some("hidden"));
    assert!(config.secret_env.contains("PLAIN_NAME"));
}

#[test]
fn a_logo_comes_back_by_an_undo_and_by_a_restore_unless_its_file_is_lost() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    s.attempt(&logos(id, "a")).unwrap();
    settle(&mut s);
    let was = Then::of(&s.world, id).unwrap();
    let undo = undo_of(&mut s, &logos(id, "b"));
    s.when(undo).then(&["theme.updated"]);
    assert_eq!(logo(&s, id).as_deref(), Some("a"));
    s.attempt(&logos(id, "b")).unwrap();
    let lost = Restore { lost_logos: ["a".repeat(64)].into(), ..back(&s, id, &was) };
    let found = plan(&s, &lost);
    assert!(found.not_restored.iter().any(|lack| lack.field == "theme.logo_full"), "{found:?}");
    s.attempt(&command(lost)).unwrap();
    assert_eq!(logo(&s, id), None, "neither the lost one nor the one that came after it");
    s.attempt(&command(back(&s, id, &was))).unwrap();
    assert_eq!(logo(&s, id).as_deref(), Some("a"));
}

#[test]
fn a_deleted_tenant_is_as_old_as_it_was_and_its_sites_are_made_anew() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let was = Then::of(&s.world, id).unwrap();
    s.now = s.now.plus_ms(3_600_000);
    delete(&mut s, id, false);
    let found = plan(&s, &back(&s, id, &was));
    let steps = found.events.iter().find_map(|event| match event {
        Event::DeploymentRequested(requested) => Some(&requested.steps),
        _ => None,
    });
    let reason = |kind| steps.unwrap().iter().find(|step| step.kind == kind).unwrap().skip.clone();
    assert_eq!(
        reason(StepKind::ConfigureNginx).as_deref(),
        Some("nginx is off"),
        "by the configuration alone"
    );
    assert!(reason(StepKind::InitializeDatabase).unwrap().contains("leaves the database"));
    s.attempt(&command(back(&s, id, &was))).unwrap();
    assert_eq!(s.world.tenants.get(id).unwrap().created_at, was.tenant.created_at);
}
