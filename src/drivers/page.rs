//! What an HTML page says about itself: words, what belongs to it, and its colours with how
//! much each is used.
//!
//! A colour counts by what it is the colour of (a background more than a border) and by how
//! many elements of this very page its rule selects.

mod css;

use std::collections::HashMap;

use scraper::{Html, Selector};
use url::Url;

use crate::domain::theme::color::Rgb;
pub use css::Weights;

/// Style sheets and pictures of a page that are looked at; the first ones are the page's own.
pub const MOST_SHEETS: usize = 10;
/// As above.
pub const MOST_PICTURES: usize = 6;
/// The longest words that are taken of a page, in characters each.
const WORDS: usize = 200;
/// Headings that are taken.
const HEADINGS: usize = 8;
/// Elements that are visited for all rules together: about a second of work.
const VISITS: usize = 20_000_000;
/// Rules that are looked at, and style attributes.
const MOST_RULES: usize = 5_000;
const MOST_ATTRIBUTES: usize = 2_000;

/// What a page says and what belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// Its title.
    pub title: String,
    /// Its description.
    pub description: String,
    /// Its first headings.
    pub headings: Vec<String>,
    /// Its style sheets.
    pub sheets: Vec<Url>,
    /// Its pictures, icons first.
    pub pictures: Vec<Url>,
}

fn selector(text: &str) -> Option<Selector> {
    Selector::parse(text).ok()
}

fn plain(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(WORDS).collect()
}

/// What a page says and what belongs to it. `base` is where it was found.
#[must_use]
pub fn outline(html: &str, base: &Url) -> Outline {
    let page = Html::parse_document(html);
    let named = first_attribute(&page, "base[href]", "href").and_then(|href| base.join(&href).ok());
    let base = named.as_ref().unwrap_or(base);
    let texts = |query: &str| -> Vec<String> {
        let Some(query) = selector(query) else { return Vec::new() };
        page.select(&query)
            .map(|found| plain(&found.text().collect::<String>()))
            .filter(|text| !text.is_empty())
            .collect()
    };
    let links = |query: &str, attribute: &str| -> Vec<Url> {
        let Some(query) = selector(query) else { return Vec::new() };
        let found =
            page.select(&query).filter_map(|found| base.join(found.value().attr(attribute)?.trim()).ok());
        found.filter(|url| matches!(url.scheme(), "http" | "https")).collect()
    };
    let mut pictures = links("link[rel~=icon][href], link[rel~=apple-touch-icon][href]", "href");
    pictures.extend(links("meta[property='og:image'][content]", "content"));
    pictures.extend(links("img[src]", "src"));
    let mut seen = std::collections::HashSet::new();
    pictures.retain(|url| seen.insert(url.clone()));
    pictures.truncate(MOST_PICTURES);
    let mut sheets = links("link[rel~=stylesheet][href]", "href");
    sheets.truncate(MOST_SHEETS);
    let mut headings = texts("h1, h2");
    headings.truncate(HEADINGS);
    Outline {
        title: texts("title").into_iter().next().unwrap_or_default(),
        description: first_attribute(&page, "meta[name=description]", "content")
            .map(|text| plain(&text))
            .unwrap_or_default(),
        headings,
        sheets,
        pictures,
    }
}

fn first_attribute(page: &Html, query: &str, attribute: &str) -> Option<String> {
    let found = page.select(&selector(query)?).next()?;
    found.value().attr(attribute).map(str::to_owned)
}

