//! Where terminal escape sequences lie in a line, so that neither its level nor its words are
//! looked for in them. Lines are kept as they are; who shows one makes it harmless
//! (JSON by itself, the command line in `safe_text`).

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
    fn a_sequence_is_as_long_as_a_terminal_takes_it() {
        let sequences = [
            "\u{1b}[1;31m",
            "\u{1b}]0;owned\u{7}",
            "\u{1b}]52;c;cm0gLXJm\u{1b}\\",
            "\u{1b}P+q544e\u{1b}\\",
            "\u{1b}c",
            "\u{1b}(0",
            "\u{9b}2J",
        ];
        for text in sequences {
            assert_eq!(sequence(&format!("{text}rest")), text.len(), "{text:?}");
        }
    }

    #[test]
    fn what_never_ends_is_none_and_hides_nothing() {
        for text in ["plain", "\u{1b}", "\u{1b}[31", "\u{1b}]never ended \u{1b}[31m", "\u{8}back"] {
            assert_eq!(sequence(text), 0, "{text:?}");
        }
    }
}
