//! What is changed in the heads of requests and answers on their way.
//!
//! Headers of one connection (RFC 9110, 7.6.1) end here. Who asked is told to the instance by
//! us alone: what a client says about that itself is dropped.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::drivers::nginx::EDGE_HEADER;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Other headers by which programs learn who asked or for which host.
const CLAIMS: [HeaderName; 5] = [
    HeaderName::from_static(EDGE_HEADER),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-prefix"),
];

/// Removes what is meant for the connection that it came on.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            // A client cannot make us drop what the instance has to know.
            .filter(|name| *name != HOST && !is_claim(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
    ] {
        headers.remove(name);
    }
}

fn is_claim(name: &HeaderName) -> bool {
    *name == FORWARDED || *name == X_FORWARDED_FOR || *name == X_FORWARDED_HOST || *name == X_FORWARDED_PROTO
}

/// Makes a client's head one for the instance.
pub(super) fn to_instance(headers: &mut HeaderMap, peer: &Peer, host: &HeaderValue) {
    remove_hop_by_hop(headers);
    headers.remove(EXPECT);
    for name in CLAIMS {
        headers.remove(name);
    }
    headers.insert(X_FORWARDED_FOR, peer.address.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(peer.scheme));
    headers.insert(X_FORWARDED_HOST, host.clone());
    headers.insert(FORWARDED, peer.forwarded(host));
    headers.insert(HOST, host.clone());
}

/// The same for a request to change the protocol.
pub(super) fn to_instance_upgrading(headers: &mut HeaderMap, peer: &Peer, host: &HeaderValue) {
    let protocol = headers.get(UPGRADE).cloned();
    to_instance(headers, peer, host);
    if let Some(protocol) = protocol {
        upgrading(headers, protocol);
    }
}

/// Makes an instance's head one for the client.
pub(super) fn to_client(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
}

/// The same for an answer that changes the protocol.
pub(super) fn to_client_upgrading(headers: &mut HeaderMap) {
    let protocol = headers.get(UPGRADE).cloned();
    remove_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        upgrading(headers, protocol);
    }
}

fn upgrading(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(UPGRADE, protocol);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

/// What nginx shows to be believed.
#[derive(Clone, Copy, Debug)]
pub struct EdgeKey(blake3::Hash);

impl EdgeKey {
    /// Remembers a digest of it alone.
    #[must_use]
    pub fn new(key: &str) -> EdgeKey {
        EdgeKey(blake3::hash(key.as_bytes()))
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    address: HeaderValue,
    /// As RFC 7239 writes it.
    node: String,
    /// How it came to us.
    scheme: &'static str,
}

impl Peer {
    pub(super) fn new(address: IpAddr) -> Peer {
        let address = address.to_canonical();
        let node = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("\"[{v6}]\""),
        };
        let text = address.to_string();
        let address = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        Peer { address, node, scheme: "http" }
    }

    /// Whom nginx speaks for, when the request comes from it: it knows the key that stands in
    /// its configuration alone, and says who asked and how.
    pub(super) fn through_edge(headers: &HeaderMap, key: &EdgeKey) -> Option<Peer> {
        let value = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
        let shown = headers.get(EDGE_HEADER)?.as_bytes();
        Peer::spoken_for(shown, value(X_FORWARDED_FOR), value(X_FORWARDED_PROTO), key)
    }

    /// The same from what it shows, and what it says of the address and the scheme.
    pub(super) fn spoken_for(
        shown: &[u8],
        address: Option<&[u8]>,
        scheme: Option<&[u8]>,
        key: &EdgeKey,
    ) -> Option<Peer> {
        // Equal hashes are compared in constant time.
        if blake3::hash(shown) != key.0 {
            return None;
        }
        let address = str::from_utf8(address?).ok()?.parse().ok()?;
        let is_secure = scheme == Some(b"https");
        Some(Peer { scheme: if is_secure { "https" } else { "http" }, ..Peer::new(address) })
    }

    /// The lines that tell an instance who asked, and for which host.
    pub(super) fn write(&self, host: &[u8], out: &mut Vec<u8>) {
        let parts: [&[u8]; 13] = [
            b"host: ",
            host,
            b"\r\nx-forwarded-for: ",
            self.address.as_bytes(),
            b"\r\nx-forwarded-proto: ",
            self.scheme.as_bytes(),
            b"\r\nx-forwarded-host: ",
            host,
            b"\r\nforwarded: for=",
            self.node.as_bytes(),
            b";host=\"",
            host,
            b"\";proto=",
        ];
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.extend_from_slice(self.scheme.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn forwarded(&self, host: &HeaderValue) -> HeaderValue {
        let host = host.to_str().unwrap_or_default();
        // A host holds neither quotes nor backslashes; one that does names nothing of ours.
        let text = format!("for={};host=\"{host}\";proto={}", self.node, self.scheme);
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("for=unknown"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn what_a_client_says_of_itself_is_replaced_and_what_is_for_us_ends_here() {
        let mut sent = headers(&[
            ("host", "a.api.test"),
            ("connection", "keep-alive, x-secret, host, x-forwarded-for"),
            ("x-secret", "1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        let host = HeaderValue::from_static("a.api.test");
        to_instance(&mut sent, &Peer::new("10.0.0.7".parse().unwrap()), &host);
        let mut left: Vec<String> =
            sent.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(
            left,
            [
                "accept: */*",
                "forwarded: for=10.0.0.7;host=\"a.api.test\";proto=http",
                "host: a.api.test",
                "x-forwarded-for: 10.0.0.7",
                "x-forwarded-host: a.api.test",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn only_who_knows_the_key_speaks_for_others() {
        let key = EdgeKey::new("secret");
        let said = |edge: &'static str| {
            headers(&[
                ("x-tenantry-edge", edge),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-proto", "https"),
            ])
        };
        assert!(Peer::through_edge(&said("guess"), &key).is_none());
        assert!(Peer::through_edge(&headers(&[("x-forwarded-for", "6.6.6.6")]), &key).is_none());
        let mut sent = said("secret");
        let peer = Peer::through_edge(&sent, &key).unwrap();
        to_instance(&mut sent, &peer, &HeaderValue::from_static("a.test"));
        assert_eq!(sent.get("x-forwarded-for").unwrap(), "6.6.6.6");
        assert_eq!(sent.get("x-forwarded-proto").unwrap(), "https");
        assert_eq!(sent.get("forwarded").unwrap(), "for=6.6.6.6;host=\"a.test\";proto=https");
        assert!(!sent.contains_key("x-tenantry-edge"), "the instance does not learn the key");
    }

    #[test]
    fn an_address_of_version_6_is_written_as_the_standard_says() {
        let host = HeaderValue::from_static("a");
        let six = Peer::new("2001:db8::1".parse().unwrap());
        assert_eq!(six.forwarded(&host), "for=\"[2001:db8::1]\";host=\"a\";proto=http");
        assert_eq!(Peer::new("::ffff:10.0.0.7".parse().unwrap()).address, "10.0.0.7");
    }
}
