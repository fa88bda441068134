//! The command line: what can be said, and which part of the program does it.
//!
//! What needs the program itself is behind [`Program`]. Everything else is a client of a running
//! server ([`remote`]). The exit codes stand in [`failure`].

mod apply;
pub mod audit;
mod bisect;
mod client;
mod completions;
mod config;
mod deployments;
mod doctor;
mod events;
mod failure;
mod history;
mod instances;
mod log_follow;
mod log_line;
mod login;
mod logins;
mod logs;
mod metrics;
mod names;
mod nginx;
mod openapi;
mod outline;
mod ports;
pub mod progress;
mod proof;
mod reload;
mod remote;
mod remote_config;
mod restore;
mod safe_text;
mod screen;
mod search;
mod settings;
mod sse;
mod table;
mod tenant_config;
mod tenant_delete;
mod tenant_look;
mod tenants;
mod themes;
mod tokens;
mod users;
mod when;
pub(crate) mod whole;
mod why;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use tenantry_journal::name::InstanceKey;

use client::Common;
use completions::{Completions, Man};
use doctor::Doctor;
use failure::{FAILED, Failure, NOT_VALID};
use instances::Named;
use remote::Remote;
pub use whole::{Backup, Export, ExportFormat, Import, Rehearse, RestoreJournal, Whole};

use crate::config::{Config, ConfigErrors, LogFormat, Overrides, Source};

pub use proof::key as public_key;

const AFTER_HELP: &str = "Exit codes: 0 done, 1 failed or refused by the server, 2 wrong command line, \
    3 not valid (a configuration,\na journal, a proof), 4 no server answers, 5 not allowed (no valid credential, or \
    one that does not go so far),\n6 the server has no such thing.\n\n\
    Commands that ask a running server find it by --server, TENANTRY_SERVER or the last `tenantry login`, and\n\
    authenticate with TENANTRY_TOKEN or the stored login.\n\n\
    Every option of the configuration file can also be given in the environment: a key of [settings] as\n\
    TENANTRY_KEY, a key of another section as TENANTRY_SECTION_KEY (TENANTRY_PORTS_FIRST). A flag wins over\n\
    the environment, the environment over the file. TENANTRY_ADMIN_PASSWORD sets the first administrator's\n\
    password; without it one is made and printed once.";

/// Runs one application for many customers: a control plane with an event journal.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve both APIs and keep every instance running.
    ///
    /// SIGTERM and Ctrl-C end the server and leave the instances running (`tenantry stop --all` ends them).
    /// SIGHUP reads the configuration again; a bad one is refused and the old one kept.
    Serve(Serve),
    /// Stop instances of a running server; or every instance of a data directory, with or without a server.
    #[command(override_usage = "tenantry stop [OPTIONS] <INSTANCE>...\n       \
        tenantry stop --all [--data-dir <DIR>]")]
    Stop(Stop),
    /// Show the state as it was at a moment, from the journal alone. Nothing is written or done.
    Replay(Replay),
    /// Look into the journal of a data directory, also beside a running server. Nothing is written.
    Journal {
        #[command(subcommand)]
        command: Journal,
    },
    /// Check what a journal proves. Needs the public key and nothing else.
    Proof {
        #[command(subcommand)]
        command: proof::Proof,
    },
    /// Copy a control plane while it runs: journal, wrapped keys and uploaded files.
    ///
    /// The second backup into the same directory copies only what is new. To restore one you need the
    /// control plane's `master.key`, which is not in it.
    Backup(Backup),
    /// Make a new data directory that holds a control plane as it was at a moment.
    ///
    /// From a data directory, also beside its server, or from a backup. A moment inside a command is
    /// brought back to the one before it. Exit code 1 when something of the backup is damaged.
    RestoreJournal(RestoreJournal),
    /// Fold the whole journal with this program and say what it sees differently. Nothing is written.
    ///
    /// Compares with the snapshots and with the effects that were begun. Exit code 3 when something differs.
    Rehearse(Rehearse),
    #[command(flatten)]
    Remote(Remote),
    /// Work with configuration: of a file, or of a running server.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Say what this machine gives and what it does not, and what to do about it.
    ///
    /// Looks at cgroups, namespaces, limits, the data directory, the keeper, addresses and programs.
    /// Exit code 1 when something fails that the control plane cannot do without.
    Doctor(Doctor),
    /// Parent of every instance; started by `serve`.
    #[command(hide = true)]
    Keeper(DataDir),
    /// Prepares a process that is limited or isolated; started by the keeper.
    #[command(hide = true, name = crate::keeper::launch::COMMAND)]
    Run {
        /// Only say whether namespaces are possible here.
        #[arg(long)]
        check: bool,
    },
    /// Print the API's description (OpenAPI 3.1, JSON), for generators. No server is asked.
    Openapi,
    /// Print a shell's completion script.
    Completions(Completions),
    /// Write the manual pages.
    Man(Man),
}

