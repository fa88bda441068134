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
}
