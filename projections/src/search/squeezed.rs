//! Files of the index that are made small on their way to the disk: word lists, word positions and
//! the (empty) document store, which hold the same bytes over and over.
//!
//! # The bytes
//! Blocks of one length, each as a Zstandard frame or, when that wins little, as it is;
//! then for each block its length in the file (u32, the top bit set when it is as it is); then the
//! length of everything when unpacked (u64), the length of a block (u32), a BLAKE3 hash of all that
//! (32 bytes) and the magic `TNIX`. Numbers are little-endian.
//!
//! Blocks that are as they are lie one behind another without anything between, so the long lists
//! of common words, which are packed tightly already, are read from the mapped file without a copy.

use std::cell::RefCell;
use std::fmt;
use std::io::{Error, ErrorKind, Result, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, DirectoryLock, FileHandle, Lock, MmapDirectory, OwnedBytes, TerminatingWrite,
    WatchCallback, WatchHandle, WritePtr,
};
use tantivy::{Directory, HasLen};
use zstd::bulk::{Compressor, Decompressor};

/// The fast end: on bytes like these higher levels win nothing.
const LEVEL: i32 = 1;
const MAGIC: &[u8; 4] = b"TNIX";
/// Length, length of a block, hash, magic.
const TRAILER: usize = 8 + 4 + SEAL;
/// Hash and magic.
const SEAL: usize = 32 + 4;
/// In the length of a block: it is as it is.
const PLAIN: u32 = 1 << 31;
/// No block is larger, whatever a damaged file says.
const LARGEST: usize = 1 << 20;

/// A directory that squeezes some of its files.
#[derive(Clone, Debug)]
pub(super) struct Squeezed(MmapDirectory);

/// The length of a block of a file; `None` when it is not squeezed.
fn block(path: &Path) -> Option<usize> {
    match path.extension()?.to_str()? {
        // Unpacked for the few bytes of one rare word: small.
        "idx" | "pos" => Some(16 << 10),
        // Read from end to end by merges alone, and repeats itself only over a long distance.
        "store" => Some(256 << 10),
        _ => None,
    }
}

impl Squeezed {
    /// The directory at a path, which must be there.
    pub(super) fn open(path: &Path) -> std::result::Result<Squeezed, tantivy::TantivyError> {
        Ok(Squeezed(MmapDirectory::open(path)?))
    }

    /// Whether a squeezed file is as it was written; `None` for one that is not squeezed.
    pub(super) fn is_sound(&self, path: &Path) -> Option<bool> {
        block(path)?;
        let sound = || -> Option<bool> {
            let handle = self.0.get_file_handle(path).ok()?;
            let bytes = handle.read_bytes(0..handle.len()).ok()?;
            let (data, seal) = bytes.split_last_chunk::<SEAL>()?;
            Some(seal.strip_prefix(blake3::hash(data).as_bytes())? == MAGIC)
        };
        Some(sound().unwrap_or(false))
    }
}

impl Directory for Squeezed {
    fn get_file_handle(&self, path: &Path) -> std::result::Result<Arc<dyn FileHandle>, OpenReadError> {
        let inner = self.0.get_file_handle(path)?;
        match block(path) {
            None => Ok(inner),
            Some(_) => match Unpacked::open(inner) {
                Ok(unpacked) => Ok(Arc::new(unpacked)),
                Err(error) => Err(OpenReadError::wrap_io_error(error, path.to_path_buf())),
            },
        }
    }

    fn open_write(&self, path: &Path) -> std::result::Result<WritePtr, OpenWriteError> {
        let inner = self.0.open_write(path)?;
        let Some(block) = block(path) else { return Ok(inner) };
        match Packing::new(inner, block) {
            Ok(packing) => Ok(WritePtr::new(Box::new(packing))),
            Err(error) => Err(OpenWriteError::wrap_io_error(error, path.to_path_buf())),
        }
    }

    fn delete(&self, path: &Path) -> std::result::Result<(), DeleteError> {
        self.0.delete(path)
    }

    fn exists(&self, path: &Path) -> std::result::Result<bool, OpenReadError> {
        self.0.exists(path)
    }

