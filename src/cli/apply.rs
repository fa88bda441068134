//! `tenantry apply FILE`: brings tenants to what a file says of them, and nothing else.
//!
//! What would change is asked of the server itself, by dry runs, so secrets can be compared
//! without being shown. A tenant that the file does not name is left alone, and so is a field.
//! Applied again, the same file changes nothing.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tenantry_journal::id::TenantId;
use tenantry_journal::name::{Domain, Slug};

use super::client::{Client, Common, Query, block_on, field, list, text};
use super::failure::{FAILED, Failure, NOT_VALID};
use super::safe_text::safe;
use super::screen::Screen;
use super::tenants;

/// A file longer than this, in bytes, is a mistake.
const FILE_LIMIT: u64 = 4 << 20;

/// What `apply` is asked.
#[derive(Clone, Debug, Args)]
#[command(after_help = "A table for each tenant, by its slug; what is left out stays as it is:\n\n  \
    [tenants.smith]\n  name = \"John Smith for Senate\"\n  domain = \"smith.example.com\"\n  \
    api_domain = \"smithapi.example.com\"\n  github_repo = \"git@github.com:org/smith.git\"\n  \
    notes = \"Second campaign\"\n\n  [tenants.smith.config]\n  app_name = \"Smith 2026\"\n  \
    custom_env = { FEATURE_X = \"true\" }\n\nfrontend_port and backend_port count when the tenant is created.")]
pub(super) struct Apply {
    /// The file, TOML.
    file: PathBuf,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Say what would change, and change nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tenants: BTreeMap<Slug, Wanted>,
}

/// A tenant as the file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: Option<String>,
    domain: Domain,
    api_domain: Option<Domain>,
    github_repo: Option<String>,
    notes: Option<String>,
    frontend_port: Option<u16>,
    backend_port: Option<u16>,
    config: Option<Map<String, Value>>,
}

impl Wanted {
    /// The fields that can be changed, as far as the file says them.
    fn details(&self) -> Map<String, Value> {
        let fields = [
            ("name", self.name.as_ref().map(|name| json!(name))),
            ("domain", Some(json!(self.domain))),
            ("api_domain", self.api_domain.as_ref().map(|domain| json!(domain))),
            ("github_repo", self.github_repo.as_ref().map(|repository| json!(repository))),
            ("notes", self.notes.as_ref().map(|notes| json!(notes))),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn ports(&self) -> impl Iterator<Item = (&'static str, u16)> {
        let ports = [("frontend_port", self.frontend_port), ("backend_port", self.backend_port)];
        ports.into_iter().filter_map(|(name, port)| Some((name, port?)))
    }
}

/// What is to be done for one tenant.
#[derive(Debug)]
struct Step {
    slug: Slug,
    /// `None` for one that is to be created.
    id: Option<TenantId>,
    /// What is sent for the tenant itself, and for its configuration.
    details: Option<Map<String, Value>>,
    config: Option<Map<String, Value>>,
    /// What changes, for people.
    lines: Vec<String>,
}

impl Step {
    fn is_nothing(&self) -> bool {
        self.details.is_none() && self.config.is_none()
    }

    fn json(&self) -> Value {
        let action = match (self.id, self.is_nothing()) {
            (None, _) => "create",
            (Some(_), true) => "none",
            (Some(_), false) => "update",
        };
        json!({"slug": self.slug, "action": action, "changes": self.lines})
    }
}

/// Plans, asks, and applies.
pub(super) fn run(args: &Apply) -> anyhow::Result<()> {
    let file = read(args)?;
    let (screen, client) = (args.common.screen(), args.common.client()?);
    let plan = block_on(async { Ok(plan(&client, file).await?) })?;
    let is_nothing = plan.iter().all(Step::is_nothing);
    let applies = !is_nothing && !args.dry_run;
    if args.common.json {
        if applies && !args.yes {
            return Err(Failure::usage("with --json say --yes or --dry-run: nobody can be asked").into());
        }
    } else {
        screen.print(&shown(&plan))?;
        if applies && !args.yes && !confirmed()? {
            return Err(Failure::new(FAILED, "nothing was changed", "").into());
        }
    }
    if applies {
        block_on(async { perform(&client, &plan, &screen, args.common.json).await })?;
    }
    if args.common.json {
        let tenants: Vec<Value> = plan.iter().map(Step::json).collect();
        screen.print_json(&json!({"applied": applies, "tenants": tenants}))?;
    }
    Ok(())
}

fn read(args: &Apply) -> anyhow::Result<File> {
    let path = args.file.display();
    let length = std::fs::metadata(&args.file).with_context(|| format!("{path} cannot be read"))?.len();
    if length > FILE_LIMIT {
        return Err(Failure::new(NOT_VALID, format!("{path} is longer than {FILE_LIMIT} bytes"), "").into());
    }
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("{path} cannot be read"))?;
    parse(&text)
        .map_err(|why| Failure::new(NOT_VALID, format!("{path} is not valid: {}", safe(&why)), "").into())
}

fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        // The error's own text shows the line, which may hold a secret.
        let line =
            error.span().map(|span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
        match line {
            Some(line) => format!("line {line}: {}", error.message()),
            None => error.message().to_owned(),
        }
    })
}

async fn plan(client: &Client, file: File) -> Result<Vec<Step>, Failure> {
    let present = tenants::all(client, None, None).await?;
    let mut steps = Vec::new();
    for (slug, wanted) in file.tenants {
        let found = list(&present, "tenants").iter().find(|tenant| text(tenant, "slug") == slug.as_str());
        steps.push(match found {
            None => creation(slug, &wanted),
            Some(tenant) => change(client, slug, &wanted, tenant).await?,
        });
    }
    Ok(steps)
}

