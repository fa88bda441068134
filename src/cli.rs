//! The command line: what can be said, and which part of the program does it.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line is wrong (from clap), 3 refused or not
//! valid (a bad configuration, a damaged journal). The work itself is behind [`Program`].

mod config;
mod events;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use events::Events;

use crate::config::{Config, ConfigErrors, LogFormat, Overrides};

/// Exit code when something failed.
const FAILED: u8 = 1;
/// Exit code when something was refused or is not valid.
const REFUSED: u8 = 3;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 refused or not valid.\n\n\
    Every option of the configuration file can also be given in the environment: a key of [settings] as\n\
    TENANTRY_KEY, a key of another section as TENANTRY_SECTION_KEY (TENANTRY_PORTS_FIRST). A flag wins over\n\
    the environment, the environment over the file. TENANTRY_ADMIN_PASSWORD sets the first administrator's\n\
    password; without it one is made and printed once.";

/// Runs one application for many customers: a control plane with an event journal.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version, propagate_version = true, after_help = EXIT_CODES)]
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
    /// End every instance of a data directory, whether or not a server runs on it.
    Stop(Stop),
    /// Show the state as it was at a moment, from the journal alone. Nothing is written or done.
    Replay(Replay),
    /// Look into the journal of a data directory, also beside a running server. Nothing is written.
    Journal {
        #[command(subcommand)]
        command: Journal,
    },
    /// Show the events of a running server, oldest first.
    Events(Events),
    /// Work with configuration files.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Parent of every instance; started by `serve`.
    #[command(hide = true)]
    Keeper(DataDir),
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
}

#[derive(Debug, Args)]
struct Stop {
    /// End every instance. There is no shorter form, so that nobody ends them by accident.
    #[arg(long, required = true)]
    all: bool,
    #[command(flatten)]
    data_dir: DataDir,
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
    /// The moment: a position (`1042`) or a time (`2026-01-31T12:00:00Z`) [default: the last event].
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
    Verify(DataDir),
    /// Count events, commits and bytes.
    Stats(DataDir),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file without using it. Exit code 3 when it is not valid.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// What the commands do; implemented where everything is wired.
pub trait Program {
    /// Serves until a signal ends it. `reload` reads the configuration again as it was read first.
    ///
    /// # Errors
    /// When it cannot start, or fails.
    fn serve(&self, config: Config, reload: Reload) -> anyhow::Result<()>;

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
    fn verify_journal(&self, data_dir: &Path) -> anyhow::Result<Verdict>;

    /// Prints the journal's numbers.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    fn journal_stats(&self, data_dir: &Path) -> anyhow::Result<()>;
}

/// Whether what was checked is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Valid,
    /// It is not.
    Invalid,
}

/// Reads the configuration again, with the flags and the environment of the first time.
#[derive(Clone, Debug)]
pub struct Reload {
    file: Option<PathBuf>,
    overrides: Overrides,
}

impl Reload {
    /// Reads the file as it is now.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn read(&self) -> Result<Config, ConfigErrors> {
        Config::load(self.file.as_deref(), &self.overrides)
    }
}

/// Does what the process's arguments say.
pub fn main(program: &dyn Program) -> ExitCode {
    run(Cli::parse(), program)
}

/// Does what a parsed command line says.
#[must_use]
pub fn run(cli: Cli, program: &dyn Program) -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let ended = match cli.command {
        Command::Serve(flags) => serve(flags, program),
        Command::Keeper(dir) => Ok(program.keeper(&absolute(dir.data_dir))),
        Command::Stop(stop) => {
            debug_assert!(stop.all, "clap requires --all");
            program.stop_all(&absolute(stop.data_dir.data_dir)).map(done)
        }
        Command::Replay(mut replay) => {
            replay.data_dir = absolute(replay.data_dir);
            program.replay(&replay).map(done)
        }
        Command::Journal { command: Journal::Verify(dir) } => {
            program.verify_journal(&absolute(dir.data_dir)).map(|verdict| match verdict {
                Verdict::Valid => ExitCode::SUCCESS,
                Verdict::Invalid => ExitCode::from(REFUSED),
            })
        }
        Command::Journal { command: Journal::Stats(dir) } => {
            program.journal_stats(&absolute(dir.data_dir)).map(done)
        }
        Command::Events(events) => events::run(&events).map(done),
        Command::Config { command: ConfigCommand::Check { file } } => config::check(&file),
    };
    ended.unwrap_or_else(|error| {
        report(&error);
        ExitCode::from(if error.is::<ConfigErrors>() { REFUSED } else { FAILED })
    })
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
    let reload = Reload { file: flags.config, overrides };
    let config = reload.read()?;
    program.serve(config, reload)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints an error and everything behind it on one line each.
fn report(error: &anyhow::Error) {
    eprintln!("tenantry: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
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
        fn serve(&self, config: Config, reload: Reload) -> anyhow::Result<()> {
            assert_eq!(reload.read().map_err(|errors| errors.to_string()), Ok(config.clone()));
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
        fn verify_journal(&self, _: &Path) -> anyhow::Result<Verdict> {
            Ok(Verdict::Invalid)
        }
        fn journal_stats(&self, _: &Path) -> anyhow::Result<()> {
            anyhow::bail!("no journal there")
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
        use clap::CommandFactory;
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
        assert_eq!(told(&["journal", "verify", "--data-dir", "/d"]).0, code(REFUSED));
        assert_eq!(told(&["journal", "stats", "--data-dir", "/d"]).0, code(FAILED));
        let serve = ["serve", "--manager", "nowhere"];
        assert_eq!(told(&serve), (code(REFUSED), vec![]));
        assert_eq!(told(&["config", "check", "/nowhere.toml"]).0, code(REFUSED));
    }

    #[test]
    fn stop_asks_for_all_in_so_many_words() {
        assert!(Cli::try_parse_from(["tenantry", "stop"]).is_err());
    }
}
