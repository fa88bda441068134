//! Tenantry: the control plane for one application run for many customers.

pub mod keeper;
