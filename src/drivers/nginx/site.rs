//! What stands in a site's file, made from typed parts alone.
//!
//! A site passes requests to the proxy's listener, which knows who serves at the moment, waits
//! while a process is replaced and wakes what sleeps: so a deployment changes nothing here.
//! Each file begins with a mark that names its tenant, and answers one location with its own
//! digest, which proves that nginx has taken it on.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tenantry_journal::id::TenantId;
use tenantry_journal::name::Domain;
use tenantry_journal::sealed::Secret;

use super::NginxError;
use super::syntax::quoted;

/// Where a site answers with its digest.
pub(super) const PROOF: &str = "/.well-known/tenantry-site";
/// The header by which the proxy knows that a request comes from nginx.
pub const EDGE_HEADER: &str = "x-tenantry-edge";
/// What every file of ours begins with.
const MARK: &str = "# Written by tenantry";
const SHARED: &str = "shared";
/// The longest body of a request: more than any form or picture, less than a disk.
const BODY: &str = "100m";
/// Connections to the proxy that are kept open by each worker.
const KEPT: u32 = 64;
/// The proxy answers for every wait of its own; these are for a proxy that hangs.
const CONNECT: &str = "10s";
const SEND: &str = "300s";
/// A stream or WebSocket that is silent for longer is taken for dead.
const READ: &str = "3600s";
/// Room for the longest domain: 253 bytes and nginx's own.
const NAMES_BUCKET: u32 = 512;

/// An address that a site listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// One address of the machine; all of them without it.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl std::str::FromStr for Listen {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Listen, &'static str> {
        const WRONG: &str = "must be a port, or an address and a port such as 127.0.0.1:8080";
        if let Ok(port) = text.parse::<u16>() {
            return if port == 0 { Err(WRONG) } else { Ok(Listen { address: None, port }) };
        }
        let address: SocketAddr = text.parse().map_err(|_| WRONG)?;
        if address.port() == 0 {
            return Err(WRONG);
        }
        Ok(Listen { address: Some(address.ip()), port: address.port() })
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).fmt(f),
            None => self.port.fmt(f),
        }
    }
}

impl Listen {
    /// Where a client on this machine reaches it.
    #[must_use]
    pub fn local(self) -> SocketAddr {
        let loopback = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        let address = self.address.filter(|address| !address.is_unspecified()).unwrap_or(loopback);
        SocketAddr::new(address, self.port)
    }

    fn write(self, out: &mut String, more: &str, has_ipv6: bool) {
        match self.address {
            Some(address) => {
                let _ = writeln!(out, "    listen {}{more};", SocketAddr::new(address, self.port));
            }
            None => {
                let _ = writeln!(out, "    listen {}{more};", self.port);
                if has_ipv6 {
                    let _ = writeln!(out, "    listen [::]:{}{more};", self.port);
                }
            }
        }
    }
}

/// Which of a tenant's two sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The one of its `domain`.
    Frontend,
    /// The one of its `api_domain`.
    Api,
}

impl Kind {
    /// Its name in document 1.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Frontend => "frontend",
            Kind::Api => "api",
        }
    }
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate with its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// One site of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub kind: Kind,
    /// The name that it answers to.
    pub domain: Domain,
    /// With a certificate it is served by TLS, and plain requests are sent there.
    pub tls: Option<Tls>,
}

/// Where sites listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Plain.
    pub http: Listen,
    /// With TLS.
    pub https: Listen,
    /// Whether the machine has IPv6.
    pub has_ipv6: bool,
}

/// A site's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) digest: String,
}

impl Site {
    /// What stands in its file.
    pub(super) fn render(&self, ports: Ports) -> Result<Rendered, NginxError> {
        let body = self.body(ports)?;
        let digest: String = blake3::hash(body.as_bytes()).to_hex().chars().take(32).collect();
        Ok(Rendered { text: body.replace(DIGEST, &digest), digest })
    }

