//! Worlds in files, so that a start or a look into the past folds little.
//!
//! A snapshot is disposable: one that is missing, damaged or written by a program with
//! another World is skipped, the next older one is tried, and without any the journal is
//! folded from its beginning. It is written aside, synced, renamed, and its directory is
//! synced, so a file of the final name is whole. Sealed values stand in it as ciphertext
//! alone; one whose key is gone stands in it as erased.
//!
//! The bytes of `<seq>.snap`, numbers little-endian:
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | `TNTRSNAP` |
//! | 8 | 4 | format version, 2: the meaning of these bytes |
//! | 12 | 4 | [`LAYOUT`]: the fields of World |
//! | 16 | 8 | first 8 bytes of the BLAKE3 of the table of event kinds |
//! | 24 | 8 | seq of the last event that is folded in |
//! | 32 | 8 | time of that event, milliseconds since the epoch |
//! | 40 | 8 | number of leaves of the Merkle tree at that event |
//! | 48 | 8 | length of the body |
//! | 56 | 32 | BLAKE3 of the body |
//! | 88 | 4 | number of the tree's peaks, at most 64 |
//! | 92 | 32 each | the peaks |
//! | then | 32 | BLAKE3 of everything above |
//! | then | 8 | the body begins: length of the World |
//! | then | | World without its deployments, by bincode 2, standard configuration |
//! | then | | the deployments, likewise: as large as the rest, and decoded beside it |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use tenantry_journal::event::Event;
use tenantry_journal::id::{KeyId, Seq};
use tenantry_journal::sealed::{Vault, take_damage, with_vault};
use tenantry_journal::time::Timestamp;

use crate::world::World;
use crate::world::deployments::Deployments;

/// Raised by hand whenever a stored field of World is added, removed, reordered or means
/// something else, or `evolve` makes something else of old events. A golden test notices
/// changed bytes.
pub const LAYOUT: u32 = 7;

const MAGIC: [u8; 8] = *b"TNTRSNAP";
const FORMAT: u32 = 2;
/// Header bytes before the peaks.
const FIXED_BYTES: usize = 92;
/// A tree of 2^64 leaves has no more peaks.
const MAX_PEAKS: u32 = 64;
/// The newest snapshots, all kept: should the newest be damaged, the start is still short.
const KEPT_NEWEST: usize = 4;

/// The journal's Merkle tree at a snapshot, for the caller alone: what it needs to go on
/// from there without reading what lies before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeState {
    /// Number of leaves.
    pub size: u64,
    /// Roots of the perfect subtrees, at most 64.
    pub peaks: Vec<[u8; 32]>,
}

/// What a snapshot holds.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The World, indexes and all.
    pub world: World,
    /// The Merkle tree at the same event.
    pub tree: TreeState,
}

