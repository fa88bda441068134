//! Names that people choose, parsed once at the edge and valid everywhere after.
//!
//! A value of one of these types cannot hold a path separator, white space, a control
//! character or a leading dash, so it is safe as one path component, one argument and
//! one label of a host name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused; the sentence is meant for the person who chose it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(pub String);

/// At most this much of a refused value is repeated in the refusal.
const SHOWN_CHARS: usize = 80;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).flat_map(char::escape_default).collect()
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $check:path, $pattern:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[derive(schemars::JsonSchema)]
        #[schemars(extend("pattern" = $pattern))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                $check(text)?;
                Ok($name(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                $check(&text)?;
                Ok($name(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

names! {
    /// A tenant's short name: `[a-z0-9]` and `-`, 1 to 63 long, no dash at either end.
    Slug = check_slug, "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
    /// A host name in lower case (RFC 1123), at most 253 long; no port, no trailing dot.
    Domain = check_domain, r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$";
    /// A service of the configuration file: `[A-Za-z0-9]`, `_`, `-`, `.`; 1 to 63 long.
    ServiceName = check_service, "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$";
    /// What follows the service in an instance's name; of the same letters as a service's.
    InstanceName = check_instance, "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$";
}

fn check_slug(text: &str) -> Result<(), BadName> {
    let valid = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if valid {
        return Ok(());
    }
    Err(BadName(format!(
        "slug '{}' must be 1 to 63 of a-z, 0-9 and '-', and not begin or end with '-'",
        shown(text)
    )))
}

fn check_domain(text: &str) -> Result<(), BadName> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(());
    }
    Err(BadName(format!("domain '{}' must be a lower-case host name such as app.example.com", shown(text))))
}

fn check_word(what: &str, text: &str) -> Result<(), BadName> {
    let valid = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && !text.contains("..");
    if valid {
        return Ok(());
    }
    Err(BadName(format!(
        "{what} '{}' must be 1 to 63 letters, digits, '_', '-' or '.', and begin with a letter or digit",
        shown(text)
    )))
}

fn check_service(text: &str) -> Result<(), BadName> {
    check_word("service", text)
}

fn check_instance(text: &str) -> Result<(), BadName> {
    check_word("instance id", text)
}

/// An instance's full name, `service:id`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[schemars(extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}:[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"))]
#[serde(try_from = "String", into = "String")]
pub struct InstanceKey {
    /// The service of the configuration file, or `frontend` and `backend` of a tenant.
    pub service: ServiceName,
    /// The name within the service; a tenant's slug for a tenant's processes.
    pub id: InstanceName,
}

impl fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.id)
    }
}

impl FromStr for InstanceKey {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let (service, id) = text
            .split_once(':')
            .ok_or_else(|| BadName(format!("instance '{}' must be written service:id", shown(text))))?;
        Ok(InstanceKey { service: service.parse()?, id: id.parse()? })
    }
}

impl TryFrom<String> for InstanceKey {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<InstanceKey> for String {
    fn from(key: InstanceKey) -> String {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_lower_case_and_bounded() {
        assert!("smith-campaign".parse::<Slug>().is_ok());
        assert!("a".repeat(63).parse::<Slug>().is_ok());
        for bad in ["", "-a", "a-", "A", "a_b", "a b", "../x", "a\0", "é", &"a".repeat(64)] {
            assert!(bad.parse::<Slug>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_domain_is_a_host_name() {
        assert!("kentucky.nominate.ai".parse::<Domain>().is_ok());
        for bad in ["", ".", "a..b", "a.b.", "-a.b", "A.b", "a b.c", "a.b:80", "a.b;", "a\n.b"] {
            assert!(bad.parse::<Domain>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn an_instance_id_is_one_argument_and_one_path_component() {
        assert_eq!("api:user123".parse::<InstanceKey>().map(|k| k.to_string()), Ok("api:user123".into()));
        for bad in ["api", "api:", ":x", "api:../../victim", "api:a --role admin", "api:-x", "api:.", "a:b:c"]
        {
            assert!(bad.parse::<InstanceKey>().is_err(), "{bad:?} was accepted");
        }
    }
}
