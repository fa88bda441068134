//! Which events are whose: the positions of each tenant's events, so that one tenant's past is
//! folded from its own events and from no others.
//!
//! In memory a position takes about two bytes. Beside the snapshots lies a file that says the
//! same of everything up to some position, so that a start reads that file instead of the
//! journal. It is disposable: what is damaged or missing is read from the journal again.
//!
//! The bytes of `tenants.seqs` are segments, one after the other, numbers little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `TNTRSEQ1` |
//! | 8 | length of the body |
//! | 8 | first 8 bytes of the BLAKE3 of the body |
//! | then | the body begins: position of its first event, number of events, number of new tenants (8 each) |
//! | 16 each | the ids of tenants that have no event before |
//! | then | for each event a varint: 0 for nobody's, else 1 + the tenant's number in order of appearance |

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tenantry_journal::id::{Seq, TenantId};
use uuid::Uuid;

const MAGIC: [u8; 8] = *b"TNTRSEQ1";
const HEAD_BYTES: usize = 24;
/// A position is looked for from the nearest mark on: so many are read at most.
const BETWEEN_MARKS: u32 = 64;

/// Ascending positions, each as its distance from the one before.
#[derive(Clone, Debug, Default)]
struct Seqs {
    bytes: Vec<u8>,
    last: u64,
    count: u32,
    /// Of every so-manieth position: itself, and where the next one begins.
    marks: Vec<(u64, u32)>,
}

impl Seqs {
    fn push(&mut self, seq: u64) {
        put(&mut self.bytes, seq - self.last);
        self.last = seq;
        if self.count.is_multiple_of(BETWEEN_MARKS) {
            self.marks.push((seq, u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)));
        }
        self.count += 1;
    }

    /// Those after `after` up to and with `until`, oldest first.
    fn between(&self, after: Seq, until: Seq) -> impl Iterator<Item = Seq> {
        let before = self.marks.partition_point(|(seq, _)| *seq <= after.0);
        let mark = before.checked_sub(1).and_then(|index| self.marks.get(index)).copied();
        let (mut seq, from) = mark.map_or((0, 0), |(seq, from)| (seq, from as usize));
        let mut rest = self.bytes.get(from..).unwrap_or_default();
        std::iter::from_fn(move || {
            seq += take(&mut rest)?;
            Some(Seq(seq))
        })
        .skip_while(move |seq| *seq <= after)
        .take_while(move |seq| *seq <= until)
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if *first < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

/// The positions of each tenant's events, without a gap from the first event on.
#[derive(Debug, Default)]
pub struct ByTenant {
    upto: Seq,
    numbers: HashMap<TenantId, u32>,
    /// By number.
    tenants: Vec<(TenantId, Seqs)>,
    file: Option<Kept>,
}

/// What is in the file, and what is to be added to it.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    bytes: u64,
    upto: Seq,
    tenants: usize,
    added: Vec<u8>,
}