    fn body(&self, ports: Ports) -> Result<String, NginxError> {
        let Site { tenant, kind, domain, tls } = self;
        let mut out = String::with_capacity(2048);
        let kind = kind.as_str();
        let _ = writeln!(out, "{MARK} for tenant {tenant}, {kind}. Changes made here are lost.");
        let _ = writeln!(out, "server {{");
        ports.http.write(&mut out, "", ports.has_ipv6);
        let _ = writeln!(out, "    server_name {domain};");
        proof(&mut out);
        out.push_str(CHALLENGE);
        let Some(tls) = tls else {
            pass(&mut out);
            out.push_str("}\n");
            return Ok(out);
        };
        let port = if ports.https.port == 443 { String::new() } else { format!(":{}", ports.https.port) };
        let _ = writeln!(
            out,
            "    location / {{\n        return 301 https://{domain}{port}$request_uri;\n    }}"
        );
        let _ = writeln!(out, "}}\nserver {{");
        ports.https.write(&mut out, " ssl", ports.has_ipv6);
        let path = |path: &PathBuf| {
            let text = path.to_str().and_then(quoted);
            text.ok_or_else(|| NginxError::Path { path: path.clone() })
        };
        let _ = writeln!(out, "    server_name {domain};");
        let _ = writeln!(out, "    ssl_certificate {};", path(&tls.certificate)?);
        let _ = writeln!(out, "    ssl_certificate_key {};", path(&tls.key)?);
        let _ = writeln!(out, "    ssl_protocols TLSv1.2 TLSv1.3;");
        proof(&mut out);
        pass(&mut out);
        out.push_str("}\n");
        Ok(out)
    }
}

/// Stands where the digest will; no part of a site can hold it.
const DIGEST: &str = "{digest}";

fn proof(out: &mut String) {
    let _ = writeln!(
        out,
        "    location = {PROOF} {{\n        default_type text/plain;\n        return 200 \"{DIGEST}.$tenantry_shared\";\n    }}"
    );
}

/// RFC 8555, 8.3: the answer is the token and the thumbprint of the account's key, so that no
/// file has to be there for each challenge.
const CHALLENGE: &str = "    location ^~ /.well-known/acme-challenge/ {
        default_type text/plain;
        if ($tenantry_challenge = \"\") {
            return 404;
        }
        return 200 $tenantry_challenge;
    }
";

fn pass(out: &mut String) {
    let _ = writeln!(
        out,
        "    client_max_body_size {BODY};
    location / {{
        proxy_pass http://tenantry_proxy;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $tenantry_connection;
        proxy_set_header X-Tenantry-Edge $tenantry_edge;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_connect_timeout {CONNECT};
        proxy_send_timeout {SEND};
        proxy_read_timeout {READ};
    }}"
    );
}

/// What all sites have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// The proxy's listener.
    pub proxy: SocketAddr,
    /// What tells the proxy that a request comes from nginx.
    pub edge: Secret,
    /// The thumbprint of the ACME account's key, once there is one: letters, digits, `-`, `_`.
    pub thumbprint: Option<String>,
    /// Whether names are longer than nginx's usual table takes.
    pub long_names: bool,
}

impl Shared {
    /// What stands in the file that all sites use.
    pub(super) fn render(&self) -> Result<Rendered, NginxError> {
        let body = self.body()?;
        let digest: String = blake3::hash(body.as_bytes()).to_hex().chars().take(16).collect();
        Ok(Rendered { text: body.replace(DIGEST, &digest), digest })
    }

    fn body(&self) -> Result<String, NginxError> {
        let word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let edge = self.edge.reveal();
        if !word(edge) || !self.thumbprint.as_deref().is_none_or(word) {
            return Err(NginxError::Path { path: PathBuf::from("a key with characters that no key has") });
        }
        let mut out = String::with_capacity(1024);
        let _ = writeln!(out, "{MARK}, {SHARED} by all tenants. Changes made here are lost.");
        if self.long_names {
            let _ = writeln!(out, "server_names_hash_bucket_size {NAMES_BUCKET};");
        }
        let _ = writeln!(
            out,
            "map $http_upgrade $tenantry_connection {{\n    default upgrade;\n    \"\" \"\";\n}}"
        );
        let _ = writeln!(out, "map $host $tenantry_shared {{\n    default \"{DIGEST}\";\n}}");
        let _ = writeln!(out, "map $host $tenantry_edge {{\n    default \"{edge}\";\n}}");
        let _ = writeln!(out, "map $uri $tenantry_challenge {{\n    default \"\";");
        if let Some(thumbprint) = &self.thumbprint {
            let _ = writeln!(
                out,
                "    \"~^/\\.well-known/acme-challenge/(?<tenantry_token>[A-Za-z0-9_-]+)$\" \
                 \"$tenantry_token.{thumbprint}\";"
            );
        }
        let _ = writeln!(
            out,
            "}}\nupstream tenantry_proxy {{\n    server {};\n    keepalive {KEPT};\n}}",
            self.proxy
        );
        Ok(out)
    }
}

