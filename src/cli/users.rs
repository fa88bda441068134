//! `tenantry users`: who may log in, and what they may do.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tenantry_journal::id::UserId;

use super::client::{Client, Common, LARGEST_PAGE, Query, add, block_on, field, list, text};
use super::failure::{Failure, NOT_FOUND};
use super::login::{secret, secrets};
use super::safe_text::safe;
use super::screen::style_of;
use super::table::{Cell, Table};
use super::tenants::{self, print};
use super::when::moment;

/// What can be done with users. A user is named by their id or their login name.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Users {
    /// List users.
    List(List),
    /// Show a user.
    Show(Named),
    /// Let a person log in. Their password is asked for, or is the first line of standard input.
    Create(Create),
    /// Change a user's mail address, role or limits, or keep them out.
    Update(Update),
    /// Change a password: another's as an administrator, or your own with the one that holds.
    ///
    /// Passwords are asked for, or are lines of standard input: with --own first the one that holds.
    /// Every login of the user ends.
    Password(Password),
    /// Take a user away.
    Delete(Named),
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Admin,
    Operator,
    Viewer,
}

impl Role {
    fn json(self) -> Value {
        json!(format!("{self:?}").to_lowercase())
    }
}

/// What `users list` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    common: Common,
}

/// What a command about one user is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Named {
    /// The user, by id or login name.
    user: String,
    #[command(flatten)]
    common: Common,
}

/// What `users create` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Create {
    /// The login name.
    username: String,
    /// The mail address.
    #[arg(long)]
    email: String,
    /// What they may do.
    #[arg(long, value_enum)]
    role: Role,
    /// Limit them to a tenant, by id or slug; for several, say it again.
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// What `users update` is asked.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true, id = "changes", args = [
    "email", "role", "tenant", "all_tenants", "disable", "enable",
])]
pub(super) struct Update {
    /// The user, by id or login name.
    user: String,
    /// The mail address.
    #[arg(long)]
    email: Option<String>,
    /// What they may do.
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Limit them to a tenant, by id or slug; for several, say it again.
    #[arg(long, value_name = "TENANT", conflicts_with = "all_tenants")]
    tenant: Vec<String>,
    /// Limit them no more.
    #[arg(long)]
    all_tenants: bool,
    /// Keep them out; their logins end at once.
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Let them log in again.
    #[arg(long)]
    enable: bool,
    #[command(flatten)]
    common: Common,
}

/// What `users password` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Password {
    /// The user, by id or login name.
    #[arg(required_unless_present = "own", conflicts_with = "own")]
    user: Option<String>,
    /// It is you: the password that holds is asked for first.
    #[arg(long)]
    own: bool,
    #[command(flatten)]
    common: Common,
}

/// Does one of them.
pub(super) fn run(users: &Users) -> anyhow::Result<()> {
    match users {
        Users::List(args) => show_list(args),
        Users::Show(args) => act(args, Method::GET),
        Users::Create(args) => create(args),
        Users::Update(args) => update(args),
        Users::Password(args) => password(args),
        Users::Delete(args) => act(args, Method::DELETE),
    }
}

async fn all(client: &Client) -> Result<Value, Failure> {
    let mut users: Vec<Value> = Vec::new();
    loop {
        let mut query = Query::new();
        add(&mut query, "limit", Some(LARGEST_PAGE));
        add(&mut query, "offset", Some(users.len()));
        let page = client.get("/api/users", &query).await?;
        let found = list(&page, "users");
        users.extend_from_slice(found);
        if found.len() < LARGEST_PAGE {
            let total = users.len();
            return Ok(json!({"users": users, "total": total, "limit": total, "offset": 0}));
        }
    }
}

/// A user by their id or their login name.
async fn find(client: &Client, named: &str) -> Result<UserId, Failure> {
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    let users = all(client).await?;
    let found = list(&users, "users").iter().find(|user| text(user, "username") == named);
    found.and_then(|user| text(user, "id").parse().ok()).ok_or_else(|| {
        let message = format!("there is no user '{}'", safe(named));
        Failure::new(NOT_FOUND, message, "`tenantry users list` shows those that there are.")
    })
}

