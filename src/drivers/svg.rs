//! Writes an SVG anew from what is known to be harmless.
//!
//! Nothing of the text is passed on: elements and attributes of the allowlist are written from
//! what was parsed, everything else is left out with what it holds. So no script, no handler,
//! no foreign content and no address of another file can be in the answer, and no two parsers
//! can read different things in it. A DOCTYPE, an entity and what is not well formed are refused.

mod values;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::escape;
use quick_xml::events::{BytesStart, Event};

/// The longest SVG, in bytes: logos have some KiB.
const LONGEST: usize = 512 * 1024;
/// Elements and nesting: far more than a logo has, far less than hurts a browser.
const MOST_ELEMENTS: usize = 10_000;
const DEEPEST: usize = 64;
/// A copy of a copy of a copy doubles each time: with so few in all it stays small.
const MOST_COPIES: usize = 16;

/// Elements that are kept; in their own room of names and without a prefix.
const ELEMENTS: [&str; 22] = [
    "svg",
    "g",
    "defs",
    "symbol",
    "use",
    "title",
    "desc",
    "path",
    "rect",
    "circle",
    "ellipse",
    "line",
    "polyline",
    "polygon",
    "text",
    "tspan",
    "linearGradient",
    "radialGradient",
    "stop",
    "clipPath",
    "mask",
    "style",
];
/// Elements that show something.
const SHAPES: [&str; 9] = ["path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "use"];
const NAMESPACE: &str = "http://www.w3.org/2000/svg";

/// Why an SVG is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvgError {
    /// It is too long.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    NotText,
    /// It is not well formed.
    #[error("it is not well formed")]
    NotXml,
    /// Its first element is another.
    #[error("its root is not svg")]
    NotSvg,
    /// It declares a document type.
    #[error("it has a DOCTYPE")]
    Doctype,
    /// It uses an entity.
    #[error("it uses an entity")]
    Entity,
    /// It has too many or too deep elements, or copies.
    #[error("it has too many elements")]
    TooMany,
    /// It shows nothing.
    #[error("nothing that can be shown is left of it")]
    Nothing,
}

