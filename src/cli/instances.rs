//! `tenantry ps`, `spawn`, `stop`, `restart`, `weight`: instances of a running server.

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use tenantry_journal::name::{InstanceKey, ServiceName};

use super::client::{Client, Common, LARGEST_PAGE, Query, add, block_on, field, list, text};
use super::failure::Failure;
use super::safe_text::{safe, safe_lines};
use super::screen::{Screen, style_of};
use super::table::{Cell, Table};
use super::when::duration_ms;

/// The states of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Status {
    Starting,
    Running,
    Stopping,
    Stopped,
    Restarting,
    Failed,
}

/// The health of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Health {
    Unknown,
    Healthy,
    Unhealthy,
}

/// Which instances are meant.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filter {
    /// Only instances of this service.
    #[arg(long, value_name = "NAME")]
    service: Option<ServiceName>,
    /// Only instances in this state.
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only instances of this health.
    #[arg(long, value_enum)]
    health: Option<Health>,
}

/// What `ps` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Ps {
    #[command(flatten)]
    pub(super) filter: Filter,
    /// Print names alone, one a line.
    #[arg(short, long, conflicts_with = "json")]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What `spawn` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Spawn {
    /// The new instance, `service:id`.
    #[arg(id = "new_instance", value_name = "INSTANCE")]
    instance: InstanceKey,
    /// A variable of its environment, `NAME=VALUE`; may be repeated.
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// Print nothing when it went well.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

/// What a command about one or more instances is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Named {
    /// The instances, `service:id`.
    #[arg(required = true)]
    pub(super) instance: Vec<InstanceKey>,
    /// Print nothing when it went well.
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What `weight` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Weight {
    /// The instance, `service:id`.
    instance: InstanceKey,
    /// Its share of its service's traffic beside the others' weights; 0 gives it none.
    weight: u32,
    /// Print nothing when it went well.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

/// The path of an instance. Its name is checked, so nothing in it needs escaping.
pub(super) fn path(key: &InstanceKey) -> String {
    format!("/api/instances/{}/{}", key.service, key.id)
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

/// The name of a value as the API writes it.
fn word(value: impl ValueEnum) -> Option<String> {
    value.to_possible_value().map(|value| value.get_name().to_owned())
}

/// All instances that a filter lets through: the API's object, as one page of all.
///
/// # Errors
/// Those of the server.
pub(super) async fn all(client: &Client, filter: &Filter) -> Result<Value, Failure> {
    let mut instances: Vec<Value> = Vec::new();
    loop {
        let mut query = Query::new();
        add(&mut query, "service", filter.service.as_ref());
        add(&mut query, "status", filter.status.and_then(word));
        add(&mut query, "health", filter.health.and_then(word));
        add(&mut query, "limit", Some(LARGEST_PAGE));
        add(&mut query, "offset", Some(instances.len()));
        let page = client.get("/api/instances", &query).await?;
        let found = list(&page, "instances");
        instances.extend_from_slice(found);
        let has_more = field(field(&page, "pagination"), "has_more").as_bool() == Some(true);
        if !has_more || found.is_empty() {
            let total = instances.len();
            let pagination = json!({"limit": total, "offset": 0, "total": total, "has_more": false});
            return Ok(json!({"instances": instances, "pagination": pagination}));
        }
    }
}

/// Lists instances.
pub(super) fn ps(args: &Ps) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let answer = block_on(async { Ok(all(&client, &args.filter).await?) })?;
    let instances = list(&answer, "instances");
    if args.common.json {
        screen.print_json(&answer)?;
    } else if args.quiet {
        let names: String = instances.iter().map(|instance| text(instance, "instance") + "\n").collect();
        screen.print(&safe_lines(&names))?;
    } else {
        screen.print(&table(instances).render(&screen))?;
    }
    Ok(())
}

fn table(instances: &[Value]) -> Table {
    let mut table = Table::new(["INSTANCE", "STATUS", "HEALTH", "UPTIME", "RESTARTS", "SOCKET"]);
    for instance in instances {
        let (status, health) = (text(instance, "status"), text(instance, "health"));
        table.row(vec![
            Cell::new(text(instance, "instance")),
            Cell::new(&status).styled(style_of(&status)),
            Cell::new(&health).styled(style_of(&health)),
            Cell::new(duration_ms(instance, "uptime_ms")),
            Cell::new(text(instance, "restart_count")).right(),
            Cell::new(field(instance, "socket").as_str().unwrap_or("-")),
        ]);
    }
    table
}

/// Starts an instance and waits until it is healthy.
pub(super) fn spawn(args: &Spawn) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let env: serde_json::Map<String, Value> =
        args.env.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let InstanceKey { service, id } = &args.instance;
    let body = json!({"service": service, "id": id, "env": env});
    let answer = block_on(async { Ok(client.send(Method::POST, "/api/instances", Some(&body)).await?) })?;
    told(&screen, &args.common, args.quiet, &answer)
}

