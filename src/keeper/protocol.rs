//! What the keeper and its clients say to each other.
//!
//! Frames on a unix stream socket: length (u32, little-endian), then one MessagePack named
//! map. A client sends [`Call`]s and the keeper [`Message`]s: a reply for each call, in any
//! order, and events unasked. The first call is `Hello`. Fields may be added (a missing one
//! takes its default, an unknown one is ignored); any other change raises [`VERSION`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tenantry_journal::event::instance::{ExitStatus, Limits};
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::spool::{Key, Retain};
use tenantry_journal::time::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Raised when an older side could not understand a newer one.
pub const VERSION: u32 = 2;

/// The oldest version that both sides still speak: it knows no sockets.
pub const OLDEST: u32 = 1;

/// No frame is longer: room for a list of ten thousand runs or the largest environment
/// that Linux hands to a process (2 MiB).
pub const FRAME_LIMIT: usize = 4 << 20;

/// The key of a run's spool on its way to the keeper, which never writes it to disk.
#[derive(Clone)]
pub struct SpoolKey(pub Key);

impl fmt::Debug for SpoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpoolKey(..)")
    }
}

impl Serialize for SpoolKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&*self.0)
    }
}

impl<'de> Deserialize<'de> for SpoolKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: serde_bytes::ByteArray<32> = Deserialize::deserialize(deserializer)?;
        Ok(SpoolKey(Key::new(bytes.into_array())))
    }
}

/// A process to be started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpawnRequest {
    /// Names the run. Asking again with the same name starts nothing and answers the same.
    pub run_id: RunId,
    /// Whose run it is; its output goes to this instance's spool.
    pub instance_id: InstanceId,
    /// Program: a path (when relative, to `workdir`), or a name looked up in `PATH` of `env`.
    pub command: String,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// Its whole environment; only the mark `TENANTRY_RUN` is added.
    pub env: BTreeMap<String, String>,
    /// Where it starts; made when missing.
    pub workdir: PathBuf,
    /// The unix socket it will listen on: a stale one is removed, its directory made.
    pub socket: Option<PathBuf>,
    /// The key to encrypt its output under.
    pub key: Option<SpoolKey>,
    /// Time between TERM and KILL when the keeper itself is told to stop everything.
    pub stop_timeout_ms: u64,
    /// What it may use, and as whom it runs.
    #[serde(default)]
    pub limits: Limits,
    /// Its host name in namespaces of its own.
    #[serde(default)]
    pub hostname: String,
    /// Besides the data directory, directories of which it sees only its own part in namespaces
    /// of its own.
    #[serde(default)]
    pub hidden: Vec<PathBuf>,
    /// How much of its output is kept; without it what the spool keeps by itself.
    #[serde(default)]
    pub retain: Option<Retain>,
}

/// The process that a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// Its process id, also that of its group and session; 0 when nobody saw it
    /// because the keeper died in that moment.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// Whether a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its process lives.
    Running,
    /// It is over, and this stays listed until it is forgotten.
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// When the keeper saw it.
        at: Timestamp,
    },
}

/// What the keeper knows of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run_id: RunId,
    /// Whose run it is.
    pub instance_id: InstanceId,
    /// As in [`Spawned`].
    pub pid: u32,
    /// As in [`Spawned`].
    pub start_ticks: u64,
    /// Whether it is over.
    pub state: RunState,
    /// The process was started by an earlier keeper that died.
    pub adopted: bool,
    /// Its output waits in the pipe for [`Ask::Resume`] to bring the key.
    pub awaits_key: bool,
    /// Bytes that its instance printed and that could not be kept, since this keeper
    /// began to write that spool.
    pub dropped_bytes: u64,
}

/// Which of the control plane's listening sockets one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketName {
    /// Which listener: `manager`, `instances` or `proxy`.
    pub listener: String,
    /// The address that was asked for; its port may be 0.
    pub address: String,
}

/// Connections to a port of this machine that are passed on to where a process listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forward {
    /// The port, on 127.0.0.1.
    pub port: u16,
    /// The process's own place.
    pub to: Place,
}

/// Where a process listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// TCP on 127.0.0.1.
    Port(u16),
    /// A unix socket.
    Socket(PathBuf),
}

/// A port that cannot be listened on for the time being; it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotYet {
    /// The port.
    pub port: u16,
    /// What the operating system said.
    pub reason: String,
}

