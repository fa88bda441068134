//! Which addresses may be fetched: public ones, and hosts that the operator allows.
//!
//! The tables are IANA's special-purpose registries. What they do not call globally reachable
//! is refused, and so is every IPv6 form that carries an IPv4 address in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The longest address, in bytes: what browsers take.
const LONGEST_URL: usize = 2048;

/// Something may not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(String);

impl Forbidden {
    pub(super) fn not_public(url: &Url) -> Forbidden {
        let host = url.host_str().unwrap_or_default();
        Forbidden(format!("'{host}' is not a public address"))
    }
}

/// A host that may be fetched although it is not public.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    host: String,
    /// `None` is any port.
    port: Option<u16>,
}

/// Says what may be fetched.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<Allowed>,
}

/// A host as it is compared: lower case, no brackets, no dot at its end.
fn plain(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

impl Guard {
    /// `allow_hosts` are names or addresses, each with a port or without.
    #[must_use]
    pub fn new<S: AsRef<str>>(allow_hosts: &[S]) -> Guard {
        let allowed = allow_hosts.iter().map(|entry| {
            let entry = entry.as_ref().trim();
            let is_address = entry.parse::<Ipv6Addr>().is_ok();
            let split = entry.rsplit_once(':').filter(|_| !is_address && !entry.ends_with(']'));
            match split.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
                Some((host, port)) => Allowed { host: plain(host), port: Some(port) },
                None => Allowed { host: plain(entry), port: None },
            }
        });
        Guard { allowed: allowed.collect() }
    }

    /// The same, and one more.
    #[must_use]
    pub fn and(&self, entry: &str) -> Guard {
        let mut allowed = self.allowed.clone();
        allowed.extend(Guard::new(&[entry]).allowed);
        Guard { allowed }
    }

    /// Whether the operator allows a host.
    #[must_use]
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let host = plain(host);
        self.allowed.iter().any(|one| one.host == host && one.port.is_none_or(|only| only == port))
    }

    /// Reads an address and checks whatever can be checked without resolving it.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn check(&self, text: &str) -> Result<Url, Forbidden> {
        if text.len() > LONGEST_URL {
            return Err(Forbidden(format!("it is longer than {LONGEST_URL} bytes")));
        }
        // The parser would take these out or mend them, and others would not.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(Forbidden("it holds spaces, control characters or backslashes".into()));
        }
        let url = Url::parse(text).map_err(|error| Forbidden(format!("it is no web address: {error}")))?;
        self.check_url(url)
    }

    /// The same for one that was read.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn check_url(&self, mut url: Url) -> Result<Url, Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden("it must begin with http:// or https://".into()));
        }
        if url.as_str().len() > LONGEST_URL {
            return Err(Forbidden(format!("it is longer than {LONGEST_URL} bytes")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden("it must not hold a user name or password".into()));
        }
        url.set_fragment(None);
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Forbidden("it has no host".into()));
        };
        if self.allows(&host.to_string(), port) {
            return Ok(url);
        }
        // Mail, name and file servers take no part in this.
        if port < 1024 && port != 80 && port != 443 {
            return Err(Forbidden(format!("port {port} is not one of the web's")));
        }
        let public = match host {
            Host::Ipv4(ip) => is_public(ip.into()),
            Host::Ipv6(ip) => is_public(ip.into()),
            Host::Domain(name) => {
                let name = plain(name);
                name != "localhost" && !name.ends_with(".localhost") && !name.is_empty()
            }
        };
        if public { Ok(url) } else { Err(Forbidden::not_public(&url)) }
    }
}

/// Whether an address is one of the public internet.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !matches!(
        (a, b, c),
        // "This network", private, shared by carriers, loopback, link-local.
        (0 | 10 | 127, _, _) | (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _) | (192, 168, _)
        // Protocol assignments, documentation, old 6to4 relays, benchmarks.
        | (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113)
        // Multicast, reserved, broadcast.
        | (224..=255, _, _)
    )
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Only 2000::/3 is given out. Mapped (::ffff:0:0/96), translated (64:ff9b::/96), unique local,
    // link-local, multicast and loopback lie outside of it.
    let given_out = a & 0xe000 == 0x2000;
    // Protocol assignments with Teredo, documentation (two of them), 6to4.
    let special = (a == 0x2001 && (b < 0x0200 || b == 0x0db8)) || a == 0x2002 || (a == 0x3fff && b < 0x1000);
    given_out && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_refused_however_it_is_written() {
        let guard = Guard::default();
        for bad in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://017700000001/",
            "http://127.1/",
            "http://0/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
            "http://[fe80::1]/",
            "http://[fc00::1]/",
            "http://[ff02::1]/",
            "http://[2001:db8::1]/",
            "http://10.0.0.1/",
            "http://172.16.3.4/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://100.64.0.1/",
            "http://198.18.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://x.localhost/",
            "http://１２７.0.0.1/",
            "http://①②⑦.0.0.1/",
            "http://user@1.1.1.1/",
            "http://example.com@127.0.0.1/",
            "http://user:password@example.com/",
            "http://127.0.0.1#@example.com/",
            "http://example.com\\@127.0.0.1/",
            "http://exa\tmple.com/",
            "http://example.com/\u{0}",
            "http://example.com:25/",
            "http://example.com:22/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "javascript:alert(1)",
            "data:text/html,x",
            "//example.com/",
            "example.com",
            "",
            "http://",
        ] {
            assert!(guard.check(bad).is_err(), "{bad} was accepted");
        }
        assert!(guard.check(&format!("https://example.com/{}", "x".repeat(LONGEST_URL))).is_err());
    }

    #[test]
    fn the_public_web_is_not() {
        let guard = Guard::default();
        for good in [
            "https://gallrein.com",
            "http://example.com:8080/a?b=c",
            "https://1.1.1.1/",
            "http://[2606:4700::1111]/",
            "https://müller.example/",
        ] {
            assert!(guard.check(good).is_ok(), "{good} was refused");
        }
        assert_eq!(guard.check("https://example.com/a#b").unwrap().as_str(), "https://example.com/a");
    }

    #[test]
    fn an_allowed_host_is_allowed_at_its_port_alone() {
        let guard = Guard::new(&["127.0.0.1:8080", "Intranet.example", "[::1]:81", "fe80::1"]);
        for good in
            ["http://127.0.0.1:8080/", "http://0x7f000001:8080/", "http://[::1]:81/", "http://[fe80::1]:25/"]
        {
            assert!(guard.check(good).is_ok(), "{good} was refused");
        }
        for bad in
            ["http://127.0.0.1:8081/", "http://127.0.0.2:8080/", "http://[::1]:82/", "http://localhost:8080/"]
        {
            assert!(guard.check(bad).is_err(), "{bad} was accepted");
        }
        assert!(guard.allows("intranet.EXAMPLE.", 80) && !guard.allows("x.intranet.example", 80));
    }
}