/// Stops instances, and waits until nothing of them is left.
pub(super) fn stop(args: &Named) -> anyhow::Result<()> {
    each(args, |client, key| Box::pin(async move { client.send(Method::DELETE, &path(key), None).await }))
}

/// Restarts instances; does not wait.
pub(super) fn restart(args: &Named) -> anyhow::Result<()> {
    each(args, |client, key| {
        Box::pin(async move { client.send(Method::POST, &format!("{}/restart", path(key)), None).await })
    })
}

/// Gives an instance its share of the traffic.
pub(super) fn weight(args: &Weight) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let path = format!("{}/weight", path(&args.instance));
    let body = json!({"weight": args.weight});
    let answer = block_on(async { Ok(client.send(Method::PUT, &path, Some(&body)).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else if !args.quiet {
        screen.print(&format!("{} weight {}\n", args.instance, args.weight))?;
    }
    Ok(())
}

/// What is done to one instance.
type Act =
    for<'a> fn(&'a Client, &'a InstanceKey) -> futures_util::future::BoxFuture<'a, Result<Value, Failure>>;

/// Does the same to each, also when it fails for one; the exit code is that of the last failure.
fn each(args: &Named, act: Act) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    block_on(async {
        let mut answers = Vec::new();
        let mut failed: Option<Failure> = None;
        for key in &args.instance {
            match act(&client, key).await {
                Ok(answer) if args.common.json => answers.push(answer),
                Ok(answer) => told(&screen, &args.common, args.quiet, &answer)?,
                Err(failure) => {
                    if let Some(earlier) = failed.replace(failure) {
                        super::report(&earlier.into());
                    }
                }
            }
        }
        match answers.as_slice() {
            [] => {}
            [one] if args.instance.len() == 1 => screen.print_json(one)?,
            several => screen.print_json(&several.into())?,
        }
        failed.map_or(Ok(()), |failure| Err(failure.into()))
    })
}

/// Prints the answer to a write: `instance status`.
fn told(screen: &Screen, common: &Common, quiet: bool, answer: &Value) -> anyhow::Result<()> {
    if common.json {
        screen.print_json(answer)?;
    } else if !quiet {
        let (name, status) = (text(answer, "instance"), text(answer, "status"));
        screen.print(&format!("{} {}\n", safe(&name), screen.paint(style_of(&status), &safe(&status))))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_list_becomes_a_table() {
        let instances = json!([
            {"instance": "api:user123", "service": "api", "id": "user123", "socket": "/tmp/api-user123.sock",
             "status": "running", "uptime_ms": 125_456, "health": "healthy", "restart_count": 0},
            {"instance": "backend:smith", "service": "backend", "id": "smith", "socket": null,
             "status": "failed", "uptime_ms": 0, "health": "unhealthy", "restart_count": 12},
        ]);
        let shown = table(instances.as_array().unwrap()).render(&Screen::plain());
        assert_eq!(
            shown,
            "INSTANCE       STATUS   HEALTH     UPTIME  RESTARTS  SOCKET\n\
             api:user123    running  healthy    2m 5s          0  /tmp/api-user123.sock\n\
             backend:smith  failed   unhealthy  0s            12  -\n"
        );
    }

    #[test]
    fn a_variable_may_hold_equals_signs() {
        assert_eq!(parse_variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(parse_variable("A="), Ok(("A".into(), String::new())));
        assert!(parse_variable("=x").is_err() && parse_variable("A").is_err());
    }
}
