//! Suggestions without a language model: colour theory on the colours that were found.

use palette::{OklabHue, Oklch};
use tenantry_journal::event::theme::Swatch;

use super::color::Rgb;
use super::look::READABLE;
use super::suggestion::Draft;

/// What a page without colours is given: the document's own.
const PLAIN: Rgb = Rgb { r: 0x0e, g: 0x17, b: 0x3e };
/// Chroma from which on a colour is one, and no grey.
const STRONG: f32 = 0.05;
/// Hues further apart than this are two colours, in degrees.
const OTHER_HUE: f32 = 25.0;

/// The best-known name of a hue, by its angle in OKLCH.
fn hue_name(color: Rgb) -> &'static str {
    let lch = color.oklch();
    if lch.chroma < STRONG {
        return match lch.l {
            l if l < 0.35 => "Charcoal",
            l if l < 0.75 => "Slate",
            _ => "Silver",
        };
    }
    let dark = lch.l < 0.4;
    match lch.hue.into_positive_degrees() {
        h if h < 15.0 => {
            if dark {
                "Burgundy"
            } else {
                "Rose"
            }
        }
        h if h < 45.0 => {
            if dark {
                "Maroon"
            } else {
                "Red"
            }
        }
        h if h < 75.0 => {
            if dark {
                "Brown"
            } else {
                "Orange"
            }
        }
        h if h < 112.0 => {
            if dark {
                "Olive"
            } else {
                "Gold"
            }
        }
        h if h < 135.0 => "Lime",
        h if h < 165.0 => {
            if dark {
                "Forest"
            } else {
                "Green"
            }
        }
        h if h < 215.0 => "Teal",
        h if h < 250.0 => {
            if dark {
                "Deep Blue"
            } else {
                "Sky"
            }
        }
        h if h < 290.0 => {
            if dark {
                "Navy"
            } else {
                "Blue"
            }
        }
        h if h < 320.0 => {
            if dark {
                "Indigo"
            } else {
                "Violet"
            }
        }
        h if h < 345.0 => {
            if dark {
                "Plum"
            } else {
                "Magenta"
            }
        }
        _ => {
            if dark {
                "Burgundy"
            } else {
                "Pink"
            }
        }
    }
}

fn turned(color: Rgb, degrees: f32) -> Rgb {
    let lch = color.oklch();
    // Of a grey there is no hue to turn; and what stands beside it must be seen.
    let chroma = lch.chroma.max(0.12);
    Rgb::from_oklch(Oklch {
        l: lch.l.clamp(0.55, 0.82),
        chroma,
        hue: lch.hue + OklabHue::from_degrees(degrees),
    })
}

/// Dark enough for white text on it.
fn as_primary(color: Rgb) -> Rgb {
    let mut lch = color.oklch();
    while Rgb::from_oklch(lch).contrast(Rgb::WHITE) < READABLE && lch.l > 0.05 {
        lch.l -= 0.02;
    }
    Rgb::from_oklch(lch)
}

/// Nearly black, with a breath of a hue.
fn ink(of: Rgb) -> Rgb {
    Rgb::from_oklch(Oklch { l: 0.28, chroma: 0.03, hue: of.oklch().hue })
}

fn draft(name: String, description: &str, colors: [Rgb; 4], reasoning: String) -> Draft {
    let [primary, secondary, accent, text] = colors.map(|color| color.to_string());
    Draft {
        name,
        description: description.to_owned(),
        primary_color: primary,
        secondary_color: secondary,
        accent_color: accent,
        text_color: text,
        reasoning,
    }
}

