//! A real nginx in a directory of its own, for a control plane to put tenants' sites into.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// An nginx that runs until this is dropped.
pub(crate) struct Front {
    /// Where it takes requests for tenants.
    pub(crate) address: String,
    dir: tempfile::TempDir,
    child: Child,
}

impl Front {
    /// A running one; `None` when there is no nginx.
    pub(crate) fn start() -> Option<Front> {
        Command::new("nginx").arg("-v").output().ok()?;
        let dir = tempfile::tempdir().unwrap();
        for name in ["conf", "sites-available", "sites-enabled", "logs", "tmp"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let root = dir.path().display();
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {root}/tmp/{name};\n"))
            .concat();
        let conf = format!(
            "worker_processes 2; {user}\npid {root}/nginx.pid; error_log {root}/logs/error.log notice;\n\
             events {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n{temporary}\
             include {root}/sites-enabled/*;\n}}\n"
        );
        fs::write(dir.path().join("conf/nginx.conf"), conf).unwrap();
        let (program, arguments) = command(dir.path());
        let child = Command::new(program)
            .args(arguments)
            .args(["-g", "daemon off;"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let front = Front { address, dir, child };
        while !fs::read_to_string(front.path("nginx.pid")).is_ok_and(|text| text.ends_with('\n')) {
            std::thread::yield_now();
        }
        Some(front)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the control plane's configuration says of it.
    pub(crate) fn config(&self) -> String {
        let (program, arguments) = command(self.dir.path());
        format!(
            "[nginx]\ncommand = \"{program} {}\"\nsites_available = \"{}\"\nsites_enabled = \"{}\"\nlisten = \"{}\"\n",
            arguments.join(" "),
            self.path("sites-available").display(),
            self.path("sites-enabled").display(),
            self.address,
        )
    }

    /// How often it has taken on its configuration again, by its own log.
    pub(crate) fn reloads(&self) -> usize {
        let log = fs::read_to_string(self.path("logs/error.log")).unwrap_or_default();
        log.lines().filter(|line| line.ends_with(": reconfiguring")).count()
    }
}

fn command(root: &Path) -> (&'static str, Vec<String>) {
    let root = root.display();
    let arguments = format!("-p {root} -e {root}/logs/error.log -c conf/nginx.conf");
    ("nginx", arguments.split(' ').map(str::to_owned).collect())
}

impl Drop for Front {
    fn drop(&mut self) {
        // Its workers go with their master, which a kill would not tell them.
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
