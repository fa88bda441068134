//! Settings that can be changed while the control plane runs: which there are, and what each
//! may be. A setting that somebody set goes over what the configuration file says.

use tenantry_journal::event::Event;
use tenantry_journal::event::setting::{SettingChanged, SettingCleared};
use tenantry_journal::id::KeyId;
use tenantry_journal::sealed::{HIDDEN, Sealed, Secret};
use tenantry_projections::world::World;
use url::Url;

use super::policy::Retention;
use super::rejection::Rejection;
use super::text;

/// Key for the Anthropic Messages API.
pub const ANTHROPIC_API_KEY: &str = "anthropic_api_key";
/// Where that API is.
pub const ANTHROPIC_BASE_URL: &str = "anthropic_base_url";
/// Which model is asked there.
pub const ANTHROPIC_MODEL: &str = "anthropic_model";
/// Whom a certificate authority writes to.
pub const ACME_CONTACT: &str = "acme_contact";
/// Seconds between two checks of a tenant.
pub const HEALTH_CHECK_INTERVAL: &str = "health_check_interval";
/// Days for which output is kept; 0 is without end.
pub const LOG_RETENTION_DAYS: &str = "log_retention_days";
/// MiB of output that are kept of each instance.
pub const LOG_MAX_MB: &str = "log_max_mb";
/// Requests of one token or user in a minute.
pub const RATE_LIMIT_PER_MINUTE: &str = "rate_limit_per_minute";
/// Requests of one token or user in an hour.
pub const RATE_LIMIT_PER_HOUR: &str = "rate_limit_per_hour";

/// Where the Anthropic API is when nobody says.
pub const DEFAULT_ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";
/// Which model is asked when nobody says.
pub const DEFAULT_ANTHROPIC_MODEL: &str = "claude-sonnet-4-5";

/// Longest text of a setting, in characters; keys of services have some hundreds at most.
const LONGEST: usize = 2_048;
const DAY_S: u64 = 86_400;
const DAY_MS: u64 = DAY_S * 1000;

/// What a setting's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line of text.
    Text,
    /// An http or https address.
    Address,
    /// A mail address.
    Mail,
    /// A whole number, from the first to the second.
    Integer(u64, u64),
}

impl Kind {
    /// Document 1's `value_type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Integer(..) => "integer",
            Kind::Text | Kind::Address | Kind::Mail => "string",
        }
    }
}

/// A setting that there is.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name.
    pub key: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether its value is never shown.
    pub is_secret: bool,
    /// A phrase for people.
    pub description: &'static str,
}

const fn known(key: &'static str, kind: Kind, description: &'static str) -> Known {
    Known { key, kind, is_secret: false, description }
}

/// All settings, by name.
pub const KNOWN: [Known; 9] = [
    known(ACME_CONTACT, Kind::Mail, "Mail address for the certificate authority"),
    Known { is_secret: true, ..known(ANTHROPIC_API_KEY, Kind::Text, "Anthropic API key for Claude") },
    known(ANTHROPIC_BASE_URL, Kind::Address, "Address of the Anthropic API"),
    known(ANTHROPIC_MODEL, Kind::Text, "Model that suggests themes"),
    known(
        HEALTH_CHECK_INTERVAL,
        // A check reads the whole database.
        Kind::Integer(5, DAY_S),
        "Health check interval in seconds",
    ),
    known(LOG_MAX_MB, Kind::Integer(1, 1 << 20), "Output kept of each instance, in MiB"),
    known(LOG_RETENTION_DAYS, Kind::Integer(0, 3650), "Days for which output is kept, 0 for no limit"),
    known(RATE_LIMIT_PER_HOUR, Kind::Integer(1, u32::MAX as u64), "Requests of one token or user in an hour"),
    known(
        RATE_LIMIT_PER_MINUTE,
        Kind::Integer(1, u32::MAX as u64),
        "Requests of one token or user in a minute",
    ),
];

/// What is known of a setting.
///
/// # Errors
/// When there is none of this name.
pub fn find(key: &str) -> Result<&'static Known, Rejection> {
    KNOWN.iter().find(|known| known.key == key).ok_or_else(|| {
        let shown: String = key.chars().take(64).flat_map(char::escape_default).collect();
        Rejection::not_found("setting_not_found", format!("setting '{shown}' does not exist"))
    })
}

