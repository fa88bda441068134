//! Which attributes of an SVG are kept, and with which values.

/// Attributes that are kept on any element; their values are numbers, lists, words and colours.
const ATTRIBUTES: [&str; 86] = [
    "id",
    "class",
    "viewBox",
    "width",
    "height",
    "x",
    "y",
    "x1",
    "y1",
    "x2",
    "y2",
    "cx",
    "cy",
    "r",
    "rx",
    "ry",
    "fx",
    "fy",
    "fr",
    "d",
    "points",
    "transform",
    "version",
    "preserveAspectRatio",
    "pathLength",
    "offset",
    "gradientUnits",
    "gradientTransform",
    "spreadMethod",
    "clipPathUnits",
    "maskUnits",
    "maskContentUnits",
    "dx",
    "dy",
    "rotate",
    "textLength",
    "lengthAdjust",
    "fill",
    "fill-opacity",
    "fill-rule",
    "stroke",
    "stroke-width",
    "stroke-opacity",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-miterlimit",
    "stroke-dasharray",
    "stroke-dashoffset",
    "opacity",
    "color",
    "stop-color",
    "stop-opacity",
    "clip-path",
    "clip-rule",
    "mask",
    "mask-type",
    "display",
    "visibility",
    "overflow",
    "font-family",
    "font-size",
    "font-size-adjust",
    "font-style",
    "font-weight",
    "font-stretch",
    "font-variant",
    "letter-spacing",
    "word-spacing",
    "text-anchor",
    "text-decoration",
    "text-rendering",
    "shape-rendering",
    "color-rendering",
    "color-interpolation",
    "dominant-baseline",
    "alignment-baseline",
    "baseline-shift",
    "direction",
    "writing-mode",
    "unicode-bidi",
    "paint-order",
    "vector-effect",
    "mix-blend-mode",
    "isolation",
    "transform-origin",
    "role",
];
/// The longest value, in bytes: a path of a detailed drawing.
const LONGEST: usize = 256 * 1024;

/// An attribute as it is kept; `None` leaves it out.
pub(super) fn kept(element: &str, name: &str, value: &str) -> Option<(&'static str, String)> {
    if value.len() > LONGEST {
        return None;
    }
    if matches!(name, "href" | "xlink:href") {
        let takes = matches!(element, "use" | "linearGradient" | "radialGradient");
        return (takes && is_own_name(value.trim())).then(|| ("href", value.trim().to_owned()));
    }
    if name == "style" {
        let style = style(value);
        return (!style.is_empty()).then_some(("style", style));
    }
    let known = ATTRIBUTES.into_iter().find(|known| *known == name)?;
    is_harmless(value).then(|| (known, value.to_owned()))
}

/// `#name` of something in the same file.
fn is_own_name(value: &str) -> bool {
    value.strip_prefix('#').is_some_and(|name| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    })
}

/// Whether a value leads nowhere: no address, no function that takes one, no way to hide one.
fn is_harmless(value: &str) -> bool {
    // Escapes could spell any of the words below.
    if value.contains(['\\', '<', '>', '{', '}', '@']) || value.contains("/*") {
        return false;
    }
    let low = value.to_ascii_lowercase();
    if [
        "script:",
        "data:",
        "expression",
        "image(",
        "image-set(",
        "src(",
        "behavior",
        "-moz-binding",
        "http:",
        "https:",
        "//",
    ]
    .into_iter()
    .any(|word| low.contains(word))
    {
        return false;
    }
    // url(#name) may be there, as fill or clip path.
    low.match_indices("url").all(|(at, _)| {
        let rest = value.get(at + 3..).unwrap_or_default().trim_start();
        let Some((inside, _)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) else {
            // A word such as "curl".
            return !rest.starts_with('(');
        };
        is_own_name(inside.trim().trim_matches(['"', '\'']))
    })
}

/// The declarations of a style attribute that are kept.
fn style(value: &str) -> String {
    let kept = value.split(';').filter_map(|declaration| {
        let (name, value) = declaration.split_once(':')?;
        let (name, value) = (name.trim(), value.trim());
        let known = ATTRIBUTES.contains(&name) && is_harmless(value);
        known.then(|| format!("{name}:{value}"))
    });
    kept.collect::<Vec<_>>().join(";")
}

/// Whether a style sheet is rules of plain declarations and nothing else. A sheet is kept whole
/// or not at all.
pub(super) fn is_harmless_sheet(sheet: &str) -> bool {
    let mut rest = sheet.trim();
    while !rest.is_empty() {
        let Some((selector, after)) = rest.split_once('{') else { return false };
        let Some((body, after)) = after.split_once('}') else { return false };
        let selector_is_plain = selector.bytes().all(|b| {
            b.is_ascii_alphanumeric()
                || b.is_ascii_whitespace()
                || matches!(b, b'.' | b'#' | b',' | b'-' | b'_' | b'*')
        });
        let declarations = body.split(';').map(str::trim).filter(|one| !one.is_empty());
        let body_is_plain = declarations.into_iter().all(|one| {
            one.split_once(':')
                .is_some_and(|(name, value)| ATTRIBUTES.contains(&name.trim()) && is_harmless(value))
        });
        if !selector_is_plain || !body_is_plain {
            return false;
        }
        rest = after.trim_start();
    }
    true
}
