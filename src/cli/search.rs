//! `tenantry search`: lines by their words, with what was found set off.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Common, block_on, field, list, text};
use super::safe_text::safe;
use super::screen::{Screen, faint, found};

/// What `search` is asked.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A line is found when it holds all words. Also: \"a phrase\", prefix*, this OR that, \
    NOT that,\ninstance:api:user123, service:api, level:error."
)]
pub(super) struct Search {
    /// What to look for.
    #[arg(required = true)]
    query: Vec<String>,
    /// Only lines since then: 30m, 1h, 7d, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only lines until then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many lines at most.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    common: Common,
}

/// Prints what is found.
pub(super) fn run(args: &Search) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let query = args.query.join(" ");
    let mut body = json!({"query": query, "limit": args.limit});
    for (name, value) in [("since", &args.since), ("until", &args.until)] {
        if let (Some(object), Some(value)) = (body.as_object_mut(), value) {
            object.insert(name.to_owned(), value.as_str().into());
        }
    }
    let answer = block_on(async { Ok(client.send(Method::POST, "/api/logs/search", Some(&body)).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
        return Ok(());
    }
    screen.print(&shown(&answer, &query, &screen))?;
    let results = list(&answer, "results").len();
    let total = field(&answer, "total").as_u64().unwrap_or_default();
    if total > results as u64 {
        eprintln!("{results} of {total} lines; --limit shows more");
    }
    Ok(())
}

fn shown(answer: &Value, query: &str, screen: &Screen) -> String {
    let words = words(query);
    let results = list(answer, "results").iter();
    let lines = results.map(|result| {
        let time = screen.paint(faint(), &safe(&text(result, "timestamp")));
        let message = highlighted(&safe(&text(result, "message")), &words, screen);
        format!("{time} {} {message}\n", safe(&text(result, "instance")))
    });
    lines.collect()
}

/// The words of a query that stand in lines: no operators, no fields, nothing that is excluded.
fn words(query: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut is_excluded = false;
    for word in query.split_whitespace() {
        let is_operator = matches!(word, "AND" | "OR" | "NOT");
        let skip = is_operator || is_excluded || word.starts_with('-') || is_field(word);
        is_excluded = word == "NOT";
        if !skip {
            let parts = word.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
            words.extend(parts.map(str::to_lowercase));
        }
    }
    // Of two words that begin alike the longer one is set off whole.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words
}

fn is_field(word: &str) -> bool {
    ["instance:", "service:", "level:"].iter().any(|field| word.starts_with(field))
}

/// The text with the words in it set off, in any case of letters.
fn highlighted(message: &str, words: &[String], screen: &Screen) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    let mut is_in_word = false;
    while let Some(letter) = rest.chars().next() {
        let hit = words.iter().filter(|_| !is_in_word).find_map(|word| beginning(rest, word));
        let (part, after) = rest.split_at(hit.unwrap_or(letter.len_utf8()));
        out.push_str(&if hit.is_some() { screen.paint(found(), part) } else { part.to_owned() });
        is_in_word = part.chars().next_back().is_some_and(char::is_alphanumeric);
        rest = after;
    }
    out
}

/// How many bytes of the text say a lower-case word.
fn beginning(text: &str, word: &str) -> Option<usize> {
    let mut letters = text.char_indices();
    let mut wanted = word.chars();
    loop {
        let Some(next) = wanted.next() else { return Some(letters.offset()) };
        let (_, letter) = letters.next()?;
        let mut lower = letter.to_lowercase();
        if lower.next() != Some(next) || lower.any(|more| wanted.next() != Some(more)) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_answer_is_shown_with_its_words_set_off() {
        let answer = json!({"results": [{"timestamp": "2024-01-12T10:31:45.123Z", "instance": "api:user123",
            "message": "Database error connecting to pg\u{7}"}], "total": 3});
        let plain = shown(&answer, "database error", &Screen::plain());
        assert_eq!(plain, "2024-01-12T10:31:45.123Z api:user123 Database error connecting to pg\\x07\n");
        let colored = shown(&answer, "database error", &Screen::colored());
        let (on, off) = (format!("{}", found()), format!("{:#}", found()));
        assert!(colored.contains(&format!("{on}Database{off} {on}error{off} connecting")), "{colored:?}");
    }

    #[test]
    fn only_words_of_the_line_are_set_off() {
        assert_eq!(words("level:error Conn* NOT timeout OR \"data base\" -x"), ["conn", "data", "base"]);
        let marked = |message| highlighted(message, &words("conn ß"), &Screen::colored());
        assert_eq!(marked("misconn"), "misconn", "in the middle of a word");
        let (on, off) = (format!("{}", found()), format!("{:#}", found()));
        assert_eq!(marked("reset Connection"), format!("reset {on}Conn{off}ection"));
        assert_eq!(marked("İ ẞ, 文conn"), format!("İ {on}ẞ{off}, 文conn"), "letters stay whole");
    }
}
