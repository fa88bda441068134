//! Every metric of the control plane, and the page that shows them.
//!
//! Counters count since the process started. What is a matter of state (how many instances
//! run) is taken from the World when the page is made, so it can never disagree with it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::StreamExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tenantry_journal::event::Event;
use tenantry_journal::event::instance::ExitStatus;
use tenantry_journal::event::site::Signer;
use tenantry_journal::feed::Feed;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;

use super::labels::{
    ListenerLabel, ListenerRouteLabels, MeterLabel, Passed, ReasonLabel, RequestLabels, ResultLabel,
    SignerLabel, Status, StatusLabel,
};
use super::live::LiveQueries;
use super::process::Process;
use super::text;
use crate::drivers::nginx::Counts;
use crate::supervisor::{Meter, Usage};

/// From 50 µs to 1.6 s: a sync of a fast disk to one of a disk in trouble.
fn sync_buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.000_05, 2.0, 16)
}

/// From 0.5 ms to 16 s: a read from memory to a spawn that waits to be healthy.
fn request_buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.000_5, 2.0, 16)
}

type RequestDurations = Family<ListenerRouteLabels, Histogram, fn() -> Histogram>;

/// What many instances use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    instances: u64,
    processes: u64,
    memory_bytes: u64,
    cpu_percent: f64,
}

/// What all instances use, by where it is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsageTotals {
    groups: Total,
    processes: Total,
}

impl UsageTotals {
    /// Adds one instance.
    pub fn add(&mut self, usage: &Usage) {
        let total = match usage.meter {
            Meter::Group => &mut self.groups,
            Meter::Processes => &mut self.processes,
        };
        total.instances += 1;
        total.processes += u64::from(usage.processes);
        total.memory_bytes += usage.memory_bytes;
        total.cpu_percent += usage.cpu_percent;
    }
}

