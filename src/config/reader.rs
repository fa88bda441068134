//! Reads one table of the configuration file, and collects everything that is wrong with it.
//!
//! A value comes from the environment when its variable is set, else from the file. Every key
//! that is asked for is known; [`Section::finish`] tells of the others and names the nearest
//! known one. Problems carry the line that they stand on, so all of them are told at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::de::{DeTable, DeValue};

use super::Problem;

/// Below this similarity (Jaro-Winkler, 0 to 1) another key is no help.
const SIMILAR: f64 = 0.8;

/// Where a value stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// On a line of the file, counted from 1.
    Line(usize),
    /// In an environment variable.
    Variable(String),
    /// Nowhere: it is missing, or comes from a flag.
    None,
}

/// A value with where it stands.
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What was found wrong or doubtful so far.
pub(super) struct Notes<'t> {
    text: &'t str,
    variables: &'t BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<String>>,
}

impl<'t> Notes<'t> {
    pub(super) fn new(text: &'t str, variables: &'t BTreeMap<String, String>) -> Notes<'t> {
        Notes {
            text,
            variables,
            used: RefCell::default(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    pub(super) fn bad(&self, place: &Place, message: impl Display) {
        let problem = match place {
            Place::Line(line) => Problem { line: Some(*line), message: message.to_string() },
            Place::Variable(name) => Problem { line: None, message: format!("{name}: {message}") },
            Place::None => Problem { line: None, message: message.to_string() },
        };
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn warn(&self, message: impl Display) {
        self.warnings.borrow_mut().push(message.to_string());
    }

    pub(super) fn warn_at(&self, place: &Place, message: impl Display) {
        match place {
            Place::Line(line) => self.warn(format!("line {line}: {message}")),
            Place::Variable(name) => self.warn(format!("{name}: {message}")),
            Place::None => self.warn(message),
        }
    }

    /// The variable's value, marked as known.
    pub(super) fn variable(&self, name: &str) -> Option<&'t str> {
        let (name, value) = self.variables.get_key_value(name)?;
        self.used.borrow_mut().insert(name.clone());
        Some(value)
    }

    /// Everything wrong, in the order of the lines, and everything doubtful. `elsewhere` are
    /// variables that are read by others.
    pub(super) fn finish(self, elsewhere: &[&str]) -> (Vec<Problem>, Vec<String>) {
        let used = self.used.into_inner();
        let mut warnings = self.warnings.into_inner();
        for name in self.variables.keys() {
            if name.starts_with("TENANTRY_") && !used.contains(name) && !elsewhere.contains(&name.as_str()) {
                warnings.push(format!("the environment variable {name} is not an option of tenantry"));
            }
        }
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        (problems, warnings)
    }
}

enum Raw<'a> {
    Variable(&'a str),
    File(&'a DeValue<'a>),
}

/// One table of the file.
pub(super) struct Section<'a> {
    pub(super) notes: &'a Notes<'a>,
    /// How it is called in messages, such as `[ports]`.
    pub(super) title: String,
    /// Prefix of its environment variables; none for tables that people name.
    prefix: Option<String>,
    table: Option<&'a DeTable<'a>>,
    /// The line of its header.
    pub(super) place: Place,
    known: RefCell<Vec<String>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(notes: &'a Notes<'a>, table: &'a DeTable<'a>) -> Section<'a> {
        Section {
            notes,
            title: "the file".into(),
            prefix: None,
            table: Some(table),
            place: Place::None,
            known: RefCell::default(),
        }
    }

