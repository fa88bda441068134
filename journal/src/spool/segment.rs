//! One segment file: its head, its frames, and its name.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::batch::{BATCH_LIMIT, Batch, Part, unpack};
use super::squeeze::{self, Packing};
use crate::cipher::{self, NONCE_BYTES};

use super::{Key, Record, SpoolError};
use crate::time::Timestamp;

/// Length of a segment's head.
pub(super) const HEAD: usize = 32;
/// Length of a frame's head.
pub(super) const FRAME_HEAD: usize = 40;
/// How much is read at once when heads are looked for: many heads of small frames, and not
/// much beside the head of a large one.
const WINDOW: usize = 4096;
const MAGIC: &[u8; 7] = b"TNSPOOL";
/// The layout that is written.
const VERSION: u8 = 2;
const ENCRYPTED: u8 = 1;
/// No frame's body is longer: what cannot be made small grows by less than 1 % and 64
/// bytes, encryption adds 40.
const BODY_LIMIT: usize = BATCH_LIMIT + BATCH_LIMIT / 64 + 256;

/// Who a spool belongs to and the key it is under.
#[derive(Clone)]
pub(super) struct Seal {
    pub(super) owner: Uuid,
    key: Option<Key>,
}

impl Seal {
    pub(super) fn new(owner: Uuid, key: Option<&Key>) -> Seal {
        Seal { owner, key: key.cloned() }
    }

    /// Whether new segments are encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.key.is_some()
    }

    /// The head of a new segment.
    pub(super) fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let parts = MAGIC.iter().chain([&VERSION]).chain(self.owner.as_bytes());
        head.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        if let Some(flags) = head.get_mut(24) {
            *flags = if self.key.is_some() { ENCRYPTED } else { 0 };
        }
        head
    }

    /// Appends the frames of a batch to `out`; tells how many.
    pub(super) fn frames(&self, batch: &Batch, first: u64, out: &mut Vec<u8>) -> std::io::Result<u32> {
        let (mut frames, mut next) = (0, first);
        for part in batch.parts() {
            self.frame(&part, next, out)?;
            next += u64::from(part.count);
            frames += 1;
        }
        Ok(frames)
    }

    fn frame(&self, part: &Part<'_>, first: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
        let mut rest = [0u8; FRAME_HEAD - 8];
        let fields = first.to_le_bytes().into_iter().chain(part.first_at.0.to_le_bytes());
        let fields = fields.chain(part.last_at.0.to_le_bytes()).chain(part.count.to_le_bytes());
        let fields = fields.chain((part.packed.len() as u32).to_le_bytes());
        rest.iter_mut().zip(fields).for_each(|(to, from)| *to = from);

        let squeezed = squeeze::squeeze(part.packed)?;
        let body = match &self.key {
            None => squeezed,
            Some(key) => {
                let nonce: [u8; NONCE_BYTES] = rand::random();
                let mut text = squeezed;
                let tag = cipher::seal(key, &nonce, &self.aad(&rest), &mut text)
                    .expect("a body of some 100 KiB is far below the cipher's limit");
                [&nonce[..], &text, &tag].concat()
            }
        };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&rest);
        crc.update(&body);
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        out.extend_from_slice(&rest);
        out.extend_from_slice(&body);
        Ok(())
    }

    /// The records of a frame.
    pub(super) fn open(&self, frame: &Frame, segment: &Segment) -> Opened {
        self.open_some(frame, segment, None)
    }

    /// The records of a frame at the positions in `wanted`, which ascend, or all.
    pub(super) fn open_some(&self, frame: &Frame, segment: &Segment, wanted: Option<&[u64]>) -> Opened {
        let opened;
        let squeezed = match (&self.key, segment.encrypted) {
            (_, false) => &frame.body,
            (None, true) => return Opened::WrongKey,
            (Some(key), true) => {
                let Some((nonce, sealed)) = frame.body.split_first_chunk::<NONCE_BYTES>() else {
                    return Opened::Damaged;
                };
                match cipher::open(key, nonce, &self.aad(&frame.rest), &mut sealed.to_vec()) {
                    Some(squeezed) => {
                        opened = squeezed.to_vec();
                        &opened
                    }
                    None => return Opened::WrongKey,
                }
            }
        };
        squeeze::expand(segment.packing, squeezed, frame.unpacked)
            .and_then(|packed| unpack(&packed, frame.first, frame.first_at, frame.count, wanted))
            .map_or(Opened::Damaged, Opened::Records)
    }

    fn aad(&self, rest: &[u8]) -> Vec<u8> {
        [self.owner.as_bytes(), rest].concat()
    }
}

