//! Routes of document 1: users, tenants, deployments, services, health, ports.

use super::error::Family;
use super::router::Routes;

/// The routes of document 1.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Manager)
}