impl ByTenant {
    /// What the file says of the events up to `head`, and nothing without one. What it says of
    /// later events is of another journal: then it is not used.
    #[must_use]
    pub fn open(path: impl Into<PathBuf>, head: Seq) -> ByTenant {
        let path = path.into();
        let mut read = ByTenant::default();
        let bytes = match fs::read(&path) {
            Ok(bytes) => read.read_segments(&bytes),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, path = %path.display(), "tenants' positions are read from the journal");
                }
                0
            }
        };
        let (mut index, bytes) = if read.upto <= head { (read, bytes) } else { (ByTenant::default(), 0) };
        let (upto, tenants) = (index.upto, index.tenants.len());
        index.file = Some(Kept { path, bytes, upto, tenants, added: Vec::new() });
        index
    }

    /// Begins again, as if there were no file.
    pub fn clear(&mut self) {
        let file = self.file.take();
        *self = ByTenant::default();
        self.file =
            file.map(|file| Kept { bytes: 0, upto: Seq::ZERO, tenants: 0, added: Vec::new(), ..file });
    }

    /// The last position that is known.
    #[must_use]
    pub fn upto(&self) -> Seq {
        self.upto
    }

    /// Learns of the next event. Any other one than the next is no news.
    pub fn note(&mut self, seq: Seq, tenant: Option<TenantId>) {
        if seq != self.upto.next() {
            return;
        }
        self.upto = seq;
        let number = tenant.map(|tenant| {
            let new = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
            let number = *self.numbers.entry(tenant).or_insert(new);
            if number == new {
                self.tenants.push((tenant, Seqs::default()));
            }
            if let Some((_, seqs)) = self.tenants.get_mut(number as usize) {
                seqs.push(seq.0);
            }
            number
        });
        if let Some(file) = &mut self.file {
            put(&mut file.added, number.map_or(0, |number| u64::from(number) + 1));
        }
    }

    /// A tenant's positions after `after` up to and with `until`, at most `limit`.
    #[must_use]
    pub fn between(&self, tenant: TenantId, after: Seq, until: Seq, limit: usize) -> Vec<Seq> {
        let found = self.numbers.get(&tenant).and_then(|number| self.tenants.get(*number as usize));
        found.map(|(_, seqs)| seqs.between(after, until).take(limit).collect()).unwrap_or_default()
    }

    /// Bytes that the positions take.
    #[must_use]
    pub fn memory(&self) -> usize {
        let of = |seqs: &Seqs| seqs.bytes.capacity() + seqs.marks.capacity() * 16;
        self.tenants.iter().map(|(_, seqs)| size_of::<(TenantId, Seqs)>() + of(seqs)).sum()
    }

    /// Adds to the file what it does not say yet.
    ///
    /// # Errors
    /// When it cannot be written; it says then what it said before.
    pub fn keep(&mut self) -> io::Result<()> {
        let upto = self.upto;
        let Some(file) = &mut self.file else { return Ok(()) };
        if file.upto == upto {
            return Ok(());
        }
        let new = self.tenants.get(file.tenants..).unwrap_or_default();
        let mut body = Vec::with_capacity(24 + 16 * new.len() + file.added.len());
        for number in [file.upto.0 + 1, upto.0 - file.upto.0, new.len() as u64] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        new.iter().for_each(|(tenant, _)| body.extend_from_slice(tenant.0.as_bytes()));
        body.extend_from_slice(&file.added);
        let mut segment = MAGIC.to_vec();
        segment.extend_from_slice(&(body.len() as u64).to_le_bytes());
        segment.extend_from_slice(&short_hash(&body));
        segment.extend_from_slice(&body);
        write_at(&file.path, file.bytes, &segment)?;
        file.bytes += segment.len() as u64;
        (file.upto, file.tenants) = (upto, self.tenants.len());
        file.added = Vec::new();
        Ok(())
    }

    /// Learns what whole segments say; gives how many bytes of the file they are.
    fn read_segments(&mut self, bytes: &[u8]) -> u64 {
        let mut used = 0;
        while let Some(segment) = segment(bytes.get(used..).unwrap_or_default()) {
            if self.read_body(segment).is_none() {
                // Its hash was right: it was written by a program that is wrong.
                *self = ByTenant::default();
                return 0;
            }
            used += HEAD_BYTES + segment.len();
        }
        used as u64
    }

    fn read_body(&mut self, mut body: &[u8]) -> Option<()> {
        let (first, count, new) = (take_u64(&mut body)?, take_u64(&mut body)?, take_u64(&mut body)?);
        if first != self.upto.0 + 1 {
            return None;
        }
        let mut ids = Vec::new();
        for _ in 0..new {
            let (id, rest) = body.split_first_chunk::<16>()?;
            body = rest;
            ids.push(TenantId(Uuid::from_bytes(*id)));
        }
        let known = self.tenants.len();
        for seq in first..first.checked_add(count)? {
            let tenant = match take(&mut body)?.checked_sub(1) {
                None => None,
                Some(number) => {
                    let number = usize::try_from(number).ok()?;
                    let old = self.tenants.get(number).map(|(tenant, _)| *tenant);
                    Some(old.or_else(|| ids.get(number.checked_sub(known)?).copied())?)
                }
            };
            self.note(Seq(seq), tenant);
        }
        (body.is_empty() && self.tenants.len() == known + ids.len()).then_some(())
    }
}

/// The body of the segment that begins here, if it is whole.
fn segment(bytes: &[u8]) -> Option<&[u8]> {
    let (magic, mut rest) = bytes.split_first_chunk::<8>()?;
    let len = usize::try_from(take_u64(&mut rest)?).ok()?;
    let (hash, rest) = rest.split_first_chunk::<8>()?;
    let body = rest.get(..len)?;
    (*magic == MAGIC && *hash == short_hash(body)).then_some(body)
}

