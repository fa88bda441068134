//! `tenantry tenants open`, `logs` and `health`: looking at a tenant that runs.

use std::ffi::OsStr;
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueEnum};
use reqwest::Method;
use tenantry_journal::name::InstanceKey;
use url::Url;

use super::client::{Client, Common, Query, block_on, text};
use super::failure::{FAILED, Failure};
use super::logs::{self, How};
use super::outline::outline;
use super::safe_text::safe;
use super::tenants::find;

/// What opens an address in whatever browser a person has chosen.
const OPENER: &str = "xdg-open";

/// Which of a tenant's two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Service {
    Frontend,
    Backend,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Service::Frontend => "frontend",
            Service::Backend => "backend",
        }
    }
}

/// What `tenants open` is asked.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The address is the tenant's frontend_url. On a terminal with a desktop it is also opened, by \
    xdg-open;\nin a pipe it is only printed."
)]
pub(super) struct Open {
    /// The tenant, by id or slug.
    tenant: String,
    /// The port on the server's own machine instead of the domain.
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    common: Common,
}

/// What `tenants logs` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Logs {
    /// The tenant, by id or slug.
    tenant: String,
    /// Which of its processes.
    #[arg(long, value_enum, default_value = "frontend")]
    service: Service,
    #[command(flatten)]
    how: How,
}

/// What `tenants health` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Health {
    /// The tenant, by id or slug.
    tenant: String,
    #[command(flatten)]
    common: Common,
}

/// Prints where a tenant is reached, and opens it.
pub(super) fn open(args: &Open) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let address = block_on(address(&client, &args.tenant, args.local))?;
    if args.common.json {
        return Ok(screen.print_json(&serde_json::json!({"url": address}))?);
    }
    screen.print(&format!("{}\n", safe(&address)))?;
    if screen.is_terminal && has_desktop(|name| std::env::var_os(name)) && is_for_a_browser(&address) {
        show(OsStr::new(OPENER), &address);
    }
    Ok(())
}

async fn address(client: &Client, tenant: &str, local: bool) -> anyhow::Result<String> {
    let id = find(client, tenant).await?;
    if local {
        let tenant = client.get(&format!("/api/tenants/{id}"), &Query::new()).await?;
        return Ok(format!("http://127.0.0.1:{}/", text(&tenant, "frontend_port")));
    }
    let config = client.get(&format!("/api/tenants/{id}/config"), &Query::new()).await?;
    Ok(text(&config, "frontend_url"))
}

/// Whether there is anything that a browser could be shown on.
fn has_desktop<T: AsRef<OsStr>>(variable: impl Fn(&str) -> Option<T>) -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"]
        .into_iter()
        .any(|name| variable(name).is_some_and(|value| !value.as_ref().is_empty()))
}

/// Whoever configures a tenant chooses its address: nothing but the web is opened.
fn is_for_a_browser(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Has a program show an address. Without it, the printed address is all there is.
fn show(program: &OsStr, address: &str) {
    let mut opener = Command::new(program);
    let shown = opener.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if let Err(error) = shown {
        tracing::debug!(%error, "no browser is opened");
    }
}

/// Prints what one of a tenant's processes printed.
pub(super) fn logs(args: &Logs) -> anyhow::Result<()> {
    logs::may_be_raw(&args.how)?;
    let client = args.how.common.client()?;
    block_on(async {
        let id = find(&client, &args.tenant).await?;
        let tenant = client.get(&format!("/api/tenants/{id}"), &Query::new()).await?;
        let name = format!("{}:{}", args.service.name(), text(&tenant, "slug"));
        let instance: InstanceKey = name
            .parse()
            .map_err(|_| Failure::new(FAILED, format!("'{}' names no process", safe(&name)), ""))?;
        logs::print(&client, Some(&instance), None, &args.how).await
    })
}

/// Checks a tenant and prints what was found.
pub(super) fn health(args: &Health) -> anyhow::Result<ExitCode> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let answer = block_on(async {
        let id = find(&client, &args.tenant).await?;
        Ok(client.send(Method::POST, &format!("/api/tenants/{id}/health-check"), None).await?)
    })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&outline(&answer, &screen))?;
    }
    let overall = text(&answer, "overall_status");
    if overall == "healthy" {
        return Ok(ExitCode::SUCCESS);
    }
    let next = format!("`tenantry tenants logs {}` shows what it printed.", safe(&args.tenant));
    Err(Failure::new(FAILED, format!("the tenant's health is {}", safe(&overall)), next).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_is_opened_and_only_on_a_desktop() {
        for address in ["https://k.example.com", "http://127.0.0.1:32300/"] {
            assert!(is_for_a_browser(address), "{address}");
        }
        for address in ["file:///etc/passwd", "javascript:alert(1)", "--help", "", "https://"] {
            assert!(!is_for_a_browser(address), "{address}");
        }
        assert!(has_desktop(|name| (name == "DISPLAY").then_some(":0")));
        assert!(!has_desktop(|_| Some("")) && !has_desktop(|_| None::<&str>));
    }
}
