//! `GET /api/metrics/{service}/{id}` and its history.
//!
//! Memory and processor time are those of the whole process tree: of the instance's control
//! group where it has one, else of its processes in `/proc` (where shared pages count in each).
//! `memory_mb` is in MiB, `cpu_percent` in percent of one processor since the look before, some
//! five seconds. Requests and health checks count since the control plane started, over all of
//! the instance's runs.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tenantry_journal::name::InstanceKey;
use tenantry_journal::time::Timestamp;

use super::view::{mebibytes, rounded, uptime_ms};
use super::{Key, find};
use crate::http::extract::{NoQuery, Scope};
use crate::http::observed::{RequestCounts, Sample, Usage};
use crate::http::state::AppState;
use crate::http::write::{Answer, answer};
use crate::supervisor::{INTERVAL_MS, Meter};

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "CheckCounts")]
struct Checks {
    total: u64,
    passed: u64,
    failed: u64,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "InstanceMetrics")]
pub(super) struct Metrics<'a> {
    instance: &'a InstanceKey,
    uptime_seconds: f64,
    memory_mb: f64,
    cpu_percent: f64,
    requests_total: u64,
    requests_per_second: f64,
    errors_total: u64,
    /// In percent.
    error_rate: f64,
    health_checks: Checks,
    processes: u32,
    /// `cgroup` or `proc`.
    #[schemars(extend("enum" = ["cgroup", "proc"]))]
    source: &'static str,
}

/// In percent.
pub(in crate::http) fn error_rate(counts: RequestCounts) -> f64 {
    if counts.total == 0 { 0.0 } else { rounded(counts.errors as f64 * 100.0 / counts.total as f64) }
}

pub(super) async fn now(State(app): State<AppState>, scope: Scope, Key(key): Key, _: NoQuery) -> Answer {
    let instance = find(&scope, &key)?;
    let measured = app.measures.now(instance.id);
    let usage = measured.usage.unwrap_or_default();
    let (passed, failed) = measured.checks;
    let metrics = Metrics {
        instance: &key,
        uptime_seconds: uptime_ms(instance, app.now()) as f64 / 1000.0,
        memory_mb: mebibytes(usage.memory_bytes),
        cpu_percent: rounded(usage.cpu_percent),
        requests_total: measured.requests.total,
        requests_per_second: rounded(measured.requests_per_second),
        errors_total: measured.requests.errors,
        error_rate: error_rate(measured.requests),
        health_checks: Checks { total: passed + failed, passed, failed },
        processes: usage.processes,
        source: if usage.meter == Meter::Group { "cgroup" } else { "proc" },
    };
    Ok(answer(StatusCode::OK, &metrics))
}

/// A sample as it goes out; without a process its usage is null.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "MetricsSample")]
struct Point {
    at: Timestamp,
    memory_mb: Option<f64>,
    cpu_percent: Option<f64>,
    /// Requests since the sample before.
    requests: u32,
    /// Failed ones among them.
    errors: u32,
}

impl Point {
    fn new(sample: &Sample) -> Point {
        let of = |number: fn(&Usage) -> f64| sample.usage.as_ref().map(number);
        Point {
            at: sample.at,
            memory_mb: of(|usage| mebibytes(usage.memory_bytes)),
            cpu_percent: of(|usage| rounded(usage.cpu_percent)),
            requests: sample.requests,
            errors: sample.errors,
        }
    }
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "MetricsHistory")]
pub(super) struct History<'a> {
    instance: &'a InstanceKey,
    interval_seconds: u64,
    samples: Vec<Point>,
}

pub(super) async fn history(State(app): State<AppState>, scope: Scope, Key(key): Key, _: NoQuery) -> Answer {
    let instance = find(&scope, &key)?;
    let samples = app.measures.hour(instance.id).iter().map(Point::new).collect();
    let history = History { instance: &key, interval_seconds: INTERVAL_MS / 1000, samples };
    Ok(answer(StatusCode::OK, &history))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::testing::TestApi;
    use super::*;

    #[test]
    fn the_error_rate_is_a_percentage_as_printed() {
        assert_eq!(error_rate(RequestCounts { total: 1523, errors: 2 }), 0.13);
        assert_eq!(error_rate(RequestCounts::default()), 0.0);
    }

    #[tokio::test]
    async fn the_printed_fields_are_there_and_an_unknown_instance_is_not() {
        let api = TestApi::start().await;
        api.post("/api/instances", json!({"service": "api", "id": "one"})).await.expect(201);
        let metrics = api.get("/api/metrics/api/one").await.expect(200);
        assert_eq!(metrics["instance"], "api:one");
        for field in [
            "uptime_seconds",
            "memory_mb",
            "cpu_percent",
            "requests_total",
            "requests_per_second",
            "errors_total",
            "error_rate",
        ] {
            assert!(metrics[field].is_number(), "{field}: {metrics}");
        }
        assert_eq!(metrics["health_checks"], json!({"total": 0, "passed": 0, "failed": 0}));
        let history = api.get("/api/metrics/api/one/history").await.expect(200);
        assert_eq!(history, json!({"instance": "api:one", "interval_seconds": 10, "samples": []}));
        for path in ["/api/metrics/api/two", "/api/metrics/api/two/history"] {
            assert_eq!(api.get(path).await.expect(404)["error"], "instance_not_found");
        }
    }
}
