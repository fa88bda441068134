//! A full volume once more, as a plain file that is read by offset.
//!
//! sled reads and checks a volume's whole log when it opens it, a quarter of a second for a full
//! one; who looks at a few events somewhere in a long journal must not wait for that. So what a
//! full volume holds is written a second time, one commit behind the other, with an index that
//! is small enough to stay in memory. The store of record stays sled: whoever verifies, copies
//! or folds everything reads sled alone.
//!
//! The file is disposable. It is written aside and renamed, and never synced: each commit has a
//! checksum, the index has one, and what is damaged, torn or of another time is removed, said
//! and made again from sled. Its records are the bytes that sled holds, so what is sealed there
//! is sealed here. Long commits are cut: who wants one event of a thousand unpacks some dozen.
//!
//! The bytes of `DIR/plain/FIRST`, numbers big-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `TNTRPLN1` |
//! | for each commit, or piece of one | its first seq (8), its length (4), CRC-32 of these 12 and what follows (4), the commit, packed; a piece is one, with the root before the whole |
//! | 16 each | the index: a seq, and the place of the commit that begins there; one every [`STRIDE_BYTES`] |
//! | 32 | where the index begins (8), how many entries it has (8), last seq (8), CRC-32 of the index and of these 24 (4), `TNTP` |

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::{self, Commit, CommitBuilder, EncodedCommit, HEADER_BYTES, packed};
use crate::id::Seq;
use crate::store::StoredCommit;

const MAGIC: [u8; 8] = *b"TNTRPLN1";
const END: [u8; 4] = *b"TNTP";
const FRAME_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;
const FOOT_BYTES: usize = 32;
/// Commits between two entries of the index: what is read for one event in between. A full
/// volume's index then takes some 200 kB.
const STRIDE_BYTES: u64 = 4 * 1024;
/// A commit with more records than these is cut into pieces of about so many.
const PIECE_BYTES: usize = 4 * 1024;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    /// It is not what was written.
    #[error("its {0} is damaged")]
    Damaged(&'static str),
    /// It holds another stretch than the volume.
    #[error("it holds events {0} to {1}, and the volume does not")]
    Other(Seq, Seq),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Unusable {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Unusable::Damaged("end"),
            _ => Unusable::Io(error),
        }
    }
}

/// Where the file of the volume in a directory lies.
pub(super) fn path_of(volume: &Path) -> PathBuf {
    let name = volume.file_name().unwrap_or_default();
    volume.parent().unwrap_or(volume).join("plain").join(name)
}

/// An open file.
pub(super) struct Plain {
    file: File,
    /// First seqs and places, ascending, closed by where the commits end.
    index: Box<[(u64, u64)]>,
    last: Seq,
}

impl Plain {
    /// Opens the file of a volume that holds these events; `None` when there is none.
    pub(super) fn open(path: &Path, (first, last): (Seq, Seq)) -> Result<Option<Plain>, Unusable> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let damaged = || Unusable::Damaged("index");
        let bytes = file.metadata()?.len();
        let foot_at = bytes.checked_sub(FOOT_BYTES as u64).ok_or_else(damaged)?;
        let mut foot = [0; FOOT_BYTES];
        file.read_exact_at(&mut foot, foot_at)?;
        let mut rest = foot.as_slice();
        let (at, count) = (take_u64(&mut rest), take_u64(&mut rest));
        let ends = Seq(take_u64(&mut rest));
        let sum = take_u32(&mut rest);
        let len = foot_at.checked_sub(at).ok_or_else(damaged)?;
        if rest != END || count == 0 || count.checked_mul(ENTRY_BYTES as u64) != Some(len) {
            return Err(damaged());
        }
        let mut entries = vec![0; usize::try_from(len).map_err(|_| damaged())?];
        file.read_exact_at(&mut entries, at)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&entries);
        hasher.update(foot.split_at(FOOT_BYTES - 8).0);
        if hasher.finalize() != sum {
            return Err(damaged());
        }
        let mut rest = entries.as_slice();
        let begins = entries.first_chunk().map_or(Seq::ZERO, |seq| Seq(u64::from_be_bytes(*seq)));
        if (begins, ends) != (first, last) {
            return Err(Unusable::Other(begins, ends));
        }
        let index = (0..count).map(|_| (take_u64(&mut rest), take_u64(&mut rest)));
        let index = index.chain([(ends.0.saturating_add(1), at)]).collect();
        Ok(Some(Plain { file, index, last }))
    }

    /// Commits from the one that contains `from` up to `head`, until `max_bytes`.
    pub(super) fn read(&self, from: Seq, head: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, Unusable> {
        let head = head.min(self.last);
        let mut page: Vec<StoredCommit> = Vec::new();
        let mut bytes = 0;
        let mut entry = self.index.partition_point(|(seq, _)| *seq <= from.0).saturating_sub(1);
        while let Some((_, start)) = self.index.get(entry).copied().filter(|(seq, _)| *seq <= head.0) {
            let wanted = start + (max_bytes - bytes) as u64;
            let next =
                self.index.partition_point(|(_, at)| *at < wanted).clamp(entry + 1, self.index.len() - 1);
            let Some((_, end)) = self.index.get(next).copied() else { break };
            let block = self.block(start, end)?;
            for commit in frames(&block) {
                let commit = commit?;
                let last = Commit::announced_last(&commit).ok_or(Unusable::Damaged("commit"))?;
                if last < from {
                    continue;
                }
                if commit.seq > head {
                    return Ok(page);
                }
                bytes += commit.len();
                page.push(commit);
                if bytes >= max_bytes {
                    return Ok(page);
                }
            }
            entry = next;
        }
        if page.is_empty() { Err(Unusable::Damaged("content")) } else { Ok(page) }
    }

    fn block(&self, start: u64, end: u64) -> io::Result<Arc<[u8]>> {
        let mut block = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
        self.file.read_exact_at(&mut block, start)?;
        Ok(block.into())
    }
}