/// Suggestions from what was found, best first; four, whatever was.
#[must_use]
pub fn suggest(found: &[Swatch]) -> Vec<Draft> {
    let colors: Vec<(Rgb, f32)> = found
        .iter()
        .filter_map(|swatch| Some((swatch.color.parse().ok()?, f32::from(swatch.share) / 1000.0)))
        .collect();
    // A colour is a brand's by how strong it is and how much of it there is.
    let mut strong: Vec<(Rgb, f32)> = colors
        .iter()
        .filter(|(color, _)| color.oklch().chroma >= STRONG)
        .map(|(color, share)| (*color, (0.02 + share).sqrt() * color.oklch().chroma))
        .collect();
    strong.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    // White on it must be readable without changing it much: that is what bars and buttons need.
    let fits = |color: &Rgb| color.contrast(Rgb::WHITE) >= 3.0;
    let primary = strong.iter().map(|(color, _)| *color).find(fits);
    let base = primary.or_else(|| strong.first().map(|(color, _)| *color)).unwrap_or(PLAIN);
    let primary = as_primary(base);
    let other = strong
        .iter()
        .map(|(color, _)| *color)
        .filter(|color| *color != base)
        .find(|color| (color.oklch().hue - base.oklch().hue).into_degrees().abs() > OTHER_HUE);
    let third = strong.iter().map(|(color, _)| *color).find(|color| {
        let apart = |known: Rgb| (color.oklch().hue - known.oklch().hue).into_degrees().abs() > OTHER_HUE;
        apart(base) && other.is_none_or(apart)
    });
    // The text of the site itself is its most used dark grey.
    let is_ink = |color: &Rgb| color.contrast(Rgb::WHITE) >= 7.0 && color.oklch().chroma < 0.06;
    let text = colors.iter().map(|(color, _)| *color).find(is_ink).unwrap_or_else(|| ink(primary));
    let secondary = other.unwrap_or_else(|| turned(base, 60.0));
    let accent = third.unwrap_or(secondary);
    let of_site = if strong.is_empty() {
        "The page shows hardly any color, so this begins with a dark blue that suits most.".to_owned()
    } else {
        format!("{base} is the strongest of the colors that the page uses much.")
    };
    let readable = if primary == base {
        String::new()
    } else {
        format!(" It is darkened to {primary}, so that white text on it can be read.")
    };
    let (complement, neighbour) = (turned(primary, 180.0), turned(primary, 35.0));
    let quiet =
        Rgb::from_oklch(Oklch { l: 0.62, chroma: primary.oklch().chroma * 0.5, hue: primary.oklch().hue });
    vec![
        draft(
            format!("{} & {}", hue_name(primary), hue_name(secondary)),
            "The colors of the website itself.",
            [primary, secondary, accent, text],
            format!("{of_site}{readable} {secondary} stands beside it."),
        ),
        draft(
            format!("{} with {} Contrast", hue_name(primary), hue_name(complement)),
            "The site's main color and the one across from it on the color wheel.",
            [primary, complement, complement, text],
            format!(
                "{of_site}{readable} {complement} lies opposite to it in OKLCH: the strongest contrast of hue."
            ),
        ),
        draft(
            format!("{} & {} Neighbours", hue_name(primary), hue_name(neighbour)),
            "The site's main color and one beside it on the color wheel.",
            [primary, neighbour, accent, text],
            format!(
                "{of_site}{readable} {neighbour} is 35 degrees further in OKLCH: close, so that nothing shouts."
            ),
        ),
        draft(
            format!("Quiet {}", hue_name(primary)),
            "One hue in a strong and a muted form.",
            [primary, quiet, secondary, ink(primary)],
            format!(
                "{of_site}{readable} Everything else is of the same hue, and {secondary} is kept for what must stand out."
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::suggestion::checked;
    use super::*;

    fn found(colors: &[(&str, u16)]) -> Vec<Swatch> {
        colors.iter().map(|(color, share)| Swatch { color: (*color).to_owned(), share: *share }).collect()
    }

    #[test]
    fn the_first_suggestion_is_the_site_itself() {
        let page = [("#f8fafc", 600), ("#0e173e", 200), ("#f1c613", 80), ("#374151", 60), ("#ffffff", 60)];
        let drafts = suggest(&found(&page));
        let first = &drafts[0];
        assert_eq!((first.primary_color.as_str(), first.secondary_color.as_str()), ("#0e173e", "#f1c613"));
        assert_eq!(first.text_color, "#374151");
        assert_eq!(first.name, "Navy & Gold");
        assert_eq!(drafts.len(), 4);
    }

    proptest! {
        #[test]
        fn whatever_was_found_every_suggestion_is_sound(
            colors in prop::collection::vec((any::<[u8; 3]>(), 0..1000_u16), 0..12)
        ) {
            let found: Vec<Swatch> = colors
                .into_iter()
                .map(|([r, g, b], share)| Swatch { color: Rgb { r, g, b }.to_string(), share })
                .collect();
            let drafts = suggest(&found);
            prop_assert!(checked(&drafts).is_ok(), "{:?}", checked(&drafts));
            for draft in drafts {
                let primary: Rgb = draft.primary_color.parse().unwrap();
                prop_assert!(primary.contrast(Rgb::WHITE) >= 4.4, "white on {} cannot be read", primary);
            }
        }
    }
}
