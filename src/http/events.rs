//! Routes of document 3: the feed, time travel, audit.

use super::error::Family;
use super::router::Routes;

/// The routes of document 3.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Instances)
}
