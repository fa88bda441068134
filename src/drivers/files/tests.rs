//! Releases, links and removals on a real directory tree, hostile links among them.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Bench {
    scratch: tempfile::TempDir,
    files: Files,
    directory: PathBuf,
    source: PathBuf,
}

fn bench() -> Bench {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    std::fs::create_dir_all(source.join("static")).unwrap();
    std::fs::create_dir_all(source.join(".git")).unwrap();
    std::fs::write(source.join(".git/config"), "secret").unwrap();
    std::fs::write(source.join("run.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(source.join("run.sh"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::write(source.join("static/page.html"), "<p>").unwrap();
    symlink("../run.sh", source.join("static/run")).unwrap();
    let root = scratch.path().join("tenants");
    Bench { files: Files::new(root.clone()), directory: root.join("smith"), source, scratch }
}

impl Bench {
    fn release(&self, release: u32) -> Result<Size, FilesError> {
        let partial = self.files.begin_release(&self.directory, release)?;
        let private = self.scratch.path().join("data");
        let size = self.files.copy_into(&self.source, &partial, &private, &Cancel::default())?;
        let stamp = Stamp { release, source: "directory".into(), commit: None };
        self.files.finish_release(partial, &stamp)?;
        Ok(size)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.directory.join("releases"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_copied_release_is_whole_and_has_modes_and_links_but_no_git() {
    let bench = bench();
    assert_eq!(bench.files.stamp(&bench.directory, 1).unwrap(), None);
    assert_eq!(bench.release(1).unwrap(), Size { bytes: 13, entries: 4 });
    let release = bench.directory.join("releases/1");
    let mode = std::fs::metadata(release.join("run.sh")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "the mode stays, set-user-id does not");
    assert_eq!(std::fs::read_to_string(release.join("static/run")).unwrap(), "#!/bin/sh\n");
    assert!(!release.join(".git").exists());
    let stamp = bench.files.stamp(&bench.directory, 1).unwrap().unwrap();
    assert_eq!((stamp.release, stamp.source.as_str()), (1, "directory"));
}

#[test]
fn what_an_interrupted_attempt_left_is_no_release_and_is_replaced() {
    let bench = bench();
    let partial = bench.files.begin_release(&bench.directory, 1).unwrap();
    std::fs::write(partial.dir().anchored().join("torn"), "x").unwrap();
    assert_eq!(bench.files.stamp(&bench.directory, 1).unwrap(), None);
    assert!(matches!(
        bench.files.point_current(&bench.directory, Some(1)),
        Err(FilesError::NoRelease { release: 1, .. })
    ));
    bench.release(1).unwrap();
    assert!(!bench.directory.join("releases/1/torn").exists());
    assert_eq!(bench.names(), ["1"]);
}

#[test]
fn current_is_replaced_and_removed() {
    let bench = bench();
    for release in [1, 2] {
        bench.release(release).unwrap();
        bench.files.point_current(&bench.directory, Some(release)).unwrap();
        assert_eq!(bench.files.current(&bench.directory).unwrap(), Some(release));
        assert!(bench.directory.join("current/run.sh").exists());
    }
    bench.files.point_current(&bench.directory, None).unwrap();
    bench.files.point_current(&bench.directory, None).unwrap();
    assert_eq!(bench.files.current(&bench.directory).unwrap(), None);
}

#[test]
fn releases_that_were_given_up_go_and_what_is_in_the_making_stays() {
    let bench = bench();
    for release in 1..=5 {
        bench.release(release).unwrap();
    }
    for release in [4, 6] {
        std::fs::create_dir(bench.directory.join(format!("releases/{release}.partial"))).unwrap();
    }
    assert_eq!(bench.files.prune(&bench.directory, &[2, 4], 4).unwrap(), [3, 1]);
    assert_eq!(bench.names(), ["2", "4", "5", "6.partial"]);
}

#[test]
fn sources_outside_of_the_allowed_directories_are_refused() {
    let bench = bench();
    let allowed = tempfile::tempdir().unwrap();
    let files = bench.files.clone().only_from(vec![allowed.path().to_path_buf()]);
    let inside = allowed.path().join("app");
    std::fs::create_dir(&inside).unwrap();
    assert!(files.check_source(&inside, Path::new("/nowhere")).is_ok());
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), allowed.path().join("link")).unwrap();
    for source in [elsewhere.path().to_path_buf(), allowed.path().join("link"), inside.join("../..")] {
        assert!(files.check_source(&source, Path::new("/nowhere")).is_err(), "{source:?} passed");
    }
}

#[test]
fn what_is_noted_of_a_release_stays() {
    let bench = bench();
    bench.release(1).unwrap();
    assert!(!bench.files.is_noted(&bench.directory, 1, ".done").unwrap());
    bench.files.note(&bench.directory, 1, ".done").unwrap();
    bench.files.note(&bench.directory, 1, ".done").unwrap();
    assert!(bench.files.is_noted(&bench.directory, 1, ".done").unwrap());
    assert!(bench.files.note(&bench.directory, 2, ".done").is_err());
}

#[test]
fn links_that_lead_outside_and_special_files_are_refused() {
    for (name, make) in [
        ("absolute", Box::new(|at: &Path| symlink("/etc", at).unwrap()) as Box<dyn Fn(&Path)>),
        ("upwards", Box::new(|at: &Path| symlink("../../x", at).unwrap())),
        ("socket", Box::new(|at: &Path| drop(std::os::unix::net::UnixListener::bind(at).unwrap()))),
        (
            "pipe",
            Box::new(|at: &Path| {
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    at,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::RUSR,
                    0,
                )
                .unwrap();
            }),
        ),
    ] {
        let bench = bench();
        make(&bench.source.join(name));
        let refused = bench.release(1);
        assert!(
            matches!(&refused, Err(FilesError::Forbidden { path, .. }) if path == Path::new(name)),
            "{refused:?}"
        );
        assert_eq!(bench.files.stamp(&bench.directory, 1).unwrap(), None);
    }
}

#[test]
fn a_source_that_is_too_large_or_called_off_ends_early() {
    let mut bench = bench();
    bench.files.limits = Limits { entries: 3, ..Limits::default() };
    assert!(matches!(bench.release(1), Err(FilesError::TooLarge { .. })));
    bench.files.limits = Limits { bytes: 12, ..Limits::default() };
    assert!(matches!(bench.release(1), Err(FilesError::TooLarge { .. })));
    let partial = bench.files.begin_release(&bench.directory, 1).unwrap();
    let cancel = Cancel::default();
    cancel.cancel();
    let private = bench.scratch.path().join("data");
    let ended = bench.files.copy_into(&bench.source, &partial, &private, &cancel);
    assert!(matches!(ended, Err(FilesError::Cancelled)));
}

#[test]
fn neither_a_tenants_files_nor_our_own_can_be_deployed() {
    let mut bench = bench();
    bench.release(1).unwrap();
    let data = bench.scratch.path().join("data");
    std::fs::create_dir_all(data.join("keys")).unwrap();
    for source in [bench.directory.join("releases/1"), data.clone(), data.join("keys"), "/".into()] {
        bench.source = source;
        assert!(matches!(bench.release(2), Err(FilesError::Source { .. })), "{:?}", bench.source);
    }
}

#[test]
fn nothing_outside_the_root_is_removed() {
    let bench = bench();
    let victim = bench.scratch.path().join("victim");
    std::fs::create_dir_all(victim.join("deep")).unwrap();
    let root = bench.scratch.path().join("tenants");
    std::fs::create_dir_all(&root).unwrap();
    for directory in
        [victim.clone(), root.clone(), root.join(".."), root.join("../victim"), root.join("a/../../victim")]
    {
        assert!(bench.files.remove_tenant_directory(&directory).is_err(), "{directory:?}");
        assert!(bench.files.ensure_directory(&directory).is_err(), "{directory:?}");
    }
    // A link in the tenant's place goes, what it points to stays.
    symlink(&victim, root.join("smith")).unwrap();
    assert!(bench.files.begin_release(&bench.directory, 1).is_err());
    bench.files.remove_tenant_directory(&root.join("smith")).unwrap();
    assert!(victim.join("deep").exists());
    assert!(root.exists() && !root.join("smith").exists());
}

#[test]
fn a_removed_tenants_directory_is_gone_and_removing_it_again_is_no_error() {
    let bench = bench();
    bench.release(1).unwrap();
    bench.files.remove_tenant_directory(&bench.directory).unwrap();
    bench.files.remove_tenant_directory(&bench.directory).unwrap();
    assert!(!bench.directory.exists());
}