    fn atomic_read(&self, path: &Path) -> std::result::Result<Vec<u8>, OpenReadError> {
        self.0.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> Result<()> {
        self.0.atomic_write(path, data)
    }

    fn sync_directory(&self) -> Result<()> {
        self.0.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> std::result::Result<DirectoryLock, LockError> {
        self.0.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.0.watch(callback)
    }
}

/// A file that is being written.
struct Packing {
    inner: WritePtr,
    compressor: Compressor<'static>,
    block: usize,
    gathered: Vec<u8>,
    lens: Vec<u32>,
    len: u64,
    hash: blake3::Hasher,
}

impl Packing {
    fn new(inner: WritePtr, block: usize) -> Result<Packing> {
        Ok(Packing {
            inner,
            compressor: Compressor::new(LEVEL)?,
            block,
            gathered: Vec::with_capacity(block),
            lens: Vec::new(),
            len: 0,
            hash: blake3::Hasher::new(),
        })
    }

    fn close_block(&mut self) -> Result<()> {
        let squeezed = self.compressor.compress(&self.gathered)?;
        // For less than an eighth it is not worth unpacking.
        let (bytes, flag) = if squeezed.len() < self.gathered.len() - self.gathered.len() / 8 {
            (&squeezed, 0)
        } else {
            (&self.gathered, PLAIN)
        };
        self.hash.update(bytes);
        self.inner.write_all(bytes)?;
        self.lens.push(bytes.len() as u32 | flag);
        self.len += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

impl Write for Packing {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let room = self.block - self.gathered.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.gathered.extend_from_slice(taken);
        if self.gathered.len() == self.block {
            self.close_block()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }
}

impl TerminatingWrite for Packing {
    fn terminate_ref(&mut self, token: AntiCallToken) -> Result<()> {
        if !self.gathered.is_empty() {
            self.close_block()?;
        }
        let mut end: Vec<u8> = self.lens.iter().flat_map(|len| len.to_le_bytes()).collect();
        end.extend_from_slice(&self.len.to_le_bytes());
        end.extend_from_slice(&(self.block as u32).to_le_bytes());
        self.hash.update(&end);
        self.inner.write_all(&end)?;
        self.inner.write_all(self.hash.finalize().as_bytes())?;
        self.inner.write_all(MAGIC)?;
        self.inner.terminate_ref(token)
    }
}

#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    len: usize,
    is_plain: bool,
}

/// A file that is read.
struct Unpacked {
    inner: Arc<dyn FileHandle>,
    places: Vec<Place>,
    block: usize,
    len: usize,
    /// The block that was unpacked last: merges read one rare word after another.
    last: Mutex<Option<(usize, OwnedBytes)>>,
}

impl Unpacked {
    fn open(inner: Arc<dyn FileHandle>) -> Result<Unpacked> {
        let end = inner.len().checked_sub(TRAILER).ok_or_else(damaged)?;
        let trailer = inner.read_bytes(end..inner.len())?;
        let numbers = trailer.strip_suffix(MAGIC.as_slice()).ok_or_else(damaged)?;
        let (len, rest) = numbers.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (block, _) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| damaged())?;
        let block = u32::from_le_bytes(*block) as usize;
        if block == 0 || block > LARGEST {
            return Err(damaged());
        }
        let table = len.div_ceil(block).checked_mul(4).and_then(|table| end.checked_sub(table));
        let table = table.ok_or_else(damaged)?;
        let (mut places, mut offset) = (Vec::with_capacity((end - table) / 4), 0);
        for entry in inner.read_bytes(table..end)?.as_chunks::<4>().0 {
            let entry = u32::from_le_bytes(*entry);
            let place = Place { offset, len: (entry & !PLAIN) as usize, is_plain: entry & PLAIN != 0 };
            let whole = block.min(len.saturating_sub(places.len() * block));
            if place.is_plain && place.len != whole {
                return Err(damaged());
            }
            offset += place.len;
            places.push(place);
        }
        if offset != table {
            return Err(damaged());
        }
        Ok(Unpacked { inner, places, block, len, last: Mutex::default() })
    }

    fn place(&self, index: usize) -> Result<Place> {
        self.places.get(index).copied().ok_or_else(damaged)
    }

    /// A block as it was before it was squeezed.
    fn whole(&self, index: usize) -> Result<OwnedBytes> {
        let place = self.place(index)?;
        let bytes = self.inner.read_bytes(place.offset..place.offset + place.len)?;
        if place.is_plain {
            return Ok(bytes);
        }
        let whole = self.block.min(self.len - index * self.block);
        let unpacked = expand(&bytes, whole).filter(|unpacked| unpacked.len() == whole);
        Ok(OwnedBytes::new(unpacked.ok_or_else(damaged)?))
    }

    /// The same, and it is kept until the next one is.
    fn kept(&self, index: usize) -> Result<OwnedBytes> {
        let known = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = known().as_ref().filter(|(last, _)| *last == index) {
            return Ok(bytes.clone());
        }
        let bytes = self.whole(index)?;
        *known() = Some((index, bytes.clone()));
        Ok(bytes)
    }
}

impl FileHandle for Unpacked {
    fn read_bytes(&self, range: Range<usize>) -> Result<OwnedBytes> {
        if range.start >= range.end {
            return Ok(OwnedBytes::empty());
        }
        if range.end > self.len {
            return Err(Error::new(ErrorKind::UnexpectedEof, "behind the end of a file of the index"));
        }
        let (first, last) = (range.start / self.block, (range.end - 1) / self.block);
        let begin = |index: usize| index * self.block;
        let blocks = self.places.get(first..=last).ok_or_else(damaged)?;
        if blocks.iter().all(|place| place.is_plain) {
            let start = self.place(first)?.offset + range.start - begin(first);
            return self.inner.read_bytes(start..start + range.len());
        }
        if first == last {
            return Ok(self.kept(first)?.slice(range.start - begin(first)..range.end - begin(first)));
        }
        let mut all = Vec::with_capacity(range.len());
        for index in first..=last {
            // The first and the last block of a run of words are wanted by its neighbours, too.
            let bytes = if index == last { self.kept(index)? } else { self.whole(index)? };
            let from = range.start.saturating_sub(begin(index));
            let to = (range.end - begin(index)).min(bytes.len());
            all.extend_from_slice(bytes.get(from..to).ok_or_else(damaged)?);
        }
        Ok(OwnedBytes::new(all))
    }
}

impl HasLen for Unpacked {
    fn len(&self) -> usize {
        self.len
    }
}

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacked").field("len", &self.len).finish_non_exhaustive()
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::InvalidData, "a file of the index is damaged")
}