fn creation(slug: Slug, wanted: &Wanted) -> Step {
    let mut details = wanted.details();
    details.entry("name").or_insert_with(|| json!(slug));
    details.insert("slug".to_owned(), json!(slug));
    details.extend(wanted.ports().map(|(name, port)| (name.to_owned(), json!(port))));
    let mut lines: Vec<String> = details.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    lines.extend(config_names(wanted.config.as_ref()));
    Step { slug, id: None, details: Some(details), config: wanted.config.clone(), lines }
}

/// Values of a configuration may be secrets: its names alone are shown.
fn config_names(config: Option<&Map<String, Value>>) -> impl Iterator<Item = String> {
    config.into_iter().flatten().map(|(name, _)| format!("config.{name}"))
}

async fn change(client: &Client, slug: Slug, wanted: &Wanted, present: &Value) -> Result<Step, Failure> {
    let id: TenantId = text(present, "id")
        .parse()
        .map_err(|_| Failure::new(FAILED, format!("the server gave tenant {slug} an id that is none"), ""))?;
    if let Some((name, port)) = wanted.ports().find(|(name, port)| *field(present, name) != json!(port)) {
        let held = text(present, name);
        return Err(Failure::new(
            FAILED,
            format!("{slug}: {name} is {held} and cannot become {port}"),
            "Ports are given when a tenant is created; take them out of the file.",
        ));
    }
    let path = format!("/api/tenants/{id}");
    let whole = client.get(&path, &Query::new()).await?;
    let mut details = wanted.details();
    details.retain(|name, value| field(&whole, name) != value);
    let mut lines: Vec<String> =
        details.iter().map(|(name, value)| format!("{name}: {} -> {value}", field(&whole, name))).collect();
    let config = match &wanted.config {
        Some(config) => {
            let (asked, body) = (format!("{path}/config?dry_run=true"), json!(config));
            let answer = client.send(Method::PUT, &asked, Some(&body)).await?;
            let events = list(&answer, "events").iter();
            let changed = events.flat_map(|event| list(field(event, "data"), "changed"));
            let names: Vec<String> =
                changed.filter_map(Value::as_str).map(|name| format!("config.{name}")).collect();
            lines.extend(names.iter().cloned());
            (!names.is_empty()).then(|| config.clone())
        }
        None => None,
    };
    let details = (!details.is_empty()).then_some(details);
    Ok(Step { slug, id: Some(id), details, config, lines })
}

fn shown(plan: &[Step]) -> String {
    let mut out = String::new();
    for step in plan {
        let sign = match (step.id, step.is_nothing()) {
            (None, _) => "+",
            (Some(_), true) => "=",
            (Some(_), false) => "~",
        };
        out.push_str(&format!("{sign} {}\n", step.slug));
        out.extend(step.lines.iter().map(|line| format!("    {}\n", safe(line))));
    }
    let count = |wanted: fn(&Step) -> bool| plan.iter().filter(|step| wanted(step)).count();
    let created = count(|step| step.id.is_none());
    let same = count(Step::is_nothing);
    out.push_str(&format!(
        "{created} to create, {} to change, {same} as they are\n",
        plan.len() - created - same
    ));
    out
}

fn confirmed() -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("standard input is no terminal: say --yes or --dry-run").into());
    }
    eprint!("Apply this? [y/N] ");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

async fn perform(client: &Client, plan: &[Step], screen: &Screen, is_quiet: bool) -> anyhow::Result<()> {
    for step in plan.iter().filter(|step| !step.is_nothing()) {
        let done = one(client, step).await;
        done.map_err(|failure| Failure {
            message: format!("{}: {}", step.slug, failure.message),
            ..failure
        })?;
        if !is_quiet {
            screen.print(&format!("{} applied\n", step.slug))?;
        }
    }
    Ok(())
}

async fn one(client: &Client, step: &Step) -> Result<(), Failure> {
    let details = step.details.clone().map(Value::Object);
    let id = match (step.id, details) {
        (None, details) => text(&client.send(Method::POST, "/api/tenants", details.as_ref()).await?, "id"),
        (Some(id), Some(details)) => {
            client.send(Method::PUT, &format!("/api/tenants/{id}"), Some(&details)).await?;
            id.to_string()
        }
        (Some(id), None) => id.to_string(),
    };
    if let Some(config) = &step.config {
        client.send(Method::PUT, &format!("/api/tenants/{id}/config"), Some(&json!(config))).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_wrong_is_told_by_its_line_and_not_by_what_stands_there() {
        assert_eq!(parse("").unwrap().tenants.len(), 0);
        let good = "[tenants.smith]\ndomain = \"s.example.com\"\n[tenants.smith.config]\napp_name = \"X\"\n";
        assert_eq!(parse(good).unwrap().tenants.len(), 1);
        for (text, told) in [
            ("[tenants.smith]\nname = \"hunter2\"\n", "domain"),
            ("[tenants.smith]\ndomain = \"s.example.com\"\nsecret = \"hunter2\"\n", "secret"),
            ("[tenants.\"../x\"]\ndomain = \"s.example.com\"\n", "slug"),
            ("\n\nhunter2", "line 3"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(told) && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_plan_shows_what_changes_and_no_value_of_a_configuration() {
        let file = "[tenants.smith]\ndomain = \"s.example.com\"\n[tenants.smith.config]\ncustom_env = {A = \"hunter2\"}";
        let plan: Vec<Step> =
            parse(file).unwrap().tenants.into_iter().map(|(slug, wanted)| creation(slug, &wanted)).collect();
        let text = shown(&plan);
        assert!(
            text.starts_with("+ smith\n") && text.contains("config.custom_env") && !text.contains("hunter2")
        );
        assert!(text.ends_with("1 to create, 0 to change, 0 as they are\n"), "{text}");
    }
}
