//! `tenantry config reload`: has a running server read its configuration again, and says what
//! that does.

use std::process::ExitCode;

use clap::Args;
use reqwest::StatusCode;
use serde_json::Value;

use super::client::{Common, block_on};
use super::failure::{Failure, NOT_VALID};
use super::safe_text::safe;

/// What `config reload` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Reload {
    /// Only tell what would change and which instances would restart.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Has a server read its configuration again, and prints what that does.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub(super) fn reload(asked: &Reload) -> anyhow::Result<ExitCode> {
    let screen = asked.common.screen();
    let client = asked.common.client()?;
    let path = format!("/api/config/reload?dry_run={}", asked.dry_run);
    let (status, body) =
        block_on(async { Ok(client.post_text(&path, "application/json", String::new()).await?) })?;
    let is_invalid = status == StatusCode::UNPROCESSABLE_ENTITY;
    if !status.is_success() && !is_invalid {
        return Err(Failure::answered(&client.address, status, &body).into());
    }
    if asked.common.json {
        screen.print_json(&body)?;
    } else if is_invalid {
        eprintln!("tenantry: the configuration is not valid, the old one stays");
        strings(body.get("errors")).for_each(|error| eprintln!("  {}", safe(error)));
    } else {
        let lines = if asked.dry_run { would_do(&body) } else { did(&body) };
        screen.print(&lines.iter().map(|line| format!("{}\n", safe(line))).collect::<String>())?;
    }
    Ok(if is_invalid { ExitCode::from(NOT_VALID) } else { ExitCode::SUCCESS })
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
