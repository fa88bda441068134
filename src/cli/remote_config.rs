//! `tenantry config show|validate`: the configuration of a running server.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use reqwest::StatusCode;
use serde_json::Value;

use super::client::{Common, Query, block_on, field, list};
use super::failure::{FAILED, Failure, NOT_VALID};
use super::safe_text::{safe, safe_lines};

/// What `config show` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    common: Common,
}

/// What `config validate` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Validate {
    /// The file, TOML or JSON; `-` for standard input.
    file: PathBuf,
    /// Print nothing; the exit code says it.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

/// Prints the configuration that the server uses, with its secrets masked.
pub(super) fn show(args: &Show) -> anyhow::Result<()> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let answer = block_on(async { Ok(client.get("/api/config", &Query::new()).await?) })?;
    if args.common.json {
        screen.print_json(&answer)?;
    } else {
        screen.print(&safe_lines(&as_toml(answer)?))?;
    }
    Ok(())
}

/// As it would stand in a file. TOML has no null: what is not set is left out.
fn as_toml(mut value: Value) -> anyhow::Result<String> {
    drop_nulls(&mut value);
    Ok(toml::to_string_pretty(&value)?)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(entries) => {
            entries.retain(|value| !value.is_null());
            entries.iter_mut().for_each(drop_nulls);
        }
        _ => {}
    }
}

/// Asks the server whether it would take a file.
pub(super) fn validate(args: &Validate) -> anyhow::Result<ExitCode> {
    let screen = args.common.screen();
    let client = args.common.client()?;
    let text = read(&args.file)?;
    let (status, answer) =
        block_on(async { Ok(client.post_text("/api/config/validate", "application/toml", text).await?) })?;
    let Some(is_valid) = field(&answer, "valid").as_bool() else {
        return Err(refused(&client.address, status, &answer).into());
    };
    if args.common.json {
        screen.print_json(&answer)?;
    } else if !args.quiet {
        screen.print(&told(&args.file, is_valid, &answer))?;
    }
    Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::from(NOT_VALID) })
}

fn refused(address: &str, status: StatusCode, answer: &Value) -> Failure {
    if status.is_success() {
        return Failure::new(FAILED, "the server did not say whether the file is valid", "");
    }
    Failure::answered(address, status, answer)
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("standard input cannot be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn told(file: &Path, is_valid: bool, answer: &Value) -> String {
    let entry = |value: &Value| match value {
        Value::String(text) => safe(text).into_owned(),
        other => safe(&other.to_string()).into_owned(),
    };
    let mut out = String::new();
    for (name, word) in [("errors", "error"), ("warnings", "warning")] {
        for value in list(answer, name) {
            out.push_str(&format!("{word}: {}\n", entry(value)));
        }
    }
    let verdict = if is_valid { "valid" } else { "not valid" };
    out + &format!("{} is {verdict}\n", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_error_and_warning_is_told() {
        let answer = json!({"valid": false, "errors": ["Service 'api' missing required field: command"],
            "warnings": ["line 3: unknown key 'helth'; did you mean 'health'?\u{7}"]});
        assert_eq!(
            told(Path::new("t.toml"), false, &answer),
            "error: Service 'api' missing required field: command\n\
             warning: line 3: unknown key 'helth'; did you mean 'health'?\\x07\n\
             t.toml is not valid\n"
        );
        assert_eq!(told(Path::new("t"), true, &json!({"valid": true, "warnings": []})), "t is valid\n");
    }

    #[test]
    fn the_printed_configuration_is_shown_as_it_would_stand_in_a_file() {
        let answer = json!({"settings": {"data_dir": "/var/lib/tenement", "health_check_interval": 10},
            "services": {"api": {"command": "./api", "socket": null, "args": []}}});
        let text = as_toml(answer).unwrap();
        assert!(text.contains("[settings]\n") && text.contains("health_check_interval = 10\n"), "{text}");
        assert!(text.contains("[services.api]\n") && !text.contains("socket"), "{text}");
    }
}
