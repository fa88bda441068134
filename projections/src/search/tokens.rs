//! Words: how a line is cut for the index, a query for looking them up, and a message for
//! highlighting. The three must agree, so this is the one place.
//!
//! A word is a run of letters and digits of any script, in lower case. Escape sequences of
//! terminals hold no words. What is longer than [`LONGEST`] is known by its beginning.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use crate::output::escape::sequence;

/// The longest word, in bytes: longer than any that people look for. Behind it come keys,
/// hashes and encoded data, which are found by their beginning.
pub(super) const LONGEST: usize = 64;

/// Where the next word begins and ends, at or after `from`.
pub(super) fn next(text: &str, from: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut at = from;
    let mut begin = None;
    while let Some(byte) = bytes.get(at) {
        let (is_word, len) = if byte.is_ascii() {
            (byte.is_ascii_alphanumeric(), 1)
        } else {
            let first = text.get(at..).and_then(|rest| rest.chars().next());
            first.map_or((false, 1), |c| (c.is_alphanumeric(), c.len_utf8()))
        };
        match (is_word, begin) {
            (true, None) => begin = Some(at),
            (false, Some(begin)) => return Some((begin, at)),
            (true, Some(_)) | (false, None) => {}
        }
        let is_escape = matches!(byte, 0x1b | 0xc2);
        let skip = if is_escape { text.get(at..).map_or(0, sequence) } else { 0 };
        at += skip.max(len);
    }
    begin.map(|begin| (begin, at))
}

/// Writes a word as it is indexed.
pub(super) fn fold(word: &str, into: &mut String) {
    into.clear();
    if word.is_ascii() {
        into.extend(word.bytes().take(LONGEST).map(|byte| byte.to_ascii_lowercase() as char));
        return;
    }
    for c in word.chars().flat_map(char::to_lowercase) {
        if into.len() + c.len_utf8() > LONGEST {
            return;
        }
        into.push(c);
    }
}

/// The words of a text, as they are indexed.
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut all, mut from, mut word) = (Vec::new(), 0, String::new());
    while let Some((begin, end)) = next(text, from) {
        fold(text.get(begin..end).unwrap_or_default(), &mut word);
        all.push(word.clone());
        from = end;
    }
    all
}

/// The same for tantivy.
#[derive(Clone, Default)]
pub(super) struct Words(Token);

pub(super) struct Stream<'a> {
    text: &'a str,
    from: usize,
    token: &'a mut Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = Stream<'a>;
    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream<'a> {
        self.0.reset();
        Stream { text, from: 0, token: &mut self.0 }
    }
}

impl TokenStream for Stream<'_> {
    fn advance(&mut self) -> bool {
        let Some((begin, end)) = next(self.text, self.from) else { return false };
        fold(self.text.get(begin..end).unwrap_or_default(), &mut self.token.text);
        self.token.position = self.token.position.wrapping_add(1);
        (self.token.offset_from, self.token.offset_to, self.from) = (begin, end, end);
        true
    }
    fn token(&self) -> &Token {
        self.token
    }
    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_and_digits_of_any_script_without_escape_sequences() {
        assert_eq!(
            words("Database error: user_id=42, größe ÄRGER"),
            ["database", "error", "user", "id", "42", "größe", "ärger"]
        );
        assert_eq!(words("\u{1b}[31merror\u{1b}[0m!"), ["error"]);
        assert_eq!(words("\u{1b}[31mred\u{9b}0mplain \u{1b}"), ["red", "plain"]);
        assert_eq!(words(" -- "), Vec::<String>::new());
        assert_eq!(words(&"x".repeat(500)), ["x".repeat(LONGEST)]);
    }
}
