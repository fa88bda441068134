//! `tenantry tenants config`: a tenant's configuration, shown or changed.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Common, Query, block_on, field};
use super::failure::Failure;
use super::login::secrets;
use super::safe_text::safe;
use super::tenants::{find, print};

/// What `tenants config` is asked.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Fields: app_name, app_name_short, project_name, admin_email, frontend_url, backend_api_url, \
    ws_base_url, ollama_embed_model, ollama_llm_model, ollama_base_url. One that is not set follows from the \
    tenant.\n\n  tenantry tenants config smith --set app_name='Smith 2026' -e FEATURE_X=true"
)]
pub(super) struct Config {
    /// The tenant, by id or slug.
    tenant: String,
    /// Set a field.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Let a field follow from the tenant again.
    #[arg(long, value_name = "FIELD")]
    unset: Vec<String>,
    /// Set an environment variable; the others stay.
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Take an environment variable away.
    #[arg(long, value_name = "NAME")]
    unset_env: Vec<String>,
    /// Set an environment variable whose value is shown to nobody. It is asked for without echo, or is
    /// the next line of standard input.
    #[arg(long, value_name = "NAME")]
    secret: Vec<String>,
    #[command(flatten)]
    common: Common,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Shows it, or changes it and shows it then.
pub(super) fn run(args: &Config) -> anyhow::Result<()> {
    let client = args.common.client()?;
    let prompts: Vec<String> = args.secret.iter().map(|name| format!("{}: ", safe(name))).collect();
    let typed = secrets(&prompts.iter().map(String::as_str).collect::<Vec<_>>())?;
    let hidden = args.secret.iter().cloned().zip(typed);
    let variables = args.env.iter().cloned().chain(hidden).collect();
    let answer = block_on(async {
        let path = format!("/api/tenants/{}/config", find(&client, &args.tenant).await?);
        let present = client.get(&path, &Query::new()).await?;
        match changes(args, variables, &present)? {
            Some(body) => Ok(client.send(Method::PUT, &path, Some(&body)).await?),
            None => Ok(present),
        }
    })?;
    print(&args.common, &answer)
}

/// What is to be sent; `None` when nothing is to be changed.
fn changes(
    args: &Config,
    variables: Vec<(String, String)>,
    present: &Value,
) -> Result<Option<Value>, Failure> {
    let mut body = Map::new();
    body.extend(args.set.iter().map(|(name, value)| (name.clone(), json!(value))));
    body.extend(args.unset.iter().map(|name| (name.clone(), Value::Null)));
    if !variables.is_empty() || !args.unset_env.is_empty() {
        // Secrets come back as they were shown, and are kept.
        let mut all = field(present, "custom_env").as_object().cloned().unwrap_or_default();
        for name in &args.unset_env {
            if all.remove(name).is_none() {
                return Err(Failure::usage(format!("there is no environment variable {name}")));
            }
        }
        all.extend(variables.into_iter().map(|(name, value)| (name, json!(value))));
        body.insert("custom_env".to_owned(), Value::Object(all));
    }
    if !args.secret.is_empty() {
        let gone = |name: &&Value| args.unset_env.iter().any(|gone| name.as_str() == Some(gone));
        let before = field(present, "secret_env").as_array().into_iter().flatten().filter(|name| !gone(name));
        let all: Vec<Value> = before.cloned().chain(args.secret.iter().map(|name| json!(name))).collect();
        body.insert("secret_env".to_owned(), Value::Array(all));
    }
    Ok((!body.is_empty()).then_some(Value::Object(body)))
}
