//! A line that a process printed, as the API gives it, and how it is shown.

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::client::text;
use super::safe_text::safe;
use super::screen::{Screen, bad, doubtful, faint};

/// How lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Time, instance, level, message: for people.
    Readable,
    /// The message as the process printed it.
    Raw,
    /// The API's object.
    Json,
}

/// One line with its line feed.
pub(super) fn shown(line: &Value, form: Form, screen: &Screen) -> String {
    match form {
        Form::Json => format!("{}\n", super::safe_text::safe_json(&line.to_string())),
        Form::Raw => text(line, "message") + "\n",
        Form::Readable => {
            let (instance, level) = (text(line, "instance"), text(line, "level"));
            let time = text(line, "timestamp");
            let paint = |style, text: &str| screen.paint(style, &safe(text));
            format!(
                "{} {} {} {}\n",
                paint(faint(), &time),
                paint(style_of_name(&instance), &instance),
                paint(style_of_level(&level), &format!("{level:<5}")),
                safe(&text(line, "message")),
            )
        }
    }
}

fn style_of_level(level: &str) -> Style {
    match level {
        "error" => bad(),
        "warn" => doubtful(),
        "debug" => faint(),
        _ => Style::new(),
    }
}

/// The same instance has the same colour everywhere; red and yellow are for levels.
fn style_of_name(name: &str) -> Style {
    const COLORS: [AnsiColor; 5] =
        [AnsiColor::Cyan, AnsiColor::Blue, AnsiColor::Magenta, AnsiColor::Green, AnsiColor::BrightCyan];
    let sum = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    COLORS.get(sum % COLORS.len()).map_or_else(Style::new, |color| color.on_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(message: &str) -> Value {
        json!({"timestamp": "2024-01-12T10:31:45.123Z", "instance": "api:user123", "level": "info",
            "message": message})
    }

    #[test]
    fn a_line_is_shown_in_one_line_and_commands_nothing() {
        let hostile = line("\u{1b}]0;pwned\u{7}a\nb");
        for screen in [Screen::plain(), Screen::colored()] {
            let shown = shown(&hostile, Form::Readable, &screen);
            assert!(shown.ends_with(" \\x1b]0;pwned\\x07a\\nb\n"), "{shown:?}");
            assert!(!shown.contains('\u{7}') && !shown.contains("\u{1b}]"), "{shown:?}");
        }
        let plain = shown(&line("ready"), Form::Readable, &Screen::plain());
        assert_eq!(plain, "2024-01-12T10:31:45.123Z api:user123 info  ready\n");
    }

    #[test]
    fn raw_is_the_message_and_json_the_object() {
        let screen = Screen::plain();
        assert_eq!(shown(&line("\u{1b}[31mx"), Form::Raw, &screen), "\u{1b}[31mx\n");
        let json = shown(&line("\u{1b}[31m\u{9b}x"), Form::Json, &screen);
        assert!(json.contains("\\u001b[31m\\u009bx"), "{json}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), line("\u{1b}[31m\u{9b}x"));
    }
}
