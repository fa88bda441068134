//! `tenantry deployments`: one deployment and its log.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use tenantry_journal::id::DeploymentId;

use super::client::{Client, Common, Query, add, block_on, field, list, text};
use super::failure::{FAILED, Failure};
use super::outline::outline;
use super::safe_text::{safe, safe_lines};
use super::screen::{Screen, style_of};
use super::sse::Events;
use super::table::{Cell, Table};
use super::when::number;

/// What can be done with deployments.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Deployments {
    /// Show how far a deployment is.
    Show(Show),
    /// Print what its steps printed.
    Logs(Logs),
    /// Call a deployment off; what it did is taken back.
    Cancel(Show),
    /// Take a deployment up again at the step that did not succeed.
    Retry(Logs),
}

/// What `deployments show` and `deployments cancel` are asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Show {
    /// The deployment, by id.
    id: DeploymentId,
    #[command(flatten)]
    common: Common,
}

/// What `deployments logs` and `deployments retry` are asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Logs {
    /// The deployment, by id.
    id: DeploymentId,
    /// Go on until it is over; exit code 1 when it does not succeed.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    common: Common,
}

/// Does one of them.
pub(super) fn run(command: &Deployments) -> anyhow::Result<ExitCode> {
    match command {
        Deployments::Show(args) => show(args),
        Deployments::Logs(args) => logs(args),
        Deployments::Cancel(args) => cancel(args),
        Deployments::Retry(args) => retry(args),
    }
}

fn show(args: &Show) -> anyhow::Result<ExitCode> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let path = format!("/api/deployments/{}", args.id);
    let answer = block_on(async { Ok(client.get(&path, &Query::new()).await?) })?;
    print(&args.common, &screen, answer)
}

fn cancel(args: &Show) -> anyhow::Result<ExitCode> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let path = format!("/api/deployments/{}/cancel", args.id);
    let answer = block_on(async { Ok(client.send(Method::POST, &path, None).await?) })?;
    print(&args.common, &screen, answer)
}

fn retry(args: &Logs) -> anyhow::Result<ExitCode> {
    let client = args.common.client()?;
    let path = format!("/api/deployments/{}/retry", args.id);
    block_on(async {
        let answer = client.send(Method::POST, &path, None).await?;
        if args.follow {
            return follow(&client, &args.common, &args.id.to_string()).await;
        }
        let screen = args.common.screen();
        if args.common.json {
            screen.print_json(&answer)?;
        } else {
            screen.print(&outline(&answer, &screen))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn print(common: &Common, screen: &Screen, mut answer: Value) -> anyhow::Result<ExitCode> {
    if common.json {
        screen.print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let steps = steps(list(&answer, "steps")).render(screen);
    if let Some(object) = answer.as_object_mut() {
        object.remove("steps");
        // It has a command of its own.
        object.remove("logs");
    }
    screen.print(&format!("{}\n{steps}", outline(&answer, screen)))?;
    Ok(ExitCode::SUCCESS)
}

fn steps(steps: &[Value]) -> Table {
    let mut table = Table::new(["STEP", "STATUS", "SECONDS", "DETAIL"]);
    for step in steps {
        let status = text(step, "status");
        table.row(vec![
            Cell::new(text(step, "name")),
            Cell::new(&status).styled(style_of(&status)),
            Cell::new(number(step, "duration", 3)).right(),
            Cell::new(text(step, "detail")),
        ]);
    }
    table
}

fn logs(args: &Logs) -> anyhow::Result<ExitCode> {
    let client = args.common.client()?;
    if args.follow {
        return block_on(follow(&client, &args.common, &args.id.to_string()));
    }
    let screen = args.common.screen();
    let path = format!("/api/deployments/{}/logs", args.id);
    let answer = block_on(async { Ok(client.get(&path, &Query::new()).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        let log = safe_lines(&text(&answer, "logs"));
        let end = if log.is_empty() || log.ends_with('\n') { "" } else { "\n" };
        screen.print(&format!("{log}{end}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a deployment's log until it is over. A lost connection is taken up again: the stream
/// begins anew, and what was printed is left out.
pub(super) async fn follow(client: &Client, common: &Common, id: &str) -> anyhow::Result<ExitCode> {
    let screen = common.screen();
    let path = format!("/api/deployments/{id}/logs");
    let mut query = Query::new();
    add(&mut query, "stream", Some(true));
    let mut printed = 0;
    let mut events = Events::new(client.stream(&path, &query).await?);
    loop {
        let mut seen = 0;
        while let Some(message) = events.next().await? {
            if text(&message, "type") != "log" {
                return ended(&screen, common, &message);
            }
            seen += 1;
            if seen > printed {
                printed = seen;
                if common.json {
                    screen.print_json_line(&message)?;
                } else {
                    screen.print(&format!("{}\n", safe(&text(&message, "message"))))?;
                }
            }
        }
        events = Events::again(client, &path, &query).await?;
    }
}

fn ended(screen: &Screen, common: &Common, message: &Value) -> anyhow::Result<ExitCode> {
    let status = text(message, "status");
    if common.json {
        screen.print_json_line(message)?;
    } else {
        let seconds = number(message, "duration_seconds", 3);
        let status = screen.paint(style_of(&status), &safe(&status));
        screen.print(&format!("{status} after {seconds} s\n"))?;
    }
    if field(message, "status") == "success" {
        return Ok(ExitCode::SUCCESS);
    }
    let id = text(message, "deployment_id");
    let next = format!("`tenantry deployments show {}` says at which step.", safe(&id));
    Err(Failure::new(FAILED, format!("the deployment ended as {}", safe(&status)), next).into())
}
