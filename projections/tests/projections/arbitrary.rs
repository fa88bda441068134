//! Any event at all about a small number of things, sensible or not.
//!
//! Few ids, so that events meet the things they speak of, and also unknown, repeated and
//! late ones. Names and ports are unique for each id, for no decision ever gives one twice.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tenantry_journal::event::Event;
use tenantry_journal::event::access::*;
use tenantry_journal::event::configuration::*;
use tenantry_journal::event::deployment::*;
use tenantry_journal::event::health::*;
use tenantry_journal::event::instance::*;
use tenantry_journal::event::port::*;
use tenantry_journal::event::setting::*;
use tenantry_journal::event::site::*;
use tenantry_journal::event::system::*;
use tenantry_journal::event::tenant::*;
use tenantry_journal::event::theme::*;
use tenantry_journal::id::{KeyId, Seq};
use tenantry_journal::recorded::{Actor, Recorded};
use tenantry_journal::sealed::{Sealed, Secret};

use crate::support::*;

type AccessRole = tenantry_journal::event::access::Role;
type ProcessRole = tenantry_journal::event::instance::Role;

/// What one event is made of: a kind's number, whom it is about, and a variation.
pub(crate) type Seed = (usize, u8, u8, u8);

/// Histories of up to `longest` events.
pub(crate) fn seeds(longest: usize) -> impl Strategy<Value = Vec<Seed>> {
    // Half of them bring things about, or else most would speak of what is not there.
    let growth = ["tenant.created", "instance.spawned", "instance.starting", "deployment.requested"];
    let number = |name| Event::KINDS.iter().position(|(kind, _)| *kind == name);
    let growth: Vec<usize> = growth.into_iter().filter_map(number).collect();
    let kind = prop_oneof![0..Event::KINDS.len(), prop::sample::select(growth)];
    prop::collection::vec((kind, 0..4u8, 0..4u8, 0..4u8), 0..longest)
}

pub(crate) fn events(seeds: &[Seed]) -> Vec<Recorded> {
    seeds.iter().zip(1..).map(|(seed, seq)| recorded(seq, *seed)).collect()
}

pub(crate) fn recorded(seq: u64, seed: Seed) -> Recorded {
    let (_, a, b, c) = seed;
    let mut recorded = record_about(seq, Some(tenant(a.into())), Some(instance(b.into())), event(seq, seed));
    recorded.draft.actor = match c {
        0 => Actor::System,
        1 => Actor::Token(token(a.into())),
        _ => Actor::User(user(a.into())),
    };
    recorded
}

fn text(key: impl Into<KeyId>, text: &str) -> Sealed<String> {
    Sealed::new(key, text.to_owned())
}

fn pick<T: Copy, const N: usize>(of: [T; N], n: u8) -> T {
    of[usize::from(n) % N]
}

