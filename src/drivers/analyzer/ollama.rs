//! A model of an Ollama, by its chat API. Its address is the tenant's own to choose, so it is
//! fetched as a stranger's is: only what is public or allowed.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ANSWER_BYTES, AskError, Facts, SYSTEM, cut, from_text, question, schema};
use crate::domain::theme::suggestion::Draft;
use crate::drivers::fetch::{Fetcher, Guard};
use crate::error::chain;

/// How long an answer may take: models on a processor are slow.
const ANSWER: Duration = Duration::from_secs(150);

/// Where to ask whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ollama {
    /// The API's address, without `/api`.
    pub base_url: String,
    /// The model.
    pub model: String,
}

/// Asks for suggestions.
///
/// # Errors
/// When it may not be asked, does not answer, refuses, or answers nonsense.
pub async fn ask(settings: &Ollama, guard: Guard, facts: &Facts) -> Result<Vec<Draft>, AskError> {
    let url = format!("{}/api/chat", settings.base_url.trim_end_matches('/'));
    let no = |error: &(dyn std::error::Error + 'static)| AskError::NoAnswer(chain(error));
    let url = guard.check(&url).map_err(|error| no(&error))?;
    let fetcher = Fetcher::new(guard, Instant::now() + ANSWER).map_err(|error| no(&error))?;
    let body = json!({
        "model": settings.model,
        "stream": false,
        "format": schema(),
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question(facts)},
        ],
    });
    let (status, answer) = fetcher.post(&url, &body, ANSWER_BYTES).await.map_err(|error| no(&error))?;
    if status != 200 {
        let said = answer.get("error").and_then(Value::as_str).unwrap_or("no reason given");
        return Err(AskError::Refused { status, said: cut(said) });
    }
    match answer.pointer("/message/content").and_then(Value::as_str) {
        Some(text) => from_text(text),
        None => Err(AskError::Nonsense("it has no content".into())),
    }
}
