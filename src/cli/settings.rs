//! `tenantry settings`: settings of the control plane that are changed while it runs.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Common, Query, block_on, field, list, text};
use super::failure::{Failure, NOT_FOUND};
use super::login::secret;
use super::safe_text::safe;
use super::table::{Cell, Table};
use super::when::moment;

/// What can be done with settings.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Settings {
    /// List all settings; values of secrets are hidden.
    List(List),
    /// Print the value of a setting.
    Get(Get),
    /// Change a setting. It takes effect at once.
    Set(Set),
    /// Let a setting be again what the configuration file says, or the default.
    Unset(Get),
}

/// What `settings list` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    common: Common,
}

/// What a command about one setting is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Get {
    /// Its name.
    key: String,
    #[command(flatten)]
    common: Common,
}

/// What `settings set` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Set {
    /// Its name.
    key: String,
    /// Its value. Without it, it is asked for without echo, or read from standard input: for secrets,
    /// because everybody on this machine sees the list of processes.
    value: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Does one of them.
pub(super) fn run(settings: &Settings) -> anyhow::Result<()> {
    match settings {
        Settings::List(args) => show(args),
        Settings::Get(args) => get(args),
        Settings::Set(args) => {
            let value = match &args.value {
                Some(value) => value.clone(),
                None => secret(&format!("{}: ", safe(&args.key)))?,
            };
            put(&args.common, &args.key, &json!(value))
        }
        Settings::Unset(args) => put(&args.common, &args.key, &Value::Null),
    }
}

fn show(args: &List) -> anyhow::Result<()> {
    let (screen, client) = (args.common.screen(), args.common.client()?);
    let answer = block_on(async { Ok(client.get("/api/settings", &Query::new()).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&table(list(&answer, "settings")).render(&screen))?;
    }
    Ok(())
}

/// One of the settings. Asked for by a list, because what was typed may be no part of a path.
async fn find(client: &Client, key: &str) -> Result<Value, Failure> {
    let answer = client.get("/api/settings", &Query::new()).await?;
    let found = list(&answer, "settings").iter().find(|setting| text(setting, "key") == key).cloned();
    found.ok_or_else(|| {
        let message = format!("there is no setting '{}'", safe(key));
        Failure::new(NOT_FOUND, message, "`tenantry settings list` shows those that there are.")
    })
}

fn get(args: &Get) -> anyhow::Result<()> {
    let (screen, client) = (args.common.screen(), args.common.client()?);
    let answer = block_on(async { Ok(find(&client, &args.key).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&format!("{}\n", safe(&text(&answer, "value"))))?;
    }
    Ok(())
}

fn put(common: &Common, key: &str, value: &Value) -> anyhow::Result<()> {
    let (screen, client) = (common.screen(), common.client()?);
    let answer = block_on(async {
        find(&client, key).await?;
        let path = format!("/api/settings/{key}");
        Ok(client.send(Method::PUT, &path, Some(&json!({"value": value}))).await?)
    })?;
    if common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&format!("{} = {}\n", safe(key), safe(&shown(&answer))))?;
    }
    Ok(())
}

fn shown(setting: &Value) -> String {
    if field(setting, "value").is_null() { "-".to_owned() } else { text(setting, "value") }
}

fn table(settings: &[Value]) -> Table {
    let mut table = Table::new(["KEY", "VALUE", "SET", "DESCRIPTION"]);
    for setting in settings {
        table.row(vec![
            Cell::new(text(setting, "key")),
            Cell::new(shown(setting)),
            Cell::new(moment(setting, "updated_at")),
            Cell::new(text(setting, "description")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::Screen;

    #[test]
    fn the_printed_list_becomes_a_table() {
        let settings = json!([
            {"key": "anthropic_api_key", "value": "***hidden***", "description": "Key", "is_secret": true,
                "updated_at": "2025-11-14T10:00:00Z"},
            {"key": "acme_contact", "value": null, "description": "Mail"}]);
        assert_eq!(
            table(settings.as_array().unwrap()).render(&Screen::plain()),
            "KEY                VALUE         SET                  DESCRIPTION\n\
             anthropic_api_key  ***hidden***  2025-11-14 10:00:00  Key\n\
             acme_contact       -             -                    Mail\n"
        );
    }
}
