//! What the tests share: events, fixed keys, an author that records what it is told, and
//! stores that fail on demand.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tenantry_journal::codec::EncodedCommit;
use tenantry_journal::event::Event;
use tenantry_journal::event::port::{PortAllocated, PortPair};
use tenantry_journal::event::tenant::{TenantCreated, TenantDetails, TenantUpdated};
use tenantry_journal::feed::Feed;
use tenantry_journal::group::{Author, Committed, GroupCommit, Poisoned, Publisher, Stage, Start};
use tenantry_journal::id::{CommandId, EventId, KeyId, Seq, TenantId};
use tenantry_journal::keyring::Keyring;
use tenantry_journal::merkle::Frontier;
use tenantry_journal::recorded::{Draft, Recorded};
use tenantry_journal::scan;
use tenantry_journal::sealed::{Sealed, Vault};
use tenantry_journal::store::memory::MemoryJournal;
use tenantry_journal::store::{Journal, StoreError, StoredCommit};
use tenantry_journal::time::Timestamp;
use uuid::Uuid;

/// Longest time that a test waits for what must come, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);

pub(crate) fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(crate) fn draft(event: impl Into<Event>) -> Draft {
    let draft = Draft::of_system(EventId(Uuid::now_v7()), Timestamp(1_763_726_400_000), event);
    Draft { command_id: CommandId(uuid(0xc0)), ..draft }
}

/// A small event that tells its number.
pub(crate) fn numbered(number: u16) -> Draft {
    let ports = PortPair { frontend: number, backend: number };
    draft(PortAllocated { tenant_id: TenantId(uuid(1)), ports })
}

pub(crate) fn number_of(event: &Recorded) -> u16 {
    match &event.event {
        Event::PortAllocated(allocated) => allocated.ports.frontend,
        other => panic!("not a numbered event: {other:?}"),
    }
}

pub(crate) fn details(name: &str, notes: Option<String>) -> TenantDetails {
    TenantDetails {
        name: name.to_owned(),
        slug: "smith".parse().unwrap(),
        domain: "smith.example.com".parse().unwrap(),
        api_domain: None,
        github_repo: None,
        notes,
        directory: "/srv/smith".to_owned(),
    }
}

pub(crate) fn created(tenant: TenantId, name: &str) -> Draft {
    draft(TenantCreated { tenant_id: tenant, details: Sealed::new(tenant, details(name, None)) })
}

pub(crate) fn updated(tenant: TenantId, notes: String) -> Draft {
    let details = Sealed::new(tenant, details("Smith", Some(notes)));
    draft(TenantUpdated { tenant_id: tenant, changed: vec!["notes".into()], details })
}

/// Keeps plain text readable and the bytes the same in every run.
pub(crate) struct FixedVault;

impl Vault for FixedVault {
    fn seal(&self, key: KeyId, plain: &[u8]) -> Option<Vec<u8>> {
        Some([key.0.as_bytes().as_slice(), plain].concat())
    }

    fn open(&self, key: KeyId, sealed: &[u8]) -> Option<Vec<u8>> {
        sealed.strip_prefix(key.0.as_bytes()).map(<[u8]>::to_vec)
    }
}

/// Records the drafts it is handed and answers with their positions.
pub(crate) struct Scribe;

pub(crate) type Answer = Result<Vec<Seq>, Poisoned>;

pub(crate) struct Ask {
    pub(crate) drafts: Vec<Draft>,
    pub(crate) answer: mpsc::Sender<Answer>,
}

impl Author for Scribe {
    type Request = Ask;
    type Reply = (mpsc::Sender<Answer>, Vec<Seq>);
    type State = ();

    fn decide(&mut self, request: Ask, stage: &mut Stage) -> Self::Reply {
        let recorded = stage.record(request.drafts).expect("test events are recordable");
        (request.answer, recorded.iter().map(|event| event.seq).collect())
    }

    fn state(&mut self) {}
}

/// Tells the feed and the caller.
pub(crate) struct Teller(pub(crate) Arc<Feed>);

impl Publisher<Scribe> for Teller {
    fn publish(&mut self, (): (), commits: &[Committed]) {
        self.0.publish(commits);
    }

    fn answer(&mut self, (caller, seqs): (mpsc::Sender<Answer>, Vec<Seq>), outcome: Result<(), Poisoned>) {
        // A caller may have gone.
        let _ = caller.send(outcome.map(|()| seqs));
    }
}

/// A journal with everything around it.
pub(crate) struct Rig {
    pub(crate) store: Arc<dyn Journal>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) group: GroupCommit<Scribe>,
}

