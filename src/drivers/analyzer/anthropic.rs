//! Claude, by the Anthropic Messages API (version 2023-06-01).
//!
//! The answer is asked for as a call of a tool, so that it comes as JSON of the wanted form. No
//! redirect is followed: the key goes to the configured address and nowhere else.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde_json::{Value, json};
use tenantry_journal::sealed::Secret;

use super::{ANSWER_BYTES, AskError, Facts, SYSTEM, cut, from_text, from_value, question, schema};
use crate::domain::theme::suggestion::Draft;

const VERSION: &str = "2023-06-01";
const TOOL: &str = "suggest_themes";
/// Four suggestions take about 1,200 tokens.
const MAX_TOKENS: u32 = 4096;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(90);
/// How often it is asked in all: an overloaded service is often better a moment later.
const TRIES: u32 = 3;
/// The first wait, doubled each time, and the longest that a service may ask for.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The API takes pictures of 5 MB; base64 adds a third.
const PICTURE_BYTES: usize = 3_500_000;

/// Where and as whom to ask.
#[derive(Clone, Debug)]
pub struct Anthropic {
    /// The API's address, without `/v1`.
    pub base_url: String,
    /// The model.
    pub model: String,
    /// The API key.
    pub key: Secret,
}

fn body(model: &str, facts: &Facts) -> Value {
    let mut content = Vec::new();
    if let Some(picture) = facts.screenshot.as_ref().filter(|picture| picture.len() <= PICTURE_BYTES) {
        let source = json!({"type": "base64", "media_type": "image/png", "data": STANDARD.encode(picture)});
        content.push(json!({"type": "image", "source": source}));
    }
    content.push(json!({"type": "text", "text": question(facts)}));
    json!({
        "model": model,
        "max_tokens": MAX_TOKENS,
        "system": SYSTEM,
        "messages": [{"role": "user", "content": content}],
        "tools": [{"name": TOOL, "description": "Takes the suggested themes.", "input_schema": schema()}],
        "tool_choice": {"type": "tool", "name": TOOL},
    })
}

/// Asks for suggestions.
///
/// # Errors
/// When it does not answer, refuses, or answers nonsense.
pub async fn ask(settings: &Anthropic, facts: &Facts) -> Result<Vec<Draft>, AskError> {
    let no = |error: reqwest::Error| AskError::NoAnswer(crate::error::chain(&error.without_url()));
    let client = crate::tls::client().timeout(ANSWER).build().map_err(no)?;
    let url = format!("{}/v1/messages", settings.base_url.trim_end_matches('/'));
    let mut key = reqwest::header::HeaderValue::try_from(settings.key.reveal().trim())
        .map_err(|_| AskError::NoAnswer("the API key holds characters that no key has".into()))?;
    key.set_sensitive(true);
    let body = body(&settings.model, facts);
    let mut wait = WAIT;
    for attempt in 1.. {
        let request = client.post(&url).header("x-api-key", key.clone()).header("anthropic-version", VERSION);
        let again = match request.json(&body).send().await {
            Ok(response) if response.status().is_success() => return answer(read(response).await?),
            Ok(response) => {
                let status = response.status().as_u16();
                let asked =
                    response.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
                // Too many requests, and what is their fault (529 is "overloaded").
                let passing = status == 429 || status >= 500;
                if let Some(seconds) = asked.filter(|_| passing) {
                    wait = Duration::from_secs(seconds).clamp(wait, LONGEST_WAIT);
                }
                let said = read(response).await.unwrap_or(Value::Null);
                let said =
                    said.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
                (passing, AskError::Refused { status, said: cut(said) })
            }
            Err(error) => (error.is_connect(), no(error)),
        };
        match again {
            (true, _) if attempt < TRIES => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            (_, error) => return Err(error),
        }
    }
    Err(AskError::NoAnswer("it was not asked".into()))
}

async fn read(mut response: reqwest::Response) -> Result<Value, AskError> {
    let mut bytes = BytesMut::new();
    let no = |error: reqwest::Error| AskError::NoAnswer(crate::error::chain(&error.without_url()));
    while let Some(chunk) = response.chunk().await.map_err(no)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES {
            return Err(AskError::Nonsense(format!("it is longer than {ANSWER_BYTES} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).map_err(|_| AskError::Nonsense("it is no JSON".into()))
}

/// The suggestions in a message: a call of the tool, else words.
fn answer(message: Value) -> Result<Vec<Draft>, AskError> {
    let empty = Vec::new();
    let content = message.get("content").and_then(Value::as_array).unwrap_or(&empty);
    let of_type =
        |kind: &str| content.iter().find(|part| part.get("type").and_then(Value::as_str) == Some(kind));
    if let Some(input) = of_type("tool_use").and_then(|part| part.get("input")) {
        return from_value(input);
    }
    match of_type("text").and_then(|part| part.get("text")?.as_str()) {
        Some(text) => from_text(text),
        None => Err(AskError::Nonsense("it has no content".into())),
    }
}
