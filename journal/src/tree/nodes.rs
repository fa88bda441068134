//! Roots of whole tiles and of perfect subtrees over them, in the order in which they are
//! completed: a tile's root, then each larger subtree that it completes.
//!
//! **File**: `TNTREE\0\x01`, then 32 bytes for each node. After t tiles there are
//! `2t - (bits set in t)` nodes, and where each stands follows from its level and index, so one
//! read finds it. Nothing is synced: what a power cut leaves behind is checked by who uses it.
//! When the file cannot be used, the nodes are kept in memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::merkle::{Frontier, Hash};

const HEADER: [u8; 8] = *b"TNTREE\0\x01";
const NODE_BYTES: u64 = 32;
/// Nodes that wait to be written at most: a write for each tile would be felt in a long pass.
const WRITE_NODES: usize = 4096;

/// Kept nodes.
pub(super) struct Nodes {
    file: Option<File>,
    /// Nodes in the file.
    written: u64,
    /// Those after them; without a file all.
    rest: Vec<Hash>,
    /// Whether some were found in the file and not yet checked.
    found: bool,
}

/// How many nodes there are after so many tiles.
fn count(tiles: u64) -> u64 {
    2 * tiles - u64::from(tiles.count_ones())
}

/// The tiles that so many nodes stand for, at least whole ones.
fn tiles_of(nodes: u64) -> u64 {
    // `count(t)` is between 2t - 64 and 2t.
    let mut tiles = nodes / 2 + 32;
    while count(tiles) > nodes {
        tiles -= 1;
    }
    tiles
}

/// Where the root of the subtree over the tiles `index << level .. (index + 1) << level` stands.
fn place(level: u32, index: u64) -> u64 {
    // It is written right after the tile that completes it, behind those of lower levels.
    let last_tile = ((index + 1) << level) - 1;
    count(last_tile) + u64::from(level)
}

impl Nodes {
    pub(super) fn in_memory() -> Nodes {
        Nodes { file: None, written: 0, rest: Vec::new(), found: false }
    }

    pub(super) fn open(path: &Path) -> Nodes {
        Self::open_file(path).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "nodes of the Merkle tree are kept in memory");
            Nodes::in_memory()
        })
    }

    fn open_file(path: &Path) -> io::Result<Nodes> {
        let file =
            OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o600).open(path)?;
        let mut header = [0; HEADER.len()];
        let is_ours = file.read_exact_at(&mut header, 0).is_ok() && header == HEADER;
        let bytes = file.metadata()?.len().saturating_sub(HEADER.len() as u64);
        let written = if is_ours { count(tiles_of(bytes / NODE_BYTES)) } else { 0 };
        if !is_ours {
            file.set_len(0)?;
            file.write_all_at(&HEADER, 0)?;
        }
        Ok(Nodes { file: Some(file), written, rest: Vec::new(), found: written > 0 })
    }

    /// Whole tiles that are kept.
    pub(super) fn tiles(&self) -> u64 {
        tiles_of(self.written + self.rest.len() as u64)
    }

    /// Whether some were found and not yet believed.
    pub(super) fn are_found(&self) -> bool {
        self.found
    }

    /// What was found is as it should be.
    pub(super) fn believe(&mut self) {
        self.found = false;
    }

    /// The tree over the tiles that are kept.
    pub(super) fn frontier(&self) -> io::Result<Frontier> {
        let tiles = self.tiles();
        let mut peaks = Vec::new();
        let mut at = 0;
        while at < tiles {
            let level = (tiles - at).ilog2();
            peaks.push(self.get(level, at >> level)?);
            at += 1 << level;
        }
        Frontier::resume(tiles, peaks).map_err(io::Error::other)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        // What stays behind the end would be taken for nodes at the next opening.
        if let Some(file) = &self.file
            && let Err(error) = file.set_len(HEADER.len() as u64)
        {
            tracing::warn!(%error, "nodes of the Merkle tree are kept in memory from here on");
            self.file = None;
        }
        self.written = 0;
        self.rest.clear();
        self.found = false;
    }

    /// Adds the next node.
    pub(super) fn add(&mut self, node: &Hash) {
        self.rest.push(*node);
    }

    /// The nodes of a tile were added.
    pub(super) fn written(&mut self) {
        if self.rest.len() >= WRITE_NODES {
            self.write();
        }
    }

    /// Puts what waits into the file; stays in memory when that fails.
    fn write(&mut self) {
        let Some(file) = &self.file else { return };
        let at = HEADER.len() as u64 + self.written * NODE_BYTES;
        match file.write_all_at(self.rest.as_flattened(), at) {
            Ok(()) => {
                self.written += self.rest.len() as u64;
                self.rest.clear();
            }
            Err(error) => {
                tracing::warn!(%error, "nodes of the Merkle tree are kept in memory from here on");
                let mut all = vec![[0; 32]; usize::try_from(self.written).unwrap_or(0)];
                // What cannot be read is found to be wrong when it is used, and made anew.
                let _ = file.read_exact_at(all.as_flattened_mut(), HEADER.len() as u64);
                all.append(&mut self.rest);
                (self.rest, self.written, self.file) = (all, 0, None);
            }
        }
    }

    /// The root of a perfect subtree over tiles.
    pub(super) fn get(&self, level: u32, index: u64) -> io::Result<Hash> {
        let place = place(level, index);
        if let Some(after) = place.checked_sub(self.written) {
            let kept = usize::try_from(after).ok().and_then(|after| self.rest.get(after));
            return kept.copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
        }
        let mut node = [0; 32];
        let Some(file) = &self.file else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        file.read_exact_at(&mut node, HEADER.len() as u64 + place * NODE_BYTES)?;
        Ok(node)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if !self.rest.is_empty() {
            self.write();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::node;

    #[test]
    fn each_node_is_found_where_it_was_put() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        let root = |level: u32, index: u64| {
            let mut row: Vec<Hash> = (index << level..(index + 1) << level).map(tile).collect();
            while row.len() > 1 {
                row = row.chunks(2).map(|pair| node(&pair[0], &pair[1])).collect();
            }
            row[0]
        };
        let mut frontier = Frontier::default();
        let mut nodes = Nodes::open(&path);
        for tiles in 1..=133u64 {
            frontier.push_with(tile(tiles - 1), |made| nodes.add(made));
            assert_eq!(nodes.tiles(), tiles);
            assert_eq!(nodes.frontier().unwrap(), frontier);
        }
        for nodes in [Nodes::open(&dir.path().join("other")), {
            drop(nodes);
            Nodes::open(&path)
        }] {
            let tiles = nodes.tiles();
            assert!(tiles == 0 || tiles == 133);
            for level in 0..8 {
                for index in 0..tiles >> level {
                    assert_eq!(nodes.get(level, index).unwrap(), root(level, index), "{level} {index}");
                }
            }
            assert!(nodes.get(8, 0).is_err());
        }
        // A write that was cut off: the tile that it was about is not there.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        assert_eq!(Nodes::open(&path).tiles(), 132);
        file.write_all_at(b"X", 0).unwrap();
        assert_eq!(Nodes::open(&path).tiles(), 0, "a file of somebody else's is begun anew");
    }

    fn tile(number: u64) -> Hash {
        crate::merkle::leaf(&number.to_be_bytes())
    }
}
