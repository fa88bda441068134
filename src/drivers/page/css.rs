//! Colours in style sheets, by cssparser's tokens.

use std::collections::{BTreeMap, HashMap};

use cssparser::color::{parse_hash_color, parse_named_color};
use cssparser::{Parser, Token};
use palette::{Hsl, IntoColor as _, Oklch, Srgb};

use super::add;
use crate::domain::theme::color::Rgb;

/// Colours with how much each is used.
pub type Weights = BTreeMap<Rgb, f32>;

/// Rules in rules that are gone into.
const DEEPEST: usize = 12;
/// Names of colours (`--brand`) that refer to others that are followed.
const MOST_NAMES: usize = 2_000;

/// What is nearly transparent is hardly seen; below this it is not counted.
const SEEN: f32 = 0.02;

/// A colour, or the name of one.
#[derive(Clone, Debug, PartialEq)]
enum Color {
    Plain(Rgb, f32),
    Named(String),
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Found {
    weights: Weights,
    /// Custom properties that are colours.
    names: HashMap<String, Vec<Color>>,
    /// Uses of custom properties.
    uses: HashMap<String, f32>,
}

/// How much the colour of a property is seen.
fn property_weight(name: &str) -> f32 {
    match name {
        "background" | "background-color" | "background-image" => 3.0,
        "color" => 1.5,
        "fill" => 1.0,
        "stroke" | "border" | "outline" | "accent-color" => 0.5,
        _ if name.starts_with("border") && !name.contains("radius") => 0.4,
        "box-shadow" | "text-shadow" | "outline-color" | "text-decoration-color" | "caret-color" => 0.1,
        _ => 0.0,
    }
}

impl Found {
    /// Goes through a style sheet. `weigh` says how much a selector counts on the page.
    pub(super) fn sheet(&mut self, text: &str, weigh: &mut dyn FnMut(&str) -> f32) {
        self.block(&mut Parser::new(text), "", 0, weigh);
    }

    /// Goes through declarations without a rule around them.
    pub(super) fn declarations(&mut self, text: &str, weight: f32) {
        self.block(&mut Parser::new(text), "style", 0, &mut |_| weight);
    }

    /// One value.
    pub(super) fn value(&mut self, text: &str, weight: f32) {
        let mut colors = Vec::new();
        collect(&mut Parser::new(text), &mut colors, 0);
        self.count(colors, weight);
    }

    fn count(&mut self, colors: Vec<Color>, weight: f32) {
        for color in colors {
            match color {
                Color::Plain(rgb, alpha) if alpha > SEEN => add(&mut self.weights, rgb, weight * alpha),
                Color::Plain(..) => {}
                Color::Named(name) => *self.uses.entry(name).or_default() += weight,
            }
        }
    }

    /// Goes through rules and declarations up to the end of the block.
    fn block(
        &mut self,
        parser: &mut Parser<'_>,
        selector: &str,
        depth: usize,
        weigh: &mut dyn FnMut(&str) -> f32,
    ) {
        loop {
            parser.skip_whitespace();
            let start = parser.position();
            let mut property: Option<String> = None;
            let mut is_declaration = false;
            let mut colors = Vec::new();
            let mut tokens = 0_usize;
            let ended = loop {
                let before = parser.position();
                let token = match parser.next() {
                    Ok(token) => token.clone(),
                    Err(_) => break End::Block,
                };
                match token {
                    Token::Semicolon => break End::Declaration,
                    Token::CurlyBracketBlock => {
                        break End::Rule(parser.slice(start..before).trim().to_owned());
                    }
                    Token::Ident(name) if tokens == 0 => property = Some(name.to_ascii_lowercase()),
                    Token::Colon if tokens == 1 && property.is_some() => is_declaration = true,
                    token => one(parser, &token, &mut colors, 0),
                }
                tokens += 1;
            };
            match (&ended, property) {
                (End::Declaration | End::Block, Some(property)) if is_declaration => {
                    self.declaration(property, colors, selector, weigh);
                }
                (End::Rule(prelude), _) => {
                    let skipped = depth >= DEEPEST
                        || ["@font-face", "@keyframes", "@-webkit-keyframes"]
                            .iter()
                            .any(|at| prelude.to_ascii_lowercase().starts_with(at));
                    let inner = if prelude.starts_with('@') { selector.to_owned() } else { prelude.clone() };
                    let _ = parser.parse_nested_block(|nested| {
                        if !skipped {
                            self.block(nested, &inner, depth + 1, weigh);
                        }
                        while nested.next().is_ok() {}
                        Ok::<(), cssparser::ParseError<()>>(())
                    });
                }
                (End::Declaration | End::Block, _) => {}
            }
            if matches!(ended, End::Block) {
                return;
            }
        }
    }

