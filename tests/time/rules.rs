//! What a restore and an undo record, and what they are refused for.

use std::collections::BTreeSet;

use tenantry::domain::command::{Command, DeploySwitches, TenantChanges};
use tenantry::domain::ctx::{Ctx, Ids};
use tenantry::domain::rejection::Reason;
use tenantry::domain::restore::{self, Left, OnConflict, Plan, Restore, Then, Whereabouts};
use tenantry::domain::undo::{Before, Undo, lead};
use tenantry_journal::event::tenant::Part;
use tenantry_journal::id::{Seq, TenantId, UserId};
use tenantry_journal::recorded::Actor;
use uuid::Uuid;

use crate::play::{back, command, delete, set_color, set_config, settle};
use crate::support::scenario::{Scenario, policy};

fn then(s: &Scenario, id: TenantId) -> Then {
    Then::of(&s.world, id).unwrap()
}

fn notes(text: &str) -> TenantChanges {
    TenantChanges { notes: Some(Some(text.to_owned())), ..TenantChanges::default() }
}

pub(crate) fn plan(s: &Scenario, restore: &Restore) -> Plan {
    let ctx = Ctx { now: s.now, ids: Ids::new(s.now, 1), policy: policy().into() };
    restore::plan(&s.world, restore, &ctx).unwrap()
}

fn lacking(plan: &Plan) -> BTreeSet<&str> {
    plan.not_restored.iter().map(|lack| lack.field.as_str()).collect()
}

pub(crate) fn redeploy(s: &mut Scenario, tenant_id: TenantId) {
    s.attempt(&Command::DeployTenant { tenant_id, switches: DeploySwitches::default() }).unwrap();
    settle(s);
}

fn release(s: &Scenario, id: TenantId) -> Option<u32> {
    s.world.tenants.get(id).unwrap().release
}

#[test]
fn everything_that_changed_comes_back_and_what_runs_is_restarted_by_it() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let was = then(&s, id);
    s.when(command(back(&s, id, &was))).then(&[]);
    s.attempt(&Command::UpdateTenant { tenant_id: id, changes: notes("later") }).unwrap();
    s.attempt(&set_config(id, "app_name", Some("Later"))).unwrap();
    s.attempt(&set_color(id, "primary_color", "#123456")).unwrap();
    settle(&mut s);
    let twice = |kind| [kind, kind];
    let mut kinds = vec!["tenant.restored", "tenant.updated", "tenant.config_updated", "theme.updated"];
    kinds.push("tenant.env_requested");
    kinds.extend(twice("instance.respecified"));
    kinds.extend(twice("instance.restart_requested"));
    s.when(command(back(&s, id, &was))).then(&kinds);
    settle(&mut s);
    let now = s.world.tenants.get(id).unwrap();
    assert_eq!(now.details.open(), was.tenant.details.open());
    assert!(now.theme.colors.is_empty(), "a colour that nobody had set then is set by nobody");
    s.when(command(back(&s, id, &was))).then(&[]);
}

#[test]
fn each_detail_comes_back() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    let was = then(&s, id);
    let changes = TenantChanges {
        name: Some("Another".into()),
        domain: Some("another.example.com".parse().unwrap()),
        api_domain: Some(Some("api.another.example.com".parse().unwrap())),
        github_repo: Some(Some("https://git.example.com/another".into())),
        notes: Some(Some("another".into())),
    };
    s.attempt(&Command::UpdateTenant { tenant_id: id, changes }).unwrap();
    let plan = plan(&s, &back(&s, id, &was));
    let updated = plan.events.iter().find_map(|event| match event {
        tenantry_journal::event::Event::TenantUpdated(updated) => Some(updated),
        _ => None,
    });
    assert_eq!(updated.unwrap().changed, ["name", "domain", "api_domain", "github_repo", "notes"]);
    s.attempt(&command(back(&s, id, &was))).unwrap();
    assert_eq!(s.world.tenants.get(id).unwrap().details.open(), was.tenant.details.open());
}

#[test]
fn only_what_is_included_comes_back() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    let was = then(&s, id);
    s.attempt(&Command::UpdateTenant { tenant_id: id, changes: notes("later") }).unwrap();
    s.attempt(&set_color(id, "primary_color", "#123456")).unwrap();
    let only = Restore { include: [Part::Theme].into(), ..back(&s, id, &was) };
    s.when(command(only)).then(&["tenant.restored", "theme.updated"]);
    assert_eq!(s.world.tenants.get(id).unwrap().details.open().unwrap().notes.as_deref(), Some("later"));
}

