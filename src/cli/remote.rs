//! The commands that are clients of a running server, and which file does each.

use std::process::ExitCode;

use clap::Subcommand;

use super::apply::{self, Apply};
use super::bisect::{self, Bisect};
use super::deployments::{self, Deployments};
use super::events::{self, Events};
use super::history::{self, Diff, History};
use super::instances::{self, Named, Ps, Spawn, Weight};
use super::login::{self, LoginArgs, LogoutArgs};
use super::logs::{self, Logs};
use super::metrics::{self, Metrics, Top};
use super::names::{self, Complete};
use super::nginx::{self, Nginx};
use super::ports::{self, Ports};
use super::restore::{self, Restore, Undo};
use super::search::{self, Search};
use super::settings::{self, Settings};
use super::tenants::{self, Tenants};
use super::themes::{self, Themes};
use super::tokens::{self, Token};
use super::users::{self, Users};
use super::why::{self, Why};

/// What is asked of a running server.
#[derive(Debug, Subcommand)]
pub(super) enum Remote {
    /// Log in at a running server and store the login, for you alone.
    Login(LoginArgs),
    /// Forget a stored login.
    Logout(LogoutArgs),
    /// List instances.
    #[command(visible_alias = "list")]
    Ps(Ps),
    /// Start a new instance of a service and wait until it is healthy.
    Spawn(Spawn),
    /// Restart instances.
    Restart(Named),
    /// Show what processes printed.
    Logs(Logs),
    /// Search in what processes printed.
    Search(Search),
    /// Show what an instance uses and serves.
    Metrics(Metrics),
    /// Show what all instances use, the busiest first, again and again.
    Top(Top),
    /// Set an instance's share of its service's traffic.
    Weight(Weight),
    /// Show the events of a running server, oldest first.
    Events(Events),
    /// Show what each event changed of a tenant, oldest first; also of one that is deleted.
    History(History),
    /// Show how a tenant differs between two moments.
    Diff(Diff),
    /// Bring a tenant back to what it was at a moment, also one that is deleted.
    ///
    /// Nothing is rewound: what leads back is recorded, and files, services and release follow.
    /// Exit code 1 when somebody else holds what it had by now, with a list of that.
    Restore(Restore),
    /// Take back what a command did; says why when that cannot be.
    Undo(Undo),
    /// Show the chain of causes from the present state back to what a person asked for.
    Why(Why),
    /// Find the event between a good and a bad moment of a tenant, by a program that checks.
    Bisect(Bisect),
    /// Work with API tokens.
    Token {
        #[command(subcommand)]
        command: Token,
    },
    /// Work with tenants.
    #[command(visible_alias = "tenant")]
    Tenants {
        #[command(subcommand)]
        command: Tenants,
    },
    /// Work with tenants' themes: colours, and suggestions from a website.
    #[command(visible_alias = "themes")]
    Theme {
        #[command(subcommand)]
        command: Themes,
    },
    /// Bring tenants to what a file says of them.
    ///
    /// Shows what would change, asks, and changes it. Applied again it changes nothing. Tenants that
    /// the file does not name are left alone. Exit code 3 when the file is not valid.
    Apply(Apply),
    /// Look at deployments.
    #[command(visible_alias = "deployment")]
    Deployments {
        #[command(subcommand)]
        command: Deployments,
    },
    /// Work with nginx: its sites, its test, its reload.
    Nginx {
        #[command(subcommand)]
        command: Nginx,
    },
    /// See which ports are whose.
    Ports {
        #[command(subcommand)]
        command: Ports,
    },
    /// Look at settings of the control plane, and change them.
    #[command(visible_alias = "setting")]
    Settings {
        #[command(subcommand)]
        command: Settings,
    },
    /// Work with users: who may log in, and what they may do.
    #[command(visible_alias = "user")]
    Users {
        #[command(subcommand)]
        command: Users,
    },
    /// Names for shells to complete.
    #[command(name = "__complete", hide = true)]
    Complete(Complete),
}

/// Does one of them.
///
/// # Errors
/// A failure with its exit code, or what went wrong here.
pub(super) fn run(command: &Remote) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Remote::Login(args) => login::login(args).map(done),
        Remote::Logout(args) => login::logout(args).map(done),
        Remote::Ps(args) => instances::ps(args).map(done),
        Remote::Spawn(args) => instances::spawn(args).map(done),
        Remote::Restart(args) => instances::restart(args).map(done),
        Remote::Logs(args) => logs::run(args).map(done),
        Remote::Search(args) => search::run(args).map(done),
        Remote::Metrics(args) => metrics::run(args).map(done),
        Remote::Top(args) => metrics::top(args).map(done),
        Remote::Weight(args) => instances::weight(args).map(done),
        Remote::Events(args) => events::run(args).map(done),
        Remote::History(args) => history::history(args).map(done),
        Remote::Diff(args) => history::diff(args).map(done),
        Remote::Restore(args) => restore::restore(args),
        Remote::Undo(args) => restore::undo(args).map(done),
        Remote::Why(args) => why::run(args).map(done),
        Remote::Bisect(args) => bisect::run(args),
        Remote::Token { command } => tokens::run(command).map(done),
        Remote::Tenants { command } => tenants::run(command),
        Remote::Theme { command } => themes::run(command),
        Remote::Deployments { command } => deployments::run(command),
        Remote::Nginx { command } => nginx::run(command),
        Remote::Apply(args) => apply::run(args).map(done),
        Remote::Ports { command } => ports::run(command).map(done),
        Remote::Settings { command } => settings::run(command).map(done),
        Remote::Users { command } => users::run(command).map(done),
        Remote::Complete(args) => names::run(args).map(done),
    }
}
