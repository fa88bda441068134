//! The rate limit on the wire: three headers on every answer to somebody known, 429 past it.

use axum::http::{HeaderMap, HeaderName, StatusCode};
use tenantry_journal::recorded::Actor;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;

use super::decimal::decimal;
use super::error::ApiError;
use super::state::AppState;
use crate::auth::rate_limit::{Limits, Standing};
use crate::domain::setting;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Counts a request of somebody known.
///
/// # Errors
/// 429 when it is one too many; what is left stands in `standing` all the same.
pub fn take(
    app: &AppState,
    world: &World,
    actor: Actor,
    now: Timestamp,
    standing: &mut Option<Standing>,
) -> Result<(), ApiError> {
    let settings = app.settings.load();
    let limit = |key, file| setting::integer(world, key).and_then(|set| set.try_into().ok()).unwrap_or(file);
    let limits = Limits {
        per_minute: limit(setting::RATE_LIMIT_PER_MINUTE, settings.rate_limit_per_minute),
        per_hour: limit(setting::RATE_LIMIT_PER_HOUR, settings.rate_limit_per_hour),
    };
    *standing = app.rate_limit.take(actor, limits, now);
    let Some(wait) = standing.and_then(|standing| standing.retry_after) else { return Ok(()) };
    let error = ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "This credential has made as many requests as it may for now.",
    );
    Err(error.detailed(format!("Try again in {wait} s.")).retry_after(wait.into()))
}

/// Tells what is left.
pub fn tell(standing: Option<Standing>, headers: &mut HeaderMap) {
    let Some(Standing { limit, remaining, reset, .. }) = standing else { return };
    for (name, value) in [(LIMIT, limit), (REMAINING, remaining), (RESET, reset)] {
        headers.insert(name, decimal(value.into()));
    }
}
