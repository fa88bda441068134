//! Hides secrets in a configuration that is shown.
//!
//! What is hidden: values whose name says that they are secret, user and password in a URL,
//! and values that look like keys. It rather hides too much: who wants to know has the file.

use serde_json::Value;
use tenantry_journal::sealed::HIDDEN;

/// Words of a name that tell of a secret.
const SECRET_WORDS: [&str; 21] = [
    "auth",
    "bearer",
    "cookie",
    "creds",
    "dsn",
    "jwt",
    "key",
    "keys",
    "otp",
    "pass",
    "passphrase",
    "pat",
    "pepper",
    "pin",
    "private",
    "pw",
    "pwd",
    "salt",
    "session",
    "signature",
    "authorization",
];
/// Parts of a name that tell of a secret wherever they stand.
const SECRET_PARTS: [&str; 7] =
    ["apikey", "credential", "passwd", "password", "privatekey", "secret", "token"];
/// How keys of well-known services begin, and JWTs, and keys in PEM.
const KEY_BEGINNINGS: [&str; 19] = [
    "-----BEGIN",
    "AIza",
    "AKIA",
    "ASIA",
    "Basic ",
    "Bearer ",
    "SG.",
    "eyJ",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "hvs.",
    "sk-",
    "sk_",
    "tenement_",
    "xoxb-",
    "xoxp-",
];
/// From this length on a mix of letters and digits is taken for a key.
const KEY_CHARS: usize = 20;
/// So many of them must be mixed without a break.
const MIXED_CHARS: usize = 8;

/// What is shown of a variable of an environment; the same as the value when it is no secret.
pub(crate) fn variable(name: &str, value: &str) -> String {
    if is_secret_name(name) { HIDDEN.into() } else { masked(value) }
}

/// Hides every secret in a tree of settings.
pub(super) fn mask(tree: &mut Value) {
    mask_named("", tree);
}

fn mask_named(name: &str, value: &mut Value) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, member)| mask_named(name, member)),
        Value::Array(words) => mask_words(words),
        Value::String(text) => *text = if is_secret_name(name) { HIDDEN.into() } else { masked(text) },
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Words of a command line: `--token=x`, `--token x`.
fn mask_words(words: &mut [Value]) {
    hide_after_flags(words);
    words.iter_mut().for_each(|word| mask_named("", word));
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PARTS.iter().any(|part| name.contains(part))
        || name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| SECRET_WORDS.contains(&word))
}

/// A text without what looks like a secret.
fn masked(text: &str) -> String {
    if KEY_BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) || is_random(text) {
        return HIDDEN.into();
    }
    if names_a_secret(text) {
        return match text.split_once('=') {
            // `--password=x`; the name may be told.
            Some((name, _)) if is_secret_name(name) && name.chars().all(is_of_name) => {
                format!("{name}={HIDDEN}")
            }
            _ => HIDDEN.into(),
        };
    }
    if text.contains(char::is_whitespace) && text.contains('-') {
        let mut words: Vec<Value> = text.split(' ').map(Value::from).collect();
        hide_after_flags(&mut words);
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return without_userinfo(&words.join(" "));
    }
    without_userinfo(text)
}

/// Hides each word that follows the name of a secret: `--token x`.
fn hide_after_flags(words: &mut [Value]) {
    let mut is_value_of_secret = false;
    for word in words {
        let Value::String(text) = word else { continue };
        let is_flag = text.starts_with('-');
        let hides = is_value_of_secret && !is_flag;
        is_value_of_secret = is_flag && !text.contains('=') && is_secret_name(text);
        if hides {
            *text = HIDDEN.into();
        }
    }
}

