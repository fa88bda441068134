//! A tenant's look. Uploaded files stand here as digests only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::TenantId;

/// The theme was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThemeUpdated {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Color fields of document 1 that were set, `#rrggbb`.
    pub colors: BTreeMap<String, String>,
    /// Logo fields of document 1 that were set: BLAKE3 of the uploaded file, hex.
    pub logos: BTreeMap<String, String>,
}
