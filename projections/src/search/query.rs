//! What people type: words, "phrases", prefix*, AND, OR, NOT, parentheses, and the fields
//! `instance:`, `service:`, `level:`.
//!
//! Words beside each other must all be there, in any order. NOT binds closest, then AND (or
//! nothing), then OR. A word that the index would cut, such as `user-42`, is a phrase.

use super::tokens;
use crate::output::level::Level;

/// The longest query that is read, in bytes.
pub const LONGEST_QUERY: usize = 1024;
/// Parentheses and NOTs in each other, at most.
const DEEPEST: usize = 32;

/// A query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Every line.
    All,
    /// All of these.
    And(Vec<Query>),
    /// At least one of these.
    Or(Vec<Query>),
    /// Not this.
    Not(Box<Query>),
    /// These words in a row; of the last only the beginning when `prefix`.
    Words {
        /// The words, in lower case.
        words: Vec<String>,
        /// Whether the last may go on.
        prefix: bool,
    },
    /// Printed by an instance of this name (`service:id`, or the id alone).
    Instance(String),
    /// Printed by an instance of this service.
    Service(String),
    /// Of this level.
    Level(Level),
}

/// Why a query cannot be read: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(pub String);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Open,
    Close,
    And,
    Or,
    Not,
    /// A word, its field before the colon, and whether it stood in quotes.
    Text {
        field: Option<String>,
        text: String,
        quoted: bool,
    },
}

impl Query {
    /// Reads a query; an empty one means every line.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        if text.len() > LONGEST_QUERY {
            return Err(QueryError(format!("The query is longer than {LONGEST_QUERY} bytes.")));
        }
        let pieces = pieces(text)?;
        if pieces.is_empty() {
            return Ok(Query::All);
        }
        let mut parser = Parser { pieces: &pieces, at: 0, depth: 0 };
        let query = parser.or()?;
        match parser.peek() {
            None => Ok(query),
            Some(_) => Err(QueryError("A closing parenthesis has no opening one.".into())),
        }
    }

    /// The rows of words that a line may hold because of this query, for highlighting.
    pub(super) fn wanted<'q>(&'q self, into: &mut Vec<(&'q [String], bool)>) {
        match self {
            Query::Words { words, prefix } => into.push((words, *prefix)),
            Query::And(all) | Query::Or(all) => all.iter().for_each(|one| one.wanted(into)),
            Query::All | Query::Not(_) | Query::Instance(_) | Query::Service(_) | Query::Level(_) => {}
        }
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, QueryError> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..).unwrap_or_default();
        rest = match first {
            '(' => {
                pieces.push(Piece::Open);
                after
            }
            ')' => {
                pieces.push(Piece::Close);
                after
            }
            '"' => {
                let (text, after) = quoted(after)?;
                pieces.push(Piece::Text { field: None, text: text.to_owned(), quoted: true });
                after
            }
            '-' if after.starts_with(|c: char| c.is_alphanumeric() || c == '"' || c == '(') => {
                pieces.push(Piece::Not);
                after
            }
            _ => word(rest, &mut pieces)?,
        }
        .trim_start();
    }
    Ok(pieces)
}

fn quoted(text: &str) -> Result<(&str, &str), QueryError> {
    text.split_once('"').ok_or_else(|| QueryError("A quotation mark is not closed.".into()))
}

fn word<'t>(text: &'t str, pieces: &mut Vec<Piece>) -> Result<&'t str, QueryError> {
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"')).unwrap_or(text.len());
    let (word, after) = text.split_at_checked(end).unwrap_or((text, ""));
    let piece = match word {
        "AND" | "&&" => Piece::And,
        "OR" | "||" => Piece::Or,
        "NOT" => Piece::Not,
        _ => {
            let field = word.split_once(':').filter(|(field, _)| is_field(field));
            if let Some((field, "")) = field
                && let Some(inside) = after.strip_prefix('"')
            {
                let (text, after) = quoted(inside)?;
                let field = Some(field.to_ascii_lowercase());
                pieces.push(Piece::Text { field, text: text.to_owned(), quoted: true });
                return Ok(after);
            }
            let (field, text) = match field {
                Some((field, text)) => (Some(field.to_ascii_lowercase()), text),
                None => (None, word),
            };
            Piece::Text { field, text: text.to_owned(), quoted: false }
        }
    };
    pieces.push(piece);
    Ok(after)
}

fn is_field(word: &str) -> bool {
    ["instance", "service", "level"].iter().any(|field| field.eq_ignore_ascii_case(word))
}

