//! The level of a line: what its JSON or logfmt `level` says, else its first word when that
//! is a level, else info for standard output and error for standard error.

use serde::{Deserialize, Serialize};

use crate::http::observed::Source;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// The level of a line that came out at `source`.
    pub(super) fn of(line: &str, source: Source) -> Level {
        json(line).or_else(|| logfmt(line)).or_else(|| first_word(line)).unwrap_or(match source {
            Source::Stdout => Level::Info,
            Source::Stderr => Level::Error,
        })
    }

    /// A level by any of the names that loggers give it.
    fn named(word: &str) -> Option<Level> {
        const NAMES: [(&str, Level); 17] = [
            ("trace", Level::Debug),
            ("debug", Level::Debug),
            ("verbose", Level::Debug),
            ("info", Level::Info),
            ("information", Level::Info),
            ("notice", Level::Info),
            ("warn", Level::Warn),
            ("warning", Level::Warn),
            ("error", Level::Error),
            ("err", Level::Error),
            ("fatal", Level::Error),
            ("critical", Level::Error),
            ("crit", Level::Error),
            ("alert", Level::Error),
            ("panic", Level::Error),
            ("emerg", Level::Error),
            ("severe", Level::Error),
        ];
        NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
    }

    /// A level as bunyan and pino number it.
    fn numbered(number: u64) -> Level {
        match number {
            0..30 => Level::Debug,
            30..40 => Level::Info,
            40..50 => Level::Warn,
            _ => Level::Error,
        }
    }
}

/// Only `level` is looked at, so that a line of any shape costs no tree.
#[derive(Deserialize)]
struct WithLevel<'a> {
    #[serde(borrow)]
    level: Said<'a>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said<'a> {
    Number(u64),
    #[serde(borrow)]
    Word(std::borrow::Cow<'a, str>),
}

fn json(line: &str) -> Option<Level> {
    let line = line.trim();
    if !line.starts_with('{') {
        return None;
    }
    match serde_json::from_str::<WithLevel<'_>>(line).ok()?.level {
        Said::Number(number) => Some(Level::numbered(number)),
        Said::Word(word) => Level::named(&word),
    }
}

fn logfmt(line: &str) -> Option<Level> {
    let value = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("level="))?;
    Level::named(value.trim_matches('"'))
}

fn first_word(line: &str) -> Option<Level> {
    let word = line.split_ascii_whitespace().next()?;
    Level::named(word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_what_the_line_says_and_else_where_it_came_out() {
        let out = |line| Level::of(line, Source::Stdout);
        assert_eq!(out(r#"{"level":"WARN","msg":"x"}"#), Level::Warn);
        assert_eq!(out(r#"{"msg":"level=error","level":"info"}"#), Level::Info);
        assert_eq!(out(r#"{"level":50,"msg":"x"}"#), Level::Error);
        assert_eq!(out("time=1 level=debug msg=x"), Level::Debug);
        assert_eq!(out(r#"level="warning" msg=x"#), Level::Warn);
        assert_eq!(out("ERROR: no database"), Level::Error);
        assert_eq!(out("[warn] slow"), Level::Warn);
        assert_eq!(out("an error happened"), Level::Info);
        assert_eq!(out(""), Level::Info);
        assert_eq!(out(r#"{"level":{}}"#), Level::Info);
        assert_eq!(Level::of("Traceback", Source::Stderr), Level::Error);
        assert_eq!(Level::of("INFO started", Source::Stderr), Level::Info);
    }
}
