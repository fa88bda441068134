//! Routes that stand outside of the documents' resources: health, readiness and metrics.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::error::Family;
use super::openapi::{self, Describe};
use super::router::{Access, Routes};
use super::state::AppState;
use super::write::answer;

/// The routes that answer in their listener's shape.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Listener)
        .get("/health", Access::ANYONE, health)
        .get("/ready", Access::ANYONE, ready)
        .get("/metrics", Access::ANYONE, metrics)
        .get("/openapi.json", Access::ANYONE, openapi::document)
        .get("/docs", Access::ANYONE, openapi::docs::page)
        .get("/docs/{file}", Access::ANYONE, openapi::docs::file)
}

/// Says what they give, for `/openapi.json`.
pub(super) fn describe(all: &mut Describe) {
    const PAGE: [&str; 1] = ["text/html"];
    all.get("/health", "getHealth", "Whether it runs").answers::<Health>();
    all.get("/ready", "getReadiness", "Whether it takes requests").answers::<Ready>().fails::<NotReady>(503);
    all.get("/metrics", "getMetrics", "Numbers for Prometheus").gives(&["text/plain"]);
    all.get("/openapi.json", "getOpenApi", "This document").gives_json(json!({ "type": "object" })).etag();
    all.get("/docs", "getDocs", "This document as a page").gives(&PAGE);
    all.get("/docs/{file}", "getDocsFile", "A file of that page")
        .gives(&["text/javascript", "text/css"])
        .etag();
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// That it runs.
#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    #[schemars(extend("enum" = ["ok"]))]
    status: &'static str,
    version: &'static str,
}

/// That it takes requests.
#[derive(Serialize, JsonSchema)]
pub(super) struct Ready {
    #[schemars(extend("enum" = ["ready"]))]
    status: &'static str,
    version: &'static str,
}

/// That it does not, and why.
#[derive(Serialize, JsonSchema)]
pub(super) struct NotReady {
    #[schemars(extend("enum" = ["not_ready"]))]
    status: &'static str,
    reasons: Vec<&'static str>,
}

async fn health() -> Response {
    answer(StatusCode::OK, &Health { status: "ok", version: VERSION })
}

/// Says why it is not ready, in words that name no path and no tenant.
async fn ready(State(app): State<AppState>) -> Response {
    let mut reasons = Vec::new();
    if !app.engine.is_available() {
        reasons.push("the journal does not accept writes");
    }
    if app.engine.world().keeper.is_none() {
        reasons.push("the keeper of the processes does not answer");
    }
    if app.shutdown.is_cancelled() {
        reasons.push("the control plane is ending");
    }
    if reasons.is_empty() {
        return answer(StatusCode::OK, &Ready { status: "ready", version: VERSION });
    }
    answer(StatusCode::SERVICE_UNAVAILABLE, &NotReady { status: "not_ready", reasons })
}

async fn metrics(State(app): State<AppState>) -> Response {
    app.metrics.journal_poisoned.set(i64::from(!app.engine.is_available()));
    let (kind, page) = app.metrics.page(&app.engine.world());
    ([(header::CONTENT_TYPE, kind)], page).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;

    use super::super::testing::{Answer, TestApi};
    use crate::domain::command::Command;

    async fn anonymous(api: &TestApi, path: &str) -> Answer {
        let request = Request::builder().uri(path).header("host", "localhost").body(Body::empty());
        api.send(request.unwrap()).await
    }

    #[tokio::test]
    async fn whoever_asks_is_told_whether_it_runs() {
        let api = TestApi::start().await;
        let health = anonymous(&api, "/health").await.expect(200);
        assert_eq!(health, serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}));
    }

    #[tokio::test]
    async fn it_is_ready_while_a_keeper_answers_and_says_why_not() {
        let api = TestApi::start().await;
        let not_ready = anonymous(&api, "/ready").await.expect(503);
        assert_eq!(not_ready["reasons"][0], "the keeper of the processes does not answer");
        api.tell(Command::NoteKeeper { pid: 1, start_ticks: 1 }).await;
        anonymous(&api, "/ready").await.expect(200);
        api.app.shutdown.cancel();
        anonymous(&api, "/ready").await.expect(503);
    }

    #[tokio::test]
    async fn metrics_need_no_credential_and_name_no_instance() {
        let api = TestApi::start().await;
        api.post("/api/instances", serde_json::json!({"service": "api", "id": "secret-name"}))
            .await
            .expect(201);
        let metrics = anonymous(&api, "/metrics").await;
        assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        assert!(metrics.text.contains("tenement_instances{status=\"running\"} 1\n"), "{}", metrics.text);
        assert!(metrics.text.contains("tenement_instances_total 1\n"), "{}", metrics.text);
        let route = "listener=\"instances\",method=\"POST\",route=\"/api/instances\",status=\"2xx\"} 1";
        assert!(metrics.text.contains(route), "{}", metrics.text);
        assert!(!metrics.text.contains("secret-name"));
    }
}
