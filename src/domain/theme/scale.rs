//! A scale of eleven tints and shades of one colour, 50 to 950, even to the eye.
//!
//! Lightness falls by the same amount in OKLCH from step to step and the hue stays, so that two
//! neighbours differ as much at the light end as at the dark one. Chroma is the colour's own,
//! fading towards both ends, and as much of it as a screen can show.

use palette::Oklch;

use super::color::Rgb;

/// The names of the steps, lightest first.
pub const STEPS: [u16; 11] = [50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 950];
/// Lightness of step 50: nearly paper.
const LIGHTEST: f32 = 0.97;
/// Lightness between two steps; step 950 is at 0.27, nearly ink.
const BETWEEN: f32 = 0.07;

/// The scale of a colour.
#[must_use]
pub fn scale(of: Rgb) -> [(u16, Rgb); 11] {
    let base = of.oklch();
    let mut number = 0.0_f32;
    STEPS.map(|step| {
        let l = LIGHTEST - BETWEEN * number;
        // 1 in the middle, 0.35 at both ends.
        let fade = 1.0 - 0.65 * ((number - 5.0) / 5.0).powi(2);
        number += 1.0;
        (step, Rgb::from_oklch(Oklch { l, chroma: base.chroma * fade, hue: base.hue }))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_scale_is_even_and_keeps_its_hue(r in any::<u8>(), g in any::<u8>(), b in any::<u8>()) {
            let color = Rgb { r, g, b };
            let scale = scale(color);
            prop_assert_eq!(scale.map(|(step, _)| step), STEPS);
            for pair in scale.windows(2) {
                let fall = pair[0].1.oklch().l - pair[1].1.oklch().l;
                prop_assert!((fall - BETWEEN).abs() < 0.012, "{} {} in {:?}", color, fall, scale);
            }
            let base = color.oklch();
            for (step, shade) in scale {
                let shade = shade.oklch();
                // The hue of what is nearly grey is noise of rounding.
                if base.chroma > 0.05 && shade.chroma > 0.04 {
                    let apart = (shade.hue - base.hue).into_degrees().abs();
                    prop_assert!(apart < 6.0, "{} turns by {} at {}", color, apart, step);
                }
            }
        }
    }

    #[test]
    fn grey_stays_grey() {
        for (_, shade) in scale(Rgb { r: 120, g: 120, b: 120 }) {
            assert!(shade.r.abs_diff(shade.g) <= 1 && shade.g.abs_diff(shade.b) <= 1, "{shade}");
        }
    }
}
