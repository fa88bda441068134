//! `tenantry bisect`: finds the event between a good and a bad moment of a tenant, by a check that
//! is given the tenant as it was.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use serde_json::{Map, Value, json};
use tenantry_journal::id::TenantId;

use super::client::{Client, Common, Query, add, block_on, field, list, text};
use super::failure::{FAILED, Failure, NOT_FOUND};
use super::history::{entries, find_ever, shown, who};
use super::safe_text::safe;
use super::screen::Screen;
use super::when::moment;

/// What a check ends with that cannot tell; git's number.
const SKIP: i32 = 125;
/// What describes a tenant at a moment: the check's input.
const STATE: [(&str, &str); 6] = [
    ("tenant", ""),
    ("config", "/config"),
    ("theme", "/theme"),
    ("health", "/health"),
    ("releases", "/releases"),
    ("deployments", "/deployments"),
];

/// What `bisect` is asked.
#[derive(Clone, Debug, Args)]
#[command(after_help = "The check gets the tenant as it was, as JSON, on standard input, and TENANTRY_SEQ, \
    TENANTRY_AT, TENANTRY_TENANT_ID\nand TENANTRY_SLUG in its environment. It ends with 0 for good, 125 when it \
    cannot tell, with anything else for bad.\nNo shell is involved. Whatever it prints goes to standard error.\n\n  \
    tenantry bisect smith --good yesterday --bad now --check ./check.py --strict")]
pub(super) struct Bisect {
    /// The tenant, by id or slug; also one that is deleted.
    tenant: String,
    /// A moment at which the check is good.
    #[arg(long, value_name = "POINT")]
    good: String,
    /// A later moment at which it is bad.
    #[arg(long, value_name = "POINT")]
    bad: String,
    /// The program to check with, and its arguments: everything up to the end of the line.
    #[arg(long, value_name = "CMD", num_args = 1.., required = true, allow_hyphen_values = true)]
    check: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// What a check says of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    Skip,
}

impl Verdict {
    fn of(code: Option<i32>) -> Verdict {
        match code {
            Some(0) => Verdict::Good,
            Some(SKIP) => Verdict::Skip,
            _ => Verdict::Bad,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Bad => "bad",
            Verdict::Skip => "skipped",
        }
    }
}

/// Where to look next, given what is known: `good` and `bad` are places in the list of events
/// (`good` may lie before the first); those that were skipped are passed over.
fn next(good: isize, bad: isize, skipped: &BTreeSet<isize>) -> Option<isize> {
    let middle = good + (bad - good) / 2;
    let open = (good + 1..bad).filter(|place| !skipped.contains(place));
    open.min_by_key(|place| (place - middle).abs())
}

struct Search<'a> {
    args: &'a Bisect,
    client: &'a Client,
    screen: &'a Screen,
    id: TenantId,
}

/// Finds the event. Exit code 1 when it cannot be told.
pub(super) fn run(args: &Bisect) -> anyhow::Result<ExitCode> {
    let (client, screen) = (args.common.client()?, args.common.screen());
    block_on(async {
        let id = find_ever(&client, &args.tenant).await?;
        Search { args, client: &client, screen: &screen, id }.run().await
    })
}

impl Search<'_> {
    async fn run(&self) -> anyhow::Result<ExitCode> {
        let (first, last) = self.range().await?;
        let history = entries(self.client, self.id, Some(first + 1), Some(last)).await?;
        let events = list(&history, "history");
        for (point, seq, wanted) in [("good", first, Verdict::Good), ("bad", last, Verdict::Bad)] {
            let found = self.probe(seq).await?;
            if found != wanted {
                let message = format!("the check is {} at the {point} moment, event {seq}", found.word());
                return Err(Failure::new(FAILED, message, "Give other moments, or look at the check.").into());
            }
        }
        let seq_of = |place: isize| {
            let event = usize::try_from(place).ok().and_then(|place| events.get(place));
            event.and_then(|event| field(event, "seq").as_u64()).unwrap_or(first)
        };
        let (mut good, mut bad) = (-1, isize::try_from(events.len())?.saturating_sub(1));
        let mut skipped = BTreeSet::new();
        while let Some(place) = next(good, bad, &skipped) {
            match self.probe(seq_of(place)).await? {
                Verdict::Good => good = place,
                Verdict::Bad => bad = place,
                Verdict::Skip => drop(skipped.insert(place)),
            }
            skipped.retain(|place| (good + 1..bad).contains(place));
        }
        let candidates = (good + 1..=bad).filter_map(|place| events.get(usize::try_from(place).ok()?));
        self.tell(&candidates.collect::<Vec<_>>())
    }

    /// The positions of both moments.
    async fn range(&self) -> Result<(u64, u64), Failure> {
        let mut query = Query::new();
        add(&mut query, "from", Some(&self.args.good));
        add(&mut query, "to", Some(&self.args.bad));
        let found = self.client.get(&format!("/api/tenants/{}/diff", self.id), &query).await?;
        let seq = |name: &str| field(&found, name).as_u64().unwrap_or_default();
        let (first, last) = (seq("from_seq"), seq("to_seq"));
        if first >= last {
            return Err(Failure::usage("--good must lie before --bad"));
        }
        Ok((first, last))
    }

    /// Runs the check on the tenant as it was right after an event.
    async fn probe(&self, seq: u64) -> anyhow::Result<Verdict> {
        let state = self.state(seq).await?;
        let verdict = check(&self.args.check, self.id, seq, &state)?;
        // Standard output is for the result.
        eprintln!("event {seq}: {}", verdict.word());
        Ok(verdict)
    }

    /// The API's own objects as they were; null for what was not there.
    async fn state(&self, seq: u64) -> Result<Value, Failure> {
        let mut state = Map::from_iter([("seq".to_owned(), json!(seq))]);
        for (name, path) in STATE {
            let query = vec![("as_of", seq.to_string())];
            let found = self.client.get(&format!("/api/tenants/{}{path}", self.id), &query).await;
            let found = match found {
                Err(failure) if failure.code == NOT_FOUND => Value::Null,
                found => found?,
            };
            state.insert(name.to_owned(), found);
        }
        let event = self.client.get(&format!("/api/events/{seq}"), &Query::new()).await?;
        state.insert("at".to_owned(), field(&event, "at").clone());
        Ok(Value::Object(state))
    }

    fn tell(&self, candidates: &[&Value]) -> anyhow::Result<ExitCode> {
        if self.args.common.json {
            let first_bad = if candidates.len() == 1 { candidates.first() } else { None };
            self.screen.print_json(&json!({"first_bad": first_bad, "candidates": candidates}))?;
        } else {
            let told: String = candidates.iter().map(|event| readable(event)).collect();
            self.screen.print(&told)?;
        }
        match candidates.len() {
            1 => Ok(ExitCode::SUCCESS),
            0 => Err(Failure::new(FAILED, "no event of the tenant lies between the two moments", "").into()),
            _ => Err(Failure::new(
                FAILED,
                "the check skipped what lies between: it is one of these events",
                "Have the check tell more of them.",
            )
            .into()),
        }
    }
}

