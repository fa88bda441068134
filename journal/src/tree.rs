//! Proofs over a journal, without reading it again for each.
//!
//! A tile is 256 events whose seqs - 1 begin at a multiple of 256. The root of each whole tile
//! and of each subtree over whole tiles is kept ([`nodes`]); what lies inside a tile is hashed
//! again from the store. So a proof in a journal of any length reads some dozens of nodes and
//! the events of two tiles.
//!
//! The kept nodes are disposable. What they are is checked before they are used: against the
//! roots in the commits' headers, against the tree that the control plane began with, and each
//! proof against itself and the present root. When they do not fit they are made anew.

mod nodes;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::id::Seq;
use crate::merkle::proof::{Consistency, Inclusion, Subtrees, root};
use crate::merkle::{Frontier, Hash};
use crate::scan::{self, ScanError};
use crate::store::Journal;
use nodes::Nodes;

/// The level of a tile's root.
const TILE_LEVEL: u32 = 8;
/// Events of a tile: 256 is some 100 KiB to read, and 64 bytes are kept for it.
const TILE: u64 = 1 << TILE_LEVEL;

/// The root of a whole tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileRoot {
    /// The tile's number, from 0.
    pub index: u64,
    /// The root over its events.
    pub root: Hash,
}

/// Adds a leaf to the tree over all events; a tile that it completes goes to `tiles`.
pub(crate) fn push(frontier: &mut Frontier, leaf: Hash, tiles: &mut Vec<TileRoot>) {
    let (index, mut level) = (frontier.size() >> TILE_LEVEL, 0);
    frontier.push_with(leaf, |made| {
        if level == TILE_LEVEL {
            tiles.push(TileRoot { index, root: *made });
        }
        level += 1;
    });
}

/// Tiles on their way from who records events to who keeps the nodes.
#[derive(Debug, Default)]
pub struct TileRoots(Mutex<Vec<TileRoot>>);

impl TileRoots {
    /// Tiles that wait at most, for 16 million events: past it they are hashed again from the store.
    const MOST: usize = 65_536;

    /// Adds what commits completed, which are durable now.
    pub fn add<'a>(&self, tiles: impl Iterator<Item = &'a TileRoot>) {
        let mut tiles = tiles.peekable();
        if tiles.peek().is_none() {
            return;
        }
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= Self::MOST {
            waiting.clear();
        }
        waiting.extend(tiles);
    }

    fn take(&self) -> Vec<TileRoot> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The journal cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// There is no such event or tree.
    #[error("the journal ends at event {head}")]
    NotThere {
        /// Where it ends.
        head: Seq,
    },
    /// Kept nodes cannot be read.
    #[error("the kept nodes of the Merkle tree cannot be read")]
    Nodes(#[source] std::io::Error),
    /// Kept nodes are not those of this journal.
    #[error("the kept nodes of the Merkle tree are not those of this journal")]
    Foreign,
}

/// The Merkle tree of a journal, as far as it was followed.
pub struct Tree {
    nodes: Nodes,
    /// Over the roots of whole tiles.
    tiles: Frontier,
    /// Over the events after the last whole tile, and their leaves.
    tile: Frontier,
    leaves: Vec<Hash>,
    /// A tree that was folded without the kept nodes; they must agree with it.
    known: Frontier,
    /// Times that kept nodes were thrown away.
    rebuilt: u64,
}

impl Tree {
    /// A tree whose nodes are kept in memory, a quarter of a byte for each event.
    #[must_use]
    pub fn in_memory() -> Tree {
        Tree::over(Nodes::in_memory(), Frontier::default())
    }

    /// A tree whose nodes are kept in a file, made when there is none. `known` is the tree over
    /// the events so far; the file is believed only when it agrees.
    #[must_use]
    pub fn open(path: &Path, known: &Frontier) -> Tree {
        let mut nodes = Nodes::open(path);
        if nodes.tiles().saturating_mul(TILE) > known.size() {
            nodes.clear();
        }
        Tree::over(nodes, known.clone())
    }

