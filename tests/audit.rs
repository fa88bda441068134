//! The audit: what the journal proves, to whom, and that what is refused stands in it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;
mod support;

#[path = "audit/denied.rs"]
mod denied;
#[path = "audit/elsewhere.rs"]
mod elsewhere;
#[path = "audit/routes.rs"]
mod routes;
