//! `tenantry events`: what happened, and what happens, from a running server.

use std::io;

use clap::Args;
use serde_json::Value;

use super::client::{Client, Common, Query, add, block_on, field};
use super::failure::Failure;
use super::safe_text::safe;
use super::screen::Screen;
use super::sse;

/// Events that are fetched at once.
const PAGE: usize = 1000;

/// What `events` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct Events {
    /// Go on with what happens from now on; mends a lost connection without gap or repeat.
    #[arg(short, long)]
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
    #[command(flatten)]
    pub(super) common: Common,
}

impl Events {
    fn query(&self, from: Option<u64>) -> Query {
        let mut query = Query::new();
        add(&mut query, "from_seq", from);
        add(&mut query, "kind", self.kind.as_ref());
        add(&mut query, "tenant_id", self.tenant.as_ref());
        add(&mut query, "instance", self.instance.as_ref());
        query
    }

    fn print(&self, event: &Value, screen: &Screen) -> io::Result<()> {
        if self.common.json {
            screen.print_json_line(event)
        } else {
            screen.print(&format!("{}\n", readable(event)))
        }
    }
}

/// One line for a person. What could command the terminal is made visible.
fn readable(event: &Value) -> String {
    let text = |value: &Value| match value.as_str() {
        Some(text) => safe(text).into_owned(),
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

/// Prints what was asked for; with `follow` until the program is ended.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub(super) fn run(events: &Events) -> anyhow::Result<()> {
    let screen = events.common.screen();
    let client = events.common.client()?;
    block_on(async {
        let next = if events.follow && events.from_seq.is_none() {
            None
        } else {
            Some(pages(events, &client, &screen).await?)
        };
        if events.follow { follow(events, &client, &screen, next).await } else { Ok(()) }
    })
}

/// Prints everything up to the head; gives the position to go on from.
async fn pages(events: &Events, client: &Client, screen: &Screen) -> anyhow::Result<u64> {
    let mut from = events.from_seq.or(Some(1));
    let mut head = 0;
    while let Some(next) = from {
        let mut query = events.query(Some(next));
        add(&mut query, "limit", Some(PAGE));
        let page = client.get("/api/events", &query).await?;
        for event in field(&page, "events").as_array().into_iter().flatten() {
            events.print(event, screen)?;
        }
        head = field(&page, "head_seq").as_u64().unwrap_or_default();
        from = field(&page, "next_seq").as_u64();
    }
    Ok(head + 1)
}

async fn follow(
    events: &Events,
    client: &Client,
    screen: &Screen,
    mut next: Option<u64>,
) -> anyhow::Result<()> {
    const PATH: &str = "/api/events/stream";
    if next.is_none() {
        // A connection that breaks before the first event must not lose what came meanwhile.
        next = Some(head(client).await? + 1);
    }
    let mut stream = sse::Events::new(client.stream(PATH, &events.query(next)).await?);
    loop {
        while let Some(event) = stream.next().await? {
            events.print(&event, screen)?;
            next = field(&event, "seq").as_u64().map(|seq| seq + 1).or(next);
        }
        stream = sse::Events::again(client, PATH, &events.query(next)).await?;
    }
}

/// The position of the last event.
async fn head(client: &Client) -> Result<u64, Failure> {
    let page =
        client.get("/api/events", &vec![("order", "desc".to_owned()), ("limit", "1".to_owned())]).await?;
    Ok(field(&page, "head_seq").as_u64().unwrap_or_default())
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
        assert_eq!(readable(&event), "7 2026-01-01T00:00:00.000Z tenant.created by ad\\x1b[2Jmin of t");
    }
}
