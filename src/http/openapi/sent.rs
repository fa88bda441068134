//! Files that never change while the program runs: compressed once, and sent only to who has
//! not got them yet.

use std::io::{Read as _, Write as _};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// One file.
pub(super) struct Sent {
    media_type: &'static str,
    gzip: Bytes,
    tag: String,
}

impl Sent {
    /// A file of this content.
    pub(super) fn new(media_type: &'static str, content: Vec<u8>) -> Sent {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let written = gzip.write_all(&content).and_then(|()| gzip.finish());
        // Writing to memory does not fail.
        Sent::compressed(media_type, written.unwrap_or_default())
    }

    /// A file whose content is compressed already.
    pub(super) fn compressed(media_type: &'static str, gzip: Vec<u8>) -> Sent {
        let hash = blake3::hash(&gzip).to_hex();
        let tag = format!("\"{}\"", hash.get(..16).unwrap_or_default());
        Sent { media_type, gzip: gzip.into(), tag }
    }

    /// The content.
    pub(super) fn plain(&self) -> Vec<u8> {
        let mut content = Vec::new();
        if let Err(error) = GzDecoder::new(&*self.gzip).read_to_end(&mut content) {
            tracing::error!(%error, "a file of ours does not unpack");
        }
        content
    }

    /// The file as an answer, or that the asker has it.
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let values = |name| asked.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let known = values(header::IF_NONE_MATCH)
            .flat_map(|tags| tags.split(','))
            .any(|tag| tag.trim().trim_start_matches("W/") == self.tag);
        let takes_gzip = values(header::ACCEPT_ENCODING).flat_map(|all| all.split(',')).any(takes_gzip);
        let mut response = match (known, takes_gzip) {
            (true, _) => StatusCode::NOT_MODIFIED.into_response(),
            (false, true) => Body::from(self.gzip.clone()).into_response(),
            (false, false) => Body::from(self.plain()).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.extend(HeaderValue::try_from(&self.tag).ok().map(|tag| (header::ETAG, tag)));
        if takes_gzip && !known {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Whether a part of `Accept-Encoding` allows gzip.
fn takes_gzip(part: &str) -> bool {
    let (name, weight) = part.split_once(';').unwrap_or((part, ""));
    let is_refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
    matches!(name.trim(), "gzip" | "*") && !is_refused
}
