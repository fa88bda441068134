//! The stored bytes: what they are, and that no change of them goes unseen.

use std::sync::Arc;

use proptest::prelude::*;
use tenantry_journal::codec::{self, Commit, CommitBuilder, EncodedCommit};
use tenantry_journal::event::Event;
use tenantry_journal::event::access::{Role, Scope, UserCreated, UserProfile};
use tenantry_journal::event::health::*;
use tenantry_journal::event::instance::*;
use tenantry_journal::id::*;
use tenantry_journal::recorded::{Actor, Draft, Idempotency, Recorded};
use tenantry_journal::sealed::{Sealed, Secret, Vault, with_vault};
use tenantry_journal::time::Timestamp;

use crate::support::*;

fn vault() -> Arc<dyn Vault> {
    Arc::new(FixedVault)
}

/// One event of several shapes, nothing in them by chance.
fn fixed_events() -> Vec<Recorded> {
    let tenant = TenantId(uuid(0xa1));
    let user = UserId(uuid(0xb1));
    let instance = InstanceId(uuid(0xd1));
    let events: Vec<Event> = vec![
        UserCreated {
            user_id: user,
            profile: Sealed::new(
                user,
                UserProfile { username: "admin".into(), email: "admin@example.com".into() },
            ),
            role: Role::Admin,
            scope: Scope::All,
            password_hash: Sealed::new(user, Secret::new("$argon2id$x".into())),
        }
        .into(),
        created(tenant, "Smith for Kentucky").event,
        numbered(32300).event,
        InstanceSpawned {
            instance_id: instance,
            name: Sealed::new(tenant, "backend:smith".parse().unwrap()),
            tenant: Some((tenant, tenantry_journal::event::instance::Role::Backend)),
            spec: Sealed::new(
                tenant,
                ProcessSpec {
                    command: "./backend".into(),
                    args: vec!["--verbose".into()],
                    env: [("TOKEN".to_owned(), Secret::new("s3cret".into()))].into(),
                    workdir: "/srv/smith".into(),
                    listen: Listen::Port(32301),
                    health: Some("/health".into()),
                    restart: RestartPolicy::OnFailure,
                    startup_timeout_ms: 10_000,
                    stop_timeout_ms: 5_000,
                    health_interval_ms: 1_000,
                    given: None,
                    limits: Limits::default(),
                    idle_timeout_ms: None,
                    restart_mode: tenantry_journal::event::instance::RestartMode::Replace,
                },
            ),
        }
        .into(),
        InstanceExited {
            instance_id: instance,
            run_id: RunId(uuid(0xe1)),
            status: ExitStatus::Signal(9),
            exited_at: Timestamp(1_763_726_400_100),
        }
        .into(),
        HealthChanged {
            tenant_id: tenant,
            overall: TenantHealth::Degraded,
            frontend: "up".into(),
            backend: "down".into(),
            database: "healthy".into(),
        }
        .into(),
    ];
    let count = events.len() as u64;
    let mut recorded: Vec<Recorded> = events
        .into_iter()
        .zip(1u64..)
        .map(|(event, seq)| Recorded {
            seq: Seq(seq),
            draft: Draft {
                id: EventId(uuid(0xf00 + u128::from(seq))),
                at: Timestamp(1_763_726_400_000 + seq),
                actor: Actor::User(user),
                tenant_id: (seq > 1).then_some(tenant),
                instance_id: (seq > 3).then_some(instance),
                command_id: CommandId(uuid(0xc0)),
                caused_by: (seq > 2).then_some(Seq(2)),
                idempotency: (seq == 2).then_some(Idempotency { key: [7; 16], request: [8; 16] }),
                event,
            },
        })
        .collect();
    recorded[4].draft.actor = Actor::System;
    recorded[5].draft.actor = Actor::Token(TokenId(uuid(0x77)));
    assert_eq!(count, 6);
    recorded
}

fn encode(events: &[Recorded]) -> EncodedCommit {
    with_vault(&vault(), || {
        let mut builder = CommitBuilder::new(events[0].seq, [0x5a; 32]);
        let mut scratch = Vec::new();
        for event in events {
            let mut record = Vec::new();
            codec::encode_record(event, &mut scratch, &mut record).unwrap();
            let framed = [(record.len() as u32).to_be_bytes().as_slice(), &record].concat();
            builder.push_framed(&framed, 1, event.at);
        }
        builder.finish()
    })
}

