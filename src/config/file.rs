//! Reads the sections of the configuration file and puts environment and flags on top.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tenantry_journal::event::instance::{RestartMode, RestartPolicy};
use tenantry_journal::name::ServiceName;
use tenantry_journal::sealed::Secret;
use toml::de::DeTable;

use super::deploying::deploying;
use super::output;
use super::reader::{Found, Notes, Place, Section};
use super::service::{Defaults, absolute, entry, is_inside, once, service};
use super::{
    Acme, Analyze, Config, ConfigErrors, Deploy, LogFormat, Nginx, Overrides, Problem, RateLimit, Service,
    Ssl,
};
use crate::domain::policy::{Backoff, DeployTemplate, PortRange, Retention};

/// Time to become healthy: interpreters with many modules take some seconds on a small machine.
const STARTUP_TIMEOUT_MS: u64 = 30_000;
/// Time from TERM to KILL, as in Docker and Kubernetes' lower end.
const STOP_TIMEOUT_MS: u64 = 10_000;
/// Time between health checks, as printed in document 2.
const HEALTH_INTERVAL_MS: u64 = 10_000;
const BACKOFF: Backoff = Backoff { initial_ms: 500, cap_ms: 60_000, stable_ms: 60_000 };
/// As printed in document 1: 32300/32301, 32310/32311 and so on.
const PORTS: PortRange = PortRange { first: 32_300, last: 32_399, step: 10 };
/// Below the ports that Linux gives to outgoing connections (32768 and up), apart from [`PORTS`].
const INSTANCE_PORTS: (u16, u16) = (28_000, 31_999);
const MANAGER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 32_201);
const INSTANCES: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8_000);
/// As printed in document 2.
const RATE_LIMIT: RateLimit = RateLimit { per_minute: 1_000, per_hour: 10_000 };
/// A day, in seconds: a longer interval is a mistake.
const DAY: u64 = 86_400;

/// Variables that are no options of the file.
const OTHER_VARIABLES: &[&str] =
    &["TENANTRY_CONFIG", "TENANTRY_ADMIN_PASSWORD", "TENANTRY_SERVER", "TENANTRY_TOKEN"];

struct Settings {
    data_dir: PathBuf,
    manager: SocketAddr,
    instances: SocketAddr,
    proxy: Option<SocketAddr>,
    log_format: LogFormat,
    log_filter: Option<String>,
    domain: Option<tenantry_journal::name::Domain>,
    allowed_hosts: Vec<String>,
    rate_limit: RateLimit,
    health_interval_ms: u64,
    startup_timeout_ms: u64,
    stop_timeout_ms: u64,
    backoff: Backoff,
    retention: Retention,
}

