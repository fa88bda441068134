//! `tenantry why`: the chain of causes behind the present state.

use clap::Args;
use serde_json::Value;
use tenantry_journal::name::InstanceKey;

use super::client::{Common, Query, add, block_on, field, list, text};
use super::history::{find_ever, who};
use super::safe_text::safe;
use super::screen::Screen;
use super::table::{Cell, Table};
use super::when::moment;

/// What `why` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Why {
    /// An instance (`service:id`, such as `backend:smith`), or a tenant by id or slug.
    subject: String,
    /// As it was at this moment [default: now].
    #[arg(long, value_name = "POINT")]
    as_of: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Prints why something is as it is.
pub(super) fn run(args: &Why) -> anyhow::Result<()> {
    let (client, screen) = (args.common.client()?, args.common.screen());
    let answer = block_on(async {
        let mut query = Query::new();
        match args.subject.parse::<InstanceKey>() {
            Ok(key) if args.subject.contains(':') => add(&mut query, "instance", Some(key)),
            _ => add(&mut query, "tenant_id", Some(find_ever(&client, &args.subject).await?)),
        }
        add(&mut query, "as_of", args.as_of.as_ref());
        Ok(client.get("/api/events/why", &query).await?)
    })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&readable(&answer, &screen))?;
    }
    Ok(())
}

fn readable(answer: &Value, screen: &Screen) -> String {
    let mut table = Table::new(["SEQ", "AT", "EVENT", "BY", "BECAUSE"]);
    for link in list(answer, "chain") {
        table.row(vec![
            Cell::new(text(link, "seq")).right(),
            Cell::new(moment(link, "at")),
            Cell::new(text(link, "kind")),
            Cell::new(who(link)),
            Cell::new(field(link, "because").as_str().unwrap_or_default()),
        ]);
    }
    format!("{}\n\n{}", safe(&text(answer, "sentence")), table.render(screen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_sentence_comes_first_and_then_its_events() {
        let answer = json!({"sentence": "running since x because started", "chain": [
            {"seq": 9, "at": "2026-01-01T00:00:00.000Z", "kind": "instance.started",
                "actor": {"type": "system", "name": null}, "because": null}]});
        let told = readable(&answer, &Screen::plain());
        assert!(told.starts_with("running since x because started\n\nSEQ"), "{told}");
        assert!(told.contains("9  2026-01-01 00:00:00  instance.started  system\n"), "{told}");
    }
}
