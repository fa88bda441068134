//! What the configuration says, as far as decisions depend on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tenantry_journal::event::instance::{Limits, Listen, ProcessSpec, RestartMode, RestartPolicy, Role};
use tenantry_journal::name::{InstanceKey, ServiceName};
use tenantry_journal::sealed::Secret;
use tenantry_journal::spool::Retain;

/// Pairs of ports: `(first, first+1)`, `(first+step, first+step+1)`, up to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first frontend port.
    pub first: u16,
    /// The last port of the range.
    pub last: u16,
    /// From one frontend port to the next.
    pub step: u16,
}

/// How long to wait before a crashed process is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first restart, in milliseconds; doubled with each further failure.
    pub initial_ms: u64,
    /// Never longer than this, in milliseconds.
    pub cap_ms: u64,
    /// A run that was healthy for this long, in milliseconds, makes the failures before it forgotten.
    pub stable_ms: u64,
}

impl Backoff {
    /// The wait before the restart after so many failures in a row, in milliseconds.
    #[must_use]
    pub fn delay_ms(&self, failures: u32) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        self.initial_ms.saturating_mul(1 << doublings).min(self.cap_ms)
    }
}

/// A process as the configuration describes it, with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceTemplate {
    /// Program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Path of its unix socket; without one it listens on TCP.
    pub socket: Option<String>,
    /// HTTP path of its health check.
    pub health: Option<String>,
    /// Where it starts; without one, a directory of its own below the data directory.
    pub workdir: Option<String>,
    /// What follows when it ends by itself.
    pub restart: RestartPolicy,
    /// Time to become healthy, in milliseconds.
    pub startup_timeout_ms: u64,
    /// Time from TERM to KILL, in milliseconds.
    pub stop_timeout_ms: u64,
    /// Time between health checks, in milliseconds.
    pub health_interval_ms: u64,
    /// What it may use, and as whom it runs.
    pub limits: Limits,
    /// After how many milliseconds without a request it is put to sleep.
    pub idle_timeout_ms: Option<u64>,
    /// How it is replaced by a new run.
    pub restart_mode: RestartMode,
}

/// What placeholders stand for.
#[derive(Clone, Debug)]
pub struct Placeholders<'a> {
    /// `{name}`: the service's name, or the tenant's slug for a tenant's process.
    pub name: &'a str,
    /// `{id}`: the instance's id within the service.
    pub id: &'a str,
    /// `{data_dir}`.
    pub data_dir: &'a str,
    /// `{port}`: the TCP port; empty when it listens on a socket.
    pub port: String,
    /// `{socket}`: the socket's path; empty when it listens on TCP.
    pub socket: String,
    /// `{directory}`: the tenant's directory; empty outside of tenants.
    pub directory: &'a str,
    /// `{release}`: the release's directory; empty outside of tenants.
    pub release: String,
}

impl Placeholders<'_> {
    /// Replaces each placeholder, once, left to right; what it stands for is not looked into.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let known = after.split_once('}').and_then(|(word, tail)| {
                let value = match word {
                    "name" => self.name,
                    "id" => self.id,
                    "data_dir" => self.data_dir,
                    "port" => &self.port,
                    "socket" => &self.socket,
                    "directory" => self.directory,
                    "release" => &self.release,
                    _ => return None,
                };
                Some((value, tail))
            });
            if let Some((value, tail)) = known {
                filled.push_str(value);
                rest = tail;
            } else {
                filled.push('{');
                rest = after;
            }
        }
        filled.push_str(rest);
        filled
    }
}

impl ServiceTemplate {
    /// The process to run. `env` comes on top of the template's.
    #[must_use]
    pub fn fill(
        &self,
        listen: Listen,
        placeholders: &Placeholders<'_>,
        default_workdir: &Path,
        env: BTreeMap<String, Secret>,
    ) -> ProcessSpec {
        let mut all: BTreeMap<String, Secret> = self
            .env
            .iter()
            .map(|(name, value)| (name.clone(), Secret::new(placeholders.fill(value))))
            .collect();
        all.extend(env);
        ProcessSpec {
            command: placeholders.fill(&self.command),
            args: self.args.iter().map(|arg| placeholders.fill(arg)).collect(),
            env: all,
            workdir: self
                .workdir
                .as_ref()
                .map_or_else(|| default_workdir.display().to_string(), |dir| placeholders.fill(dir)),
            listen,
            health: self.health.clone(),
            restart: self.restart,
            startup_timeout_ms: self.startup_timeout_ms,
            stop_timeout_ms: self.stop_timeout_ms,
            health_interval_ms: self.health_interval_ms,
            given: None,
            limits: self.limits.clone(),
            idle_timeout_ms: self.idle_timeout_ms,
            restart_mode: self.restart_mode,
        }
    }
}