#[test]
fn an_earlier_release_comes_back_by_a_deployment_and_not_beside_another() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let was = then(&s, id);
    redeploy(&mut s, id);
    assert_eq!(release(&s, id), Some(2));
    s.attempt(&Command::DeployTenant { tenant_id: id, switches: DeploySwitches::default() }).unwrap();
    s.when(command(back(&s, id, &was))).rejected(Reason::Conflict, "deployment_running");
    let rest = Restore { include: [Part::Config].into(), ..back(&s, id, &was) };
    s.when(command(rest)).then(&[]);
    settle(&mut s);
    s.when(command(back(&s, id, &was))).then(&["tenant.restored", "deployment.requested"]);
    s.when(command(back(&s, id, &was))).rejected(Reason::Conflict, "deployment_running");
    settle(&mut s);
    assert_eq!(release(&s, id), Some(1));
}

#[test]
fn processes_run_when_they_did_then() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let ran = then(&s, id);
    s.attempt(&Command::StopTenant { tenant_id: id }).unwrap();
    settle(&mut s);
    let stood = then(&s, id);
    let started = ["tenant.restored", "instance.start_requested", "instance.start_requested"];
    s.when(command(back(&s, id, &ran))).then(&started);
    settle(&mut s);
    let stopped = ["tenant.restored", "instance.stop_requested", "instance.stop_requested"];
    s.when(command(back(&s, id, &stood))).then(&stopped);
}

#[test]
fn a_release_that_is_gone_is_told_and_the_rest_comes_back() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let was = then(&s, id);
    for _ in 0..6 {
        redeploy(&mut s, id);
    }
    assert!(s.world.tenants.get(id).unwrap().kept.get(1).is_none(), "five are kept");
    s.attempt(&Command::UpdateTenant { tenant_id: id, changes: notes("later") }).unwrap();
    let plan = plan(&s, &back(&s, id, &was));
    assert_eq!(lacking(&plan), ["database", "release"].into());
    s.when(command(back(&s, id, &was))).then(&["tenant.restored", "tenant.updated"]);
    assert_eq!(release(&s, id), Some(7));
}

#[test]
fn what_somebody_else_holds_stays_theirs() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    let was = then(&s, id);
    let moved = TenantChanges { domain: Some("moved.example.com".parse().unwrap()), ..Default::default() };
    s.attempt(&Command::UpdateTenant { tenant_id: id, changes: moved }).unwrap();
    let other = s.tenant("jones");
    let taken = TenantChanges { domain: Some("smith.example.com".parse().unwrap()), ..Default::default() };
    s.attempt(&Command::UpdateTenant { tenant_id: other, changes: taken }).unwrap();
    s.attempt(&Command::UpdateTenant { tenant_id: id, changes: notes("later") }).unwrap();
    s.when(command(back(&s, id, &was))).rejected(Reason::Conflict, "restore_conflict");
    let wanted = Restore { on_conflict: OnConflict::Reassign, ..back(&s, id, &was) };
    let found = plan(&s, &wanted).conflicts;
    let shown: Vec<_> =
        found.iter().map(|one| (one.field.as_str(), one.held_by, one.resolution.as_deref())).collect();
    assert_eq!(shown, [("domain", Some(other), Some("moved.example.com"))]);
    let before = s.world.tenants.get(other).unwrap().clone();
    s.when(command(wanted)).then(&["tenant.restored", "tenant.updated"]);
    let details = s.world.tenants.get(id).unwrap().details.open().unwrap().clone();
    assert_eq!((details.domain.as_str(), details.notes), ("moved.example.com", None));
    assert_eq!(*s.world.tenants.get(other).unwrap(), before);
}

#[test]
fn a_deleted_tenant_comes_back_with_its_ports_and_release() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    s.attempt(&set_config(id, "app_name", Some("Mine"))).unwrap();
    let was = then(&s, id);
    delete(&mut s, id, false);
    s.when(command(back(&s, id, &was))).then(&[
        "tenant.restored",
        "port.allocated",
        "tenant.config_updated",
        "tenant.env_requested",
        "deployment.requested",
    ]);
    settle(&mut s);
    let now = s.world.tenants.get(id).unwrap();
    assert_eq!((now.ports, now.release, now.releases), (was.tenant.ports, Some(1), 1));
    assert_eq!((now.details.open(), now.created_at), (was.tenant.details.open(), was.tenant.created_at));
    assert_eq!(now.config.as_ref().unwrap().open(), was.tenant.config.as_ref().unwrap().open());
    assert!(s.world.tenants.gone(id).is_none());
    redeploy(&mut s, id);
    assert_eq!(release(&s, id), Some(2), "no number is used twice");
}

