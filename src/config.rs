//! What the operator says: one TOML file, environment variables, and flags.
//!
//! A flag wins over the environment, the environment over the file, the file over the
//! default. Everything is checked at once and told at once, with line numbers; a
//! [`Config`] that exists is valid, and every path in it is absolute.

mod deploying;
mod file;
mod joined;
pub(crate) mod mask;
mod output;
mod reader;
mod service;
mod source;
#[cfg(test)]
mod tests;
mod validate;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tenantry_journal::name::{Domain, ServiceName};
use tenantry_journal::sealed::Secret;

use crate::domain::policy::{
    Backoff, DeployTemplate, Deploying, Edges, Policy, PortRange, Retention, ServiceTemplate,
};
use crate::drivers::nginx::Listen;

pub use source::Source;
pub use validate::{Verdict, validate};

/// A configuration file longer than this (1 MiB) is a mistake.
pub const FILE_LIMIT: u64 = 1 << 20;

/// How the program's own log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line for each message.
    #[default]
    Text,
    /// One JSON object for each message.
    Json,
}

/// How many requests one token or user may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Within a minute.
    pub per_minute: u32,
    /// Within an hour.
    pub per_hour: u32,
}

/// A service that instances can be spawned of.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// What to run.
    pub template: ServiceTemplate,
    /// Whether its directory stays when it is removed.
    pub storage_persist: bool,
}

/// Certificates for tenants' domains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ssl {
    /// None.
    #[default]
    Off,
    /// Signed by itself.
    SelfSigned,
    /// From an ACME authority.
    Acme,
}

/// How tenants are deployed.
#[derive(Clone, Debug, PartialEq)]
pub struct Deploy {
    /// Below it lies each tenant's directory.
    pub root: PathBuf,
    /// Whether nginx sites are made.
    pub nginx: bool,
    /// Which certificates are made.
    pub ssl: Ssl,
    /// What every tenant runs.
    pub template: DeployTemplate,
    /// How releases come and go.
    pub deploying: Deploying,
}

/// The `[nginx]` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nginx {
    /// Program and arguments.
    pub command: Option<Vec<String>>,
    /// Where sites are written.
    pub sites_available: Option<PathBuf>,
    /// Where links to them make them live.
    pub sites_enabled: Option<PathBuf>,
    /// The file with the master's pid.
    pub pid: Option<PathBuf>,
    /// Where sites listen.
    pub listen: Option<Listen>,
    /// Where sites listen with TLS.
    pub listen_tls: Option<Listen>,
}

/// The `[analyze]` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analyze {
    /// Hosts that may be fetched although their address is private.
    pub allow_hosts: Vec<String>,
    /// Where the language model's API is.
    pub anthropic_base_url: Option<String>,
    /// Which model is asked.
    pub anthropic_model: Option<String>,
    /// A file that holds the API key, where no setting does.
    pub anthropic_api_key_file: Option<PathBuf>,
    /// The browser for screenshots, or "off".
    pub chromium: Option<String>,
}

/// The `[acme]` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acme {
    /// The authority's directory URL.
    pub directory: Option<String>,
    /// Mail address for the authority.
    pub contact: Option<String>,
    /// Extra root certificate for reaching the authority.
    pub ca_file: Option<PathBuf>,
}

/// What the operator says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    /// The control plane's own directory.
    pub data_dir: PathBuf,
    /// Listener with the defaults of document 1.
    pub manager: SocketAddr,
    /// Listener with the defaults of document 2.
    pub instances: SocketAddr,
    /// Listener of the proxy alone; the other two serve its names as well.
    pub proxy: Option<SocketAddr>,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What is logged, such as `info,tenantry=debug`.
    pub log_filter: Option<String>,
    /// Below it tenants may get a domain.
    pub domain: Option<Domain>,
    /// Host names under which the control plane itself may be reached, besides its addresses.
    pub allowed_hosts: Vec<String>,
    /// Limits on requests.
    pub rate_limit: RateLimit,
    /// Time between health checks, in milliseconds, where a service names none.
    pub health_interval_ms: u64,
    /// Pairs of ports for tenants.
    pub ports: PortRange,
    /// First and last port for instances of services.
    pub instance_ports: (u16, u16),
    /// Restarts after crashes.
    pub backoff: Backoff,
    /// Output of processes.
    pub retention: Retention,
    /// The services.
    pub services: BTreeMap<ServiceName, Service>,
    /// How tenants are deployed.
    pub deploy: Deploy,
    /// The `[nginx]` section.
    pub nginx: Nginx,
    /// The `[analyze]` section.
    pub analyze: Analyze,
    /// The `[acme]` section.
    pub acme: Acme,
    /// Password of the first administrator, from `TENANTRY_ADMIN_PASSWORD` alone.
    pub admin_password: Option<Secret>,
    /// Start although this version sees the journal in another way than the one before: a flag alone.
    pub accept_differences: bool,
    /// What is accepted and doubtful, as sentences.
    pub warnings: Vec<String>,
    /// The file as it was written, as far as it was parsed.
    pub(crate) written: serde_json::Value,
}

