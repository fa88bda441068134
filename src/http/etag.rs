//! `ETag` and `If-Match`: a resource's tag is the position of the event that changed it last.

use axum::http::{HeaderMap, HeaderValue, header};
use tenantry_journal::id::Seq;

use super::decimal::quoted;
use super::error::ApiError;

/// A tag that no resource ever has: no event stands at this position.
const NEVER: Seq = Seq(u64::MAX);

/// The tag of a resource that was changed last at `changed`.
#[must_use]
pub fn etag(changed: Seq) -> HeaderValue {
    quoted(changed.0)
}

/// The position that the resource must still be at, if the request says so.
///
/// # Errors
/// 400 for several tags: one resource has one.
pub fn if_match(headers: &HeaderMap) -> Result<Option<Seq>, ApiError> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text.contains(',') || values.next().is_some() {
        return Err(ApiError::bad_request("If-Match takes one entity tag."));
    }
    if text == "*" {
        return Ok(None);
    }
    let digits = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // A tag that we never gave matches nothing, and is no syntax error (RFC 9110, 13.1.1).
    Ok(Some(digits.and_then(|digits| digits.parse().ok()).map_or(NEVER, Seq)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &'static str) -> Result<Option<Seq>, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_static(text));
        if_match(&headers).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn if_match_reads_what_etag_wrote_and_nothing_else() {
        assert_eq!(etag(Seq(42)), "\"42\"");
        assert_eq!(parsed("\"42\""), Ok(Some(Seq(42))));
        assert_eq!(parsed("*"), Ok(None));
        assert_eq!(parsed("W/\"42\""), Ok(Some(NEVER)));
        assert_eq!(parsed("42"), Ok(Some(NEVER)));
        assert_eq!(parsed("\"1\", \"2\""), Err(400));
        assert_eq!(if_match(&HeaderMap::new()).ok(), Some(None));
    }
}