    fn over(mut nodes: Nodes, known: Frontier) -> Tree {
        let tiles = nodes.frontier().unwrap_or_else(|error| {
            tracing::warn!(%error, "the kept nodes of the Merkle tree cannot be read; they are made anew");
            nodes.clear();
            Frontier::default()
        });
        Tree { nodes, tiles, tile: Frontier::default(), leaves: Vec::new(), known, rebuilt: 0 }
    }

    /// How many events were followed.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tiles.size() * TILE + self.tile.size()
    }

    /// Times that kept nodes did not fit and were made anew.
    #[must_use]
    pub fn rebuilt(&self) -> u64 {
        self.rebuilt
    }

    /// The tree over the events that were followed.
    fn frontier(&self) -> Frontier {
        let peaks = self.tiles.peaks().iter().chain(self.tile.peaks()).copied().collect();
        Frontier::resume(self.size(), peaks).expect("the peaks of both parts are those of the whole")
    }

    fn push(&mut self, leaf: Hash) {
        self.tile.push(leaf);
        self.leaves.push(leaf);
        if self.tile.size() == TILE {
            self.add_tile(self.tile.root());
        }
    }

    /// Takes the tiles that were completed since it was asked last, so that their events need not
    /// be read.
    ///
    /// # Errors
    /// When the kept nodes have to be compared with the journal first, and that cannot be read.
    pub fn take(&mut self, store: &dyn Journal, roots: &TileRoots) -> Result<(), ScanError> {
        if self.nodes.are_found() {
            self.follow(store, Seq(self.known.size()))?;
        }
        for tile in roots.take() {
            if tile.index == self.tiles.size() {
                self.add_tile(tile.root);
            }
        }
        Ok(())
    }

    fn add_tile(&mut self, root: Hash) {
        let nodes = &mut self.nodes;
        self.tiles.push_with(root, |made| nodes.add(made));
        nodes.written();
        self.tile = Frontier::default();
        self.leaves.clear();
    }

    /// Follows the journal up to an event, if it did not yet.
    ///
    /// # Errors
    /// When an event on the way is missing or changed.
    pub fn follow(&mut self, store: &dyn Journal, to: Seq) -> Result<(), ScanError> {
        match self.go_on(store, to) {
            Err(ScanError::Root { .. }) if self.nodes.are_found() => {
                self.start_anew();
                self.go_on(store, to)
            }
            done => done,
        }
    }

    fn go_on(&mut self, store: &dyn Journal, to: Seq) -> Result<(), ScanError> {
        let known = self.known.size();
        if self.nodes.are_found() && self.size() <= known && to.0 >= known {
            self.hash(store, Seq(known))?;
            if self.frontier() != self.known {
                return Err(ScanError::Root { seq: Seq(known).next() });
            }
            self.nodes.believe();
        }
        self.hash(store, to)
    }

    fn hash(&mut self, store: &dyn Journal, to: Seq) -> Result<(), ScanError> {
        let mut frontier = self.frontier();
        scan::hash_each(store, &mut frontier, to, |leaf| self.push(leaf))
    }

    fn start_anew(&mut self) {
        tracing::warn!("the kept nodes of the Merkle tree do not fit the journal; they are made anew");
        self.nodes.clear();
        self.tiles = Frontier::default();
        self.tile = Frontier::default();
        self.leaves.clear();
        self.rebuilt += 1;
    }

    /// The root over the first `size` events.
    ///
    /// # Errors
    /// When there are not so many, or the journal cannot be read.
    pub fn root(&mut self, store: &dyn Journal, size: u64) -> Result<Hash, TreeError> {
        self.checked(store, size, |found| {
            let hash = root(found, 0, size)?;
            Ok((size, hash, hash))
        })
    }

    /// Proves that an event is in the tree over the first `size` events.
    ///
    /// # Errors
    /// When there is no such event in it, or the journal cannot be read.
    pub fn inclusion(&mut self, store: &dyn Journal, seq: Seq, size: u64) -> Result<Inclusion, TreeError> {
        if seq == Seq::ZERO || seq.0 > size {
            return Err(TreeError::NotThere { head: Seq(size) });
        }
        self.checked(store, size, |found| {
            let proof = Inclusion::of(found, seq.0 - 1, size)?;
            if !proof.holds() {
                return Err(TreeError::Foreign);
            }
            Ok((size, proof.root_hash, proof))
        })
    }

    /// Proves that the tree over `later` events begins with the one over `earlier`.
    ///
    /// # Errors
    /// When there are no such trees, or the journal cannot be read.
    pub fn consistency(
        &mut self,
        store: &dyn Journal,
        earlier: u64,
        later: u64,
    ) -> Result<Consistency, TreeError> {
        if earlier == 0 || earlier > later {
            return Err(TreeError::NotThere { head: Seq(later) });
        }
        self.checked(store, later, |found| {
            let proof = Consistency::of(found, earlier, later)?;
            if !proof.holds() {
                return Err(TreeError::Foreign);
            }
            Ok((later, proof.root_hash_2, proof))
        })
    }

    /// Makes something of the tree over `size` events. It names the size and root that it is
    /// about, and is given away only when that root leads to the present one.
    fn checked<T>(
        &mut self,
        store: &dyn Journal,
        size: u64,
        make: impl Fn(&mut Found<'_>) -> Result<(u64, Hash, T), TreeError>,
    ) -> Result<T, TreeError> {
        if size > store.head().0 {
            return Err(TreeError::NotThere { head: store.head() });
        }
        self.follow(store, Seq(size.max(self.known.size()).min(store.head().0)))?;
        let attempt = |tree: &Tree| {
            let mut found = Found { tree, store, read: Vec::new() };
            let (size, root, made) = make(&mut found)?;
            let present = tree.frontier();
            let fits = if size == 0 || size == present.size() {
                root == present.root() || size == 0
            } else {
                let proof = Consistency::of(&mut found, size, present.size())?;
                proof.holds() && proof.root_hash_1 == root && proof.root_hash_2 == present.root()
            };
            if fits { Ok(made) } else { Err(TreeError::Foreign) }
        };
        match attempt(self) {
            Err(TreeError::Foreign | TreeError::Nodes(_)) => {
                let to = Seq(self.size());
                self.start_anew();
                self.follow(store, to)?;
                attempt(self)
            }
            done => done,
        }
    }
}

