//! A picture of a page by a headless Chromium.
//!
//! The browser runs what a stranger wrote. So it keeps its own sandbox, never runs as root (but
//! as `nobody`, when we are), has a directory of its own that is removed after, and reaches
//! nothing but [`proxy`], which lets through what may be fetched: it resolves no names, and
//! its loopback goes by the proxy as well.

mod proxy;

use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::fetch::Pins;
use super::tool::{self, Tool, ToolError};

/// How long a picture may take, with the start of the browser.
const TIMEOUT: Duration = Duration::from_secs(40);
/// How much time the page's own scripts think has passed, in milliseconds.
const PAGE_MS: u32 = 4_000;
/// The window, in dots: a laptop's width and the first two screens of the page.
const WINDOW: (u32, u32) = (1280, 1600);
/// The longest picture that is taken, in bytes: one of noise has about 6 MB.
const LONGEST: u64 = 8 * 1024 * 1024;
/// The user whom nothing belongs to.
const NOBODY: u32 = 65_534;
/// Names of the program.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// Why there is no picture. Each sentence goes on from "there is no screenshot: ".
#[derive(Debug, thiserror::Error)]
pub enum NoPicture {
    /// No browser is there.
    #[error("no Chromium is installed (looked for {})", NAMES.join(", "))]
    NoBrowser,
    /// The operator wants none.
    #[error("[analyze] chromium is \"off\"")]
    Off,
    /// We are root and cannot become somebody else.
    #[error("Chromium is not run as root, and setpriv (util-linux) is missing")]
    NoSetpriv,
    /// It could not be run to its end.
    #[error("Chromium did not do it: {0}")]
    Failed(String),
    /// It took too long.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> NoPicture {
    move |source| NoPicture::Io { what, source }
}

/// Finds a program where tools are looked for.
fn which(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).is_file().then(|| name.into());
    }
    tool::PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// The browser: the operator's, or the first that is there.
///
/// # Errors
/// When there is none, or the operator wants none.
pub fn find(configured: Option<&str>) -> Result<PathBuf, NoPicture> {
    match configured {
        Some("off") => Err(NoPicture::Off),
        Some(name) => which(name).ok_or(NoPicture::NoBrowser),
        None => NAMES.into_iter().find_map(which).ok_or(NoPicture::NoBrowser),
    }
}

/// A directory that goes with the picture.
struct Scratch(PathBuf);

impl Scratch {
    /// `name` is the same for each attempt at one picture, so that what a crash left is found.
    fn new(name: &str, owner: Option<u32>) -> std::io::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("tenantry-page-{name}"));
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let scratch = Scratch(path);
        if owner.is_some() {
            chown(&scratch.0, owner, owner)?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is removed with the next attempt, or by the system.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn arguments(url: &Url, scratch: &Path, picture: &Path, port: u16) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--headless",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-extensions",
        "--disable-sync",
        "--disable-breakpad",
        "--no-first-run",
        "--no-pings",
        "--mute-audio",
        "--hide-scrollbars",
        "--incognito",
        "--deny-permission-prompts",
        // Everything goes by the proxy: its own address is all that the browser may resolve.
        "--proxy-bypass-list=<-loopback>",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        // And nothing goes by UDP.
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--proxy-server=http://127.0.0.1:{port}"));
    arguments.push(format!("--virtual-time-budget={PAGE_MS}"));
    arguments.push(format!("--window-size={},{}", WINDOW.0, WINDOW.1));
    arguments.push(format!("--user-data-dir={}", scratch.join("profile").display()));
    arguments.push(format!("--screenshot={}", picture.display()));
    // It begins with http, so it is no option.
    arguments.push(url.as_str().to_owned());
    arguments
}

/// A picture of a page, a PNG. `name` names this piece of work and `claim` is a file for it.
/// When the future is dropped the browser is ended.
///
/// # Errors
/// Why there is none.
pub async fn capture(
    browser: &Path,
    url: &Url,
    pins: Arc<Pins>,
    name: &str,
    claim: &Path,
) -> Result<Vec<u8>, NoPicture> {
    let as_root = rustix::process::geteuid().is_root();
    let setpriv = if as_root { Some(which("setpriv").ok_or(NoPicture::NoSetpriv)?) } else { None };
    let scratch = Scratch::new(name, as_root.then_some(NOBODY)).map_err(io("make a directory"))?;
    let proxy = proxy::Proxy::start(pins).await.map_err(io("listen"))?;
    let picture = scratch.0.join("page.png");
    let own = arguments(url, &scratch.0, &picture, proxy.port);
    let browser = browser.display().to_string();
    let (program, args) = match setpriv {
        None => (browser, own),
        Some(setpriv) => {
            let mut args: Vec<String> = vec![
                format!("--reuid={NOBODY}"),
                format!("--regid={NOBODY}"),
                "--clear-groups".into(),
                "--".into(),
                browser,
            ];
            args.extend(own);
            (setpriv.display().to_string(), args)
        }
    };
    let env = [("TMPDIR".to_owned(), scratch.0.display().to_string())];
    let tool = Tool {
        program: &program,
        args: &args,
        workdir: &scratch.0,
        home: &scratch.0,
        env: &env,
        timeout: TIMEOUT,
        claim: Some(claim),
    };
    let ended = tool::run(&tool, |_| {}).await;
    drop(proxy);
    // The claim names one piece of work, which is done now.
    let _ = std::fs::remove_file(claim);
    let ended = ended?;
    let length = std::fs::symlink_metadata(&picture).map(|meta| if meta.is_file() { meta.len() } else { 0 });
    match length {
        Ok(1..=LONGEST) => std::fs::read(&picture).map_err(io("read the picture")),
        Ok(0) | Err(_) => {
            let words = "Sandbox|sandbox|namespace";
            let said = ended.tail.iter().rev().find(|line| words.split('|').any(|word| line.contains(word)));
            let said: String = said.map(|line| line.chars().take(160).collect()).unwrap_or_default();
            Err(NoPicture::Failed(format!("{} {said}", tool::describe(ended.status)).trim().to_owned()))
        }
        Ok(_) => Err(NoPicture::Failed(format!("the picture is longer than {LONGEST} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_can_name_a_browser_or_want_none() {
        assert!(matches!(find(Some("off")), Err(NoPicture::Off)));
        assert!(matches!(find(Some("/nowhere/chromium")), Err(NoPicture::NoBrowser)));
        assert_eq!(find(Some("/bin/sh")).expect("there"), Path::new("/bin/sh"));
    }

    #[test]
    fn what_a_crash_left_is_removed_and_the_directory_is_ours_alone() {
        let name = uuid::Uuid::now_v7().to_string();
        let left = Scratch::new(&name, None).expect("made");
        std::fs::write(left.0.join("left"), "x").expect("written");
        std::mem::forget(left);
        let again = Scratch::new(&name, None).expect("made again");
        assert_eq!(std::fs::read_dir(&again.0).expect("read").count(), 0);
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&again.0).expect("there").permissions().mode() & 0o777, 0o700);
        let path = again.0.clone();
        drop(again);
        assert!(!path.exists());
    }
}