fn short_hash(body: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    blake3::Hasher::new().update(body).finalize_xof().fill(&mut short);
    short
}

/// Writes at a place of a file, behind which nothing is left.
fn write_at(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut file: File =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_len(at)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)?;
    file.sync_data()?;
    // What was written is what will be read.
    file.seek(SeekFrom::Start(at))?;
    let mut head = [0; 8];
    file.read_exact(&mut head)?;
    if head == MAGIC { Ok(()) } else { Err(io::Error::other("the file does not hold what was written")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(n: u64) -> TenantId {
        TenantId(Uuid::from_u128(u128::from(n) + 1))
    }

    /// Whose event it is, for some event; nobody's now and then.
    fn whose(seq: u64) -> Option<TenantId> {
        let n = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        (!n.is_multiple_of(7)).then(|| tenant(n % 50 + seq / 2000))
    }

    fn noted(index: &mut ByTenant, until: u64) {
        for seq in index.upto().0 + 1..=until {
            index.note(Seq(seq), whose(seq));
        }
    }

    fn expected(n: u64, after: u64, until: u64) -> Vec<Seq> {
        (after + 1..=until).filter(|seq| whose(*seq) == Some(tenant(n))).map(Seq).collect()
    }

    fn check(index: &ByTenant) {
        let upto = index.upto().0;
        for n in 0..60 {
            for (after, until) in [(0, upto), (upto / 3, upto / 2), (upto - 1, upto), (0, 1), (upto, upto)] {
                let found = index.between(tenant(n), Seq(after), Seq(until), usize::MAX);
                assert_eq!(found, expected(n, after, until), "{n} {after} {until}");
            }
            assert_eq!(
                index.between(tenant(n), Seq(5), Seq(upto), 3).len(),
                expected(n, 5, upto).len().min(3)
            );
        }
        assert_eq!(index.between(tenant(999), Seq(0), Seq(upto), 9), []);
    }

    #[test]
    fn positions_are_found_from_anywhere_and_take_little() {
        let mut index = ByTenant::default();
        noted(&mut index, 10_000);
        index.note(Seq(20_000), Some(tenant(1)));
        assert_eq!(index.upto(), Seq(10_000), "a gap is no news");
        check(&index);
        assert!(index.memory() < 50_000, "{}", index.memory());
    }

    #[test]
    fn a_file_gives_back_what_was_kept_and_goes_on_behind_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tenants.seqs");
        let mut index = ByTenant::open(&path, Seq(0));
        for until in [1_000, 1_001, 7_000] {
            noted(&mut index, until);
            index.keep().unwrap();
        }
        index.keep().unwrap();
        let again = ByTenant::open(&path, Seq(9_000));
        assert_eq!(again.upto(), Seq(7_000));
        check(&again);
        let whole = fs::read(&path).unwrap();
        for cut in [whole.len() - 1, whole.len() - 6_000, 30, 3, 0] {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut torn = ByTenant::open(&path, Seq(9_000));
            assert!(torn.upto() < Seq(7_000));
            noted(&mut torn, 8_000);
            torn.keep().unwrap();
            let mended = ByTenant::open(&path, Seq(9_000));
            assert_eq!(mended.upto(), Seq(8_000), "{cut}");
            check(&mended);
        }
        // Whatever byte it is, what is given back is right.
        for at in (0..whole.len()).step_by(37) {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs::write(&path, &bent).unwrap();
            let before = ByTenant::open(&path, Seq(9_000));
            assert!([0, 1_000, 1_001].contains(&before.upto().0), "byte {at}: {}", before.upto());
            if before.upto() > Seq::ZERO {
                check(&before);
            }
        }
    }

    #[test]
    fn a_file_of_a_longer_journal_is_another_journals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tenants.seqs");
        let mut index = ByTenant::open(&path, Seq(0));
        noted(&mut index, 500);
        index.keep().unwrap();
        let mut shorter = ByTenant::open(&path, Seq(400));
        assert_eq!(shorter.upto(), Seq::ZERO);
        noted(&mut shorter, 300);
        shorter.keep().unwrap();
        assert_eq!(ByTenant::open(&path, Seq(400)).upto(), Seq(300));
    }
}
