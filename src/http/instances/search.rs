//! `POST /api/logs/search`: lines that hold words.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tenantry_journal::id::InstanceId;
use tenantry_journal::name::{InstanceKey, ServiceName};
use tenantry_journal::time::Timestamp;
use tenantry_projections::output::level::Level;
use tenantry_projections::search::{Highlight, Names, Query, Request, Sort, highlights};
use tenantry_projections::world::World;

use super::logs::Wanted;
use super::merge::{LineFilter, LogLine};
use crate::auth::principal::Principal;
use crate::http::error::ApiError;
use crate::http::extract::{Json, NoQuery, Scope};
use crate::http::listing::{Page, Pagination};
use crate::http::observed::{OutputError, Outputs};
use crate::http::state::AppState;
use crate::http::write::{Answer, answer};

/// As for the logs of document 2.
const DEFAULT_LIMIT: u64 = 50;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "LogSearch")]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    query: String,
    limit: Option<i64>,
    offset: Option<i64>,
    since: Option<String>,
    until: Option<String>,
    #[serde(default)]
    sort: By,
    service: Option<ServiceName>,
    instance: Option<String>,
    level: Option<Level>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "SearchOrder")]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Newest,
    Relevance,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "SearchResults")]
pub(super) struct Results {
    results: Vec<Marked>,
    total: usize,
    pagination: Pagination,
    /// Only there, and true, while older output is still being indexed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    indexing: bool,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "SearchHit")]
struct Marked {
    #[serde(flatten)]
    line: LogLine,
    highlights: Vec<Highlight>,
}

/// What is looked for, read and checked.
struct Wish {
    query: Query,
    /// What the caller may see and asks for; `None` for everything.
    wanted: Option<Wanted>,
    since: Option<u64>,
    until: Option<u64>,
    sort: Sort,
    page: Page,
}

impl Body {
    fn wish(self, now: Timestamp) -> Result<Wish, ApiError> {
        let page = Page::new(self.limit, self.offset, DEFAULT_LIMIT)?;
        let bad = |message: String| ApiError::bad_request(message).coded("invalid_query");
        let mut query = Query::parse(&self.query).map_err(|error| bad(error.0))?;
        if let Some(level) = self.level {
            query = Query::And(vec![query, Query::Level(level)]);
        }
        let wanted = Wanted::new(self.service, self.instance);
        Ok(Wish {
            query,
            wanted: (!wanted.takes_all()).then_some(wanted),
            since: self.since.map(|text| moment("since", &text, now)).transpose()?,
            until: self.until.map(|text| moment("until", &text, now)).transpose()?,
            sort: match self.sort {
                By::Newest => Sort::Newest,
                By::Relevance => Sort::Relevance,
            },
            page,
        })
    }
}

/// A moment in milliseconds: so long ago (`90s`, `30m`, `1h`, `7d`, `2w`), or an RFC 3339 time.
fn moment(name: &str, text: &str, now: Timestamp) -> Result<u64, ApiError> {
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            "w" => 7 * 24 * 60 * 60,
            _ => return None,
        };
        let number = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
        let ms = number.parse::<u64>().ok()?.checked_mul(seconds * 1000)?;
        Some(now.0.saturating_sub(ms))
    };
    let at = || u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok();
    ago().or_else(at).ok_or_else(|| {
        let message = format!("{name} must be a time ago such as 30m, 1h or 7d, or an RFC 3339 time.");
        ApiError::bad_request(message).coded("invalid_parameter")
    })
}

pub(super) async fn search(
    State(app): State<AppState>,
    scope: Scope,
    _: NoQuery,
    Json(body): Json<Body>,
) -> Answer {
    let wish = body.wish(app.now())?;
    let (world, principal) = (app.engine.world(), Arc::clone(&scope.principal));
    let outputs = Arc::clone(&app.outputs);
    let found = tokio::task::spawn_blocking(move || find(&*outputs, &world, &principal, &wish)).await;
    match found {
        Ok(Ok(results)) => Ok(answer(StatusCode::OK, &results)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a search failed");
            let message = "The search index is being built again.";
            Err(ApiError::unavailable(message).retry_after(1).into())
        }
        Err(_) => Err(ApiError::internal().into()),
    }
}

fn find(
    outputs: &dyn Outputs,
    world: &World,
    principal: &Principal,
    wish: &Wish,
) -> Result<Results, OutputError> {
    let kept = outputs.kept()?;
    let allowed = match &wish.wanted {
        None if principal.is_unlimited() => None,
        wanted => {
            let all = Wanted::default();
            let found = wanted.as_ref().unwrap_or(&all).find(world, principal, outputs)?;
            Some(found.into_iter().map(|(id, _)| id).collect())
        }
    };
    let names = Known { world, kept: &kept };
    let request = Request {
        query: &wish.query,
        names: &names,
        allowed,
        since: wish.since,
        until: wish.until,
        sort: wish.sort,
        limit: wish.page.limit,
        offset: wish.page.offset,
    };
    let found = outputs.search(&request)?;
    let mut positions: BTreeMap<InstanceId, Vec<u64>> = BTreeMap::new();
    for hit in &found.hits {
        positions.entry(hit.instance).or_default().push(hit.position);
    }
    let mut lines = HashMap::new();
    for (instance, positions) in positions {
        let Some(name) = world.instances.name(instance) else { continue };
        for line in outputs.at(instance, &positions)? {
            let place = (instance, line.position);
            lines.extend(LineFilter::default().show(name, line).map(|line| (place, line)));
        }
    }
    let results = found.hits.iter().filter_map(|hit| {
        let line = lines.remove(&(hit.instance, hit.position))?;
        let highlights = highlights(&wish.query, line.message());
        Some(Marked { line, highlights })
    });
    Ok(Results {
        results: results.collect(),
        total: found.total,
        pagination: wish.page.pagination(found.total),
        indexing: found.indexing,
    })
}

/// Names by the World, of those whose output is kept.
struct Known<'a> {
    world: &'a World,
    kept: &'a [InstanceId],
}

impl Known<'_> {
    fn that(&self, is: impl Fn(&InstanceKey) -> bool) -> Vec<InstanceId> {
        let named = |id: &&InstanceId| self.world.instances.name(**id).is_some_and(&is);
        self.kept.iter().filter(named).copied().collect()
    }
}

impl Names for Known<'_> {
    fn named(&self, name: &str) -> Vec<InstanceId> {
        let wanted = Wanted::new(None, Some(name.to_owned()));
        self.that(|key| wanted.takes(key))
    }

    fn of_service(&self, service: &str) -> Vec<InstanceId> {
        self.that(|key| key.service.as_str() == service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_ago_or_a_time() {
        let now = Timestamp(1_000_000_000);
        let at = |text| moment("since", text, now).ok();
        assert_eq!(at("1h"), Some(1_000_000_000 - 3_600_000));
        assert_eq!(at("30m"), Some(1_000_000_000 - 1_800_000));
        assert_eq!(at("7d"), Some(1_000_000_000 - 604_800_000));
        assert_eq!(at("100w"), Some(0));
        assert_eq!(at("1970-01-01T00:00:01.500Z"), Some(1_500));
        for bad in ["", "h", "-1h", "1y", "1.5h", "yesterday", "99999999999999999999d", "1970-01-01", "+1h"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
