//! `tenantry tenants`: document 1's tenants, as a thin client.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use tenantry_journal::id::TenantId;
use tenantry_journal::name::{Domain, Slug};

use super::client::{Client, Common, LARGEST_PAGE, Query, add, block_on, list, text};
use super::deployments;
use super::failure::{Failure, NOT_FOUND};
use super::outline::outline;
use super::safe_text::safe;
use super::screen::{Screen, style_of};
use super::table::{Cell, Table};
use super::tenant_config::{self, Config};
use super::tenant_delete::{self, Delete};
use super::tenant_look::{self, Health, Logs, Open};
use super::when::moment;

/// As many digits of a commit id as git itself shows of a large repository.
const SHOWN_COMMIT: usize = 12;

/// What can be done with tenants. A tenant is named by its id or its slug.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Tenants {
    /// List tenants.
    List(List),
    /// Show a tenant.
    Show(Named),
    /// Create a tenant.
    Create(Create),
    /// Change what a tenant is called, where it is served and what is deployed.
    Update(Update),
    /// Show a tenant's configuration, or change it.
    ///
    /// Its processes get another configuration the next time they start.
    Config(Config),
    /// Write a tenant's `.env` file anew; the one before is kept beside it.
    RegenerateEnv(Named),
    /// Deploy a tenant; the deployment runs on when nobody watches.
    Deploy(Deploy),
    /// Bring an earlier release back into service.
    Rollback(Rollback),
    /// List the releases that can be gone back to, the newest first.
    Releases(Named),
    /// Print where a tenant is reached, and open it in a browser when there is one to show it.
    Open(Open),
    /// Print what a tenant's frontend or backend printed.
    Logs(Logs),
    /// Check a tenant now; exit code 1 when it is not healthy.
    Health(Health),
    /// Start a tenant's processes and wait until they run.
    Start(Named),
    /// Stop a tenant's processes and wait until they ended.
    Stop(Named),
    /// Restart a tenant's processes and wait until they run again.
    Restart(Named),
    /// Delete a tenant: its processes, its ports and, if said so, its files.
    Delete(Delete),
}

/// The states of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Status {
    Pending,
    Deploying,
    Running,
    Stopped,
    Error,
}

/// What `tenants list` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct List {
    /// Only tenants in this state.
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only tenants whose name, slug or domain holds this text.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Print slugs alone, one a line.
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

/// What a command about one tenant is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Named {
    /// The tenant, by id or slug.
    tenant: String,
    #[command(flatten)]
    common: Common,
}

/// What `tenants create` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Create {
    /// Its short name, also its directory's: lower-case letters, digits and hyphens.
    slug: Slug,
    /// Its name [default: the slug].
    #[arg(long)]
    name: Option<String>,
    /// The host name of its frontend.
    #[arg(long)]
    domain: Domain,
    /// The host name of its backend.
    #[arg(long, value_name = "DOMAIN")]
    api_domain: Option<Domain>,
    /// The git repository of its application.
    #[arg(long, value_name = "REPOSITORY")]
    github_repo: Option<String>,
    /// The port of its frontend [default: the next free pair].
    #[arg(long, value_name = "PORT", requires = "backend_port")]
    frontend_port: Option<u16>,
    /// The port of its backend.
    #[arg(long, value_name = "PORT", requires = "frontend_port")]
    backend_port: Option<u16>,
    /// Notes about it.
    #[arg(long)]
    notes: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// What `tenants update` is asked.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true, id = "changes", args = [
    "name", "domain", "api_domain", "no_api_domain", "github_repo", "no_github_repo", "notes", "no_notes",
])]
pub(super) struct Update {
    /// The tenant, by id or slug.
    tenant: String,
    /// Its name.
    #[arg(long)]
    name: Option<String>,
    /// The host name of its frontend.
    #[arg(long)]
    domain: Option<Domain>,
    /// The host name of its backend.
    #[arg(long, value_name = "DOMAIN")]
    api_domain: Option<Domain>,
    /// It has no host name of its backend.
    #[arg(long, conflicts_with = "api_domain")]
    no_api_domain: bool,
    /// The git repository of its application.
    #[arg(long, value_name = "REPOSITORY")]
    github_repo: Option<String>,
    /// It has no repository.
    #[arg(long, conflicts_with = "github_repo")]
    no_github_repo: bool,
    /// Notes about it.
    #[arg(long)]
    notes: Option<String>,
    /// It has no notes.
    #[arg(long, conflicts_with = "notes")]
    no_notes: bool,
    #[command(flatten)]
    common: Common,
}

