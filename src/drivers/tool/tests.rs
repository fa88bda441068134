//! Real programs that end, fail, hang, or leave children.

use super::*;

struct Bench {
    dir: tempfile::TempDir,
    args: Vec<String>,
    timeout: Duration,
    claim: Option<PathBuf>,
}

fn bench(script: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let args = vec!["-c".to_owned(), script.to_owned()];
    Bench { dir, args, timeout: Duration::from_secs(20), claim: None }
}

impl Bench {
    async fn run(&self, program: &str) -> (Result<Ended, ToolError>, Vec<String>) {
        let mut seen = Vec::new();
        let env = [("GIVEN".to_owned(), "yes".to_owned())];
        let tool = Tool {
            program,
            args: &self.args,
            workdir: self.dir.path(),
            home: self.dir.path(),
            env: &env,
            timeout: self.timeout,
            claim: self.claim.as_deref(),
        };
        let ended = run(&tool, |line| seen.push(line.to_owned())).await;
        (ended, seen)
    }

    fn pid(&self, name: &str) -> Option<u32> {
        std::fs::read_to_string(self.dir.path().join(name)).ok()?.trim().parse().ok()
    }

    async fn wait_for_pid(&self, name: &str) -> u32 {
        wait(|| self.pid(name)).await
    }
}

async fn wait<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Some(value) = found() {
                return value;
            }
            tick.tick().await;
        }
    });
    waited.await.expect("the condition never came")
}

async fn gone(pid: u32) {
    wait(|| start_ticks(pid).is_none().then_some(())).await;
}

#[tokio::test]
async fn both_outputs_arrive_in_order_with_the_exit_status() {
    let (ended, seen) = bench("echo one; echo two >&2; printf three; exit 3").run("sh").await;
    let ended = ended.unwrap();
    assert_eq!(ended.status.code(), Some(3));
    assert_eq!(describe(ended.status), "exit status 3");
    assert_eq!(seen, ["one", "two", "three"]);
    assert_eq!(ended.tail, seen);
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_nothing_else() {
    let (ended, mut seen) = bench("env").run("sh").await;
    ended.unwrap();
    seen.retain(|line| !line.starts_with("_=") && !line.starts_with("SHLVL=") && !line.starts_with("PWD="));
    let mut names: Vec<&str> = seen.iter().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GIVEN", "HOME", "LANG", "PATH"]);
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let (ended, _) = bench("").run("/no/such/program").await;
    assert!(
        matches!(&ended, Err(ToolError::Spawn { program, .. }) if program == "/no/such/program"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_its_children() {
    let mut bench = bench("sleep 1000 & echo $! >child; echo begun; wait");
    bench.timeout = Duration::from_millis(500);
    let (ended, _) = bench.run("sh").await;
    assert!(matches!(&ended, Err(ToolError::TimedOut { tail, .. }) if tail == &["begun"]), "{ended:?}");
    gone(bench.wait_for_pid("child").await).await;
}

#[tokio::test]
async fn children_left_behind_do_not_survive_the_leader() {
    let bench = bench("sleep 1000 & echo $! >child");
    bench.run("sh").await.0.unwrap();
    gone(bench.wait_for_pid("child").await).await;
}

#[tokio::test]
async fn one_that_is_no_longer_wanted_is_killed_with_its_children() {
    let bench = bench("sleep 1000 & echo $! >child; wait");
    tokio::select! {
        _ = bench.run("sh") => panic!("ended by itself"),
        _ = bench.wait_for_pid("child") => {}
    }
    gone(bench.pid("child").unwrap()).await;
}

#[tokio::test]
async fn output_without_a_newline_is_passed_on_in_pieces() {
    let (ended, seen) = bench("head -c 300000 /dev/zero | tr '\\0' x").run("sh").await;
    ended.unwrap();
    assert_eq!(seen.iter().map(String::len).sum::<usize>(), 300_000);
    assert!(seen.iter().all(|line| line.len() <= 2 * LINE_BYTES));
}

#[tokio::test]
async fn work_left_by_an_earlier_life_is_ended_before_it_is_begun_again() {
    let mut bench = bench("echo again");
    let claim = bench.dir.path().join("claim");
    // As a control plane that was killed leaves it: a group that holds the lock, and its name.
    let mut file = std::fs::File::create(&claim).unwrap();
    rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
    let mut old =
        Command::new("sleep").arg("1000").stdin(file.try_clone().unwrap()).process_group(0).spawn().unwrap();
    note_holder(&mut file, Pid::from_child(&old)).unwrap();
    drop(file);
    bench.claim = Some(claim);
    let (ended, seen) = bench.run("sh").await;
    assert!(ended.unwrap().status.success());
    assert_eq!(seen, ["again"]);
    assert!(!old.wait().unwrap().success());
}
