//! Counts and times requests, by listener and route pattern.
//!
//! A path is never a label: there would be as many as somebody cares to ask for. The labels
//! of a route are looked up with its first request; after that only their counters move.

use std::sync::{Arc, OnceLock};

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::labels::{ListenerLabel, ListenerRouteLabels, RequestLabels};
use super::metrics::Metrics;

/// The label of a request that no route answers.
const UNMATCHED: &str = "unmatched";
/// The methods that are told apart; the last stands for all others.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"];
/// The kinds of status codes that are told apart.
const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What the layer counts in, for one listener.
pub struct Measure {
    metrics: Arc<Metrics>,
    listener: &'static str,
    in_flight: Gauge,
    routes: Vec<Route>,
    unmatched: Route,
}

/// What is counted of one route. It appears on the page with its first request.
struct Route {
    pattern: &'static str,
    seconds: OnceLock<Histogram>,
    requests: [[OnceLock<Counter>; STATUSES.len()]; METHODS.len()],
}

impl Route {
    fn new(pattern: &'static str) -> Route {
        Route { pattern, seconds: OnceLock::new(), requests: Default::default() }
    }
}

impl Measure {
    /// Counts for a listener (`manager` or `instances`) and for routes of these patterns.
    pub fn new(
        metrics: Arc<Metrics>,
        listener: &'static str,
        patterns: impl IntoIterator<Item = &'static str>,
    ) -> Measure {
        let in_flight = metrics.requests_in_flight.get_or_create_owned(&ListenerLabel { listener });
        let routes = patterns.into_iter().map(Route::new).collect();
        Measure { metrics, listener, in_flight, routes, unmatched: Route::new(UNMATCHED) }
    }

    fn count(&self, route: &Route, method: usize, status: StatusCode, seconds: f64) {
        let listener = self.listener;
        let durations = route.seconds.get_or_init(|| {
            let labels = ListenerRouteLabels { listener, route: route.pattern.to_owned() };
            self.metrics.request_seconds.get_or_create_owned(&labels)
        });
        durations.observe(seconds);
        let status = status_place(status);
        let counter = route.requests.get(method).and_then(|by_status| by_status.get(status));
        let (Some(counter), Some(method), Some(status)) =
            (counter, METHODS.get(method), STATUSES.get(status))
        else {
            return;
        };
        let counter = counter.get_or_init(|| {
            let labels = RequestLabels { listener, method, route: route.pattern.to_owned(), status };
            self.metrics.requests.get_or_create_owned(&labels)
        });
        counter.inc();
    }
}

/// Gives back what it counted, also when a request is dropped half way.
struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts a request while `answer` answers it. `route` is the place of its route's pattern
/// among those that the measure was made for.
pub async fn measure<F>(
    measure: &Measure,
    route: Option<usize>,
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let route = route.and_then(|place| measure.routes.get(place)).unwrap_or(&measure.unmatched);
    let method = method_place(request.method());
    measure.in_flight.inc();
    let _in_flight = InFlight(&measure.in_flight);
    let began = Instant::now();
    let response = answer(request).await;
    measure.count(route, method, response.status(), began.elapsed().as_secs_f64());
    response
}

/// The place of a method in [`METHODS`].
fn method_place(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::POST => 1,
        Method::PUT => 2,
        Method::PATCH => 3,
        Method::DELETE => 4,
        Method::HEAD => 5,
        Method::OPTIONS => 6,
        _ => 7,
    }
}

/// The place of a status in [`STATUSES`].
fn status_place(status: StatusCode) -> usize {
    match status.as_u16() / 100 {
        1 => 0,
        2 => 1,
        3 => 2,
        4 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::IntoResponse as _;
    use tenantry_journal::time::Timestamp;
    use tenantry_projections::world::World;

    use super::*;

    #[tokio::test]
    async fn a_request_is_counted_under_its_pattern_and_never_under_its_path() {
        let metrics = Arc::new(Metrics::new("0", Timestamp(0)));
        let own = Measure::new(Arc::clone(&metrics), "manager", ["/api/other", "/api/things/{id}"]);
        for (method, path, route, status) in [
            ("GET", "/api/things/secret-name", Some(1), StatusCode::NO_CONTENT),
            ("GET", "/api/things/secret-name", Some(1), StatusCode::OK),
            ("BREW", "/secret-name", None, StatusCode::NOT_FOUND),
        ] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            measure(&own, route, request, async |_| status.into_response()).await;
        }
        let (_, page) = metrics.page(&World::default());
        let counted = "{listener=\"manager\",method=\"GET\",route=\"/api/things/{id}\",status=\"2xx\"} 2";
        assert!(page.contains(counted), "{page}");
        assert!(page.contains("method=\"other\",route=\"unmatched\",status=\"4xx\"} 1"), "{page}");
        assert!(page.contains("tenantry_http_requests_in_flight{listener=\"manager\"} 0"));
        assert!(!page.contains("secret-name"));
        assert!(!page.contains("/api/other"), "a route that nobody asked for is not shown");
    }

    #[test]
    fn each_method_and_status_has_its_own_label() {
        for (place, name) in METHODS.iter().enumerate() {
            assert_eq!(method_place(&name.parse().unwrap()), place);
        }
        for (place, name) in STATUSES.iter().enumerate() {
            let status: u16 = name.replace('x', "0").parse().unwrap();
            assert_eq!(status_place(StatusCode::from_u16(status).unwrap()), place);
        }
    }
}
