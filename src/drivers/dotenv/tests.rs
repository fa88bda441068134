//! The file as its readers see it: shells here, python-dotenv where `.ci/prepare` has put it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use super::*;
use crate::drivers::below::Missing;

/// 2025-11-14T10:00:00Z
const NOW: Timestamp = Timestamp(1_763_114_400_000);

fn manner(same: Same) -> Manner<'static> {
    Manner { aside: ".env.new", owner: None, same, now: NOW }
}

fn dir(scratch: &tempfile::TempDir) -> Dir {
    Dir::root(scratch.path(), Missing::Fail).unwrap()
}

/// Values that readers are known to stumble over, each alone and all pairs of them.
fn hostile() -> Vec<String> {
    let parts = [
        "",
        " ",
        "a b",
        "#x",
        "it's",
        "\"",
        "$HOME",
        "${HOME}",
        "$(id)",
        "`id`",
        "\\",
        "\\\\",
        "\\n",
        "\\'",
        "\\\"",
        "\\$",
        "=",
        "a=b",
        "!",
        "!!",
        "*",
        "~",
        "&",
        ";",
        "|",
        "<x>",
        "{}",
        "[]",
        "%",
        "\t",
        "é✓",
        "$",
        "${",
        "}",
        ":-",
        "''",
        "'a'",
        "\"a\"",
        "export X",
        "x #y",
        "\u{202e}",
        "\u{2028}",
        "null",
        "1",
        "${TENANTRY_NONE:-x}",
        "-n",
        "\\x41",
    ];
    let mut values: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    for a in parts {
        values.extend(parts.iter().map(|b| format!("{a}{b}")));
    }
    values
}

fn named(values: &[String]) -> BTreeMap<String, String> {
    values.iter().enumerate().map(|(n, value)| (format!("V{n:05}"), value.clone())).collect()
}

/// Asks a reader for all variables `V...` of a file, as JSON.
fn read(program: &str, script: &str, file: &Path) -> BTreeMap<String, String> {
    let output = Command::new(program)
        .args(["-c", script])
        .arg("reader")
        .arg(file)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nobodys")
        .output()
        .unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{program}");
    let all: BTreeMap<String, String> = serde_json::from_slice(&output.stdout).unwrap();
    all.into_iter().filter(|(name, _)| name.starts_with('V')).collect()
}

const SHELL: &str =
    r#"set -eu; set -a; . "$1"; exec python3 -c 'import json,os; print(json.dumps(dict(os.environ)))'"#;

#[test]
fn every_value_survives_the_shells() {
    let scratch = tempfile::tempdir().unwrap();
    let variables = named(&hostile());
    let file = scratch.path().join(NAME);
    std::fs::write(&file, render(pairs(&variables, String::as_str))).unwrap();
    for shell in ["sh", "bash"] {
        let seen = read(shell, SHELL, &file);
        for (name, value) in &variables {
            assert_eq!(seen.get(name), Some(value), "{shell} reads {}", quote(value));
        }
    }
}

#[test]
fn every_value_survives_python_dotenv() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let there = Command::new(&python).args(["-c", "import dotenv"]).output();
    if !there.is_ok_and(|ended| ended.status.success()) {
        eprintln!("!!! SKIPPED: python-dotenv is not in .venv; .ci/prepare test puts it there");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let variables = named(&hostile());
    let file = scratch.path().join(NAME);
    std::fs::write(&file, render(pairs(&variables, String::as_str))).unwrap();
    let script = "import json,sys,dotenv; print(json.dumps(dict(dotenv.dotenv_values(sys.argv[2]))))";
    let seen = read(python.to_str().unwrap(), script, &file);
    for (name, value) in &variables {
        assert_eq!(seen.get(name), Some(value), "python-dotenv reads {}", quote(value));
    }
}

#[test]
fn plain_values_stay_readable() {
    assert_eq!(quote("https://smith.example.com"), "https://smith.example.com");
    assert_eq!(quote("Ed Gallrein for State Rep"), "'Ed Gallrein for State Rep'");
    assert_eq!(quote("it's"), "\"it's\"");
    assert_eq!(quote("pa$$word"), "'pa$$word'");
    assert_eq!(quote(""), "''");
    assert!(!render([("A", "it's `x`")].into_iter()).contains("`x`"));
}

fn modes(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_file_before_is_kept_under_a_name_that_nothing_has() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = dir(&scratch);
    let at = |name: &str| scratch.path().join(name);
    let first = write(&dir, "A=1\n", manner(Same::Write)).unwrap();
    assert_eq!(first, Written { path: at(NAME), is_new: true, backup: None });
    assert_eq!(modes(&at(NAME)), 0o600);

    std::fs::set_permissions(at(NAME), std::fs::Permissions::from_mode(0o644)).unwrap();
    let names = [".env.backup.20251114", ".env.backup.20251114-100000", ".env.backup.20251114-100000-2"];
    for (n, name) in names.iter().enumerate() {
        let written = write(&dir, &format!("A={}\n", n + 2), manner(Same::Write)).unwrap();
        assert_eq!(written.backup, Some(at(name)));
    }
    let kept: Vec<String> = names.iter().map(|name| std::fs::read_to_string(at(name)).unwrap()).collect();
    assert_eq!(kept, ["A=1\n", "A=2\n", "A=3\n"]);
    assert_eq!(modes(&at(names[0])), 0o600, "a secret in an old file is closed, too");
    assert_eq!(std::fs::read_to_string(at(NAME)).unwrap(), "A=4\n");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 4, "nothing is left aside");
}

#[test]
fn a_file_that_says_so_already_is_left_alone_when_that_is_asked() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = dir(&scratch);
    write(&dir, "A=1\n", manner(Same::Leave)).unwrap();
    let before = scratch.path().join(NAME).metadata().unwrap().ino();
    let again = write(&dir, "A=1\n", manner(Same::Leave)).unwrap();
    assert_eq!((again.is_new, again.backup), (false, None));
    assert_eq!(scratch.path().join(NAME).metadata().unwrap().ino(), before);
    assert!(write(&dir, "A=2\n", manner(Same::Leave)).unwrap().backup.is_some());
}

#[test]
fn what_a_tenant_put_in_its_place_is_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let victim = elsewhere.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    let dir = dir(&scratch);
    // A link in place of the file aside, which a killed writer could have left.
    std::os::unix::fs::symlink(&victim, scratch.path().join(".env.new")).unwrap();
    write(&dir, "A=1\n", manner(Same::Write)).unwrap();
    for make in [
        |victim: &Path, at: &Path| std::os::unix::fs::symlink(victim, at),
        |_: &Path, at: &Path| std::fs::create_dir(at),
    ] {
        std::fs::remove_file(scratch.path().join(NAME)).unwrap();
        make(&victim, &scratch.path().join(NAME)).unwrap();
        let refused = write(&dir, "A=2\n", manner(Same::Write));
        assert!(matches!(refused, Err(DotenvError::NoFile { .. })), "{refused:?}");
        assert!(!scratch.path().join(".env.new").exists());
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(victim.metadata().unwrap().permissions().mode() & 0o777, 0o644);
}
