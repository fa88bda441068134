//! Makes a line of a process harmless for a terminal.
//!
//! A process may print escape sequences, by which a terminal moves, retitles, recolours or
//! answers. They are kept as they are in the store; whoever writes a line to a terminal
//! passes it through [`plain`] first. JSON escapes them by itself.

use std::borrow::Cow;

/// The line as a terminal may show it: escape sequences are left out, other control
/// characters and those that turn the direction of writing are shown by their names.
#[must_use]
pub fn plain(line: &str) -> Cow<'_, str> {
    if !line.chars().any(is_harmful) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let skip = sequence(rest);
        if skip > 0 {
            rest = rest.get(skip..).unwrap_or_default();
            continue;
        }
        if is_harmful(first) {
            out.extend(first.escape_default());
        } else {
            out.push(first);
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    Cow::Owned(out)
}

fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The length of the escape sequence that a text begins with, in bytes; 0 when it begins with
/// none, or with one that never ends.
#[must_use]
pub fn sequence(text: &str) -> usize {
    let mut chars = text.char_indices();
    let mut next = || chars.next().map(|(at, c)| (at + c.len_utf8(), c));
    let kind = match next() {
        Some((_, '\u{1b}')) => match next() {
            Some((_, kind)) => kind,
            None => return 0,
        },
        Some((_, '\u{9b}')) => '[',
        Some((_, '\u{9d}')) => ']',
        Some((_, '\u{90}')) => 'P',
        _ => return 0,
    };
    match kind {
        // Parameters and intermediates, then a final byte.
        '[' => loop {
            match next() {
                Some((_, ' '..='?')) => {}
                Some((end, '@'..='~')) => return end,
                _ => return 0,
            }
        },
        // A text, up to BEL or ST.
        ']' | 'P' | 'X' | '^' | '_' => loop {
            match next() {
                Some((end, '\u{7}' | '\u{9c}')) => return end,
                Some((_, '\u{1b}')) => match next() {
                    Some((end, '\\')) => return end,
                    _ => return 0,
                },
                Some(_) => {}
                None => return 0,
            }
        },
        ' '..='/' => loop {
            match next() {
                Some((_, ' '..='/')) => {}
                Some((end, '0'..='~')) => return end,
                _ => return 0,
            }
        },
        '0'..='~' => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_and_words_stay() {
        assert_eq!(plain("\u{1b}[1;31merror\u{1b}[0m: no\tdisk"), "error: no\tdisk");
        assert!(matches!(plain("grün \u{fffd}"), Cow::Borrowed(_)));
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let lines = [
            "\u{1b}]0;owned\u{7}title",
            "\u{1b}]52;c;cm0gLXJm\u{1b}\\clipboard",
            "\u{1b}P+q544e\u{1b}\\status",
            "\u{1b}c reset",
            "\u{1b}(0 charset",
            "\u{9b}2J clear",
            "back\u{8}\u{8}space\rover",
            "\u{1b}[unended \u{1b}",
            "\u{1b}]never ended \u{1b}[31m",
            "\u{202e}turned",
            "\u{7f}\u{0}\u{85}",
        ];
        for line in lines {
            let shown = plain(line);
            assert!(!shown.chars().any(is_harmful), "{line:?} -> {shown:?}");
        }
        assert_eq!(plain(lines[0]), "title");
        assert_eq!(plain(lines[1]), "clipboard");
        assert_eq!(plain(lines[6]), "back\\u{8}\\u{8}space\\rover");
        assert!(plain(lines[8]).contains("never ended"), "an open sequence must not hide the rest");
    }
}
