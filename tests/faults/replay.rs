//! Replaying performs nothing, however much is still to be done.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::support::app::{Home, TestApp};
use crate::tools::{has, skip, until};

/// What makes an init take until a file is there.
const HANGS: &str = "import os, time\nopen('hanging', 'w').close()\n\
                     while not os.path.exists('go'): time.sleep(0.02)\n";

/// What begins a process, reaches another one, or changes a file. A `?` is for machines whose
/// kernel has it under another name only.
const CALLS: &str = "trace=?execve,?execveat,?fork,?vfork,?clone,?clone3,?kill,?pidfd_send_signal,\
    ?socket,?connect,?bind,?open,?openat,?openat2,?creat,?mkdir,?mkdirat,?rename,?renameat,?renameat2,?unlink,\
    ?unlinkat,?rmdir,?link,?linkat,?symlink,?symlinkat,?truncate,?chmod,?fchmodat,?chown,?fchownat,?mknodat";

/// Whether a call only begins a thread, or only reads.
fn is_harmless(call: &str) -> bool {
    if call.contains("clone") {
        return call.contains("CLONE_THREAD");
    }
    let opens = call.contains("open(") || call.contains("openat(") || call.contains("openat2(");
    opens && !["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|writes| call.contains(writes))
}

/// The calls of a replay that are not harmless and not about its own scratch directory.
fn performed(home: &Home, arguments: &[&str]) -> Option<(String, Vec<String>)> {
    let (scratch, trace) = (home.path().join("scratch"), home.path().join("trace"));
    std::fs::create_dir_all(&scratch).unwrap();
    let program = home.program();
    let output = Command::new("strace")
        .args(["-f", "-y", "-qq", "-s", "4096", "-e", CALLS, "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(program.get_program())
        .args(arguments)
        .arg("--data-dir")
        .arg(home.data_dir())
        .env_clear()
        .env("TMPDIR", &scratch)
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && said.contains("strace: ") {
        skip(&format!("strace cannot run a program: {said}"));
        return None;
    }
    assert!(output.status.success(), "{said}");
    let own = scratch.display().to_string();
    let calls = std::fs::read_to_string(&trace).unwrap();
    // The first is the program's own beginning.
    let (first, rest) = calls.split_once('\n').unwrap();
    assert!(first.contains("execve("), "{first}");
    let calls = rest.lines().filter(|call| !call.contains("resumed>"));
    let performed = calls.filter(|call| !is_harmless(call) && !call.contains(&own)).map(str::to_owned);
    Some((String::from_utf8(output.stdout).unwrap(), performed.collect()))
}

fn has_come(directory: &Path, name: &str) -> bool {
    directory.join(name).exists()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaying_begins_no_process_opens_no_connection_and_changes_no_file() {
    if !has("strace") {
        return;
    }
    let home = Home::new();
    let app = TestApp::in_home(Arc::clone(&home)).await;
    let tenant = app.tenant("smith").await;
    let repository = home.path().join("campaign");
    let init = repository.join("init.py");
    let text = format!("{HANGS}{}", std::fs::read_to_string(&init).unwrap());
    std::fs::write(&init, text).unwrap();
    home.commit(&repository, "hangs");
    let deployment = app.deploy(&tenant).await;
    let directory = app.data_dir().join("tenants/smith");
    until("the deployment is in the middle of a step", || has_come(&directory, "hanging")).await;
    let home = app.kill();

    for arguments in [&["replay", "--dump", "json"][..], &["journal", "verify"], &["journal", "stats"]] {
        let Some((printed, performed)) = performed(&home, arguments) else { return };
        assert!(performed.is_empty(), "{arguments:?}: {performed:#?}");
        // It did read what is still to be done.
        let is_replay = arguments[0] == "replay";
        let is_told = || printed.contains(&deployment) && printed.contains("\"deploying\"");
        assert!(!is_replay || is_told(), "{printed}");
    }

    // There was something to be done: whoever may do it does it, from that step on.
    std::fs::write(directory.join("go"), "").unwrap();
    let app = TestApp::in_home(home).await;
    assert_eq!(app.deployed(&deployment).await["status"], "success");
}
