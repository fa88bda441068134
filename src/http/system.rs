//! Routes that stand in no document: health, readiness, metrics.

use super::error::Family;
use super::router::Routes;

/// The routes that answer in their listener's shape.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Listener)
}
