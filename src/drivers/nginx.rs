//! nginx in front of the tenants: their sites, its test, its reload.
//!
//! A change is written aside, tested with the whole configuration, put in place, taken on by a
//! graceful reload, and proved by a request; when any of that fails, what was there before is
//! put back. One change is carried out at a time; whatever waits meanwhile is carried out
//! together after it, with one test and one reload. Only files that bear our mark are touched.

mod batch;
mod directory;
mod layout;
mod list;
mod live;
mod site;
mod syntax;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use tenantry_journal::id::TenantId;
use tokio::sync::oneshot;

use super::tool::{self, Tool, ToolError};
use directory::Directories;
use layout::Layout;
pub use list::Config;
use live::Master;
pub use site::{EDGE_HEADER, Kind, Listen, Ports, Shared, Site, Tls};

/// How long nginx may take to test its configuration; it resolves names of upstreams meanwhile.
const TEST: Duration = Duration::from_secs(60);

/// How this nginx is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where sites are written.
    pub available: PathBuf,
    /// Where links to them make them live.
    pub enabled: PathBuf,
    /// The file with the master's pid, when it is not found by itself.
    pub pid: Option<PathBuf>,
    /// Where sites listen.
    pub ports: Ports,
}

/// Why nginx is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum NginxError {
    /// There is no such program, or it did not end.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// It was not valid before, so nothing was changed.
    #[error("the nginx configuration was not valid before this change, nothing was changed: {output}")]
    Broken {
        /// What nginx says.
        output: String,
    },
    /// It would not be valid with the change.
    #[error("nginx refuses the change, nothing was changed: {output}")]
    Refused {
        /// What nginx says.
        output: String,
    },
    /// The configuration does not read the enabled sites.
    #[error("{conf} does not include {enabled}: add 'include {enabled}/*;' to its http block", conf = conf.display(), enabled = enabled.display())]
    NotIncluded {
        /// The directory of enabled sites.
        enabled: PathBuf,
        /// The main file.
        conf: PathBuf,
    },
    /// A file of somebody else lies where ours belongs.
    #[error("{} was not written by tenantry and is left alone: move it away first", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// No master is there to take the configuration on.
    #[error("nginx does not run: {} names no process of nginx; start it first", pid.display())]
    NotRunning {
        /// The file with its pid.
        pid: PathBuf,
    },
    /// It could not be told.
    #[error("nginx (process {pid}) cannot be told to reload")]
    Signal {
        /// The master's pid.
        pid: i32,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It was told and does not answer by the new configuration.
    #[error("nginx does not serve {domain} by its new site, what was there before was put back: {why}")]
    NotLive {
        /// The site's name.
        domain: String,
        /// What was seen.
        why: String,
    },
    /// It was told and its workers stayed what they were.
    #[error("nginx was told to reload and has not done it; its error log says why")]
    NotReloaded,
    /// A path that a configuration cannot hold.
    #[error("{} cannot stand in an nginx configuration", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// Nobody has said yet where the proxy listens.
    #[error("it is not known yet where nginx shall pass requests to")]
    NotReady,
    /// The file system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl NginxError {
    fn io(what: &'static str, path: &Path, source: std::io::Error) -> NginxError {
        NginxError::Io { what, path: path.to_path_buf(), source }
    }

    /// Whether there is no nginx here that could be asked.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, NginxError::Tool(ToolError::Spawn { .. }))
    }

    /// What nginx printed about a configuration that is not valid.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            NginxError::Broken { output } | NginxError::Refused { output } => Some(output),
            _ => None,
        }
    }
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// How many files were written or removed.
    pub changed: usize,
}

/// The result of a wish, shared by those who waited together.
pub type Outcome = Result<Ensured, Arc<NginxError>>;

/// What a test of the configuration found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Whether it is valid.
    pub valid: bool,
    /// What nginx printed.
    pub output: String,
}

/// What is wanted of a tenant's sites: these and no others.
#[derive(Clone, Debug)]
struct Wanted {
    tenant: TenantId,
    sites: Vec<Site>,
}

struct Waiting {
    wanted: Wanted,
    answer: oneshot::Sender<Outcome>,
}

