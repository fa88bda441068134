//! Whatever happened: a tenant that is restored to a moment is as it was then, and nobody else
//! notices.

use proptest::prelude::*;
use tenantry::domain::command::{Command, DeploySwitches, TenantChanges};
use tenantry::domain::restore::Then;
use tenantry_journal::event::port::PortPair;
use tenantry_journal::event::tenant::{TenantConfig, TenantDetails};
use tenantry_journal::id::TenantId;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::Tenant;
use tenantry_projections::world::themes::Logo;

use crate::play::{back, command, delete, set_color, set_config, settle};
use crate::support::scenario::Scenario;

/// One thing that somebody does: which, to whom, and a variation.
type Move = (u8, u8, u8);

fn moves() -> impl Strategy<Value = Vec<Move>> {
    prop::collection::vec((0..8u8, 0..2u8, 0..3u8), 1..14)
}

fn does(s: &mut Scenario, (what, whom, n): Move, ids: [TenantId; 2]) {
    let tenant_id = ids[usize::from(whom)];
    if s.world.tenants.get(tenant_id).is_none() {
        return;
    }
    let colors = ["#111111", "#222222", "#333333"];
    let changes = match n {
        0 => TenantChanges { notes: Some(Some(format!("note {what}"))), ..Default::default() },
        1 => TenantChanges {
            domain: Some(format!("d{whom}-{what}.example.com").parse().unwrap()),
            ..Default::default()
        },
        _ => TenantChanges { api_domain: Some(None), ..Default::default() },
    };
    let given = match what {
        0 => set_config(tenant_id, ["app_name", "project_name", "app_name"][usize::from(n)], Some("set")),
        1 => set_config(tenant_id, "app_name", None),
        2 => set_color(
            tenant_id,
            ["primary_color", "text_color", "accent_color"][usize::from(n)],
            colors[usize::from(n)],
        ),
        3 => Command::StopTenant { tenant_id },
        4 => Command::StartTenant { tenant_id },
        5 => Command::DeployTenant { tenant_id, switches: DeploySwitches::default() },
        6 if n == 2 => return delete(s, tenant_id, false),
        _ => Command::UpdateTenant { tenant_id, changes },
    };
    // What is refused is one of the things that happen.
    let _ = s.attempt(&given);
    settle(s);
}

/// Everything of a tenant that can be restored.
#[derive(Debug, PartialEq)]
struct Restorable {
    details: Option<TenantDetails>,
    config: TenantConfig,
    colors: Vec<(String, String)>,
    logos: Vec<(String, Logo)>,
    ports: Option<PortPair>,
}

fn restorable(tenant: &Tenant) -> Restorable {
    Restorable {
        details: tenant.details.open().cloned(),
        config: tenant.config.as_ref().and_then(Sealed::open).cloned().unwrap_or_default(),
        colors: tenant.theme.colors.clone().into_iter().collect(),
        logos: tenant.theme.logos.clone().into_iter().collect(),
        ports: tenant.ports,
    }
}

fn ran(world: &World, tenant: &Tenant) -> Vec<bool> {
    let ids = [tenant.frontend, tenant.backend].into_iter().flatten();
    ids.map(|id| world.instances.get(id).unwrap().run.is_some()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_tenant_is_as_it_was_and_nobody_else_is_touched(before in moves(), after in moves()) {
        let mut s = Scenario::new();
        let (smith, jones) = (s.deployed("smith"), s.deployed("jones"));
        settle(&mut s);
        for one in before {
            does(&mut s, one, [smith, jones]);
        }
        let Some(then) = Then::of(&s.world, smith) else { return Ok(()) };
        let world_then = s.world.clone();
        for one in after {
            does(&mut s, one, [smith, jones]);
        }
        let other = s.world.tenants.get(jones).cloned();
        let wanted = back(&s, smith, &then);
        let events = s.attempt(&command(wanted)).map_err(|refused| TestCaseError::fail(refused.to_string()))?;
        let is_settled = events.is_empty();
        settle(&mut s);
        let now = s.world.tenants.get(smith).unwrap().clone();
        prop_assert_eq!(restorable(&now), restorable(&then.tenant));
        let is_there = now.kept.get(then.tenant.release.unwrap()).is_some();
        // A release that was prepared for a tenant that was stopped then serves from its next start.
        if is_there && then.ran == Some(true) {
            prop_assert_eq!(now.release, then.tenant.release);
            prop_assert_eq!(ran(&s.world, &now), ran(&world_then, &then.tenant));
        } else {
            prop_assert!(!ran(&s.world, &now).contains(&true) || !is_there, "it stands as it did");
        }
        prop_assert_eq!(s.world.tenants.get(jones).cloned(), other);
        if is_settled {
            prop_assert_eq!(s.effects(), []);
        }
    }
}
