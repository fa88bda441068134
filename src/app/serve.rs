//! `tenantry serve`: starts, says where it is, and obeys signals until one ends it.

use std::io::Write as _;
use std::path::PathBuf;

use tenantry_journal::event::Event;
use tokio::signal::unix::{SignalKind, signal};

use super::{App, FirstAdmin};
use crate::config::{Config, Source};
use crate::domain::command::{Command, Submission};

/// Serves until SIGTERM or SIGINT. SIGHUP reads the configuration again,
/// SIGUSR1 stops every instance.
pub(super) async fn serve(config: Config, source: Source, executable: PathBuf) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut stop_all = signal(SignalKind::user_defined1())?;
    let (app, first) = App::start(config, source, executable).await?;
    say_ready(&app, first.as_ref())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reconfigure(&app).await,
            _ = stop_all.recv() => stop_everything(&app).await,
        }
    }
    tracing::info!("ending; the instances run on");
    app.stop().await;
    Ok(())
}

async fn reconfigure(app: &App) {
    match app.configured.reload(&app.handle).await {
        Ok(outcome) if outcome.events.is_empty() => {
            tracing::info!("configuration read again, nothing changed")
        }
        Ok(outcome) => {
            let changed = outcome.events.iter().find_map(|recorded| match &recorded.event {
                Event::ConfigChanged(changed) => Some(changed),
                _ => None,
            });
            let count = |kind| outcome.events.iter().filter(|recorded| recorded.event.kind() == kind).count();
            tracing::info!(
                config.changed = changed.map(|changed| changed.changed.join(", ")),
                config.needs_restart = changed.map(|changed| changed.needs_restart.join(", ")),
                instances.respecified = count("instance.respecified"),
                instances.restarted = count("instance.restart_requested"),
                "configuration read again"
            );
        }
        Err(error) => tracing::error!(%error, "the configuration is refused, the old one kept"),
    }
}

/// `tenantry stop --all` beside a running server: the wish is recorded, so that the instances
/// are not started again.
async fn stop_everything(app: &App) {
    match app.handle.submit(Submission::system(Command::StopEverything, None)).await {
        Ok(outcome) => tracing::info!(instances = outcome.events.len(), "stopping every instance"),
        Err(error) => tracing::error!(%error, "the instances are not stopped"),
    }
}

/// Standard output is for people and scripts; the log goes to standard error.
fn say_ready(app: &App, first: Option<&FirstAdmin>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if let Some(password) = first.and_then(|first| first.password.as_ref()) {
        writeln!(out, "login: admin")?;
        writeln!(out, "password (shown only now): {}", password.reveal())?;
    }
    writeln!(out, "manager: http://{}", app.manager)?;
    writeln!(out, "instances: http://{}", app.instances)?;
    if let Some(proxy) = app.proxy {
        writeln!(out, "proxy: http://{proxy}")?;
    }
    writeln!(out, "ready")?;
    out.flush()
}
