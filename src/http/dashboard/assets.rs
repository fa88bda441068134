//! The files of the dashboard, as `build.rs` found them.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};

use super::encoding::Accepted;

/// A file with its compressed forms.
pub(super) struct File {
    name: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| FILES.iter().map(Asset::of).collect());

/// A file that is served.
pub(super) struct Asset {
    pub(super) name: &'static str,
    /// Its media type.
    pub(super) kind: &'static str,
    /// Names its content; the same for each of its forms, so it is a weak one.
    pub(super) tag: HeaderValue,
    file: &'static File,
}

/// The file of a name.
pub(super) fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

impl Asset {
    fn of(file: &'static File) -> Asset {
        let digest = blake3::hash(file.plain).to_hex();
        let tag = HeaderValue::try_from(format!("W/\"{digest}\"")).expect("hexadecimal digits are ASCII");
        Asset { name: file.name, kind: kind_of(file.name), tag, file }
    }

    /// Whether its name changes with its content: `index-BvX1qR3a.js`.
    pub(super) fn is_hashed(&self) -> bool {
        const HASH: usize = 8;
        let stem = self.name.rsplit_once('.').map_or("", |(stem, _)| stem);
        let Some(at) = stem.len().checked_sub(HASH + 1) else { return false };
        stem.get(at..).is_some_and(|hash| hash.starts_with('-')) && self.name != "index.html"
    }

    /// Whether a request says that its client has this content.
    pub(super) fn is_known_to(&self, asked: &HeaderMap) -> bool {
        let tags = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let ours = self.tag.to_str().unwrap_or_default();
        tags.flat_map(|value| value.split(',')).map(str::trim).any(|tag| tag == "*" || tag == ours)
    }

    /// The shortest form that a client takes, and the name of its encoding.
    pub(super) fn form(&self, accepted: Accepted) -> (&'static [u8], Option<&'static str>) {
        let brotli = self.file.brotli.filter(|_| accepted.brotli).map(|bytes| (bytes, Some("br")));
        let gzip = || self.file.gzip.filter(|_| accepted.gzip).map(|bytes| (bytes, Some("gzip")));
        brotli.or_else(gzip).unwrap_or((self.file.plain, None))
    }
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_hash_is_kept_for_ever() {
        let asset = |name| {
            let file = Box::leak(Box::new(File { name, plain: b"", brotli: None, gzip: None }));
            Asset::of(file).is_hashed()
        };
        assert!(asset("index-BvX1qR3a.js") && asset("index-B-_1qR3a.css"));
        assert!(!asset("licenses.txt") && !asset("index.html") && !asset("plain.css") && !asset("js"));
    }
}