fn readable(event: &Value) -> String {
    let (seq, kind, by) = (field(event, "seq"), text(event, "kind"), who(event));
    let mut out = format!("event {seq} {} {} by {}\n", moment(event, "at"), safe(&kind), safe(&by));
    for change in list(event, "changes") {
        let [name, from, to] =
            [text(change, "field"), shown(field(change, "from")), shown(field(change, "to"))];
        out.push_str(&format!("  {}: {} -> {}\n", safe(&name), safe(&from), safe(&to)));
    }
    out
}

/// Runs the check with a state; what it prints goes to standard error.
fn check(words: &[String], id: TenantId, seq: u64, state: &Value) -> anyhow::Result<Verdict> {
    let (program, args) = words.split_first().ok_or_else(|| Failure::usage("--check names no program"))?;
    let slug = text(field(state, "tenant"), "slug");
    let unusable = |error: io::Error| {
        let message = format!("the check '{}' cannot be run: {error}", safe(program));
        Failure::new(FAILED, message, "Give the program and its arguments as words of their own.")
    };
    let mut child = Command::new(program)
        .args(args.iter().map(OsStr::new))
        .env("TENANTRY_SEQ", seq.to_string())
        .env("TENANTRY_AT", text(state, "at"))
        .env("TENANTRY_TENANT_ID", id.to_string())
        .env("TENANTRY_SLUG", slug)
        // It has no business with the credential.
        .env_remove("TENANTRY_TOKEN")
        .stdin(Stdio::piped())
        .stdout(io::stderr())
        .spawn()
        .map_err(unusable)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A check that does not read its input is one all the same.
        match stdin.write_all(state.to_string().as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    Ok(Verdict::of(child.wait()?.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(first_bad: isize, count: isize, skips: &[isize]) -> (isize, isize, usize) {
        let (mut good, mut bad, mut probes) = (-1, count - 1, 0);
        let mut skipped = BTreeSet::new();
        while let Some(place) = next(good, bad, &skipped) {
            probes += 1;
            if skips.contains(&place) {
                skipped.insert(place);
            } else if place >= first_bad {
                bad = place;
            } else {
                good = place;
            }
            skipped.retain(|place| (good + 1..bad).contains(place));
        }
        (good, bad, probes)
    }

    #[test]
    fn the_first_bad_event_is_found_by_halves() {
        for count in 1..40 {
            for first_bad in 0..count {
                let (good, bad, probes) = find(first_bad, count, &[]);
                assert_eq!((good, bad), (first_bad - 1, first_bad), "of {count}");
                assert!(probes <= 6, "{probes} probes of {count}");
            }
        }
    }

    #[test]
    fn what_is_skipped_is_passed_over_and_named_when_it_hides_the_event() {
        assert_eq!(find(10, 20, &[9, 4]).1, 10);
        let (good, bad, _) = find(10, 20, &[9, 10, 11]);
        assert_eq!((good, bad), (8, 12));
    }

    #[test]
    fn a_check_is_judged_by_its_exit_code_and_reads_the_state() {
        let state = json!({"tenant": {"slug": "smith"}, "at": "x"});
        let id = TenantId(uuid::Uuid::nil());
        let run = |script: &str| {
            let words = ["sh", "-c", script].map(str::to_owned);
            check(&words, id, 7, &state).unwrap()
        };
        assert_eq!(run("grep -q smith && test $TENANTRY_SEQ = 7"), Verdict::Good);
        assert_eq!(run("exit 125"), Verdict::Skip);
        assert_eq!(run("exit 1"), Verdict::Bad);
        assert_eq!(run("kill -9 $$"), Verdict::Bad);
        assert!(check(&["/no/such/program".to_owned()], id, 7, &state).is_err());
    }
}
