//! `tenantry tenants delete`, and with `--erase` the end of everything that is known of a tenant.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::client::{Client, Common, Query, add, block_on, text};
use super::failure::{FAILED, Failure, NOT_FOUND};
use super::history::find_ever;
use super::safe_text::safe;
use super::tenants::{find, print};

#[derive(Clone, Debug, Args)]
pub(super) struct Delete {
    /// The tenant, by id or slug; with --erase also one that is deleted.
    tenant: String,
    /// Delete its directory, its database with it.
    #[arg(long)]
    remove_files: bool,
    /// Leave its nginx sites.
    #[arg(long, conflicts_with = "erase")]
    keep_nginx: bool,
    /// Leave its services, stopped.
    #[arg(long, conflicts_with = "erase")]
    keep_services: bool,
    /// Destroy its key, too: names, domains, notes, configuration, output and uploads are unreadable from
    /// then on, in the journal and in every copy that is made later. Nothing brings them back.
    #[arg(long)]
    erase: bool,
    /// With --erase: the tenant's name or slug (its id, when it is deleted), instead of being asked for it.
    #[arg(long, value_name = "NAME", requires = "erase")]
    confirm: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Delete) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let mut query = Query::new();
    add(&mut query, "remove_files", args.remove_files.then_some(true));
    add(&mut query, "remove_nginx", args.keep_nginx.then_some(false));
    add(&mut query, "remove_services", args.keep_services.then_some(false));
    add(&mut query, "erase", args.erase.then_some(true));
    let answer = block_on(async {
        let id = if args.erase {
            let id = find_ever(&client, &args.tenant).await?;
            confirm(args, &names(&client, &args.tenant, &id.to_string()).await?)?;
            id
        } else {
            find(&client, &args.tenant).await?
        };
        Ok(client.send_query(Method::DELETE, &format!("/api/tenants/{id}"), &query).await?)
    })?;
    print(&args.common, &answer)
}

/// What the tenant may be called in a confirmation, what people call it first.
async fn names(client: &Client, given: &str, id: &str) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = match client.get(&format!("/api/tenants/{id}"), &Query::new()).await {
        Ok(tenant) => {
            let known =
                ["name", "slug"].map(|field| (field, tenant.get(field).is_some_and(Value::is_string)));
            known
                .into_iter()
                .filter(|(_, is_there)| *is_there)
                .map(|(field, _)| text(&tenant, field))
                .collect()
        }
        Err(failure) if failure.code == NOT_FOUND => vec![given.to_owned()],
        Err(failure) => return Err(failure),
    };
    names.dedup();
    Ok(names)
}

/// Goes on only when the tenant was named.
fn confirm(args: &Delete, names: &[String]) -> anyhow::Result<()> {
    let typed = match &args.confirm {
        Some(typed) => typed.clone(),
        None if args.common.json || !io::stdin().is_terminal() => {
            return Err(Failure::usage("nobody can be asked: say --confirm with the tenant's name").into());
        }
        None => {
            let name = safe(names.first().map_or("", String::as_str));
            let files = if args.remove_files { "Its directory goes, too." } else { "Its directory stays." };
            eprintln!("Everything that is known of '{name}' becomes unreadable for good. {files}");
            eprint!("Type its name to erase it: ");
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            line.trim().to_owned()
        }
    };
    if names.contains(&typed) {
        return Ok(());
    }
    Err(Failure::new(FAILED, format!("'{}' is not its name; nothing was done", safe(&typed)), "").into())
}
