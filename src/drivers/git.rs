//! Where a release's files come from, and cloning them with git.
//!
//! An address is text from a person. It is parsed into a [`Source`] first: only https, ssh,
//! scp-like and local ones pass, nothing that git would take for an option or a transport
//! helper. git then runs without anybody's configuration, hooks, prompts or other protocols.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tool::{self, Tool, ToolError};

/// How long a clone may take. A shallow clone of a large application over a slow line takes
/// minutes; past ten something hangs.
pub const CLONE_TIMEOUT: Duration = Duration::from_secs(600);
/// How much a clone may take on the disk while it is made: what a release may hold, once packed
/// and once laid out, and some.
pub const CLONE_BYTES: u64 = 10 << 30;
/// How often that is looked at: a fast line fills a gigabyte in some seconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long laying the files out may take.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a question to a local repository may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer addresses are mistakes (and are a limit of most servers).
const ADDRESS_BYTES: usize = 2048;

/// Why a source was refused or could not be cloned.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The address is none that may be used.
    #[error("'{address}' cannot be deployed: {why}")]
    Refused {
        /// The address, without credentials.
        address: String,
        /// Why not.
        why: &'static str,
    },
    /// git ended with an error.
    #[error("git failed with {status}: {last}")]
    Failed {
        /// Its exit status.
        status: String,
        /// Its last words.
        last: String,
    },
    /// The clone is larger than any release may be.
    #[error("the repository is larger than {} MiB and was left", limit >> 20)]
    TooLarge {
        /// What it may take, in bytes.
        limit: u64,
    },
    /// git could not be run to its end.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// Where a release's files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory on this machine.
    Directory(PathBuf),
    /// A git repository on this machine.
    LocalGit(PathBuf),
    /// A git repository elsewhere.
    RemoteGit(String),
}

impl Source {
    /// Parses an address. Looks at the file system to tell a local repository from a directory.
    ///
    /// # Errors
    /// [`GitError::Refused`] when it is none that may be used.
    pub fn parse(address: &str) -> Result<Source, GitError> {
        let refused = |why| Err(GitError::Refused { address: without_credentials(address), why });
        if address.is_empty() || address.len() > ADDRESS_BYTES {
            return refused("it is empty or too long");
        }
        if address.starts_with('-') {
            return refused("it begins with '-'");
        }
        if address.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refused("it holds white space or control characters");
        }
        if let Some(path) = address.strip_prefix("file://") {
            return if path.starts_with('/') {
                Ok(local(path))
            } else {
                refused("a file:// address needs an absolute path")
            };
        }
        if address.starts_with('/') {
            return Ok(local(address));
        }
        if let Some((scheme, rest)) = address.split_once("://") {
            if !matches!(scheme, "https" | "ssh") {
                return refused("only https://, ssh:// and file:// addresses are used");
            }
            let authority = rest.split('/').next().unwrap_or_default();
            return if is_host(authority.rsplit('@').next().unwrap_or_default()) && !authority.starts_with('-')
            {
                Ok(Source::RemoteGit(address.to_owned()))
            } else {
                refused("it names no host")
            };
        }
        if address.contains("::") {
            return refused("transport helpers are not used");
        }
        match address.split_once(':') {
            Some((host, path))
                if !host.contains('/')
                    && is_host(host.rsplit('@').next().unwrap_or_default())
                    && !path.is_empty()
                    && !path.starts_with('-') =>
            {
                Ok(Source::RemoteGit(address.to_owned()))
            }
            _ => refused("it is neither an address nor an absolute path"),
        }
    }
}

/// A host, perhaps with a port: no option, no shell's or ssh's special characters.
fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn local(path: &str) -> Source {
    let path = PathBuf::from(path);
    let bare = path.join("HEAD").is_file() && path.join("objects").is_dir() && path.join("refs").is_dir();
    let named = path.extension() == Some(OsStr::new("git")) && !path.is_dir();
    if bare || named || path.join(".git").exists() { Source::LocalGit(path) } else { Source::Directory(path) }
}