/// Where a frame lies and which records it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) offset: u64,
    pub(super) first: u64,
    count: u32,
    len: u32,
}

impl Spot {
    /// The position after its last record.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Where the next one begins.
    pub(super) fn end_offset(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

/// What a segment was found to hold.
pub(super) struct Checked {
    /// Its length up to the first frame that is not whole.
    pub(super) len: u64,
    /// The position after its last record.
    pub(super) end: Option<u64>,
    /// The time of its first record.
    pub(super) begun: Option<Timestamp>,
    /// How many frames.
    pub(super) frames: u32,
    /// Their length when unpacked.
    pub(super) unpacked: u64,
}

/// What became of opening a frame.
pub(super) enum Opened {
    Records(Vec<Record>),
    WrongKey,
    Damaged,
}

/// A frame whose checksum holds, not yet opened.
pub(super) struct Frame {
    pub(super) first: u64,
    pub(super) count: u32,
    /// Length in the file, head included.
    pub(super) len: u64,
    first_at: Timestamp,
    unpacked: usize,
    rest: [u8; FRAME_HEAD - 8],
    body: Vec<u8>,
}

impl Frame {
    /// The position after its last record.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    fn checksum(&self) -> u32 {
        let mut found = crc32fast::Hasher::new();
        found.update(&self.rest);
        found.update(&self.body);
        found.finalize()
    }

    fn spot(&self, offset: u64) -> Spot {
        Spot { offset, first: self.first, count: self.count, len: self.len as u32 }
    }
}

/// An open segment.
pub(super) struct Segment {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) encrypted: bool,
    pub(super) packing: Packing,
}