fn decode(seq: Seq, bytes: &[u8]) -> Vec<Recorded> {
    let commit = Commit::parse(seq, bytes).unwrap();
    with_vault(&vault(), || {
        commit
            .records()
            .map(|record| {
                let (seq, bytes) = record.unwrap();
                codec::decode_record(seq, bytes).unwrap()
            })
            .collect()
    })
}

/// Stored journals hold these bytes. If this test fails, the program no longer reads what
/// it wrote: make a new version and an upcaster, and leave the golden file alone.
#[test]
fn the_stored_bytes_are_those_of_the_golden_file() {
    let commit = encode(&fixed_events());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/commit-v1.bin");
    if !std::path::Path::new(path).exists() {
        std::fs::write(path, commit.bytes()).unwrap();
        panic!("{path} was missing; it was written anew: look at it and commit it");
    }
    let golden = std::fs::read(path).unwrap();
    assert_eq!(decode(Seq(1), &golden), fixed_events(), "old bytes are read differently");
    assert!(golden == commit.bytes(), "the same events are written differently");
}

/// The golden record in words, so that a reader of the format sees one.
#[test]
fn a_record_is_a_map_with_names() {
    let mut record = Vec::new();
    let events = fixed_events();
    with_vault(&vault(), || codec::encode_record(&events[5], &mut Vec::new(), &mut record)).unwrap();
    let value = rmpv::decode::read_value(&mut record.as_slice()).unwrap();
    let names: Vec<_> = value.as_map().unwrap().iter().map(|(key, _)| key.as_str().unwrap()).collect();
    let expected = [
        "seq",
        "id",
        "at",
        "actor",
        "tenant_id",
        "instance_id",
        "command_id",
        "caused_by",
        "kind",
        "v",
        "data",
    ];
    assert_eq!(names, expected);
    assert_eq!(value["kind"].as_str(), Some("health.changed"));
    let data = rmpv::decode::read_value(&mut value["data"].as_slice().unwrap()).unwrap();
    assert_eq!(data["backend"].as_str(), Some("down"));
}

#[test]
fn every_flipped_bit_of_a_commit_is_found_and_its_seq_named() {
    let events = fixed_events();
    let commit = encode(&events[..3]);
    for position in 0..commit.bytes().len() {
        for bit in 0..8 {
            let mut bytes = commit.bytes().to_vec();
            bytes[position] ^= 1 << bit;
            let error = Commit::parse(Seq(1), &bytes).unwrap_err();
            assert_eq!(error.seq(), Seq(1), "bit {bit} of byte {position}");
        }
    }
    for len in 0..commit.bytes().len() {
        assert!(Commit::parse(Seq(1), &commit.bytes()[..len]).is_err(), "cut to {len} bytes");
    }
    assert!(Commit::parse(Seq(2), commit.bytes()).is_err(), "stored under another seq");
}

#[test]
fn a_later_format_is_refused_by_its_name() {
    let mut bytes = encode(&fixed_events()).bytes().to_vec();
    bytes[3] = 2;
    let checksum = crc32fast::hash(&[&bytes[..60], &bytes[64..]].concat());
    bytes[60..64].copy_from_slice(&checksum.to_be_bytes());
    let error = Commit::parse(Seq(1), &bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the commit at seq 1 has format version 2, this version of tenantry reads 1"
    );
}

#[test]
fn a_field_that_a_later_program_added_is_passed_over() {
    let event = &fixed_events()[5];
    let mut record = Vec::new();
    with_vault(&vault(), || codec::encode_record(event, &mut Vec::new(), &mut record)).unwrap();
    let rmpv::Value::Map(mut fields) = rmpv::decode::read_value(&mut record.as_slice()).unwrap() else {
        panic!("a record is a map");
    };
    fields.reverse();
    fields.push(("node".into(), rmpv::Value::Map(vec![("id".into(), 3.into())])));
    let mut later = Vec::new();
    rmpv::encode::write_value(&mut later, &rmpv::Value::Map(fields)).unwrap();
    let read = with_vault(&vault(), || codec::decode_record(event.seq, &later)).unwrap();
    assert_eq!(&read, event);
}