/// What comes from outside of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--manager`
    pub manager: Option<String>,
    /// `--instances`
    pub instances: Option<String>,
    /// `--proxy`
    pub proxy: Option<String>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// The environment; only `TENANTRY_...` is looked at.
    pub variables: BTreeMap<String, String>,
    /// What relative paths are relative to.
    pub working_dir: PathBuf,
}

impl Overrides {
    /// Takes the environment and the working directory of this process, and no flags. The one
    /// place where the environment is read.
    ///
    /// # Errors
    /// When the working directory is gone.
    pub fn from_process() -> std::io::Result<Overrides> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("TENANTRY_"))
            .collect();
        Ok(Overrides { variables, working_dir: std::env::current_dir()?, ..Overrides::default() })
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line of the file, counted from 1; none when it is not in the file.
    pub line: Option<usize>,
    /// A sentence: what is wrong and what would be right.
    pub message: String,
}

/// Everything that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What is wrong, in the order of the lines.
    pub problems: Vec<Problem>,
    /// What is doubtful besides.
    pub warnings: Vec<String>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not valid")?;
        let file =
            self.file.as_ref().map_or_else(|| "configuration".into(), |file| file.display().to_string());
        for problem in &self.problems {
            match problem.line {
                Some(line) => write!(f, "\n  {file}:{line}: {}", problem.message)?,
                None => write!(f, "\n  {}", problem.message)?,
            }
        }
        for warning in &self.warnings {
            write!(f, "\n  warning: {warning}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// Reads the file (none: defaults) and puts the overrides on top.
    ///
    /// # Errors
    /// With everything that is wrong, at once.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigErrors> {
        let Some(path) = path else { return Config::parse("", overrides) };
        let path = overrides.working_dir.join(path);
        let failed = |message: String| ConfigErrors {
            file: Some(path.clone()),
            problems: vec![Problem { line: None, message }],
            warnings: Vec::new(),
        };
        let length = std::fs::metadata(&path)
            .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?
            .len();
        if length > FILE_LIMIT {
            return Err(failed(format!("{} is longer than {FILE_LIMIT} bytes", path.display())));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
        let mut config = Config::parse(&text, overrides)
            .map_err(|errors| ConfigErrors { file: Some(path.clone()), ..errors })?;
        config.file = Some(path);
        Ok(config)
    }

    /// Reads a file's text and puts the overrides on top.
    ///
    /// # Errors
    /// With everything that is wrong, at once.
    pub fn parse(text: &str, overrides: &Overrides) -> Result<Config, ConfigErrors> {
        file::read(text, overrides)
    }

    /// What of it decisions depend on.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let services =
            self.services.iter().map(|(name, service)| (name.clone(), service.template.clone())).collect();
        Policy {
            data_dir: self.data_dir.clone(),
            deploy_root: self.deploy.root.clone(),
            ports: self.ports,
            instance_ports: self.instance_ports,
            services,
            template: self.deploy.template.clone(),
            deploying: self.deploy.deploying.clone(),
            edges: self.edges(),
            backoff: self.backoff,
            retention: self.retention.clone(),
        }
    }

    /// Why steps of a deployment are skipped, if they are.
    fn edges(&self) -> Edges {
        let nginx = (!self.deploy.nginx).then_some("nginx is off in the configuration");
        let ssl = match self.deploy.ssl {
            Ssl::Off => Some("certificates are off in the configuration"),
            Ssl::SelfSigned | Ssl::Acme if !self.deploy.nginx => {
                Some("nginx is off in the configuration, so there is no site for a certificate")
            }
            Ssl::SelfSigned | Ssl::Acme => None,
        };
        Edges { nginx_off: nginx.map(str::to_owned), ssl_off: ssl.map(str::to_owned) }
    }
}