/// The commits in some bytes of the file, each checked.
fn frames(block: &Arc<[u8]>) -> impl Iterator<Item = Result<StoredCommit, Unusable>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let frame = block.get(at..).filter(|rest| !rest.is_empty())?;
        let commit = frame_len(frame).map(|len| at + FRAME_BYTES..at + FRAME_BYTES + len);
        let Some((commit, seq)) = commit.zip(frame.first_chunk::<8>()) else {
            at = block.len();
            return Some(Err(Unusable::Damaged("commit")));
        };
        at = commit.end;
        Some(Ok(StoredCommit::of_block(Seq(u64::from_be_bytes(*seq)), block, commit)))
    })
}

/// The length of the commit at the front, if it is what was written.
fn frame_len(frame: &[u8]) -> Option<usize> {
    let (head, rest) = frame.split_at_checked(FRAME_BYTES)?;
    let (about, sum) = head.split_at_checked(12)?;
    let len = usize::try_from(u32::from_be_bytes(about.get(8..)?.try_into().ok()?)).ok()?;
    let commit = rest.get(..len)?;
    (checksum(about, commit).to_be_bytes() == sum).then_some(len)
}

fn checksum(about: &[u8], commit: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(about);
    hasher.update(commit);
    hasher.finalize()
}

fn take_u64(bytes: &mut &[u8]) -> u64 {
    bytes.split_first_chunk().map_or(0, |(number, rest)| {
        *bytes = rest;
        u64::from_be_bytes(*number)
    })
}

fn take_u32(bytes: &mut &[u8]) -> u32 {
    bytes.split_first_chunk().map_or(0, |(number, rest)| {
        *bytes = rest;
        u32::from_be_bytes(*number)
    })
}

/// Writes a file aside; [`Maker::finish`] gives it its name.
pub(super) struct Maker {
    path: PathBuf,
    aside: PathBuf,
    out: BufWriter<File>,
    at: u64,
    index: Vec<(u64, u64)>,
    last: Seq,
}

