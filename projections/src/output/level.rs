//! The level of a line: what its JSON or logfmt `level` says, else its first word when that
//! is a level (after the time of day and colours, if it begins with such), else info for
//! standard output and error for standard error.

use serde::{Deserialize, Serialize};
use tenantry_journal::spool::Stream;

use super::escape::sequence;

/// How grave a line is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[schemars(rename = "LogLevel")]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Also what loggers call trace or verbose.
    Debug,
    /// Also notice.
    Info,
    /// Also warning.
    Warn,
    /// Also fatal, critical, panic and their like.
    Error,
}

impl Level {
    /// Every level, the least grave first.
    pub const ALL: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];

    /// The level of a line that came out at `stream`.
    #[must_use]
    pub fn of(line: &str, stream: Stream) -> Level {
        json(line).or_else(|| logfmt(line)).or_else(|| first_word(line)).unwrap_or(match stream {
            Stream::Stdout => Level::Info,
            Stream::Stderr => Level::Error,
        })
    }

    /// A level by any of the names that loggers give it.
    #[must_use]
    pub fn named(word: &str) -> Option<Level> {
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
    if !line.contains("level=") {
        return None;
    }
    let value = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("level="))?;
    Level::named(value.trim_matches('"'))
}

/// How many words of a time of day may stand before the level.
const TIME_WORDS: usize = 3;

fn first_word(line: &str) -> Option<Level> {
    let mut rest = line;
    for _ in 0..=TIME_WORDS {
        rest = after_colours(rest);
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end)?;
        if !is_time(word) {
            // The word itself, without what stands around it or clings to it.
            let word = word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
            let (word, clings) = word.split_at_checked(end)?;
            let alone =
                clings.starts_with([':', ']', ')', '>', '|', ',', '\u{1b}', '\u{9b}']) || clings.is_empty();
            return Level::named(word).filter(|_| alone);
        }
        rest = after;
    }
    None
}

fn after_colours(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        match sequence(text) {
            0 => return text,
            len => text = text.get(len..).unwrap_or_default(),
        }
    }
}

/// Whether a word is a date or a time of day and nothing else.
fn is_time(word: &str) -> bool {
    let word = word.trim_matches(['[', ']', '(', ')', ',', '|']);
    let parts = word.bytes().filter(|byte| matches!(byte, b':' | b'-' | b'/')).count();
    parts >= 2
        && word.starts_with(|c: char| c.is_ascii_digit())
        && word.bytes().all(|byte| byte.is_ascii_digit() || b":-/.,TtZz+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_what_the_line_says_and_else_where_it_came_out() {
        let out = |line| Level::of(line, Stream::Stdout);
        assert_eq!(out(r#"{"level":"WARN","msg":"x"}"#), Level::Warn);
        assert_eq!(out(r#"{"msg":"level=error","level":"info"}"#), Level::Info);
        assert_eq!(out(r#"{"level":50,"msg":"x"}"#), Level::Error);
        assert_eq!(out("time=1 level=debug msg=x"), Level::Debug);
        assert_eq!(out(r#"level="warning" msg=x"#), Level::Warn);
        assert_eq!(out("ERROR: no database"), Level::Error);
        assert_eq!(out("[warn] slow"), Level::Warn);
        assert_eq!(out("an error happened"), Level::Info);
        assert_eq!(out("error-free since Monday"), Level::Info);
        assert_eq!(out("ERROR:root:no database"), Level::Error);
        assert_eq!(out("404 error pages"), Level::Info);
        assert_eq!(out("2024-01-12T10:31:45.123Z ERROR no database"), Level::Error);
        assert_eq!(out("[2024/01/12 10:31:45] [warn] slow"), Level::Warn);
        assert_eq!(out("2024-01-12 10:31:45,120 - WARNING - slow"), Level::Info);
        assert_eq!(out("\u{1b}[31mERROR\u{1b}[0m no database"), Level::Error);
        assert_eq!(out("2024-01-12T10:31:45Z \u{1b}[33m WARN\u{1b}[0m slow"), Level::Warn);
        assert_eq!(out(""), Level::Info);
        assert_eq!(out(r#"{"level":{}}"#), Level::Info);
        assert_eq!(Level::of("Traceback", Stream::Stderr), Level::Error);
        assert_eq!(Level::of("INFO started", Stream::Stderr), Level::Info);
    }
}