/// A numbered request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the client, returned with the reply.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What a client may ask.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Who are you?
    Hello {
        /// The client's [`VERSION`].
        version: u32,
    },
    /// Start a process.
    Spawn(Box<SpawnRequest>),
    /// End a run: TERM, and KILL when it has not ended in time. Answered at once.
    Stop {
        /// The run.
        run_id: RunId,
        /// Time between TERM and KILL.
        timeout_ms: u64,
    },
    /// What is so?
    List,
    /// The exit of a run was taken note of.
    Forget {
        /// The run.
        run_id: RunId,
    },
    /// Go on reading the output of an adopted run.
    Resume {
        /// The run.
        run_id: RunId,
        /// The key of its spool.
        key: SpoolKey,
    },
    /// Give me copies of the listening sockets that you hold. They come with the reply. From
    /// here on this connection is the lease.
    TakeSockets,
    /// Hold the listening sockets that come with this, and no others. The same.
    HoldSockets {
        /// What each is, in the order in which they come.
        sockets: Vec<SocketName>,
    },
    /// Close the listening sockets that you hold.
    ReleaseSockets,
    /// Pass these connections on, and no others. Those that are open stay where they are.
    Forward {
        /// All there is.
        all: Vec<Forward>,
    },
    /// How many of the connections that were passed on there wait for an answer?
    Busy {
        /// Where to.
        to: Place,
    },
    /// End; the reply comes when it is done.
    Shutdown {
        /// Stop every run first, each with its own timeout; otherwise they live on.
        stop_all: bool,
    },
}

/// What the keeper sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// To a call.
    Reply {
        /// The call's number.
        id: u64,
        /// What came of it.
        answer: Result<Answer, Refusal>,
    },
    /// A run is over.
    Exited {
        /// The run.
        run_id: RunId,
        /// Whose run it was.
        instance_id: InstanceId,
        /// How it ended.
        status: ExitStatus,
        /// When the keeper saw it.
        at: Timestamp,
    },
    /// A spool grew. Only the newest position is told when several would wait.
    Output {
        /// Whose spool.
        instance_id: InstanceId,
        /// The position of its newest record.
        position: u64,
    },
}

/// A call that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `Hello`.
    Hello {
        /// The keeper's [`VERSION`].
        version: u32,
        /// The keeper itself.
        keeper: Spawned,
        /// Whether it knows [`SpawnRequest::limits`]; one that does not would pass over them.
        #[serde(default)]
        limits: bool,
        /// Whether it knows [`Ask::Forward`].
        #[serde(default)]
        forwards: bool,
    },
    /// To `Forward`: what it does not listen on yet.
    Forwarding(Vec<NotYet>),
    /// To `Busy`.
    Busy(u64),
    /// To `Spawn`.
    Spawned(Spawned),
    /// To `List`.
    Runs(Vec<RunReport>),
    /// To `TakeSockets`; as many descriptors come with it.
    Sockets(Vec<SocketName>),
    /// To everything else.
    Done,
}

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no process; what the operating system said.
    #[error("{0}")]
    Exec(String),
    /// No run of that name is known.
    #[error("the keeper knows no run {0}")]
    UnknownRun(RunId),
    /// Only what is over can be forgotten.
    #[error("run {0} is not over")]
    StillRunning(RunId),
    /// The two speak different versions.
    #[error("the keeper speaks version {keeper} of its protocol, not {client}")]
    Version {
        /// The keeper's.
        keeper: u32,
        /// The client's.
        client: u32,
    },
    /// Names and sockets do not go together.
    #[error("{named} sockets were named and {came} came")]
    Sockets {
        /// Names.
        named: usize,
        /// Sockets.
        came: usize,
    },
    /// The keeper is ending and starts nothing more.
    #[error("the keeper is shutting down")]
    ShuttingDown,
}

/// One frame, length included.
///
/// # Errors
/// When the message is longer than [`FRAME_LIMIT`].
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    rmp_serde::encode::write_named(&mut frame, message).map_err(io::Error::other)?;
    let len = frame.len() - 4;
    if len > FRAME_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a message of {len} bytes is too long"),
        ));
    }
    let head = (len as u32).to_le_bytes();
    frame.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    Ok(frame)
}

/// Reads one frame; `None` when the other side has hung up between two.
///
/// # Errors
/// When the connection broke, or what came is no message.
pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let len = u32::from_le_bytes(head) as usize;
    if len > FRAME_LIMIT {
        let text = format!("a frame of {len} bytes is announced");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // It may hold a key or an environment: wiped after use.
    let mut body = zeroize::Zeroizing::new(vec![0; len]);
    from.read_exact(&mut body).await?;
    let message = rmp_serde::from_slice(&body);
    message.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