struct Parser<'p> {
    pieces: &'p [Piece],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Piece> {
        self.pieces.get(self.at)
    }

    fn or(&mut self) -> Result<Query, QueryError> {
        let mut all = vec![self.and()?];
        while self.peek() == Some(&Piece::Or) {
            self.at += 1;
            all.push(self.and()?);
        }
        Ok(one_or(all, Query::Or))
    }

    fn and(&mut self) -> Result<Query, QueryError> {
        let mut all = vec![self.not()?];
        loop {
            match self.peek() {
                Some(Piece::And) => self.at += 1,
                None | Some(Piece::Or | Piece::Close) => return Ok(one_or(all, Query::And)),
                Some(_) => {}
            }
            all.push(self.not()?);
        }
    }

    fn not(&mut self) -> Result<Query, QueryError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(QueryError(format!("The query is nested more than {DEEPEST} deep.")));
        }
        let query = match self.pieces.get(self.at).cloned() {
            Some(Piece::Not) => {
                self.at += 1;
                Query::Not(Box::new(self.not()?))
            }
            Some(Piece::Open) => {
                self.at += 1;
                let inside = self.or()?;
                if self.peek() != Some(&Piece::Close) {
                    return Err(QueryError("An opening parenthesis is not closed.".into()));
                }
                self.at += 1;
                inside
            }
            Some(Piece::Text { field, text, quoted }) => {
                self.at += 1;
                leaf(field.as_deref(), &text, quoted)?
            }
            Some(Piece::And) => return Err(QueryError("Something must stand on both sides of AND.".into())),
            Some(Piece::Or) => return Err(QueryError("Something must stand on both sides of OR.".into())),
            Some(Piece::Close) => {
                return Err(QueryError("Nothing stands before a closing parenthesis.".into()));
            }
            None => return Err(QueryError("The query ends where something should follow.".into())),
        };
        self.depth -= 1;
        Ok(query)
    }
}

fn leaf(field: Option<&str>, text: &str, quoted: bool) -> Result<Query, QueryError> {
    match field {
        Some(field) if text.is_empty() => Err(QueryError(format!("Nothing stands after '{field}:'."))),
        Some("instance") => Ok(Query::Instance(text.to_owned())),
        Some("service") => Ok(Query::Service(text.to_owned())),
        Some(_) => match Level::named(text) {
            Some(level) => Ok(Query::Level(level)),
            None => {
                let shown: String = text.chars().take(40).flat_map(char::escape_default).collect();
                Err(QueryError(format!("'{shown}' is not a level: debug, info, warn or error.")))
            }
        },
        None => {
            let words = tokens::words(text);
            let prefix = !quoted && text.ends_with('*');
            if words.is_empty() {
                let shown: String = text.chars().take(40).flat_map(char::escape_default).collect();
                return Err(QueryError(format!("'{shown}' holds no letter or digit to look for.")));
            }
            Ok(Query::Words { words, prefix })
        }
    }
}

fn one_or(mut all: Vec<Query>, many: impl FnOnce(Vec<Query>) -> Query) -> Query {
    match (all.len(), all.pop()) {
        (1, Some(one)) => one,
        (_, Some(last)) => {
            all.push(last);
            many(all)
        }
        (_, None) => Query::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Query {
        let prefix = text.ends_with('*');
        Query::Words { words: tokens::words(text), prefix }
    }

    #[test]
    fn not_binds_closest_then_and_then_or() {
        let query = Query::parse("a b OR NOT c AND d").unwrap();
        let expected = Query::Or(vec![
            Query::And(vec![words("a"), words("b")]),
            Query::And(vec![Query::Not(Box::new(words("c"))), words("d")]),
        ]);
        assert_eq!(query, expected);
        let grouped = Query::parse("a (b OR c)").unwrap();
        assert_eq!(grouped, Query::And(vec![words("a"), Query::Or(vec![words("b"), words("c")])]));
    }

    #[test]
    fn phrases_prefixes_fields_and_compound_words_are_told_apart() {
        assert_eq!(Query::parse("\"Database  Error\"").unwrap(), words("database error"));
        assert_eq!(Query::parse("data*").unwrap(), words("data*"));
        assert_eq!(Query::parse("user-42").unwrap(), words("user 42"));
        assert_eq!(Query::parse("http://x.org:80").unwrap(), words("http x org 80"));
        assert_eq!(Query::parse("instance:api:user123").unwrap(), Query::Instance("api:user123".into()));
        assert_eq!(Query::parse("Service:\"api\"").unwrap(), Query::Service("api".into()));
        assert_eq!(Query::parse("level:WARNING").unwrap(), Query::Level(Level::Warn));
        assert_eq!(Query::parse("-debug").unwrap(), Query::Not(Box::new(words("debug"))));
        assert_eq!(Query::parse("  ").unwrap(), Query::All);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_a_sentence() {
        let deep = "(".repeat(300);
        let long = "x".repeat(LONGEST_QUERY + 1);
        for text in
            ["(a", "a)", "\"a", "a AND", "OR a", "NOT", "()", "level:loud", "instance:", "--", &deep, &long]
        {
            let error = Query::parse(text).expect_err(text);
            assert!(error.0.ends_with('.'), "{error}");
        }
    }
}
