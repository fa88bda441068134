//! Every site that nginx could serve, ours or not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tenantry_journal::id::TenantId;

use super::directory::{Directories, read};
use super::site::{Kind, Owner, owner};
use super::syntax::directives;

/// A file among the sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The first name that it answers to; the file's own name when it says none.
    pub domain: String,
    /// The link that makes it live, or the file when it is not enabled.
    pub path: PathBuf,
    /// `frontend`, `api` or `shared`; guessed when it is not ours.
    pub kind: &'static str,
    /// Whose it is, when it is ours.
    pub tenant: Option<TenantId>,
    /// Whether we wrote it.
    pub is_ours: bool,
    /// Whether nginx reads it.
    pub is_enabled: bool,
}

/// Every file among the sites, by name.
pub(super) fn configs(sites: &Directories) -> Vec<Config> {
    let mut all: BTreeMap<String, Config> = BTreeMap::new();
    for (dir, is_enabled) in [(&sites.available, false), (&sites.enabled, true)] {
        for (name, path) in visible(dir) {
            if let Some(config) = config(&name, &path, is_enabled) {
                all.insert(name, config);
            }
        }
    }
    all.into_values().collect()
}

fn visible(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect()
}

fn config(name: &str, path: &Path, is_enabled: bool) -> Option<Config> {
    if path.is_dir() {
        return None;
    }
    // A link that leads nowhere is listed too: nginx stumbles over it.
    let text = read(path).unwrap_or_default();
    let names = directives(&text).into_iter().filter(|one| one.name() == "server_name");
    let said = names.filter_map(|one| one.first_argument().map(str::to_owned)).find(|name| !name.is_empty());
    let (tenant, kind, is_ours) = match owner(&text) {
        Owner::Tenant(tenant, kind) => (Some(tenant), kind.as_str(), true),
        Owner::Shared => (None, "shared", true),
        Owner::Foreign => (None, guessed(said.as_deref().unwrap_or(name)), false),
    };
    let domain = said.unwrap_or_else(|| name.to_owned());
    Some(Config { domain, path: path.to_path_buf(), kind, tenant, is_ours, is_enabled })
}

/// What a name sounds like.
fn guessed(domain: &str) -> &'static str {
    let first = domain.split('.').next().unwrap_or_default().to_ascii_lowercase();
    if first.starts_with("api") || first.ends_with("api") {
        Kind::Api.as_str()
    } else {
        Kind::Frontend.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_of_others_are_listed_and_marked() {
        let dir = tempfile::tempdir().unwrap();
        let sites = Directories { available: dir.path().join("a"), enabled: dir.path().join("e") };
        sites.prepare().unwrap();
        let ours = "# Written by tenantry for tenant 0193a1b2-0000-7000-8000-000000000001, api. x\n\
                    server { server_name k.example.com; }";
        std::fs::write(sites.available.join("k"), ours).unwrap();
        std::os::unix::fs::symlink(sites.available.join("k"), sites.enabled.join("k")).unwrap();
        std::fs::write(sites.available.join("old"), "server { server_name shopapi.example.com; }").unwrap();
        std::os::unix::fs::symlink("/nowhere", sites.enabled.join("broken")).unwrap();
        let all: Vec<_> = configs(&sites)
            .into_iter()
            .map(|one| (one.domain, one.kind, one.tenant.is_some(), one.is_ours, one.is_enabled))
            .collect();
        let expected = [
            ("broken".to_owned(), "frontend", false, false, true),
            ("k.example.com".to_owned(), "api", true, true, true),
            ("shopapi.example.com".to_owned(), "api", false, false, false),
        ];
        assert_eq!(all, expected);
    }
}
