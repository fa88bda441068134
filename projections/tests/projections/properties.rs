//! Whatever happened, in whatever order: the fold holds, and so do its indexes.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tenantry_projections::snapshot::{Snapshots, TreeState};
use tenantry_projections::world::{Attention, World};

use crate::arbitrary::{events, seeds};
use crate::support::{folded, vault};

fn reindexed(world: &World) -> World {
    let mut again = world.clone();
    again.reindex();
    again
}

fn attention(world: &World) -> BTreeSet<Attention> {
    let wanted = |id| world.configurations.get(id).is_some_and(|one| one.env_wanted.is_some());
    let files = world.tenants.iter().filter(|tenant| wanted(tenant.id));
    let instances = world.instances.iter().filter(|instance| instance.needs_attention());
    let deployments = world.deployments.iter().filter(|deployment| !deployment.is_over());
    let tenants = world.tenants.iter().filter(|tenant| tenant.deletion.is_some());
    let themes = world.tenants.iter().filter(|tenant| tenant.theme.applied < tenant.theme.changed);
    let analyses = world.analyses.iter().filter(|analysis| !analysis.is_over());
    instances
        .map(|instance| Attention::Instance(instance.id))
        .chain(deployments.map(|deployment| Attention::Deployment(deployment.id)))
        .chain(tenants.map(|tenant| Attention::Tenant(tenant.id)))
        .chain(themes.map(|tenant| Attention::Theme(tenant.id)))
        .chain(analyses.map(|analysis| Attention::Analysis(analysis.id)))
        .chain(files.map(|tenant| Attention::EnvFile(tenant.id)))
        .chain(world.erasures.wanted().map(Attention::Erasure))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn indexes_and_attention_are_at_every_event_what_a_rebuild_makes_of_them(seeds in seeds(120)) {
        let mut world = World::default();
        for recorded in events(&seeds) {
            world.evolve(&recorded);
            prop_assert_eq!(&world, &reindexed(&world), "after {:?}", recorded);
            let listed: BTreeSet<Attention> = world.attention.iter().copied().collect();
            prop_assert_eq!(listed, attention(&world), "after {:?}", recorded);
        }
    }

    #[test]
    fn a_clone_is_not_touched_by_what_comes_after(seeds in seeds(80), cut in 0..80usize) {
        let events = events(&seeds);
        let (before, after) = events.split_at(cut.min(events.len()));
        let mut world = folded(before);
        let kept = world.clone();
        after.iter().for_each(|recorded| world.evolve(recorded));
        prop_assert_eq!(kept, folded(before));
    }
}

proptest! {
    // Each case syncs a file.
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fold_from_a_snapshot_equals_the_whole_fold(seeds in seeds(150), cut in 0..150usize) {
        let events = events(&seeds);
        let (before, after) = events.split_at(cut.min(events.len()));
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path(), vault()).unwrap();
        let at_cut = folded(before);
        snapshots.write(&at_cut, &TreeState::default()).unwrap();

        let mut world = snapshots.load(at_cut.seq).unwrap().world;
        prop_assert_eq!(&world, &at_cut);
        after.iter().for_each(|recorded| world.evolve(recorded));
        prop_assert_eq!(world, folded(&events));
    }
}