#[test]
fn a_record_of_an_unknown_kind_is_an_error_that_names_the_seq() {
    let event = &fixed_events()[2];
    let mut record = Vec::new();
    with_vault(&vault(), || codec::encode_record(event, &mut Vec::new(), &mut record)).unwrap();
    let at = record.windows(14).position(|window| window == b"port.allocated").unwrap();
    record[at..at + 14].copy_from_slice(b"port.abandoned");
    let error = with_vault(&vault(), || codec::decode_record(event.seq, &record)).unwrap_err();
    assert_eq!(error.seq(), event.seq);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "event kind 'port.abandoned' is unknown to this version of tenantry");
}

prop_compose! {
    fn any_draft()(
        id in any::<u128>(),
        at in any::<u64>(),
        actor in 0..3u8,
        optional in any::<(Option<u128>, Option<u128>, Option<u64>, Option<([u8; 16], [u8; 16])>)>(),
        kind in 0..4u8,
        text in ".{0,200}",
        number in any::<u16>(),
    ) -> Draft {
        let tenant = TenantId(uuid(id));
        let event: Event = match kind {
            0 => numbered(number).event,
            1 => created(tenant, &text).event,
            2 => updated(tenant, text).event,
            _ => HealthChanged {
                tenant_id: tenant,
                overall: TenantHealth::Unknown,
                frontend: text,
                backend: String::new(),
                database: "missing".into(),
            }.into(),
        };
        Draft {
            id: EventId(uuid(id)),
            at: Timestamp(at),
            actor: match actor {
                0 => Actor::System,
                1 => Actor::User(UserId(uuid(id))),
                _ => Actor::Token(TokenId(uuid(id))),
            },
            tenant_id: optional.0.map(|id| TenantId(uuid(id))),
            instance_id: optional.1.map(|id| InstanceId(uuid(id))),
            command_id: CommandId(uuid(!id)),
            caused_by: optional.2.map(Seq),
            idempotency: optional.3.map(|(key, request)| Idempotency { key, request }),
            event,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_events_read_back_as_they_were_written(
        drafts in prop::collection::vec(any_draft(), 1..20),
        first in 1..u64::MAX / 2,
    ) {
        let events: Vec<Recorded> =
            drafts.into_iter().zip(first..).map(|(draft, seq)| Recorded { seq: Seq(seq), draft }).collect();
        let commit = encode(&events);
        prop_assert_eq!(decode(Seq(first), commit.bytes()), events);
    }

    #[test]
    fn any_bytes_at_all_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Commit::parse(Seq(1), &bytes).is_err());
        let _ = codec::decode_record(Seq(1), &bytes);
    }

    #[test]
    fn a_batch_through_the_pipeline_reads_back_as_it_was_recorded(
        commands in prop::collection::vec(prop::collection::vec(any_draft(), 0..5), 1..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::in_memory(dir.path());
        let known: Vec<_> = commands
            .iter()
            .flatten()
            .filter_map(|draft| match &draft.event {
                Event::TenantUpdated(updated) => Some(KeyId::from(updated.tenant_id)),
                _ => None,
            })
            .collect();
        for key in known {
            rig.keyring.create(key);
        }
        let answers: Vec<_> = commands.iter().map(|drafts| rig.submit(drafts.clone())).collect();
        let mut expected = 1..;
        for (answer, drafts) in answers.into_iter().zip(&commands) {
            let seqs = answer.recv().unwrap().unwrap();
            let wanted: Vec<_> = expected.by_ref().take(drafts.len()).map(Seq).collect();
            prop_assert_eq!(seqs, wanted);
        }
        let events = rig.events();
        let mut time = Timestamp(0);
        for (event, draft) in events.iter().zip(commands.iter().flatten()) {
            time = time.max(draft.at);
            prop_assert_eq!(event.at, time, "time never goes back");
            prop_assert_eq!(&event.draft, &Draft { at: time, ..draft.clone() });
        }
        prop_assert_eq!(events.len(), commands.iter().flatten().count());
        let live: Vec<_> =
            rig.feed.read(Seq(1), usize::MAX).unwrap().iter().flat_map(|slice| slice.to_vec()).collect();
        prop_assert_eq!(live, events);
    }
}
