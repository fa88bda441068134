//! An uploaded picture before it is kept: what it is by its own bytes, whatever its name or
//! media type says, and whether it is small enough to be shown by anybody.
//!
//! The size in pixels is read from the header, before anything is unpacked. Pictures of dots
//! are kept unchanged; an SVG is written anew from what is known to be harmless.

use std::io::Cursor;

use bytes::Bytes;
use image::{ImageFormat, ImageReader, Limits};
use tenantry_journal::event::theme::LogoFormat;

use super::svg;

/// The longest file, in bytes.
pub const LOGO_BYTES: usize = 2 * 1024 * 1024;
/// The longest side, in pixels.
pub const LOGO_SIDE: u32 = 4096;
/// What unpacking may take, in bytes: the largest picture with 8 bits for each of four channels,
/// twice.
const UNPACKED: u64 = 4096 * 4096 * 4 * 2;

/// Why a picture is not taken. Each sentence goes on from the field's name.
#[derive(Debug, thiserror::Error)]
pub enum LogoError {
    /// It has no bytes.
    #[error("is empty")]
    Empty,
    /// It is too long.
    #[error("is longer than {LOGO_BYTES} bytes")]
    TooLong,
    /// It is something else.
    #[error("is no PNG, JPEG, WebP or SVG")]
    Unknown,
    /// It has too many dots.
    #[error("is {width} x {height} pixels, at most {LOGO_SIDE} x {LOGO_SIDE} are taken")]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// It cannot be shown.
    #[error("is a damaged {0}")]
    Damaged(&'static str),
    /// It is an SVG that cannot be made harmless.
    #[error("is an SVG that is not taken: {0}")]
    Svg(#[from] svg::SvgError),
}

/// A picture that is taken.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What it is.
    pub format: LogoFormat,
    /// Its bytes, as they are to be kept.
    pub bytes: Bytes,
}

/// What bytes are, by how they begin.
fn sniff(bytes: &[u8]) -> Option<LogoFormat> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(LogoFormat::Png);
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return Some(LogoFormat::Jpeg);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some(LogoFormat::WebP);
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    text.starts_with(b"<").then_some(LogoFormat::Svg)
}

fn decoder(format: LogoFormat) -> Option<(ImageFormat, &'static str)> {
    match format {
        LogoFormat::Png => Some((ImageFormat::Png, "PNG")),
        LogoFormat::Jpeg => Some((ImageFormat::Jpeg, "JPEG")),
        LogoFormat::WebP => Some((ImageFormat::WebP, "WebP")),
        LogoFormat::Svg => None,
    }
}

/// Checks a picture. Takes some tens of milliseconds: call it where blocking is allowed.
///
/// # Errors
/// What is wrong with it.
pub fn check(bytes: Bytes) -> Result<Picture, LogoError> {
    match bytes.len() {
        0 => return Err(LogoError::Empty),
        1..=LOGO_BYTES => {}
        _ => return Err(LogoError::TooLong),
    }
    let format = sniff(&bytes).ok_or(LogoError::Unknown)?;
    let Some((decoder, name)) = decoder(format) else {
        return Ok(Picture { format, bytes: svg::harmless(&bytes)?.into() });
    };
    unpack(&bytes, decoder, name)?;
    Ok(Picture { format, bytes })
}

/// Unpacks a picture of dots within the limits.
fn unpack(bytes: &[u8], format: ImageFormat, name: &'static str) -> Result<image::DynamicImage, LogoError> {
    let reader = || ImageReader::with_format(Cursor::new(bytes), format);
    let (width, height) = reader().into_dimensions().map_err(|_| LogoError::Damaged(name))?;
    if width == 0 || height == 0 || width > LOGO_SIDE || height > LOGO_SIDE {
        return Err(LogoError::TooLarge { width, height });
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LOGO_SIDE);
    limits.max_image_height = Some(LOGO_SIDE);
    limits.max_alloc = Some(UNPACKED);
    let mut reader = reader();
    reader.limits(limits);
    reader.decode().map_err(|_| LogoError::Damaged(name))
}

/// The dots of a picture of one of the formats that are known, within the limits of a logo.
///
/// # Errors
/// What is wrong with it; an SVG has no dots.
pub fn dots(bytes: &[u8]) -> Result<image::DynamicImage, LogoError> {
    let format = sniff(bytes).ok_or(LogoError::Unknown)?;
    let (format, name) = decoder(format).ok_or(LogoError::Unknown)?;
    unpack(bytes, format, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, format: ImageFormat) -> Bytes {
        let mut bytes = Cursor::new(Vec::new());
        image::RgbImage::from_pixel(width, height, image::Rgb([14, 23, 62]))
            .write_to(&mut bytes, format)
            .unwrap();
        bytes.into_inner().into()
    }

    #[test]
    fn a_picture_is_what_its_bytes_are_and_stays_as_it_is() {
        for (format, is) in [
            (ImageFormat::Png, LogoFormat::Png),
            (ImageFormat::Jpeg, LogoFormat::Jpeg),
            (ImageFormat::WebP, LogoFormat::WebP),
        ] {
            let bytes = picture(40, 20, format);
            let taken = check(bytes.clone()).unwrap();
            assert_eq!((taken.format, taken.bytes), (is, bytes));
        }
    }

    /// A PNG of 65535 x 65535 in a few bytes: nothing behind its header is looked at.
    fn bomb() -> Bytes {
        let mut bytes = picture(1, 1, ImageFormat::Png).to_vec();
        bytes[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        // The header's checksum, which readers look at.
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        bytes.into()
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = !0_u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            }
        }
        !crc
    }

    #[test]
    fn what_is_no_picture_or_too_large_is_refused_with_the_reason() {
        let why = |bytes: Bytes| check(bytes).expect_err("refused").to_string();
        assert!(why(bomb()).contains("65535 x 65535"), "{}", why(bomb()));
        assert!(why(picture(5000, 1, ImageFormat::Png)).contains("5000 x 1"));
        assert!(why(Bytes::new()).contains("empty"));
        assert!(why(vec![0; LOGO_BYTES + 1].into()).contains("longer"));
        assert!(why(Bytes::from_static(b"GIF89a......")).contains("no PNG"));
        assert!(why(Bytes::from_static(b"MZ\x90\0 program")).contains("no PNG"));
        assert!(why(Bytes::from_static(b"<!doctype html><script>alert(1)</script>")).contains("SVG"));
        let cut = picture(300, 300, ImageFormat::Png);
        assert!(why(cut.slice(..60)).contains("damaged PNG"), "{}", why(cut.slice(..60)));
        let mut text = b"\x89PNG\r\n\x1a\n".to_vec();
        text.extend(b"<script>alert(1)</script>");
        assert!(why(text.into()).contains("damaged"));
    }
}