/// The colours of a page and its style sheets, each with its weight. Takes up to some seconds
/// of a processor: call it where blocking is allowed.
#[must_use]
pub fn colors(html: &str, sheets: &[String]) -> Weights {
    let page = Html::parse_document(html);
    let elements = page.tree.nodes().count().max(1);
    let mut rules_left = MOST_RULES.min(VISITS / elements);
    let mut counted: HashMap<String, f32> = HashMap::new();
    let mut weigh = |text: &str| -> f32 {
        if let Some(known) = counted.get(text) {
            return *known;
        }
        if rules_left == 0 {
            return 0.0;
        }
        rules_left -= 1;
        let is_page = text.split(',').any(|part| matches!(part.trim(), "body" | "html" | ":root" | "*"));
        // States (`:hover`) and what scraper cannot select are shown some of the time.
        let count = selector(text).map_or(1, |query| page.select(&query).take(500).count());
        #[expect(clippy::cast_precision_loss, reason = "at most 500")]
        let weight = (1.0 + count as f32).ln() * if is_page { 3.0 } else { 1.0 };
        counted.insert(text.to_owned(), weight);
        weight
    };
    let mut found = css::Found::default();
    let blocks =
        selector("style").map(|query| page.select(&query).map(|style| style.text().collect()).collect());
    let blocks: Vec<String> = blocks.unwrap_or_default();
    for sheet in sheets.iter().chain(&blocks) {
        found.sheet(sheet, &mut weigh);
    }
    let styled = selector("[style]");
    for element in styled.iter().flat_map(|query| page.select(query)).take(MOST_ATTRIBUTES) {
        found.declarations(element.value().attr("style").unwrap_or_default(), std::f32::consts::LN_2);
    }
    for (query, attribute, weight) in
        [("meta[name=theme-color]", "content", 8.0), ("[bgcolor]", "bgcolor", 1.5), ("[fill]", "fill", 0.3)]
    {
        let query = selector(query);
        for element in query.iter().flat_map(|query| page.select(query)).take(MOST_ATTRIBUTES) {
            found.value(element.value().attr(attribute).unwrap_or_default(), weight);
        }
    }
    found.weights()
}

/// Adds a weight to a colour.
fn add(weights: &mut Weights, color: Rgb, weight: f32) {
    if weight > 0.0 && weight.is_finite() {
        *weights.entry(color).or_default() += weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r##"<!doctype html><html><head><title> Ed
        Gallrein </title><meta name=description content="For State Rep"><meta name="theme-color" content="#0e173e">
        <link rel=stylesheet href="/main.css"><link rel="icon" href="icon.png">
        <style>:root{--brand:#0e173e} header{background:var(--brand);color:#fff}
        .button,a:hover{background-color:rgb(241,198,19)} @media print{body{color:black}}
        .never{background:#ff00ff} p{color:hsl(0 100% 50% / 10%)}</style></head>
        <body><header><h1>Ed</h1></header><a class=button>1</a><a class=button>2</a><img src="/a.png"><img src="data:x">
        <p style="border-color: #00ff00">x</p></body></html>"##;

    #[test]
    fn the_outline_is_words_and_what_belongs_to_the_page() {
        let outline = outline(PAGE, &Url::parse("https://gallrein.example/x/").unwrap());
        assert_eq!((outline.title.as_str(), outline.description.as_str()), ("Ed Gallrein", "For State Rep"));
        assert_eq!(outline.headings, ["Ed"]);
        assert_eq!(outline.sheets[0].as_str(), "https://gallrein.example/main.css");
        let pictures: Vec<&str> = outline.pictures.iter().map(Url::as_str).collect();
        assert_eq!(pictures, ["https://gallrein.example/x/icon.png", "https://gallrein.example/a.png"]);
    }

    #[test]
    fn a_colour_weighs_as_much_as_it_is_used() {
        let weights = colors(PAGE, &["body{background:#f8fafc} h1{color:#374151}".into()]);
        let weight = |text: &str| weights.get(&text.parse::<Rgb>().unwrap()).copied().unwrap_or_default();
        assert!(weight("#0e173e") > weight("#f1c613"), "{weights:?}");
        assert!(weight("#f1c613") > weight("#ffffff"), "a background of two counts more than text of one");
        assert!(weight("#f8fafc") > weight("#374151"), "{weights:?}");
        assert_eq!(weight("#ff00ff"), 0.0, "no element has it");
        assert!(weight("#00ff00") > 0.0, "a style attribute counts");
        assert!(weight("#ff0000") < weight("#374151") && weight("#ff0000") > 0.0, "nearly transparent");
    }

    #[test]
    fn nonsense_and_hostile_sheets_end() {
        let deep = format!("a{}", "{b".repeat(5000));
        let wide = "a{color:#123456}".repeat(50_000);
        for sheet in
            [deep.as_str(), wide.as_str(), "}}}}{{{{", "@media", "a{color:#zz", "a{color:rgb(", "\u{0}{}"]
        {
            let _ = colors("<p>", &[sheet.to_owned()]);
        }
        let tags = "<div>".repeat(20_000);
        let _ = colors(&tags, &["div{color:#123456}".into()]);
    }
}
