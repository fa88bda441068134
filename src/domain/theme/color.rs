//! One colour: `#rrggbb` on the wire, OKLab where colours are compared, WCAG where they are read.

use std::fmt;
use std::str::FromStr;

use palette::{IntoColor, Oklab, Oklch, Srgb};

/// An sRGB colour of 8 bits a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rgb {
    /// Red.
    pub r: u8,
    /// Green.
    pub g: u8,
    /// Blue.
    pub b: u8,
}

/// A text is no colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoColor;

impl FromStr for Rgb {
    type Err = NoColor;

    /// Reads `#rgb` and `#rrggbb`, nothing else.
    fn from_str(text: &str) -> Result<Rgb, NoColor> {
        let digits = text.strip_prefix('#').ok_or(NoColor)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoColor);
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| NoColor)?;
        let byte = |shift: u32| (number >> shift) as u8;
        match digits.len() {
            6 => Ok(Rgb { r: byte(16), g: byte(8), b: byte(0) }),
            3 => {
                let twice = |shift: u32| (byte(shift) & 0xf) * 0x11;
                Ok(Rgb { r: twice(8), g: twice(4), b: twice(0) })
            }
            _ => Err(NoColor),
        }
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.r, self.g, self.b)
    }
}

impl Rgb {
    /// White.
    pub const WHITE: Rgb = Rgb { r: 255, g: 255, b: 255 };

    /// In OKLab (Björn Ottosson, 2020).
    #[must_use]
    pub fn oklab(self) -> Oklab {
        Srgb::new(self.r, self.g, self.b).into_format::<f32>().into_linear().into_color()
    }

    /// In OKLCH: lightness 0 to 1, chroma 0 to about 0.32, hue in degrees.
    #[must_use]
    pub fn oklch(self) -> Oklch {
        self.oklab().into_color()
    }

    /// The nearest colour of this hue and lightness that a screen can show: chroma gives way.
    #[must_use]
    pub fn from_oklch(wanted: Oklch) -> Rgb {
        // Ten halvings are finer than 8 bits.
        const HALVINGS: u32 = 10;
        /// What rounding to 8 bits hides.
        const SLACK: f32 = 0.002;
        let linear = |chroma: f32| -> Srgb<f32> {
            let lab: Oklab = Oklch { chroma, ..wanted }.into_color();
            let linear: palette::LinSrgb = palette::convert::FromColorUnclamped::from_color_unclamped(lab);
            Srgb::from_linear(linear)
        };
        let shown = |color: Srgb<f32>| {
            [color.red, color.green, color.blue]
                .into_iter()
                .all(|part| (-SLACK..=1.0 + SLACK).contains(&part))
        };
        let mut best = 0.0;
        if shown(linear(wanted.chroma)) {
            best = wanted.chroma;
        } else {
            let mut step = wanted.chroma;
            for _ in 0..HALVINGS {
                step /= 2.0;
                if shown(linear(best + step)) {
                    best += step;
                }
            }
        }
        let color = linear(best);
        let byte = |part: f32| (part.clamp(0.0, 1.0) * 255.0).round() as u8;
        Rgb { r: byte(color.red), g: byte(color.green), b: byte(color.blue) }
    }

    /// How different two colours look: the distance in OKLab; 0.02 is just seen.
    #[must_use]
    pub fn distance(self, other: Rgb) -> f32 {
        let (a, b) = (self.oklab(), other.oklab());
        ((a.l - b.l).powi(2) + (a.a - b.a).powi(2) + (a.b - b.b).powi(2)).sqrt()
    }

    /// Relative luminance (WCAG 2.2).
    fn luminance(self) -> f64 {
        let part = |byte: u8| {
            let part = f64::from(byte) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(self.r) + 0.7152 * part(self.g) + 0.0722 * part(self.b)
    }

    /// Contrast ratio (WCAG 2.2), 1 to 21.
    #[must_use]
    pub fn contrast(self, other: Rgb) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(text: &str) -> Rgb {
        text.parse().expect("a colour")
    }

    #[test]
    fn a_colour_is_three_or_six_digits_and_nothing_else() {
        assert_eq!(rgb("#0E173e").to_string(), "#0e173e");
        assert_eq!(rgb("#fa0").to_string(), "#ffaa00");
        for bad in [
            "", "#", "#12", "#1234", "#12345", "#1234567", "123456", "#12345g", "# 12345", "#+12345", "red",
            "#éé",
        ] {
            assert!(bad.parse::<Rgb>().is_err(), "{bad}");
        }
    }

    #[test]
    fn contrast_is_the_one_of_the_standard() {
        let of = |a, b| (rgb(a).contrast(rgb(b)) * 100.0).round() / 100.0;
        assert_eq!(of("#000000", "#ffffff"), 21.0);
        assert_eq!(of("#ffffff", "#ffffff"), 1.0);
        // Known from the field: the lightest grey that passes AA on white.
        assert_eq!(of("#767676", "#ffffff"), 4.54);
        assert_eq!(of("#777777", "#ffffff"), 4.48);
    }

    #[test]
    fn oklch_there_and_back_is_the_same_colour() {
        for text in ["#0e173e", "#f1c613", "#ff0000", "#00ff00", "#0000ff", "#ffffff", "#000000", "#7f7f7f"] {
            assert_eq!(Rgb::from_oklch(rgb(text).oklch()).to_string(), text);
        }
        // Published values for sRGB red.
        let red = rgb("#ff0000").oklch();
        assert!((red.l - 0.628).abs() < 0.001 && (red.chroma - 0.2577).abs() < 0.001, "{red:?}");
    }

    #[test]
    fn what_no_screen_shows_keeps_its_lightness_and_hue() {
        let wanted = Oklch::new(0.9, 0.4, 264.0);
        let found = Rgb::from_oklch(wanted).oklch();
        assert!((found.l - 0.9).abs() < 0.01, "{found:?}");
        assert!((found.hue.into_positive_degrees() - 264.0).abs() < 8.0, "{found:?}");
    }
}
