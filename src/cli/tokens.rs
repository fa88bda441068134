//! `tenantry token`: API tokens for scripts and services.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use tenantry_journal::id::TokenId;
use tenantry_journal::name::ServiceName;

use super::client::{Common, LARGEST_PAGE, Query, add, block_on, field, list, text};
use super::safe_text::safe;
use super::table::{Cell, Table};
use super::tenants::find;
use super::when::moment;

/// What can be done with tokens.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token. Standard output gets the token and nothing else; it is not shown again.
    Create(Create),
    /// List tokens, without their text.
    List(List),
    /// End a token at once, with every stream that was opened with it.
    Revoke(Revoke),
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Admin,
    Operator,
    Viewer,
}

/// What `token create` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Create {
    /// What it is for.
    name: String,
    /// Days until it ends [default: never].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    expires_in_days: Option<u32>,
    /// What it may do [default: what you may].
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Limit it to a tenant, by id or slug.
    #[arg(long, value_name = "TENANT", conflicts_with = "service")]
    tenant: Option<String>,
    /// Limit it to the instances of a service.
    #[arg(long, value_name = "NAME")]
    service: Option<ServiceName>,
    #[command(flatten)]
    common: Common,
}

/// What `token list` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    common: Common,
}

/// What `token revoke` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Revoke {
    /// The token's id, from `tenantry token list`.
    id: TokenId,
    /// Print nothing when it went well.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

/// Does one of them.
pub(super) fn run(token: &Token) -> anyhow::Result<()> {
    match token {
        Token::Create(args) => create(args),
        Token::List(args) => show(args),
        Token::Revoke(args) => revoke(args),
    }
}

fn create(args: &Create) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let answer = block_on(async {
        let tenant = match &args.tenant {
            Some(tenant) => Some(find(&client, tenant).await?),
            None => None,
        };
        let role = args.role.and_then(|role| role.to_possible_value());
        let given = [
            ("name", Some(json!(args.name))),
            ("expires_in_days", args.expires_in_days.map(|days| json!(days))),
            ("role", role.map(|role| json!(role.get_name()))),
            ("tenant_id", tenant.map(|id| json!(id))),
            ("service", args.service.as_ref().map(|service| json!(service))),
        ];
        let body: serde_json::Map<String, Value> =
            given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Ok(client.send(Method::POST, "/api/tokens", Some(&body.into())).await?)
    })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&format!("{}\n", safe(&text(&answer, "token"))))?;
        let until = match field(&answer, "expires_at") {
            Value::Null => "does not expire".to_owned(),
            _ => format!("ends {}", moment(&answer, "expires_at")),
        };
        let (name, id) = (text(&answer, "name"), text(&answer, "id"));
        eprintln!("Token '{}' (id {}) {}; it is not shown again.", safe(&name), safe(&id), safe(&until));
    }
    Ok(())
}

fn show(args: &List) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let mut query = Query::new();
    add(&mut query, "limit", Some(LARGEST_PAGE));
    let answer = block_on(async { Ok(client.get("/api/tokens", &query).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&table(list(&answer, "tokens")).render(&screen))?;
    }
    Ok(())
}

fn revoke(args: &Revoke) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let path = format!("/api/tokens/{}", args.id);
    block_on(async { Ok(client.send(Method::DELETE, &path, None).await?) })?;
    if args.common.json {
        screen.print_json(&json!({"id": args.id, "status": "revoked"}))?;
    } else if !args.quiet {
        screen.print(&format!("{} revoked\n", args.id))?;
    }
    Ok(())
}

fn table(tokens: &[Value]) -> Table {
    let mut table = Table::new(["ID", "NAME", "ROLE", "SCOPE", "CREATED", "LAST USED", "EXPIRES"]);
    for token in tokens {
        table.row(vec![
            Cell::new(text(token, "id")),
            Cell::new(text(token, "name")),
            Cell::new(text(token, "role")),
            Cell::new(scope(field(token, "scope"))),
            Cell::new(moment(token, "created_at")),
            Cell::new(moment(token, "last_used")),
            Cell::new(moment(token, "expires_at")),
        ]);
    }
    table
}

/// `all`, or what it is limited to: `service api`.
fn scope(scope: &Value) -> String {
    match scope {
        Value::String(all) => all.clone(),
        Value::Object(limit) => limit
            .iter()
            .map(|(what, which)| format!("{what} {}", which.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(" "),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::Screen;

    #[test]
    fn the_printed_list_becomes_a_table() {
        let tokens = json!([{"id": "i1", "name": "CI/CD", "created_at": "2024-01-12T10:30:00Z",
            "last_used": "2024-01-12T10:31:00Z", "expires_at": null, "role": "viewer",
            "scope": {"service": "api"}}]);
        assert_eq!(
            table(tokens.as_array().unwrap()).render(&Screen::plain()),
            "ID  NAME   ROLE    SCOPE        CREATED              LAST USED            EXPIRES\n\
             i1  CI/CD  viewer  service api  2024-01-12 10:30:00  2024-01-12 10:31:00  -\n"
        );
        assert_eq!(scope(&json!("all")), "all");
    }
}