#[derive(Debug, Args)]
struct DataDir {
    /// The control plane's own directory.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Serve {
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE", env = "TENANTRY_CONFIG")]
    config: Option<PathBuf>,
    /// The control plane's own directory [default: data].
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the tenant manager's API [default: 127.0.0.1:32201]; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "TENANTRY_MANAGER")]
    manager: Option<String>,
    /// Address of the instances' API [default: 127.0.0.1:8000]; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "TENANTRY_INSTANCES")]
    instances: Option<String>,
    /// Address of a listener for the traffic of instances alone [default: none]; the other two serve it as well.
    #[arg(long, value_name = "ADDR", env = "TENANTRY_PROXY")]
    proxy: Option<String>,
    /// How the log on standard error is written [default: text].
    #[arg(long, value_enum, value_name = "FORMAT", env = "TENANTRY_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// Start another version although it sees the journal differently; `tenantry rehearse` says how.
    #[arg(long)]
    accept_differences: bool,
}

#[derive(Debug, Args)]
struct Stop {
    /// The instances to stop, `service:id`, of a running server. They are gone then; their output stays.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    instance: Vec<InstanceKey>,
    /// End every instance of the data directory. There is no shorter form, so that nobody ends them by
    /// accident.
    #[arg(long)]
    all: bool,
    /// With --all: the control plane's own directory.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Print nothing when it went well.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

/// What `replay` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dump {
    /// The API's own objects, one JSON document.
    Json,
}

/// What `replay` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Replay {
    /// The moment: a position (`1042`), a time (`2026-01-31T12:00:00Z`), a distance (`5m ago`) or a time of
    /// day in UTC (`yesterday 14:00`) [default: the last event]. Times are the journal's own.
    #[arg(long, value_name = "POINT")]
    pub until: Option<String>,
    /// Only this tenant, by id or slug.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Print everything instead of a summary.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub dump: Option<Dump>,
    /// The control plane's own directory.
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Journal {
    /// Read everything again and check every byte against the hashes. Exit code 3 when something is wrong.
    ///
    /// Also against the last checkpoint in the data directory, and against one that you kept elsewhere.
    Verify(audit::Verify),
    /// Count events, commits and bytes.
    Stats(audit::Stats),
    /// Prove that an event is in the journal, or that a later journal goes on from an earlier one.
    Proof(audit::MakeProof),
    /// Print every event of one tenant, with what proves that they are in the journal; of others only hashes.
    Receipt(audit::MakeReceipt),
    /// Print a signed checkpoint of the journal. Keep it elsewhere: whoever has it sees later changes.
    Checkpoint(audit::MakeCheckpoint),
    /// Write the journal as one file, to be imported elsewhere. What is sealed stays sealed.
    Export(Export),
    /// Make a new data directory from an export. Exit code 3 when a byte of it is not as it was exported.
    Import(Import),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file without using it. Exit code 3 when it is not valid.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Show the configuration that a running server uses, with its secrets masked.
    Show(remote_config::Show),
    /// Ask a running server whether it would take a file. Exit code 3 when it would not.
    Validate(remote_config::Validate),
    /// Have a running server read its configuration file again.
    ///
    /// Says what changed, and restarts only the instances that it concerns. A bad file is refused
    /// with everything that is wrong (exit code 3), and the old configuration stays.
    Reload(reload::Reload),
}

/// What the commands do; implemented where everything is wired.
pub trait Program {
    /// Serves until a signal ends it. `source` is where the configuration came from.
    ///
    /// # Errors
    /// When it cannot start, or fails.
    fn serve(&self, config: Config, source: Source) -> anyhow::Result<()>;

    /// Runs the keeper of a data directory; gives the code that it ends with.
    fn keeper(&self, data_dir: &Path) -> ExitCode;

    /// Ends every instance of a data directory.
    ///
    /// # Errors
    /// When one is left.
    fn stop_all(&self, data_dir: &Path) -> anyhow::Result<()>;

    /// Prints the state at a moment.
    ///
    /// # Errors
    /// When there was no such moment, or the journal cannot be read.
    fn replay(&self, replay: &Replay) -> anyhow::Result<()>;

    /// Checks the journal and prints what was found; says whether it is whole.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    fn verify_journal(&self, asked: &audit::Verify) -> anyhow::Result<Verdict>;

    /// Prints the journal's numbers.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    fn journal_stats(&self, asked: &audit::Stats) -> anyhow::Result<()>;

    /// Prints something that the journal proves.
    ///
    /// # Errors
    /// When the journal cannot be read, or has no such thing.
    fn prove(&self, asked: &audit::Prove) -> anyhow::Result<()>;

