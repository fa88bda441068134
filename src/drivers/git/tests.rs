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
    let clone_to = Clone { into: &into, claim: &claim, timeout: CLONE_TIMEOUT };
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
        let clone_to = Clone { into: &into, claim: &claim, timeout: CLONE_TIMEOUT };
        let failed = clone(Repository::Local(repo), clone_to, |_| {}).await;
        assert!(matches!(&failed, Err(GitError::Failed { last, .. }) if !last.is_empty()), "{failed:?}");
    }
}