pub(super) fn read(text: &str, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    let root = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let notes = Notes::new(text, &overrides.variables);
    let root = Section::root(&notes, root.get_ref());

    let settings = settings(root.section("settings", Some("TENANTRY_")), overrides);
    let hosts = hosts(root.section("hosts", Some("TENANTRY_HOSTS_")));
    let (ports, instance_ports) = ports(root.section("ports", Some("TENANTRY_PORTS_")));
    let defaults = Defaults {
        working_dir: &overrides.working_dir,
        data_dir: &settings.data_dir,
        startup_timeout_ms: settings.startup_timeout_ms,
        stop_timeout_ms: settings.stop_timeout_ms,
        health_interval_ms: settings.health_interval_ms,
        restart: RestartPolicy::OnFailure,
        restart_mode: RestartMode::Replace,
    };
    let mut retention = settings.retention.clone();
    let services = services(&root, defaults, &mut retention);
    let deploy = deploy(
        root.section("deploy", Some("TENANTRY_DEPLOY_")),
        &settings.data_dir,
        Defaults { restart: RestartPolicy::Always, restart_mode: RestartMode::Rolling, ..defaults },
        &mut retention,
    );
    let nginx = nginx(root.section("nginx", Some("TENANTRY_NGINX_")), &overrides.working_dir);
    let analyze = analyze(root.section("analyze", Some("TENANTRY_ANALYZE_")), &overrides.working_dir);
    let acme = acme(root.section("acme", Some("TENANTRY_ACME_")), &overrides.working_dir);
    for key in ["routing", "instances"] {
        root.without_effect(key);
    }
    root.finish();

    let (problems, warnings) = notes.finish(OTHER_VARIABLES);
    if !problems.is_empty() {
        return Err(ConfigErrors { file: None, problems, warnings });
    }
    Ok(Config {
        file: None,
        data_dir: settings.data_dir,
        manager: settings.manager,
        instances: settings.instances,
        proxy: settings.proxy,
        log_format: settings.log_format,
        log_filter: settings.log_filter,
        domain: settings.domain,
        allowed_hosts: settings.allowed_hosts.into_iter().chain(hosts).collect(),
        rate_limit: settings.rate_limit,
        health_interval_ms: settings.health_interval_ms,
        ports,
        instance_ports,
        backoff: settings.backoff,
        retention,
        services,
        deploy,
        nginx,
        analyze,
        acme,
        admin_password: overrides
            .variables
            .get("TENANTRY_ADMIN_PASSWORD")
            .filter(|password| !password.is_empty())
            .map(|password| Secret::new(password.clone())),
        accept_differences: false,
        warnings,
        // What could be read as above can be read as this.
        written: toml::from_str(text).unwrap_or_default(),
    })
}

fn syntax(text: &str, error: &toml::de::Error) -> ConfigErrors {
    let nothing = BTreeMap::new();
    let line = error.span().map(|span| Notes::new(text, &nothing).line(span.start));
    let problems = vec![Problem { line, message: error.message().to_owned() }];
    ConfigErrors { file: None, problems, warnings: Vec::new() }
}

fn settings(section: Section<'_>, overrides: &Overrides) -> Settings {
    let data_dir = section.text("data_dir").map(|found| PathBuf::from(found.value));
    let data_dir = overrides.data_dir.clone().or(data_dir).unwrap_or_else(|| "data".into());
    let address = |key, flag: &Option<String>| {
        let found = section.text(key);
        let flag = flag.as_ref().map(|flag| Found { value: flag.clone(), place: Place::None });
        let found = flag.or(found)?;
        match parse_address(&found.value) {
            Ok(address) => Some(address),
            Err(error) => {
                let message = format!("'{key}' is '{}': {error}", found.value.escape_default());
                section.notes.bad(&found.place, message);
                None
            }
        }
    };
    let manager = address("manager", &overrides.manager).unwrap_or(MANAGER);
    let instances = address("instances", &overrides.instances).unwrap_or(INSTANCES);
    let proxy = address("proxy", &overrides.proxy);
    if let Some(proxy) = proxy.filter(|proxy| proxy.port() != 0 && [manager, instances].contains(proxy)) {
        let message = format!("'proxy' is {proxy}, the address of another listener");
        section.notes.bad(&section.place, message);
    }
    if manager == instances && manager.port() != 0 {
        let message = format!("'manager' and 'instances' are both {manager}; each listener needs an address");
        section.notes.bad(&section.place, message);
    }
    let format = section.choice("log_format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let limit = |key, default: u32| {
        section
            .whole(key, 1..=u64::from(u32::MAX))
            .and_then(|found| u32::try_from(found.value).ok())
            .unwrap_or(default)
    };
    let rate_limit = RateLimit {
        per_minute: limit("rate_limit_per_minute", RATE_LIMIT.per_minute),
        per_hour: limit("rate_limit_per_hour", RATE_LIMIT.per_hour),
    };
    let ms = |key, range, default| {
        section.seconds_as_ms(key, range).map_or(default, |found: Found<u64>| found.value)
    };
    let whole = |key, default| section.whole(key, 1..=DAY * 1000).map_or(default, |found| found.value);
    let backoff = Backoff {
        initial_ms: whole("backoff_base_ms", BACKOFF.initial_ms),
        cap_ms: whole("backoff_max_ms", BACKOFF.cap_ms),
        stable_ms: ms("backoff_stable", 0..=DAY, BACKOFF.stable_ms),
    };
    if backoff.initial_ms > backoff.cap_ms {
        section.notes.bad(&section.place, "[settings]: 'backoff_base_ms' is greater than 'backoff_max_ms'");
    }
    for key in ["max_restarts", "restart_window", "tls"] {
        section.without_effect(key);
    }
    let settings = Settings {
        data_dir: normal(&overrides.working_dir.join(data_dir)),
        manager,
        instances,
        proxy,
        log_format: overrides.log_format.or(format.map(|found| found.value)).unwrap_or_default(),
        log_filter: section.text("log").map(|found| found.value),
        domain: section.parsed("domain").map(|found| found.value),
        allowed_hosts: section.list("allowed_hosts").map(|found| found.value).unwrap_or_default(),
        rate_limit,
        health_interval_ms: ms("health_check_interval", 1..=DAY, HEALTH_INTERVAL_MS),
        startup_timeout_ms: ms("startup_timeout", 0..=DAY, STARTUP_TIMEOUT_MS),
        stop_timeout_ms: ms("stop_timeout", 0..=DAY, STOP_TIMEOUT_MS),
        backoff,
        retention: output::retain(&section, Retention::default().usual)
            .map_or_else(Retention::default, |usual| Retention { usual, ..Retention::default() }),
    };
    section.finish();
    settings
}

