//! What each command of the command line does.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::{offline, serve, whole};
use crate::cli::audit::{Prove, Stats, Verify};
use crate::cli::{Program, Replay, Verdict, Whole};
use crate::config::{Config, Source};
use crate::telemetry;

/// The program, as the command line drives it.
#[derive(Debug, Default)]
pub struct Tenantry;

/// Threads for work that blocks at most: each keeps memory of its own for as long as it lives.
/// No such work waits for other such work to begin, so more of it than this only waits its turn.
pub(super) const BLOCKING_THREADS: usize = 64;

/// This very program's file, so that it can start the keeper.
fn own_executable() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the program's own file")
}

impl Program for Tenantry {
    fn serve(&self, config: Config, source: Source) -> anyhow::Result<()> {
        telemetry::init(config.log_format, config.log_filter.as_deref())?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()?;
        let ended = runtime.block_on(serve::serve(config, source, own_executable()?));
        // Work on blocking threads that does not end must not keep the program from ending.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        ended
    }

    fn keeper(&self, data_dir: &Path) -> ExitCode {
        crate::keeper::run(data_dir)
    }

    fn stop_all(&self, data_dir: &Path) -> anyhow::Result<()> {
        offline::stop_all(data_dir)
    }

    fn replay(&self, replay: &Replay) -> anyhow::Result<()> {
        offline::replay(replay)
    }

    fn verify_journal(&self, asked: &Verify) -> anyhow::Result<Verdict> {
        offline::journal::verify(asked)
    }

    fn journal_stats(&self, asked: &Stats) -> anyhow::Result<()> {
        offline::journal::stats(asked)
    }

    fn prove(&self, asked: &Prove) -> anyhow::Result<()> {
        offline::journal::prove(asked)
    }

    fn whole(&self, asked: &Whole) -> anyhow::Result<Verdict> {
        whole::run(asked)
    }
}
