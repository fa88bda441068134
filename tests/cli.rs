//! The command line against a real server: what it prints, where, and how it ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use support::app::{Home, TestApp};

/// A service that tries to command whoever reads its output.
const HOSTILE: &str = r#"
[service.hostile]
command = "python3"
args = ["-c", '''import time; print("\x1b]0;pwned\x07hello \x1b[31mred", flush=True); time.sleep(1000)''']
"#;

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(mut command: Command) -> Ended {
        let output = command.stdin(Stdio::null()).output().unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What a command printed that must have ended so.
    #[track_caller]
    fn expect(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stdout
    }

    #[track_caller]
    fn json(self) -> Value {
        let text = self.expect(0);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    }
}

/// The program as a client of a server, with the administrator's credential.
fn client(app: &TestApp) -> Command {
    let mut command = stranger(app.home());
    command.env("TENANTRY_SERVER", &app.manager).env("TENANTRY_TOKEN", &app.token);
    command
}

/// The program with a home of its own and no credential.
fn stranger(home: &Home) -> Command {
    let mut command = home.program();
    command.env("XDG_CONFIG_HOME", home.path().join("config"));
    command
}

fn run(app: &TestApp, args: &[&str]) -> Ended {
    let mut command = client(app);
    command.args(args);
    Ended::of(command)
}