/// Reads `address:port`; `localhost` is 127.0.0.1.
fn parse_address(text: &str) -> Result<SocketAddr, impl Display + use<>> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| "must be an IP address and a port such as 127.0.0.1:8000")
}

fn hosts(section: Section<'_>) -> Vec<String> {
    let allowed = section.list("allowed").map(|found| found.value).unwrap_or_default();
    section.finish();
    allowed
}

fn ports(section: Section<'_>) -> (PortRange, (u16, u16)) {
    let or = |key, default| section.port(key).map_or(default, |found: Found<u16>| found.value);
    let ports = PortRange {
        first: or("first", PORTS.first),
        last: or("last", PORTS.last),
        step: or("step", PORTS.step),
    };
    let instances = (or("instances_first", INSTANCE_PORTS.0), or("instances_last", INSTANCE_PORTS.1));
    let bad = |message: String| section.notes.bad(&section.place, format!("[ports]: {message}"));
    if ports.step < 2 {
        bad(format!("'step' is {}, must be at least 2, because a tenant has two ports", ports.step));
    }
    if u32::from(ports.first) + 1 > u32::from(ports.last) {
        bad(format!("no pair of ports lies between 'first' = {} and 'last' = {}", ports.first, ports.last));
    }
    if instances.0 > instances.1 {
        bad(format!("'instances_first' = {} is after 'instances_last' = {}", instances.0, instances.1));
    }
    if ports.first <= instances.1 && instances.0 <= ports.last {
        bad(format!(
            "{} to {} (tenants) and {} to {} (instances) overlap",
            ports.first, ports.last, instances.0, instances.1
        ));
    }
    section.finish();
    (ports, instances)
}

fn services(
    root: &Section<'_>,
    defaults: Defaults<'_>,
    retention: &mut Retention,
) -> BTreeMap<ServiceName, Service> {
    let mut services = BTreeMap::new();
    let mut sockets: BTreeMap<String, String> = BTreeMap::new();
    let all = ["service", "services", "process"].into_iter().flat_map(|key| root.named(key));
    for (name, section) in all {
        let place = section.place.clone();
        let retain = output::retain(&section, retention.usual);
        let read = service(&name, section, defaults);
        match name.parse::<ServiceName>() {
            Err(error) => root.notes.bad(&place, error),
            Ok(_) if matches!(name.as_str(), "frontend" | "backend") => {
                root.notes.bad(&place, format!("the service name '{name}' belongs to tenants' processes"));
            }
            Ok(key) if services.contains_key(&key) => {
                root.notes.bad(&place, format!("service '{name}' is there twice"));
            }
            Ok(key) => {
                let socket = read.as_ref().and_then(|service| service.template.socket.as_ref());
                if let Some(socket) = socket.map(|socket| socket.replace("{name}", &name))
                    && let Some(other) = sockets.insert(socket, name.clone())
                {
                    let message = format!(
                        "services '{other}' and '{name}' have the same socket; use {{name}} and {{id}} in it"
                    );
                    root.notes.warn_at(&place, message);
                }
                retention.services.extend(retain.map(|retain| (key.clone(), retain)));
                services.extend(read.map(|service| (key, service)));
            }
        }
    }
    services
}

