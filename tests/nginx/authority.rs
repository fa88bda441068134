//! A real certificate authority (pebble) on this machine.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::front::{Front, has};
use crate::support::app::PATIENCE;
use crate::support::ports::free_port;

/// A running authority.
pub(crate) struct Authority {
    dir: tempfile::TempDir,
    api: u16,
    management: u16,
    children: Vec<Child>,
}

/// How an authority is.
pub(crate) struct Manner {
    /// Where it looks for challenges.
    pub(crate) http: u16,
    /// How long its certificates are good, in seconds.
    pub(crate) validity: u64,
}

impl Authority {
    /// A running one that asks this nginx; `None`, loudly, when there is none.
    pub(crate) async fn start(front: &Front) -> Option<Authority> {
        Authority::with(Manner { http: front.http, validity: 90 * 86_400 }).await
    }

    pub(crate) async fn with(manner: Manner) -> Option<Authority> {
        if !has("pebble") || !has("pebble-challtestsrv") {
            return None;
        }
        tenantry::tls::install();
        let dir = tempfile::Builder::new().prefix("acme").tempdir_in("/tmp").unwrap();
        own_certificates(dir.path());
        let (api, management, dns, dns_management) = (free_port(), free_port(), free_port(), free_port());
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{api}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": dir.path().join("api.pem"), "privateKey": dir.path().join("api.key"),
            "httpPort": manner.http, "tlsPort": 1, "ocspResponderURL": "",
            "externalAccountBindingRequired": false, "certificateValidityPeriod": manner.validity,
        }});
        std::fs::write(dir.path().join("pebble.json"), config.to_string()).unwrap();
        let quiet =
            |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let names = quiet(Command::new("pebble-challtestsrv").args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-dns01",
            &format!("127.0.0.1:{dns}"),
            "-management",
            &format!("127.0.0.1:{dns_management}"),
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ]));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let pebble = Command::new("pebble")
            .args(["-config"])
            .arg(dir.path().join("pebble.json"))
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let authority = Authority { dir, api, management, children: vec![names, pebble] };
        let client = authority.client();
        let end = Instant::now() + PATIENCE;
        while client.get(authority.directory()).send().await.is_err() {
            assert!(Instant::now() < end, "pebble does not answer");
            tokio::task::yield_now().await;
        }
        Some(authority)
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.api)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn client(&self) -> reqwest::Client {
        let pem = std::fs::read(self.ca_file()).unwrap();
        let root = reqwest::Certificate::from_pem(&pem).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap()
    }

    /// The root by which its certificates are known.
    pub(crate) async fn root(&self) -> reqwest::Certificate {
        let url = format!("https://localhost:{}/roots/0", self.management);
        let pem = self.client().get(url).send().await.unwrap().bytes().await.unwrap();
        reqwest::Certificate::from_pem(&pem).unwrap()
    }
}

/// The certificate by which the authority's own API is known.
fn own_certificates(dir: &std::path::Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let own = own.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(dir.join("ca.pem"), ca_certificate.pem()).unwrap();
    std::fs::write(dir.join("api.pem"), own.pem()).unwrap();
    std::fs::write(dir.join("api.key"), key.serialize_pem()).unwrap();
}

impl Drop for Authority {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("--- log of pebble ---\n{log}");
        }
    }
}
