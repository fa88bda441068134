//! The head of a request that is passed on as it came, and as an instance gets it.
//!
//! What is changed is what [`super::super::headers`] changes. A head that asks for more than
//! to be passed on (another protocol, a body that is still to come, an option of the
//! connection) is not plain, and is left to the library.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Request, Status};

use super::super::headers::Peer;

/// As many headers as the library takes.
pub(super) const MOST_HEADERS: usize = 100;

/// What came of a request.
pub(super) enum Came<'h, 'b> {
    /// Its head has not come to its end.
    Part,
    /// It is not plain; the host that it names, if it names one.
    Other(Option<&'b str>),
    /// It can be passed on.
    Plain(Head<'h, 'b>),
}

/// The head of a plain request.
#[derive(Debug)]
pub(super) struct Head<'h, 'b> {
    method: &'b str,
    target: &'b str,
    headers: &'h [Header<'b>],
    /// A bit for each of them that is passed on.
    kept: u128,
    /// The host that it names.
    pub(super) host: &'b str,
    /// What nginx shows to be believed, and what it says of the client.
    pub(super) edge: Option<&'b [u8]>,
    pub(super) address: Option<&'b [u8]>,
    pub(super) scheme: Option<&'b [u8]>,
    /// Its bytes with those of its body.
    pub(super) length: usize,
    body: &'b [u8],
    /// It is the last one of its connection.
    pub(super) closes: bool,
}

/// What a line of a head is to us.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Kept,
    /// It is for this connection, or claims what only we say.
    Dropped,
    Host,
    Connection,
    Length,
    Edge,
    Address,
    Scheme,
    /// It asks for more than to be passed on.
    Other,
}

fn line(name: &str) -> Line {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    // By length first: most names are none of these.
    match name.len() {
        2 if is("te") => Line::Dropped,
        4 if is("host") => Line::Host,
        6 if is("expect") => Line::Other,
        7 if is("upgrade") || is("trailer") => Line::Other,
        9 if is("forwarded") || is("x-real-ip") => Line::Dropped,
        10 if is("connection") => Line::Connection,
        10 if is("keep-alive") => Line::Dropped,
        14 if is("content-length") => Line::Length,
        15 if is("x-forwarded-for") => Line::Address,
        15 if is(crate::drivers::nginx::EDGE_HEADER) => Line::Edge,
        16 if is("proxy-connection") || is("x-forwarded-host") || is("x-forwarded-port") => Line::Dropped,
        17 if is("x-forwarded-proto") => Line::Scheme,
        17 if is("transfer-encoding") => Line::Other,
        18 if is("proxy-authenticate") || is("x-forwarded-server") || is("x-forwarded-prefix") => {
            Line::Dropped
        }
        19 if is("proxy-authorization") => Line::Dropped,
        _ => Line::Kept,
    }
}

/// Reads what came of a request; the strict reader has looked at it before.
pub(super) fn read<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut [MaybeUninit<Header<'b>>; MOST_HEADERS],
) -> Came<'h, 'b> {
    let mut request = Request::new(&mut []);
    let parsed = ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, room);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Came::Part,
        Err(_) => return Came::Other(None),
    };
    let headers: &'h [Header<'b>] = request.headers;
    let plain = match (request.method, request.path, request.version) {
        (Some(method), Some(target), Some(1)) if target.starts_with('/') && method != "CONNECT" => {
            plain(method, target, headers, bytes, length)
        }
        _ => None,
    };
    let host = || headers.iter().find(|header| line(header.name) == Line::Host);
    plain.map_or_else(|| Came::Other(host().and_then(|host| str::from_utf8(host.value).ok())), Came::Plain)
}

fn plain<'h, 'b>(
    method: &'b str,
    target: &'b str,
    headers: &'h [Header<'b>],
    bytes: &'b [u8],
    length: usize,
) -> Option<Head<'h, 'b>> {
    let mut head = Head {
        method,
        target,
        headers,
        kept: 0,
        host: "",
        edge: None,
        address: None,
        scheme: None,
        length,
        body: &[],
        closes: false,
    };
    let (mut bit, mut expected) = (1, None);
    for header in headers {
        match line(header.name) {
            Line::Kept => head.kept |= bit,
            Line::Dropped => {}
            Line::Host if head.host.is_empty() => head.host = str::from_utf8(header.value).ok()?,
            Line::Connection if header.value.eq_ignore_ascii_case(b"keep-alive") => {}
            Line::Connection if header.value.eq_ignore_ascii_case(b"close") => head.closes = true,
            Line::Length if expected.is_none() => {
                expected = Some(str::from_utf8(header.value).ok()?.parse::<usize>().ok()?);
                head.kept |= bit;
            }
            // Of several the first one counts, as for the library.
            Line::Edge => head.edge = head.edge.or(Some(header.value)),
            Line::Address => head.address = head.address.or(Some(header.value)),
            Line::Scheme => head.scheme = head.scheme.or(Some(header.value)),
            Line::Host | Line::Connection | Line::Length | Line::Other => return None,
        }
        bit <<= 1;
    }
    // A body is passed on with its head when both came together.
    head.body = bytes.get(length..length.checked_add(expected.unwrap_or(0))?)?;
    head.length += head.body.len();
    // The library says of these how long their body is even when there is none.
    let may_lack_length = !matches!(method, "POST" | "PUT" | "PATCH");
    (!head.host.is_empty() && (expected.is_some() || may_lack_length)).then_some(head)
}