    fn declaration(
        &mut self,
        property: String,
        colors: Vec<Color>,
        selector: &str,
        weigh: &mut dyn FnMut(&str) -> f32,
    ) {
        if colors.is_empty() {
            return;
        }
        if property.starts_with("--") {
            if self.names.len() < MOST_NAMES {
                self.names.entry(property).or_insert(colors);
            }
            return;
        }
        let weight = property_weight(&property);
        if weight > 0.0 {
            let weight = weight * weigh(selector);
            self.count(colors, weight);
        }
    }

    /// What it all comes to.
    pub(super) fn weights(mut self) -> Weights {
        // A name may refer to a name; a few rounds are what honest sheets need.
        for _ in 0..4 {
            let uses = std::mem::take(&mut self.uses);
            if uses.is_empty() {
                break;
            }
            for (name, weight) in uses {
                let colors = self.names.get(&name).cloned().unwrap_or_default();
                self.count(colors, weight);
            }
        }
        self.weights
    }
}

/// How a piece of a block ended.
enum End {
    Declaration,
    Rule(String),
    Block,
}

/// All colours of a value.
fn collect(parser: &mut Parser<'_>, colors: &mut Vec<Color>, depth: usize) {
    while let Ok(token) = parser.next() {
        let token = token.clone();
        one(parser, &token, colors, depth);
    }
}

/// The colours of one token, with what is in its brackets.
fn one(parser: &mut Parser<'_>, token: &Token<'_>, colors: &mut Vec<Color>, depth: usize) {
    match token {
        Token::Hash(digits) | Token::IDHash(digits) => {
            if let Ok((r, g, b, alpha)) = parse_hash_color(digits.as_bytes()) {
                colors.push(Color::Plain(Rgb { r, g, b }, alpha));
            }
        }
        Token::Ident(name) => {
            if let Ok((r, g, b)) = parse_named_color(name) {
                colors.push(Color::Plain(Rgb { r, g, b }, 1.0));
            }
        }
        Token::Function(name) => {
            let name = name.to_ascii_lowercase();
            let _ = parser.parse_nested_block(|inside| {
                function(&name, inside, colors, depth);
                while inside.next().is_ok() {}
                Ok::<(), cssparser::ParseError<()>>(())
            });
        }
        Token::ParenthesisBlock | Token::SquareBracketBlock if depth < DEEPEST => {
            let _ = parser.parse_nested_block(|inside| {
                collect(inside, colors, depth + 1);
                Ok::<(), cssparser::ParseError<()>>(())
            });
        }
        _ => {}
    }
}

fn function(name: &str, inside: &mut Parser<'_>, colors: &mut Vec<Color>, depth: usize) {
    match name {
        "rgb" | "rgba" | "hsl" | "hsla" | "oklch" => {
            if let Some((rgb, alpha)) = components(name, inside) {
                colors.push(Color::Plain(rgb, alpha));
            }
        }
        "var" => {
            if let Ok(Token::Ident(name)) = inside.next() {
                colors.push(Color::Named(name.to_ascii_lowercase()));
            }
        }
        _ if depth < DEEPEST => collect(inside, colors, depth + 1),
        _ => {}
    }
}

/// A colour by its components, in the old and the new way of writing.
fn components(name: &str, inside: &mut Parser<'_>) -> Option<(Rgb, f32)> {
    enum Part {
        Number(f32),
        Share(f32),
    }
    let mut parts = Vec::new();
    while let Ok(token) = inside.next() {
        match token {
            Token::Number { value, .. } | Token::Dimension { value, .. } => parts.push(Part::Number(*value)),
            Token::Percentage { unit_value, .. } => parts.push(Part::Share(*unit_value)),
            Token::Comma | Token::Delim('/') => {}
            _ => return None,
        }
    }
    let mut parts = parts.into_iter();
    let mut next = |whole: f32| {
        parts.next().map(|part| match part {
            Part::Number(number) => number / whole,
            Part::Share(share) => share,
        })
    };
    let unit = |value: f32| value.clamp(0.0, 1.0);
    let rgb = match name {
        "oklch" => {
            let (l, chroma, hue) = (next(1.0)?, next(1.0)?, next(1.0)?);
            Rgb::from_oklch(Oklch::new(unit(l), chroma.clamp(0.0, 0.5), hue))
        }
        "hsl" | "hsla" => {
            let (hue, saturation, lightness) = (next(1.0)?, next(100.0)?, next(100.0)?);
            let color: Srgb = Hsl::new(hue, unit(saturation), unit(lightness)).into_color();
            let color: Srgb<u8> = color.into_format();
            Rgb { r: color.red, g: color.green, b: color.blue }
        }
        _ => {
            let byte = |value: f32| (unit(value) * 255.0).round() as u8;
            Rgb { r: byte(next(255.0)?), g: byte(next(255.0)?), b: byte(next(255.0)?) }
        }
    };
    Some((rgb, next(1.0).map_or(1.0, unit)))
}