#[test]
fn of_a_deleted_tenant_without_files_the_rest_comes_back_and_the_loss_is_told() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let was = then(&s, id);
    delete(&mut s, id, true);
    let wanted = back(&s, id, &was);
    assert_eq!(lacking(&plan(&s, &wanted)), ["database", "files", "release"].into());
    s.when(command(wanted)).then(&["tenant.restored", "port.allocated"]);
    assert_eq!(release(&s, id), None);
}

#[test]
fn names_and_ports_of_a_deleted_tenant_that_are_taken_are_replaced_by_free_ones() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let was = then(&s, id);
    delete(&mut s, id, false);
    let Command::CreateTenant(mut create) = s.create("smith") else { unreachable!("it is a create") };
    create.frontend_port = was.tenant.ports.map(|ports| ports.frontend);
    s.attempt(&Command::CreateTenant(create)).unwrap();
    let other = s.world.tenants.by_slug(&"smith".parse().unwrap()).unwrap();
    s.when(command(back(&s, id, &was))).rejected(Reason::Conflict, "restore_conflict");
    let wanted = Restore { on_conflict: OnConflict::Reassign, ..back(&s, id, &was) };
    let plan = plan(&s, &wanted);
    let fields: Vec<&str> = plan.conflicts.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["slug", "domain", "api_domain", "frontend_port", "backend_port"]);
    assert!(plan.conflicts.iter().all(|one| one.held_by == Some(other)));
    assert!(lacking(&plan).is_superset(&["files", "release"].into()), "its directory is another's");
    s.when(command(wanted)).then(&["tenant.restored", "port.allocated"]);
    let now = s.world.tenants.get(id).unwrap();
    let details = now.details.open().unwrap();
    assert_eq!((details.slug.as_str(), details.domain.as_str()), ("smith-2", "smith-2.example.com"));
    assert!(details.directory.ends_with("/smith-2"));
    assert_ne!(now.ports, was.tenant.ports);
}

#[test]
fn what_lies_in_a_directory_that_another_tenant_used_since_is_not_given_back() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let was = then(&s, id);
    delete(&mut s, id, false);
    let other = s.deployed("smith");
    settle(&mut s);
    delete(&mut s, other, false);
    let plan = plan(&s, &back(&s, id, &was));
    assert_eq!(plan.conflicts, []);
    assert_eq!(lacking(&plan), ["database", "files", "release"].into());
    let kinds: Vec<&str> = plan.events.iter().map(|event| event.kind()).collect();
    assert_eq!(kinds, ["tenant.restored", "port.allocated"]);
}

#[test]
fn files_that_bear_a_deleted_tenants_mark_come_back_whoever_came_to_their_place() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let was = then(&s, id);
    delete(&mut s, id, false);
    let other = s.deployed("smith");
    settle(&mut s);
    let wanted = back(&s, id, &was);
    let left = Left { whereabouts: Whereabouts::Found, ..wanted.left.clone() };
    let found = Restore { left, on_conflict: OnConflict::Reassign, ..wanted.clone() };
    assert_eq!(lacking(&plan(&s, &found)), ["database"].into());
    let lost = Restore { left: Left::default(), on_conflict: OnConflict::Reassign, ..wanted };
    assert_eq!(lacking(&plan(&s, &lost)), ["database", "files", "release"].into());
    s.when(command(found)).then(&[
        "tenant.restored",
        "port.allocated",
        "tenant.env_requested",
        "deployment.requested",
    ]);
    settle(&mut s);
    let now = s.world.tenants.get(id).unwrap();
    assert!(now.details.open().unwrap().directory.ends_with("/smith-2"));
    assert_eq!((now.release, release(&s, other)), (Some(1), Some(1)));
}

#[test]
fn of_a_tenant_that_was_never_deployed_no_files_are_missed() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    let was = then(&s, id);
    delete(&mut s, id, false);
    let wanted = Restore { left: Left::default(), ..back(&s, id, &was) };
    assert_eq!(lacking(&plan(&s, &wanted)), ["database"].into());
}

#[test]
fn nothing_is_restored_that_never_was_or_is_being_deleted() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    let was = then(&s, id);
    let stranger = Restore { tenant_id: TenantId(Uuid::from_u128(9)), ..back(&s, id, &was) };
    s.when(command(stranger)).rejected(Reason::NotFound, "tenant_not_found");
    let remove = tenantry_journal::event::tenant::Removal { files: false, nginx: true, services: true };
    s.attempt(&Command::DeleteTenant { tenant_id: id, remove }).unwrap();
    s.when(command(back(&s, id, &was))).rejected(Reason::Conflict, "tenant_deleting");
}

