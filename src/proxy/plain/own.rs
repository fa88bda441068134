//! Heads of answers that are made here: the API's, and the proxy's own pages.

use std::io::Write as _;

use hyper::body::Body;
use hyper::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use hyper::{HeaderMap, Response, StatusCode};

use super::super::page::Refusal;
use super::answer::end_head;

/// Writes the head of an answer of our own. Gives whether its body is sent in chunks; `None` without a body.
pub(super) fn write_head<B: Body>(
    response: &Response<B>,
    is_head: bool,
    closes: bool,
    out: &mut Vec<u8>,
) -> Option<bool> {
    let status = response.status();
    let headers: &HeaderMap = response.headers();
    // Writing to memory does not fail.
    let _ = write!(out, "HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        if *name != CONNECTION && *name != TRANSFER_ENCODING {
            let parts: [&[u8]; 4] = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
            parts.iter().for_each(|part| out.extend_from_slice(part));
        }
    }
    let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let known = headers.contains_key(CONTENT_LENGTH);
    let length = response.body().size_hint().exact();
    let is_chunked = !has_none && !known && length.is_none();
    match length {
        Some(length) if !known && !has_none => {
            let _ = write!(out, "content-length: {length}\r\n");
        }
        _ if is_chunked && !is_head => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
    end_head(headers.contains_key(DATE), closes, out);
    (!is_head && !has_none && !response.body().is_end_stream()).then_some(is_chunked)
}

/// Writes the proxy's own answer.
pub(super) fn write_page(refusal: Refusal, is_head: bool, closes: bool, out: &mut Vec<u8>) {
    let page = refusal.page();
    if write_head(&page, is_head, closes, out).is_some() {
        out.extend_from_slice(page.body().as_bytes());
    }
}