/// What `tenants deploy` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Deploy {
    /// The tenant, by id or slug.
    tenant: String,
    /// The branch, tag or whole commit id [default: the newest commit of the default branch].
    #[arg(long = "ref", value_name = "REF")]
    git_ref: Option<String>,
    /// Wait for the deployment that is under way, instead of being refused.
    #[arg(long)]
    queue: bool,
    /// Leave out the step that makes certificates.
    #[arg(long)]
    skip_ssl: bool,
    /// Leave out the step that configures nginx.
    #[arg(long)]
    skip_nginx: bool,
    /// Leave out the steps that make and start services.
    #[arg(long)]
    skip_services: bool,
    /// Print its log until it is over; exit code 1 when it does not succeed.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    common: Common,
}

/// What `tenants rollback` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Rollback {
    /// The tenant, by id or slug.
    tenant: String,
    /// The release's number [default: the one that served before].
    release: Option<u32>,
    /// Print its log until it is over; exit code 1 when it does not succeed.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    common: Common,
}

/// What `tenants delete` is asked.
/// Does one of them.
pub(super) fn run(command: &Tenants) -> anyhow::Result<ExitCode> {
    match command {
        Tenants::List(args) => show_list(args)?,
        Tenants::Show(args) => act(args, Method::GET, "")?,
        Tenants::Create(args) => create(args)?,
        Tenants::Update(args) => update(args)?,
        Tenants::Config(args) => tenant_config::run(args)?,
        Tenants::RegenerateEnv(args) => act(args, Method::POST, "/config/regenerate-env")?,
        Tenants::Deploy(args) => return deploy(args),
        Tenants::Rollback(args) => return rollback(args),
        Tenants::Releases(args) => releases(args)?,
        Tenants::Open(args) => tenant_look::open(args)?,
        Tenants::Logs(args) => tenant_look::logs(args)?,
        Tenants::Health(args) => return tenant_look::health(args),
        Tenants::Start(args) => act(args, Method::POST, "/start")?,
        Tenants::Stop(args) => act(args, Method::POST, "/stop")?,
        Tenants::Restart(args) => act(args, Method::POST, "/restart")?,
        Tenants::Delete(args) => tenant_delete::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A tenant by its id or its slug.
///
/// # Errors
/// When there is none, and those of the server.
pub(super) async fn find(client: &Client, named: &str) -> Result<TenantId, Failure> {
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    let tenants = all(client, None, Some(named)).await?;
    let ids = list(&tenants, "tenants").iter().filter(|tenant| text(tenant, "slug") == named);
    let id = ids.filter_map(|tenant| text(tenant, "id").parse().ok()).next();
    id.ok_or_else(|| {
        let message = format!("there is no tenant '{}'", safe(named));
        Failure::new(NOT_FOUND, message, "`tenantry tenants list` shows those that there are.")
    })
}

/// All tenants that a filter lets through: the API's object, as one page of all.
///
/// # Errors
/// Those of the server.
pub(super) async fn all(
    client: &Client,
    status: Option<&str>,
    search: Option<&str>,
) -> Result<Value, Failure> {
    let mut tenants: Vec<Value> = Vec::new();
    loop {
        let mut query = Query::new();
        add(&mut query, "status", status);
        add(&mut query, "search", search);
        add(&mut query, "limit", Some(LARGEST_PAGE));
        add(&mut query, "offset", Some(tenants.len()));
        let page = client.get("/api/tenants", &query).await?;
        let found = list(&page, "tenants");
        tenants.extend_from_slice(found);
        if found.len() < LARGEST_PAGE {
            let total = tenants.len();
            return Ok(json!({"tenants": tenants, "total": total, "limit": total, "offset": 0}));
        }
    }
}

fn show_list(args: &List) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let status = args.status.and_then(|status| status.to_possible_value());
    let status = status.as_ref().map(|status| status.get_name());
    let answer = block_on(async { Ok(all(&client, status, args.search.as_deref()).await?) })?;
    let tenants = list(&answer, "tenants");
    if args.common.json {
        screen.print_json(&answer)?;
    } else if args.quiet {
        let slugs: String =
            tenants.iter().map(|tenant| format!("{}\n", safe(&text(tenant, "slug")))).collect();
        screen.print(&slugs)?;
    } else {
        screen.print(&table(tenants).render(&screen))?;
    }
    Ok(())
}

fn table(tenants: &[Value]) -> Table {
    let mut table = Table::new(["SLUG", "STATUS", "HEALTH", "DOMAIN", "PORTS", "DEPLOYED", "NAME", "ID"]);
    for tenant in tenants {
        let (status, health) = (text(tenant, "status"), text(tenant, "health_status"));
        let ports = format!("{}/{}", text(tenant, "frontend_port"), text(tenant, "backend_port"));
        table.row(vec![
            Cell::new(text(tenant, "slug")),
            Cell::new(&status).styled(style_of(&status)),
            Cell::new(&health).styled(style_of(&health)),
            Cell::new(text(tenant, "domain")),
            Cell::new(if ports == "/" { "-" } else { &ports }),
            Cell::new(moment(tenant, "deployed_at")),
            Cell::new(text(tenant, "name")),
            Cell::new(text(tenant, "id")),
        ]);
    }
    table
}

/// Asks something of one tenant and prints the answer.
fn act(args: &Named, method: Method, what: &str) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let answer = block_on(async {
        let id = find(&client, &args.tenant).await?;
        Ok(client.send(method, &format!("/api/tenants/{id}{what}"), None).await?)
    })?;
    print(&args.common, &answer)
}

