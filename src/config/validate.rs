//! Says what is wrong with a text that shall become a configuration, and what is doubtful.
//!
//! Reads TOML or JSON, by what it looks like. Touches no file and no network: the one thing
//! that it asks the machine is whether the listeners' addresses can be bound.

use std::net::{SocketAddr, TcpListener};

use serde_json::Value;

use super::joined::{self, NotJoined};
use super::{Config, ConfigErrors, FILE_LIMIT, Overrides, Problem};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong, in the order of the lines; nothing when it is valid.
    pub problems: Vec<Problem>,
    /// What is accepted and doubtful, as sentences.
    pub warnings: Vec<String>,
}

impl Verdict {
    /// Whether it could be used.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    fn wrong(line: Option<usize>, message: impl Into<String>) -> Verdict {
        Verdict { problems: vec![Problem { line, message: message.into() }], warnings: Vec::new() }
    }
}

/// Judges a text. `own` are addresses that are taken by whoever asks.
#[must_use]
pub fn validate(bytes: &[u8], overrides: &Overrides, own: &[SocketAddr]) -> Verdict {
    if bytes.len() as u64 > FILE_LIMIT {
        return Verdict::wrong(None, format!("the configuration is longer than {FILE_LIMIT} bytes"));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Verdict::wrong(None, "the configuration is not UTF-8");
    };
    if text.trim().is_empty() {
        return Verdict::wrong(None, "the configuration is empty; send it as TOML or JSON");
    }
    let read = if text.trim_start().starts_with('{') {
        match json_as_toml(text) {
            Ok(toml) => without_lines(Config::parse(&toml, overrides)),
            Err(problem) => return Verdict { problems: vec![problem], warnings: Vec::new() },
        }
    } else {
        read_toml(text, overrides)
    };
    match read {
        Ok(config) => {
            let mut warnings = config.warnings.clone();
            warnings.extend(config.taken(own));
            Verdict { problems: Vec::new(), warnings }
        }
        Err(errors) => Verdict { problems: errors.problems, warnings: errors.warnings },
    }
}

fn read_toml(text: &str, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    if text.parse::<toml::Table>().is_ok() {
        return Config::parse(text, overrides);
    }
    match joined::apart(text) {
        Ok(apart) => without_lines(Config::parse(&apart, overrides)),
        Err(NotJoined::Other) => Config::parse(text, overrides),
        Err(NotJoined::Comment) => {
            let message = "the text has no line ends and has comments, so it cannot be read; curl's -d takes \
                           line ends out, --data-binary leaves them in";
            let problems = vec![Problem { line: None, message: message.into() }];
            Err(ConfigErrors { file: None, problems, warnings: Vec::new() })
        }
    }
}

/// Lines of a text that we made ourselves tell nobody anything.
fn without_lines(read: Result<Config, ConfigErrors>) -> Result<Config, ConfigErrors> {
    let plain = |warnings: Vec<String>| warnings.into_iter().map(|warning| without_line(&warning)).collect();
    match read {
        Ok(config) => Ok(Config { warnings: plain(config.warnings), ..config }),
        Err(errors) => {
            let problems =
                errors.problems.into_iter().map(|problem| Problem { line: None, ..problem }).collect();
            Err(ConfigErrors { problems, warnings: plain(errors.warnings), ..errors })
        }
    }
}

fn without_line(sentence: &str) -> String {
    let rest = sentence.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    match rest {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest.to_owned(),
        _ => sentence.to_owned(),
    }
}

fn json_as_toml(text: &str) -> Result<String, Problem> {
    let value: Value = serde_json::from_str(text).map_err(|error| Problem {
        line: Some(error.line()),
        message: format!("the configuration is not JSON: {error}"),
    })?;
    toml::to_string(&without_nulls(value)).map_err(|error| Problem {
        line: None,
        message: format!("the configuration says in JSON what it cannot say in TOML: {error}"),
    })
}

/// TOML has no null; what is null is not set.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| (name, without_nulls(member)))
                .collect(),
        ),
        Value::Array(words) => Value::Array(words.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

impl Config {
    /// Tells of listeners' addresses that cannot be bound now. `own` are taken by whoever asks.
    #[must_use]
    pub fn taken(&self, own: &[SocketAddr]) -> Vec<String> {
        [("manager", self.manager), ("instances", self.instances)]
            .into_iter()
            .filter(|(_, address)| address.port() != 0 && !own.contains(address))
            .filter_map(|(name, address)| {
                let error = TcpListener::bind(address).err()?;
                let why = match error.kind() {
                    std::io::ErrorKind::AddrInUse => "the port is taken".to_owned(),
                    _ => error.to_string(),
                };
                Some(format!("'{name}' is {address}, which cannot be listened on now: {why}"))
            })
            .collect()
    }
}

impl Problem {
    /// The sentence with its line. A field that is missing stands on no line; document 2 prints
    /// that sentence as it is.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self.line {
            Some(line) if !self.message.contains(" missing required field: ") => {
                format!("line {line}: {}", self.message)
            }
            _ => self.message.clone(),
        }
    }
}
