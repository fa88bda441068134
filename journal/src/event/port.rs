//! Ports: which pair is whose.

use serde::{Deserialize, Serialize};

use crate::id::TenantId;

/// A tenant's two TCP ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortPair {
    /// Where its frontend listens.
    pub frontend: u16,
    /// Where its backend listens.
    pub backend: u16,
}

/// The pair is held by the tenant from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortAllocated {
    /// The holder.
    pub tenant_id: TenantId,
    /// What it holds.
    pub ports: PortPair,
}

/// The pair is free again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortReleased {
    /// Who held it.
    pub tenant_id: TenantId,
    /// What is free.
    pub ports: PortPair,
}