/// A number that somebody set.
#[must_use]
pub fn integer(world: &World, key: &str) -> Option<u64> {
    world.settings.value(key)?.parse().ok()
}

/// How much output is kept: what was set, over what the file says.
#[must_use]
pub fn retention(world: &World, file: &Retention) -> Retention {
    let mut retention = file.clone();
    if let Some(mb) = integer(world, LOG_MAX_MB) {
        retention.usual.bytes = mb << 20;
    }
    if let Some(days) = integer(world, LOG_RETENTION_DAYS) {
        retention.usual.ms = (days > 0).then(|| days * DAY_MS);
    }
    retention
}

fn check(known: &Known, value: &str) -> Result<(), Rejection> {
    let invalid = |what: String| {
        // A secret is not repeated, and neither is what somebody put in its place.
        Err(Rejection::invalid("invalid_setting", format!("{} must be {what}", known.key)))
    };
    match known.kind {
        Kind::Text => text::line(known.key, value, LONGEST),
        Kind::Mail => text::mail(known.key, value),
        Kind::Address => {
            text::line(known.key, value, LONGEST)?;
            let is_plain = |url: &Url| {
                ["http", "https"].contains(&url.scheme())
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && !value.contains(char::is_whitespace)
            };
            match Url::parse(value) {
                Ok(url) if is_plain(&url) => Ok(()),
                _ => invalid("an http or https address without user and password".into()),
            }
        }
        Kind::Integer(first, last) => {
            let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            match value.parse::<u64>() {
                Ok(number) if plain && (first..=last).contains(&number) => Ok(()),
                _ => invalid(format!("a whole number from {first} to {last}")),
            }
        }
    }
}

/// The one way to write a value.
fn normal(known: &Known, value: &str) -> String {
    match known.kind {
        Kind::Integer(..) => {
            value.parse::<u64>().map_or_else(|_| value.to_owned(), |number| number.to_string())
        }
        Kind::Text | Kind::Address | Kind::Mail => value.to_owned(),
    }
}

pub(super) fn change(world: &World, key: &str, value: &Secret) -> Result<Vec<Event>, Rejection> {
    let (known, value) = (find(key)?, value.reveal());
    let held = world.settings.value(key);
    if known.is_secret && value == HIDDEN {
        return match held {
            Some(_) => Ok(Vec::new()),
            None => Err(Rejection::invalid(
                "invalid_setting",
                format!("{key} is what is shown in place of a secret, and there is none to keep"),
            )),
        };
    }
    check(known, value)?;
    let value = normal(known, value);
    if held == Some(&value) {
        return Ok(Vec::new());
    }
    let shown = (!known.is_secret).then(|| Sealed::new(KeyId::CONTROL_PLANE, value.clone()));
    let value = Sealed::new(KeyId::CONTROL_PLANE, Secret::new(value));
    Ok(vec![SettingChanged { key: key.to_owned(), value, shown }.into()])
}

pub(super) fn clear(world: &World, key: &str) -> Result<Vec<Event>, Rejection> {
    find(key)?;
    let cleared = world.settings.get(key).map(|_| SettingCleared { key: key.to_owned() }.into());
    Ok(cleared.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_takes_its_kind_and_a_secret_is_not_repeated() {
        for (key, good, bad) in [
            (HEALTH_CHECK_INTERVAL, "60", "4"),
            (HEALTH_CHECK_INTERVAL, "0060", "+60"),
            (LOG_RETENTION_DAYS, "0", "-1"),
            (RATE_LIMIT_PER_HOUR, "4294967295", "4294967296"),
            (ANTHROPIC_BASE_URL, "https://api.anthropic.com", "https://user:hunter2@h"),
            (ACME_CONTACT, "a@b.example", "hunter2"),
            (ANTHROPIC_API_KEY, "sk-ant-1", "hunter2\n"),
        ] {
            let known = find(key).unwrap();
            assert_eq!(check(known, good), Ok(()), "{key}");
            let refused = check(known, bad).expect_err(key).message;
            assert!(refused.contains(key) && !refused.contains("hunter2"), "{refused}");
        }
        assert!(find("colour").is_err());
    }

    #[test]
    fn the_table_is_in_order_and_every_key_stands_there_once() {
        assert!(KNOWN.windows(2).all(|pair| pair[0].key < pair[1].key));
    }
}
