//! How the records of a frame are made small and large again.
//!
//! Zstandard at its lowest level: on lines of applications it takes two thirds of what LZ4
//! takes, in frames an eighth of the size, and is still several times as fast as processes print.
//! Its contexts take some 100 KiB, so there is one for each thread that reads or writes
//! spools, not one for each spool.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

/// The fast end: higher levels win less than a tenth and take several times as long.
const LEVEL: i32 = 1;

/// How the frames of a segment are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// LZ4 blocks: layout 1. Read, and not written any more.
    Lz4,
    /// Zstandard frames: layout 2.
    Zstd,
}

thread_local! {
    static SQUEEZE: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static EXPAND: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Makes it small.
pub(super) fn squeeze(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    SQUEEZE.with_borrow_mut(|context| {
        let mut known = match context.take() {
            Some(known) => known,
            None => Compressor::new(LEVEL)?,
        };
        let squeezed = known.compress(bytes)?;
        *context = Some(known);
        Ok(squeezed)
    })
}

/// Makes it `len` bytes large again; `None` when it cannot be.
pub(super) fn expand(packing: Packing, bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    let expanded = match packing {
        Packing::Lz4 => lz4_flex::block::decompress(bytes, len).ok()?,
        Packing::Zstd => EXPAND.with_borrow_mut(|context| {
            let mut known = match context.take() {
                Some(known) => known,
                None => Decompressor::new().ok()?,
            };
            let expanded = known.decompress(bytes, len).ok()?;
            *context = Some(known);
            Some(expanded)
        })?,
    };
    (expanded.len() == len).then_some(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_squeezed_comes_back_and_what_is_not_whole_does_not() {
        let bytes = b"one line and another line and one more line".repeat(40);
        let squeezed = squeeze(&bytes).unwrap();
        assert!(squeezed.len() < bytes.len() / 4);
        assert_eq!(expand(Packing::Zstd, &squeezed, bytes.len()), Some(bytes.clone()));
        assert_eq!(expand(Packing::Zstd, &squeezed, bytes.len() - 1), None);
        assert_eq!(expand(Packing::Zstd, &squeezed, bytes.len() + 1), None);
        assert_eq!(expand(Packing::Zstd, &squeezed[..squeezed.len() - 1], bytes.len()), None);
        // A context that has failed is not used again.
        assert_eq!(expand(Packing::Zstd, &squeezed, bytes.len()), Some(bytes.clone()));
        let old = lz4_flex::block::compress(&bytes);
        assert_eq!(expand(Packing::Lz4, &old, bytes.len()), Some(bytes));
    }
}
