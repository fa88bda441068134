//! `tenantry completions SHELL` and `tenantry man`: made from the definition of the command line.
//!
//! clap_complete's own completion of live values is not stable. So what it generates is
//! completed by a few lines that ask `tenantry __complete` where an instance or a tenant is due.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use super::screen::{Color, Screen};

/// What `completions` is asked.
#[derive(Clone, Debug, Args)]
#[command(after_help = "bash:  source <(tenantry completions bash)\n\
    zsh:   tenantry completions zsh > \"${fpath[1]}/_tenantry\"\n\
    fish:  tenantry completions fish > ~/.config/fish/completions/tenantry.fish\n\n\
    Names of instances and tenants are asked of the server of TENANTRY_SERVER or of the last login.")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// What `man` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Man {
    /// Where the pages are written; made if need be.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Prints a shell's script.
pub(super) fn completions(args: &Completions, command: Command) -> anyhow::Result<()> {
    Ok(Screen::of_process(Color::Never).print(&script(args.shell, command)?)?)
}

/// Writes a manual page for each command.
pub(super) fn man(args: &Man, command: Command) -> anyhow::Result<()> {
    write_pages(&args.dir, command).with_context(|| format!("{} cannot be written", args.dir.display()))
}

fn write_pages(dir: &Path, command: Command) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command, dir)
}

fn script(shell: Shell, mut command: Command) -> anyhow::Result<String> {
    let mut generated = Vec::new();
    clap_complete::generate(shell, &mut command, "tenantry", &mut generated);
    let generated = String::from_utf8(generated).context("the script is not UTF-8")?;
    let takers = Takers::of(&command);
    Ok(match shell {
        Shell::Bash => generated + &bash(&takers),
        Shell::Zsh => zsh(&generated),
        Shell::Fish => generated + &fish(&takers),
        _ => generated,
    })
}

/// The arguments that are names of living things, and what `__complete` calls them.
const NAMED: [(&str, &str); 2] = [("instance", "instances"), ("tenant", "tenants")];

/// The commands that take such a name.
struct Takers {
    /// The words of each command, and of what kind its names are.
    commands: Vec<(Vec<String>, &'static str)>,
    /// Their options that take no value: after them a name may come.
    flags: Vec<String>,
}

impl Takers {
    fn of(root: &Command) -> Takers {
        let mut takers = Takers { commands: Vec::new(), flags: Vec::new() };
        takers.look(root, &[]);
        takers.flags.sort();
        takers.flags.dedup();
        takers
    }

    fn look(&mut self, command: &Command, words: &[String]) {
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            let words = [words, &[below.get_name().to_owned()]].concat();
            let positional = below
                .get_positionals()
                .find_map(|arg| NAMED.iter().find(|(name, _)| arg.get_id() == name).map(|(_, kind)| *kind));
            if let Some(kind) = positional {
                let flags = below.get_arguments().filter(|arg| !arg.get_action().takes_values());
                self.flags.extend(flags.flat_map(|arg| {
                    let short = arg.get_short().map(|letter| format!("-{letter}"));
                    short.into_iter().chain(arg.get_long().map(|word| format!("--{word}")))
                }));
                self.commands.push((words.clone(), kind));
            }
            self.look(below, &words);
        }
    }

    fn of_kind(&self, wanted: &str) -> impl Iterator<Item = &[String]> {
        self.commands.iter().filter(move |(_, kind)| *kind == wanted).map(|(words, _)| words.as_slice())
    }
}

