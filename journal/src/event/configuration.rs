//! A tenant's `.env` file: that somebody wants it written, and what came of it.
//!
//! What the file holds follows from the tenant and its configuration, so no event holds it.

use serde::{Deserialize, Serialize};

use crate::id::{Seq, TenantId};
use crate::sealed::Sealed;

/// Somebody wants the file written anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvRequested {
    /// The tenant.
    pub tenant_id: TenantId,
}

/// The file says what the configuration says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvWritten {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The last request that this answers.
    pub answers: Seq,
    /// Absolute path of the file.
    pub path: Sealed<String>,
    /// Absolute path under which the file before is kept; `None` when there was none.
    pub backup: Option<Sealed<String>>,
}

/// The file is as it was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvFailed {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The last request that this answers.
    pub answers: Seq,
    /// A sentence: why.
    pub reason: Sealed<String>,
}
