//! `tenantry metrics` and `top`: what instances use, once or again and again.

use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tenantry_journal::name::InstanceKey;
use tokio::time::sleep;

use super::client::{Client, Common, Query, block_on, field, list, text};
use super::failure::{Failure, NOT_FOUND};
use super::instances::{self, Filter};
use super::outline::outline;
use super::screen::style_of;
use super::table::{Cell, Table};
use super::when::{duration_ms, number};

/// Instances that are asked about at once.
const AT_ONCE: usize = 8;
/// Requests a minute that `top` makes at most: half of the usual limit of the API.
const REQUESTS_A_MINUTE: u64 = 500;
/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// What `metrics` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Metrics {
    /// The instance, `service:id`.
    instance: InstanceKey,
    #[command(flatten)]
    common: Common,
}

/// What `top` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Top {
    #[command(flatten)]
    filter: Filter,
    /// Print it once and end; so it is without a terminal.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks; more when so many instances would ask too much of the server.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// How many instances are shown, those that use most of the processor first.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    #[command(flatten)]
    common: Common,
}

/// Prints what one instance uses.
pub(super) fn run(args: &Metrics) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let answer = block_on(async { Ok(client.get(&path(&args.instance.to_string()), &Query::new()).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&outline(&answer, &screen))?;
    }
    Ok(())
}

/// The path of an instance's metrics. A name that the server gave is checked before.
fn path(name: &str) -> String {
    format!("/api/metrics/{}", name.replacen(':', "/", 1))
}

/// Prints what all instances use, until it is ended.
pub(super) fn top(args: &Top) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let is_once = args.once || !screen.is_terminal;
    block_on(async {
        loop {
            let instances = look(&client, &args.filter).await?;
            if args.common.json {
                let document = json!({ "instances": instances });
                if is_once { screen.print_json(&document)? } else { screen.print_json_line(&document)? }
            } else {
                let table = table(&instances, args.limit.into()).render(&screen);
                screen.print(&if is_once { table } else { format!("{CLEAR}{table}") })?;
            }
            if is_once {
                return Ok(());
            }
            sleep(pause(args.interval, instances.len())).await;
        }
    })
}

/// Time until the next look.
fn pause(seconds: u64, instances: usize) -> Duration {
    let requests = instances as u64 + 1;
    Duration::from_secs(seconds.max((requests * 60).div_ceil(REQUESTS_A_MINUTE)))
}

/// Each instance as the API gives it, with its metrics beside.
async fn look(client: &Client, filter: &Filter) -> Result<Vec<Value>, Failure> {
    let answer = instances::all(client, filter).await?;
    let all = list(&answer, "instances").to_vec();
    stream::iter(all)
        .map(|mut instance| async move {
            let metrics = match text(&instance, "instance").parse::<InstanceKey>() {
                Ok(key) => match client.get(&path(&key.to_string()), &Query::new()).await {
                    // Gone between the two questions.
                    Err(failure) if failure.code == NOT_FOUND => Value::Null,
                    answer => answer?,
                },
                Err(_) => Value::Null,
            };
            if let Some(object) = instance.as_object_mut() {
                object.insert("metrics".to_owned(), metrics);
            }
            Ok(instance)
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

fn table(instances: &[Value], limit: usize) -> Table {
    let mut table =
        Table::new(["INSTANCE", "STATUS", "HEALTH", "CPU %", "MEMORY MB", "REQ/S", "ERR %", "UPTIME"]);
    let cpu = |instance: &Value| field(field(instance, "metrics"), "cpu_percent").as_f64().unwrap_or(-1.0);
    let mut sorted: Vec<&Value> = instances.iter().collect();
    sorted.sort_by(|one, other| cpu(other).total_cmp(&cpu(one)));
    for instance in sorted.into_iter().take(limit) {
        let metrics = field(instance, "metrics");
        let (status, health) = (text(instance, "status"), text(instance, "health"));
        table.row(vec![
            Cell::new(text(instance, "instance")),
            Cell::new(&status).styled(style_of(&status)),
            Cell::new(&health).styled(style_of(&health)),
            Cell::new(number(metrics, "cpu_percent", 1)).right(),
            Cell::new(number(metrics, "memory_mb", 1)).right(),
            Cell::new(number(metrics, "requests_per_second", 1)).right(),
            Cell::new(number(metrics, "error_rate", 2)).right(),
            Cell::new(duration_ms(instance, "uptime_ms")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::Screen;

    #[test]
    fn the_printed_metrics_become_a_row_the_busiest_first() {
        let metrics = json!({"instance": "api:user123", "uptime_seconds": 125.456, "memory_mb": 120.5,
            "cpu_percent": 12.3, "requests_total": 1523, "requests_per_second": 12.2, "errors_total": 2,
            "error_rate": 0.13, "health_checks": {"total": 12, "passed": 12, "failed": 0}});
        let instance = |name: &str, metrics: &Value| {
            json!({"instance": name, "status": "running", "health": "healthy", "uptime_ms": 125_456,
                "metrics": metrics})
        };
        let all = [instance("api:gone", &Value::Null), instance("api:user123", &metrics)];
        assert_eq!(
            table(&all, 20).render(&Screen::plain()),
            "INSTANCE     STATUS   HEALTH   CPU %  MEMORY MB  REQ/S  ERR %  UPTIME\n\
             api:user123  running  healthy   12.3      120.5   12.2   0.13  2m 5s\n\
             api:gone     running  healthy      -          -      -      -  2m 5s\n"
        );
        assert!(!table(&all, 1).render(&Screen::plain()).contains("gone"));
        assert_eq!(path("api:user123"), "/api/metrics/api/user123");
    }

    #[test]
    fn many_instances_are_asked_about_less_often() {
        assert_eq!(pause(2, 3), Duration::from_secs(2));
        assert_eq!(pause(2, 499), Duration::from_secs(60));
    }
}
