//! `tenantry theme`: what tenants look like, and suggestions from their websites.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use tenantry_journal::id::{SuggestionId, TenantId};

use super::client::{Client, Common, Query, add, block_on, list, text};
use super::failure::{FAILED, Failure};
use super::outline::outline;
use super::safe_text::safe;
use super::table::{Cell, Table};
use super::tenants::find;

/// How often it is asked whether an analysis has ended.
const LOOK: Duration = Duration::from_millis(500);
/// How long that is done: a bit longer than the server lets one run.
const PATIENCE: Duration = Duration::from_secs(480);

/// What can be done with themes. A tenant is named by its id or its slug.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Themes {
    /// Show a tenant's theme.
    Show(Named),
    /// Have a website looked at for themes that suit its owner, and show the suggestions.
    Analyze(Analyze),
    /// Show what an analysis suggested.
    Suggestions(Suggestions),
    /// Give a tenant the colours of a suggestion.
    Apply(Apply),
}

/// What a command about one tenant is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Named {
    /// The tenant, by id or slug.
    tenant: String,
    #[command(flatten)]
    common: Common,
}

/// What `theme analyze` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Analyze {
    /// The tenant, by id or slug.
    tenant: String,
    /// The page to look at, with https:// or http://.
    #[arg(value_name = "URL")]
    website: String,
    /// Take no picture of the page.
    #[arg(long)]
    no_screenshot: bool,
    /// Only begin; `tenantry theme suggestions` shows what came of it.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    common: Common,
}

/// What `theme suggestions` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Suggestions {
    /// The tenant, by id or slug.
    tenant: String,
    /// Which analysis [default: the latest].
    #[arg(long, value_name = "ID")]
    analysis: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// What `theme apply` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Apply {
    /// The tenant, by id or slug.
    tenant: String,
    /// The suggestion: its id, or its number in the latest analysis.
    suggestion: String,
    #[command(flatten)]
    common: Common,
}

/// Does one of them.
pub(super) fn run(command: &Themes) -> anyhow::Result<ExitCode> {
    match command {
        Themes::Show(args) => show(args)?,
        Themes::Analyze(args) => return analyze(args),
        Themes::Suggestions(args) => {
            let client = args.common.client()?;
            let found = block_on(async {
                let id = find(&client, &args.tenant).await?;
                Ok(suggestions(&client, id, args.analysis.as_deref()).await?)
            })?;
            print_analysis(&args.common, &found)?;
        }
        Themes::Apply(args) => apply(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn suggestions(client: &Client, tenant: TenantId, analysis: Option<&str>) -> Result<Value, Failure> {
    let mut query = Query::new();
    add(&mut query, "analysis_id", analysis);
    client.get(&format!("/api/tenants/{tenant}/theme/suggestions"), &query).await
}

fn print(common: &Common, answer: &Value) -> anyhow::Result<()> {
    let screen = common.screen();
    if common.json {
        screen.print_json(answer)?;
    } else {
        screen.print(&outline(answer, &screen))?;
    }
    Ok(())
}

fn show(args: &Named) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let theme = block_on(async {
        let id = find(&client, &args.tenant).await?;
        Ok(client.get(&format!("/api/tenants/{id}/theme"), &Query::new()).await?)
    })?;
    print(&args.common, &theme)
}

fn table(analysis: &Value) -> Table {
    let mut table = Table::new(["NO", "PRIMARY", "SECONDARY", "ACCENT", "TEXT", "NAME", "ID"]);
    for one in list(analysis, "suggestions") {
        let fields = [
            "suggestion_number",
            "primary_color",
            "secondary_color",
            "accent_color",
            "text_color",
            "name",
            "id",
        ];
        table.row(fields.map(|field| Cell::new(text(one, field))).into());
    }
    table
}

fn print_analysis(common: &Common, analysis: &Value) -> anyhow::Result<()> {
    let screen = common.screen();
    if common.json {
        return Ok(screen.print_json(analysis)?);
    }
    let status = text(analysis, "status");
    match status.as_str() {
        "complete" => screen.print(&table(analysis).render(&screen))?,
        "failed" => screen.print(&format!("failed: {}\n", safe(&text(analysis, "error"))))?,
        _ => screen.print("The analysis is under way.\n")?,
    }
    for note in list(analysis, "notes").iter().filter_map(Value::as_str) {
        screen.print(&format!("note: {}\n", safe(note)))?;
    }
    Ok(())
}

fn analyze(args: &Analyze) -> anyhow::Result<ExitCode> {
    let client = args.common.client()?;
    let body = json!({"website_url": args.website, "capture_screenshot": !args.no_screenshot});
    block_on(async {
        let id = find(&client, &args.tenant).await?;
        let path = format!("/api/tenants/{id}/theme/analyze");
        let begun = client.send(Method::POST, &path, Some(&body)).await?;
        if args.no_wait {
            print(&args.common, &begun)?;
            return Ok(ExitCode::SUCCESS);
        }
        let analysis = text(&begun, "analysis_id");
        let end = tokio::time::Instant::now() + PATIENCE;
        let found = loop {
            let found = suggestions(&client, id, Some(&analysis)).await?;
            if text(&found, "status") != "processing" || tokio::time::Instant::now() > end {
                break found;
            }
            tokio::time::sleep(LOOK).await;
        };
        print_analysis(&args.common, &found)?;
        Ok(if text(&found, "status") == "complete" { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    })
}

fn apply(args: &Apply) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let answer = block_on(async {
        let id = find(&client, &args.tenant).await?;
        let chosen = match args.suggestion.parse::<SuggestionId>() {
            Ok(suggestion) => suggestion.to_string(),
            Err(_) => {
                let latest = suggestions(&client, id, None).await?;
                let found = list(&latest, "suggestions")
                    .iter()
                    .find(|one| text(one, "suggestion_number") == args.suggestion)
                    .map(|one| text(one, "id"));
                found.ok_or_else(|| {
                    let message =
                        format!("the latest analysis has no suggestion '{}'", safe(&args.suggestion));
                    Failure::new(FAILED, message, "`tenantry theme suggestions` shows those that there are.")
                })?
            }
        };
        let body = json!({"suggestion_id": chosen});
        Ok(client
            .send(Method::POST, &format!("/api/tenants/{id}/theme/apply-suggestion"), Some(&body))
            .await?)
    })?;
    print(&args.common, &answer)
}

#[cfg(test)]
mod tests {
    use super::super::screen::Screen;
    use super::*;

    #[test]
    fn the_printed_suggestions_become_a_table() {
        let analysis = json!({"suggestions": [{"id": "uuid", "suggestion_number": 1, "name": "Professional Blue & Gold",
            "primary_color": "#0e173e", "secondary_color": "#f1c613", "accent_color": "#f1c613", "text_color": "#1f2937"}]});
        let shown = table(&analysis).render(&Screen::plain());
        assert_eq!(
            shown.lines().nth(1).unwrap(),
            "1   #0e173e  #f1c613    #f1c613  #1f2937  Professional Blue & Gold  uuid"
        );
    }
}
