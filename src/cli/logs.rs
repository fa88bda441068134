//! `tenantry logs`: what processes printed, and what they print from now on.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tenantry_journal::name::{InstanceKey, ServiceName};

use super::client::{Client, Common, LARGEST_PAGE, Query, add, block_on, field, list};
use super::failure::Failure;
use super::log_follow;
use super::log_line::{Form, shown};

/// The most lines that are fetched at once. More is a matter for `search`, or for the files.
const MOST_LINES: i64 = 100_000;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// What `logs` is asked.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Control characters in lines are made visible, so that no line commands your terminal.\n\n\
    A tenant's processes are frontend:SLUG and backend:SLUG."
)]
pub(super) struct Logs {
    /// Only this instance, `service:id`.
    instance: Option<InstanceKey>,
    /// Only lines of this service.
    #[arg(long, value_name = "NAME", conflicts_with = "instance")]
    service: Option<ServiceName>,
    #[command(flatten)]
    how: How,
}

/// Which lines are shown, and how.
#[derive(Clone, Debug, Args)]
pub(super) struct How {
    /// How many lines, counted from the newest.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..=MOST_LINES))]
    lines: i64,
    /// Go on with what is printed from now on; mends a lost connection.
    #[arg(short, long)]
    follow: bool,
    /// Only lines that this regular expression matches.
    #[arg(long, value_name = "PATTERN")]
    grep: Option<String>,
    /// Only lines of this level.
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// Print messages alone and as they are, control characters too; not on a terminal.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Which lines are asked for.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) query: Query,
}

impl Source {
    fn new(instance: Option<&InstanceKey>, service: Option<&ServiceName>, how: &How) -> Source {
        let mut query = Query::new();
        let path = match instance {
            Some(key) => format!("/api/logs/{}/{}", key.service, key.id),
            None => {
                // On document 1's listener the same path has another log.
                add(&mut query, "source", Some("process"));
                "/api/logs".to_owned()
            }
        };
        add(&mut query, "service", service);
        let level = how.level.and_then(|level| level.to_possible_value());
        add(&mut query, "level", level.map(|level| level.get_name().to_owned()));
        add(&mut query, "grep", how.grep.as_ref());
        Source { path, query }
    }

    /// A page counted from the newest line.
    pub(super) async fn page(&self, client: &Client, limit: usize, offset: usize) -> Result<Value, Failure> {
        let mut query = self.query.clone();
        add(&mut query, "limit", Some(limit));
        add(&mut query, "offset", Some(offset));
        client.get(&self.path, &query).await
    }

    /// The newest lines: the API's object, with all pages in one.
    pub(super) async fn newest(&self, client: &Client, wanted: usize) -> Result<Value, Failure> {
        // A page that is not printed still says whether there is such an instance.
        let mut answer = self.page(client, wanted.clamp(1, LARGEST_PAGE), 0).await?;
        let mut lines: Vec<Value> = list(&answer, "logs").to_vec();
        let mut has_more = has_more(&answer);
        while has_more && lines.len() < wanted {
            let page = self.page(client, (wanted - lines.len()).min(LARGEST_PAGE), lines.len()).await?;
            has_more = self::has_more(&page);
            let older = list(&page, "logs");
            let new = older.len() - repeated(older, &lines);
            if new == 0 {
                break;
            }
            lines.splice(0..0, older.iter().take(new).cloned());
        }
        let surplus = lines.len().saturating_sub(wanted);
        lines.drain(..surplus);
        let total = field(field(&answer, "pagination"), "total").clone();
        if let Some(object) = answer.as_object_mut() {
            let pagination =
                json!({"limit": wanted, "offset": 0, "total": total, "has_more": has_more || surplus > 0});
            object.insert("logs".to_owned(), lines.into());
            object.insert("pagination".to_owned(), pagination);
        }
        Ok(answer)
    }
}

fn has_more(answer: &Value) -> bool {
    field(field(answer, "pagination"), "has_more").as_bool() == Some(true)
}

/// How many lines at the end of an older page stand at the beginning of the newer ones already:
/// what was printed between the two answers has shifted the pages.
pub(super) fn repeated(older: &[Value], newer: &[Value]) -> usize {
    let most = older.len().min(newer.len());
    (0..=most).rev().find(|count| older.ends_with(newer.get(..*count).unwrap_or_default())).unwrap_or(0)
}

/// Prints what was asked for; with `--follow` until the program is ended.
pub(super) fn run(args: &Logs) -> anyhow::Result<()> {
    let how = &args.how;
    may_be_raw(how)?;
    let client = how.common.client()?;
    block_on(print(&client, args.instance.as_ref(), args.service.as_ref(), how))
}

/// Refuses `--raw` on a terminal.
pub(super) fn may_be_raw(how: &How) -> anyhow::Result<()> {
    if how.raw && std::io::stdout().is_terminal() {
        let message = "--raw does not print to a terminal: what processes print could command it";
        return Err(Failure { next: "Send it to a file or a pipe.".into(), ..Failure::usage(message) }.into());
    }
    Ok(())
}

/// Prints the lines of an instance, of a service, or all.
pub(super) async fn print(
    client: &Client,
    instance: Option<&InstanceKey>,
    service: Option<&ServiceName>,
    how: &How,
) -> anyhow::Result<()> {
    let screen = how.common.screen();
    let source = Source::new(instance, service, how);
    let wanted = usize::try_from(how.lines).unwrap_or_default();
    let form = match (how.raw, how.common.json) {
        (true, _) => Form::Raw,
        (_, true) => Form::Json,
        _ => Form::Readable,
    };
    let print = |line: &Value| screen.print(&shown(line, form, &screen));
    if how.follow {
        return log_follow::run(client, &source, wanted, print).await;
    }
    let answer = source.newest(client, wanted).await?;
    if how.common.json {
        screen.print_json(&answer)?;
    } else {
        let lines: String = list(&answer, "logs").iter().map(|line| shown(line, form, &screen)).collect();
        screen.print(&lines)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_shifted_between_two_answers_are_joined_once() {
        let lines = |range: std::ops::Range<u64>| range.map(Value::from).collect::<Vec<_>>();
        assert_eq!(repeated(&lines(1..6), &lines(6..9)), 0);
        assert_eq!(repeated(&lines(1..8), &lines(6..9)), 2);
        assert_eq!(repeated(&lines(6..9), &lines(6..9)), 3);
        assert_eq!(repeated(&[], &lines(6..9)), 0);
    }
}