/// Every metric; each part of the program counts in its own.
pub struct Metrics {
    registry: Registry,
    /// Instances registered.
    pub instances_spawned: Counter,
    /// Restarts by policy.
    pub restarts: Counter,
    /// Health checks, by result.
    pub health_checks: Family<ResultLabel, Counter>,
    /// Runs that got a process.
    pub runs_started: Counter,
    /// Runs that got none.
    pub runs_failed: Counter,
    /// Effects under way.
    pub effects_in_flight: Gauge,
    /// Events made durable.
    pub journal_events: Counter,
    /// Commits made durable.
    pub journal_commits: Counter,
    /// Encoded bytes made durable.
    pub journal_bytes: Counter,
    /// How long the disk took to make a commit durable, in seconds.
    pub journal_sync_seconds: Histogram,
    /// 1 when the journal takes no writes any more.
    pub journal_poisoned: Gauge,
    /// Who follows the feed now.
    pub feed_subscribers: Gauge,
    /// Events sent to those who follow.
    pub feed_sent: Counter,
    /// Events rendered for those who follow.
    pub feed_rendered: Counter,
    /// Live queries.
    pub live: LiveQueries,
    /// Requests that were answered.
    pub requests: Family<RequestLabels, Counter>,
    /// How long answers took, in seconds.
    pub request_seconds: RequestDurations,
    /// Requests that are being answered.
    pub requests_in_flight: Family<ListenerLabel, Gauge>,
    /// How long one look at all processes takes, in seconds.
    pub usage_sample_seconds: Histogram,
    /// Instances whose directory takes more than its quota.
    pub instances_over_quota: Gauge,
    /// Ports of tenants on which somebody else listens as well.
    pub ports_drifted: Gauge,
    memory_limit_kills: Counter,
    usage_memory: Family<MeterLabel, Gauge>,
    usage_cpu: Family<MeterLabel, Gauge<f64, AtomicU64>>,
    usage_processes: Family<MeterLabel, Gauge>,
    usage_instances: Family<MeterLabel, Gauge>,
    /// Lines that processes printed, as they were read for the index.
    pub output_lines: Counter,
    /// Bytes that processes printed and that could not be kept.
    pub output_lost_bytes: Counter,
    journal_head: Gauge,
    instances: Family<StatusLabel, Gauge>,
    tenants: Gauge,
    nginx_reloads: Family<ResultLabel, Counter>,
    systemd_calls: Family<ResultLabel, Counter>,
    certificates: Family<SignerLabel, Gauge>,
    certificate_expiry: Family<SignerLabel, Gauge>,
    theme_analyses: Family<ResultLabel, Counter>,
    /// Hashes of passwords that were computed.
    pub password_hashes: Counter,
    denied: Family<ReasonLabel, Counter>,
    denied_unrecorded: Counter,
    /// What is counted of the audit.
    pub audit: crate::audit::Counts,
    /// Tenants whose key was destroyed.
    pub tenants_erased: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new(version: &str, started_at: Timestamp) -> Metrics {
        let mut registry = Registry::default();
        let metrics = Metrics {
            instances_spawned: Counter::default(),
            restarts: Counter::default(),
            health_checks: Family::default(),
            runs_started: Counter::default(),
            runs_failed: Counter::default(),
            effects_in_flight: Gauge::default(),
            journal_events: Counter::default(),
            journal_commits: Counter::default(),
            journal_bytes: Counter::default(),
            journal_sync_seconds: Histogram::new(sync_buckets()),
            journal_poisoned: Gauge::default(),
            feed_subscribers: Gauge::default(),
            feed_sent: Counter::default(),
            feed_rendered: Counter::default(),
            live: LiveQueries::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(request_buckets())),
            requests_in_flight: Family::default(),
            usage_sample_seconds: Histogram::new(request_buckets()),
            instances_over_quota: Gauge::default(),
            ports_drifted: Gauge::default(),
            memory_limit_kills: Counter::default(),
            usage_memory: Family::default(),
            usage_cpu: Family::default(),
            usage_processes: Family::default(),
            usage_instances: Family::default(),
            output_lines: Counter::default(),
            output_lost_bytes: Counter::default(),
            journal_head: Gauge::default(),
            instances: Family::default(),
            tenants: Gauge::default(),
            nginx_reloads: Family::default(),
            systemd_calls: Family::default(),
            certificates: Family::default(),
            certificate_expiry: Family::default(),
            theme_analyses: Family::default(),
            password_hashes: Counter::default(),
            denied: Family::default(),
            denied_unrecorded: Counter::default(),
            audit: crate::audit::Counts::default(),
            tenants_erased: Counter::default(),
            registry: Registry::default(),
        };
        for result in [Passed::passed, Passed::failed] {
            drop(metrics.health_checks.get_or_create(&ResultLabel { result }));
            drop(metrics.nginx_reloads.get_or_create(&ResultLabel { result }));
            drop(metrics.systemd_calls.get_or_create(&ResultLabel { result }));
            drop(metrics.theme_analyses.get_or_create(&ResultLabel { result }));
        }
        metrics.note_usage(&UsageTotals::default());
        metrics.register(&mut registry, version);
        metrics.register_usage(&mut registry);
        metrics.register_edge(&mut registry);
        metrics.register_audit(&mut registry);
        registry.register_collector(Box::new(Process { started_at }));
        Metrics { registry, ..metrics }
    }

    /// Counters are registered without `_total`, which their samples get.
    fn register(&self, to: &mut Registry, version: &str) {
        to.register("tenement_instances", "Total instances spawned", self.instances_spawned.clone());
        to.register("tenement_instances", "Instances by state", self.instances.clone());
        to.register("tenement_restarts", "Restarts after crashes", self.restarts.clone());
        to.register("tenement_health_checks", "Health checks by result", self.health_checks.clone());
        to.register("tenantry_tenants", "Tenants", self.tenants.clone());
        let analyses = "Analyses of websites by result";
        to.register("tenantry_theme_analyses", analyses, self.theme_analyses.clone());
        let hashes = "Hashes of passwords computed, for logins that were looked at";
        to.register("tenantry_password_hashes", hashes, self.password_hashes.clone());
        let erased = "Tenants that were erased, their key destroyed";
        to.register("tenantry_tenants_erased", erased, self.tenants_erased.clone());

        to.register("tenantry_supervisor_starts", "Runs that got a process", self.runs_started.clone());
        to.register("tenantry_supervisor_start_failures", "Runs that got none", self.runs_failed.clone());
        to.register(
            "tenantry_supervisor_effects_in_flight",
            "Effects under way",
            self.effects_in_flight.clone(),
        );

        to.register("tenantry_journal_head_seq", "Position of the last event", self.journal_head.clone());
        to.register("tenantry_journal_appended_events", "Events made durable", self.journal_events.clone());
        to.register(
            "tenantry_journal_appended_commits",
            "Commits made durable",
            self.journal_commits.clone(),
        );
        to.register(
            "tenantry_journal_appended_bytes",
            "Encoded bytes made durable",
            self.journal_bytes.clone(),
        );
        to.register(
            "tenantry_journal_sync_duration_seconds",
            "Time until a commit was durable",
            self.journal_sync_seconds.clone(),
        );
        to.register(
            "tenantry_journal_poisoned",
            "1 when the journal takes no writes any more",
            self.journal_poisoned.clone(),
        );

        to.register("tenantry_feed_subscribers", "Who follows the feed", self.feed_subscribers.clone());
        to.register("tenantry_feed_sent_events", "Events sent to who follows", self.feed_sent.clone());
        to.register(
            "tenantry_feed_rendered_events",
            "Events rendered for who follows",
            self.feed_rendered.clone(),
        );
        self.live.register(to);

        to.register("tenantry_output_lines", "Lines that processes printed", self.output_lines.clone());
        to.register(
            "tenantry_output_lost_bytes",
            "Bytes that processes printed and that could not be kept",
            self.output_lost_bytes.clone(),
        );

        to.register("tenantry_http_requests", "Requests answered", self.requests.clone());
        to.register(
            "tenantry_http_request_duration_seconds",
            "Time until an answer began",
            self.request_seconds.clone(),
        );
        to.register(
            "tenantry_http_requests_in_flight",
            "Requests being answered",
            self.requests_in_flight.clone(),
        );
        let build = Info::new(vec![("version", version.to_owned())]);
        to.register("tenantry_build", "The program", build);
    }

    fn register_usage(&self, to: &mut Registry) {
        let memory = "Memory in use by instances' processes, by where it is counted";
        to.register("tenantry_instances_memory_bytes", memory, self.usage_memory.clone());
        let cpu = "Processors in use by instances' processes at the last look";
        to.register("tenantry_instances_cpu_cores", cpu, self.usage_cpu.clone());
        to.register("tenantry_instances_processes", "Processes of instances", self.usage_processes.clone());
        let measured = "Instances whose processes were looked at";
        to.register("tenantry_instances_measured", measured, self.usage_instances.clone());
        let over = "Instances whose directory takes more than its quota";
        to.register("tenantry_instances_over_quota", over, self.instances_over_quota.clone());
        let kills = "Runs that the kernel ended at their memory limit";
        to.register("tenantry_memory_limit_kills", kills, self.memory_limit_kills.clone());
        to.register(
            "tenantry_usage_sample_duration_seconds",
            "Time of one look at all processes",
            self.usage_sample_seconds.clone(),
        );
    }

    fn register_edge(&self, to: &mut Registry) {
        let drifted = "Tenants' ports on which another process listens, too";
        to.register("tenantry_ports_drifted", drifted, self.ports_drifted.clone());
        let reloads = "Times that nginx was told to take on its configuration, by result";
        to.register("tenantry_nginx_reloads", reloads, self.nginx_reloads.clone());
        let calls = "Times that systemd was asked for something, by result";
        to.register("tenantry_systemd_calls", calls, self.systemd_calls.clone());
        let certificates = "Tenants' certificates, by who signed them";
        to.register("tenantry_certificates", certificates, self.certificates.clone());
        let expiry = "Unix time at which the first of tenants' certificates ends, by who signed it";
        to.register("tenantry_certificate_expiry_timestamp_seconds", expiry, self.certificate_expiry.clone());
    }

    fn register_audit(&self, to: &mut Registry) {
        let denied = "Attempts that were refused: without a valid credential, beyond one, at the login";
        to.register("tenantry_denied_attempts", denied, self.denied.clone());
        let unrecorded = "Refused attempts that stand in the journal as a number alone";
        to.register("tenantry_denied_attempts_unrecorded", unrecorded, self.denied_unrecorded.clone());
        drop(self.denials());
        self.audit.register(to);
    }

    /// The counters of refused attempts.
    #[must_use]
    pub fn denials(&self) -> crate::auth::denied::Counts {
        let of = |reason| self.denied.get_or_create(&ReasonLabel { reason }).clone();
        crate::auth::denied::Counts {
            unauthenticated: of("unauthenticated"),
            forbidden: of("forbidden"),
            logins: of("login"),
            unrecorded: self.denied_unrecorded.clone(),
        }
    }

    /// The counters of the driver of nginx.
    #[must_use]
    pub fn nginx_reloads(&self) -> Counts {
        let of = |result| self.nginx_reloads.get_or_create(&ResultLabel { result }).clone();
        Counts { done: of(Passed::passed), failed: of(Passed::failed) }
    }

    /// The counters of the driver of systemd.
    #[must_use]
    pub fn systemd_calls(&self) -> crate::drivers::systemd::Counts {
        let of = |result| self.systemd_calls.get_or_create(&ResultLabel { result }).clone();
        crate::drivers::systemd::Counts { done: of(Passed::passed), failed: of(Passed::failed) }
    }

    fn note_certificates(&self, world: &World) {
        // One that nobody has any more leaves no number behind.
        self.certificate_expiry.clear();
        for signer in [Signer::Acme, Signer::SelfSigned] {
            let label = SignerLabel { signer: signer.as_str() };
            let known = world.tenants.iter().filter_map(|tenant| tenant.tls.certificate.as_ref());
            let ends: Vec<u64> = known
                .filter(|known| known.signer == signer)
                .map(|known| known.not_after.unix_seconds())
                .collect();
            let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            self.certificates.get_or_create(&label).set(whole(ends.len() as u64));
            if let Some(first) = ends.into_iter().min() {
                self.certificate_expiry.get_or_create(&label).set(whole(first));
            }
        }
    }

    /// Takes note of what all instances use together.
    pub fn note_usage(&self, totals: &UsageTotals) {
        for (meter, total) in [(Meter::Group, &totals.groups), (Meter::Processes, &totals.processes)] {
            let label = MeterLabel { source: if meter == Meter::Group { "cgroup" } else { "proc" } };
            let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            self.usage_memory.get_or_create(&label).set(whole(total.memory_bytes));
            self.usage_cpu.get_or_create(&label).set(total.cpu_percent / 100.0);
            self.usage_processes.get_or_create(&label).set(whole(total.processes));
            self.usage_instances.get_or_create(&label).set(whole(total.instances));
        }
    }

    /// Counts what an event says.
    fn note(&self, recorded: &Recorded) {
        match &recorded.event {
            Event::InstanceSpawned(_) => drop(self.instances_spawned.inc()),
            Event::InstanceRestartScheduled(_) => drop(self.restarts.inc()),
            Event::InstanceStarted(_) => drop(self.runs_started.inc()),
            Event::InstanceStartFailed(_) => drop(self.runs_failed.inc()),
            Event::AnalysisCompleted(_) => self.note_analysis(Passed::passed),
            Event::AnalysisFailed(_) => self.note_analysis(Passed::failed),
            Event::InstanceExited(event) if event.status == ExitStatus::MemoryLimit => {
                self.memory_limit_kills.inc();
            }
            // Counting is not folding: what is not counted needs no case of its own.
            _ => {}
        }
    }

    /// Counts every event that is recorded from now on, until the journal cannot be read.
    pub async fn follow(&self, feed: &Arc<Feed>) {
        let mut slices = std::pin::pin!(feed.follow(feed.head().next()));
        while let Some(slice) = slices.next().await {
            match slice {
                Ok(slice) => {
                    self.journal_events.inc_by(slice.len() as u64);
                    slice.iter().for_each(|recorded| self.note(recorded));
                }
                Err(error) => {
                    tracing::error!(error = crate::error::chain(&error), "events are not counted any more");
                    return;
                }
            }
        }
    }

    fn note_analysis(&self, result: Passed) {
        self.theme_analyses.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts one health check of an instance.
    pub fn note_check(&self, passed: bool) {
        let result = if passed { Passed::passed } else { Passed::failed };
        self.health_checks.get_or_create(&ResultLabel { result }).inc();
    }

    /// The page and its content type, with the state of `world`.
    #[must_use]
    pub fn page(&self, world: &World) -> (&'static str, String) {
        self.journal_head.set(i64::try_from(world.seq.0).unwrap_or(i64::MAX));
        self.tenants.set(i64::try_from(world.tenants.iter().count()).unwrap_or(i64::MAX));
        self.note_certificates(world);
        let mut counts = [0_i64; Status::ALL.len()];
        for instance in world.instances.iter() {
            let status = Status::of(instance);
            for (count, _) in counts.iter_mut().zip(Status::ALL).filter(|(_, known)| *known == status) {
                *count += 1;
            }
        }
        for (status, count) in Status::ALL.into_iter().zip(counts) {
            self.instances.get_or_create(&StatusLabel { status }).set(count);
        }
        let mut page = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut page, &self.registry) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        (text::CONTENT_TYPE, text::to_prometheus(&page))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn page(metrics: &Metrics) -> String {
        metrics.page(&World::default()).1
    }

    #[test]
    fn the_printed_names_come_out_as_printed() {
        let metrics = Metrics::new("0.1.0", Timestamp(1_763_726_400_000));
        metrics.instances_spawned.inc_by(42);
        let page = page(&metrics);
        let head = "# HELP tenement_instances_total Total instances spawned\n# TYPE tenement_instances_total counter\ntenement_instances_total 42\n";
        assert!(page.contains(head), "{page}");
        assert!(page.contains("tenement_instances{status=\"running\"} 0\n"), "{page}");
        assert!(page.contains("tenement_restarts_total 0\n"));
        assert!(page.contains("tenement_health_checks_total{result=\"failed\"} 0\n"));
        assert!(page.contains("tenantry_build_info{version=\"0.1.0\"} 1\n"), "{page}");
        assert!(page.contains("process_start_time_seconds 1763726400"));
        assert!(page.contains("process_resident_memory_bytes "));
    }

    /// Each family is declared once, before its samples, and its samples bear its name.
    #[test]
    fn the_page_follows_the_text_format() {
        let metrics = Metrics::new("0.1.0", Timestamp(0));
        metrics.journal_sync_seconds.observe(0.001);
        let labels =
            RequestLabels { listener: "manager", method: "GET", route: "/api/{id}".into(), status: "2xx" };
        metrics.requests.get_or_create(&labels).inc();
        let text = page(&metrics);
        let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut family = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(kinds.insert(name, kind).is_none(), "{name} is declared twice");
                family = name;
            } else if !line.starts_with("# HELP ") {
                assert!(!line.starts_with('#'), "{line}");
                let name = line.split(['{', ' ']).next().unwrap();
                let base = match kinds.get(family) {
                    Some(&"histogram") => {
                        name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count")
                    }
                    _ => name,
                };
                assert_eq!(base, family, "{line}");
                assert!(seen.insert(line.rsplit_once(' ').unwrap().0), "{line} is there twice");
                assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(kinds.len() > 20);
    }
}