impl Maker {
    pub(super) fn begin(path: &Path) -> io::Result<Maker> {
        if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
            fs::create_dir_all(dir)?;
        }
        let aside = path.with_extension("new");
        let mut out = BufWriter::with_capacity(256 * 1024, File::create(&aside)?);
        out.write_all(&MAGIC)?;
        let at = MAGIC.len() as u64;
        Ok(Maker { path: path.to_owned(), aside, out, at, index: Vec::new(), last: Seq::ZERO })
    }

    /// Adds the next commit; says whether it follows the one before.
    pub(super) fn add(&mut self, stored: &StoredCommit) -> io::Result<bool> {
        let mut room = Vec::new();
        let commit = packed::parse(stored.seq, stored, &mut room).map_err(io::Error::other)?;
        if commit.records_len() <= PIECE_BYTES {
            return self.put(stored);
        }
        let begun = |seq| CommitBuilder::new(seq, commit.previous_root);
        let mut piece = begun(commit.first);
        for record in commit.records() {
            let (seq, bytes) = record.map_err(io::Error::other)?;
            let at = codec::about(bytes).map_err(io::Error::other)?.at;
            if piece.len() + bytes.len() > HEADER_BYTES + PIECE_BYTES && !piece.is_empty() {
                let full = std::mem::replace(&mut piece, begun(seq)).finish();
                if !self.put_piece(&full)? {
                    return Ok(false);
                }
            }
            piece.push_record(bytes, at);
        }
        self.put_piece(&piece.finish())
    }

    fn put_piece(&mut self, piece: &EncodedCommit) -> io::Result<bool> {
        self.put(&StoredCommit::new(piece.first(), packed::pack(piece.bytes()).into_owned().into()))
    }

    fn put(&mut self, commit: &StoredCommit) -> io::Result<bool> {
        let follows = self.last == Seq::ZERO || commit.seq == self.last.next();
        let Some(last) = Commit::announced_last(commit).filter(|last| follows && *last >= commit.seq) else {
            return Ok(false);
        };
        if self.index.last().is_none_or(|(_, at)| self.at - at >= STRIDE_BYTES) {
            self.index.push((commit.seq.0, self.at));
        }
        let len = u32::try_from(commit.len()).map_err(io::Error::other)?;
        let mut about = [0; 12];
        let (seq_bytes, len_bytes) = about.split_at_mut(8);
        seq_bytes.copy_from_slice(&commit.seq.0.to_be_bytes());
        len_bytes.copy_from_slice(&len.to_be_bytes());
        self.out.write_all(&about)?;
        self.out.write_all(&checksum(&about, commit).to_be_bytes())?;
        self.out.write_all(commit)?;
        self.at += (FRAME_BYTES + commit.len()) as u64;
        self.last = last;
        Ok(true)
    }

    /// The last event so far.
    pub(super) fn last(&self) -> Seq {
        self.last
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut tail: Vec<u8> = Vec::with_capacity(self.index.len() * ENTRY_BYTES + FOOT_BYTES);
        for (seq, at) in &self.index {
            tail.extend_from_slice(&seq.to_be_bytes());
            tail.extend_from_slice(&at.to_be_bytes());
        }
        for number in [self.at, self.index.len() as u64, self.last.0] {
            tail.extend_from_slice(&number.to_be_bytes());
        }
        let sum = crc32fast::hash(&tail);
        tail.extend_from_slice(&sum.to_be_bytes());
        tail.extend_from_slice(&END);
        self.out.write_all(&tail)?;
        self.out.flush()?;
        fs::rename(&self.aside, &self.path)
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        // Gone already when it was finished.
        let _ = fs::remove_file(&self.aside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{CommitBuilder, packed};
    use crate::time::Timestamp;

    /// Commits of 1 to 4 events of some length, none too long, packed where that wins.
    fn commits() -> Vec<StoredCommit> {
        let mut first = 5;
        let commits = (0..400u64).map(|n| {
            let count = 1 + n % 4;
            let mut builder = CommitBuilder::new(Seq(first), [n as u8; 32]);
            for seq in first..first + count {
                let record = vec![seq as u8; 100 + (n as usize * 7) % 900];
                let framed = [(record.len() as u32).to_be_bytes().as_slice(), &record].concat();
                builder.push_framed(&framed, 1, Timestamp(seq));
            }
            let commit = builder.finish();
            first += count;
            StoredCommit::new(commit.first(), packed::pack(commit.bytes()).into_owned().into())
        });
        commits.collect()
    }

    fn made(path: &Path, commits: &[StoredCommit]) -> Seq {
        let mut maker = Maker::begin(path).unwrap();
        for commit in commits {
            assert!(maker.add(commit).unwrap());
        }
        let last = maker.last();
        maker.finish().unwrap();
        last
    }

    fn read(plain: &Plain, from: u64, head: u64, max: usize) -> Vec<(u64, Vec<u8>)> {
        plain.read(Seq(from), Seq(head), max).unwrap().iter().map(|c| (c.seq.0, c.to_vec())).collect()
    }

    #[test]
    fn every_event_is_found_with_what_follows_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("5.plain");
        let commits = commits();
        let last = made(&path, &commits);
        let plain = Plain::open(&path, (Seq(5), last)).unwrap().unwrap();
        assert!(plain.index.len() > 5, "{}", plain.index.len());
        for from in 5..=last.0 {
            let at = commits.iter().rposition(|commit| commit.seq.0 <= from).unwrap();
            for max in [1, 700, 20_000, usize::MAX / 4] {
                let mut bytes = 0;
                let mut expected = Vec::new();
                for commit in commits.iter().skip(at).take_while(|commit| commit.seq.0 <= from + 300) {
                    expected.push((commit.seq.0, commit.to_vec()));
                    bytes += commit.len();
                    if bytes >= max {
                        break;
                    }
                }
                assert_eq!(read(&plain, from, from + 300, max), expected, "{from} {max}");
            }
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is_and_a_file_of_another_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("5.plain");
        let last = made(&path, &commits());
        for other in [(Seq(5), Seq(last.0 - 1)), (Seq(6), last)] {
            assert!(
                matches!(Plain::open(&path, other), Err(Unusable::Other(Seq(5), found)) if found == last)
            );
        }
        assert!(Plain::open(&dir.path().join("none"), (Seq(5), last)).unwrap().is_none());
        let whole = fs::read(&path).unwrap();
        for at in (8..whole.len()).step_by(97).chain(whole.len() - 40..whole.len()) {
            let mut bent = whole.clone();
            bent[at] ^= 0x20;
            fs::write(&path, &bent).unwrap();
            let read = Plain::open(&path, (Seq(5), last))
                .and_then(|plain| plain.unwrap().read(Seq(5), last, usize::MAX / 4));
            assert!(read.is_err(), "byte {at} of {}", whole.len());
        }
        for cut in [0, 1, 31, 5_000, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(Plain::open(&path, (Seq(5), last)).is_err(), "cut to {cut}");
        }
    }

    #[test]
    fn commits_that_do_not_follow_are_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("5.plain");
        let commits = commits();
        let mut maker = Maker::begin(&path).unwrap();
        assert!(maker.add(&commits[0]).unwrap());
        assert!(!maker.add(&commits[2]).unwrap());
        drop(maker);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
