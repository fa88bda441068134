//! Where in a message the words stand that a query asked for.

use serde::Serialize;

use super::query::Query;
use super::tokens;

/// Places in one message, at most: a message of 16 KiB may hold a word thousands of times.
const MOST: usize = 100;

/// A place in a message, in characters (Unicode scalar values), the end not included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Highlight {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// What stands there.
    pub text: String,
}

/// The places in a message that a query asked for, in their order.
#[must_use]
pub fn highlights(query: &Query, message: &str) -> Vec<Highlight> {
    let mut wanted = Vec::new();
    query.wanted(&mut wanted);
    if wanted.is_empty() {
        return Vec::new();
    }
    let (mut places, mut from, mut word) = (Vec::new(), 0, String::new());
    while let Some((begin, end)) = tokens::next(message, from) {
        tokens::fold(message.get(begin..end).unwrap_or_default(), &mut word);
        places.push((begin, end, word.clone(), false));
        from = end;
    }
    for (words, prefix) in wanted {
        for at in 0..places.len() {
            if matches(words, prefix, places.get(at..).unwrap_or_default()) {
                places.iter_mut().skip(at).take(words.len()).for_each(|place| place.3 = true);
            }
        }
    }
    let (mut shown, mut counted, mut chars) = (Vec::new(), 0, 0);
    for (begin, end, _, _) in places.into_iter().filter(|place| place.3).take(MOST) {
        chars += message.get(counted..begin).map_or(0, |text| text.chars().count());
        let text = message.get(begin..end).unwrap_or_default();
        let (start, len) = (chars, text.chars().count());
        shown.push(Highlight { start, end: start + len, text: text.to_owned() });
        (counted, chars) = (end, start + len);
    }
    shown
}

fn matches(words: &[String], prefix: bool, places: &[(usize, usize, String, bool)]) -> bool {
    places.len() >= words.len()
        && words.iter().zip(places).enumerate().all(|(at, (word, place))| {
            if prefix && at + 1 == words.len() { place.2.starts_with(word) } else { place.2 == *word }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(query: &str, message: &str) -> Vec<(usize, usize, String)> {
        let query = Query::parse(query).unwrap();
        highlights(&query, message).into_iter().map(|h| (h.start, h.end, h.text)).collect()
    }

    #[test]
    fn the_asked_words_are_marked_in_characters_and_no_others() {
        let message = "für: Database error, no error in pg";
        assert_eq!(
            texts("database error", message),
            [(5, 13, "Database".into()), (14, 19, "error".into()), (24, 29, "error".into())]
        );
        assert_eq!(texts("\"database error\"", message).len(), 2);
        assert_eq!(texts("dat* NOT error", message), [(5, 13, "Database".into())]);
        assert_eq!(texts("level:info", message), []);
    }
}