/// Whether some `name=value` in the text has the name of a secret.
fn names_a_secret(text: &str) -> bool {
    let parts: Vec<&str> = text.split('=').collect();
    let names = parts.len().saturating_sub(1);
    parts
        .iter()
        .take(names)
        .any(|before| before.rsplit(|c: char| !is_of_name(c)).next().is_some_and(is_secret_name))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// Letters and digits without order, as in a key.
fn is_random(text: &str) -> bool {
    let of_a_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
    text.len() >= KEY_CHARS
        && !text.starts_with('/')
        && text.chars().all(of_a_key)
        && text.split(['-', '_']).any(|part| {
            // Words and version numbers are no keys.
            part.len() >= MIXED_CHARS
                && part.chars().any(|c| c.is_ascii_digit())
                && part.chars().any(|c| c.is_ascii_alphabetic())
        })
}

/// Hides user and password of each URL in the text.
fn without_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(['/', '?', '#', ' ']).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str(HIDDEN);
                shown.push('@');
                shown.push_str(host);
            }
            // A password may hold a slash that nobody escaped.
            None if tail.contains('@') => {
                shown.push_str(HIDDEN);
                return shown;
            }
            None => shown.push_str(authority),
        }
        rest = tail;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn masked_env(name: &str, value: &str) -> String {
        let mut tree = json!({"env": {name: value}});
        mask(&mut tree);
        tree["env"][name].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_value_is_hidden_by_its_name() {
        for name in [
            "API_KEY",
            "SECRET_KEY_BASE",
            "DB_PASSWORD",
            "db_pass",
            "GITHUB_TOKEN",
            "SESSION_SALT",
            "MyPassword",
            "SENTRY_DSN",
            "AUTH",
            "privateKey_pem",
            "AWS_SECRET_ACCESS_KEY",
            "STRIPEAPIKEY",
        ] {
            assert_eq!(masked_env(name, "plain"), HIDDEN, "{name}");
        }
        for name in ["MODE", "WORKERS", "MONKEY", "COMPASS", "PASSENGERS", "DATABASE_PATH", "KEYBOARD"] {
            assert_eq!(masked_env(name, "plain"), "plain", "{name}");
        }
    }

    #[test]
    fn a_value_is_hidden_by_its_looks() {
        for value in [
            "sk_live_abc",
            "ghp_abcdef",
            "tenement_abc123xyz",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
            "-----BEGIN PRIVATE KEY-----\nx",
            "d41d8cd98f00b204e9800998ecf8427e",
            "host=h password=hunter2",
            "AKIAIOSFODNN7EXAMPLE",
            "https://h/x?api_key=abc",
        ] {
            assert_eq!(masked_env("X", value), HIDDEN, "{value}");
        }
        for value in [
            "Hello from {name}",
            "/srv/app/data.db",
            "production",
            "127.0.0.1:8000",
            "a=b",
            "campaign-server-v2-production",
        ] {
            assert_eq!(masked_env("X", value), value);
        }
    }

    #[test]
    fn a_url_keeps_its_host_and_loses_who_logs_in() {
        assert_eq!(
            masked_env("DATABASE", "postgres://app:hunter2@db:5432/x"),
            format!("postgres://{HIDDEN}@db:5432/x")
        );
        assert!(!masked_env("DATABASE", "postgres://app:hun/ter2@db/x").contains("ter2"));
        assert_eq!(masked_env("SITE", "https://example.com/a@b?c=d"), format!("https://{HIDDEN}"));
        assert_eq!(masked_env("SITE", "https://example.com/a?c=d"), "https://example.com/a?c=d");
    }

    #[test]
    fn a_command_line_shows_its_flags_and_not_their_secrets() {
        let mut tree =
            json!({"args": ["--token", "abc", "--port", "80", "--db-password=x", "-v", "--auth", "-x"]});
        mask(&mut tree);
        let shown = json!([
            "--token",
            HIDDEN,
            "--port",
            "80",
            format!("--db-password={HIDDEN}"),
            "-v",
            "--auth",
            "-x"
        ]);
        assert_eq!(tree["args"], shown);
    }
}