/// The nodes of a tree, from where they are kept or hashed again.
struct Found<'a> {
    tree: &'a Tree,
    store: &'a dyn Journal,
    /// Tiles that were read, the last one last: a proof needs those at its two ends.
    read: Vec<(u64, Vec<Hash>)>,
}

/// Tiles that are held while one proof is made.
const HELD_TILES: usize = 4;

impl Found<'_> {
    /// The leaves of a tile, as many of it as there are.
    fn leaves(&mut self, tile: u64) -> Result<&[Hash], ScanError> {
        if tile == self.tree.tiles.size() {
            return Ok(&self.tree.leaves);
        }
        if let Some(place) = self.read.iter().position(|(known, _)| *known == tile) {
            return Ok(self.read.get(place).map_or(&[], |(_, leaves)| leaves));
        }
        let leaves = scan::leaves(self.store, Seq(tile * TILE + 1), Seq((tile + 1) * TILE))?;
        if self.read.len() == HELD_TILES {
            self.read.remove(0);
        }
        self.read.push((tile, leaves));
        Ok(self.read.last().map_or(&[], |(_, leaves)| leaves))
    }
}

impl Subtrees for Found<'_> {
    type Error = TreeError;

    fn perfect(&mut self, level: u32, index: u64) -> Result<Hash, TreeError> {
        if let Some(above) = level.checked_sub(TILE_LEVEL) {
            return self.tree.nodes.get(above, index).map_err(TreeError::Nodes);
        }
        let first = index << level;
        let leaves = self.leaves(first >> TILE_LEVEL)?;
        let (from, count) = ((first % TILE) as usize, 1 << level);
        let leaves = leaves.get(from..from + count).ok_or(TreeError::Foreign)?;
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        Ok(frontier.root())
    }
}
