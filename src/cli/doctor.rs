//! `tenantry doctor`: what this machine gives, what it does not, and what to do about it.
//!
//! Nothing is changed: what is tried is undone. Exit code 1 when something fails that the
//! control plane cannot do without.

mod checks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::config::{Config, Overrides};

/// What `doctor` is asked.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE", env = "TENANTRY_CONFIG")]
    config: Option<PathBuf>,
    /// The control plane's own directory [default: data].
    #[arg(long, value_name = "DIR", env = "TENANTRY_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON object instead of lines for people.
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// Something that can be configured will not work.
    Warn,
    /// The control plane will not work.
    Fail,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    status: Verdict,
    /// What was found.
    detail: String,
    /// What to do about it; not there when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Finding {
        Finding { check, status: Verdict::Ok, detail: detail.into(), advice: None }
    }

    fn bad(
        check: &'static str,
        status: Verdict,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { check, status, detail: detail.into(), advice: Some(advice.into()) }
    }

    fn warn(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding::bad(check, Verdict::Warn, detail, advice)
    }

    fn fail(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding::bad(check, Verdict::Fail, detail, advice)
    }
}

#[derive(Serialize)]
struct Report<'a> {
    status: Verdict,
    version: &'static str,
    checks: &'a [Finding],
}

/// Looks at everything and tells.
pub(super) fn run(doctor: Doctor) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { data_dir: doctor.data_dir, ..Overrides::from_process()? };
    let config = Config::load(doctor.config.as_deref(), &overrides)?;
    let findings = checks::all(&config);
    let worst = findings.iter().map(|finding| finding.status).max().unwrap_or(Verdict::Ok);
    if doctor.json {
        let version = env!("CARGO_PKG_VERSION");
        println!("{}", serde_json::to_string_pretty(&Report { status: worst, version, checks: &findings })?);
    } else {
        print!("{}", lines(&findings));
    }
    Ok(if worst == Verdict::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn lines(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { check, status, detail, advice } in findings {
        text.push_str(&format!("{:<4}  {check:<width$}  {detail}\n", status.word()));
        if let Some(advice) = advice {
            text.push_str(&format!("      {:<width$}  -> {advice}\n", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_stands_below_what_it_is_about() {
        let findings = [Finding::ok("git", "2.39"), Finding::warn("namespaces", "none", "run as root")];
        let text = "ok    git         2.39\nwarn  namespaces  none\n                  -> run as root\n";
        assert_eq!(lines(&findings), text);
        assert!(Verdict::Fail > Verdict::Warn && Verdict::Warn > Verdict::Ok);
    }
}
