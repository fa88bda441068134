//! Routes of document 2: instances, their output, tokens.

use super::error::Family;
use super::router::Routes;

/// The routes of document 2.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Instances)
}
