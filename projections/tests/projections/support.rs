//! Ids, a vault with repeatable ciphertext, and a journal that is a list.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tenantry_journal::event::Event;
use tenantry_journal::event::instance::{Limits, Listen, ProcessSpec, RestartPolicy};
use tenantry_journal::event::tenant::{TenantCreated, TenantDetails};
use tenantry_journal::id::{
    AnalysisId, CommandId, DeploymentId, EventId, InstanceId, KeyId, RunId, Seq, SuggestionId, TenantId,
    TokenId, UserId,
};
use tenantry_journal::recorded::{Actor, Draft, Idempotency, Recorded};
use tenantry_journal::sealed::{Sealed, Secret, Vault};
use tenantry_journal::time::Timestamp;
use tenantry_projections::as_of::{Source, SourceError};
use tenantry_projections::world::World;
use uuid::Uuid;

pub(crate) const START: Timestamp = Timestamp(1_763_726_400_000);

macro_rules! ids {
    ($($name:ident $type:ident $base:literal),+ $(,)?) => {$(
        pub(crate) fn $name(n: u64) -> $type {
            $type(Uuid::from_u128($base << 64 | u128::from(n)))
        }
    )+};
}

ids! {
    tenant TenantId 1, instance InstanceId 2, run RunId 3, deployment DeploymentId 4, user UserId 5,
    token TokenId 6, event EventId 7, command CommandId 8, analysis AnalysisId 9, suggestion SuggestionId 10,
}

/// Time of the n-th event of a test's journal.
pub(crate) fn time(seq: u64) -> Timestamp {
    START.plus_ms(seq * 1000)
}

/// Records an event; its subjects are read off it the way the domain sets them.
pub(crate) fn record(seq: u64, payload: impl Into<Event>) -> Recorded {
    record_about(seq, None, None, payload)
}

pub(crate) fn record_about(
    seq: u64,
    tenant_id: Option<TenantId>,
    instance_id: Option<InstanceId>,
    payload: impl Into<Event>,
) -> Recorded {
    let draft = Draft {
        id: event(seq),
        at: time(seq),
        actor: Actor::System,
        tenant_id,
        instance_id,
        command_id: command(seq),
        caused_by: seq.checked_sub(1).filter(|before| *before > 0).map(Seq),
        idempotency: (seq % 7 == 1)
            .then(|| Idempotency { key: [u8::try_from(seq % 11).unwrap(); 16], request: [9; 16] }),
        event: payload.into(),
    };
    Recorded { seq: Seq(seq), draft }
}

pub(crate) fn details(n: u64, version: u8) -> TenantDetails {
    TenantDetails {
        name: format!("Personal Name {n}"),
        slug: format!("slug-{n}-{version}").parse().unwrap(),
        domain: format!("d{n}-{version}.example.com").parse().unwrap(),
        api_domain: version
            .is_multiple_of(2)
            .then(|| format!("api.d{n}-{version}.example.com").parse().unwrap()),
        github_repo: None,
        notes: Some("a private remark".to_owned()),
        directory: format!("/srv/tenants/slug-{n}-{version}"),
    }
}

pub(crate) fn created(n: u64) -> TenantCreated {
    TenantCreated { tenant_id: tenant(n), details: Sealed::new(tenant(n), details(n, 0)) }
}

pub(crate) fn spec(port: u16) -> ProcessSpec {
    ProcessSpec {
        command: "private-command".to_owned(),
        args: vec!["--port".to_owned()],
        env: BTreeMap::from([("API_KEY".to_owned(), Secret::new("hunter2-the-secret".to_owned()))]),
        workdir: "/srv".to_owned(),
        listen: Listen::Port(port),
        health: Some("/health".to_owned()),
        restart: RestartPolicy::Always,
        startup_timeout_ms: 30_000,
        stop_timeout_ms: 10_000,
        health_interval_ms: 5_000,
        given: None,
        limits: Limits::default(),
        idle_timeout_ms: None,
        restart_mode: tenantry_journal::event::instance::RestartMode::Replace,
    }
}

pub(crate) fn folded<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> World {
    let mut world = World::default();
    for recorded in events {
        world.evolve(recorded);
    }
    world
}

/// Encrypts so that the same text gives the same bytes, and forgets keys on demand.
#[derive(Default)]
pub(crate) struct TestVault {
    erased: Mutex<BTreeSet<KeyId>>,
}

impl TestVault {
    pub(crate) fn erase(&self, key: impl Into<KeyId>) {
        self.erased.lock().unwrap().insert(key.into());
    }

    fn is_gone(&self, key: KeyId) -> bool {
        self.erased.lock().unwrap().contains(&key)
    }

    fn apply(key: KeyId, bytes: &[u8]) -> Vec<u8> {
        let mut stream = vec![0; bytes.len()];
        blake3::Hasher::new().update(key.0.as_bytes()).finalize_xof().fill(&mut stream);
        bytes.iter().zip(stream).map(|(byte, pad)| byte ^ pad).collect()
    }
}

impl Vault for TestVault {
    fn seal(&self, key: KeyId, plain: &[u8]) -> Option<Vec<u8>> {
        if self.is_gone(key) {
            return None;
        }
        let mut sealed = vec![1];
        sealed.extend(Self::apply(key, plain));
        Some(sealed)
    }

    fn open(&self, key: KeyId, sealed: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = sealed.split_first()?;
        (*version == 1 && !self.is_gone(key)).then(|| Self::apply(key, rest))
    }
}

pub(crate) fn vault() -> Arc<dyn Vault> {
    Arc::new(TestVault::default())
}

/// A journal in memory that counts how many events were read.
#[derive(Default)]
pub(crate) struct Listed {
    pub(crate) events: Vec<Recorded>,
    pub(crate) reads: AtomicU64,
}

impl Listed {
    pub(crate) fn new(events: Vec<Recorded>) -> Arc<Listed> {
        Arc::new(Listed { events, reads: AtomicU64::new(0) })
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Source for Listed {
    fn head(&self) -> Seq {
        self.events.last().map_or(Seq::ZERO, |last| last.seq)
    }

    fn read(
        &self,
        after: Seq,
        until: Seq,
        visit: &mut dyn FnMut(&Recorded) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        for recorded in self.events.iter().filter(|recorded| recorded.seq > after && recorded.seq <= until) {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if visit(recorded).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn seq_at(&self, at: Timestamp) -> Result<Seq, SourceError> {
        let before = self.events.partition_point(|recorded| recorded.at <= at);
        Ok(before.checked_sub(1).map_or(Seq::ZERO, |last| self.events[last].seq))
    }
}
