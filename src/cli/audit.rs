//! What `tenantry journal` is asked: to verify, to count, and to prove.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

/// What `journal verify` is asked.
#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// The control plane's own directory.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// A checkpoint that you kept: the journal must still begin with the events under it.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// The public key, or a file that holds it, that kept checkpoints are signed with [default: the data
    /// directory's own].
    #[arg(long, value_name = "KEY", requires = "checkpoint")]
    pub key: Option<String>,
    /// Print one JSON object, also on a terminal.
    #[arg(long)]
    pub json: bool,
}

/// What `journal stats` is asked.
#[derive(Clone, Debug, Args)]
pub struct Stats {
    /// The control plane's own directory.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Print one JSON object, also on a terminal.
    #[arg(long)]
    pub json: bool,
}

/// What is to be proved.
#[derive(Clone, Debug)]
pub enum Prove {
    /// An event, or that a journal goes on.
    Proof(MakeProof),
    /// All events of a tenant.
    Receipt(MakeReceipt),
    /// The whole journal.
    Checkpoint(MakeCheckpoint),
}

/// What `journal proof` is asked.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["seq", "from"]))]
pub struct MakeProof {
    /// The event that is in the journal; its record goes into the proof.
    #[arg(long)]
    pub seq: Option<u64>,
    /// With --seq: in the journal up to this event [default: the last].
    #[arg(long, value_name = "SEQ", conflicts_with = "from")]
    pub tree_size: Option<u64>,
    /// The earlier journal, by its last event.
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    /// The later journal, by its last event [default: the last].
    #[arg(long, value_name = "SEQ", conflicts_with = "seq")]
    pub to: Option<u64>,
    /// The control plane's own directory.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
}

/// What `journal receipt` is asked.
#[derive(Clone, Debug, Args)]
pub struct MakeReceipt {
    /// The tenant, by id or slug; one that is gone by its id.
    pub tenant: String,
    /// Up to this event [default: the last].
    #[arg(long, value_name = "SEQ")]
    pub tree_size: Option<u64>,
    /// The control plane's own directory.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
}

/// What `journal checkpoint` is asked.
#[derive(Clone, Debug, Args)]
pub struct MakeCheckpoint {
    /// Of the journal up to this event [default: the last].
    #[arg(long, value_name = "SEQ")]
    pub tree_size: Option<u64>,
    /// The control plane's own directory.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
}
