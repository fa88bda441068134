//! The index of document 1's log against a plain reading of all events.

use proptest::prelude::*;
use tenantry_journal::recorded::Recorded;
use tenantry_projections::audit_log::{BLOCK, Category, Filter, Index, Level, category, level, message};
use tenantry_projections::world::World;

use crate::arbitrary::{events, seeds};

/// What the page holds when every event is looked at.
fn plain<'a>(events: &'a [Recorded], filter: &Filter, offset: usize, limit: usize) -> Vec<&'a Recorded> {
    events.iter().rev().filter(|event| filter.takes(event)).skip(offset).take(limit).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_page_and_its_total_are_those_of_a_plain_reading(
        seeds in seeds(400),
        repeat in 1..12_usize,
        (offset, limit) in (0..200_usize, 1..50_usize),
        pick in 0..60_u8,
    ) {
        let events = events(&seeds.repeat(repeat));
        let mut index = Index::default();
        events.iter().for_each(|event| index.note(event));
        events.iter().for_each(|event| index.note(event));
        prop_assert_eq!(index.next().0, events.len() as u64 + 1);
        let filter = Filter {
            tenants: (pick % 2 == 0)
                .then(|| events.iter().filter_map(|event| event.tenant_id).take(usize::from(pick % 5)).collect()),
            level: [None, Some(Level::Warning), Some(Level::Error)][usize::from(pick) % 3],
            category: [None, Some(Category::System), Some(Category::Deployment), Some(Category::Audit)]
                [usize::from(pick) % 4],
        };
        let place = index.place(&filter, offset, limit);
        prop_assert_eq!(place.total, plain(&events, &filter, 0, usize::MAX).len() as u64);
        let in_blocks = place.blocks.iter().flat_map(|(first, last)| {
            events.iter().rev().filter(move |event| (*first..=*last).contains(&event.seq))
        });
        let page: Vec<_> = in_blocks.filter(|event| filter.takes(event)).skip(place.skip).take(limit).collect();
        prop_assert_eq!(page, plain(&events, &filter, offset, limit));
        for (first, last) in place.blocks {
            prop_assert!(last.0 - first.0 < BLOCK);
            let holds_one = events.iter().any(|e| (first..=last).contains(&e.seq) && filter.takes(e));
            prop_assert!(holds_one, "a block is read for nothing");
        }
    }

    #[test]
    fn every_event_has_a_line(seeds in seeds(60)) {
        let mut world = World::default();
        for event in events(&seeds) {
            world.evolve(&event);
            prop_assert!(!message(&event, &world).is_empty());
            if level(&event) == Level::Critical {
                prop_assert_eq!(category(&event), Category::System);
            }
        }
    }
}
