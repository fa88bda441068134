//! The configuration that holds, as a tree that reads like its file.
//!
//! What it shows could be sent back: every key is one of the file's. Times are in seconds.
//! A service's command, arguments and paths stand as they were written.

use serde_json::{Map, Value, json};
use tenantry_journal::event::instance::{Isolation, RestartMode, RestartPolicy};

use super::{Config, LogFormat, Service, Ssl, mask};
use crate::domain::policy::ServiceTemplate;

/// Keys of a process that are shown as they were written.
const AS_WRITTEN: [&str; 4] = ["command", "args", "socket", "workdir"];

impl Config {
    /// The configuration as `GET /api/config` shows it, its secrets hidden.
    #[must_use]
    pub fn shown(&self) -> Value {
        let mut tree = self.tree();
        mask::mask(&mut tree);
        tree
    }

    /// Names of what `other` says otherwise, such as `settings.domain`, in order.
    #[must_use]
    pub fn differences(&self, other: &Config) -> Vec<String> {
        let (mut own, mut theirs) = (Vec::new(), Vec::new());
        flatten("", &self.tree(), &mut own);
        flatten("", &other.tree(), &mut theirs);
        let mut names: Vec<String> = own
            .iter()
            .filter(|entry| !theirs.contains(entry))
            .chain(theirs.iter().filter(|entry| !own.contains(entry)))
            .map(|(name, _)| name.clone())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Everything, secrets too.
    fn tree(&self) -> Value {
        let written = |section: &str, name: &str| self.written.get(section).and_then(|all| all.get(name));
        let services: Map<String, Value> = self
            .services
            .iter()
            .map(|(name, service)| {
                let name = name.as_str();
                let sections = ["service", "services", "process"];
                let written = sections.iter().find_map(|section| written(section, name));
                (name.to_owned(), of_service(service, written))
            })
            .collect();
        let template = &self.deploy.template;
        let entry = |name: &str, entry: &Option<ServiceTemplate>| {
            let written = written("deploy", "template").and_then(|template| template.get(name));
            entry.as_ref().map(|entry| match written {
                Some(table @ Value::Object(_)) => Value::Object(of_process(entry, Some(table))),
                Some(words) => words.clone(),
                None => Value::Object(of_process(entry, None)),
            })
        };
        without_nulls(json!({
            "settings": self.settings_tree(),
            "ports": {
                "first": self.ports.first,
                "last": self.ports.last,
                "step": self.ports.step,
                "instances_first": self.instance_ports.0,
                "instances_last": self.instance_ports.1,
            },
            "deploy": {
                "root": self.deploy.root,
                "services": self.deploy.deploying.services.as_str(),
                "keep_releases": self.deploy.deploying.keep_releases,
                "keep_backups": self.deploy.deploying.keep_backups,
                "sources": self.deploy.deploying.sources,
                "git_ssh_key_file": self.deploy.deploying.git_ssh_key_file,
                "git_known_hosts_file": self.deploy.deploying.git_known_hosts_file,
                "git_credentials_file": self.deploy.deploying.git_credentials_file,
                "git_ca_file": self.deploy.deploying.git_ca_file,
                "nginx": if self.deploy.nginx { "on" } else { "off" },
                "ssl": match self.deploy.ssl {
                    Ssl::Off => "off",
                    Ssl::SelfSigned => "self-signed",
                    Ssl::Acme => "acme",
                },
                "template": {
                    "frontend": entry("frontend", &template.frontend),
                    "backend": entry("backend", &template.backend),
                    "init": template.init,
                    "migrate": template.migrate,
                    "database": template.database,
                },
            },
            "nginx": {
                "command": self.nginx.command,
                "sites_available": self.nginx.sites_available,
                "sites_enabled": self.nginx.sites_enabled,
                "pid": self.nginx.pid,
                "listen": self.nginx.listen.map(|listen| listen.to_string()),
                "listen_tls": self.nginx.listen_tls.map(|listen| listen.to_string()),
            },
            "analyze": {
                "allow_hosts": self.analyze.allow_hosts,
                "anthropic_base_url": self.analyze.anthropic_base_url,
                "anthropic_model": self.analyze.anthropic_model,
                "anthropic_api_key_file": self.analyze.anthropic_api_key_file,
                "chromium": self.analyze.chromium,
            },
            "acme": {
                "directory": self.acme.directory,
                "contact": self.acme.contact,
                "ca_file": self.acme.ca_file,
            },
            "services": services,
        }))
    }

    fn settings_tree(&self) -> Value {
        json!({
            "data_dir": self.data_dir,
            "manager": self.manager,
            "instances": self.instances,
            "log_format": match self.log_format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
            "log": self.log_filter,
            "domain": self.domain,
            "allowed_hosts": self.allowed_hosts,
            "rate_limit_per_minute": self.rate_limit.per_minute,
            "rate_limit_per_hour": self.rate_limit.per_hour,
            "health_check_interval": seconds(self.health_interval_ms),
            "backoff_base_ms": self.backoff.initial_ms,
            "backoff_max_ms": self.backoff.cap_ms,
            "backoff_stable": seconds(self.backoff.stable_ms),
            "past_memory_mb": self.past_memory_mb,
        })
    }
}

fn of_service(service: &Service, written: Option<&Value>) -> Value {
    let mut tree = of_process(&service.template, written);
    tree.insert("storage_persist".to_owned(), json!(service.storage_persist));
    Value::Object(tree)
}

fn of_process(template: &ServiceTemplate, written: Option<&Value>) -> Map<String, Value> {
    let limits = &template.limits;
    let tree = json!({
        "command": template.command,
        "args": template.args,
        "env": template.env,
        "socket": template.socket,
        "health": template.health,
        "workdir": template.workdir,
        "restart": match template.restart {
            RestartPolicy::Always => "always",
            RestartPolicy::OnFailure => "on-failure",
            RestartPolicy::Never => "never",
        },
        "startup_timeout": seconds(template.startup_timeout_ms),
        "stop_timeout": seconds(template.stop_timeout_ms),
        "health_check_interval": seconds(template.health_interval_ms),
        "idle_timeout": template.idle_timeout_ms.map(seconds),
        "restart_mode": match template.restart_mode {
            RestartMode::Replace => None,
            RestartMode::Rolling => Some("rolling"),
        },
        "memory_limit_mb": limits.memory_limit_mb,
        "cpu_shares": limits.cpu_shares,
        "max_open_files": limits.max_open_files,
        "user": limits.user,
        "group": limits.group,
        "isolation": match limits.isolation {
            Isolation::Process => None,
            Isolation::Namespace => Some("namespace"),
        },
        "storage_quota_mb": limits.storage_quota_mb,
    });
    let Value::Object(mut tree) = tree else { return Map::new() };
    if let Some(written) = written {
        for key in AS_WRITTEN {
            match written.get(key) {
                Some(value) => drop(tree.insert(key.to_owned(), value.clone())),
                None => drop(tree.remove(key)),
            }
        }
    }
    tree
}

/// Milliseconds as seconds, whole ones without a fraction.
fn seconds(ms: u64) -> Value {
    if ms.is_multiple_of(1000) { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
}

/// Leaves out what is not set, and sections that are left empty by that.
fn without_nulls(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let kept = members.into_iter().map(|(name, member)| (name, without_nulls(member)));
    let is_set = |member: &Value| match member {
        Value::Null => false,
        Value::Object(below) => !below.is_empty(),
        _ => true,
    };
    let mut kept: Map<String, Value> = kept.filter(|(_, member)| is_set(member)).collect();
    // Printed in document 2, empty or not.
    if kept.contains_key("settings") {
        kept.entry("services").or_insert_with(|| json!({}));
    }
    Value::Object(kept)
}

fn flatten(name: &str, value: &Value, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let dot = if name.is_empty() { "" } else { "." };
                flatten(&format!("{name}{dot}{member}"), value, into);
            }
        }
        leaf => into.push((name.to_owned(), leaf.clone())),
    }
}