/// Gives a command as a person, and makes the undo of it.
pub(crate) fn undo_of(s: &mut Scenario, given: &Command) -> Command {
    let before = s.world.clone();
    let from = s.recorded.len();
    s.attempt(given).unwrap();
    let mut events = s.recorded[from..].to_vec();
    events.iter_mut().for_each(|event| event.draft.actor = Actor::User(UserId(Uuid::from_u128(1))));
    settle(s);
    let kept = |id| s.world.tenants.gone(id).map(|gone| gone.kept.iter().map(|one| one.number).collect());
    let releases = before.tenants.iter().find_map(|tenant| kept(tenant.id)).unwrap_or_default();
    let seq = events.first().map_or(Seq(1), |event| event.seq);
    let (before, listening) = (Before(before.into()), s.listening.clone());
    let left = Left { whereabouts: Whereabouts::Found, releases };
    Command::Undo(Box::new(Undo { events, seq, before, listening, left, lost_logos: BTreeSet::new() }))
}

#[test]
fn an_update_is_taken_back_as_long_as_nobody_changed_it_again() {
    let mut s = Scenario::new();
    let id = s.tenant("smith");
    s.attempt(&Command::UpdateTenant { tenant_id: id, changes: notes("first") }).unwrap();
    let undo = undo_of(&mut s, &Command::UpdateTenant { tenant_id: id, changes: notes("second") });
    let again = undo_of(&mut s, &Command::UpdateTenant { tenant_id: id, changes: notes("third") });
    s.when(undo.clone()).rejected(Reason::Conflict, "changed_since");
    s.when(again).then(&["tenant.updated"]);
    let moved = TenantChanges { domain: Some("moved.example.com".parse().unwrap()), ..Default::default() };
    s.attempt(&Command::UpdateTenant { tenant_id: id, changes: moved }).unwrap();
    s.when(undo).then(&["tenant.updated"]);
    let details = s.world.tenants.get(id).unwrap().details.open().unwrap().clone();
    assert_eq!((details.notes.as_deref(), details.domain.as_str()), (Some("first"), "moved.example.com"));
}

#[test]
fn commands_about_a_tenant_are_taken_back() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let undo = undo_of(&mut s, &set_config(id, "app_name", Some("Later")));
    let twice = ["instance.respecified", "instance.respecified"];
    s.when(undo).then(&[&["tenant.config_updated"][..], &twice].concat());
    let undo = undo_of(&mut s, &set_color(id, "primary_color", "#123456"));
    s.when(undo).then(&["theme.updated"]);
    settle(&mut s);
    assert!(s.world.tenants.get(id).unwrap().theme.colors.is_empty());
    let undo = undo_of(&mut s, &Command::StopTenant { tenant_id: id });
    s.when(undo).then(&["instance.start_requested", "instance.start_requested"]);
    settle(&mut s);
    let deploy = Command::DeployTenant { tenant_id: id, switches: DeploySwitches::default() };
    let undo = undo_of(&mut s, &deploy);
    assert_eq!(release(&s, id), Some(2));
    s.when(undo.clone()).then(&["deployment.requested"]);
    settle(&mut s);
    assert_eq!(release(&s, id), Some(1));
    s.when(undo).rejected(Reason::Conflict, "changed_since");
    let remove = tenantry_journal::event::tenant::Removal { files: false, nginx: true, services: true };
    let undo = undo_of(&mut s, &Command::DeleteTenant { tenant_id: id, remove });
    assert!(s.world.tenants.get(id).is_none());
    s.attempt(&undo).unwrap();
    settle(&mut s);
    assert_eq!(release(&s, id), Some(1));
    let create = s.create("jones");
    let undo = undo_of(&mut s, &create);
    s.when(undo).then(&["tenant.deletion_requested"]);
}

#[test]
fn what_has_no_undo_says_why() {
    let mut s = Scenario::new();
    let id = s.deployed("smith");
    settle(&mut s);
    let undo = undo_of(&mut s, &Command::RestartTenant { tenant_id: id });
    s.when(undo).rejected(Reason::Conflict, "no_undo");
    let created = &s.recorded[..1];
    let refused = lead(created, created[0].seq).unwrap_err();
    assert_eq!(refused.code, "no_undo", "the system gave that command, and nobody else");
    assert!(refused.message.contains("control plane itself"), "{refused}");
}