/// So long nobody may wish for anything until it is carried out what was wished for.
const GATHER: Duration = Duration::from_millis(2);
/// How often that is looked at; then it is carried out whoever else comes.
const GATHERINGS: usize = 25;

/// nginx in front of the tenants.
pub struct Nginx {
    settings: ArcSwap<Settings>,
    shared: ArcSwap<Option<Shared>>,
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
    counts: Counts,
}

/// Reloads, by how they ended.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// nginx was told.
    pub done: Counter,
    /// It could not be told, or did not do it.
    pub failed: Counter,
}

impl Nginx {
    /// Nothing is looked at yet.
    #[must_use]
    pub fn new(settings: Settings, counts: Counts) -> Arc<Nginx> {
        Arc::new(Nginx {
            settings: ArcSwap::from_pointee(settings),
            shared: ArcSwap::from_pointee(None),
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            counts,
        })
    }

    /// Takes on other settings.
    pub fn configure(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// How it is reached.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Says what all sites have in common; it is written with the next change.
    pub fn share(&self, shared: Shared) {
        self.shared.store(Arc::new(Some(shared)));
    }

    /// What all sites have in common, once it was said.
    #[must_use]
    pub fn shared(&self) -> Option<Shared> {
        (**self.shared.load()).clone()
    }

    /// Has a tenant have these sites and no others; none at all removes them. It is done also
    /// when the caller does not wait for it.
    ///
    /// # Errors
    /// When they are not live; then what was there before is there again.
    pub async fn ensure(self: &Arc<Self>, tenant: TenantId, sites: Vec<Site>) -> Outcome {
        let mut outcomes = self.ensure_all(vec![(tenant, sites)]).await;
        outcomes.pop().unwrap_or_else(|| Err(Arc::new(NginxError::NotReloaded)))
    }

    /// The same for many tenants, together: each gets an outcome of its own, in their order.
    pub async fn ensure_all(self: &Arc<Self>, all: Vec<(TenantId, Vec<Site>)>) -> Vec<Outcome> {
        let (mut waiting, mut answered) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
        for (tenant, sites) in all {
            let (answer, answers) = oneshot::channel();
            waiting.push(Waiting { wanted: Wanted { tenant, sites }, answer });
            answered.push(answers);
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).append(&mut waiting);
        let own = Arc::clone(self);
        // Its own task, so that no caller who goes away leaves it half done.
        tokio::spawn(async move { own.carry_out().await });
        let mut outcomes = Vec::with_capacity(answered.len());
        for answer in answered {
            outcomes.push(answer.await.unwrap_or_else(|_| Err(Arc::new(NginxError::NotReloaded))));
        }
        outcomes
    }

    /// Waits while more wishes come, for a moment: what is asked for at once is one reload.
    async fn gathered(&self) {
        let mut before = 0;
        for _ in 0..GATHERINGS {
            let count = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len();
            if count == before {
                return;
            }
            before = count;
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Carries out everything that waits, when its turn has come.
    async fn carry_out(&self) {
        let _turn = self.turn.lock().await;
        self.gathered().await;
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() {
            return;
        }
        let (wanted, answers): (Vec<Wanted>, Vec<oneshot::Sender<Outcome>>) =
            waiting.into_iter().map(|waiting| (waiting.wanted, waiting.answer)).unzip();
        let outcomes = batch::carry_out(self, wanted).await;
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Who does not wait any more need not know.
            let _ = answer.send(outcome);
        }
    }

    /// Waits until nothing is being carried out.
    pub async fn idle(&self) {
        drop(self.turn.lock().await);
    }

    /// Tests the configuration as it is.
    ///
    /// # Errors
    /// When nginx cannot be run.
    pub async fn test(&self) -> Result<Tested, NginxError> {
        self.run_test(&self.settings().command).await
    }

    /// Tests the configuration, and has nginx take it on when it is valid.
    ///
    /// # Errors
    /// When it is not valid, or nginx does not take it on.
    pub async fn reload(&self) -> Result<Tested, NginxError> {
        let _turn = self.turn.lock().await;
        let tested = self.test().await?;
        if !tested.valid {
            return Err(NginxError::Broken { output: tested.output });
        }
        let layout = self.layout().await?;
        let master = self.master(&layout)?;
        self.signal(&master)?;
        if master.replaced().await {
            return Ok(tested);
        }
        self.counts.failed.inc();
        Err(NginxError::NotReloaded)
    }

    /// Every site that is available or enabled, ours or not. Reads files.
    #[must_use]
    pub fn configs(&self) -> Vec<Config> {
        list::configs(&self.directories())
    }

    /// Which tenants have sites here, and with which digests. Reads files.
    #[must_use]
    pub fn present(&self) -> Vec<(TenantId, String)> {
        let ours = self.directories().ours();
        let mut all: Vec<(TenantId, String)> = ours
            .values()
            .filter_map(|found| match found.owner {
                site::Owner::Tenant(id, _) => {
                    Some((id, site::digest_of(&found.text).unwrap_or_default().to_owned()))
                }
                site::Owner::Shared | site::Owner::Foreign => None,
            })
            .collect();
        all.sort();
        all
    }

    /// The digests that a tenant's sites have when they are as wanted.
    ///
    /// # Errors
    /// When they cannot be written down.
    pub fn digests(&self, sites: &[Site]) -> Result<Vec<String>, NginxError> {
        let ports = self.settings().ports;
        let mut digests: Vec<String> =
            sites.iter().map(|site| Ok(site.render(ports)?.digest)).collect::<Result<_, NginxError>>()?;
        digests.sort();
        Ok(digests)
    }

    /// Whether the shared file says what it is to say. Reads a file.
    #[must_use]
    pub fn is_shared_written(&self) -> bool {
        let Some(shared) = self.shared() else { return true };
        let ours = self.directories().ours();
        let text = |shared: Shared| shared.render().ok().map(|rendered| rendered.text);
        let wide = text(Shared { long_names: true, ..shared.clone() });
        let narrow = text(Shared { long_names: false, ..shared });
        let found = ours.values().find(|found| found.owner == site::Owner::Shared);
        found.is_some_and(|found| [wide, narrow].contains(&Some(found.text.clone())))
    }

    /// The thumbprint that stands in the shared file. Reads a file.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        let ours = self.directories().ours();
        let found = ours.values().find(|found| found.owner == site::Owner::Shared)?;
        site::thumbprint_of(&found.text).map(str::to_owned)
    }

    fn directories(&self) -> Directories {
        let settings = self.settings();
        Directories { available: settings.available.clone(), enabled: settings.enabled.clone() }
    }

    async fn layout(&self) -> Result<Layout, NginxError> {
        let settings = self.settings();
        let mut command = settings.command.clone();
        command.push("-V".to_owned());
        let (_, version) = run(&command).await?;
        Ok(Layout::find(&settings.command, &version))
    }

    fn master(&self, layout: &Layout) -> Result<Master, NginxError> {
        Master::find(&self.settings().pid.clone().unwrap_or_else(|| layout.pid()))
    }

    fn signal(&self, master: &Master) -> Result<(), NginxError> {
        let sent = master.reload();
        let counter = if sent.is_ok() { &self.counts.done } else { &self.counts.failed };
        counter.inc();
        sent
    }

    async fn run_test(&self, command: &[String]) -> Result<Tested, NginxError> {
        let mut command = command.to_vec();
        command.push("-t".to_owned());
        let (valid, output) = run(&command).await?;
        Ok(Tested { valid, output })
    }
}

/// Runs nginx; says whether it succeeded and what it printed.
async fn run(command: &[String]) -> Result<(bool, String), NginxError> {
    let (program, args) =
        command.split_first().map_or(("nginx", &[][..]), |(program, args)| (program.as_str(), args));
    let here = Path::new(".");
    let tool =
        Tool { program, args, workdir: here, home: Path::new("/"), env: &[], timeout: TEST, claim: None };
    let mut output = String::new();
    let ended = tool::run(&tool, |line| {
        if output.len() < OUTPUT_BYTES {
            output.push_str(line);
            output.push('\n');
        }
    })
    .await?;
    Ok((ended.status.success(), output.trim_end().to_owned()))
}

/// No more of what nginx prints is kept: a broken configuration of thousands of sites warns a lot.
const OUTPUT_BYTES: usize = 64 * 1024;