/// An address as it may stand in logs: what stands before `@` in its host is left out.
#[must_use]
pub fn without_credentials(address: &str) -> String {
    let shown: String = address.chars().take(200).flat_map(char::escape_default).collect();
    let Some((scheme, rest)) = shown.split_once("://") else { return shown };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => shown,
    }
}

/// A repository that may be cloned.
#[derive(Clone, Copy, Debug)]
pub enum Repository<'a> {
    /// A path on this machine.
    Local(&'a Path),
    /// An address that [`Source::parse`] let pass.
    Remote(&'a str),
}

/// What opens repositories elsewhere; all of it the operator's.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The key that ssh shows; without one, the keys of our own user.
    pub ssh_key: Option<PathBuf>,
    /// The servers that ssh knows; without it, those that our own user knows.
    pub known_hosts: Option<PathBuf>,
    /// A file of git's `store` helper, for https.
    pub credentials: Option<PathBuf>,
    /// The authorities that vouch for https servers; without it, the system's.
    pub authorities: Option<PathBuf>,
}

/// What a clone needs besides its source.
#[derive(Clone, Copy, Debug)]
pub struct Clone<'a> {
    /// The branch, tag or whole commit id, which names no option; without one the newest commit
    /// of the default branch.
    pub git_ref: Option<&'a str>,
    /// What opens it.
    pub access: &'a Access,
    /// How much it may take on the disk, in bytes.
    pub bytes: u64,
    /// An empty directory, made by the caller.
    pub into: &'a Path,
    /// Held by git while it runs (see [`Tool::claim`]).
    pub claim: &'a Path,
    /// How long it may take.
    pub timeout: Duration,
}

/// Clones one commit, without its history, and returns its id. `.git` is left for the caller
/// to remove.
///
/// # Errors
/// When git cannot be run, fails, takes too long or too much of the disk.
pub async fn clone(
    repository: Repository<'_>,
    clone: Clone<'_>,
    mut line: impl FnMut(&str) + Send,
) -> Result<String, GitError> {
    let (address, local) = match repository {
        Repository::Local(path) => (format!("file://{}", path.display()), true),
        Repository::Remote(address) => (address.to_owned(), false),
    };
    let command = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned());
        options(local, clone.access).into_iter().chain(words).collect::<Vec<String>>()
    };
    let ask = Clone { timeout: ASK_TIMEOUT, ..clone };
    run(&command(&["init", "--quiet", "--template=", "."]), ask, &mut |_| {}).await?;
    let shown = without_credentials(&address);
    let mut shown_line = |text: &str| line(&text.replace(&address, &shown));
    let wanted = clone.git_ref.unwrap_or("HEAD");
    let fetch = ["fetch", "--depth", "1", "--no-tags", "--no-recurse-submodules", "--", &address, wanted];
    bounded(clone, run(&command(&fetch), clone, &mut shown_line)).await?;
    let checkout = command(&["checkout", "--quiet", "--detach", "FETCH_HEAD"]);
    let lay_out = Clone { timeout: CHECKOUT_TIMEOUT, ..clone };
    bounded(clone, run(&checkout, lay_out, &mut |text| line(text))).await?;

    let mut commit = String::new();
    run(&command(&["rev-parse", "--verify", "HEAD"]), ask, &mut |text| text.clone_into(&mut commit)).await?;
    if commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(commit);
    }
    Err(GitError::Failed { status: "success".into(), last: "the repository has no commit".into() })
}

