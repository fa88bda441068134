//! `tenantry history` and `tenantry diff`: what became of a tenant, also of one that is gone.

use clap::Args;
use serde_json::{Value, json};
use tenantry_journal::id::TenantId;

use super::client::{Client, Common, LARGEST_PAGE, Query, add, block_on, field, list, text};
use super::failure::{Failure, NOT_FOUND};
use super::safe_text::safe;
use super::screen::{Screen, faint};
use super::table::{Cell, Table};
use super::tenants;
use super::when::moment;

/// Longest value of a change that is shown in a table, in characters.
const SHOWN_CHARS: usize = 60;

/// What `history` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct History {
    /// The tenant, by id or slug; also one that is deleted.
    tenant: String,
    /// From this position on.
    #[arg(long, value_name = "SEQ")]
    from_seq: Option<u64>,
    /// Up to and with this position.
    #[arg(long, value_name = "SEQ")]
    to_seq: Option<u64>,
    /// Also the events that changed nothing of the tenant itself.
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

/// What `diff` is asked.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A point is a seq (1042), a time (2026-01-31T12:00:00Z) or a distance (5m, '1h ago')."
)]
pub(super) struct Diff {
    /// The tenant, by id or slug; also one that is deleted.
    tenant: String,
    /// The one moment.
    #[arg(long, value_name = "POINT")]
    from: String,
    /// The other moment [default: now].
    #[arg(long, value_name = "POINT")]
    to: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// A tenant by its id or its slug; of a slug that nobody has, the last one that had it.
///
/// # Errors
/// When there never was one, and those of the server.
pub(super) async fn find_ever(client: &Client, named: &str) -> Result<TenantId, Failure> {
    match tenants::find(client, named).await {
        Err(failure) if failure.code == NOT_FOUND => {}
        found => return found,
    }
    let mut from = None;
    loop {
        let mut query = Query::new();
        add(&mut query, "kind", Some("tenant.created"));
        add(&mut query, "order", Some("desc"));
        add(&mut query, "limit", Some(LARGEST_PAGE));
        add(&mut query, "from_seq", from);
        let page = client.get("/api/events", &query).await?;
        let created = list(&page, "events").iter().find(|event| {
            let details = field(field(event, "data"), "details");
            field(details, "slug").as_str() == Some(named)
        });
        if let Some(id) = created.and_then(|event| text(event, "tenant_id").parse().ok()) {
            return Ok(id);
        }
        from = field(&page, "next_seq").as_u64();
        if from.is_none() {
            let message = format!("there is and was no tenant '{}'", safe(named));
            return Err(Failure::new(
                NOT_FOUND,
                message,
                "`tenantry tenants list` shows those that there are.",
            ));
        }
    }
}

/// All entries of a tenant's history between two positions: the API's object, as one page of all.
///
/// # Errors
/// Those of the server.
pub(super) async fn entries(
    client: &Client,
    id: TenantId,
    mut from: Option<u64>,
    to: Option<u64>,
) -> Result<Value, Failure> {
    let path = format!("/api/tenants/{id}/history");
    let mut all: Vec<Value> = Vec::new();
    loop {
        let mut query = Query::new();
        add(&mut query, "from_seq", from);
        add(&mut query, "to_seq", to);
        add(&mut query, "limit", Some(LARGEST_PAGE));
        let page = client.get(&path, &query).await?;
        all.extend_from_slice(list(&page, "history"));
        from = field(&page, "next_seq").as_u64();
        if from.is_none() {
            let head = field(&page, "head_seq").clone();
            return Ok(json!({"tenant_id": id, "history": all, "next_seq": null, "head_seq": head}));
        }
    }
}

/// Who did it, for a person.
pub(super) fn who(event: &Value) -> String {
    let actor = field(event, "actor");
    match field(actor, "name").as_str() {
        Some(name) => name.to_owned(),
        None => text(actor, "type"),
    }
}

/// A value of a change, short.
pub(super) fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    };
    if text.chars().count() <= SHOWN_CHARS {
        return text;
    }
    text.chars().take(SHOWN_CHARS - 3).chain("...".chars()).collect()
}

/// The changes as columns.
pub(super) fn changes_table(changes: &[Value]) -> Table {
    let mut table = Table::new(["FIELD", "FROM", "TO"]);
    for change in changes {
        table.row(vec![
            Cell::new(text(change, "field")),
            Cell::new(shown(field(change, "from"))),
            Cell::new(shown(field(change, "to"))),
        ]);
    }
    table
}

/// Prints what each event changed.
pub(super) fn history(args: &History) -> anyhow::Result<()> {
    let (client, screen) = (args.common.client()?, args.common.screen());
    let answer = block_on(async {
        let id = find_ever(&client, &args.tenant).await?;
        Ok(entries(&client, id, args.from_seq, args.to_seq).await?)
    })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&readable(list(&answer, "history"), args.all, &screen))?;
    }
    Ok(())
}

fn readable(entries: &[Value], all: bool, screen: &Screen) -> String {
    let mut out = String::new();
    for entry in entries {
        let changes = list(entry, "changes");
        if changes.is_empty() && !all {
            continue;
        }
        let (at, kind) = (moment(entry, "at"), text(entry, "kind"));
        let head = format!("{} {at} {} by {}", field(entry, "seq"), safe(&kind), safe(&who(entry)));
        out.push_str(&format!("{head}\n"));
        for change in changes {
            let [from, to] = ["from", "to"].map(|side| shown(field(change, side)));
            let name = screen.paint(faint(), &safe(&text(change, "field")));
            out.push_str(&format!("  {name}: {} -> {}\n", safe(&from), safe(&to)));
        }
    }
    out
}

/// Prints how a tenant differs between two moments.
pub(super) fn diff(args: &Diff) -> anyhow::Result<()> {
    let (client, screen) = (args.common.client()?, args.common.screen());
    let answer = block_on(async {
        let id = find_ever(&client, &args.tenant).await?;
        let mut query = Query::new();
        add(&mut query, "from", Some(&args.from));
        add(&mut query, "to", args.to.as_ref());
        Ok(client.get(&format!("/api/tenants/{id}/diff"), &query).await?)
    })?;
    if args.common.json {
        screen.print_json(&answer)?;
        return Ok(());
    }
    let changes = list(&answer, "changes");
    if changes.is_empty() {
        screen.print("nothing changed\n")?;
    } else {
        screen.print(&changes_table(changes).render(&screen))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_told_one_event_and_its_changes_at_a_time() {
        let entries = [
            json!({"seq": 7, "at": "2026-01-01T00:00:00.123Z", "kind": "tenant.updated",
                "actor": {"type": "user", "name": "ad\u{1b}min"},
                "changes": [{"field": "notes", "from": null, "to": "a\nb"}]}),
            json!({"seq": 8, "at": "2026-01-01T00:00:01.000Z", "kind": "health.changed",
                "actor": {"type": "system", "name": null}, "changes": []}),
        ];
        let told = readable(&entries, false, &Screen::plain());
        assert_eq!(told, "7 2026-01-01 00:00:00 tenant.updated by ad\\x1bmin\n  notes: - -> a b\n");
        let all = readable(&entries, true, &Screen::plain());
        assert!(all.ends_with("8 2026-01-01 00:00:01 health.changed by system\n"), "{all}");
        assert_eq!(shown(&json!("x".repeat(61))).chars().count(), SHOWN_CHARS);
    }
}
