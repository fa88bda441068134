//! Reads how releases come and go: what `[deploy]` says besides where and by whom.

use std::path::PathBuf;

use super::reader::Section;
use super::service::absolute;
use crate::domain::policy::{Deploying, Services};

/// More copies of a customer's application than anybody goes back to.
const MOST: u64 = 1000;

pub(super) fn deploying(section: &Section<'_>, working_dir: &std::path::Path) -> Deploying {
    let usual = Deploying::default();
    let choices = [Services::Supervisor, Services::Systemd].map(|one| (one.as_str(), one));
    let services = section.choice("services", &choices);
    let count = |key, least, usual| {
        let found = section.whole(key, least..=MOST);
        found.and_then(|found| u32::try_from(found.value).ok()).unwrap_or(usual)
    };
    let path = |key| section.text(key).map(|found| PathBuf::from(absolute(&found.value, working_dir)));
    let sources = section.list("sources").map(|found| found.value).unwrap_or_default();
    Deploying {
        keep_releases: count("keep_releases", 1, usual.keep_releases),
        keep_backups: count("keep_backups", 0, usual.keep_backups),
        sources: sources.iter().map(|source| PathBuf::from(absolute(source, working_dir))).collect(),
        git_ssh_key_file: path("git_ssh_key_file"),
        git_known_hosts_file: path("git_known_hosts_file"),
        git_credentials_file: path("git_credentials_file"),
        services: services.map(|found| found.value).unwrap_or_default(),
        git_ca_file: path("git_ca_file"),
    }
}