/// How every tenant's application is run.
#[derive(Clone, Debug, PartialEq)]
pub struct DeployTemplate {
    /// Its frontend; `None` when the configuration names none.
    pub frontend: Option<ServiceTemplate>,
    /// Its backend; `None` when the configuration names none.
    pub backend: Option<ServiceTemplate>,
    /// Program and arguments that prepare the database, with placeholders.
    pub init: Option<Vec<String>>,
    /// Program and arguments that bring the database to a release's form, once for each.
    pub migrate: Option<Vec<String>>,
    /// The database file, relative to the tenant's directory.
    pub database: String,
}

impl DeployTemplate {
    /// What a role runs.
    #[must_use]
    pub fn of(&self, role: Role) -> Option<&ServiceTemplate> {
        match role {
            Role::Frontend => self.frontend.as_ref(),
            Role::Backend => self.backend.as_ref(),
        }
    }
}

/// How releases come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploying {
    /// How many releases that served are kept, the present one among them.
    pub keep_releases: u32,
    /// How many copies of a tenant's database from before migrations are kept.
    pub keep_backups: u32,
    /// Below one of these lies every local source, absolute; none means anywhere.
    pub sources: Vec<PathBuf>,
    /// The key that ssh shows to git servers.
    pub git_ssh_key_file: Option<PathBuf>,
    /// The git servers that ssh knows.
    pub git_known_hosts_file: Option<PathBuf>,
    /// What git's `store` helper reads credentials for https from.
    pub git_credentials_file: Option<PathBuf>,
    /// Who starts tenants' processes and is their parent.
    pub services: Services,
    /// The authorities that vouch for git servers over https, in place of the system's.
    pub git_ca_file: Option<PathBuf>,
}

/// Who starts tenants' processes and is their parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Services {
    /// The keeper.
    #[default]
    Supervisor,
    /// systemd: each run is a unit.
    Systemd,
}

impl Services {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Services::Supervisor => "supervisor",
            Services::Systemd => "systemd",
        }
    }
}

impl Default for Deploying {
    /// Five of each: a working week.
    fn default() -> Self {
        Deploying {
            keep_releases: 5,
            keep_backups: 5,
            sources: Vec::new(),
            git_ssh_key_file: None,
            git_known_hosts_file: None,
            git_credentials_file: None,
            services: Services::Supervisor,
            git_ca_file: None,
        }
    }
}

/// Whether and how nginx sites and certificates are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edges {
    /// Why nginx is not configured; `None` when it is.
    pub nginx_off: Option<String>,
    /// Why no certificate is made; `None` when one is.
    pub ssl_off: Option<String>,
}

/// How much of what processes print is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Where nothing else is said.
    pub usual: Retain,
    /// Of the services that say so.
    pub services: BTreeMap<ServiceName, Retain>,
}

impl Default for Retention {
    /// A month, and 256 MiB for each instance: some weeks of a chatty service, compressed.
    fn default() -> Self {
        let usual = Retain { bytes: 256 << 20, ms: Some(30 * 24 * 60 * 60 * 1000) };
        Retention { usual, services: BTreeMap::new() }
    }
}

impl Retention {
    /// How much is kept of an instance; of one whose name is not known any more the usual.
    #[must_use]
    pub fn of(&self, name: Option<&InstanceKey>) -> Retain {
        name.and_then(|name| self.services.get(&name.service)).copied().unwrap_or(self.usual)
    }
}

/// What the configuration says, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The control plane's own directory, absolute.
    pub data_dir: PathBuf,
    /// Below it lies each tenant's directory, absolute.
    pub deploy_root: PathBuf,
    /// Where tenants' ports come from.
    pub ports: PortRange,
    /// First and last TCP port for instances of configured services.
    pub instance_ports: (u16, u16),
    /// The configured services.
    pub services: BTreeMap<ServiceName, ServiceTemplate>,
    /// How every tenant's application is run.
    pub template: DeployTemplate,
    /// How releases come and go.
    pub deploying: Deploying,
    /// nginx and certificates.
    pub edges: Edges,
    /// Restarts after crashes.
    pub backoff: Backoff,
    /// Output of processes.
    pub retention: Retention,
}

impl Policy {
    /// A tenant's directory.
    #[must_use]
    pub fn tenant_directory(&self, slug: &tenantry_journal::name::Slug) -> PathBuf {
        self.deploy_root.join(slug.as_str())
    }
}

/// The directory of a release, below a tenant's directory.
#[must_use]
pub fn release_directory(directory: &str, release: u32) -> PathBuf {
    Path::new(directory).join("releases").join(release.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once_and_unknown_braces_stay() {
        let placeholders = Placeholders {
            name: "api",
            id: "{port}",
            data_dir: "/d",
            port: "80".into(),
            socket: String::new(),
            directory: "",
            release: String::new(),
        };
        assert_eq!(placeholders.fill("{name}-{id} {x} {"), "api-{port} {x} {");
    }

    #[test]
    fn the_backoff_doubles_up_to_its_cap() {
        let backoff = Backoff { initial_ms: 500, cap_ms: 60_000, stable_ms: 60_000 };
        let delays: Vec<u64> = [1, 2, 3, 8, 40].into_iter().map(|n| backoff.delay_ms(n)).collect();
        assert_eq!(delays, [500, 1000, 2000, 60_000, 60_000]);
    }
}
