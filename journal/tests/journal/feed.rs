//! The feed: from any position, then live; no gap, no repeat, whoever is slow.

use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::id::Seq;
use tenantry_journal::store::sled::SledJournal;
use tokio_stream::{Stream, StreamExt};

use crate::support::*;

/// Reads a subscriber up to `last` and checks every position on the way.
async fn follow_to(
    stream: impl Stream<Item = Result<tenantry_journal::feed::Slice, tenantry_journal::scan::ScanError>>,
    from: u64,
    last: u64,
    slow: bool,
) {
    let mut stream = std::pin::pin!(stream);
    let mut next = from;
    while next <= last {
        let slice =
            tokio::time::timeout(PATIENCE, stream.next()).await.expect("an event comes").unwrap().unwrap();
        for event in slice.iter() {
            assert_eq!(event.seq, Seq(next), "a gap or a repeat");
            assert_eq!(number_of(event), (next % 60_000) as u16);
            next += 1;
        }
        if slow {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_late_and_slow_subscribers_see_every_event_once() {
    const EVENTS: u64 = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SledJournal::open(&dir.path().join("journal")).unwrap());
    let rig = Arc::new(Rig::start(store, keyring(dir.path())));
    let early: Vec<_> =
        (0..4).map(|index| tokio::spawn(follow_to(rig.feed.follow(Seq(1)), 1, EVENTS, index == 0))).collect();
    let writer = Arc::clone(&rig);
    let writing = tokio::task::spawn_blocking(move || {
        let mut seq = 0u64;
        while seq < EVENTS {
            let mut waiting = Vec::new();
            for _ in 0..100 {
                let drafts: Vec<_> = (0..8).map(|i| numbered(((seq + 1 + i) % 60_000) as u16)).collect();
                seq += 8;
                waiting.push(writer.submit(drafts));
            }
            for answer in waiting {
                answer.recv().unwrap().unwrap();
            }
        }
    });
    let mut head = rig.feed.watch();
    tokio::time::timeout(PATIENCE, head.wait_for(|head| head.0 > EVENTS / 2)).await.unwrap().unwrap();
    let late = [1, 777, EVENTS / 2]
        .map(|from| tokio::spawn(follow_to(rig.feed.follow(Seq(from)), from, EVENTS, false)));
    writing.await.unwrap();
    for subscriber in early.into_iter().chain(late) {
        subscriber.await.unwrap();
    }
}

#[tokio::test]
async fn a_subscriber_far_behind_is_served_from_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::in_memory(dir.path());
    // More than the ring holds.
    let mut seq = 0u64;
    while seq < 70_000 {
        let drafts: Vec<_> = (1..=100).map(|i| numbered(((seq + i) % 60_000) as u16)).collect();
        seq += 100;
        rig.record(drafts).unwrap();
    }
    follow_to(rig.feed.follow(Seq(1)), 1, seq, false).await;
    follow_to(rig.feed.follow(Seq(0)), 1, 50, false).await;
}

#[tokio::test]
async fn a_subscriber_past_the_head_waits_for_its_event() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::in_memory(dir.path());
    rig.record(vec![numbered(1), numbered(2)]).unwrap();
    let mut stream = std::pin::pin!(rig.feed.follow(Seq(4)));
    let none = tokio::time::timeout(Duration::from_millis(1), stream.next()).await;
    assert!(none.is_err(), "there is no event 4 yet");
    rig.record(vec![numbered(3), numbered(4)]).unwrap();
    let slice = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(slice.iter().map(|event| event.seq).collect::<Vec<_>>(), [Seq(4)]);
}

#[test]
fn a_page_is_cut_at_its_limit_from_the_ring_and_from_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::in_memory(dir.path());
    for start in 0..10 {
        rig.record((0..10).map(|i| numbered(start * 10 + i + 1)).collect()).unwrap();
    }
    let cold = tenantry_journal::feed::Feed::new(Arc::clone(&rig.store), Arc::clone(&rig.vault), Seq(95));
    for (feed, head) in [(&*rig.feed, 100), (&cold, 95)] {
        for (from, max) in [(1, 1), (5, 20), (1, 100), (91, 100), (100, 1), (96, 3), (101, 5), (7, 0)] {
            let seqs: Vec<u64> = feed
                .read(Seq(from), max)
                .unwrap()
                .iter()
                .flat_map(|slice| slice.iter().map(|event| event.seq.0).collect::<Vec<_>>())
                .collect();
            let end = (from + max as u64).min(head + 1);
            assert_eq!(seqs, (from..end).collect::<Vec<_>>(), "from {from}, at most {max}");
        }
    }
}
