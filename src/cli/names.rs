//! Names for shells to complete: asked of the server, quick, and silent when it does not answer.
//!
//! Shells expand what they complete. So a name is printed only when it is one by our own rules.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tenantry_journal::name::{InstanceKey, Slug};
use tokio::time::timeout;

use super::client::{Client, Server, block_on, list, text};
use super::failure::Failure;
use super::instances::{self, Filter};
use super::screen::{Color, Screen};
use super::tenants;

/// Nobody waits longer for a completion.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Instances,
    Tenants,
}

/// What the shells' scripts ask.
#[derive(Clone, Debug, Args)]
pub(super) struct Complete {
    kind: Kind,
    #[command(flatten)]
    server: Server,
}

/// Prints the names, one a line.
pub(super) fn run(args: &Complete) -> anyhow::Result<()> {
    let Ok(client) = args.server.client() else { return Ok(()) };
    let found = block_on(async { Ok(timeout(PATIENCE, find(&client, args.kind)).await?) });
    if let Ok(Ok(names)) = found {
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        Screen::of_process(Color::Never).print(&lines)?;
    }
    Ok(())
}

async fn find(client: &Client, kind: Kind) -> Result<Vec<String>, Failure> {
    let names: Vec<String> = match kind {
        Kind::Instances => {
            let answer = instances::all(client, &Filter::default()).await?;
            list(&answer, "instances").iter().map(|instance| text(instance, "instance")).collect()
        }
        Kind::Tenants => {
            let answer = tenants::all(client, None, None).await?;
            list(&answer, "tenants").iter().map(|tenant| text(tenant, "slug")).collect()
        }
    };
    Ok(names.into_iter().filter(|name| is_name(name, kind)).collect())
}

fn is_name(text: &str, kind: Kind) -> bool {
    match kind {
        Kind::Instances => text.parse::<InstanceKey>().is_ok(),
        Kind::Tenants => text.parse::<Slug>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_shell_expands_is_a_name() {
        assert!(is_name("api:user-1.x_y", Kind::Instances) && is_name("smith-campaign", Kind::Tenants));
        for hostile in ["api:$(id)", "api:`id`", "api:a b", "api:a;b", "$HOME", "api:a\nb", "api:*"] {
            assert!(!is_name(hostile, Kind::Instances) && !is_name(hostile, Kind::Tenants), "{hostile}");
        }
    }
}
