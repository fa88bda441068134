//! A real nginx in a directory of its own, on free ports, and a control plane behind it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::app::{Home, PATIENCE, TestApp};
use crate::support::ports::free_port;

/// A real nginx.
pub(crate) struct Front {
    dir: tempfile::TempDir,
    pub(crate) http: u16,
    pub(crate) https: u16,
}

/// Whether a program is there; says loudly what is not tested without it.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = found.is_ok();
    if !is_there {
        eprintln!("!!! SKIPPED: {program} is missing, so nothing of nginx and certificates is tested");
    }
    is_there
}

impl Front {
    /// A running one; `None`, loudly, when there is no nginx.
    pub(crate) fn start() -> Option<Front> {
        let front = Front::prepare("sites-enabled/*")?;
        front.run();
        Some(front)
    }

    /// One that is configured and does not run.
    pub(crate) fn prepare(include: &str) -> Option<Front> {
        if !has("nginx") {
            return None;
        }
        let dir = tempfile::Builder::new().prefix("ngx").tempdir_in("/tmp").unwrap();
        for name in ["conf", "sites-available", "sites-enabled", "logs", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (http, https) = (free_port(), free_port());
        let root = dir.path().display();
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let conf = format!(
            "daemon on; worker_processes 2; {user}\npid {root}/nginx.pid; error_log {root}/logs/error.log info;\n\
             events {{ worker_connections 512; }}\nhttp {{\n  include own.types;\n  access_log off;\n\
             client_body_temp_path {root}/tmp/a; proxy_temp_path {root}/tmp/b; fastcgi_temp_path {root}/tmp/c;\n\
             uwsgi_temp_path {root}/tmp/d; scgi_temp_path {root}/tmp/e;\n  include {root}/{include};\n}}\n"
        );
        std::fs::write(dir.path().join("conf/nginx.conf"), conf).unwrap();
        // Relative to the main file, so that a copy of it elsewhere would not be valid.
        std::fs::write(dir.path().join("conf/own.types"), "types { text/html html; }\n").unwrap();
        Some(Front { dir, http, https })
    }

    /// Starts it.
    pub(crate) fn run(&self) {
        let words = self.command();
        let mut words = words.split(' ');
        let status = Command::new(words.next().unwrap()).args(words).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "nginx does not start");
        let end = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(self.path("nginx.pid")).is_ok_and(|text| !text.trim().is_empty()) {
            assert!(Instant::now() < end, "nginx has no pid");
            std::thread::yield_now();
        }
    }

    pub(crate) fn command(&self) -> String {
        let root = self.dir.path().display();
        format!("nginx -p {root} -e {root}/logs/error.log -c conf/nginx.conf")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Has it read its configuration again.
    #[allow(dead_code, reason = "the saga has no use for it")]
    pub(crate) fn reload(&self) {
        let pid = std::fs::read_to_string(self.path("nginx.pid")).unwrap();
        crate::support::app::signal(pid.trim().parse().unwrap(), "HUP");
    }

    /// The control plane's command with this nginx before its tenants.
    pub(crate) fn serve(&self, home: &Home) -> Command {
        let mut serve = home.serve();
        serve
            .env("TENANTRY_DEPLOY_NGINX", "on")
            .env("TENANTRY_NGINX_COMMAND", self.command())
            .env("TENANTRY_NGINX_SITES_AVAILABLE", self.path("sites-available"))
            .env("TENANTRY_NGINX_SITES_ENABLED", self.path("sites-enabled"))
            .env("TENANTRY_NGINX_LISTEN", format!("127.0.0.1:{}", self.http))
            .env("TENANTRY_NGINX_LISTEN_TLS", format!("127.0.0.1:{}", self.https));
        serve
    }

    /// A control plane with this nginx before its tenants.
    pub(crate) async fn app(&self) -> TestApp {
        let home = Home::new();
        let command = self.serve(&home);
        TestApp::from_command(home, command).await
    }

    /// The same, in a home that was lived in.
    pub(crate) async fn app_in(&self, home: Arc<Home>) -> TestApp {
        let command = self.serve(&home);
        TestApp::from_command(home, command).await
    }

    /// A client for which a name leads to this nginx.
    pub(crate) fn client(&self, domain: &str) -> reqwest::ClientBuilder {
        tenantry::tls::install();
        reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .resolve(domain, std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Asks nginx for a path of a name.
    pub(crate) async fn get(&self, domain: &str, path: &str) -> (u16, String) {
        let client = self.client(domain).build().unwrap();
        let url = format!("http://{domain}:{}{path}", self.http);
        let answer = client.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Names of the files in a directory of sites, sorted.
    pub(crate) fn files(&self, dir: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Puts a site of somebody else in place.
    pub(crate) fn foreign(&self, name: &str, text: &str) {
        std::fs::write(self.path("sites-enabled").join(name), text).unwrap();
    }

    pub(crate) fn listen(&self) -> String {
        format!("listen 127.0.0.1:{};", self.http)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.path("nginx.pid"))
            && let Ok(pid) = pid.trim().parse()
        {
            crate::support::app::signal(pid, "TERM");
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("logs/error.log")).unwrap_or_default();
            eprintln!("--- log of nginx ---\n{log}");
            for name in self.files("sites-available") {
                let text = std::fs::read_to_string(self.path("sites-available").join(&name));
                eprintln!("--- {name} ---\n{}", text.unwrap_or_default());
            }
        }
    }
}

/// Creates a tenant with these domains; gives its id.
pub(crate) async fn tenant(app: &TestApp, slug: &str, domain: &str) -> String {
    let body = json!({
        "name": slug, "slug": slug, "domain": domain, "api_domain": format!("api.{domain}"),
        "github_repo": app.home().campaign(),
    });
    app.post("/api/tenants", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

/// Deploys and waits for the end.
pub(crate) async fn deploy(app: &TestApp, tenant: &str, switches: Value) -> Value {
    let answer = app.post(&format!("/api/tenants/{tenant}/deploy"), switches).await.expect(202);
    app.deployed(answer["deployment_id"].as_str().unwrap()).await
}

/// A step of a deployment, by its name.
#[track_caller]
pub(crate) fn step<'a>(deployment: &'a Value, name: &str) -> &'a Value {
    let steps = deployment["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap()
}

/// A number of the metrics page.
pub(crate) async fn metric(app: &TestApp, name: &str) -> Option<f64> {
    let page = app.get("/metrics").await.text;
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Whether a file is there.
pub(crate) fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
