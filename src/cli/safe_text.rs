//! Text of others for a terminal: nothing in it commands the terminal or hides what it says.
//!
//! Colours (SGR sequences) are dropped: they are common in logs, and without meaning here.
//! Every other control character, and what reorders or breaks lines, becomes visible:
//! `\x1b` for a byte, `\u{202e}` for a character.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text as it may be printed: one line, without anything that a terminal obeys.
pub(super) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = after_colour(rest) {
            rest = after;
            continue;
        }
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        if is_unsafe(letter) {
            escape(letter, &mut out);
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

/// The same for a text of several lines: line feeds stay, everything else is made harmless.
pub(super) fn safe_lines(text: &str) -> String {
    text.split('\n').map(safe).collect::<Vec<_>>().join("\n")
}

/// JSON that means the same and holds nothing that a terminal obeys: what serde leaves in
/// strings (DEL, C1, direction marks) is written as `\uXXXX`.
pub(super) fn safe_json(json: &str) -> Cow<'_, str> {
    let is_left = |letter: char| letter != '\n' && is_unsafe(letter);
    if !json.chars().any(is_left) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if is_left(letter) {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                push(&mut out, format_args!("\\u{unit:04x}"));
            }
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal obeys it (C0, DEL, C1), or a reader is misled by it: line separators,
/// direction marks and overrides, and what has no width.
fn is_unsafe(letter: char) -> bool {
    match letter {
        '\t' => false,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => true,
        '\u{61c}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        letter => letter.is_control(),
    }
}

fn escape(letter: char, out: &mut String) {
    match letter {
        '\r' => out.push_str("\\r"),
        '\n' => out.push_str("\\n"),
        letter if letter.is_ascii() => push(out, format_args!("\\x{:02x}", u32::from(letter))),
        letter => push(out, format_args!("\\u{{{:x}}}", u32::from(letter))),
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}

/// What follows a colour sequence (`ESC [ digits ; ... m`) that the text begins with.
fn after_colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !matches!(c, '0'..='9' | ';' | ':'))?;
    parameters.get(end..)?.strip_prefix('m')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_text_is_untouched_and_not_copied() {
        for text in ["", "ready", "naïve 文字 🙂", "a\tb", "C:\\x1b"] {
            assert!(matches!(safe(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_made_visible() {
        let cases = [
            ("\u{1b}]0;pwned\u{7}", "\\x1b]0;pwned\\x07"),
            ("\u{1b}[2J\u{1b}[H", "\\x1b[2J\\x1b[H"),
            ("\u{1b}P+q\u{1b}\\", "\\x1bP+q\\x1b\\"),
            ("a\rb", "a\\rb"),
            ("a\nb", "a\\nb"),
            ("a\u{8}b\u{7f}\u{0}", "a\\x08b\\x7f\\x00"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("user\u{202e}nimda", "user\\u{202e}nimda"),
            ("a\u{2028}b", "a\\u{2028}b"),
        ];
        for (text, shown) in cases {
            assert_eq!(safe(text), shown);
        }
    }

    #[test]
    fn colours_are_dropped_and_half_ones_are_shown() {
        assert_eq!(safe("\u{1b}[1;31merror\u{1b}[0m: x"), "error: x");
        assert_eq!(safe("\u{1b}[38:2::1:2:3mx\u{1b}[m"), "x");
        assert_eq!(safe("\u{1b}[31"), "\\x1b[31");
        assert_eq!(safe("\u{1b}\u{1b}[0m[2J"), "\\x1b[2J", "what is left must not begin a sequence");
    }

    #[test]
    fn a_text_of_lines_keeps_its_lines() {
        assert_eq!(safe_lines("a\u{7}\nb\r\n"), "a\\x07\nb\\r\n");
    }

    proptest! {
        #[test]
        fn nothing_comes_through(text in "(\\PC|[\u{0}-\u{1f}]|\u{1b}\\[|m|[\u{7f}-\u{9f}]|\u{202e}){0,40}") {
            prop_assert!(!safe(&text).chars().any(is_unsafe));
        }

        #[test]
        fn json_means_the_same(text in "(\\PC|[\u{0}-\u{1f}]|[\u{7f}-\u{9f}]|\u{202e}|\u{e0041}){0,40}") {
            let json = serde_json::Value::from(text).to_string();
            let shown = safe_json(&json);
            prop_assert!(!shown.chars().any(is_unsafe));
            let parsed = |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON");
            prop_assert_eq!(parsed(&shown), parsed(&json));
        }
    }
}