    /// Does something with a control plane as a whole; says whether what it looked at is well.
    ///
    /// # Errors
    /// When it cannot be done. Nothing is left of it then.
    fn whole(&self, asked: &Whole) -> anyhow::Result<Verdict>;
}

/// Whether what was checked is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Valid,
    /// It is not.
    Invalid,
}

impl Verdict {
    fn exit(self) -> ExitCode {
        match self {
            Verdict::Valid => ExitCode::SUCCESS,
            Verdict::Invalid => ExitCode::from(NOT_VALID),
        }
    }
}

/// Does what the process's arguments say.
pub fn main(program: &dyn Program) -> ExitCode {
    crate::tls::install();
    run(Cli::parse(), program)
}

/// Does what a parsed command line says.
#[must_use]
pub fn run(cli: Cli, program: &dyn Program) -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let ended = match cli.command {
        Command::Serve(flags) => serve(flags, program),
        Command::Keeper(dir) => Ok(program.keeper(&absolute(dir.data_dir))),
        Command::Run { check: true } => Ok(crate::keeper::launch::check()),
        Command::Run { check: false } => Ok(crate::keeper::launch::run()),
        Command::Stop(stop) if stop.all => program.stop_all(&absolute(stop.data_dir)).map(done),
        Command::Stop(Stop { instance, quiet, common, .. }) => {
            instances::stop(&Named { instance, quiet, common }).map(done)
        }
        Command::Replay(mut replay) => {
            replay.data_dir = absolute(replay.data_dir);
            program.replay(&replay).map(done)
        }
        Command::Journal { command } => match command {
            Journal::Verify(asked) => program.verify_journal(&asked).map(Verdict::exit),
            Journal::Stats(asked) => program.journal_stats(&asked).map(done),
            Journal::Proof(asked) => program.prove(&audit::Prove::Proof(asked)).map(done),
            Journal::Receipt(asked) => program.prove(&audit::Prove::Receipt(asked)).map(done),
            Journal::Checkpoint(asked) => program.prove(&audit::Prove::Checkpoint(asked)).map(done),
            Journal::Export(asked) => program.whole(&Whole::Export(asked)).map(Verdict::exit),
            Journal::Import(asked) => program.whole(&Whole::Import(asked)).map(Verdict::exit),
        },
        Command::Proof { command } => proof::run(&command).map(Verdict::exit),
        Command::Backup(asked) => program.whole(&Whole::Backup(asked)).map(Verdict::exit),
        Command::RestoreJournal(asked) => program.whole(&Whole::RestoreJournal(asked)).map(Verdict::exit),
        Command::Rehearse(asked) => program.whole(&Whole::Rehearse(asked)).map(Verdict::exit),
        Command::Doctor(asked) => doctor::run(asked),
        Command::Remote(command) => remote::run(&command),
        Command::Config { command } => match command {
            ConfigCommand::Check { file } => config::check(&file),
            ConfigCommand::Show(args) => remote_config::show(&args).map(done),
            ConfigCommand::Validate(args) => remote_config::validate(&args),
            ConfigCommand::Reload(args) => reload::reload(&args),
        },
        Command::Openapi => openapi::print().map(done),
        Command::Completions(args) => completions::completions(&args, Cli::command()).map(done),
        Command::Man(args) => completions::man(&args, Cli::command()).map(done),
    };
    ended.unwrap_or_else(|error| code_of(&error))
}

/// Reports what ended a command, and gives its exit code.
fn code_of(error: &anyhow::Error) -> ExitCode {
    // Whoever reads has read enough, as in `tenantry logs | head`.
    let is_read_enough = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_read_enough) {
        return ExitCode::SUCCESS;
    }
    report(error);
    match error.downcast_ref::<Failure>() {
        Some(failure) => failure.exit(),
        None if error.is::<ConfigErrors>() => ExitCode::from(NOT_VALID),
        None => ExitCode::from(FAILED),
    }
}

