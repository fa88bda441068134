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

/// What a clone needs besides its source.
#[derive(Clone, Copy, Debug)]
pub struct Clone<'a> {
    /// An empty directory, made by the caller.
    pub into: &'a Path,
    /// Held by git while it runs (see [`Tool::claim`]).
    pub claim: &'a Path,
    /// How long it may take.
    pub timeout: Duration,
}

/// Clones the newest commit of the default branch and returns its id. `.git` is left for the
/// caller to remove.
///
/// # Errors
/// When git cannot be run, fails, or takes too long.
pub async fn clone(
    repository: Repository<'_>,
    clone: Clone<'_>,
    mut line: impl FnMut(&str) + Send,
) -> Result<String, GitError> {
    let (address, local) = match repository {
        Repository::Local(path) => (format!("file://{}", path.display()), true),
        Repository::Remote(address) => (address.to_owned(), false),
    };
    let mut args = options(local);
    args.extend(
        ["clone", "--depth", "1", "--no-tags", "--single-branch", "--template=", "--"].map(String::from),
    );
    args.extend([address.clone(), ".".to_owned()]);
    let shown = without_credentials(&address);
    let mut shown_line = |text: &str| line(&text.replace(&address, &shown));
    run(&args, clone, &mut shown_line).await?;

    let mut args = options(local);
    args.extend(["rev-parse", "--verify", "HEAD"].map(String::from));
    let mut commit = String::new();
    let ask = Clone { timeout: ASK_TIMEOUT, ..clone };
    run(&args, ask, &mut |text| text.clone_into(&mut commit)).await?;
    if commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(commit);
    }
    Err(GitError::Failed { status: "success".into(), last: "the repository has no commit".into() })
}

/// Options that stand before the command: who configures git is this function alone.
fn options(local: bool) -> Vec<String> {
    let mut options = vec!["protocol.allow=never", "core.hooksPath=/dev/null", "credential.helper="];
    // A server that sends next to nothing for a minute is as good as dead.
    options.extend(["http.lowSpeedLimit=100", "http.lowSpeedTime=60", "http.followRedirects=initial"]);
    options.extend(["protocol.https.allow=always", "protocol.ssh.allow=always", "protocol.ext.allow=never"]);
    if local {
        options.push("protocol.file.allow=always");
    }
    options.into_iter().flat_map(|option| ["-c".to_owned(), option.to_owned()]).collect()
}

async fn run(args: &[String], clone: Clone<'_>, line: &mut (dyn FnMut(&str) + Send)) -> Result<(), GitError> {
    let env = [
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ASKPASS", "/bin/false"),
        // A constant for git's own shell: nobody is there to answer ssh's questions.
        ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=20"),
        // Never look for a repository above the directory that we gave.
        ("GIT_CEILING_DIRECTORIES", "/"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
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