/// A snapshot could not be kept; the journal is not concerned.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The World does not encode.
    #[error("the World at seq {seq} does not encode")]
    Encode {
        /// Its position.
        seq: Seq,
        /// What the encoder says.
        #[source]
        source: bincode::error::EncodeError,
    },
    /// The caller's tree is none.
    #[error("a Merkle tree has at most 64 peaks, not {0}")]
    Peaks(usize),
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is gone or cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// Something else lies under this name.
    #[error("it is not a snapshot")]
    Foreign,
    /// Its format has another version.
    #[error("its format is {0}, this program reads {FORMAT}")]
    Format(u32),
    /// It holds a World with other fields.
    #[error("its layout is {0}, this program's is {LAYOUT}")]
    Layout(u32),
    /// It was folded by a program that knew other events.
    #[error("it was folded by a program with other kinds of events")]
    Vocabulary,
    /// Bytes are missing or changed.
    #[error("its {0} is damaged")]
    Damaged(&'static str),
    /// It was renamed.
    #[error("it is of seq {0}")]
    WrongSeq(Seq),
    /// It is whole and still no World.
    #[error("its World does not decode")]
    Decode(#[source] bincode::error::DecodeError),
}

/// A directory of snapshots. Safe to share; only one file is written at a time.
pub struct Snapshots {
    dir: PathBuf,
    vault: Arc<dyn Vault>,
    writing: Mutex<()>,
}

impl Snapshots {
    /// Opens the directory, making it if need be, and removes what an interrupted write left.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(dir: impl Into<PathBuf>, vault: Arc<dyn Vault>) -> Result<Snapshots, SnapshotError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(refused("make the directory", &dir))?;
        for entry in fs::read_dir(&dir).map_err(refused("read the directory", &dir))? {
            let path = entry.map_err(refused("read the directory", &dir))?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                remove_if_there(&path)?;
            }
        }
        Ok(Snapshots { dir, vault, writing: Mutex::new(()) })
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens the directory to read only, also beside the server that writes there.
    #[must_use]
    pub fn open_read_only(dir: impl Into<PathBuf>, vault: Arc<dyn Vault>) -> Snapshots {
        Snapshots { dir: dir.into(), vault, writing: Mutex::new(()) }
    }

    /// Removes one.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self, seq: Seq) -> Result<(), SnapshotError> {
        remove_if_there(&self.path(seq))
    }

    /// Writes a World; returns the size of its file in bytes once that is durable.
    ///
    /// # Errors
    /// When it does not encode or the operating system refuses. No file of the final name
    /// is left half-written.
    pub fn write(&self, world: &World, tree: &TreeState) -> Result<u64, SnapshotError> {
        let bytes = self.encode(world, tree)?;
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(world.seq);
        let aside = path.with_extension("snap.tmp");
        let written = write_aside(&aside, &bytes).and_then(|()| {
            fs::rename(&aside, &path)?;
            File::open(&self.dir)?.sync_all()
        });
        if let Err(source) = written {
            // What is left aside is removed at the next start at the latest.
            let _ = fs::remove_file(&aside);
            return Err(refused("write", &path)(source));
        }
        Ok(bytes.len() as u64)
    }

    /// The newest usable snapshot at or before a position. Each one that is skipped is
    /// logged with the reason.
    #[must_use]
    pub fn latest_at_or_before(&self, seq: Seq) -> Option<Snapshot> {
        self.latest_between(Seq::ZERO, seq)
    }

    /// Like [`Snapshots::latest_at_or_before`], but only if it is after `after`.
    #[must_use]
    pub fn latest_between(&self, after: Seq, seq: Seq) -> Option<Snapshot> {
        let found = self.list().into_iter().rev().filter(|found| *found > after && *found <= seq);
        found.into_iter().find_map(|found| match self.load(found) {
            Ok(snapshot) => Some(snapshot),
            Err(reason) => {
                let reason: &dyn std::error::Error = &reason;
                tracing::warn!(snapshot.seq = found.0, reason, "snapshot skipped");
                None
            }
        })
    }

    /// Reads one snapshot.
    ///
    /// # Errors
    /// The reason why it is not used.
    pub fn load(&self, seq: Seq) -> Result<Snapshot, Unusable> {
        let bytes = fs::read(self.path(seq))?;
        let (header, body) = Header::read(&bytes)?;
        if header.seq != seq {
            return Err(Unusable::WrongSeq(header.seq));
        }
        if body.len() as u64 != header.body_bytes || *blake3::hash(body).as_bytes() != header.body_hash {
            return Err(Unusable::Damaged("body"));
        }
        let mut world = self.decode_body(body)?;
        if world.seq != header.seq || world.at != header.at {
            return Err(Unusable::Damaged("body"));
        }
        world.reindex_attention();
        Ok(Snapshot { world, tree: header.tree })
    }

    /// The World without what its deployments say about attention. The body was checked.
    fn decode_body(&self, mut body: &[u8]) -> Result<World, Unusable> {
        let len = u64::from_le_bytes(take(&mut body)?);
        let (world, deployments) = usize::try_from(len)
            .ok()
            .and_then(|len| body.split_at_checked(len))
            .ok_or(Unusable::Damaged("body"))?;
        std::thread::scope(|scope| {
            let deployments = scope.spawn(|| self.decode::<Deployments>(deployments));
            let world = self.decode::<World>(world).map(|mut world| {
                let _before = take_damage();
                world.reindex_names();
                world
            });
            if take_damage().is_some() {
                return Err(Unusable::Damaged("sealed name"));
            }
            let deployments = deployments.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(World { deployments: deployments?, ..world? })
        })
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Unusable> {
        let decoded = with_vault(&self.vault, || {
            bincode::serde::decode_from_slice::<T, _>(bytes, bincode::config::standard())
        });
        match decoded.map_err(Unusable::Decode)? {
            (decoded, used) if used == bytes.len() => Ok(decoded),
            _ => Err(Unusable::Damaged("body")),
        }
    }

    /// The positions of which there are files, oldest first; nothing is said of their state.
    #[must_use]
    pub fn list(&self) -> Vec<Seq> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, path = %self.dir.display(), "snapshots cannot be listed");
                return Vec::new();
            }
        };
        let mut seqs: Vec<Seq> = entries.flatten().filter_map(|entry| seq_of(&entry.path())).collect();
        seqs.sort_unstable();
        seqs
    }

    /// Removes what this program cannot use, and thins out the rest: the newest few stay,
    /// then one for each doubling of the distance from the newest, so never more than 68.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn prune(&self) -> Result<usize, SnapshotError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (usable, mut dropped): (Vec<Seq>, Vec<Seq>) =
            self.list().into_iter().partition(|seq| self.header_is_usable(*seq));
        let kept = kept(&usable);
        dropped.extend(usable.iter().filter(|seq| !kept.contains(seq)));
        for seq in &dropped {
            remove_if_there(&self.path(*seq))?;
        }
        Ok(dropped.len())
    }

    fn encode(&self, world: &World, tree: &TreeState) -> Result<Vec<u8>, SnapshotError> {
        if tree.peaks.len() > MAX_PEAKS as usize {
            return Err(SnapshotError::Peaks(tree.peaks.len()));
        }
        let vault: Arc<dyn Vault> = Arc::new(Forgiving(Arc::clone(&self.vault)));
        let failed = |source| SnapshotError::Encode { seq: world.seq, source };
        let mut rest = world.clone();
        let deployments = std::mem::take(&mut rest.deployments);
        let (rest, deployments) = with_vault(&vault, || {
            let config = bincode::config::standard();
            let rest = bincode::serde::encode_to_vec(&rest, config)?;
            Ok((rest, bincode::serde::encode_to_vec(&deployments, config)?))
        })
        .map_err(failed)?;
        let body = [(rest.len() as u64).to_le_bytes().as_slice(), &rest, &deployments].concat();
        let header = Header {
            seq: world.seq,
            at: world.at,
            tree: tree.clone(),
            body_bytes: body.len() as u64,
            body_hash: *blake3::hash(&body).as_bytes(),
        };
        let mut bytes = header.write();
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    fn header_is_usable(&self, seq: Seq) -> bool {
        let longest = FIXED_BYTES + 32 * MAX_PEAKS as usize + 32;
        let mut bytes = Vec::with_capacity(longest);
        File::open(self.path(seq))
            .and_then(|file| file.take(longest as u64).read_to_end(&mut bytes))
            .is_ok_and(|_| Header::read(&bytes).is_ok_and(|(header, _)| header.seq == seq))
    }

    fn path(&self, seq: Seq) -> PathBuf {
        self.dir.join(format!("{seq}.snap"))
    }
}

