//! The pipeline: order, grouping, and that nothing is acknowledged that is not durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tenantry_journal::codec::Commit;
use tenantry_journal::id::{KeyId, Seq, TenantId};
use tenantry_journal::sealed::Vault;
use tenantry_journal::store::memory::MemoryJournal;
use tenantry_journal::store::sled::{PART_BYTES, SledJournal};
use tenantry_journal::store::{Journal, StoreError};

use crate::support::*;

fn faulty() -> (Arc<Faulty<MemoryJournal>>, Rig, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Arc::new(Faulty::new(MemoryJournal::new()));
    let rig = Rig::start(Arc::new(Shared(Arc::clone(&faulty))), keyring(dir.path()));
    (faulty, rig, dir)
}

#[test]
fn many_callers_get_gapless_positions_each_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::in_memory(dir.path());
    let mut seqs: Vec<u64> = std::thread::scope(|scope| {
        let rig = &rig;
        let callers: Vec<_> = (0..8u16)
            .map(|caller| {
                scope.spawn(move || {
                    let one = |_| rig.record(vec![numbered(caller), numbered(caller)]).unwrap();
                    (0..100).flat_map(one).map(|seq| seq.0).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=1600).collect::<Vec<_>>());
    assert_eq!(rig.events().len(), 1600);
}

#[test]
fn requests_that_wait_share_one_sync() {
    let (faulty, rig, _dir) = faulty();
    let gate = faulty.gate.lock().unwrap();
    let first = rig.submit(vec![numbered(0)]);
    let waiting: Vec<_> = (1..=100).map(|number| rig.submit(vec![numbered(number)])).collect();
    assert!(first.try_recv().is_err(), "nothing is acknowledged before its sync");
    drop(gate);
    first.recv().unwrap().unwrap();
    for answer in waiting {
        answer.recv().unwrap().unwrap();
    }
    let syncs = faulty.syncs.load(Ordering::SeqCst);
    assert!((1..=4).contains(&syncs), "101 requests took {syncs} syncs");
}

#[test]
fn nothing_is_visible_before_it_is_durable() {
    let (faulty, rig, _dir) = faulty();
    rig.record(vec![numbered(1)]).unwrap();
    let gate = faulty.gate.lock().unwrap();
    let answer = rig.submit(vec![numbered(2)]);
    while faulty.syncs.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    assert_eq!(faulty.head(), Seq(2), "the store has it");
    assert_eq!(rig.feed.head(), Seq(1), "the feed does not");
    assert_eq!(rig.feed.read(Seq(1), 10).unwrap().iter().map(|slice| slice.len()).sum::<usize>(), 1);
    drop(gate);
    answer.recv().unwrap().unwrap();
    assert_eq!(rig.feed.head(), Seq(2));
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on() {
    let (faulty, rig, _dir) = faulty();
    rig.record(vec![numbered(1)]).unwrap();
    assert!(rig.group.poisoned().is_none());
    faulty.fail_from.store(1, Ordering::SeqCst);
    let gate = faulty.gate.lock().unwrap();
    let doomed: Vec<_> = (2..10).map(|number| rig.submit(vec![numbered(number)])).collect();
    drop(gate);
    for answer in doomed {
        let poisoned = answer.recv().unwrap().unwrap_err();
        assert!(poisoned.to_string().contains("cannot sync injected: Input/output error"), "{poisoned}");
    }
    // The disk may work again: what it lost meanwhile nobody knows.
    faulty.fail_from.store(usize::MAX, Ordering::SeqCst);
    rig.record(vec![numbered(11)]).unwrap_err();
    rig.record(vec![]).unwrap_err();
    assert!(rig.group.poisoned().is_some());
    assert_eq!(rig.feed.head(), Seq(1), "nothing was published");
    assert_eq!(rig.feed.read(Seq(1), 10).unwrap()[0][0].seq, Seq(1));
    assert_eq!(rig.events()[0].seq, Seq(1), "reads go on");
}

#[test]
fn a_failed_append_and_a_failed_keyring_poison_too() {
    let (faulty, rig, _dir) = faulty();
    faulty.fail_append.store(true, Ordering::SeqCst);
    rig.record(vec![numbered(1)]).unwrap_err();
    assert!(rig.group.poisoned().is_some());
    assert_eq!(faulty.syncs.load(Ordering::SeqCst), 0);

    let dir = tempfile::tempdir().unwrap();
    drop(keyring(dir.path()));
    let master = tenantry_journal::keyring::MasterKey::load(dir.path()).unwrap();
    let read_only = tenantry_journal::keyring::Keyring::open_read_only(dir.path(), master).unwrap();
    let store = Arc::new(MemoryJournal::new());
    let rig = Rig::start(Arc::clone(&store) as _, Arc::new(read_only));
    rig.record(vec![created(TenantId(uuid(1)), "x")]).unwrap_err();
    assert_eq!(store.head(), Seq::ZERO, "no tenant without its key");
}

#[test]
fn a_request_that_records_nothing_is_answered_after_those_before_it() {
    let (faulty, rig, _dir) = faulty();
    let gate = faulty.gate.lock().unwrap();
    let first = rig.submit(vec![numbered(1)]);
    while faulty.syncs.load(Ordering::SeqCst) < 1 {
        std::thread::yield_now();
    }
    let refused = rig.submit(vec![]);
    assert!(refused.try_recv().is_err());
    drop(gate);
    assert_eq!(first.recv().unwrap().unwrap(), [Seq(1)]);
    assert_eq!(refused.recv().unwrap().unwrap(), []);
    assert_eq!(faulty.syncs.load(Ordering::SeqCst), 1, "nothing to sync");
}

#[test]
fn one_commands_events_stand_in_one_commit_and_commits_stay_short() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::in_memory(dir.path());
    let tenant = TenantId(uuid(1));
    rig.keyring.create(tenant.into());
    let command = || (0..3).map(|_| updated(tenant, "x".repeat(3000))).collect::<Vec<_>>();
    let answers: Vec<_> = (0..50).map(|_| rig.submit(command())).collect();
    for answer in answers {
        answer.recv().unwrap().unwrap();
    }
    let commits = rig.store.read(Seq(1), usize::MAX).unwrap();
    for stored in &commits {
        let mut room = Vec::new();
        let commit = stored.parse(&mut room).unwrap();
        let bytes = Commit::announced_len(stored).unwrap();
        assert!(bytes <= PART_BYTES, "{bytes} bytes");
        assert_eq!(commit.count % 3, 0, "a command was torn apart");
        assert_eq!(commit.first.0 % 3, 1, "a command was torn apart");
    }
    assert!(commits.len() < 50, "commands share commits");
}

#[test]
fn a_command_that_cannot_be_recorded_leaves_no_trace() {
    use tenantry_journal::group::*;
    struct Refuser;
    impl Author for Refuser {
        type Request = ();
        type Reply = std::sync::mpsc::Sender<Vec<String>>;
        type State = ();
        fn decide(&mut self, (): (), stage: &mut Stage) -> Self::Reply {
            let huge = created(TenantId(uuid(1)), &"x".repeat(5 << 20));
            let keyless = updated(TenantId(uuid(2)), "no key".into());
            let errors = [huge, keyless].map(|bad| {
                let error = stage.record(vec![numbered(1), bad]).unwrap_err();
                assert_eq!(stage.head(), Seq::ZERO);
                error.to_string()
            });
            let recorded = stage.record(vec![numbered(7)]).unwrap();
            assert_eq!((recorded.len(), recorded[0].seq), (1, Seq(1)));
            let (reply, answers) = std::sync::mpsc::channel();
            reply.send(errors.to_vec()).unwrap();
            ERRORS.with(|slot| slot.borrow_mut().push(answers));
            reply
        }
        fn state(&mut self) {}
    }
    thread_local! {
        static ERRORS: std::cell::RefCell<Vec<std::sync::mpsc::Receiver<Vec<String>>>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    struct Done(std::sync::mpsc::Sender<Vec<u16>>);
    impl Publisher<Refuser> for Done {
        fn publish(&mut self, (): (), commits: &[Committed]) {
            let numbers = commits.iter().flat_map(|commit| commit.events.iter()).map(number_of);
            self.0.send(numbers.collect()).unwrap();
        }
        fn answer(&mut self, _: <Refuser as Author>::Reply, outcome: Result<(), Poisoned>) {
            outcome.unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let (published, events) = std::sync::mpsc::channel();
    let group = GroupCommit::start(
        Arc::clone(&store),
        keyring(dir.path()),
        Start::default(),
        Refuser,
        Done(published),
    )
    .unwrap();
    group.submit(()).unwrap();
    assert_eq!(events.recv().unwrap(), [7]);
    drop(group);
    assert_eq!(store.head(), Seq(1));
}

#[test]
fn a_store_refuses_a_commit_for_another_head() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [Box<dyn Journal>; 2] =
        [Box::new(MemoryJournal::new()), Box::new(SledJournal::open(&dir.path().join("journal")).unwrap())];
    for store in stores {
        let commit = tenantry_journal::codec::CommitBuilder::new(Seq(2), [0; 32]).finish();
        let error = store.append(&commit).unwrap_err();
        assert!(matches!(error, StoreError::WrongHead { first: Seq(2), head: Seq(0) }), "{error}");
    }
}

#[test]
fn a_stopped_pipeline_answers_what_it_took_and_gives_back_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::in_memory(dir.path());
    let taken: Vec<_> = (0..500).map(|number| rig.submit(vec![numbered(number)])).collect();
    // Somebody who could still submit does not hold up the end.
    let submitter = rig.group.submitter();
    rig.group.stop();
    let (answer, _receiver) = std::sync::mpsc::channel();
    assert!(matches!(
        submitter.submit(Ask { drafts: vec![], answer }),
        Err(tenantry_journal::group::Refused::Stopped(_))
    ));
    for answer in taken {
        answer.recv().unwrap().unwrap();
    }
    let (answer, _receiver) = std::sync::mpsc::channel();
    let refused = rig.group.submit(Ask { drafts: vec![], answer }).unwrap_err();
    assert!(matches!(refused, tenantry_journal::group::Refused::Stopped(_)));
    assert!(rig.keyring.seal(KeyId::CONTROL_PLANE, b"x").is_some());
}