/// The event of a seed; every kind of the vocabulary has its number.
pub(crate) fn event(seq: u64, (kind, a, b, c): Seed) -> Event {
    let (tenant_id, instance_id) = (tenant(a.into()), instance(b.into()));
    let (deployment_id, run_id) = (deployment(b.into()), run(c.into()));
    let (user_id, token_id) = (user(b.into()), token(b.into()));
    let hash = || Sealed::new(user_id, Secret::new(format!("$argon2id$secret-hash-{c}")));
    let first = 5000 + 10 * u16::from(a) + 2 * u16::from(c);
    let ports = PortPair { frontend: first, backend: first + 1 };
    let process = |port: u16| Sealed::new(tenant_id, spec(port));
    let port = 6000 + 10 * u16::from(b) + u16::from(c);
    let step = StepKind::ALL[usize::from(a + c) % 6];
    let remove = Removal { files: c == 0, nginx: c == 1, services: c == 2 };
    let scope = || match c {
        0 => Scope::All,
        1 => Scope::Tenant(tenant_id),
        2 => Scope::Tenants([tenant_id, tenant(3)].into()),
        _ => Scope::Service("api".parse().unwrap()),
    };
    let access_role = pick([AccessRole::Viewer, AccessRole::Operator, AccessRole::Admin], c);
    let map = |key: &str| BTreeMap::from([(key.to_owned(), format!("#0000{c:02x}"))]);
    match Event::KINDS[kind].0 {
        "system.started" => SystemStarted { version: "1".into(), boot_id: format!("boot-{c}") }.into(),
        "system.keeper_connected" => KeeperConnected { pid: c.into(), start_ticks: seq }.into(),
        "config.changed" => ConfigChanged {
            hash: format!("{c:02x}"),
            changed: vec!["settings.domain".into()],
            needs_restart: Vec::new(),
            more: b.into(),
        }
        .into(),
        "access.denied" => AccessDenied {
            status: 401 + 2 * u16::from(c % 2),
            method: "GET".into(),
            route: "/api/tenants/{id}".into(),
            from: Sealed::new(user_id, Whence { address: format!("192.0.2.{c}") }),
            count: a.into(),
            first_at: time(1),
            last_at: time(seq),
        }
        .into(),
        "access.login_failed" => LoginFailed {
            user_id: (c > 0).then_some(user_id),
            limited: a == 1,
            from: Sealed::new(user_id, Whence { address: format!("192.0.2.{c}") }),
            count: a.into(),
            first_at: time(1),
            last_at: time(seq),
        }
        .into(),
        "access.unrecorded" => {
            DenialsUnrecorded { count: a.into(), first_at: time(1), last_at: time(seq) }.into()
        }
        "system.keeper_lost" => KeeperLost { pid: c.into() }.into(),
        "tenant.created" => {
            TenantCreated { tenant_id, details: Sealed::new(tenant_id, details(a.into(), c)) }.into()
        }
        "tenant.updated" => TenantUpdated {
            tenant_id,
            changed: vec!["slug".into()],
            details: Sealed::new(tenant_id, details(a.into(), c)),
        }
        .into(),
        "tenant.deletion_requested" => TenantDeletionRequested { tenant_id, remove }.into(),
        "tenant.deleted" => TenantDeleted { tenant_id, removed: remove }.into(),
        "tenant.restored" => {
            let kept = KeptRelease {
                number: c.into(),
                deployment_id,
                made_at: time(seq),
                commit: None,
                served: a == 1,
            };
            let revived = (c > 1).then(|| Revived {
                details: Sealed::new(tenant_id, details(a.into(), c)),
                created_at: time(1),
                releases: 3,
                kept: vec![kept],
            });
            let conflict = Conflict {
                field: "slug".into(),
                wanted: "personal".into(),
                held_by: None,
                resolution: Some("personal-2".into()),
            };
            TenantRestored {
                tenant_id,
                as_of: Seq(seq.saturating_sub(1)),
                include: [Part::Details, Part::Release].into(),
                revived,
                conflicts: Sealed::new(tenant_id, vec![conflict]),
                not_restored: vec![NotRestored { field: "files".into(), reason: "gone".into() }],
            }
            .into()
        }
        "tenant.erasure_requested" => {
            ErasureRequested { tenant_id, displaced: (c > 2).then(|| tenant(b.into())).into_iter().collect() }
                .into()
        }
        "tenant.erased" => TenantErased { tenant_id }.into(),
        "tenant.config_updated" => {
            let custom_env = BTreeMap::from([("PASSWORD".into(), Secret::new(format!("secret-{c}")))]);
            let config = Sealed::new(
                tenant_id,
                TenantConfig {
                    fields: map("site_title"),
                    custom_env,
                    secret_env: (c > 1).then(|| "PASSWORD".to_owned()).into_iter().collect(),
                },
            );
            TenantConfigUpdated { tenant_id, changed: vec![], config }.into()
        }
        "tenant.backed_up" => {
            let backup = Backup { path: format!("/backups/{c}.db"), size_mb: Some(1.5) };
            TenantBackedUp { tenant_id, backup: Sealed::new(tenant_id, backup) }.into()
        }
        "tenant.env_requested" => EnvRequested { tenant_id }.into(),
        "tenant.env_written" => EnvWritten {
            tenant_id,
            answers: Seq(seq.saturating_sub(c.into())),
            path: text(tenant_id, "/srv/private/.env"),
            backup: (c > 1).then(|| text(tenant_id, "/srv/private/.env.backup.20251114")),
        }
        .into(),
        "tenant.env_failed" => {
            let answers = Seq(seq.saturating_sub(c.into()));
            EnvFailed { tenant_id, answers, reason: text(tenant_id, "disk full") }.into()
        }
        "port.allocated" => PortAllocated { tenant_id, ports }.into(),
        "port.released" => PortReleased { tenant_id, ports }.into(),
        "instance.spawned" => InstanceSpawned {
            instance_id,
            name: Sealed::new(tenant_id, format!("api:i{b}-{c}").parse().unwrap()),
            tenant: (c > 1).then(|| (tenant_id, pick([ProcessRole::Frontend, ProcessRole::Backend], c))),
            spec: process(port),
        }
        .into(),
        "instance.respecified" => {
            InstanceRespecified { instance_id, spec: process(port), deployment_id: Some(deployment_id) }
                .into()
        }
        "instance.start_requested" => InstanceStartRequested { instance_id }.into(),
        "instance.stop_requested" => InstanceStopRequested { instance_id }.into(),
        "instance.restart_requested" => {
            let reasons = [RestartReason::Requested, RestartReason::Deployed, RestartReason::Unhealthy];
            let release = (c == 1).then_some(u32::from(a));
            let deployment_id = (b > 0).then_some(deployment_id);
            InstanceRestartRequested { instance_id, reason: pick(reasons, c), release, deployment_id }.into()
        }
        "instance.removal_requested" => InstanceRemovalRequested { instance_id }.into(),
        "instance.starting" => InstanceStarting { instance_id, run_id }.into(),
        "instance.started" => InstanceStarted { instance_id, run_id, pid: u32::MAX, start_ticks: seq }.into(),
        "instance.start_failed" => {
            InstanceStartFailed { instance_id, run_id, reason: text(tenant_id, "no such file") }.into()
        }
        "instance.health_changed" => {
            let all = [InstanceHealth::Unknown, InstanceHealth::Healthy, InstanceHealth::Unhealthy];
            InstanceHealthChanged { instance_id, run_id, health: pick(all, a), detail: "HTTP 500".into() }
                .into()
        }
        "instance.stopping" => InstanceStopping { instance_id, run_id }.into(),
        "instance.exited" => {
            let status = pick([ExitStatus::Code(-1), ExitStatus::Signal(9), ExitStatus::Unknown], a);
            InstanceExited { instance_id, run_id, status, exited_at: time(seq) }.into()
        }
        "instance.restart_scheduled" => {
            let failures = pick([0, 1, u32::MAX], c);
            InstanceRestartScheduled { instance_id, not_before: time(seq), delay_ms: u64::MAX, failures }
                .into()
        }
        "instance.ended" => InstanceEnded { instance_id, failed: c == 0 }.into(),
        "instance.adopted" => InstanceAdopted { instance_id, run_id, pid: 0, start_ticks: None }.into(),
        "instance.successor_starting" => {
            InstanceSuccessorStarting { instance_id, run_id, spec: process(port) }.into()
        }
        "instance.successor_promoted" => InstanceSuccessorPromoted { instance_id, run_id }.into(),
        "instance.replacement_cancelled" => InstanceReplacementCancelled { instance_id }.into(),
        "instance.weight_changed" => InstanceWeightChanged { instance_id, weight: c % 101 }.into(),
        "instance.fell_asleep" => {
            let reason = pick([SleepReason::Idle, SleepReason::WakeFailed], c);
            InstanceFellAsleep { instance_id, reason }.into()
        }
        "instance.woken" => InstanceWoken { instance_id }.into(),
        "instance.removed" => InstanceRemoved { instance_id }.into(),
        "deployment.requested" => {
            let planned = |kind| PlannedStep { kind, skip: (c == 0).then(|| "off".to_owned()) };
            let steps = StepKind::ALL.into_iter().take(usize::from(c) * 2).map(planned).collect();
            let release = pick([1, 2, u32::MAX], c);
            let source = text(tenant_id, "file:///private/source");
            let git_ref = (c == 2).then(|| text(tenant_id, "main"));
            let rollback = b == 2;
            DeploymentRequested { deployment_id, tenant_id, release, source, steps, git_ref, rollback }.into()
        }
        "deployment.step_started" => StepStarted { deployment_id, step }.into(),
        "deployment.step_finished" => {
            let outcome = pick([StepOutcome::Success, StepOutcome::Failed, StepOutcome::Skipped], c);
            let (detail, commit) = (text(tenant_id, "done so"), (c == 0).then(|| "ab12".to_owned()));
            StepFinished { deployment_id, step, outcome, detail, commit }.into()
        }
        "deployment.step_rolled_back" => {
            StepRolledBack { deployment_id, step, detail: text(tenant_id, "taken back") }.into()
        }
        "deployment.release_activated" => {
            ReleaseActivated { deployment_id, tenant_id, release: c.into(), commit: Some("ab12".into()) }
                .into()
        }
        "deployment.cancel_requested" => DeploymentCancelRequested { deployment_id, tenant_id }.into(),
        "deployment.retried" => DeploymentRetried { deployment_id, tenant_id }.into(),
        "deployment.releases_pruned" => ReleasesPruned { tenant_id, releases: vec![u32::from(c) + 1] }.into(),
        "deployment.finished" => {
            let all = [DeploymentOutcome::Success, DeploymentOutcome::Failed, DeploymentOutcome::Cancelled];
            DeploymentFinished { deployment_id, tenant_id, outcome: pick(all, c) }.into()
        }
        "health.changed" => {
            let overall = pick([TenantHealth::Healthy, TenantHealth::Degraded, TenantHealth::Unhealthy], c);
            let (frontend, backend) = ("up".to_owned(), "down".to_owned());
            HealthChanged { tenant_id, overall, frontend, backend, database: "healthy".into() }.into()
        }
        "theme.updated" => {
            let origin = (c == 1).then(|| {
                let (analysis_id, suggestion_id) = (analysis(b.into()), suggestion(b.into()));
                let website = "https://private.example.com".to_owned();
                let source = SuggestionSource::Anthropic;
                Sealed::new(tenant_id, ThemeOrigin { analysis_id, suggestion_id, website, source })
            });
            ThemeUpdated {
                tenant_id,
                colors: map("primary_color"),
                logos: map("logo"),
                formats: BTreeMap::from([("logo".to_owned(), pick(LogoFormat::ALL, c))]),
                cleared: if c == 2 { vec!["logo_icon".into()] } else { Vec::new() },
                origin,
            }
            .into()
        }
        "theme.applied" => ThemeApplied { tenant_id, theme: Seq(seq) }.into(),
        "theme.analysis_requested" => AnalysisRequested {
            analysis_id: analysis(b.into()),
            tenant_id,
            website: text(tenant_id, "https://private.example.com"),
            capture_screenshot: c == 0,
        }
        .into(),
        "theme.analysis_started" => AnalysisStarted { analysis_id: analysis(b.into()), tenant_id }.into(),
        "theme.analysis_completed" => {
            let color = || format!("#0000{c:02x}");
            let suggested = Suggestion {
                id: suggestion(b.into()),
                name: "private name".into(),
                description: "private description".into(),
                primary_color: color(),
                secondary_color: color(),
                accent_color: color(),
                text_color: color(),
                reasoning: "private reasoning".into(),
            };
            let result = AnalysisResult {
                source: SuggestionSource::Palette,
                model: None,
                suggestions: vec![suggested],
                palette: vec![Swatch { color: color(), share: 1000 }],
                screenshot: Some(format!("{c:02x}")),
                notes: vec!["private note".into()],
            };
            let result = Sealed::new(tenant_id, result);
            AnalysisCompleted { analysis_id: analysis(b.into()), tenant_id, result }.into()
        }
        "theme.analysis_failed" => AnalysisFailed {
            analysis_id: analysis(b.into()),
            tenant_id,
            reason: text(tenant_id, "private reason"),
        }
        .into(),
        "setting.changed" => {
            let value = Sealed::new(KeyId::CONTROL_PLANE, Secret::new(format!("secret-setting-{c}")));
            let shown = (c > 1).then(|| text(KeyId::CONTROL_PLANE, "300"));
            SettingChanged { key: format!("key-{a}"), value, shown }.into()
        }
        "nginx.reloaded" => NginxReloaded {}.into(),
        "site.configured" => SiteConfigured { tenant_id, tls: c == 0 }.into(),
        "certificate.requested" => {
            CertificateRequested { tenant_id, signer: pick([Signer::Acme, Signer::SelfSigned], c + 1) }.into()
        }
        "certificate.issued" => CertificateIssued {
            tenant_id,
            signer: pick([Signer::Acme, Signer::SelfSigned], c),
            names: Sealed::new(tenant_id, vec!["private.example.com".parse().unwrap()]),
            issuer: "An Authority".into(),
            not_before: time(seq),
            not_after: time(seq + 1),
            version: format!("{c:024x}"),
        }
        .into(),
        "certificate.failed" => CertificateFailed {
            tenant_id,
            detail: text(tenant_id, "refused"),
            retry_at: time(seq),
            barred_until: (c == 2).then(|| time(seq)),
        }
        .into(),
        "setting.cleared" => SettingCleared { key: format!("key-{a}") }.into(),
        "user.created" => {
            let profile =
                UserProfile { username: format!("user-{b}-{c}"), email: "private@example.com".into() };
            let profile = Sealed::new(user_id, profile);
            UserCreated { user_id, profile, role: access_role, scope: scope(), password_hash: hash() }.into()
        }
        "user.updated" => {
            let profile =
                UserProfile { username: format!("user-{b}-{c}"), email: "other@example.com".into() };
            UserUpdated {
                user_id,
                changed: vec!["role".into()],
                profile: Sealed::new(user_id, profile),
                role: access_role,
                scope: scope(),
                disabled: c == 1,
            }
            .into()
        }
        "user.deleted" => UserDeleted { user_id }.into(),
        "user.password_changed" => UserPasswordChanged { user_id, password_hash: hash() }.into(),
        "token.created" => TokenCreated {
            token_id,
            name: text(user_id, "token name"),
            hash: [0x20 * b + c; 32],
            role: access_role,
            scope: scope(),
            expires_at: Some(time(seq)),
        }
        .into(),
        "token.revoked" => TokenRevoked { token_id }.into(),
        unknown => panic!("this test knows no event of kind {unknown}: add one"),
    }
}
