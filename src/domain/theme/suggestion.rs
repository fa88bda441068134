//! Suggestions before they are stored, whoever thought of them: a language model's answer is
//! input like any other.

use serde::Deserialize;

use super::color::Rgb;
use super::look::READABLE;

/// The most suggestions of one analysis.
pub const MOST: usize = 6;
/// The longest name, in characters: a line in a list.
const NAME_CHARS: usize = 80;
/// The longest description, in characters: two sentences.
const DESCRIPTION_CHARS: usize = 300;
/// The longest reasoning, in characters: a paragraph or two.
const REASONING_CHARS: usize = 1000;

/// A suggestion without an id.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Draft {
    /// What it is called.
    pub name: String,
    /// A sentence about it.
    #[serde(default)]
    pub description: String,
    /// `#rrggbb`, as all of them.
    pub primary_color: String,
    /// The second colour.
    pub secondary_color: String,
    /// What stands out.
    pub accent_color: String,
    /// Text on a light background.
    pub text_color: String,
    /// Why it fits.
    #[serde(default)]
    pub reasoning: String,
}

/// Characters that turn, hide or end a line of text.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn text(what: &str, text: &str, longest: usize, paragraphs: Paragraphs) -> Result<String, String> {
    let text = text.trim();
    let allowed = |c: char| paragraphs == Paragraphs::Allowed && c == '\n';
    if text.chars().count() > longest {
        return Err(format!("a {what} is longer than {longest} characters"));
    }
    if text.chars().any(|c| is_hostile(c) && !allowed(c)) {
        return Err(format!("a {what} holds control characters"));
    }
    Ok(text.to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Paragraphs {
    Allowed,
    Refused,
}

fn color(what: &str, text: &str) -> Result<Rgb, String> {
    text.trim().parse().map_err(|_| format!("a {what} is no color"))
}

impl Draft {
    /// The draft as it is stored.
    ///
    /// # Errors
    /// A few words: what is wrong with it.
    pub fn checked(&self) -> Result<Draft, String> {
        let name = text("name", &self.name, NAME_CHARS, Paragraphs::Refused)?;
        if name.is_empty() {
            return Err("a name is empty".into());
        }
        let text_color = color("text_color", &self.text_color)?;
        if text_color.contrast(Rgb::WHITE) < READABLE {
            return Err(format!("text in {text_color} cannot be read on white"));
        }
        Ok(Draft {
            name,
            description: text("description", &self.description, DESCRIPTION_CHARS, Paragraphs::Refused)?,
            primary_color: color("primary_color", &self.primary_color)?.to_string(),
            secondary_color: color("secondary_color", &self.secondary_color)?.to_string(),
            accent_color: color("accent_color", &self.accent_color)?.to_string(),
            text_color: text_color.to_string(),
            reasoning: text("reasoning", &self.reasoning, REASONING_CHARS, Paragraphs::Allowed)?,
        })
    }
}

/// All of them as they are stored: one bad one spoils the lot, for who writes one writes others.
///
/// # Errors
/// A few words: what is wrong.
pub fn checked(drafts: &[Draft]) -> Result<Vec<Draft>, String> {
    match drafts.len() {
        0 => Err("there are none".into()),
        1..=MOST => drafts.iter().map(Draft::checked).collect(),
        count => Err(format!("there are {count}, at most {MOST} are taken")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            name: "Professional Blue & Gold".into(),
            description: "A classic palette".into(),
            primary_color: "#0E173E".into(),
            secondary_color: "#f1c613".into(),
            accent_color: "#fc0".into(),
            text_color: "#1f2937".into(),
            reasoning: "Two\nparagraphs".into(),
        }
    }

    #[test]
    fn a_good_one_is_taken_with_its_colours_in_one_form() {
        let taken = draft().checked().expect("good");
        assert_eq!((taken.primary_color.as_str(), taken.accent_color.as_str()), ("#0e173e", "#ffcc00"));
        assert_eq!(taken.reasoning, "Two\nparagraphs");
    }

    #[test]
    fn nonsense_is_refused_with_what_is_wrong() {
        let refused = |change: fn(&mut Draft)| {
            let mut draft = draft();
            change(&mut draft);
            draft.checked().expect_err("refused")
        };
        for (why, said) in [
            (refused(|d| d.name = "  ".into()), "empty"),
            (refused(|d| d.name = "x".repeat(1_000_000)), "80 characters"),
            (refused(|d| d.name = "a\u{1b}[31mb".into()), "control"),
            (refused(|d| d.name = "a\u{202e}b".into()), "control"),
            (refused(|d| d.name = "a\nb".into()), "control"),
            (refused(|d| d.description = "x".repeat(301)), "300"),
            (refused(|d| d.reasoning = "a\0b".into()), "control"),
            (refused(|d| d.primary_color = "blue".into()), "primary_color"),
            (refused(|d| d.secondary_color = "url(http://x)".into()), "secondary_color"),
            (refused(|d| d.accent_color = "#12345".into()), "accent_color"),
            (refused(|d| d.text_color = "#ffffff".into()), "cannot be read"),
        ] {
            assert!(why.contains(said), "{why}");
        }
        assert!(checked(&[]).is_err());
        assert!(checked(&vec![draft(); MOST + 1]).is_err());
        assert!(checked(&vec![draft(); MOST]).is_ok());
    }
}