fn show_list(args: &List) -> anyhow::Result<()> {
    let (screen, client) = (args.common.screen(), args.common.client()?);
    let answer = block_on(async { Ok(all(&client).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&table(list(&answer, "users")).render(&screen))?;
    }
    Ok(())
}

fn table(users: &[Value]) -> Table {
    let mut table = Table::new(["USERNAME", "ROLE", "STATUS", "TENANTS", "EMAIL", "CREATED", "ID"]);
    for user in users {
        let status = if field(user, "disabled") == &Value::Bool(true) { "disabled" } else { "active" };
        let tenants = match field(user, "tenant_ids").as_array() {
            None => "all".to_owned(),
            Some(ids) => ids.len().to_string(),
        };
        table.row(vec![
            Cell::new(text(user, "username")),
            Cell::new(text(user, "role")),
            Cell::new(status).styled(style_of(status)),
            Cell::new(tenants),
            Cell::new(text(user, "email")),
            Cell::new(moment(user, "created_at")),
            Cell::new(text(user, "id")),
        ]);
    }
    table
}

fn act(args: &Named, method: Method) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let answer = block_on(async {
        let id = find(&client, &args.user).await?;
        Ok(client.send(method, &format!("/api/users/{id}"), None).await?)
    })?;
    print(&args.common, &answer)
}

async fn tenant_ids(client: &Client, named: &[String]) -> Result<Option<Value>, Failure> {
    let mut ids = Vec::new();
    for tenant in named {
        ids.push(json!(tenants::find(client, tenant).await?));
    }
    Ok((!ids.is_empty()).then_some(Value::Array(ids)))
}

fn create(args: &Create) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let password = secret("Password: ")?;
    let answer = block_on(async {
        let mut body = json!({"username": args.username, "email": args.email, "role": args.role.json(),
            "password": password});
        if let (Some(ids), Some(body)) = (tenant_ids(&client, &args.tenant).await?, body.as_object_mut()) {
            body.insert("tenant_ids".to_owned(), ids);
        }
        Ok(client.send(Method::POST, "/api/users", Some(&body)).await?)
    })?;
    print(&args.common, &answer)
}

fn update(args: &Update) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let answer = block_on(async {
        let id = find(&client, &args.user).await?;
        let limits = tenant_ids(&client, &args.tenant).await?.or(args.all_tenants.then_some(Value::Null));
        let fields = [
            ("email", args.email.as_ref().map(|email| json!(email))),
            ("role", args.role.map(Role::json)),
            ("tenant_ids", limits),
            ("disabled", (args.disable || args.enable).then_some(json!(args.disable))),
        ];
        let body: Map<String, Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Ok(client.send(Method::PUT, &format!("/api/users/{id}"), Some(&body.into())).await?)
    })?;
    print(&args.common, &answer)
}

fn password(args: &Password) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let body = if args.own {
        let typed = secrets(&["Current password: ", "New password: "])?;
        json!({"current_password": typed.first(), "password": typed.last()})
    } else {
        json!({"password": secret("New password: ")?})
    };
    let answer = block_on(async {
        let id = match &args.user {
            Some(user) => find(&client, user).await?.to_string(),
            None => text(&client.get("/api/users/me", &Query::new()).await?, "id"),
        };
        Ok(client.send(Method::PUT, &format!("/api/users/{id}/password"), Some(&body)).await?)
    })?;
    print(&args.common, &answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::Screen;

    #[test]
    fn users_become_a_table() {
        let users = json!([{"id": "uuid", "username": "olga", "email": "o@h", "role": "operator",
            "tenant_ids": ["a", "b"], "disabled": true, "created_at": "2025-11-13T12:00:00Z"}]);
        assert_eq!(
            table(users.as_array().unwrap()).render(&Screen::plain()).lines().nth(1).unwrap(),
            "olga      operator  disabled  2        o@h    2025-11-13 12:00:00  uuid"
        );
    }
}
