//! `tenantry login` and `logout`: a credential that is stored instead of typed.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use anyhow::Context as _;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use url::{Host, Url};

use super::client::{Client, Server, block_on, field, text};
use super::failure::{FAILED, Failure, NOT_ALLOWED};
use super::logins::{Login, Logins};
use super::safe_text::safe;

/// More than any password or token has, in bytes.
const LONGEST_SECRET: u64 = 16 * 1024;

/// What `login` is asked.
#[derive(Clone, Debug, Args)]
#[command(after_help = "The password is asked for without echo. Without a terminal it is the first line of \
    standard input:\n  tenantry login --username admin < password-file")]
pub(super) struct LoginArgs {
    /// The server's address.
    #[arg(long, value_name = "URL", env = "TENANTRY_SERVER")]
    server: Option<String>,
    /// Who logs in; asked for when it is not said.
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Store an API token, read in place of a password, and no login.
    #[arg(long, conflicts_with = "username")]
    with_token: bool,
}

/// What `logout` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct LogoutArgs {
    /// The server's address [default: that of the last login].
    #[arg(long, value_name = "URL", env = "TENANTRY_SERVER")]
    server: Option<String>,
    /// Forget every server.
    #[arg(long)]
    all: bool,
}

/// Logs in and stores the credential.
pub(super) fn login(args: &LoginArgs) -> anyhow::Result<()> {
    let server = Server { server: args.server.clone(), token: None };
    let address = server.address()?;
    warn_of_open_network(&address);
    let (login, who) = if args.with_token { with_token(&address)? } else { with_password(&address, args)? };
    let path = Logins::change(|logins| {
        logins.servers.insert(address.clone(), login);
        logins.current = Some(address.clone());
    })?;
    eprintln!("Logged in at {address} as {}; stored in {}.", safe(&who), path.display());
    Ok(())
}

/// Forgets a credential. It stays valid until it ends by itself, or its token is revoked.
pub(super) fn logout(args: &LogoutArgs) -> anyhow::Result<()> {
    if args.all {
        let path = Logins::change(|logins| *logins = Logins::default())?;
        eprintln!("Every login of {} is forgotten.", path.display());
        return Ok(());
    }
    let address = Server { server: args.server.clone(), token: None }.address()?;
    let mut was_there = false;
    Logins::change(|logins| {
        was_there = logins.servers.remove(&address).is_some();
        if logins.current.as_ref() == Some(&address) {
            logins.current = None;
        }
    })?;
    if was_there {
        eprintln!("The login at {address} is forgotten.");
    } else {
        eprintln!("There was no login at {address}.");
    }
    Ok(())
}

/// A password that crosses a network in the clear is worth a word.
fn warn_of_open_network(address: &str) {
    let is_here = Url::parse(address).is_ok_and(|url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    });
    if !is_here {
        eprintln!("warning: {address} is not encrypted; everybody on the way can read the credential");
    }
}

fn with_password(address: &str, args: &LoginArgs) -> anyhow::Result<(Login, String)> {
    let username = match &args.username {
        Some(username) => username.clone(),
        None => ask_username()?,
    };
    let password = secret("Password: ")?;
    let client = Client::new(address.to_owned(), None)?;
    let body = json!({"username": username, "password": password});
    let answer = block_on(async {
        let answer = client.send(Method::POST, "/api/auth/login", Some(&body)).await;
        Ok(answer.map_err(|failure| Failure {
            next: if failure.code == NOT_ALLOWED { "Try again.".into() } else { failure.next.clone() },
            ..failure
        })?)
    })?;
    let token = field(&answer, "access_token").as_str().context("the server gave no credential")?;
    let role = text(field(&answer, "user"), "role");
    let login = Login { token: token.to_owned(), username: Some(username.clone()) };
    Ok((login, if role.is_empty() { username } else { format!("{username} ({role})") }))
}

fn with_token(address: &str) -> anyhow::Result<(Login, String)> {
    let token = secret("Token: ")?;
    let client = Client::new(address.to_owned(), Some(&token))?;
    let _: Value =
        block_on(async { Ok(client.get("/api/instances", &vec![("limit", "1".to_owned())]).await?) })?;
    Ok((Login { token, username: None }, "an API token".to_owned()))
}

fn ask_username() -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("standard input is no terminal: say who logs in with --username").into());
    }
    eprint!("Username: ");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// A secret from the terminal without echo, or the first line of standard input.
///
/// # Errors
/// When nothing was typed, or the terminal cannot be read.
pub(super) fn secret(prompt: &str) -> anyhow::Result<String> {
    Ok(secrets(&[prompt])?.pop().unwrap_or_default())
}

/// Secrets from the terminal without echo, or the first lines of standard input.
///
/// # Errors
/// When one was not typed, or the terminal cannot be read.
pub(super) fn secrets(prompts: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let is_terminal = io::stdin().is_terminal();
    let mut input = io::BufReader::new(io::stdin().take(LONGEST_SECRET));
    for prompt in prompts {
        let secret = if is_terminal {
            rpassword::prompt_password(prompt).context("the terminal cannot be read")?
        } else {
            let mut line = String::new();
            input.read_line(&mut line)?;
            line.trim_end_matches(['\n', '\r']).to_owned()
        };
        if secret.is_empty() {
            return Err(Failure::new(FAILED, "nothing was typed", "").into());
        }
        found.push(secret);
    }
    Ok(found)
}