impl Segment {
    /// Opens a segment and checks its head; `None` when the head is not written yet.
    pub(super) fn open(path: &Path, owner: Uuid) -> Result<Option<Segment>, SpoolError> {
        let mut file = File::open(path).map_err(SpoolError::io("open", path))?;
        let mut head = [0; HEAD];
        match file.read_exact(&mut head) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(SpoolError::io("read", path))?,
        }
        let ours = head.starts_with(MAGIC) && head.get(8..24) == Some(owner.as_bytes());
        let flags = head.get(24).copied().unwrap_or_default();
        let packing = match head.get(7) {
            Some(1) => Some(Packing::Lz4),
            Some(&VERSION) => Some(Packing::Zstd),
            _ => None,
        };
        match packing {
            Some(packing) if ours && flags & !ENCRYPTED == 0 => {
                let (path, encrypted) = (path.to_path_buf(), flags & ENCRYPTED != 0);
                Ok(Some(Segment { file, path, encrypted, packing }))
            }
            _ => Err(SpoolError::Foreign { path: path.to_path_buf(), owner }),
        }
    }

    /// Where its frames lie, by their heads alone. Only frames that lie in the file whole are
    /// given; whether their bytes are sound is seen when one is read.
    pub(super) fn spots(&self) -> Result<Vec<Spot>, SpoolError> {
        let mut spots = Vec::new();
        self.more_spots(&mut spots)?;
        Ok(spots)
    }

    /// Adds those that lie behind the ones that are known.
    pub(super) fn more_spots(&self, spots: &mut Vec<Spot>) -> Result<(), SpoolError> {
        let len = self.file.metadata().map_err(SpoolError::io("inspect", &self.path))?.len();
        let (mut offset, mut begin) = (spots.last().map_or(HEAD as u64, Spot::end_offset), 0);
        let mut window = [0; WINDOW];
        let mut filled = 0;
        loop {
            let at = usize::try_from(offset - begin).unwrap_or(usize::MAX);
            let head = match window.get(..filled).and_then(|all| all.get(at..)?.first_chunk()) {
                Some(head) => Head::parse(head),
                None => {
                    begin = offset;
                    filled = self.read_some(&mut window, offset)?;
                    match window.get(..filled).and_then(|all| all.first_chunk()) {
                        Some(head) => Head::parse(head),
                        None => return Ok(()),
                    }
                }
            };
            let Some(Head { frame, .. }) = head.filter(|head| offset + head.frame.len <= len) else {
                return Ok(());
            };
            spots.push(frame.spot(offset));
            offset += frame.len;
        }
    }

    /// Position and length of the frame at `offset`, by its head alone.
    pub(super) fn peek(&self, offset: u64) -> Result<Option<(Spot, u64)>, SpoolError> {
        let mut head = [0; FRAME_HEAD];
        if !self.read_at(&mut head, offset)? {
            return Ok(None);
        }
        let Some(Head { frame, .. }) = Head::parse(&head) else { return Ok(None) };
        Ok(Some((frame.spot(offset), frame.len)))
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> Result<usize, SpoolError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SpoolError::io("read", &self.path)(error)),
            }
        }
        Ok(filled)
    }

    /// The frame at `offset`; `None` when there is none, or none that is whole.
    pub(super) fn frame(&self, offset: u64) -> Result<Option<Frame>, SpoolError> {
        let mut head = [0; FRAME_HEAD];
        if !self.read_at(&mut head, offset)? {
            return Ok(None);
        }
        let Some(Head { body, crc, frame }) = Head::parse(&head) else { return Ok(None) };
        let mut frame = Frame { body: vec![0; body], ..frame };
        if !self.read_at(&mut frame.body, offset + FRAME_HEAD as u64)? {
            return Ok(None);
        }
        Ok((frame.checksum() == crc).then_some(frame))
    }

    /// The frame that lies at a spot, in one read; `None` when another or none lies there.
    pub(super) fn frame_at(&self, spot: &Spot) -> Result<Option<Frame>, SpoolError> {
        let mut bytes = vec![0; spot.len as usize];
        if !self.read_at(&mut bytes, spot.offset)? {
            return Ok(None);
        }
        let head = bytes.first_chunk().and_then(Head::parse);
        let Some(Head { body, crc, frame }) = head else { return Ok(None) };
        if body + FRAME_HEAD != bytes.len() || frame.first != spot.first || frame.count != spot.count {
            return Ok(None);
        }
        bytes.drain(..FRAME_HEAD);
        let frame = Frame { body: bytes, ..frame };
        Ok((frame.checksum() == crc).then_some(frame))
    }

    /// Reads every frame up to the first that is not whole.
    pub(super) fn check(&self) -> Result<Checked, SpoolError> {
        let mut checked = Checked { len: HEAD as u64, end: None, begun: None, frames: 0, unpacked: 0 };
        while let Some(frame) = self.frame(checked.len)? {
            checked.len += frame.len;
            checked.end = Some(frame.end());
            checked.begun = checked.begun.or(Some(frame.first_at));
            checked.frames += 1;
            checked.unpacked += frame.unpacked as u64;
        }
        Ok(checked)
    }

    /// Whether bytes lie behind `offset`.
    pub(super) fn goes_past(&self, offset: u64) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.len() > offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<bool, SpoolError> {
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(SpoolError::io("read", &self.path)(error)),
        }
    }
}

struct Head {
    body: usize,
    crc: u32,
    frame: Frame,
}

impl Head {
    fn parse(head: &[u8; FRAME_HEAD]) -> Option<Head> {
        let (body, rest) = head.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let all: [u8; FRAME_HEAD - 8] = rest.try_into().ok()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (first_at, rest) = rest.split_first_chunk::<8>()?;
        let (_last_at, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (unpacked, _) = rest.split_first_chunk::<4>()?;
        let body = u32::from_le_bytes(*body) as usize;
        let unpacked = u32::from_le_bytes(*unpacked) as usize;
        let count = u32::from_le_bytes(*count);
        // Before the checksum is known to hold, a length must not make us reserve memory.
        if body > BODY_LIMIT || unpacked > BATCH_LIMIT || count == 0 {
            return None;
        }
        let frame = Frame {
            first: u64::from_le_bytes(*first),
            count,
            len: (FRAME_HEAD + body) as u64,
            first_at: Timestamp(u64::from_le_bytes(*first_at)),
            unpacked,
            rest: all,
            body: Vec::new(),
        };
        Some(Head { body, crc: u32::from_le_bytes(*crc), frame })
    }
}

/// The file name of the segment that begins at a position.
pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The first positions of all segments in a directory, ascending; none when it is missing.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, SpoolError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SpoolError::io("list", dir)(error)),
    };
    let mut firsts = Vec::new();
    for entry in entries {
        let entry = entry.map_err(SpoolError::io("list", dir))?;
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".seg"));
        firsts.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}
