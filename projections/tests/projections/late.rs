//! What comes late or twice does not bring back what is over, nor take what others hold.

use std::collections::BTreeSet;

use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::{DeploymentRequested, StepKind, StepStarted};
use tenantry_journal::event::instance::{InstanceEnded, InstanceRemovalRequested, InstanceRemoved};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::instances::{Desired, Phase};
use tenantry_projections::world::{Attention, World};

use crate::arbitrary::recorded;
use crate::support::*;

fn of(seq: u64, kind: &str, c: u8) -> Recorded {
    of_instance(seq, kind, 1, c)
}

fn of_instance(seq: u64, kind: &str, b: u8, c: u8) -> Recorded {
    let number = Event::KINDS.iter().position(|(name, _)| *name == kind).unwrap();
    recorded(seq, (number, 1, b, c))
}

#[test]
fn a_late_step_does_not_revive_a_deployment_that_is_over() {
    let story =
        [of(1, "tenant.created", 0), of(2, "deployment.requested", 3), of(3, "deployment.finished", 0)];
    let mut world = folded(&story);
    let over = world.deployments.get(deployment(1)).unwrap().clone();
    world.evolve(&record(4, StepStarted { deployment_id: deployment(1), step: StepKind::CopyFiles }));
    assert!(over.is_over());
    assert_eq!(*world.deployments.get(deployment(1)).unwrap(), over);
    assert!(world.attention.is_empty());
}

#[test]
fn a_deployment_that_is_no_longer_kept_asks_for_no_attention() {
    let mut world = folded(&[record(1, created(1))]);
    for n in 2..200 {
        let requested = DeploymentRequested {
            deployment_id: deployment(n),
            tenant_id: tenant(1),
            release: 1,
            source: Sealed::new(tenant(1), String::new()),
            steps: vec![],
            git_ref: None,
            rollback: false,
        };
        world.evolve(&record(n, requested));
    }
    let kept: BTreeSet<_> =
        world.deployments.of(tenant(1)).map(|kept| Attention::Deployment(kept.id)).collect();
    assert_eq!(kept.len(), 50);
    assert!(kept.contains(&Attention::Deployment(deployment(199))));
    assert_eq!(world.attention.iter().copied().collect::<BTreeSet<_>>(), kept);
}

#[test]
fn the_wish_to_remove_an_instance_outlives_the_end_of_its_process() {
    let spawned = [of(1, "instance.spawned", 0), of(2, "instance.start_requested", 0)];
    let mut world = folded(&spawned);
    world.evolve(&record(3, InstanceRemovalRequested { instance_id: instance(1) }));
    world.evolve(&record(4, InstanceEnded { instance_id: instance(1), failed: false }));
    let found = world.instances.get(instance(1)).unwrap();
    assert_eq!((found.desired, found.phase), (Desired::Removed, Phase::Idle));
    assert!(world.attention.contains(&Attention::Instance(instance(1))));
}

#[test]
fn an_instance_that_goes_does_not_take_its_successors_place() {
    let story = [
        of(1, "tenant.created", 0),
        of_instance(2, "instance.spawned", 1, 2),
        of_instance(3, "instance.spawned", 2, 2),
    ];
    let mut world: World = folded(&story);
    world.evolve(&record(4, InstanceRemoved { instance_id: instance(1) }));
    assert_eq!(world.tenants.get(tenant(1)).unwrap().frontend, Some(instance(2)));
    world.evolve(&record(5, InstanceRemoved { instance_id: instance(2) }));
    assert_eq!(world.tenants.get(tenant(1)).unwrap().frontend, None);
}