thread_local! {
    /// A context takes some 100 KiB: one for each thread that searches, not one for each block.
    static EXPAND: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn expand(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    EXPAND.with_borrow_mut(|context| {
        let mut known = match context.take() {
            Some(known) => known,
            None => Decompressor::new().ok()?,
        };
        let expanded = known.decompress(bytes, len).ok()?;
        *context = Some(known);
        Some(expanded)
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Bytes of which every third block is noise, which is not squeezed.
    fn sample(len: usize) -> Vec<u8> {
        let block = block(Path::new("x.idx")).unwrap();
        let mut noise = blake3::Hasher::new().update(b"noise").finalize_xof();
        let mut bytes: Vec<u8> = (0..len).map(|n| (n / 100) as u8).collect();
        for (index, part) in bytes.chunks_mut(block).enumerate() {
            if index % 3 == 1 || index % 7 == 0 {
                noise.fill(part);
            }
        }
        bytes
    }

    fn write(directory: &Squeezed, path: &Path, bytes: &[u8]) {
        let mut file = directory.open_write(path).unwrap();
        for part in bytes.chunks(777) {
            file.write_all(part).unwrap();
        }
        file.terminate().unwrap();
    }

    #[test]
    fn any_part_of_a_squeezed_file_reads_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Squeezed::open(dir.path()).unwrap();
        for (n, len) in [0, 1, 16 << 10, (16 << 10) + 1, 300_000].into_iter().enumerate() {
            let (path, bytes) = (PathBuf::from(format!("{n}.idx")), sample(len));
            write(&directory, &path, &bytes);
            let file = directory.open_read(&path).unwrap();
            assert_eq!(file.read_bytes().unwrap().as_slice(), bytes);
            assert_eq!(directory.is_sound(&path), Some(true));
            for start in (0..len).step_by(1_777) {
                for part in [1, 100, 16 << 10, 50_000] {
                    let range = start..(start + part).min(len);
                    let read = file.read_bytes_slice(range.clone()).unwrap();
                    assert_eq!(read.as_slice(), bytes.get(range).unwrap(), "{start} {part}");
                }
            }
        }
        let small = dir.path().join("4.idx").metadata().unwrap().len();
        assert!(small < 300_000 * 2 / 3, "{small}: the test would prove nothing");
    }

    #[test]
    fn a_changed_byte_is_found_and_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Squeezed::open(dir.path()).unwrap();
        let path = Path::new("some.pos");
        let bytes = sample(100_000);
        write(&directory, path, &bytes);
        let sound = std::fs::read(dir.path().join(path)).unwrap();
        let other = PathBuf::from("other.pos");
        let mut refused = 0;
        for at in (0..sound.len()).step_by(997).chain(sound.len() - TRAILER - 40..sound.len()) {
            let mut changed = sound.clone();
            changed[at] ^= 0x10;
            std::fs::remove_file(dir.path().join(&other)).ok();
            std::fs::write(dir.path().join(&other), &changed).unwrap();
            assert_eq!(directory.is_sound(&other), Some(false), "{at}");
            // It does not panic, and gives no more than there was.
            match directory.open_read(&other).map(|file| file.read_bytes()) {
                Ok(Ok(read)) => assert!(read.len() <= bytes.len() + 16, "{at}"),
                Ok(Err(_)) | Err(_) => refused += 1,
            }
        }
        assert!(refused > 30, "{refused}");
        assert_eq!(directory.is_sound(Path::new("meta.json")), None);
    }
}
