//! `tenantry nginx`: sites, test and reload of the nginx before the tenants.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::client::{Common, Query, block_on, field, list, text};
use super::failure::NOT_VALID;
use super::safe_text::safe;
use super::table::{Cell, Table};

/// What can be done with nginx.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Nginx {
    /// Test the whole configuration. Exit code 3 when it is not valid.
    Test(Asked),
    /// Test the configuration, and have nginx take it on; refused when it is not valid.
    Reload(Asked),
    /// List every site that nginx could serve, those of others too.
    Configs(Asked),
}

/// What each of them is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Asked {
    #[command(flatten)]
    common: Common,
}

/// Does one of them.
pub(super) fn run(command: &Nginx) -> anyhow::Result<ExitCode> {
    match command {
        Nginx::Test(args) => test(&args.common),
        Nginx::Reload(args) => reload(&args.common),
        Nginx::Configs(args) => configs(&args.common),
    }
}

fn post(common: &Common, path: &str) -> anyhow::Result<Value> {
    let client = common.client()?;
    block_on(async { Ok(client.send(Method::POST, path, None).await?) })
}

fn test(common: &Common) -> anyhow::Result<ExitCode> {
    let screen = common.screen();
    let answer = post(common, "/api/nginx/test")?;
    if common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&printed(&answer))?;
    }
    let is_valid = field(&answer, "valid") == &Value::Bool(true);
    Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::from(NOT_VALID) })
}

/// What nginx printed, its lines kept apart and made harmless.
fn printed(answer: &Value) -> String {
    let output = text(answer, "output");
    output.lines().map(|line| format!("{}\n", safe(line))).collect()
}

fn reload(common: &Common) -> anyhow::Result<ExitCode> {
    let screen = common.screen();
    let answer = post(common, "/api/nginx/reload")?;
    if common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&format!("{}\n", safe(&text(&answer, "message"))))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn configs(common: &Common) -> anyhow::Result<ExitCode> {
    let screen = common.screen();
    let client = common.client()?;
    let answer = block_on(async { Ok(client.get("/api/nginx/configs", &Query::new()).await?) })?;
    if common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&table(list(&answer, "configs")).render(&screen))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(configs: &[Value]) -> Table {
    let mut table = Table::new(["DOMAIN", "TYPE", "ENABLED", "TENANT", "PATH"]);
    for config in configs {
        let tenant = match field(config, "managed") {
            Value::Bool(true) => text(config, "tenant_id"),
            _ => "not ours".to_owned(),
        };
        let enabled = if field(config, "enabled") == &Value::Bool(true) { "yes" } else { "no" };
        table.row(vec![
            Cell::new(text(config, "domain")),
            Cell::new(text(config, "type")),
            Cell::new(enabled),
            Cell::new(tenant),
            Cell::new(text(config, "path")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::screen::Screen;

    #[test]
    fn the_printed_list_becomes_a_table() {
        let configs = json!([
            {"domain": "k.example.com", "path": "/e/k", "type": "frontend", "tenant_id": "t1",
                "enabled": true, "managed": true},
            {"domain": "shop", "path": "/a/shop", "type": "frontend", "tenant_id": null,
                "enabled": false, "managed": false}]);
        assert_eq!(
            table(configs.as_array().unwrap()).render(&Screen::plain()),
            "DOMAIN         TYPE      ENABLED  TENANT    PATH\n\
             k.example.com  frontend  yes      t1        /e/k\n\
             shop           frontend  no       not ours  /a/shop\n"
        );
        assert_eq!(printed(&json!({"output": "a\nb\u{1b}[31m"})).lines().count(), 2);
    }
}
