//! `tenantry ports`: which pairs of ports are whose.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Common, Query, block_on, list, text};
use super::safe_text::safe;
use super::screen::style_of;
use super::table::{Cell, Table};
use super::when::moment;

/// What can be asked of ports.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Ports {
    /// List the pairs of the range, and those outside of it that are held.
    List(Asked),
    /// Print the pair that the next tenant gets.
    Next(Asked),
}

/// What both are asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Asked {
    #[command(flatten)]
    common: Common,
}

/// Does one of them.
pub(super) fn run(ports: &Ports) -> anyhow::Result<()> {
    let (args, path) = match ports {
        Ports::List(args) => (args, "/api/ports"),
        Ports::Next(args) => (args, "/api/ports/next-available"),
    };
    let (screen, client) = (args.common.screen(), args.common.client()?);
    let answer = block_on(async { Ok(client.get(path, &Query::new()).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else if matches!(ports, Ports::Next(_)) {
        screen.print(&format!("{} {}\n", text(&answer, "frontend_port"), text(&answer, "backend_port")))?;
    } else {
        let allocations = list(&answer, "allocations");
        screen.print(&table(allocations).render(&screen))?;
        screen.print(&drift(allocations))?;
    }
    Ok(())
}

/// A line for each process that listens on a tenant's port and is neither the keeper nor its own.
fn drift(allocations: &[Value]) -> String {
    let mut lines = String::new();
    for allocation in allocations {
        for stranger in list(allocation, "drift") {
            let (port, program) = (text(stranger, "port"), text(stranger, "program"));
            let who = match text(stranger, "pid") {
                pid if pid.is_empty() => "a process that cannot be seen".to_owned(),
                pid => format!("{program} (process {pid})"),
            };
            let whose = text(allocation, "tenant_name");
            let line = format!("drift: {who} listens on port {port} of {whose}");
            lines.push_str(&format!("{}\n", safe(&line)));
        }
    }
    lines
}

fn table(allocations: &[Value]) -> Table {
    let mut table = Table::new(["FRONTEND", "BACKEND", "STATUS", "SINCE", "TENANT", "ID"]);
    for allocation in allocations {
        let status = text(allocation, "status");
        table.row(vec![
            Cell::new(text(allocation, "frontend_port")),
            Cell::new(text(allocation, "backend_port")),
            Cell::new(&status).styled(style_of(&status)),
            Cell::new(moment(allocation, "allocated_at")),
            Cell::new(text(allocation, "tenant_name")),
            Cell::new(text(allocation, "tenant_id")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::Screen;
    use serde_json::json;

    #[test]
    fn the_printed_list_becomes_a_table() {
        let allocations = json!([
            {"frontend_port": 32300, "backend_port": 32301, "tenant_id": "uuid", "tenant_name": "Ed Gallrein",
                "allocated_at": "2025-11-13T12:00:00Z", "status": "in_use"},
            {"frontend_port": 32310, "backend_port": 32311, "tenant_id": null, "status": "available"}]);
        assert_eq!(
            table(allocations.as_array().unwrap()).render(&Screen::plain()),
            "FRONTEND  BACKEND  STATUS     SINCE                TENANT       ID\n\
             32300     32301    in_use     2025-11-13 12:00:00  Ed Gallrein  uuid\n\
             32310     32311    available  -\n"
        );
        assert_eq!(drift(allocations.as_array().unwrap()), "");
    }

    #[test]
    fn who_listens_on_a_tenants_port_is_named_and_commands_no_terminal() {
        let allocations = json!([{"tenant_name": "Ed", "drift": [
            {"port": 32300, "pid": 7, "program": "py\u{1b}[2J"}, {"port": 32301, "pid": null, "program": null}]}]);
        assert_eq!(
            drift(allocations.as_array().unwrap()),
            "drift: py\\x1b[2J (process 7) listens on port 32300 of Ed\n\
             drift: a process that cannot be seen listens on port 32301 of Ed\n"
        );
    }
}
