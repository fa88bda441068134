//! Counts and times requests, by listener and route pattern.
//!
//! The layer has to lie around routes (`Router::layer`), where the pattern that matched is
//! known. A path is never a label: there would be as many as somebody cares to ask for.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::metrics::{ListenerLabel, ListenerRouteLabels, Metrics, RequestLabels};

/// What the layer counts in, and for which listener.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// `manager` or `instances`.
    pub listener: &'static str,
}

/// Gives back what it counted, also when a request is dropped half way.
struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts a request while `answer` answers it.
pub async fn measure<F>(measure: &Measure, request: Request, answer: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let Measure { metrics, listener } = measure;
    let listener = *listener;
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = method_label(request.method());
    let gauge = metrics.requests_in_flight.get_or_create_owned(&ListenerLabel { listener });
    gauge.inc();
    let _in_flight = InFlight(gauge);
    let began = Instant::now();
    let response = answer(request).await;
    let seconds = began.elapsed().as_secs_f64();
    let durations = ListenerRouteLabels { listener, route: route.clone() };
    metrics.request_seconds.get_or_create(&durations).observe(seconds);
    let status = status_label(response.status());
    metrics.requests.get_or_create(&RequestLabels { listener, method, route, status }).inc();
    response
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::{Next, from_fn};
    use axum::routing::get;
    use tenantry_journal::time::Timestamp;
    use tenantry_projections::world::World;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_request_is_counted_under_its_pattern_and_never_under_its_path() {
        let metrics = Arc::new(Metrics::new("0", Timestamp(0)));
        let state = Measure { metrics: Arc::clone(&metrics), listener: "manager" };
        let app: Router = Router::new()
            .route("/api/things/{id}", get(|| async { StatusCode::NO_CONTENT }))
            .fallback(|| async { StatusCode::NOT_FOUND })
            .layer(from_fn(move |request: Request, next: Next| {
                let state = state.clone();
                async move { measure(&state, request, |request| next.run(request)).await }
            }));
        for (method, path) in [("GET", "/api/things/secret-name"), ("BREW", "/secret-name")] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap();
        }
        let (_, page) = metrics.page(&World::default());
        let counted = "{listener=\"manager\",method=\"GET\",route=\"/api/things/{id}\",status=\"2xx\"} 1";
        assert!(page.contains(counted), "{page}");
        assert!(page.contains("method=\"other\",route=\"unmatched\",status=\"4xx\"} 1"), "{page}");
        assert!(page.contains("tenantry_http_requests_in_flight{listener=\"manager\"} 0"));
        assert!(!page.contains("secret-name"));
    }
}