/// Prints one object of the API.
pub(super) fn print(common: &Common, answer: &Value) -> anyhow::Result<()> {
    let screen: Screen = common.screen();
    if common.json {
        screen.print_json(answer)?;
    } else {
        screen.print(&outline(answer, &screen))?;
    }
    Ok(())
}

fn create(args: &Create) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let name = args.name.clone().unwrap_or_else(|| args.slug.to_string());
    let given = [
        ("name", Some(json!(name))),
        ("slug", Some(json!(args.slug))),
        ("domain", Some(json!(args.domain))),
        ("api_domain", args.api_domain.as_ref().map(|domain| json!(domain))),
        ("github_repo", args.github_repo.as_ref().map(|repository| json!(repository))),
        ("frontend_port", args.frontend_port.map(|port| json!(port))),
        ("backend_port", args.backend_port.map(|port| json!(port))),
        ("notes", args.notes.as_ref().map(|notes| json!(notes))),
    ];
    let body: serde_json::Map<String, Value> =
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let answer =
        block_on(async { Ok(client.send(Method::POST, "/api/tenants", Some(&body.into())).await?) })?;
    print(&args.common, &answer)
}

fn update(args: &Update) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let given = |set: Option<Value>, cleared: bool| set.or(cleared.then_some(Value::Null));
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let fields = [
        ("name", text(&args.name)),
        ("domain", args.domain.as_ref().map(|domain| json!(domain))),
        ("api_domain", given(args.api_domain.as_ref().map(|domain| json!(domain)), args.no_api_domain)),
        ("github_repo", given(text(&args.github_repo), args.no_github_repo)),
        ("notes", given(text(&args.notes), args.no_notes)),
    ];
    let body: serde_json::Map<String, Value> =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let answer = block_on(async {
        let id = find(&client, &args.tenant).await?;
        Ok(client.send(Method::PUT, &format!("/api/tenants/{id}"), Some(&body.into())).await?)
    })?;
    print(&args.common, &answer)
}