fn deploy(
    section: Section<'_>,
    data_dir: &Path,
    defaults: Defaults<'_>,
    retention: &mut Retention,
) -> Deploy {
    let root = section.text("root").map(|found| {
        let filled = found.value.replace("{data_dir}", &data_dir.display().to_string());
        normal(&defaults.working_dir.join(filled))
    });
    let nginx = section.choice("nginx", &[("on", true), ("off", false)]).is_some_and(|found| found.value);
    let ssl = section
        .choice("ssl", &[("acme", Ssl::Acme), ("self-signed", Ssl::SelfSigned), ("off", Ssl::Off)])
        .map(|found| found.value)
        .unwrap_or_default();
    if ssl != Ssl::Off && !nginx {
        section.notes.warn("[deploy]: 'ssl' has no effect while 'nginx' is \"off\"");
    }
    let below = section.section("template", Some("TENANTRY_DEPLOY_TEMPLATE_"));
    output::of_tenants(retention, &below);
    let database = below.text("database").and_then(|found| {
        if is_inside(&found.value) {
            return Some(found.value);
        }
        let message =
            format!("'database' is '{}', must be a path inside the tenant's directory", found.value);
        below.notes.bad(&found.place, message);
        None
    });
    let template = DeployTemplate {
        frontend: entry("frontend", &below, defaults),
        backend: entry("backend", &below, defaults),
        init: once("init", &below),
        migrate: once("migrate", &below),
        database: database.unwrap_or_else(|| "data/app.db".into()),
    };
    below.finish();
    let deploying = deploying(&section, defaults.working_dir);
    section.finish();
    Deploy { root: root.unwrap_or_else(|| data_dir.join("tenants")), nginx, ssl, template, deploying }
}

fn nginx(section: Section<'_>, working_dir: &Path) -> Nginx {
    let path = |key| section.text(key).map(|found| PathBuf::from(absolute(&found.value, working_dir)));
    let nginx = Nginx {
        command: section.words("command").map(|found| found.value),
        sites_available: path("sites_available"),
        sites_enabled: path("sites_enabled"),
        pid: path("pid"),
        listen: section.parsed("listen").map(|found| found.value),
        listen_tls: section.parsed("listen_tls").map(|found| found.value),
    };
    if nginx.command.as_ref().is_some_and(Vec::is_empty) {
        section.notes.bad(&section.place, "[nginx]: 'command' is empty");
    }
    section.finish();
    nginx
}

fn analyze(section: Section<'_>, working_dir: &Path) -> Analyze {
    let text = |key| section.text(key).map(|found| found.value);
    let analyze = Analyze {
        allow_hosts: section.list("allow_hosts").map(|found| found.value).unwrap_or_default(),
        anthropic_base_url: text("anthropic_base_url"),
        anthropic_model: text("anthropic_model"),
        anthropic_api_key_file: text("anthropic_api_key_file")
            .map(|file| PathBuf::from(absolute(&file, working_dir))),
        chromium: text("chromium"),
    };
    section.finish();
    analyze
}

fn acme(section: Section<'_>, working_dir: &Path) -> Acme {
    let acme = Acme {
        directory: section.text("directory").map(|found| found.value),
        contact: section.text("contact").map(|found| found.value),
        ca_file: section.text("ca_file").map(|found| PathBuf::from(absolute(&found.value, working_dir))),
    };
    section.finish();
    acme
}

/// Takes out `.` so that paths in events and answers read well; links and `..` are left alone.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}
