//! Further environment variables of a tenant: which may be, which are secret, and what becomes
//! of a secret that is sent back as it was shown.

use std::collections::{BTreeMap, BTreeSet};

use tenantry_journal::event::tenant::TenantConfig;
use tenantry_journal::sealed::{HIDDEN, Secret};

use super::is_given;
use crate::config::mask;
use crate::domain::rejection::Rejection;
use crate::domain::text;

/// Variables of one tenant: more than large applications have.
pub const MOST_VARIABLES: usize = 200;
/// Names and values of one tenant together, in bytes: an eighth of what the kernel gives to an
/// environment and its arguments.
pub const MOST_BYTES: usize = 256 * 1024;

/// Changes of the variables; what is `None` stays as it is.
#[derive(Clone, Default)]
pub struct EnvChanges {
    /// All variables from here on.
    pub all: Option<BTreeMap<String, String>>,
    /// The names of all that are secret, beside those that look so.
    pub secret: Option<BTreeSet<String>>,
}

/// Values may be secrets.
impl std::fmt::Debug for EnvChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.all.as_ref().map(|all| all.keys().collect::<Vec<_>>());
        f.debug_struct("EnvChanges").field("names", &names).field("secret", &self.secret).finish()
    }
}

/// A variable as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// As it is.
    Plain(&'a str),
    /// Without what is secret of it.
    Hidden(String),
}

impl Shown<'_> {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Shown::Plain(text) => text,
            Shown::Hidden(text) => text,
        }
    }
}

/// What is shown of a variable: nothing of one that is called secret, and of others what does
/// not look like a secret by its name or by itself.
#[must_use]
pub fn shown<'a>(config: &TenantConfig, name: &str, value: &'a Secret) -> Shown<'a> {
    let value = value.reveal();
    if config.secret_env.contains(name) {
        return Shown::Hidden(HIDDEN.to_owned());
    }
    let masked = mask::variable(name, value);
    if masked == value { Shown::Plain(value) } else { Shown::Hidden(masked) }
}

/// Replaces the variables as far as the changes say so.
pub(super) fn apply(
    before: &TenantConfig,
    changes: &EnvChanges,
    after: &mut TenantConfig,
) -> Result<(), Rejection> {
    let mut kept: BTreeSet<&String> = BTreeSet::new();
    if let Some(all) = &changes.all {
        check_size(all)?;
        after.custom_env.clear();
        for (name, sent) in all {
            let held = before.custom_env.get(name);
            let value = match held {
                Some(held) if is_as_shown(before, name, held, sent) => held.clone(),
                Some(_) | None => new_value(name, sent)?,
            };
            if held == Some(&value) {
                kept.insert(name);
            }
            after.custom_env.insert(name.clone(), value);
        }
        after.secret_env.retain(|name| all.contains_key(name));
    } else {
        kept.extend(before.custom_env.keys());
    }
    if let Some(secret) = &changes.secret {
        if let Some(unknown) = secret.iter().find(|name| !after.custom_env.contains_key(*name)) {
            let shown: String = unknown.chars().take(64).flat_map(char::escape_default).collect();
            return Err(invalid(format!("secret_env names '{shown}', which is not in custom_env")));
        }
        // A mark goes with the value that it hid, or whoever may write could read any secret.
        let stays = before.secret_env.iter().filter(|name| kept.contains(name));
        after.secret_env = stays.cloned().chain(secret.iter().cloned()).collect();
    }
    Ok(())
}

/// Whether somebody sends back what they were shown of a variable.
fn is_as_shown(before: &TenantConfig, name: &str, held: &Secret, sent: &str) -> bool {
    match shown(before, name, held) {
        Shown::Plain(text) => text == sent,
        Shown::Hidden(text) => text == sent || sent == HIDDEN,
    }
}

fn invalid(message: String) -> Rejection {
    Rejection::invalid("invalid_env", message)
}

fn check_size(all: &BTreeMap<String, String>) -> Result<(), Rejection> {
    if all.len() > MOST_VARIABLES {
        return Err(invalid(format!(
            "custom_env has {} variables, at most {MOST_VARIABLES} are possible",
            all.len()
        )));
    }
    let bytes: usize = all.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MOST_BYTES {
        return Err(invalid(format!(
            "custom_env has {bytes} bytes of names and values, at most {MOST_BYTES} are possible"
        )));
    }
    Ok(())
}

