//! A theme as it counts: what was set, and the defaults for the rest; and the files that tell
//! a tenant's application of it.

use std::fmt::Write as _;

use serde_json::json;
use tenantry_projections::world::themes::Theme;

use super::color::Rgb;
use super::scale::scale;
use super::{COLOR_FIELDS, LOGO_FIELDS};

/// Colours before anybody set any, in the order of [`COLOR_FIELDS`]; as document 1 prints them.
const DEFAULTS: [Rgb; 5] = [
    Rgb { r: 0x0e, g: 0x17, b: 0x3e },
    Rgb { r: 0xf1, g: 0xc6, b: 0x13 },
    Rgb { r: 0xf1, g: 0xc6, b: 0x13 },
    Rgb { r: 0x37, g: 0x41, b: 0x51 },
    Rgb { r: 0xf8, g: 0xfa, b: 0xfc },
];
/// What WCAG 2.2 AA asks of text of usual size.
pub const READABLE: f64 = 4.5;

/// A theme as it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The colours, in the order of [`COLOR_FIELDS`].
    pub colors: [Rgb; 5],
    /// Where each logo is found, in the order of [`LOGO_FIELDS`]; `None` without one.
    pub logos: [Option<String>; 4],
}

/// The name of a logo's file, below `assets/logos/`.
#[must_use]
pub fn logo_file(field: &str, extension: &str) -> String {
    format!("{}.{extension}", field.replace('_', "-"))
}

impl Look {
    /// What a theme comes to.
    #[must_use]
    pub fn of(theme: &Theme) -> Look {
        let mut colors = DEFAULTS;
        for (color, field) in colors.iter_mut().zip(COLOR_FIELDS) {
            if let Some(set) = theme.colors.get(field).and_then(|text| text.parse().ok()) {
                *color = set;
            }
        }
        let logos = LOGO_FIELDS.map(|field| {
            let logo = theme.logos.get(field)?;
            Some(format!("/assets/logos/{}", logo_file(field, logo.format.extension())))
        });
        Look { colors, logos }
    }

    /// Sentences about text that is hard to read.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let [_, _, _, text, sidebar] = self.colors;
        [("sidebar_color", sidebar), ("a white background", Rgb::WHITE)]
            .into_iter()
            .filter_map(|(name, background)| {
                let contrast = text.contrast(background);
                // Rounded down, so that 4.49 is never shown as enough.
                let shown = (contrast * 100.0).floor() / 100.0;
                (contrast < READABLE).then(|| {
                    format!(
                        "text_color {text} on {name} {background} has a contrast of {shown:.2}:1; WCAG AA asks \
                         for {READABLE}:1"
                    )
                })
            })
            .collect()
    }

    /// `assets/theme.json`: what an application reads. `revision` grows with each change.
    #[must_use]
    pub fn json(&self, revision: u64) -> String {
        let [primary, ..] = self.colors;
        let mut tree = serde_json::Map::new();
        tree.insert("revision".into(), json!(revision));
        for (field, color) in COLOR_FIELDS.iter().zip(self.colors) {
            tree.insert((*field).to_owned(), json!(color.to_string()));
        }
        for (field, logo) in LOGO_FIELDS.iter().zip(&self.logos) {
            tree.insert((*field).to_owned(), json!(logo));
        }
        tree.insert("primary_scale".into(), palette_json(primary));
        format!("{:#}\n", serde_json::Value::Object(tree))
    }

    /// `assets/theme.css`: the same as custom properties.
    #[must_use]
    pub fn css(&self) -> String {
        let [primary, ..] = self.colors;
        let mut css = String::from(":root {\n");
        for (field, color) in COLOR_FIELDS.iter().zip(self.colors) {
            // Writing to a string cannot fail.
            let _ = writeln!(css, "  --{}: {color};", field.replace('_', "-"));
        }
        for (step, shade) in scale(primary) {
            let _ = writeln!(css, "  --primary-{step}: {shade};");
        }
        css.push_str("}\n");
        css
    }
}

/// Document 1's `palette_json`.
#[must_use]
pub fn palette_json(primary: Rgb) -> serde_json::Value {
    let steps = scale(primary).map(|(step, shade)| (step.to_string(), json!(shade.to_string())));
    serde_json::Value::Object(steps.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn themed(colors: &[(&str, &str)]) -> Look {
        let colors = colors.iter().map(|(field, color)| ((*field).to_owned(), (*color).to_owned())).collect();
        Look::of(&Theme { colors, ..Theme::default() })
    }

    #[test]
    fn text_that_is_hard_to_read_is_warned_of_with_its_contrast() {
        assert_eq!(themed(&[]).warnings(), Vec::<String>::new());
        let pale = themed(&[("text_color", "#777777"), ("sidebar_color", "#000000")]).warnings();
        assert_eq!(pale.len(), 1, "{pale:?}");
        assert!(pale[0].contains("4.47:1") && pale[0].contains("#777777"), "{pale:?}");
        let dark = themed(&[("sidebar_color", "#374151")]).warnings();
        assert!(dark.len() == 1 && dark[0].contains("sidebar_color #374151") && dark[0].contains("1.00:1"));
    }

    #[test]
    fn the_files_say_what_the_theme_says() {
        let look = themed(&[("primary_color", "#123456")]);
        let json: serde_json::Value = serde_json::from_str(&look.json(7)).expect("JSON");
        assert_eq!((&json["primary_color"], &json["revision"]), (&json!("#123456"), &json!(7)));
        assert_eq!(json["primary_scale"].as_object().map(serde_json::Map::len), Some(11));
        let css = look.css();
        assert!(css.contains("--primary-color: #123456;") && css.contains("--primary-950: #"), "{css}");
        assert_eq!(css.lines().count(), 2 + 5 + 11);
    }
}
