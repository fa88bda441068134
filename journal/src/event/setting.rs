//! Settings of the control plane that are changed while it runs.

use serde::{Deserialize, Serialize};

use crate::sealed::{Sealed, Secret};

/// A setting has another value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingChanged {
    /// Which.
    pub key: String,
    /// Its value from here on.
    pub value: Sealed<Secret>,
    /// The same for whoever reads events; `None` when it is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Sealed<String>>,
}

/// A setting is again what the configuration file says, or the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingCleared {
    /// Which.
    pub key: String,
}