impl Rig {
    /// Starts on a store whose events up to its head are durable.
    pub(crate) fn start(store: Arc<dyn Journal>, keyring: Arc<Keyring>) -> Rig {
        let mut frontier = Frontier::default();
        scan::hash(&*store, &mut frontier, store.head()).unwrap();
        let start = Start { seq: store.head(), time: Timestamp(0), frontier };
        let vault: Arc<dyn Vault> = Arc::clone(&keyring) as _;
        let feed = Arc::new(Feed::new(Arc::clone(&store), Arc::clone(&vault), store.head()));
        let teller = Teller(Arc::clone(&feed));
        let group =
            GroupCommit::start(Arc::clone(&store), Arc::clone(&keyring), start, Scribe, teller).unwrap();
        Rig { store, keyring, vault, feed, group }
    }

    pub(crate) fn in_memory(dir: &Path) -> Rig {
        Rig::start(Arc::new(MemoryJournal::new()), keyring(dir))
    }

    /// Submits and does not wait.
    pub(crate) fn submit(&self, drafts: Vec<Draft>) -> mpsc::Receiver<Answer> {
        let (answer, receiver) = mpsc::channel();
        self.group.submit(Ask { drafts, answer }).expect("the queue has room");
        receiver
    }

    pub(crate) fn record(&self, drafts: Vec<Draft>) -> Answer {
        self.submit(drafts).recv().expect("every request is answered")
    }

    pub(crate) fn events(&self) -> Vec<Recorded> {
        read_all(&*self.store, &self.vault)
    }
}

pub(crate) fn read_all(store: &dyn Journal, vault: &Arc<dyn Vault>) -> Vec<Recorded> {
    let mut events = Vec::new();
    scan::fold(store, vault, Seq(1), store.head(), Some(&mut Frontier::default()), |event| {
        events.push(event);
    })
    .unwrap();
    events
}

pub(crate) fn keyring(dir: &Path) -> Arc<Keyring> {
    let master = tenantry_journal::keyring::MasterKey::load_or_create(dir).unwrap();
    Arc::new(Keyring::open(dir, master).unwrap())
}

/// A store that fails, holds back or lies when it is told to.
pub(crate) struct Faulty<J> {
    pub(crate) inner: J,
    /// The sync with this number, from 0, and all later ones fail.
    pub(crate) fail_from: AtomicUsize,
    pub(crate) syncs: AtomicUsize,
    pub(crate) fail_append: AtomicBool,
    /// While somebody holds this, no sync ends.
    pub(crate) gate: Mutex<()>,
}

impl<J> Faulty<J> {
    pub(crate) fn new(inner: J) -> Self {
        Faulty {
            inner,
            fail_from: AtomicUsize::new(usize::MAX),
            syncs: AtomicUsize::new(0),
            fail_append: AtomicBool::new(false),
            gate: Mutex::new(()),
        }
    }

    fn error(action: &'static str) -> StoreError {
        let source = std::io::Error::from_raw_os_error(5);
        StoreError::Io { action, path: "injected".into(), source }
    }
}

impl<J: Journal> Journal for Faulty<J> {
    fn append(&self, commit: &EncodedCommit) -> Result<(), StoreError> {
        if self.fail_append.load(Ordering::SeqCst) {
            return Err(Self::error("append"));
        }
        self.inner.append(commit)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let number = self.syncs.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().unwrap());
        if number >= self.fail_from.load(Ordering::SeqCst) {
            return Err(Self::error("sync"));
        }
        self.inner.sync()
    }

    fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError> {
        self.inner.read(from, max_bytes)
    }

    fn head(&self) -> Seq {
        self.inner.head()
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.inner.size_on_disk()
    }
}

/// Shares a faulty store with the pipeline that uses it.
pub(crate) struct Shared<J>(pub(crate) Arc<Faulty<J>>);

impl<J: Journal> Journal for Shared<J> {
    fn append(&self, commit: &EncodedCommit) -> Result<(), StoreError> {
        self.0.append(commit)
    }
    fn sync(&self) -> Result<(), StoreError> {
        self.0.sync()
    }
    fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError> {
        self.0.read(from, max_bytes)
    }
    fn head(&self) -> Seq {
        self.0.head()
    }
    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.0.size_on_disk()
    }
}

/// Every file below a directory with its content.
pub(crate) fn files(dir: &Path) -> HashMap<std::path::PathBuf, Vec<u8>> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let content = std::fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}