impl<'b> Head<'_, 'b> {
    pub(super) fn method(&self) -> &'b str {
        self.method
    }

    /// Path and query.
    pub(super) fn target(&self) -> &'b str {
        self.target
    }

    /// All of them, as they came.
    pub(super) fn headers(&self) -> &[Header<'b>] {
        self.headers
    }

    pub(super) fn body(&self) -> &'b [u8] {
        self.body
    }

    /// Its answer has no body.
    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Sending it twice is as good as once.
    pub(super) fn is_repeatable(&self) -> bool {
        self.body.is_empty() && matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    /// The request as the instance gets it.
    pub(super) fn write(&self, peer: &Peer, out: &mut Vec<u8>) {
        out.reserve(self.length + 256);
        for part in [self.method, " ", self.target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        let mut bits = self.kept;
        for header in self.headers {
            if bits & 1 == 1 {
                write_line(header, out);
            }
            bits >>= 1;
        }
        peer.write(self.host.as_bytes(), out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body);
    }
}

/// Writes a header as it came.
pub(super) fn write_line(header: &Header<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(header.name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(header.value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::super::super::headers;
    use super::*;

    fn peer() -> Peer {
        Peer::new("10.0.0.7".parse().unwrap())
    }

    /// The request as it is written; `None` when it is not plain.
    fn written(text: &str) -> Option<String> {
        let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let Came::Plain(head) = read(text.as_bytes(), &mut room) else { return None };
        let mut out = Vec::new();
        head.write(&peer(), &mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_instance_gets_the_same_lines_either_way() {
        const LINES: [(&str, &str); 20] = [
            ("accept", "*/*"),
            ("te", "trailers"),
            ("keep-alive", "5"),
            ("proxy-connection", "a"),
            ("proxy-authenticate", "a"),
            ("proxy-authorization", "a"),
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "b"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-server", "b"),
            ("x-forwarded-prefix", "/b"),
            ("x-real-ip", "6.6.6.6"),
            ("x-tenantry-edge", "guess"),
            ("cookie", "a=b; c=d"),
            ("cookie", "e=f"),
            ("x-own", ""),
            ("content-length", "0"),
            ("connection", "keep-alive"),
        ];
        let host = HeaderValue::from_static("a.web.test:8000");
        let mut theirs = HeaderMap::new();
        theirs.insert("host", host.clone());
        let mut text = "GET /a?b=%20 HTTP/1.1\r\nHost: a.web.test:8000\r\n".to_owned();
        for (name, value) in LINES {
            theirs.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            text.push_str(&format!("{}: {value}\r\n", name.to_ascii_uppercase()));
        }
        headers::to_instance(&mut theirs, &peer(), &host);
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &theirs {
            expected.entry(name.to_string()).or_default().push(value.to_str().unwrap().to_owned());
        }
        let written = written(&format!("{text}\r\n")).unwrap();
        let (first, rest) = written.split_once("\r\n").unwrap();
        assert_eq!(first, "GET /a?b=%20 HTTP/1.1");
        let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in rest.strip_suffix("\r\n\r\n").unwrap().split("\r\n") {
            let (name, value) = line.split_once(':').unwrap();
            got.entry(name.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn what_asks_for_more_is_left_to_the_library() {
        for (first, lines) in [
            ("GET / HTTP/1.0", ""),
            ("GET http://a/ HTTP/1.1", ""),
            ("OPTIONS * HTTP/1.1", ""),
            ("CONNECT a:80 HTTP/1.1", ""),
            ("POST / HTTP/1.1", ""),
            ("POST / HTTP/1.1", "Content-Length: 6\r\n"),
            ("POST / HTTP/1.1", "Content-Length: 5\r\nContent-Length: 5\r\n"),
            ("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n"),
            ("POST / HTTP/1.1", "Content-Length: 5\r\nExpect: 100-continue\r\n"),
            ("GET / HTTP/1.1", "Upgrade: websocket\r\nConnection: upgrade\r\n"),
            ("GET / HTTP/1.1", "Connection: close, x-own\r\nX-Own: 1\r\n"),
            ("GET / HTTP/1.1", "Host: b\r\n"),
            ("GET / HTTP/1.1", "A\r\n"),
        ] {
            let text = format!("{first}\r\nHost: a\r\n{lines}\r\nhello");
            assert_eq!(written(&text), None, "{text:?}");
        }
        assert_eq!(written("GET / HTTP/1.1\r\n\r\n"), None, "no host");
        let whole = written("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /").unwrap();
        assert!(whole.contains("\r\nContent-Length: 5\r\n") && whole.ends_with("\r\n\r\nhello"), "{whole}");
        let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        assert!(matches!(read(b"GET / HTTP/1.1\r\nHost:", &mut room), Came::Part));
    }
}