/// The same with standard output on a terminal.
fn run_on_terminal(app: &TestApp, args: &str, more: &[(&str, &str)]) -> Ended {
    let mut command = Command::new("script");
    command.args(["-qefc", &format!("{} {args}", env!("CARGO_BIN_EXE_tenantry")), "/dev/null"]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm");
    command.env("TENANTRY_SERVER", &app.manager).env("TENANTRY_TOKEN", &app.token);
    command.env("XDG_CONFIG_HOME", app.home().path().join("config")).envs(more.iter().copied());
    Ended::of(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_started_listed_restarted_and_stopped() {
    let app = TestApp::start().await;
    assert_eq!(run(&app, &["spawn", "api:a", "-e", "COLOR=red"]).expect(0), "api:a running\n");
    run(&app, &["spawn", "api:b", "-q"]).expect(0);

    let table = run(&app, &["ps"]).expect(0);
    let mut lines = table.lines();
    let heading: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["INSTANCE", "STATUS", "HEALTH", "UPTIME", "RESTARTS", "SOCKET"]);
    let first: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(first[..3], ["api:a", "running", "healthy"]);
    assert!(!table.contains('\u{1b}'), "colour without a terminal");

    let json = run(&app, &["ps", "--json"]).json();
    assert_eq!(json["instances"][1]["instance"], "api:b");
    assert_eq!(json["pagination"]["total"], 2);
    for field in ["service", "id", "socket", "status", "uptime_ms", "health", "restart_count"] {
        assert!(json["instances"][0].get(field).is_some(), "{field} is missing in {json}");
    }
    assert_eq!(run(&app, &["ps", "-q"]).expect(0), "api:a\napi:b\n");
    assert_eq!(run(&app, &["ps", "-q", "--status", "stopped"]).expect(0), "");
    assert_eq!(run(&app, &["ps", "-q", "--service", "other"]).expect(0), "");
    assert!(run(&app, &["top"]).expect(0).contains("api:b"), "without a terminal it prints once");

    assert_eq!(run(&app, &["restart", "api:a"]).expect(0), "api:a restarting\n");
    let stopped = run(&app, &["stop", "api:a", "--json"]).json();
    assert_eq!((&stopped["instance"], &stopped["status"]), (&"api:a".into(), &"stopped".into()));
    let several = run(&app, &["stop", "api:nobody", "api:b"]);
    assert!(several.stdout.contains("api:b stopped"), "one that fails keeps the others: {several:?}");
    assert_eq!(several.code, Some(6));
    assert_eq!(run(&app, &["ps", "-q"]).expect(0), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_what_kind_of_failure_it_was() {
    let app = TestApp::start().await;
    run(&app, &["spawn", "api:a"]).expect(0);
    let cases: [(&[&str], i32, &str); 8] = [
        (&["spawn", "api:a"], 1, "api:a"),
        (&["logs", "--grep", "("], 1, "regular expression"),
        (&["restart", "api:nobody"], 6, "'api:nobody' not found"),
        (&["logs", "api:nobody"], 6, "'api:nobody' not found"),
        (&["spawn", "nothing:a"], 6, "nothing"),
        (&["spawn", "../../etc"], 2, "service:id"),
        (&["logs", "-n", "1000000"], 2, "0..=100000"),
        (&["ps", "--server", "https://127.0.0.1:1"], 2, "ssh -L"),
    ];
    for (args, code, told) in cases {
        let ended = run(&app, args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(told), "{args:?}: {ended:?}");
    }

    let mut nobody = stranger(app.home());
    nobody.env("TENANTRY_SERVER", &app.manager).arg("ps");
    let nobody = Ended::of(nobody);
    assert_eq!(nobody.code, Some(5), "{nobody:?}");
    assert!(nobody.stderr.contains("tenantry login"), "{nobody:?}");
    let mut forger = client(&app);
    forger.env("TENANTRY_TOKEN", "tenement_forged").arg("ps");
    let forger = Ended::of(forger);
    assert_eq!(forger.code, Some(5), "{forger:?}");
    assert!(!forger.stderr.contains("tenement_forged"), "a credential is printed");

    let (_bound, port) = support::ports::refusing_port();
    let gone = run(&app, &["ps", "--server", &format!("http://127.0.0.1:{port}")]);
    assert_eq!(gone.code, Some(4), "{gone:?}");
    assert!(gone.stderr.contains("tenantry serve"), "{gone:?}");
    for follow in [&["logs", "-f"][..], &["events", "-f"]] {
        let mut command = client(&app);
        command.env("TENANTRY_SERVER", format!("http://127.0.0.1:{port}")).args(follow);
        Ended::of(command).expect(4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_stored_for_its_owner_alone_and_used() {
    let app = TestApp::start().await;
    let home = app.home();
    let login = |password: &str| {
        let mut command = stranger(home);
        command.args(["login", "--username", "admin", "--server", &app.manager]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let wrong = login("wrong\n");
    assert_eq!(wrong.status.code(), Some(5), "{wrong:?}");
    let file = home.path().join("config/tenantry/login.json");
    assert!(!file.exists());

    let right = login("correct horse battery\n");
    assert_eq!(right.status.code(), Some(0), "{right:?}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert!(!std::fs::read_to_string(&file).unwrap().contains("battery"), "the password is stored");
    let ps = || {
        let mut command = stranger(home);
        command.args(["ps", "--json"]);
        Ended::of(command)
    };
    assert_eq!(ps().json()["pagination"]["total"], 0, "the last login says where the server is");

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = ps();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("chmod 600"), "{refused:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut logout = stranger(home);
    logout.arg("logout");
    Ended::of(logout).expect(0);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&app.manager));
}

/// Types a password when the terminal has stopped to echo, and prints what the terminal showed.
const TYPIST: &str = r#"
import os, pty, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
end = time.monotonic() + 60
while termios.tcgetattr(fd)[3] & termios.ECHO and time.monotonic() < end:
    time.sleep(0.01)
os.write(fd, b"correct horse battery\n")
shown = b""
try:
    while chunk := os.read(fd, 1000):
        shown += chunk
except OSError:
    pass
print(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_shown_while_it_is_typed() {
    let app = TestApp::start().await;
    let mut typist = Command::new("python3");
    typist.args(["-c", TYPIST, env!("CARGO_BIN_EXE_tenantry"), "login", "--username", "admin"]);
    typist.args(["--server", &app.manager]).env("XDG_CONFIG_HOME", app.home().path().join("config"));
    let shown = Ended::of(typist).expect(0);
    assert!(shown.contains("Password: ") && shown.contains("Logged in"), "{shown}");
    assert!(!shown.contains("battery"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_line_commands_no_terminal() {
    let app = TestApp::in_home(Home::with(HOSTILE)).await;
    run(&app, &["spawn", "hostile:a"]).expect(0);
    let shown = run(&app, &["logs", "hostile:a"]).expect(0);
    assert!(shown.ends_with(" hostile:a info  \\x1b]0;pwned\\x07hello red\n"), "{shown:?}");
    let raw = run(&app, &["logs", "hostile:a", "--raw"]).expect(0);
    assert_eq!(raw, "\u{1b}]0;pwned\u{7}hello \u{1b}[31mred\n");
    let json = run(&app, &["logs", "hostile:a", "--json"]).json();
    assert_eq!(json["logs"][0]["message"], "\u{1b}]0;pwned\u{7}hello \u{1b}[31mred");

    let on_terminal = run_on_terminal(&app, "logs hostile:a", &[]).expect(0);
    assert!(on_terminal.contains("\\x1b]0;pwned\\x07hello red"), "{on_terminal:?}");
    assert!(on_terminal.contains("\u{1b}[2m"), "no colour on a terminal: {on_terminal:?}");
    assert!(!on_terminal.contains('\u{7}') && !on_terminal.contains("\u{1b}]"), "{on_terminal:?}");
    let bare = run_on_terminal(&app, "logs hostile:a", &[("NO_COLOR", "1")]).expect(0);
    assert!(bare.contains("pwned") && !bare.contains('\u{1b}'), "{bare:?}");
    let forced = run(&app, &["ps", "--color", "always"]).expect(0);
    assert!(forced.contains("\u{1b}["), "{forced:?}");
    let refused = run_on_terminal(&app, "logs hostile:a --raw", &[]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(!refused.stdout.contains("hello"), "{refused:?}");
}

/// A client that runs on, with its lines.
struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Following {
    fn start(mut command: Command) -> Following {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Following { child, lines }
    }

    /// The first line from now on that holds a text.
    fn until(&mut self, text: &str) -> String {
        loop {
            let line = self.next();
            if line.contains(text) {
                return line;
            }
        }
    }

    fn next(&mut self) -> String {
        self.lines.next().expect("it goes on").unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_read_enough_is_no_failure() {
    let app = TestApp::start().await;
    run(&app, &["spawn", "api:a", "-e", "LINES=1"]).expect(0);
    let mut command = client(&app);
    command.args(["logs", "-f", "api:a"]);
    let mut head = Following::start(command);
    assert!(head.next().contains("line "), "follow prints nothing");
    let Following { child, .. } = &mut head;
    let mut stderr = child.stderr.take().unwrap();
    // What `| head -1` does.
    drop(std::mem::replace(&mut head.lines, BufReader::new(no_output()).lines()));
    let status = head.child.wait().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

fn no_output() -> std::process::ChildStdout {
    Command::new("true").stdout(Stdio::piped()).spawn().unwrap().stdout.take().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn following_goes_on_after_a_kill_without_gap_or_repeat() {
    let home = Home::new();
    let app = TestApp::in_home(Arc::clone(&home)).await;
    run(&app, &["spawn", "api:a", "-e", "LINES=1"]).expect(0);
    let token = run(&app, &["token", "create", "tail", "--role", "viewer"]).expect(0);
    let mut command = client(&app);
    command.env("TENANTRY_TOKEN", token.trim()).args(["logs", "-n", "5", "-f", "--raw", "api:a"]);
    let mut follow = Following::start(command);
    let number = |line: &str| line.strip_prefix("line ").unwrap().parse::<u64>().unwrap();
    let first = number(&follow.next());
    for expected in first + 1..first + 100 {
        assert_eq!(number(&follow.next()), expected);
    }
    let manager = app.manager.strip_prefix("http://").unwrap().to_owned();
    app.kill();
    let mut again = home.program();
    again.arg("serve").arg("--config").arg(home.config_file()).arg("--data-dir").arg(home.data_dir());
    again.args(["--manager", &manager, "--instances", "127.0.0.1:0"]).env("TENANTRY_LOG", "info");
    let _app = TestApp::from_command(home, again).await;
    // What was read before the kill, what was printed without a server, and what came after.
    for expected in first + 100..first + 2000 {
        assert_eq!(number(&follow.next()), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_printed_once_and_ends_streams_when_it_is_revoked() {
    let app = TestApp::start().await;
    let made = run(&app, &["token", "create", "CI/CD", "--expires-in-days", "30", "--service", "api"]);
    assert!(made.stderr.contains("not shown again"), "{made:?}");
    let token = made.expect(0).trim_end().to_owned();
    assert!(token.starts_with("tenement_") && !token.contains(char::is_whitespace), "{token}");
    let list = run(&app, &["token", "list", "--json"]).json();
    let id = list["tokens"][0]["id"].as_str().unwrap().to_owned();
    let table = run(&app, &["token", "list"]).expect(0);
    assert!(table.contains("CI/CD") && table.contains("service api"), "{table}");
    assert!(!table.contains(&token) && !list.to_string().contains(&token));

    let mut command = client(&app);
    command.env("TENANTRY_TOKEN", &token).args(["logs", "-f"]);
    let mut follow = Following::start(command);
    run(&app, &["spawn", "api:a", "-e", "LINES=1"]).expect(0);
    follow.next();
    run(&app, &["token", "revoke", &id]).expect(0);
    for _ in follow.lines.by_ref() {}
    assert_eq!(follow.child.wait().unwrap().code(), Some(5));
    assert_eq!(run(&app, &["token", "revoke", &id]).code, Some(6));
}

/// Its health, its lines, its address.
async fn a_tenant_that_runs(app: &TestApp) {
    let health = run(app, &["tenants", "health", "smith"]).expect(0);
    assert!(health.contains("overall_status") && health.contains("healthy"), "{health}");
    assert_eq!(run(app, &["tenants", "health", "smith", "--json"]).json()["overall_status"], "healthy");
    assert_eq!(run(app, &["tenants", "health", "nobody"]).code, Some(6));

    let mut following = client(app);
    following.args(["tenants", "logs", "smith", "--service", "backend", "-f", "-n", "1", "--json"]);
    let mut following = Following::start(following);
    following.next();
    let shown = app.get("/api/tenants").await.expect(200)["tenants"][0].clone();
    let asked = format!("http://127.0.0.1:{}/just-now", shown["backend_port"]);
    app.client.get(asked).send().await.unwrap();
    let line = following.until("just-now");
    assert!(line.contains("backend:smith"), "{line}");
    let lines = run(app, &["tenants", "logs", "smith", "--service", "backend", "-n", "1000"]).expect(0);
    assert!(lines.contains("just-now"), "{lines}");
    let frontend = run(app, &["tenants", "logs", "smith", "-n", "1000"]).expect(0);
    assert!(!frontend.contains("just-now"), "{frontend}");

    let address = run(app, &["tenants", "open", "smith"]).expect(0);
    assert_eq!(address, "https://smith.example.com\n");
    let local = run(app, &["tenants", "open", "smith", "--local", "--json"]).json();
    assert_eq!(local["url"], format!("http://127.0.0.1:{}/", shown["frontend_port"]));
    // On a terminal with a desktop the opener is called, with the address and nothing else.
    let bin = app.home().path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let opened = bin.join("opened");
    let script = format!("#!/bin/sh\nprintf '%s|' \"$#\" \"$@\" >>{}\n", opened.display());
    std::fs::write(bin.join("xdg-open"), script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("xdg-open"), executable).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var_os("PATH").unwrap().display());
    let mut piped = client(app);
    piped.args(["tenants", "open", "smith"]).env("PATH", &path).env("DISPLAY", ":0");
    Ended::of(piped).expect(0);
    run_on_terminal(app, "tenants open smith", &[("PATH", &path)]).expect(0);
    assert!(!opened.exists(), "in a pipe, or without a desktop, nothing is opened");
    let desktop = [("PATH", path.as_str()), ("DISPLAY", ":0")];
    let shown = run_on_terminal(app, "tenants open smith", &desktop).expect(0);
    assert!(shown.contains("https://smith.example.com"), "{shown}");
    assert_eq!(std::fs::read_to_string(&opened).unwrap(), "1|https://smith.example.com|");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_named_by_their_slug() {
    let app = TestApp::start().await;
    let repository = app.home().campaign();
    let create =
        ["tenants", "create", "smith", "--domain", "smith.example.com", "--github-repo", &repository];
    assert_eq!(run(&app, &[&create[..], &["--json"]].concat()).json()["status"], "pending");
    assert_eq!(run(&app, &create).code, Some(1), "the slug is taken");
    assert_eq!(run(&app, &["tenants", "list", "-q"]).expect(0), "smith\n");
    let deployed = run(&app, &["tenants", "deploy", "smith", "-f"]).expect(0);
    assert!(deployed.contains("persons") && deployed.contains("success after"), "{deployed}");
    assert_eq!(run(&app, &["tenants", "show", "smith", "--json"]).json()["status"], "running");
    let names = run(&app, &["ps", "-q"]).expect(0);
    assert!(["backend:smith", "frontend:smith"].iter().all(|name| names.contains(name)), "{names}");
    run(&app, &["logs", "backend:smith"]).expect(0);
    a_tenant_that_runs(&app).await;
    let refused = run(&app, &["tenants", "rollback", "smith"]);
    assert_ne!(refused.code, Some(0), "there is no earlier release");
    run(&app, &["tenants", "deploy", "smith", "-f", "--ref", "main"]).expect(0);
    let back = run(&app, &["tenants", "rollback", "smith", "1", "-f"]).expect(0);
    assert!(back.contains("success after"), "{back}");
    let releases = run(&app, &["tenants", "releases", "smith"]).expect(0);
    let current = releases.lines().find(|line| line.contains('*')).unwrap();
    assert!(current.trim_start().starts_with("1 "), "{releases}");
    assert!(run(&app, &["tenants", "stop", "smith"]).expect(0).contains("inactive"));
    let ill = run(&app, &["tenants", "health", "smith"]);
    assert_eq!(ill.code, Some(1), "{ill:?}");
    assert!(ill.stdout.contains("overall_status") && ill.stderr.contains("health is unknown"), "{ill:?}");
    run(&app, &["tenants", "delete", "smith", "--remove-files"]).expect(0);
    assert_eq!(run(&app, &["tenants", "show", "smith"]).code, Some(6));
    let events = run(&app, &["events", "--json", "--kind", "tenant."]).expect(0);
    let mut kinds = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone());
    assert_eq!(kinds.next_back(), Some("tenant.deleted".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_instances_complete() {
    let app = TestApp::start().await;
    for instance in ["api:user1", "api:user2"] {
        run(&app, &["spawn", instance, "-q"]).expect(0);
    }
    assert_eq!(run(&app, &["__complete", "instances"]).expect(0), "api:user1\napi:user2\n");
    let mut unreachable = client(&app);
    unreachable.env("TENANTRY_SERVER", "http://127.0.0.1:1").args(["__complete", "instances"]);
    let unreachable = Ended::of(unreachable);
    assert_eq!(
        (unreachable.code, unreachable.stdout.as_str(), unreachable.stderr.as_str()),
        (Some(0), "", "")
    );

    let program = Path::new(env!("CARGO_BIN_EXE_tenantry")).parent().unwrap().to_owned();
    let complete = |line: &str, words: &str| {
        let script = format!(
            "source <(tenantry completions bash)\n\
             COMP_LINE='{line}' COMP_WORDS=({words})\n\
             COMP_POINT=${{#COMP_LINE}} COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _tenantry_with_names tenantry \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        let path = std::env::var_os("PATH").unwrap();
        let path = format!("{}:{}", program.display(), path.display());
        bash.args(["-c", &script]).env_clear().env("PATH", path);
        bash.env("TENANTRY_SERVER", &app.manager).env("TENANTRY_TOKEN", &app.token);
        Ended::of(bash).expect(0)
    };
    assert_eq!(complete("tenantry logs ", "tenantry logs ''"), "api:user1\napi:user2\n");
    assert_eq!(complete("tenantry logs -f api:u", "tenantry logs -f api : u"), "user1\nuser2\n");
    assert_eq!(complete("tenantry stop api:user2", "tenantry stop api : user2"), "user2\n");
    assert!(complete("tenantry logs --gr", "tenantry logs --gr").contains("--grep"));
    assert!(complete("tenantry rest", "tenantry rest").contains("restart"));
}