    /// A table below this one; without one in the file it still reads the environment.
    pub(super) fn section(&self, key: &str, prefix: Option<&str>) -> Section<'a> {
        let found = self.entry(key);
        let mut place = Place::None;
        let mut table = None;
        if let Some((line, value)) = found {
            place = Place::Line(line);
            match value {
                DeValue::Table(below) => table = Some(below),
                other => self.wrong(&place, key, "a table", other.type_str()),
            }
        }
        self.below(key, prefix.map(str::to_owned), table, place)
    }

    fn below(
        &self,
        key: &str,
        prefix: Option<String>,
        table: Option<&'a DeTable<'a>>,
        place: Place,
    ) -> Section<'a> {
        let title = match self.title.strip_prefix('[').and_then(|title| title.strip_suffix(']')) {
            Some(parent) => format!("[{parent}.{key}]"),
            None => format!("[{key}]"),
        };
        Section { notes: self.notes, title, prefix, table, place, known: RefCell::default() }
    }

    /// The tables below `key`, each with the name that somebody gave it.
    pub(super) fn named(&self, key: &str) -> Vec<(String, Section<'a>)> {
        let all = self.section(key, None);
        let Some(table) = all.table else { return Vec::new() };
        let mut sections = Vec::new();
        for (name, value) in table {
            let place = Place::Line(self.notes.line(name.span().start));
            match value.get_ref() {
                DeValue::Table(below) => {
                    let section = all.below(name.get_ref(), None, Some(below), place);
                    sections.push((name.get_ref().to_string(), section));
                }
                other => all.wrong(&place, name.get_ref(), "a table", other.type_str()),
            }
        }
        sections
    }

    /// The table that `value` is, when a key may hold a table or something simpler.
    pub(super) fn table_or_words(&self, key: &str) -> Option<TableOrWords<'a>> {
        let (raw, place) = self.raw(key)?;
        match raw {
            Raw::File(DeValue::Table(table)) => {
                Some(TableOrWords::Table(self.below(key, None, Some(table), place)))
            }
            Raw::File(DeValue::String(text)) => {
                self.split(text, &place, key).map(|value| TableOrWords::Words(Found { value, place }))
            }
            Raw::Variable(text) => {
                self.split(text, &place, key).map(|value| TableOrWords::Words(Found { value, place }))
            }
            Raw::File(DeValue::Array(_)) => self.list(key).map(TableOrWords::Words),
            Raw::File(other) => {
                self.wrong(&place, key, "a command line, an array of words or a table", other.type_str());
                None
            }
        }
    }

    /// A command line: a text, split into words as a shell would, or an array of words.
    pub(super) fn words(&self, key: &str) -> Option<Found<Vec<String>>> {
        match self.table_or_words(key)? {
            TableOrWords::Words(words) => Some(words),
            TableOrWords::Table(table) => {
                self.wrong(&table.place, key, "a command line or an array of words", "table");
                None
            }
        }
    }

    /// An array of words, or a text that is one word.
    pub(super) fn whole_words(&self, key: &str) -> Option<Found<Vec<String>>> {
        if matches!(self.entry(key), Some((_, DeValue::Array(_)))) {
            return self.list(key);
        }
        self.text(key).map(|found| Found { value: vec![found.value], place: found.place })
    }

    /// Whether the file has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    fn split(&self, text: &str, place: &Place, key: &str) -> Option<Vec<String>> {
        shell_words::split(text)
            .map_err(|_| {
                self.notes.bad(place, format!("{}: '{key}' has a quote that is not closed", self.title))
            })
            .ok()
    }

    pub(super) fn text(&self, key: &str) -> Option<Found<String>> {
        let (raw, place) = self.raw(key)?;
        let value = match raw {
            Raw::Variable(text) => text.to_owned(),
            Raw::File(DeValue::String(text)) => text.to_string(),
            Raw::File(other) => {
                self.wrong(&place, key, "a string", other.type_str());
                return None;
            }
        };
        if value.contains('\0') {
            self.notes.bad(&place, format!("{}: '{key}' contains a NUL character", self.title));
            return None;
        }
        Some(Found { value, place })
    }

    /// A text that is parsed into a type with its own error message.
    pub(super) fn parsed<T>(&self, key: &str) -> Option<Found<T>>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        let Found { value, place } = self.text(key)?;
        match value.parse() {
            Ok(value) => Some(Found { value, place }),
            Err(error) => {
                self.notes.bad(&place, format!("{}: '{key}' = '{value}': {error}", self.title));
                None
            }
        }
    }

    pub(super) fn list(&self, key: &str) -> Option<Found<Vec<String>>> {
        let (raw, place) = self.raw(key)?;
        let value = match raw {
            Raw::Variable(text) => {
                text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
            }
            Raw::File(DeValue::Array(values)) => {
                let mut words = Vec::new();
                for value in values.iter() {
                    match value.get_ref() {
                        DeValue::String(text) if !text.contains('\0') => words.push(text.to_string()),
                        other => {
                            let place = Place::Line(self.notes.line(value.span().start));
                            self.wrong(&place, key, "an array of strings", other.type_str());
                            return None;
                        }
                    }
                }
                words
            }
            Raw::File(other) => {
                self.wrong(&place, key, "an array of strings", other.type_str());
                return None;
            }
        };
        Some(Found { value, place })
    }

    pub(super) fn whole(&self, key: &str, range: RangeInclusive<u64>) -> Option<Found<u64>> {
        let (raw, place) = self.raw(key)?;
        let value = match raw {
            Raw::Variable(text) => text.trim().parse::<u64>().ok(),
            Raw::File(DeValue::Integer(number)) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            Raw::File(other) => {
                self.wrong(&place, key, "a whole number", other.type_str());
                return None;
            }
        };
        if let Some(value) = value.filter(|value| range.contains(value)) {
            return Some(Found { value, place });
        }
        let (from, to) = (range.start(), range.end());
        self.notes.bad(&place, format!("{}: '{key}' must be a whole number from {from} to {to}", self.title));
        None
    }

    pub(super) fn port(&self, key: &str) -> Option<Found<u16>> {
        let found = self.whole(key, 1..=65535)?;
        u16::try_from(found.value).ok().map(|value| Found { value, place: found.place })
    }

    /// A time in seconds, possibly with a fraction, as milliseconds.
    pub(super) fn seconds_as_ms(&self, key: &str, range: RangeInclusive<u64>) -> Option<Found<u64>> {
        let (raw, place) = self.raw(key)?;
        let seconds: Option<f64> = match raw {
            Raw::Variable(text) => text.trim().parse().ok(),
            Raw::File(DeValue::Integer(number)) => number.as_str().parse().ok(),
            Raw::File(DeValue::Float(number)) => number.as_str().parse().ok(),
            Raw::File(other) => {
                self.wrong(&place, key, "a number of seconds", other.type_str());
                return None;
            }
        };
        let (from, to) = (*range.start(), *range.end());
        if let Some(seconds) = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
            let duration =
                std::time::Duration::try_from_secs_f64(seconds).unwrap_or(std::time::Duration::MAX);
            if let Ok(value) = u64::try_from(duration.as_millis())
                && (from * 1000..=to * 1000).contains(&value)
            {
                return Some(Found { value, place });
            }
        }
        let title = &self.title;
        self.notes.bad(&place, format!("{title}: '{key}' must be a number of seconds from {from} to {to}"));
        None
    }

    /// A time in days, possibly with a fraction, as milliseconds.
    pub(super) fn days_as_ms(&self, key: &str, range: RangeInclusive<u64>) -> Option<Found<u64>> {
        const DAY_MS: f64 = 86_400_000.0;
        let (raw, place) = self.raw(key)?;
        let days: Option<f64> = match raw {
            Raw::Variable(text) => text.trim().parse().ok(),
            Raw::File(DeValue::Integer(number)) => number.as_str().parse().ok(),
            Raw::File(DeValue::Float(number)) => number.as_str().parse().ok(),
            Raw::File(other) => {
                self.wrong(&place, key, "a number of days", other.type_str());
                return None;
            }
        };
        let (from, to) = (*range.start(), *range.end());
        if let Some(days) = days.filter(|days| (from as f64..=to as f64).contains(days)) {
            return Some(Found { value: (days * DAY_MS) as u64, place });
        }
        let title = &self.title;
        self.notes.bad(&place, format!("{title}: '{key}' must be a number of days from {from} to {to}"));
        None
    }

    pub(super) fn boolean(&self, key: &str) -> Option<Found<bool>> {
        let (raw, place) = self.raw(key)?;
        match raw {
            Raw::Variable("true" | "1" | "on") | Raw::File(DeValue::Boolean(true)) => {
                Some(Found { value: true, place })
            }
            Raw::Variable("false" | "0" | "off") | Raw::File(DeValue::Boolean(false)) => {
                Some(Found { value: false, place })
            }
            Raw::Variable(_) => {
                self.wrong(&place, key, "true or false", "string");
                None
            }
            Raw::File(other) => {
                self.wrong(&place, key, "true or false", other.type_str());
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<Found<T>> {
        let Found { value, place } = self.text(key)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == value) {
            return Some(Found { value: *choice, place });
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let message = format!("{}: '{key}' is '{value}', must be {}", self.title, words.join(" or "));
        self.notes.bad(&place, message);
        None
    }

    /// Names and texts that somebody chose, such as an environment.
    pub(super) fn texts(&self, key: &str) -> BTreeMap<String, Found<String>> {
        let below = self.section(key, None);
        let Some(table) = below.table else { return BTreeMap::new() };
        let names: Vec<String> = table.iter().map(|(name, _)| name.get_ref().to_string()).collect();
        names
            .into_iter()
            .filter_map(|name| {
                let (line, value) = below.entry(&name)?;
                let place = Place::Line(line);
                let value = match value {
                    DeValue::String(text) => text.to_string(),
                    DeValue::Integer(number) => number.as_str().to_owned(),
                    DeValue::Float(number) => number.as_str().to_owned(),
                    DeValue::Boolean(value) => value.to_string(),
                    other => {
                        below.wrong(&place, &name, "a string", other.type_str());
                        return None;
                    }
                };
                Some((name, Found { value, place }))
            })
            .collect()
    }

    /// Accepts a key that files of related programs hold, and says that it does nothing here.
    pub(super) fn without_effect(&self, key: &str) {
        if self.entry(key).is_some() {
            self.notes.warn(format!("{}: '{key}' is accepted and has no effect here", self.title));
        }
    }

    /// Tells of every key that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        let known = self.known.borrow();
        for (key, _) in table {
            if known.iter().any(|known| known.as_str() == key.get_ref()) {
                continue;
            }
            let place = Place::Line(self.notes.line(key.span().start));
            let nearest = known
                .iter()
                .map(|known| (strsim::jaro_winkler(known, key.get_ref()), known))
                .filter(|(similarity, _)| *similarity >= SIMILAR)
                .max_by(|(left, _), (right, _)| left.total_cmp(right));
            let hint = match nearest {
                Some((_, nearest)) => format!("did you mean '{nearest}'?"),
                None => {
                    let mut all: Vec<&str> = known.iter().map(String::as_str).collect();
                    all.sort_unstable();
                    all.dedup();
                    format!("known here: {}", all.join(", "))
                }
            };
            self.notes.warn_at(&place, format!("{}: unknown key '{}'; {hint}", self.title, key.get_ref()));
        }
    }

    fn raw(&self, key: &str) -> Option<(Raw<'a>, Place)> {
        let entry = self.entry(key);
        if let Some(prefix) = &self.prefix {
            let name = format!("{prefix}{}", key.to_uppercase());
            if let Some(value) = self.notes.variable(&name) {
                return Some((Raw::Variable(value), Place::Variable(name)));
            }
        }
        entry.map(|(line, value)| (Raw::File(value), Place::Line(line)))
    }

    fn entry(&self, key: &str) -> Option<(usize, &'a DeValue<'a>)> {
        self.known.borrow_mut().push(key.to_owned());
        let (name, value) = self.table?.get_key_value(key)?;
        Some((self.notes.line(name.span().start), value.get_ref()))
    }

    fn wrong(&self, place: &Place, key: &str, wanted: &str, got: &str) {
        let title = &self.title;
        self.notes.bad(place, format!("{title}: '{key}' must be {wanted}, it is of type {got}"));
    }
}

/// A table, or a command line.
pub(super) enum TableOrWords<'a> {
    Table(Section<'a>),
    Words(Found<Vec<String>>),
}
