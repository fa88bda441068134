//! Clones of real repositories, and addresses that must never reach git.

use super::*;

fn git(dir: &Path, args: &[&str]) {
    let done = std::process::Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn repository(scratch: &Path) -> PathBuf {
    let path = scratch.join("app");
    std::fs::create_dir(&path).unwrap();
    git(&path, &["init", "-q"]);
    for text in ["old", "new"] {
        std::fs::write(path.join("page"), text).unwrap();
        git(&path, &["add", "."]);
        git(&path, &["commit", "-q", "-m", text]);
    }
    path
}

fn to<'a>(into: &'a Path, claim: &'a Path, access: &'a Access) -> Clone<'a> {
    Clone { git_ref: None, access, bytes: CLONE_BYTES, into, claim, timeout: CLONE_TIMEOUT }
}

/// What `git` prints.
fn said(dir: &Path, args: &[&str]) -> String {
    let done = std::process::Command::new("git").args(args).current_dir(dir).output().unwrap();
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_branch_a_tag_or_a_commit_is_cloned_when_it_is_asked_for() {
    let scratch = tempfile::tempdir().unwrap();
    let repo = repository(scratch.path());
    let first = said(&repo, &["rev-parse", "HEAD~1"]);
    git(&repo, &["tag", "-a", "v1", "-m", "one", "HEAD~1"]);
    git(&repo, &["branch", "side/line", "HEAD~1"]);
    let (access, claim) = (Access::default(), scratch.path().join("claim"));
    for (number, wanted) in ["v1", "side/line", &first].iter().enumerate() {
        let into = scratch.path().join(number.to_string());
        std::fs::create_dir(&into).unwrap();
        let clone_to = Clone { git_ref: Some(wanted), ..to(&into, &claim, &access) };
        let commit = clone(Repository::Local(&repo), clone_to, |_| {}).await.unwrap();
        assert_eq!(commit, first, "{wanted}");
        assert_eq!(std::fs::read_to_string(into.join("page")).unwrap(), "old");
    }
    let into = scratch.path().join("none");
    std::fs::create_dir(&into).unwrap();
    let clone_to = Clone { git_ref: Some("nowhere"), ..to(&into, &claim, &access) };
    let failed = clone(Repository::Local(&repo), clone_to, |_| {}).await;
    assert!(matches!(&failed, Err(GitError::Failed { last, .. }) if last.contains("nowhere")), "{failed:?}");
}

/// A repository of many commits, each with 8 KiB that nothing makes smaller.
fn long_history(path: &Path, commits: u32) {
    use std::io::Write as _;
    git(path.parent().unwrap(), &["init", "-q", "--bare", path.to_str().unwrap()]);
    let mut import = std::process::Command::new("git")
        .args(["fast-import", "--quiet"])
        .current_dir(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut into = std::io::BufWriter::new(import.stdin.take().unwrap());
    for number in 0..commits {
        let mut noise = Vec::new();
        blake3::Hasher::new_derive_key("history").update(&number.to_le_bytes()).finalize_xof().fill({
            noise.resize(8192, 0);
            &mut noise
        });
        write!(
            into,
            "commit refs/heads/main\ncommitter t <t@example.com> {} +0000\ndata 1\nx\n",
            1_700_000_000 + number
        )
        .unwrap();
        write!(into, "M 644 inline noise\ndata {}\n", noise.len()).unwrap();
        into.write_all(&noise).unwrap();
        write!(into, "\nM 644 inline page\ndata <<END\n{number}\nEND\n\n").unwrap();
    }
    drop(into);
    assert!(import.wait().unwrap().success());
}

#[tokio::test]
async fn of_a_long_history_only_the_last_commit_is_fetched() {
    let scratch = tempfile::tempdir().unwrap();
    let repo = scratch.path().join("long.git");
    long_history(&repo, 4000);
    assert!(exceeds(&repo, 20 << 20), "its history is large");
    let (access, claim) = (Access::default(), scratch.path().join("claim"));
    let into = scratch.path().join("into");
    std::fs::create_dir(&into).unwrap();
    // What is fetched may take less than the history by far.
    let clone_to = Clone { bytes: 1 << 20, ..to(&into, &claim, &access) };
    let commit = clone(Repository::Local(&repo), clone_to, |_| {}).await.unwrap();
    assert_eq!(commit, said(&repo, &["rev-parse", "main"]));
    assert_eq!(said(&into, &["rev-list", "--count", "HEAD"]), "1");
    assert_eq!(std::fs::read_to_string(into.join("page")).unwrap(), "3999\n");
}

#[tokio::test]
async fn a_repository_that_is_too_large_is_left() {
    let scratch = tempfile::tempdir().unwrap();
    let repo = repository(scratch.path());
    let (access, claim) = (Access::default(), scratch.path().join("claim"));
    let into = scratch.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let clone_to = Clone { bytes: 1000, ..to(&into, &claim, &access) };
    let failed = clone(Repository::Local(&repo), clone_to, |_| {}).await;
    assert!(matches!(failed, Err(GitError::TooLarge { limit: 1000 })), "{failed:?}");
}

#[test]
fn paths_of_secrets_are_one_word_each_for_gits_shell() {
    let access = Access {
        ssh_key: Some("/k e/y$(id)".into()),
        known_hosts: Some("/h'osts".into()),
        credentials: Some("/c red".into()),
        authorities: Some("/c a.pem".into()),
    };
    let words = shell_words::split(&ssh(&access)).unwrap();
    assert!(words.contains(&"/k e/y$(id)".to_owned()), "{words:?}");
    assert!(words.contains(&"-oUserKnownHostsFile=/h'osts".to_owned()), "{words:?}");
    let helper = options(false, &access).into_iter().find(|word| word.contains("store")).unwrap();
    let words = shell_words::split(&helper).unwrap();
    assert!(words.contains(&"--file=/c red".to_owned()), "{words:?}");
    assert!(!options(true, &access).iter().any(|word| word.contains("store")));
    assert!(
        options(false, &access).contains(&"http.sslCAInfo=/c a.pem".to_owned()),
        "no shell reads this one"
    );
}

#[test]
fn addresses_are_told_apart() {
    let scratch = tempfile::tempdir().unwrap();
    let repo = repository(scratch.path());
    let plain = scratch.path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    let cases = [
        (repo.display().to_string(), Source::LocalGit(repo.clone())),
        (format!("file://{}", repo.display()), Source::LocalGit(repo.clone())),
        (format!("file://{}/.git", repo.display()), Source::LocalGit(repo.join(".git"))),
        (format!("file://{}", plain.display()), Source::Directory(plain)),
        ("/srv/x.git".into(), Source::LocalGit("/srv/x.git".into())),
    ];
    for (address, expected) in cases {
        assert_eq!(Source::parse(&address).unwrap(), expected);
    }
    for address in [
        "https://example.com/a/b",
        "ssh://git@example.com:22/a",
        "git@example.com:a/b.git",
        "https://u:p@h/x",
    ] {
        assert_eq!(Source::parse(address).unwrap(), Source::RemoteGit(address.into()));
    }
}

#[test]
fn hostile_addresses_are_refused() {
    for address in [
        "",
        "--upload-pack=touch /tmp/x",
        "--upload-pack=x",
        "-x",
        "ext::sh -c id",
        "ext::sh",
        "fd::17",
        "git://example.com/x",
        "http://example.com/x",
        "ftp://example.com/x",
        "ssh://-oProxyCommand=id/x",
        "ssh://a@-oProxyCommand=id/x",
        "ssh://-o@host/x",
        "https:///x",
        "-oProxyCommand=id:x",
        "u@-oProxyCommand=id:x",
        "host:-x",
        "file://relative",
        "relative/path",
        "../x",
        "https://example.com/a b",
        "https://example.com/a\n",
        "https://exa$(id)mple.com/a",
    ] {
        assert!(matches!(Source::parse(address), Err(GitError::Refused { .. })), "{address:?} passed");
    }
}

#[test]
fn credentials_are_not_shown() {
    assert_eq!(without_credentials("https://me:secret@example.com/a@b"), "https://example.com/a@b");
    assert_eq!(without_credentials("https://example.com/a@b"), "https://example.com/a@b");
}

#[tokio::test]
async fn the_newest_commit_is_cloned_without_its_hooks_and_history() {
    let scratch = tempfile::tempdir().unwrap();
    let repo = repository(scratch.path());
    let into = scratch.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let claim = scratch.path().join("claim");
    let access = Access::default();
    let clone_to = to(&into, &claim, &access);
    let commit = clone(Repository::Local(&repo), clone_to, |_| {}).await.unwrap();
    assert_eq!(commit, std::fs::read_to_string(repo.join(".git/refs/heads/main")).unwrap().trim());
    assert_eq!(std::fs::read_to_string(into.join("page")).unwrap(), "new");
    assert!(into.join(".git/shallow").exists());
    assert!(!into.join(".git/hooks").exists());
}

#[tokio::test]
async fn a_repository_that_is_not_there_or_empty_fails_with_gits_words() {
    let scratch = tempfile::tempdir().unwrap();
    let empty = scratch.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    git(&empty, &["init", "-q"]);
    let claim = scratch.path().join("claim");
    for (number, repo) in [scratch.path().join("none.git"), empty].iter().enumerate() {
        let into = scratch.path().join(number.to_string());
        std::fs::create_dir(&into).unwrap();
        let access = Access::default();
        let clone_to = to(&into, &claim, &access);
        let failed = clone(Repository::Local(repo), clone_to, |_| {}).await;
        assert!(matches!(&failed, Err(GitError::Failed { last, .. }) if !last.is_empty()), "{failed:?}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_with_the_time_it_was_given() {
    // It takes connections, and nothing more.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}/app.git", silent.local_addr().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let (access, claim) = (Access::default(), scratch.path().join("claim"));
    let into = scratch.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let limited = Clone { timeout: Duration::from_secs(1), ..to(&into, &claim, &access) };
    let begun = std::time::Instant::now();
    let given_up = clone(Repository::Remote(&address), limited, |_| {}).await.unwrap_err();
    assert!(matches!(given_up, GitError::Tool(ToolError::TimedOut { .. })), "{given_up:?}");
    assert_eq!(given_up.to_string(), "'git' was stopped after 1 s without an end");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