/// Goes on for as long as what it writes is within bounds. Dropped, the work ends with its group.
async fn bounded(clone: Clone<'_>, work: impl Future<Output = Result<(), GitError>>) -> Result<(), GitError> {
    let limit = clone.bytes;
    let grows = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let into = clone.into.to_path_buf();
            let found = tokio::task::spawn_blocking(move || exceeds(&into, limit)).await;
            if found.unwrap_or(false) {
                return;
            }
        }
    };
    tokio::select! {
        worked = work => worked?,
        () = grows => return Err(GitError::TooLarge { limit }),
    }
    let into = clone.into.to_path_buf();
    match tokio::task::spawn_blocking(move || exceeds(&into, limit)).await {
        Ok(true) => Err(GitError::TooLarge { limit }),
        _ => Ok(()),
    }
}

/// Whether the files below a directory take more than so many bytes. What comes and goes
/// meanwhile is not counted.
fn exceeds(path: &Path, limit: u64) -> bool {
    let mut left = limit;
    let mut waiting = vec![path.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                waiting.push(entry.path());
            }
            match left.checked_sub(meta.len()) {
                Some(less) => left = less,
                None => return true,
            }
        }
    }
    false
}

/// Options that stand before the command: who configures git is this function alone.
fn options(local: bool, access: &Access) -> Vec<String> {
    // An empty one forgets those that came before.
    let mut options = vec!["protocol.allow=never", "core.hooksPath=/dev/null", "credential.helper="];
    let store = access.credentials.as_ref().filter(|_| !local).map(|file| {
        // git hands this to a shell. The helper is asked and never told: told of a refusal it
        // would take the operator's line out of the file, for everybody.
        let store = format!("git credential-store --file={} get", quoted(file));
        format!("credential.helper=!f() {{ test \"$1\" != get || {store}; }}; f")
    });
    options.extend(store.as_deref());
    let authorities = access.authorities.as_ref().map(|file| format!("http.sslCAInfo={}", file.display()));
    options.extend(authorities.as_deref());
    // A server that sends next to nothing for a minute is as good as dead.
    options.extend(["http.lowSpeedLimit=100", "http.lowSpeedTime=60", "http.followRedirects=initial"]);
    options.extend(["protocol.https.allow=always", "protocol.ssh.allow=always", "protocol.ext.allow=never"]);
    if local {
        options.push("protocol.file.allow=always");
    }
    options.into_iter().flat_map(|option| ["-c".to_owned(), option.to_owned()]).collect()
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    shell_words::quote(&path.display().to_string()).into_owned()
}

/// How git calls ssh: nobody is there to answer its questions, and a server that is not known
/// is not trusted. git hands this to a shell; nothing in it comes from a tenant.
fn ssh(access: &Access) -> String {
    let mut command = "ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=30".to_owned();
    if let Some(key) = &access.ssh_key {
        command.push_str(" -oIdentitiesOnly=yes -i ");
        command.push_str(&quoted(key));
    }
    if let Some(hosts) = &access.known_hosts {
        command.push_str(" -oStrictHostKeyChecking=yes -oUserKnownHostsFile=");
        command.push_str(&quoted(hosts));
    }
    command
}

async fn run(args: &[String], clone: Clone<'_>, line: &mut (dyn FnMut(&str) + Send)) -> Result<(), GitError> {
    let ssh = ssh(clone.access);
    let env = [
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ASKPASS", "/bin/false"),
        ("GIT_SSH_COMMAND", &ssh),
        // Never look for a repository above the directory that we gave.
        ("GIT_CEILING_DIRECTORIES", "/"),
    ]
    .map(|(name, value): (&str, &str)| (name.to_owned(), value.to_owned()));
    let tool = Tool {
        program: "git",
        args,
        workdir: clone.into,
        // A home that a tenant cannot write: no .netrc, no configuration.
        home: Path::new("/nonexistent"),
        env: &env,
        timeout: clone.timeout,
        claim: Some(clone.claim),
    };
    let ended = tool::run(&tool, line).await?;
    if ended.status.success() {
        return Ok(());
    }
    Err(GitError::Failed { status: tool::describe(ended.status), last: ended.tail.join("; ") })
}

#[cfg(test)]
mod tests;
