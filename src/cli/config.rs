//! `tenantry config`: says what is wrong with a file and what is doubtful, and has a running
//! server read its own again.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use super::REFUSED;
use crate::config::{Config, Overrides};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `config reload` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct Reload {
    /// Only say what it would do.
    #[arg(long)]
    dry_run: bool,
    /// The server's address.
    #[arg(long, value_name = "URL", env = "TENANTRY_SERVER", default_value = "http://127.0.0.1:32201")]
    server: String,
    /// An API token of an administrator, or what a login gave.
    #[arg(long, value_name = "TOKEN", env = "TENANTRY_TOKEN", hide_env_values = true)]
    token: String,
    /// The server's answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Checks a file; what the environment says counts, as it would for `serve`.
pub(super) fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(Some(file), &Overrides::from_process()?)?;
    for warning in config.warnings.iter().chain(&config.taken(&[])) {
        println!("warning: {warning}");
    }
    let services: Vec<&str> = config.services.keys().map(|name| name.as_str()).collect();
    println!("{} is valid", file.display());
    println!("  data directory  {}", config.data_dir.display());
    println!("  listeners       {} (tenants), {} (instances)", config.manager, config.instances);
    println!("  tenants' ports  {} to {}, step {}", config.ports.first, config.ports.last, config.ports.step);
    println!(
        "  services        {}",
        if services.is_empty() { "none".to_owned() } else { services.join(", ") }
    );
    Ok(ExitCode::SUCCESS)
}

/// Has a server read its configuration again, and prints what that does.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub(super) fn reload(asked: &Reload) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(ask(asked))?;
    if asked.json {
        println!("{body}");
    }
    if status == 422 {
        if !asked.json {
            eprintln!("tenantry: the configuration is not valid, the old one stays");
            strings(body.get("errors")).for_each(|error| eprintln!("  {}", plain(error)));
        }
        return Ok(ExitCode::from(REFUSED));
    }
    if status != 200 {
        let said = body.get("message").or(body.get("error")).and_then(Value::as_str);
        bail!("the server refuses ({status}): {}", plain(said.unwrap_or("no reason given")));
    }
    if !asked.json {
        let mut out = std::io::stdout().lock();
        for line in if asked.dry_run { would_do(&body) } else { did(&body) } {
            writeln!(out, "{}", plain(&line))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(asked: &Reload) -> anyhow::Result<(u16, Value)> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let url = format!("{}/api/config/reload?dry_run={}", asked.server.trim_end_matches('/'), asked.dry_run);
    let response = client.post(url).bearer_auth(&asked.token).send().await;
    let response = response.context("the server cannot be reached")?;
    let status = response.status().as_u16();
    Ok((status, response.json().await.unwrap_or_default()))
}

/// What was done, in lines.
fn did(body: &Value) -> Vec<String> {
    let mut lines: Vec<String> =
        strings(body.get("warnings")).map(|warning| format!("warning: {warning}")).collect();
    lines.extend(told(
        strings(body.get("changed")),
        strings(body.get("needs_restart")),
        strings(body.get("respecified")),
        strings(body.get("restarted")),
    ));
    lines
}

/// What would be done, from the events that would be recorded.
fn would_do(body: &Value) -> Vec<String> {
    let events = || body.get("events").and_then(Value::as_array).into_iter().flatten();
    let of = |kind: &'static str| {
        events().filter(move |event| event.get("kind").and_then(Value::as_str) == Some(kind))
    };
    let names = |kind| of(kind).filter_map(|event| event.get("instance").and_then(Value::as_str));
    let listed = |field: &'static str| {
        of("config.changed")
            .flat_map(move |event| strings(event.get("data").and_then(|data| data.get(field))))
    };
    told(
        listed("changed"),
        listed("needs_restart"),
        names("instance.respecified"),
        names("instance.restart_requested"),
    )
}

fn told<'a>(
    changed: impl Iterator<Item = &'a str>,
    needs_restart: impl Iterator<Item = &'a str>,
    respecified: impl Iterator<Item = &'a str>,
    restarted: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let restarted: Vec<&str> = restarted.collect();
    let watched = respecified.filter(|name| !restarted.contains(name)).collect::<Vec<_>>();
    let lists = [
        ("changed", changed.collect::<Vec<_>>()),
        ("counts after the next start of the program", needs_restart.collect()),
        ("watched in another way", watched),
        ("restarted", restarted.clone()),
    ];
    if lists.iter().all(|(_, names)| names.is_empty()) {
        return vec!["nothing changed".into()];
    }
    let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
    lists.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect()
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Control characters could command the terminal, so they are escaped.
fn plain(text: &str) -> String {
    let harmless = |c: char| if c.is_control() { c.escape_default().collect() } else { vec![c] };
    text.chars().flat_map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dry_run_reads_as_what_is_done_after() {
        let events = json!({"events": [
            {"kind": "config.changed", "data": {"changed": ["service.api.env.A"], "needs_restart": []}},
            {"kind": "instance.respecified", "instance": "api:a"},
            {"kind": "instance.restart_requested", "instance": "api:a"},
            {"kind": "instance.respecified", "instance": "api:b"},
        ]});
        let done = json!({"changed": ["service.api.env.A"], "needs_restart": [], "warnings": [],
            "respecified": ["api:a", "api:b"], "restarted": ["api:a"]});
        let lines = ["changed: service.api.env.A", "watched in another way: api:b", "restarted: api:a"];
        assert_eq!(would_do(&events), lines);
        assert_eq!(did(&done), lines);
        assert_eq!(would_do(&json!({"events": []})), ["nothing changed"]);
    }
}
