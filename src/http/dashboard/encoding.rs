//! `Accept-Encoding`, as far as there is something to choose.

use axum::http::{HeaderMap, header};

/// Which encodings a client takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) brotli: bool,
    pub(super) gzip: bool,
}

impl Accepted {
    /// As the headers of a request say. What is named with a weight of nought is refused.
    pub(super) fn of(headers: &HeaderMap) -> Accepted {
        let mut accepted = Accepted::default();
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for coding in values.flat_map(|value| value.split(',')) {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
            let is_taken = weight.is_none_or(|weight| weight > 0.0);
            match name.trim() {
                name if name.eq_ignore_ascii_case("br") => accepted.brotli = is_taken,
                name if name.eq_ignore_ascii_case("gzip") => accepted.gzip = is_taken,
                _ => {}
            }
        }
        accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn what_is_refused_is_not_sent() {
        let accepted = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            let Accepted { brotli, gzip } = Accepted::of(&headers);
            (brotli, gzip)
        };
        assert_eq!(accepted("gzip, deflate, br, zstd"), (true, true));
        assert_eq!(accepted("br;q=0, GZIP;q=0.5"), (false, true));
        assert_eq!(accepted("br; q=0.000"), (false, false));
        assert_eq!(accepted("identity"), (false, false));
        assert_eq!(Accepted::of(&HeaderMap::new()), Accepted::default());
    }
}
