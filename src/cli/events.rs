//! `tenantry events`: what happened, and what happens, from a running server.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::Value;

/// How long a server may take to begin its answer.
const CONNECT: Duration = Duration::from_secs(10);
/// How soon a broken stream is asked for again.
const RECONNECT: Duration = Duration::from_secs(1);
/// The longest line of a stream; the largest event is some MiB.
const LONGEST_LINE: usize = 16 << 20;

/// What `events` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct Events {
    /// The server's address.
    #[arg(long, value_name = "URL", env = "TENANTRY_SERVER", default_value = "http://127.0.0.1:32201")]
    pub(super) server: String,
    /// An API token, or what a login gave.
    #[arg(long, value_name = "TOKEN", env = "TENANTRY_TOKEN", hide_env_values = true)]
    pub(super) token: String,
    /// Go on with what happens from now on; mends a lost connection without gap or repeat.
    #[arg(long)]
    pub(super) follow: bool,
    /// From this position on.
    #[arg(long, value_name = "SEQ")]
    pub(super) from_seq: Option<u64>,
    /// Only kinds that begin so, such as `deployment.`.
    #[arg(long, value_name = "PREFIX")]
    pub(super) kind: Option<String>,
    /// Only what is about this tenant, by id.
    #[arg(long, value_name = "ID")]
    pub(super) tenant: Option<String>,
    /// Only what is about this instance, `service:id`.
    #[arg(long, value_name = "NAME")]
    pub(super) instance: Option<String>,
    /// One JSON object a line instead of a readable one.
    #[arg(long)]
    pub(super) json: bool,
}

impl Events {
    fn query(&self, from: Option<u64>) -> Vec<(&'static str, String)> {
        let given = [
            ("from_seq", from.map(|seq| seq.to_string())),
            ("kind", self.kind.clone()),
            ("tenant_id", self.tenant.clone()),
            ("instance", self.instance.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn print(&self, event: &Value) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{event}")?;
        } else {
            writeln!(out, "{}", readable(event))?;
        }
        Ok(out.flush()?)
    }
}

/// One line for a person. Control characters could command the terminal, so they are escaped.
fn readable(event: &Value) -> String {
    let text = |value: &Value| match value.as_str() {
        Some(text) => text.chars().flat_map(harmless).collect(),
        None => value.to_string(),
    };
    let actor = field(event, "actor");
    let who = field(actor, "name")
        .as_str()
        .map_or_else(|| text(field(actor, "type")), |_| text(field(actor, "name")));
    let about =
        ["instance", "tenant_id"].iter().map(|name| field(event, name)).find(|value| !value.is_null());
    let mut line = format!(
        "{} {} {} by {who}",
        field(event, "seq"),
        text(field(event, "at")),
        text(field(event, "kind"))
    );
    if let Some(about) = about {
        line.push_str(" of ");
        line.push_str(&text(about));
    }
    line
}

/// A field of an object; null when it is not there.
fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&Value::Null)
}

fn harmless(letter: char) -> Vec<char> {
    if letter.is_control() { letter.escape_default().collect() } else { vec![letter] }
}

/// Prints what was asked for; with `follow` until the program is ended.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub(super) fn run(events: &Events) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().connect_timeout(CONNECT).build()?;
        let next = if events.follow && events.from_seq.is_none() {
            None
        } else {
            Some(pages(events, &client).await?)
        };
        if events.follow { follow(events, &client, next).await } else { Ok(()) }
    })
}

fn request(
    events: &Events,
    client: &reqwest::Client,
    path: &str,
    from: Option<u64>,
) -> reqwest::RequestBuilder {
    let url = format!("{}{path}", events.server.trim_end_matches('/'));
    client.get(url).query(&events.query(from)).bearer_auth(&events.token)
}

async fn checked(response: reqwest::Response) -> anyhow::Result<reqwest::Response> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body: Value = response.json().await.unwrap_or_default();
    let said =
        field(&body, "message").as_str().or(field(&body, "error").as_str()).unwrap_or("no reason given");
    bail!("the server refuses ({status}): {}", said.chars().flat_map(harmless).collect::<String>())
}

/// Prints everything up to the head; gives the position to go on from.
async fn pages(events: &Events, client: &reqwest::Client) -> anyhow::Result<u64> {
    let mut from = events.from_seq.or(Some(1));
    let mut head = 0;
    while let Some(next) = from {
        let response = request(events, client, "/api/events", Some(next)).query(&[("limit", "1000")]);
        let response = response.send().await.context("the server cannot be reached")?;
        let page: Value = checked(response).await?.json().await?;
        for event in field(&page, "events").as_array().into_iter().flatten() {
            events.print(event)?;
        }
        head = field(&page, "head_seq").as_u64().unwrap_or_default();
        from = field(&page, "next_seq").as_u64();
    }
    Ok(head + 1)
}

async fn follow(events: &Events, client: &reqwest::Client, mut next: Option<u64>) -> anyhow::Result<()> {
    loop {
        let sent = request(events, client, "/api/events/stream", next).send().await;
        match sent {
            Ok(response) => stream(events, checked(response).await?, &mut next).await?,
            // At first the address may be wrong; later the server may just be restarting.
            Err(error) if next.is_none() => return Err(error).context("the server cannot be reached"),
            Err(_) => {}
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Prints one connection's events; returns when it is lost.
async fn stream(events: &Events, response: reqwest::Response, next: &mut Option<u64>) -> anyhow::Result<()> {
    let mut chunks = response.bytes_stream();
    let mut pending: Vec<u8> = Vec::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let event: Value = serde_json::from_slice(data).context("the stream holds something else")?;
            events.print(&event)?;
            *next = field(&event, "seq").as_u64().map(|seq| seq + 1).or(*next);
        }
        if pending.len() > LONGEST_LINE {
            bail!("the stream holds a line of more than {LONGEST_LINE} bytes");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_for_a_person_commands_no_terminal() {
        let event = json!({
            "seq": 7, "at": "2026-01-01T00:00:00.000Z", "kind": "tenant.created",
            "actor": {"type": "user", "name": "ad\u{1b}[2Jmin"}, "tenant_id": "t", "instance": null,
        });
        assert_eq!(readable(&event), "7 2026-01-01T00:00:00.000Z tenant.created by ad\\u{1b}[2Jmin of t");
    }
}