/// The harmless form of an SVG.
///
/// # Errors
/// Why there is none.
pub fn harmless(bytes: &[u8]) -> Result<String, SvgError> {
    if bytes.len() > LONGEST {
        return Err(SvgError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| SvgError::NotText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // XML allows no others; readers differ in what they do about them.
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(SvgError::NotXml);
    }
    let mut reader = Reader::from_str(text);
    let mut writing = Writing::default();
    loop {
        match reader.read_event().map_err(|_| SvgError::NotXml)? {
            Event::Start(start) => writing.start(&start, Closes::Later)?,
            Event::Empty(start) => writing.start(&start, Closes::AtOnce)?,
            Event::End(_) => writing.end()?,
            Event::Text(text) => writing.text(&text)?,
            Event::CData(text) => writing.text(&text)?,
            Event::GeneralRef(name) => {
                let char = match name.resolve_char_ref() {
                    Ok(Some(char)) => char,
                    Ok(None) => predefined(&name).ok_or(SvgError::Entity)?,
                    Err(_) => return Err(SvgError::Entity),
                };
                writing.text(char.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return Err(SvgError::Doctype),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    writing.finish()
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closes {
    AtOnce,
    Later,
}

/// An element that is open.
enum Open {
    /// It is written; its name.
    Kept(&'static str),
    /// It is left out, with what it holds.
    Dropped,
}

#[derive(Default)]
struct Writing {
    out: String,
    open: Vec<Open>,
    /// The text of the style sheet that is open.
    style: String,
    elements: usize,
    copies: usize,
    shapes: usize,
    has_root: bool,
}

impl Writing {
    fn start(&mut self, start: &BytesStart<'_>, closes: Closes) -> Result<(), SvgError> {
        self.elements += 1;
        if self.elements > MOST_ELEMENTS || self.open.len() >= DEEPEST {
            return Err(SvgError::TooMany);
        }
        let name = start.name();
        let known = ELEMENTS.into_iter().find(|known| *known == name.as_ref());
        let is_root = self.open.is_empty();
        if is_root && (self.has_root || known != Some("svg")) {
            return Err(SvgError::NotSvg);
        }
        let inside_dropped = matches!(self.open.last(), Some(Open::Dropped));
        // A style sheet holds text alone.
        let inside_style = matches!(self.open.last(), Some(Open::Kept("style")));
        let kept = known.filter(|_| !inside_dropped && !inside_style);
        // Looked at even where nothing is kept: what is not well formed is refused.
        let attributes = self.attributes(start, kept, is_root)?;
        let Some(kept) = kept else {
            if closes == Closes::Later {
                self.open.push(Open::Dropped);
            }
            return Ok(());
        };
        if kept == "use" {
            self.copies += 1;
            if self.copies > MOST_COPIES {
                return Err(SvgError::TooMany);
            }
        }
        self.shapes += usize::from(SHAPES.contains(&kept));
        if kept == "style" {
            self.style.clear();
        } else {
            self.out.push('<');
            self.out.push_str(kept);
            if is_root {
                self.out.push_str(&format!(" xmlns=\"{NAMESPACE}\""));
            }
            self.out.push_str(&attributes);
            self.out.push('>');
        }
        self.has_root = true;
        self.open.push(Open::Kept(kept));
        if closes == Closes::AtOnce { self.end() } else { Ok(()) }
    }

    /// The attributes that are kept, written.
    fn attributes(
        &self,
        start: &BytesStart<'_>,
        kept: Option<&str>,
        is_root: bool,
    ) -> Result<String, SvgError> {
        let mut out = String::new();
        let mut has_href = false;
        for attribute in start.attributes() {
            // A name that is there twice is not well formed, and no two readers agree on it.
            let attribute = attribute.map_err(|_| SvgError::NotXml)?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| SvgError::Entity)?;
            let name = attribute.key.as_ref();
            if name == "xmlns" && value != NAMESPACE && kept.is_some() {
                // Elsewhere the same names mean other things.
                return Err(SvgError::NotSvg);
            }
            if is_root && name == "xmlns" {
                continue;
            }
            let Some((name, value)) = values::kept(start.name().as_ref(), name, &value) else { continue };
            if name == "href" && std::mem::replace(&mut has_href, true) {
                continue;
            }
            out.push_str(&format!(" {name}=\"{}\"", escape(value.as_str())));
        }
        Ok(out)
    }

    fn text(&mut self, text: &str) -> Result<(), SvgError> {
        match self.open.last() {
            Some(Open::Kept("style")) => self.style.push_str(text),
            Some(Open::Kept("text" | "tspan" | "title" | "desc")) => {
                if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
                    return Err(SvgError::NotXml);
                }
                self.out.push_str(&escape(text));
            }
            None if !text.trim().is_empty() => return Err(SvgError::NotXml),
            Some(Open::Kept(_) | Open::Dropped) | None => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), SvgError> {
        match self.open.pop() {
            Some(Open::Kept("style")) => {
                if values::is_harmless_sheet(&self.style) {
                    self.out.push_str(&format!("<style>{}</style>", escape(self.style.as_str())));
                }
            }
            Some(Open::Kept(name)) => self.out.push_str(&format!("</{name}>")),
            Some(Open::Dropped) => {}
            None => return Err(SvgError::NotXml),
        }
        Ok(())
    }

    fn finish(self) -> Result<String, SvgError> {
        match (self.has_root, self.open.is_empty(), self.shapes) {
            (false, ..) => Err(SvgError::NotSvg),
            (true, false, _) => Err(SvgError::NotXml),
            (true, true, 0) => Err(SvgError::Nothing),
            (true, true, _) => Ok(self.out),
        }
    }
}

#[cfg(test)]
mod tests;