/// Whose a file is, by its first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A tenant's site.
    Tenant(TenantId, Kind),
    /// The file that all sites use.
    Shared,
    /// Somebody else's.
    Foreign,
}

/// Reads the mark of a file.
pub(super) fn owner(text: &str) -> Owner {
    let first = text.lines().next().unwrap_or_default();
    let Some(rest) = first.strip_prefix(MARK) else { return Owner::Foreign };
    if rest.strip_prefix(", ").is_some_and(|rest| rest.starts_with(SHARED)) {
        return Owner::Shared;
    }
    let tenant = rest.strip_prefix(" for tenant ").and_then(|rest| rest.split_once(", "));
    let Some((id, kind)) = tenant else { return Owner::Foreign };
    let kind = if kind.starts_with("api.") { Kind::Api } else { Kind::Frontend };
    id.parse().map_or(Owner::Foreign, |id: TenantId| Owner::Tenant(id, kind))
}

/// The digest that stands in a file of ours.
pub(super) fn digest_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(PROOF)?;
    let (_, rest) = rest.split_once("return 200 \"")?;
    rest.split_once('.').map(|(digest, _)| digest)
}

/// The thumbprint that stands in the shared file.
pub(super) fn thumbprint_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("$tenantry_token.")?;
    rest.split_once('"').map(|(thumbprint, _)| thumbprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(tls: Option<Tls>) -> Site {
        let tenant = "0193a1b2-0000-7000-8000-000000000001".parse().unwrap();
        Site { tenant, kind: Kind::Api, domain: "api.example.com".parse().unwrap(), tls }
    }

    fn ports(https: &str) -> Ports {
        Ports { http: "80".parse().unwrap(), https: https.parse().unwrap(), has_ipv6: true }
    }

    #[test]
    fn a_file_tells_whose_it_is_and_what_it_answers() {
        let rendered = site(None).render(ports("443")).unwrap();
        assert_eq!(owner(&rendered.text), Owner::Tenant(site(None).tenant, Kind::Api));
        assert_eq!(digest_of(&rendered.text), Some(rendered.digest.as_str()));
        assert!(rendered.text.contains("listen [::]:80;") && !rendered.text.contains(DIGEST));
        assert_eq!(owner("server { }"), Owner::Foreign);
        assert_eq!(owner("# Written by tenantry for tenant x, api."), Owner::Foreign);
    }

    #[test]
    fn with_a_certificate_plain_requests_are_sent_to_the_name_itself() {
        let tls = Tls { certificate: "/c/chain.pem".into(), key: "/c/key.pem".into() };
        let rendered = site(Some(tls.clone())).render(ports("127.0.0.1:8443")).unwrap();
        assert!(rendered.text.contains("return 301 https://api.example.com:8443$request_uri;"));
        assert!(rendered.text.contains("listen 127.0.0.1:8443 ssl;"));
        assert_ne!(rendered.digest, site(Some(tls)).render(ports("443")).unwrap().digest);
        let hostile = Tls { certificate: "/c/$host".into(), key: "/c/k".into() };
        assert!(site(Some(hostile)).render(ports("443")).is_err());
    }

    #[test]
    fn an_address_to_listen_on_is_a_port_or_an_address_with_a_port() {
        for good in ["80", "127.0.0.1:8080", "[::1]:80"] {
            assert_eq!(good.parse::<Listen>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "70000", "80;", "unix:/x", "localhost:80", "1.2.3.4:0", "80 default_server"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn what_is_shared_holds_no_text_that_could_be_anything_but_a_key() {
        let proxy = "127.0.0.1:1".parse().unwrap();
        let shared = |edge: &str, thumbprint: Option<&str>| Shared {
            proxy,
            edge: Secret::new(edge.to_owned()),
            thumbprint: thumbprint.map(str::to_owned),
            long_names: false,
        };
        let text = shared("k", Some("t-_1")).render().unwrap().text;
        assert_eq!(thumbprint_of(&text), Some("t-_1"));
        assert_eq!(owner(&text), Owner::Shared);
        assert!(text.contains("\"$tenantry_token.t-_1\";"), "{text}");
        assert!(shared("a\"; b", None).render().is_err());
        assert!(shared("a", Some("$host")).render().is_err());
    }
}
