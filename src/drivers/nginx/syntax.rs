//! How nginx reads its configuration: words, quotes, comments, blocks.
//!
//! Only as much as is needed to find directives; what a directive means is not known here.
//! Text that nginx would refuse is read as far as it goes: nginx itself is the judge.

use std::ops::Range;

/// A directive: its words, and where it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// Its name and its arguments, without quotes.
    pub(super) words: Vec<String>,
    /// From its first byte to after its `;` or `{`.
    pub(super) span: Range<usize>,
    /// How many blocks it stands in.
    pub(super) depth: usize,
}

impl Directive {
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub(super) fn first_argument(&self) -> Option<&str> {
        self.words.get(1).map(String::as_str)
    }
}

/// Every directive of a text, in its order.
pub(super) fn directives(text: &str) -> Vec<Directive> {
    let mut found = Vec::new();
    let mut words = Vec::new();
    let mut start = None;
    let mut depth = 0_usize;
    let mut chars = text.char_indices().peekable();
    while let Some(&(at, next)) = chars.peek() {
        match next {
            '#' => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            ';' | '{' | '}' => {
                chars.next();
                if let Some(from) = start.take() {
                    found.push(Directive { words: std::mem::take(&mut words), span: from..at + 1, depth });
                }
                match next {
                    '{' => depth += 1,
                    '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            c if c.is_whitespace() => drop(chars.next()),
            _ => {
                start.get_or_insert(at);
                words.push(word(&mut chars));
            }
        }
    }
    found
}

/// One word, quoted or not. `${` belongs to a variable and begins no block.
fn word(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>) -> String {
    let mut text = String::new();
    let quote = chars.next_if(|(_, c)| matches!(c, '"' | '\'')).map(|(_, c)| c);
    while let Some(&(_, next)) = chars.peek() {
        match (quote, next) {
            (Some(quote), c) if c == quote => {
                chars.next();
                break;
            }
            (None, ';') => break,
            (None, '{' | '}') if !text.ends_with('$') && !text.contains("${") => break,
            (None, c) if c.is_whitespace() => break,
            (_, '\\') => {
                chars.next();
                if let Some((_, escaped)) = chars.next() {
                    text.push(escaped);
                }
            }
            (_, c) => {
                text.push(c);
                chars.next();
            }
        }
    }
    text
}

/// A text as one word of a configuration, in double quotes. `None` when nginx would see a
/// variable or a control character in it.
pub(super) fn quoted(text: &str) -> Option<String> {
    if text.contains('$') || text.chars().any(char::is_control) {
        return None;
    }
    Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Whether a file name matches a pattern of `include`: `*` and `?`, and no leading dot unless
/// the pattern has it.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    fn rest(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', after)), _) => {
                (0..=name.len()).any(|skip| name.get(skip..).is_some_and(|name| rest(after, name)))
            }
            (Some(('?', after)), Some((_, name))) => rest(after, name),
            (Some((wanted, after)), Some((found, name))) => wanted == found && rest(after, name),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    rest(&pattern, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_found_in_blocks_and_not_in_comments_or_quotes() {
        let text = "user root; # pid /no;\nhttp {\n  log_format x 'pid /no; {';\n  include \"a b/*.conf\";\n\
                    server { return 200 \"${host}\"; server_name a.b c; }\n}\npid run/x.pid;";
        let found: Vec<(String, usize)> =
            directives(text).into_iter().map(|one| (one.words.join("|"), one.depth)).collect();
        let expected = [
            ("user|root", 0),
            ("http", 0),
            ("log_format|x|pid /no; {", 1),
            ("include|a b/*.conf", 1),
            ("server", 1),
            ("return|200|${host}", 2),
            ("server_name|a.b|c", 2),
            ("pid|run/x.pid", 0),
        ];
        assert_eq!(found, expected.map(|(words, depth)| (words.to_owned(), depth)));
        let include = directives(text).into_iter().find(|one| one.name() == "include").unwrap();
        assert_eq!(&text[include.span], "include \"a b/*.conf\";");
    }

    #[test]
    fn a_quoted_text_is_read_back_as_it_was_or_refused() {
        for text in ["/a b/c", "quo\"te", "back\\slash", "semi;colon{}"] {
            let line = format!("x {};", quoted(text).unwrap());
            assert_eq!(directives(&line).first().and_then(Directive::first_argument), Some(text));
        }
        for text in ["$host", "a\nb", "a\0b"] {
            assert_eq!(quoted(text), None, "{text:?}");
        }
    }

    #[test]
    fn patterns_match_as_those_of_include_do() {
        for (pattern, name, expected) in [
            ("*", "a.b", true),
            ("*", ".hidden", false),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.b", false),
            ("a?c*", "abcd", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