fn deploy(args: &Deploy) -> anyhow::Result<ExitCode> {
    let client = args.common.client()?;
    let mut body = json!({"skip_ssl": args.skip_ssl, "skip_nginx": args.skip_nginx,
        "skip_services": args.skip_services});
    if let (Some(git_ref), Some(body)) = (&args.git_ref, body.as_object_mut()) {
        body.insert("git_ref".to_owned(), json!(git_ref));
    }
    block_on(async {
        let id = find(&client, &args.tenant).await?;
        let queue = if args.queue { "?queue=true" } else { "" };
        let path = format!("/api/tenants/{id}/deploy{queue}");
        begun(&client, &args.common, &path, &body, args.follow).await
    })
}

fn rollback(args: &Rollback) -> anyhow::Result<ExitCode> {
    let client = args.common.client()?;
    let body = args.release.map_or_else(|| json!({}), |release| json!({"release": release}));
    block_on(async {
        let id = find(&client, &args.tenant).await?;
        let path = format!("/api/tenants/{id}/rollback");
        begun(&client, &args.common, &path, &body, args.follow).await
    })
}

/// Asks for a deployment; prints what was answered, or its log until it is over.
async fn begun(
    client: &Client,
    common: &Common,
    path: &str,
    body: &Value,
    follow: bool,
) -> anyhow::Result<ExitCode> {
    let answer = client.send(Method::POST, path, Some(body)).await?;
    if follow {
        return deployments::follow(client, common, &text(&answer, "deployment_id")).await;
    }
    print(common, &answer)?;
    Ok(ExitCode::SUCCESS)
}

fn releases(args: &Named) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let answer = block_on(async {
        let id = find(&client, &args.tenant).await?;
        let mut query = Query::new();
        add(&mut query, "limit", Some(LARGEST_PAGE));
        Ok(client.get(&format!("/api/tenants/{id}/releases"), &query).await?)
    })?;
    if args.common.json {
        screen.print_json(&answer)?;
        return Ok(());
    }
    let mut table = Table::new(["RELEASE", "STATUS", "CURRENT", "CREATED", "COMMIT", "DEPLOYMENT"]);
    for release in list(&answer, "releases") {
        let status = text(release, "status");
        let commit: String = text(release, "commit").chars().take(SHOWN_COMMIT).collect();
        table.row(vec![
            Cell::new(text(release, "release")).right(),
            Cell::new(&status).styled(style_of(&status)),
            Cell::new(if release.get("current") == Some(&json!(true)) { "*" } else { "" }),
            Cell::new(moment(release, "created_at")),
            Cell::new(if commit.is_empty() { "-" } else { &commit }),
            Cell::new(text(release, "deployment_id")),
        ]);
    }
    screen.print(&table.render(&screen))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_list_becomes_a_table() {
        let tenants = json!([{"id": "uuid", "name": "Ed Gallrein for State Rep", "slug": "gallrein-campaign",
            "domain": "kentucky.nominate.ai", "api_domain": "kentuckyapi.nominate.ai", "status": "running",
            "health_status": "healthy", "frontend_port": 32300, "backend_port": 32301,
            "created_at": "2025-11-13T12:00:00Z", "deployed_at": null}]);
        let shown = table(tenants.as_array().unwrap()).render(&Screen::plain());
        let row = shown.lines().nth(1).unwrap();
        assert_eq!(
            row,
            "gallrein-campaign  running  healthy  kentucky.nominate.ai  32300/32301  -         \
             Ed Gallrein for State Rep  uuid"
        );
    }
}
