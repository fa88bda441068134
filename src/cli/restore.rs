//! `tenantry restore` and `tenantry undo`: back to what was, tried out first when wished.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Client, Common, block_on, field, list, text};
use super::failure::{FAILED, Failure};
use super::history::{changes_table, find_ever, shown};
use super::safe_text::safe;
use super::screen::{Screen, bad, doubtful, good};
use super::table::{Cell, Table};

/// Parts of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Details,
    Config,
    Theme,
    Ports,
    Release,
}

/// What `restore` is asked.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A point is a seq (1042), a time (2026-01-31T12:00:00Z), a distance ('5m ago') or a time of \
    day in UTC\n('yesterday 14:00'). The content of the database is never rewound.\n\n  \
    tenantry restore smith --as-of '1h ago' --dry-run"
)]
pub(super) struct Restore {
    /// The tenant, by id or slug; also one that is deleted.
    tenant: String,
    /// The moment.
    #[arg(long, value_name = "POINT")]
    as_of: String,
    /// Only these parts [default: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    include: Vec<Part>,
    /// Show what would change, and change nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Take other names and ports where somebody else holds them by now, instead of being refused.
    #[arg(long)]
    reassign: bool,
    #[command(flatten)]
    common: Common,
}

/// What `undo` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Undo {
    /// The position of an event of the command.
    seq: u64,
    /// Show what would be recorded, and record nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

fn body(args: &Restore) -> Value {
    let named = args.include.iter().filter_map(ValueEnum::to_possible_value);
    let include: Vec<String> = named.map(|part| part.get_name().to_owned()).collect();
    json!({
        "as_of": args.as_of,
        "dry_run": args.dry_run,
        "include": (!include.is_empty()).then_some(include),
        "on_conflict": if args.reassign { "reassign" } else { "fail" },
    })
}

/// Restores a tenant. Exit code 1 when it is refused, or not as it was in the end.
pub(super) fn restore(args: &Restore) -> anyhow::Result<ExitCode> {
    let (client, screen) = (args.common.client()?, args.common.screen());
    let (status, answer) = block_on(async {
        let id = find_ever(&client, &args.tenant).await?;
        Ok(client.post_json(&format!("/api/tenants/{id}/restore"), &body(args)).await?)
    })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else if status.is_success() {
        screen.print(&readable(&answer, args.dry_run, &screen))?;
    } else if status == StatusCode::CONFLICT {
        screen.print(&conflicts(&answer, "TAKEN WITH --reassign").render(&screen))?;
    }
    if !status.is_success() {
        return Err(Failure::answered(&client.address, status, &answer).into());
    }
    if !args.dry_run && field(&answer, "complete") == false {
        let id = text(&answer, "tenant_id");
        return Err(Failure::new(
            FAILED,
            "it is recorded, and the tenant is not as it was yet",
            format!("`tenantry tenants show {}` says how it is; what failed is tried again.", safe(&id)),
        )
        .into());
    }
    Ok(ExitCode::SUCCESS)
}

fn conflicts(answer: &Value, instead: &str) -> Table {
    let mut table = Table::new(["FIELD", "WANTED", "HELD BY", instead]);
    for conflict in list(answer, "conflicts") {
        table.row(vec![
            Cell::new(text(conflict, "field")),
            Cell::new(shown(field(conflict, "wanted"))),
            Cell::new(shown(field(conflict, "held_by"))).styled(bad()),
            Cell::new(shown(field(conflict, "resolution"))),
        ]);
    }
    table
}

fn readable(answer: &Value, dry_run: bool, screen: &Screen) -> String {
    let changes = list(answer, "changes");
    let mut out = String::new();
    if changes.is_empty() {
        out.push_str("nothing changes\n");
    } else {
        out.push_str(&changes_table(changes).render(screen));
    }
    if !list(answer, "conflicts").is_empty() {
        out.push('\n');
        out.push_str(&conflicts(answer, "TAKEN INSTEAD").render(screen));
    }
    for lack in list(answer, "not_restored") {
        let note = format!("not restored: {}: {}", text(lack, "field"), text(lack, "reason"));
        out.push_str(&format!("{}\n", screen.paint(doubtful(), &safe(&note))));
    }
    let to = field(answer, "restored_to_seq");
    let end = if dry_run {
        format!("would be restored to event {to}; nothing is recorded")
    } else {
        format!("restored to event {to}")
    };
    out.push_str(&format!("{}\n", screen.paint(good(), &end)));
    out
}

/// Takes a command back.
pub(super) fn undo(args: &Undo) -> anyhow::Result<()> {
    let (client, screen) = (args.common.client()?, args.common.screen());
    let answer = block_on(async { Ok(take_back(&client, args).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
        return Ok(());
    }
    let mut table = Table::new(["SEQ", "EVENT"]);
    for event in list(&answer, "events") {
        table.row(vec![Cell::new(text(event, "seq")).right(), Cell::new(text(event, "kind"))]);
    }
    let end = match (args.dry_run, list(&answer, "events").is_empty()) {
        (_, true) => "it is as it was before already".to_owned(),
        (true, false) => "would be recorded; nothing is".to_owned(),
        (false, false) => format!("event {} is taken back", args.seq),
    };
    screen.print(&format!("{}{end}\n", table.render(&screen)))?;
    Ok(())
}

async fn take_back(client: &Client, args: &Undo) -> Result<Value, Failure> {
    let query = if args.dry_run { "?dry_run=true" } else { "" };
    client.send(Method::POST, &format!("/api/events/{}/undo{query}", args.seq), None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_is_told_with_its_changes_its_conflicts_and_what_is_lost() {
        let answer = json!({"restored_to_seq": 7,
            "changes": [{"field": "notes", "from": "a", "to": null}],
            "conflicts": [{"field": "slug", "wanted": "x", "held_by": null, "resolution": "x-2"}],
            "not_restored": [{"field": "files", "reason": "gone\u{1b}"}]});
        let told = readable(&answer, true, &Screen::plain());
        assert!(told.starts_with("FIELD  FROM  TO\nnotes  a     -\n"), "{told}");
        assert!(told.contains("slug   x       -        x-2"), "{told}");
        assert!(told.contains("not restored: files: gone\\x1b\nwould be restored to event 7;"), "{told}");
    }
}
