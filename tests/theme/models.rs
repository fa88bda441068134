//! Stand-ins for language models that speak the real wire formats: the Anthropic Messages API
//! and Ollama's chat API. Each answers what it is told and keeps what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tenantry::domain::theme::suggestion::Draft;
use tenantry::drivers::analyzer::{Anthropic, AskError, Facts, Ollama, ask_anthropic, ask_ollama};
use tenantry::drivers::fetch::Guard;
use tenantry_journal::sealed::Secret;

/// What a model answers next.
#[derive(Clone)]
pub(crate) enum Say {
    /// These suggestions, in the form that was asked for.
    Suggest(Value),
    /// These words.
    Words(String),
    /// A refusal.
    Refuse(u16),
}

/// A stand-in that runs.
pub(crate) struct Model {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Model {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Shared {
    says: Arc<Mutex<VecDeque<Say>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Shared {
    fn next(&self, asked: Value) -> Say {
        self.asked.lock().unwrap().push(asked);
        let mut says = self.says.lock().unwrap();
        // The last one is said again and again.
        if says.len() > 1 { says.pop_front().unwrap() } else { says.front().unwrap().clone() }
    }
}

impl Model {
    pub(crate) async fn start(says: impl IntoIterator<Item = Say>) -> Model {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { says: Arc::new(Mutex::new(says.into_iter().collect())), asked: Arc::default() };
        let asked = Arc::clone(&shared.asked);
        let router = Router::new()
            .route("/v1/messages", post(messages))
            .route("/api/chat", post(chat))
            .with_state(shared);
        let router = router.layer(axum::extract::DefaultBodyLimit::max(32 << 20));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Model { address, asked, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn messages(State(shared): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let error = |status: u16, kind: &str, message: &str| {
        let body =
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
        (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
    };
    if header("x-api-key") != "sk-ant-test" {
        return error(401, "authentication_error", "invalid x-api-key");
    }
    if header("anthropic-version") != "2023-06-01" || header("content-type") != "application/json" {
        return error(400, "invalid_request_error", "anthropic-version: header is required");
    }
    let sound = body["model"].is_string()
        && body["max_tokens"].is_u64()
        && body["messages"][0]["role"] == "user"
        && body["messages"][0]["content"].is_array();
    if !sound {
        return error(400, "invalid_request_error", "messages: field required");
    }
    let (model, tool) = (body["model"].clone(), body["tool_choice"]["name"].clone());
    let content = match shared.next(body) {
        Say::Suggest(input) => json!([
            {"type": "text", "text": "Here are the themes."},
            {"type": "tool_use", "id": "toolu_1", "name": tool, "input": input},
        ]),
        Say::Words(text) => json!([{"type": "text", "text": text}]),
        Say::Refuse(529) => return error(529, "overloaded_error", "Overloaded"),
        Say::Refuse(status) => return error(status, "api_error", "no"),
    };
    Json(json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 1200, "output_tokens": 900},
    }))
    .into_response()
}

async fn chat(State(shared): State<Shared>, Json(body): Json<Value>) -> Response {
    let model = body["model"].clone();
    assert_eq!(body["stream"], false);
    let content = match shared.next(body) {
        Say::Suggest(input) => input.to_string(),
        Say::Words(text) => text,
        Say::Refuse(status) => {
            let error = json!({"error": format!("model {model} not found")});
            return (StatusCode::from_u16(status).unwrap(), Json(error)).into_response();
        }
    };
    Json(json!({
        "model": model, "created_at": "2025-11-14T10:00:00Z", "done": true, "done_reason": "stop",
        "message": {"role": "assistant", "content": content}, "total_duration": 1, "eval_count": 1,
    }))
    .into_response()
}

pub(crate) fn suggestions(names: &[&str]) -> Value {
    let one = |name: &&str| {
        json!({
            "name": name, "description": "A classic, trustworthy palette", "primary_color": "#0e173e",
            "secondary_color": "#f1c613", "accent_color": "#F1C613", "text_color": "#1f2937",
            "reasoning": "Based on the candidate's website."
        })
    };
    json!({"suggestions": names.iter().map(one).collect::<Vec<_>>()})
}

async fn claude(model: &Model, key: &str) -> Result<Vec<Draft>, AskError> {
    let settings = Anthropic {
        base_url: format!("{}/", model.url()),
        model: "claude".into(),
        key: Secret::new(key.into()),
    };
    ask_anthropic(&settings, &Facts { screenshot: Some(vec![1, 2, 3]), ..Facts::default() }).await
}

#[tokio::test]
async fn claude_is_asked_as_the_api_wants_it_and_asked_again_when_it_is_overloaded() {
    let model = Model::start([Say::Refuse(529), Say::Suggest(suggestions(&["Blue & Gold"]))]).await;
    let drafts = claude(&model, "sk-ant-test\n").await.unwrap();
    assert_eq!((drafts[0].name.as_str(), drafts[0].accent_color.as_str()), ("Blue & Gold", "#f1c613"));
    assert_eq!(model.count(), 2);
    let asked = model.asked.lock().unwrap()[0].clone();
    let picture = &asked["messages"][0]["content"][0];
    assert_eq!((&picture["type"], &picture["source"]["data"]), (&json!("image"), &json!("AQID")));
    assert_eq!(asked["tools"][0]["input_schema"]["type"], "object");

    let words = format!("Of course!\n```json\n{}\n```", suggestions(&["In Words"]));
    let model = Model::start([Say::Words(words)]).await;
    assert_eq!(claude(&model, "sk-ant-test").await.unwrap()[0].name, "In Words");
}

#[tokio::test]
async fn what_claude_cannot_or_should_not_say_is_an_error_with_its_reason() {
    let model = Model::start([Say::Suggest(suggestions(&[]))]).await;
    let wrong = claude(&model, "sk-ant-wrong").await.unwrap_err().to_string();
    assert!(wrong.contains("401") && wrong.contains("invalid x-api-key"), "{wrong}");
    assert_eq!(model.count(), 0);
    for says in [
        Say::Suggest(suggestions(&[])),
        Say::Suggest(json!({"suggestions": "none"})),
        Say::Suggest(suggestions(&["evil\u{202e}name"])),
        Say::Words("I can't help with that.".into()),
        Say::Words("x".repeat(2 << 20)),
    ] {
        let model = Model::start([says]).await;
        let why = claude(&model, "sk-ant-test").await.unwrap_err();
        assert!(matches!(why, AskError::Nonsense(_)), "{why}");
        assert_eq!(model.count(), 1, "nonsense is not asked for again");
    }
    let model = Model::start([Say::Refuse(400)]).await;
    assert!(matches!(claude(&model, "sk-ant-test").await, Err(AskError::Refused { status: 400, .. })));
    assert_eq!(model.count(), 1);
}

#[tokio::test]
async fn ollama_is_asked_only_where_it_may_be() {
    let model = Model::start([Say::Suggest(suggestions(&["Local"]))]).await;
    let settings = Ollama { base_url: model.url(), model: "gemma3:12b".into() };
    let refused = ask_ollama(&settings, Guard::default(), &Facts::default()).await.unwrap_err().to_string();
    assert!(refused.contains("not a public address"), "{refused}");
    assert_eq!(model.count(), 0, "an address that a tenant chose is a stranger's");
    let guard = Guard::new(&[model.address.to_string()]);
    let drafts = ask_ollama(&settings, guard.clone(), &Facts::default()).await.unwrap();
    assert_eq!(drafts[0].name, "Local");
    let asked = model.asked.lock().unwrap()[0].clone();
    assert_eq!((&asked["model"], &asked["format"]["type"]), (&json!("gemma3:12b"), &json!("object")));

    let missing = Model::start([Say::Refuse(404)]).await;
    let settings = Ollama { base_url: missing.url(), model: "none".into() };
    let guard = guard.and(&missing.address.to_string());
    let why = ask_ollama(&settings, guard, &Facts::default()).await.unwrap_err().to_string();
    assert!(why.contains("404") && why.contains("not found"), "{why}");
}
