//! Real git servers on loopback, which end with their test.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::app::{Home, PATIENCE, fixture};

pub(crate) const USER: &str = "robot";
pub(crate) const PASSWORD: &str = "s3cret-of-the-robot";

/// git's http-backend behind TLS and a password.
pub(crate) struct Https {
    child: Child,
    /// Address and port.
    pub(crate) host: String,
    /// The certificate of the authority that vouches for it.
    pub(crate) authority: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Https {
    /// Serves what lies in a home.
    pub(crate) fn start(home: &Home) -> Https {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "an authority of our own");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        let issuer = Issuer::new(authority, authority_key);
        let mut server = CertificateParams::new(names).unwrap();
        server.distinguished_name.push(DnType::CommonName, "git");
        let certificate = server.signed_by(&key, &issuer).unwrap();
        let file = |name: &str, text: String| {
            let path = home.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let authority = file("authority.pem", root.pem());
        let (certificate, key) = (file("git.pem", certificate.pem()), file("git.key", key.serialize_pem()));
        let mut command = Command::new("python3");
        command
            .arg(fixture("git_https.py"))
            .arg(home.path())
            .arg(certificate)
            .arg(key)
            .args([USER, PASSWORD]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                seen.lock().unwrap().push(line);
            }
        });
        Https { child, host: format!("127.0.0.1:{port}"), authority, requests }
    }

    /// What it was asked.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A real sshd that knows one key.
pub(crate) struct Ssh {
    child: Child,
    dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) client_key: PathBuf,
    pub(crate) foreign_key: PathBuf,
}

fn make_key(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    path
}

impl Ssh {
    /// `None`, loudly, where there is no sshd or it does not run.
    pub(crate) fn start(home: &Home) -> Option<Ssh> {
        let program = Path::new("/usr/sbin/sshd");
        if !program.exists() {
            let text = "SKIPPED, AND NOTHING PROVED: there is no sshd, so no repository is cloned over ssh\n";
            std::io::stderr().write_all(text.as_bytes()).unwrap();
            return None;
        }
        if rustix::process::getuid().is_root() {
            // It wants this directory for itself, and the package makes it at boot only.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let dir = home.path().join("ssh");
        std::fs::create_dir(&dir).unwrap();
        let [host_key, client_key, foreign_key] =
            ["host", "client", "foreign"].map(|name| make_key(&dir, name));
        std::fs::copy(client_key.with_extension("pub"), dir.join("authorized")).unwrap();
        let port = crate::support::ports::free_port();
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            host_key.display(),
            dir.join("authorized").display(),
        );
        std::fs::write(dir.join("config"), configuration).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f"]).arg(dir.join("config")).stdin(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let named = Command::new("id").arg("-un").output().unwrap();
        let user = String::from_utf8(named.stdout).unwrap().trim().to_owned();
        let server = Ssh { child, dir, port, user, client_key, foreign_key };
        let end = std::time::Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(std::time::Instant::now() < end, "sshd does not come up: {}", server.log());
            std::thread::yield_now();
        }
        Some(server)
    }

    fn known_by(&self, key: &str) -> String {
        let key = std::fs::read_to_string(self.dir.join(key).with_extension("pub")).unwrap();
        format!("[127.0.0.1]:{} {key}", self.port)
    }

    /// The line by which it is known.
    pub(crate) fn known_host(&self) -> String {
        self.known_by("host")
    }

    /// A line by which another server would be known at its address.
    pub(crate) fn another_host(&self) -> String {
        self.known_by("foreign")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of sshd ---\n{}", self.log());
        }
    }
}