fn serve(flags: Serve, program: &dyn Program) -> anyhow::Result<ExitCode> {
    let overrides = Overrides {
        data_dir: flags.data_dir,
        manager: flags.manager,
        instances: flags.instances,
        proxy: flags.proxy,
        log_format: flags.log_format,
        ..Overrides::from_process()?
    };
    let source = Source::new(flags.config, overrides);
    let config = Config { accept_differences: flags.accept_differences, ..source.read()? };
    program.serve(config, source)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints an error, everything behind it and what to do next, on one line each.
fn report(error: &anyhow::Error) {
    eprintln!("tenantry: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    if let Some(failure) = error.downcast_ref::<Failure>()
        && !failure.next.is_empty()
    {
        eprintln!("  {}", failure.next);
    }
}

/// A path that stays right when the working directory changes; as it is when there is none.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Told {
        fn note(&self, what: impl Into<String>) -> anyhow::Result<()> {
            self.0.lock().unwrap().push(what.into());
            Ok(())
        }
    }

    impl Program for Told {
        fn serve(&self, config: Config, source: Source) -> anyhow::Result<()> {
            assert_eq!(source.read().map_err(|errors| errors.to_string()), Ok(config.clone()));
            self.note(format!("serve {} {}", config.data_dir.display(), config.manager))
        }
        fn keeper(&self, data_dir: &Path) -> ExitCode {
            self.note(format!("keeper {}", data_dir.display())).expect("noted");
            ExitCode::SUCCESS
        }
        fn stop_all(&self, data_dir: &Path) -> anyhow::Result<()> {
            self.note(format!("stop {}", data_dir.display()))
        }
        fn replay(&self, replay: &Replay) -> anyhow::Result<()> {
            self.note(format!("replay {:?} {:?} {:?}", replay.until, replay.tenant, replay.dump))
        }
        fn verify_journal(&self, _: &audit::Verify) -> anyhow::Result<Verdict> {
            Ok(Verdict::Invalid)
        }
        fn journal_stats(&self, asked: &audit::Stats) -> anyhow::Result<()> {
            anyhow::ensure!(asked.data_dir == Path::new("/closed"), "no journal there");
            Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into())
        }
        fn prove(&self, asked: &audit::Prove) -> anyhow::Result<()> {
            self.note(format!("{asked:?}"))
        }

        fn whole(&self, asked: &Whole) -> anyhow::Result<Verdict> {
            self.note(format!("{asked:?}")).map(|()| Verdict::Invalid)
        }
    }

    fn told(args: &[&str]) -> (String, Vec<String>) {
        let program = Told::default();
        let words = ["tenantry"].iter().chain(args);
        let code = run(Cli::try_parse_from(words).expect("parses"), &program);
        (format!("{code:?}"), program.0.into_inner().unwrap())
    }

    fn code(code: u8) -> String {
        format!("{:?}", ExitCode::from(code))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_command_reaches_its_part() {
        let (ended, did) = told(&["serve", "--data-dir", "/d", "--manager", "127.0.0.1:0"]);
        assert_eq!((ended, did), (code(0), vec!["serve /d 127.0.0.1:0".to_owned()]));
        assert_eq!(told(&["stop", "--all", "--data-dir", "/d"]).1, ["stop /d"]);
        assert_eq!(told(&["keeper", "--data-dir", "/d"]).1, ["keeper /d"]);
        let replay = ["replay", "--until", "42", "--tenant", "smith", "--dump", "json"];
        assert_eq!(told(&replay).1, [r#"replay Some("42") Some("smith") Some(Json)"#]);
    }

    #[test]
    fn the_exit_code_tells_failure_from_refusal() {
        assert_eq!(told(&["journal", "verify", "--data-dir", "/d"]).0, code(NOT_VALID));
        assert_eq!(told(&["journal", "stats", "--data-dir", "/d"]).0, code(FAILED));
        let serve = ["serve", "--manager", "nowhere"];
        assert_eq!(told(&serve), (code(NOT_VALID), vec![]));
        assert_eq!(told(&["config", "check", "/nowhere.toml"]).0, code(NOT_VALID));
    }

    #[test]
    fn a_reader_who_has_had_enough_is_no_failure() {
        assert_eq!(told(&["journal", "stats", "--data-dir", "/closed"]).0, code(0));
    }

    #[test]
    fn a_proof_is_of_one_thing_and_is_checked_with_a_key() {
        assert!(told(&["journal", "proof", "--seq", "3"]).1[0].contains("seq: Some(3)"));
        assert!(told(&["journal", "proof", "--from", "3", "--to", "9"]).1[0].contains("to: Some(9)"));
        for wrong in [
            &["journal", "proof"][..],
            &["journal", "proof", "--seq", "1", "--from", "2"],
            &["journal", "proof", "--from", "2", "--tree-size", "3"],
            &["journal", "receipt"],
            &["proof", "check", "file"],
        ] {
            let words = ["tenantry"].iter().chain(wrong);
            assert!(Cli::try_parse_from(words).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn stop_asks_for_all_in_so_many_words() {
        assert!(Cli::try_parse_from(["tenantry", "stop"]).is_err());
        assert!(Cli::try_parse_from(["tenantry", "stop", "--data-dir", "/d"]).is_err());
        assert!(Cli::try_parse_from(["tenantry", "stop", "--all", "api:a"]).is_err());
        assert!(Cli::try_parse_from(["tenantry", "stop", "api:a", "api:b"]).is_ok());
        assert!(Cli::try_parse_from(["tenantry", "stop", "../../victim"]).is_err());
    }
}