/// Which of these (oldest first) stay.
///
/// Of each doubling the oldest stays: it alone can grow old enough for the next doubling.
fn kept(seqs: &[Seq]) -> Vec<Seq> {
    let Some(newest) = seqs.last() else { return Vec::new() };
    let mut kept: Vec<Seq> = seqs.iter().rev().take(KEPT_NEWEST).copied().collect();
    let mut doubling = None;
    for seq in seqs.iter().take(seqs.len().saturating_sub(KEPT_NEWEST)) {
        let distance = (newest.0 - seq.0).checked_ilog2();
        if doubling != Some(distance) {
            doubling = Some(distance);
            kept.push(*seq);
        }
    }
    kept
}

/// Seals what has a key, and writes what has none any more as erased: as no bytes at all,
/// which no key opens.
struct Forgiving(Arc<dyn Vault>);

impl Vault for Forgiving {
    fn seal(&self, key: KeyId, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.seal(key, plain).or_else(|| Some(Vec::new()))
    }

    fn open(&self, key: KeyId, sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.open(key, sealed)
    }

    fn holds(&self, key: KeyId) -> bool {
        self.0.holds(key)
    }
}

struct Header {
    seq: Seq,
    at: Timestamp,
    tree: TreeState,
    body_bytes: u64,
    body_hash: [u8; 32],
}