fn bash(takers: &Takers) -> String {
    let cases: String = NAMED
        .iter()
        .map(|(_, kind)| {
            let patterns: Vec<String> =
                takers.of_kind(kind).map(|words| format!("\" {} \"*", words.join(" "))).collect();
            format!("        {}) kind={kind} ;;\n", patterns.join(" | "))
        })
        .collect();
    format!(
        r#"
# Names of instances and tenants. bash splits words at colons, and an instance's name has one.
_tenantry_with_names() {{
    local kind="" line="${{COMP_LINE:0:COMP_POINT}}" word before previous
    word="${{line##*[[:space:]]}}"
    before="${{line%"$word"}}"
    read -ra before <<< "$before"
    previous="${{before[-1]}}"
    case " ${{before[*]:1}} " in
{cases}    esac
    case "$previous" in
        {flags}) ;;
        -*) kind="" ;;
    esac
    if [[ -z $kind || $word == -* ]]; then
        _tenantry "$@"
        return
    fi
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$(command "$1" __complete "$kind" 2> /dev/null)" -- "$word"))
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${{COMPREPLY[@]#"${{word%:*}}:"}}")
    fi
}}
complete -F _tenantry_with_names -o bashdefault -o default tenantry
"#,
        flags = takers.flags.join(" | "),
    )
}

/// zsh calls a completing function with options for `compadd` before its own argument.
fn zsh(generated: &str) -> String {
    const NAMES: &str = r#"
_tenantry_names() {
    local -a names
    names=(${(f)"$(command tenantry __complete ${@[-1]} 2> /dev/null)"})
    compadd "${@[1,-2]}" -a names
}
"#;
    let (head, rest) = generated.split_once('\n').unwrap_or((generated, ""));
    let mut out = format!("{head}\n{NAMES}");
    for line in rest.lines() {
        let named = NAMED.iter().find(|(name, _)| line.contains(&format!(":{name} -- ")));
        match named {
            Some((_, kind)) => {
                out.push_str(&line.replace(":_default'", &format!(":_tenantry_names {kind}'")))
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn fish(takers: &Takers) -> String {
    let line = |(words, kind): &(Vec<String>, &str)| {
        let condition = match words.as_slice() {
            [command, below @ ..] if !below.is_empty() => format!(
                "__fish_tenantry_using_subcommand {command}; and __fish_seen_subcommand_from {}",
                below.join(" ")
            ),
            words => format!("__fish_tenantry_using_subcommand {}", words.join(" ")),
        };
        format!(
            "complete -c tenantry -n \"{condition}\" -f -a \"(command tenantry __complete {kind} 2> /dev/null)\"\n"
        )
    };
    takers.commands.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn made(shell: Shell) -> String {
        script(shell, Cli::command()).expect("makes a script")
    }

    #[test]
    fn commands_that_take_names_are_found() {
        let takers = Takers::of(&Cli::command());
        let instances: Vec<String> = takers.of_kind("instances").map(|words| words.join(" ")).collect();
        assert_eq!(instances, ["stop", "restart", "logs", "metrics", "weight"], "a new one has no name yet");
        let tenants: Vec<String> = takers.of_kind("tenants").map(|words| words.join(" ")).collect();
        assert!(tenants.contains(&"tenants deploy".to_owned()), "{tenants:?}");
        assert!(
            takers.flags.contains(&"--follow".to_owned()) && !takers.flags.contains(&"--grep".to_owned())
        );
    }

    #[test]
    fn every_shell_asks_for_names() {
        assert!(made(Shell::Bash).contains("\" tenants show \"*"));
        let zsh = made(Shell::Zsh);
        assert!(zsh.starts_with("#compdef tenantry\n"));
        assert!(zsh.matches(":_tenantry_names instances'").count() >= 5, "{zsh}");
        assert!(zsh.matches(":_tenantry_names tenants'").count() >= 5);
        assert!(made(Shell::Fish).contains("-f -a \"(command tenantry __complete instances 2> /dev/null)\""));
        assert!(made(Shell::Elvish).contains("logs"));
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        write_pages(&dir.path().join("man1"), Cli::command()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("man1/tenantry-logs.1")).unwrap();
        assert!(page.contains(".TH") && page.contains("grep"), "{page}");
        let main = std::fs::read_to_string(dir.path().join("man1/tenantry.1")).unwrap();
        assert!(main.contains("Exit codes"), "{main}");
        assert!(dir.path().join("man1/tenantry-token-create.1").exists());
        assert!(!dir.path().join("man1/tenantry-__complete.1").exists());
    }
}
