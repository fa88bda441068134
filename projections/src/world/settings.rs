//! Settings that somebody set while the control plane ran.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::setting::SettingChanged;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_journal::time::Timestamp;

/// A setting as somebody set it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its value.
    pub value: Sealed<Secret>,
    /// When it was set.
    pub updated_at: Timestamp,
    /// The event that set it.
    pub changed: Seq,
}

/// Settings that somebody set, by key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    by_key: OrdMap<String, Setting>,
}

impl Settings {
    /// One setting; `None` when nobody set it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.by_key.get(key)
    }

    /// A setting's value; `None` when nobody set it.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.get(key)?.value.open().map(Secret::reveal)
    }

    pub(super) fn changed(&mut self, recorded: &Recorded, event: &SettingChanged) {
        let setting = Setting { value: event.value.clone(), updated_at: recorded.at, changed: recorded.seq };
        self.by_key.insert(event.key.clone(), setting);
    }

    pub(super) fn cleared(&mut self, key: &str) {
        self.by_key.remove(key);
    }
}