impl Header {
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + 32 * self.tree.peaks.len() + 32);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&LAYOUT.to_le_bytes());
        out.extend_from_slice(&vocabulary());
        out.extend_from_slice(&self.seq.0.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&self.tree.size.to_le_bytes());
        out.extend_from_slice(&self.body_bytes.to_le_bytes());
        out.extend_from_slice(&self.body_hash);
        out.extend_from_slice(&u32::try_from(self.tree.peaks.len()).unwrap_or(u32::MAX).to_le_bytes());
        for peak in &self.tree.peaks {
            out.extend_from_slice(peak);
        }
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out
    }

    /// The header and what follows it.
    fn read(bytes: &[u8]) -> Result<(Header, &[u8]), Unusable> {
        let mut rest = bytes;
        if take::<8>(&mut rest)? != MAGIC {
            return Err(Unusable::Foreign);
        }
        let format = u32::from_le_bytes(take(&mut rest)?);
        if format != FORMAT {
            return Err(Unusable::Format(format));
        }
        let layout = u32::from_le_bytes(take(&mut rest)?);
        let kinds: [u8; 8] = take(&mut rest)?;
        let seq = Seq(u64::from_le_bytes(take(&mut rest)?));
        let at = Timestamp(u64::from_le_bytes(take(&mut rest)?));
        let size = u64::from_le_bytes(take(&mut rest)?);
        let body_bytes = u64::from_le_bytes(take(&mut rest)?);
        let body_hash = take(&mut rest)?;
        let count = u32::from_le_bytes(take(&mut rest)?);
        if count > MAX_PEAKS {
            return Err(Unusable::Damaged("header"));
        }
        let mut peaks = Vec::with_capacity(count as usize);
        for _ in 0..count {
            peaks.push(take(&mut rest)?);
        }
        let hashed = bytes.get(..bytes.len() - rest.len()).unwrap_or_default();
        if take(&mut rest)? != *blake3::hash(hashed).as_bytes() {
            return Err(Unusable::Damaged("header"));
        }
        // Only an undamaged header is believed when it says whose it is.
        if layout != LAYOUT {
            return Err(Unusable::Layout(layout));
        }
        if kinds != vocabulary() {
            return Err(Unusable::Vocabulary);
        }
        Ok((Header { seq, at, tree: TreeState { size, peaks }, body_bytes, body_hash }, rest))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Unusable> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(Unusable::Damaged("header"))?;
    *rest = after;
    Ok(*taken)
}

/// Stands for the table of event kinds that this program folds.
fn vocabulary() -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    for (kind, version) in Event::KINDS {
        hasher.update(kind.as_bytes()).update(&[0]).update(&version.to_le_bytes());
    }
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    first
}

fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    move |source| SnapshotError::Io { doing, path: path.to_owned(), source }
}

fn remove_if_there(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(refused("remove", path)(source)),
        _ => Ok(()),
    }
}

fn seq_of(path: &Path) -> Option<Seq> {
    if path.extension()? != "snap" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok().map(Seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_grow_sparse_with_distance_and_none_of_the_distances_is_forgotten() {
        const STEP: u64 = 1000;
        let mut seqs: Vec<Seq> = Vec::new();
        for newest in 1..=2_000 {
            seqs.push(Seq(newest * STEP));
            seqs = kept(&seqs);
            seqs.sort_unstable();
            assert!(seqs.len() <= KEPT_NEWEST + 22, "{} kept", seqs.len());
            // Whoever looks back by some distance finds one not much further back.
            for back in [8, 16, 64, 256, 1024].into_iter().filter(|back| back * 4 < newest) {
                let near = (newest - back * 4) * STEP..=(newest - back) * STEP;
                assert!(seqs.iter().any(|seq| near.contains(&seq.0)), "{back} steps before {newest}");
            }
        }
    }
}
