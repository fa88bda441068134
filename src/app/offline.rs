//! What works on a data directory without a server, and beside one: nothing here writes.

mod dump;
pub(super) mod journal;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tenantry_journal::id::Seq;
use tenantry_journal::lock::{DataLock, LockError};
use tenantry_journal::sealed::Vault;
use tenantry_journal::{Opened, open_read_only};
use tenantry_projections::as_of::{Point, Source as _, fold};
use tenantry_projections::world::World;

use crate::cli::{Dump, Replay};
use crate::clock;
use crate::drivers::systemd::{Counts, Systemd};
use crate::engine::JournalSource;
use crate::keeper::client::{Keeper, KeeperError, RunState};

pub(super) fn open(data_dir: &Path) -> anyhow::Result<Opened> {
    is_there(data_dir)?;
    open_read_only(data_dir).with_context(|| cannot_read(data_dir))
}

pub(super) fn is_there(data_dir: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        data_dir.join("journal").is_dir(),
        "there is no journal in {}: give the data directory of `tenantry serve` with --data-dir",
        data_dir.display()
    );
    Ok(())
}

pub(super) fn cannot_read(data_dir: &Path) -> String {
    format!("cannot read the journal in {}", data_dir.display())
}

pub(super) fn print(value: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Folds the journal up to a moment and prints the World: a summary, or all of it.
pub(super) fn replay(replay: &Replay) -> anyhow::Result<()> {
    let opened = open(&replay.data_dir)?;
    clock::not_before(opened.tail.time);
    let vault = Arc::clone(&opened.keyring) as Arc<dyn Vault>;
    let source = JournalSource::new(opened.store, vault);
    let until = match &replay.until {
        Some(text) => resolve(&source, text)?,
        None => source.head(),
    };
    let mut world = World::default();
    fold(&source, &mut world, until)?;
    let tenant = replay.tenant.as_deref().map(|name| dump::find(&world, name)).transpose()?;
    match replay.dump {
        Some(Dump::Json) => print(&dump::everything(&world, tenant)),
        None => print(&dump::summary(&world, tenant)),
    }
}

pub(super) fn resolve(source: &JournalSource, text: &str) -> anyhow::Result<Seq> {
    let now = clock::now();
    let head = source.head();
    match Point::parse(text, now)? {
        Point::Seq(seq) if seq > head => bail!("position {seq} lies after the last event, {head}"),
        Point::Seq(seq) => Ok(seq),
        Point::At(at) if at > now => bail!("{at} has not come yet"),
        Point::At(at) => match source.seq_at(at)? {
            Seq::ZERO => bail!("{at} lies before the first event"),
            seq => Ok(seq),
        },
    }
}

/// How long every instance of a running server may take to end, stop timeouts included.
const ALL_ENDED: Duration = Duration::from_secs(60);
/// How often the keeper is asked whether all have ended.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Ends every instance. Without a server the keeper ends with them; beside a server the wish
/// is recorded by it, so that they stay stopped.
pub(super) fn stop_all(data_dir: &Path) -> anyhow::Result<()> {
    if !data_dir.exists() {
        bail!("there is no data directory {}", data_dir.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connected = match Keeper::connect(data_dir).await {
            Ok(connected) => connected,
            Err(KeeperError::Absent { .. }) => {
                match end_units(data_dir).await? {
                    0 => println!("no instance runs"),
                    count => println!("ended {count} instances"),
                }
                return Ok(());
            }
            Err(error) => return Err(error).context("cannot reach the keeper"),
        };
        let keeper = connected.keeper;
        let count = running(&keeper).await?;
        let ended = async {
            end_all(data_dir, &keeper).await?;
            end_units(data_dir).await
        };
        let ended = tokio::time::timeout(ALL_ENDED, ended).await;
        let count = count + ended.context("some instances did not end in time")??;
        println!("ended {count} instances");
        Ok(())
    })
}

/// Ends what systemd runs for us, or waits for a server that does. Returns how many there were.
async fn end_units(data_dir: &Path) -> anyhow::Result<usize> {
    let systemd = Systemd::new(&std::path::absolute(data_dir)?, Counts::default());
    if !systemd.is_used() {
        return Ok(0);
    }
    let units = systemd.list()?;
    loop {
        match DataLock::take(data_dir) {
            Ok(_lock) => {
                for unit in systemd.list()? {
                    systemd.ensure_removed(&unit, ALL_ENDED).await?;
                }
                return Ok(units.len());
            }
            Err(LockError::Held { .. }) if systemd.list()?.is_empty() => return Ok(units.len()),
            Err(LockError::Held { .. }) => tokio::time::sleep(ASK_EVERY).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn running(keeper: &Keeper) -> anyhow::Result<usize> {
    let runs = keeper.list().await.context("the keeper does not answer")?;
    Ok(runs.iter().filter(|run| run.state == RunState::Running).count())
}

/// Asks a server once, if there is one; a server that is just ending leaves the work to us.
async fn end_all(data_dir: &Path, keeper: &Keeper) -> anyhow::Result<()> {
    let mut asked = None;
    loop {
        match DataLock::take(data_dir) {
            Ok(_lock) => {
                return keeper.shutdown(true).await.context("the keeper did not end its instances");
            }
            Err(LockError::Held { pid: Some(server), .. }) if asked != Some(server) => {
                ask(server)?;
                asked = Some(server);
            }
            Err(LockError::Held { .. }) if running(keeper).await? == 0 => return Ok(()),
            Err(LockError::Held { .. }) => tokio::time::sleep(ASK_EVERY).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells the server to stop every instance. The lock is held, so the process id in it is its.
fn ask(server: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(server).ok().and_then(Pid::from_raw).context("the lock names no process")?;
    kill_process(pid, Signal::USR1).context("cannot reach the server")
}