fn new_value(name: &str, value: &str) -> Result<Secret, Rejection> {
    text::environment(name, value)?;
    if is_given(name) {
        return Err(invalid(format!(
            "environment variable '{name}' is given by the control plane; set the field of that name, if there is one"
        )));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(invalid(format!(
            "the value of environment variable '{name}' must not contain a newline or another control character"
        )));
    }
    if value.contains(HIDDEN) {
        return Err(invalid(format!(
            "the value of environment variable '{name}' is what is shown in place of a secret, and there is none to keep"
        )));
    }
    Ok(Secret::new(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn changed(before: &TenantConfig, all: Option<&[(&str, &str)]>, secret: Option<&[&str]>) -> TenantConfig {
        let secret = secret.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let changes = EnvChanges { all: all.map(env), secret };
        let mut after = before.clone();
        apply(before, &changes, &mut after).unwrap();
        after
    }

    fn refused(before: &TenantConfig, all: &[(&str, &str)]) -> String {
        let changes = EnvChanges { all: Some(env(all)), secret: None };
        apply(before, &changes, &mut before.clone()).unwrap_err().message
    }

    fn value<'a>(config: &'a TenantConfig, name: &str) -> &'a str {
        config.custom_env[name].reveal()
    }

    #[test]
    fn a_secret_that_is_sent_back_as_it_was_shown_is_kept() {
        let empty = TenantConfig::default();
        let set = [("API_KEY", "abc"), ("DB", "postgres://u:hunter2@h/x"), ("MODE", "on")];
        let first = changed(&empty, Some(&set), None);
        let shown: Vec<String> =
            first.custom_env.iter().map(|(n, v)| shown(&first, n, v).text().to_owned()).collect();
        assert_eq!(shown, [HIDDEN, &format!("postgres://{HIDDEN}@h/x"), "on"]);
        let back = [("API_KEY", shown[0].as_str()), ("DB", shown[1].as_str()), ("MODE", "off")];
        let second = changed(&first, Some(&back), None);
        assert_eq!((value(&second, "API_KEY"), value(&second, "DB")), ("abc", "postgres://u:hunter2@h/x"));
        assert_eq!(value(&second, "MODE"), "off");
        assert!(refused(&first, &[("OTHER", HIDDEN)]).contains("OTHER"));
        assert!(refused(&first, &[("MODE", HIDDEN)]).contains("MODE"), "nothing of it is hidden");
        assert_eq!(value(&changed(&first, Some(&[("DB", HIDDEN)]), None), "DB"), value(&first, "DB"));
    }

    #[test]
    fn a_mark_goes_only_with_the_value_that_it_hid() {
        let first = changed(&TenantConfig::default(), Some(&[("COLOUR", "red")]), Some(&["COLOUR"]));
        assert_eq!(shown(&first, "COLOUR", &first.custom_env["COLOUR"]).text(), HIDDEN);
        let unmarked = changed(&first, None, Some(&[]));
        assert!(unmarked.secret_env.contains("COLOUR"), "nobody reads it by unmarking it");
        let resent = changed(&first, Some(&[("COLOUR", HIDDEN)]), Some(&[]));
        assert!(resent.secret_env.contains("COLOUR"));
        let other = changed(&first, Some(&[("COLOUR", "blue")]), Some(&[]));
        assert!(other.secret_env.is_empty());
        let gone = changed(&first, Some(&[]), None);
        assert!(gone.secret_env.is_empty() && gone.custom_env.is_empty());
    }

    #[test]
    fn what_is_no_variable_is_refused_by_its_name() {
        let empty = TenantConfig::default();
        for (name, value) in [
            ("1A", "x"),
            ("A B", "x"),
            ("A=B", "x"),
            ("TENANTRY_RUN", "x"),
            ("PORT", "1"),
            ("APP_NAME", "x"),
            ("A", "one\ntwo"),
            ("A", "one\rtwo"),
            ("A", "nul\0"),
            ("A", "\u{1b}[2J"),
        ] {
            assert!(refused(&empty, &[(name, value)]).contains(name), "{name}={value:?}");
        }
        assert!(refused(&empty, &[("A", &"x".repeat(40_000))]).contains("'A'"));
        let many: Vec<String> = (0..=MOST_VARIABLES).map(|n| format!("V{n}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
        assert!(refused(&empty, &many).contains("200"));
        let large: Vec<(String, String)> = (0..9).map(|n| (format!("V{n}"), "x".repeat(30_000))).collect();
        let large: Vec<(&str, &str)> = large.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert!(refused(&empty, &large).contains("262144"));
    }
}
