//! The few colours that a page is made of: clustered in OKLab, where distance is what the eye
//! sees, from style sheets, pictures and a screenshot.

use palette::Oklab;
use tenantry_journal::event::theme::Swatch;

use super::logo;
use super::page::Weights;
use crate::domain::theme::color::Rgb;

/// Clusters of one picture.
const CLUSTERS: usize = 8;
/// Rounds of clustering; it settles in fewer.
const ROUNDS: usize = 12;
/// A picture is looked at in this many dots a side: colours of less than a dot do not count.
const DOTS: u32 = 64;
/// Colours that are closer than this are the same to a person at a glance.
const SAME: f32 = 0.04;
/// Colours that are kept.
const KEPT: usize = 12;

/// The colours of a picture, each with its share of 1; empty when it is none. Takes some tens of
/// milliseconds: call it where blocking is allowed.
#[must_use]
pub fn of_picture(bytes: &[u8]) -> Weights {
    let Ok(picture) = logo::dots(bytes) else { return Weights::new() };
    let small = picture.thumbnail(DOTS, DOTS).into_rgba8();
    let dots: Vec<Oklab> = small
        .pixels()
        // What is see-through shows the page behind it.
        .filter(|dot| dot.0[3] > 128)
        .map(|dot| Rgb { r: dot.0[0], g: dot.0[1], b: dot.0[2] }.oklab())
        .collect();
    cluster(&dots)
}

fn apart(a: Oklab, b: Oklab) -> f32 {
    (a.l - b.l).powi(2) + (a.a - b.a).powi(2) + (a.b - b.b).powi(2)
}

/// k-means; begun with the point that is farthest from all that were taken before, so that the
/// answer is always the same and a small patch of a strong colour is not lost.
#[expect(clippy::cast_precision_loss, reason = "counts are at most 4096")]
fn cluster(dots: &[Oklab]) -> Weights {
    let Some(first) = dots.first() else { return Weights::new() };
    let nearest = |centers: &[Oklab], dot: Oklab| -> (usize, f32) {
        let distances = centers.iter().map(|center| apart(*center, dot)).enumerate();
        distances.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
    };
    let mut centers = vec![*first];
    while centers.len() < CLUSTERS {
        let distances = dots.iter().map(|dot| (nearest(&centers, *dot).1, *dot));
        let Some((distance, farthest)) = distances.max_by(|a, b| a.0.total_cmp(&b.0)) else { break };
        if distance < SAME * SAME {
            break;
        }
        centers.push(farthest);
    }
    let mut sums = vec![(0.0_f32, Oklab::new(0.0, 0.0, 0.0)); centers.len()];
    for _ in 0..ROUNDS {
        sums.iter_mut().for_each(|sum| *sum = (0.0, Oklab::new(0.0, 0.0, 0.0)));
        for dot in dots {
            if let Some((count, sum)) = sums.get_mut(nearest(&centers, *dot).0) {
                *count += 1.0;
                *sum += *dot;
            }
        }
        let mut moved = 0.0_f32;
        for (center, (count, sum)) in centers.iter_mut().zip(&sums) {
            if *count > 0.0 {
                let mean = *sum / *count;
                moved = moved.max(apart(*center, mean));
                *center = mean;
            }
        }
        if moved < 1e-6 {
            break;
        }
    }
    let mut weights = Weights::new();
    for (center, (count, _)) in centers.into_iter().zip(sums) {
        if count > 0.0 {
            let color = Rgb::from_oklch(palette::IntoColor::into_color(center));
            *weights.entry(color).or_default() += count / dots.len() as f32;
        }
    }
    weights
}

/// What style sheets say, what pictures show, and what the whole page looks like.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Of style sheets and attributes.
    pub styles: Weights,
    /// Of each picture.
    pub pictures: Vec<Weights>,
    /// Of the picture of the page.
    pub screenshot: Weights,
}

/// Puts together what was seen: the most frequent colours first, alike ones as one. Style sheets
/// and the screenshot count as much as one another, all pictures together half of that.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a handful of pictures")]
pub fn swatches(seen: &Seen) -> Vec<Swatch> {
    let mut all: Vec<(Rgb, f32)> = Vec::new();
    let mut take = |weights: &Weights, share: f32| {
        let total: f32 = weights.values().sum();
        if total > 0.0 {
            all.extend(weights.iter().map(|(color, weight)| (*color, weight / total * share)));
        }
    };
    take(&seen.styles, 1.0);
    take(&seen.screenshot, 1.0);
    for picture in &seen.pictures {
        take(picture, 0.5 / seen.pictures.len() as f32);
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut merged: Vec<(Rgb, f32)> = Vec::new();
    for (color, weight) in all {
        match merged.iter_mut().find(|(known, _)| known.distance(color) < SAME) {
            Some((_, known)) => *known += weight,
            None => merged.push((color, weight)),
        }
    }
    merged.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: f32 = merged.iter().map(|(_, weight)| weight).sum();
    // Strong colours are kept although little of them is shown: they are what a brand is known by.
    let (strong, plain): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|(color, _)| color.oklch().chroma > 0.06);
    let mut kept: Vec<(Rgb, f32)> = strong.into_iter().take(KEPT / 2 + 2).collect();
    let room = KEPT.saturating_sub(kept.len());
    kept.extend(plain.into_iter().take(room));
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    kept.into_iter()
        .map(|(color, weight)| Swatch {
            color: color.to_string(),
            share: (weight / total.max(f32::MIN_POSITIVE) * 1000.0).round() as u16,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn rgb(text: &str) -> Rgb {
        text.parse().unwrap()
    }

    #[test]
    fn a_picture_gives_its_colours_by_how_much_of_it_they_cover() {
        let mut picture = image::RgbaImage::from_pixel(200, 100, image::Rgba([14, 23, 62, 255]));
        for (x, _, dot) in picture.enumerate_pixels_mut() {
            if x < 40 {
                *dot = image::Rgba([241, 198, 19, 255]);
            } else if x >= 180 {
                *dot = image::Rgba([255, 0, 0, 0]);
            }
        }
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let weights = of_picture(&bytes.into_inner());
        let share = |color: &str| -> f32 {
            weights
                .iter()
                .filter(|(found, _)| found.distance(rgb(color)) < 0.03)
                .map(|(_, share)| share)
                .sum()
        };
        assert!((share("#0e173e") - 0.78).abs() < 0.05, "{weights:?}");
        assert!((share("#f1c613") - 0.22).abs() < 0.05, "{weights:?}");
        assert!(share("#ff0000") < 0.01, "what is see-through has no colour");
        assert!(of_picture(b"no picture").is_empty());
    }

    #[test]
    fn alike_colours_are_one_and_a_small_strong_one_stays() {
        let mut styles: Weights = (0..40_u8).map(|n| (Rgb { r: 6 * n, g: 6 * n, b: 6 * n }, 10.0)).collect();
        styles.insert(rgb("#f1c613"), 0.5);
        styles.insert(rgb("#f1c714"), 0.5);
        let found = swatches(&Seen { styles, ..Seen::default() });
        assert!(found.len() <= KEPT);
        let strong: Vec<_> = found.iter().filter(|swatch| swatch.color.starts_with("#f1c")).collect();
        assert_eq!(strong.len(), 1, "{found:?}");
        assert_eq!(swatches(&Seen::default()), []);
    }
}
