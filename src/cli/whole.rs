//! What is asked about a control plane as a whole: copies of it, and whether this program reads it
//! as the one before did.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `tenantry backup`.
#[derive(Clone, Debug, Args)]
pub struct Backup {
    /// Where the backup lies; the second one into the same directory copies only what is new.
    #[arg(value_name = "DIR")]
    pub into: PathBuf,
    /// The control plane's own directory.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// `tenantry restore-journal`.
#[derive(Clone, Debug, Args)]
pub struct RestoreJournal {
    /// The moment: a position, a time, a distance (`5m ago`) or a time of day in UTC
    /// (`yesterday 14:00`) [default: the end].
    #[arg(long, value_name = "POINT")]
    pub until: Option<String>,
    /// The new data directory; it must not be there, or be empty.
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// From a backup instead of a data directory.
    #[arg(long, value_name = "DIR", requires = "master_key")]
    pub backup: Option<PathBuf>,
    /// The `master.key` of the control plane that was backed up; a backup does not hold it.
    #[arg(long, value_name = "FILE", requires = "backup")]
    pub master_key: Option<PathBuf>,
    /// The data directory that is copied, also beside its server.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One JSON object a line.
    Jsonl,
    /// MessagePack.
    Msgpack,
}

/// `tenantry journal export`.
#[derive(Clone, Debug, Args)]
pub struct Export {
    /// Where to; without it to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How it is written.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "jsonl")]
    pub format: ExportFormat,
    /// Up to this moment [default: the end].
    #[arg(long, value_name = "POINT")]
    pub until: Option<String>,
    /// Leave the wrapped keys out: what is sealed cannot be read from it, whoever has the master key.
    #[arg(long)]
    pub without_keys: bool,
    /// The control plane's own directory, also beside its server.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Say on standard error what was written, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `tenantry journal import`.
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// The export, of either format; `-` is standard input.
    pub file: PathBuf,
    /// The new data directory; it must not be there, or be empty.
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// The `master.key` of the control plane that it was exported from.
    #[arg(long, value_name = "FILE", required_unless_present = "without_keys")]
    pub master_key: Option<PathBuf>,
    /// Take the events alone: they can be verified and replayed, what is sealed reads as erased.
    #[arg(long, conflicts_with = "master_key")]
    pub without_keys: bool,
    /// Refuse it unless its Merkle root is this one (hex), as it was told elsewhere.
    #[arg(long, value_name = "HEX")]
    pub root: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// `tenantry rehearse`.
#[derive(Clone, Debug, Args)]
pub struct Rehearse {
    /// The control plane's own directory, also beside its server.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// One of them.
#[derive(Clone, Debug)]
pub enum Whole {
    /// `tenantry backup`
    Backup(Backup),
    /// `tenantry restore-journal`
    RestoreJournal(RestoreJournal),
    /// `tenantry journal export`
    Export(Export),
    /// `tenantry journal import`
    Import(Import),
    /// `tenantry rehearse`
    Rehearse(Rehearse),
}
