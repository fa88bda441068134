//! The releases of a tenant that can be gone back to.

use imbl::Vector;
use serde::{Deserialize, Serialize};
use tenantry_journal::id::DeploymentId;
use tenantry_journal::time::Timestamp;

/// What is known of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStatus {
    /// Its files are there; it never served.
    Prepared,
    /// It served.
    Healthy,
    /// Its deployment failed or was called off.
    Failed,
}

/// One release whose files are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its number.
    pub number: u32,
    /// The deployment that made it.
    pub deployment: DeploymentId,
    /// When its files were whole.
    pub made_at: Timestamp,
    /// Commit of its files, when they came from git.
    pub commit: Option<String>,
    /// What is known of it.
    pub status: ReleaseStatus,
}

/// A tenant's releases, by number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Releases(Vector<Release>);

impl Releases {
    /// All of them, the newest last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Release> {
        self.0.iter()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Release> {
        self.0.iter().find(|release| release.number == number)
    }

    /// The release that a rollback goes to when nobody says: the newest before `current` that
    /// served.
    #[must_use]
    pub fn before(&self, current: u32) -> Option<&Release> {
        self.0
            .iter()
            .rev()
            .find(|release| release.number < current && release.status == ReleaseStatus::Healthy)
    }

    pub(super) fn note(&mut self, release: Release) {
        self.forget(&[release.number]);
        let at = self.0.iter().position(|other| other.number > release.number).unwrap_or(self.0.len());
        self.0.insert(at, release);
    }

    pub(super) fn change(&mut self, number: u32, change: impl FnOnce(&mut Release)) {
        if let Some(release) = self.0.iter_mut().find(|release| release.number == number) {
            change(release);
        }
    }

    pub(super) fn forget(&mut self, numbers: &[u32]) {
        self.0.retain(|release| !numbers.contains(&release.number));
    }
}
