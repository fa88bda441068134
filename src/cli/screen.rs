//! Standard output as it is here: a terminal or not, in colour or not.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde_json::Value;

use super::safe_text::safe_json;

/// When to print in colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What standard output is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    pub(super) is_terminal: bool,
    is_colored: bool,
}

impl Screen {
    /// As this process has it.
    pub(super) fn of_process(color: Color) -> Screen {
        let is_terminal = io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR");
        let term = std::env::var_os("TERM");
        let is_colored = is_colored(color, is_terminal, no_color.as_deref(), term.as_deref());
        Screen { is_terminal, is_colored }
    }

    /// Text in a style, where there is colour.
    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        if self.is_colored && style != Style::new() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// Prints text that ends its own lines.
    pub(super) fn print(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Prints one JSON document, indented.
    pub(super) fn print_json(&self, value: &Value) -> io::Result<()> {
        self.print(&format!("{}\n", safe_json(&format!("{value:#}"))))
    }

    /// Prints JSON on one line.
    pub(super) fn print_json_line(&self, value: &Value) -> io::Result<()> {
        self.print(&format!("{}\n", safe_json(&value.to_string())))
    }

    #[cfg(test)]
    pub(super) fn plain() -> Screen {
        Screen { is_terminal: false, is_colored: false }
    }

    #[cfg(test)]
    pub(super) fn colored() -> Screen {
        Screen { is_terminal: true, is_colored: true }
    }
}

/// `--color` wins over `NO_COLOR` (<https://no-color.org>: set and not empty), that over the terminal.
fn is_colored(color: Color, is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            is_terminal && no_color.is_none_or(OsStr::is_empty) && term.is_some_and(|term| term != "dumb")
        }
    }
}

/// For what is as it should be.
pub(super) fn good() -> Style {
    AnsiColor::Green.on_default()
}

/// For what wants a look.
pub(super) fn doubtful() -> Style {
    AnsiColor::Yellow.on_default()
}

/// For what is wrong.
pub(super) fn bad() -> Style {
    AnsiColor::Red.on_default()
}

/// For what is beside the point.
pub(super) fn faint() -> Style {
    Style::new().dimmed()
}

/// For what was looked for.
pub(super) fn found() -> Style {
    AnsiColor::Yellow.on_default().bold()
}

/// The style of a status, a state of health or a level, of any of the documents.
pub(super) fn style_of(word: &str) -> Style {
    match word {
        "running" | "healthy" | "success" | "active" | "up" => good(),
        "starting" | "stopping" | "restarting" | "deploying" | "pending" | "degraded" | "warn" => doubtful(),
        "failed" | "unhealthy" | "error" | "crashed" | "backoff" | "rolled_back" | "down" => bad(),
        "stopped" | "skipped" | "cancelled" | "unknown" | "debug" | "idle" | "inactive" => faint(),
        _ => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_unless_somebody_says_otherwise() {
        let term = Some(OsStr::new("xterm"));
        let auto = |terminal, no_color: Option<&str>, term| {
            is_colored(Color::Auto, terminal, no_color.map(OsStr::new), term)
        };
        assert!(auto(true, None, term));
        assert!(auto(true, Some(""), term), "an empty NO_COLOR says nothing");
        assert!(!auto(true, Some("1"), term));
        assert!(!auto(true, None, Some(OsStr::new("dumb"))));
        assert!(!auto(true, None, None));
        assert!(!auto(false, None, term));
        assert!(is_colored(Color::Always, false, Some(OsStr::new("1")), None));
        assert!(!is_colored(Color::Never, true, None, term));
    }
}
