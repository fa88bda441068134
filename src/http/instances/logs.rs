//! `GET /api/logs` and `GET /api/logs/{service}/{id}`: what processes printed.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use regex::RegexBuilder;
use serde::{Deserialize, Serialize};
use tenantry_journal::id::InstanceId;
use tenantry_journal::name::{InstanceKey, ServiceName};
use tenantry_projections::output::level::Level;
use tenantry_projections::world::World;

use super::merge::{LineFilter, Lines, LogLine, page};
use super::{Key, missing, sse, tail};
use crate::auth::principal::Principal;
use crate::http::error::ApiError;
use crate::http::extract::{Query, Scope, parse_query, query_value};
use crate::http::listing::{Page, Pagination};
use crate::http::manager::log;
use crate::http::observed::{OutputError, Outputs};
use crate::http::router::Listener;
use crate::http::state::AppState;
use crate::http::write::{Answer, answer};
use crate::http::ws::Upgrade;

/// As document 2 prints it.
const DEFAULT_LIMIT: u64 = 50;
/// The longest pattern, in bytes.
const LONGEST_PATTERN: usize = 1024;
/// What a compiled pattern may take, in bytes. The engine is linear in the line's length.
const PATTERN_MEMORY: usize = 1 << 20;

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "LogQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    limit: Option<i64>,
    offset: Option<i64>,
    pub(super) service: Option<ServiceName>,
    /// `service:id`, or the id alone.
    pub(super) instance: Option<String>,
    pub(super) level: Option<Level>,
    pub(super) grep: Option<String>,
    #[serde(default)]
    follow: bool,
    source: Option<From>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "LogSource")]
#[serde(rename_all = "lowercase")]
enum From {
    Control,
    Process,
}

/// Which instances' lines are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    service: Option<ServiceName>,
    instance: Option<String>,
}

impl Wanted {
    pub(super) fn new(service: Option<ServiceName>, instance: Option<String>) -> Wanted {
        Wanted { service, instance }
    }

    /// Whether nothing is left out.
    pub(super) fn takes_all(&self) -> bool {
        self.service.is_none() && self.instance.is_none()
    }

    fn one(key: &InstanceKey) -> Wanted {
        Wanted { service: None, instance: Some(key.to_string()) }
    }

    /// Whether this instance's lines are wanted.
    pub(super) fn takes(&self, key: &InstanceKey) -> bool {
        self.service.as_ref().is_none_or(|service| key.service == *service)
            && self.instance.as_deref().is_none_or(|wanted| match wanted.split_once(':') {
                Some((service, id)) => key.service.as_str() == service && key.id.as_str() == id,
                None => key.id.as_str() == wanted,
            })
    }

    /// The instances that are wanted and that somebody may see, there and gone.
    pub(super) fn find(
        &self,
        world: &World,
        principal: &Principal,
        outputs: &dyn Outputs,
    ) -> Result<Vec<(InstanceId, InstanceKey)>, OutputError> {
        let mut ids = outputs.kept()?;
        ids.extend(world.instances.iter().map(|instance| instance.id));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids
            .into_iter()
            .filter(|id| principal.reaches_instance(world, *id))
            .filter_map(|id| Some((id, world.instances.name(id)?.clone())))
            .filter(|(_, key)| self.takes(key))
            .collect())
    }
}

/// What a stream takes.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "LogStreamQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct StreamParams {
    service: Option<ServiceName>,
    instance: Option<String>,
    level: Option<Level>,
    grep: Option<String>,
}

impl StreamParams {
    /// Which lines it describes.
    pub(super) fn filter(self) -> Result<(Wanted, LineFilter), ApiError> {
        let filter = line_filter(self.level, self.grep.as_deref())?;
        Ok((Wanted::new(self.service, self.instance), filter))
    }
}

/// The filter that a query or a message describes.
pub(super) fn line_filter(level: Option<Level>, grep: Option<&str>) -> Result<LineFilter, ApiError> {
    let pattern = grep.map(compile).transpose()?;
    Ok(LineFilter { level, pattern })
}

fn compile(pattern: &str) -> Result<regex::Regex, ApiError> {
    if pattern.len() > LONGEST_PATTERN {
        let message = format!("grep is longer than the {LONGEST_PATTERN} bytes that are read.");
        return Err(ApiError::bad_request(message).coded("invalid_parameter"));
    }
    RegexBuilder::new(pattern).size_limit(PATTERN_MEMORY).build().map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        ApiError::bad_request(format!("grep is not a regular expression: {reason}."))
            .coded("invalid_parameter")
    })
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Logs")]
pub(super) struct All {
    logs: Vec<LogLine>,
    pagination: Pagination,
    /// Only there, and true, when older lines were not looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "InstanceLogs")]
pub(super) struct One {
    instance: InstanceKey,
    logs: Vec<LogLine>,
    pagination: Pagination,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

pub(super) async fn all(
    State(app): State<AppState>,
    scope: Result<Scope, ApiError>,
    listener: axum::Extension<Listener>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    upgrade: Result<Upgrade, Response>,
) -> Answer {
    let query = query.unwrap_or_default();
    if chosen(&query, *listener)? == From::Control {
        let params = parse_query(&query, "as_of")?;
        return Ok(log::list(app, &scope?, params).await?);
    }
    let params: Params = parse_query(&query, "as_of")?;
    let wanted = Wanted::new(params.service.clone(), params.instance.clone());
    if params.follow {
        return follow(app, wanted, &params, scope, &headers, upgrade);
    }
    let scope = scope?;
    let Read { logs, pagination, incomplete, .. } = read(app, &scope, wanted, &params).await?;
    Ok(answer(StatusCode::OK, &All { logs, pagination, incomplete }))
}

/// Whose log a query is about; each listener has the one of its document.
fn chosen(query: &str, listener: Listener) -> Result<From, ApiError> {
    match query_value(Some(query), "source")?.as_deref() {
        Some("control") => Ok(From::Control),
        Some("process") => Ok(From::Process),
        Some(other) => {
            let message = format!("source must be control or process, not '{}'.", other.escape_default());
            Err(ApiError::bad_request(message).coded("invalid_parameter"))
        }
        None if listener == Listener::Manager => Ok(From::Control),
        None => Ok(From::Process),
    }
}

pub(super) async fn one(
    State(app): State<AppState>,
    scope: Result<Scope, ApiError>,
    Key(key): Key,
    headers: HeaderMap,
    Query(params): Query<Params>,
    upgrade: Result<Upgrade, Response>,
) -> Answer {
    if params.service.is_some() || params.instance.is_some() || params.source == Some(From::Control) {
        let message = "service, instance and source=control do not go with the log of one instance.";
        return Err(ApiError::bad_request(message).coded("invalid_parameter").into());
    }
    let wanted = Wanted::one(&key);
    if params.follow {
        return follow(app, wanted, &params, scope, &headers, upgrade);
    }
    let scope = scope?;
    let Read { logs, pagination, incomplete, instances } = read(app, &scope, wanted, &params).await?;
    if instances == 0 {
        return Err(missing(&key.to_string()).into());
    }
    Ok(answer(StatusCode::OK, &One { instance: key, logs, pagination, incomplete }))
}

/// The page that a query asks for.
struct Read {
    logs: Vec<LogLine>,
    pagination: Pagination,
    incomplete: bool,
    /// How many instances it is about.
    instances: usize,
}

async fn read(app: AppState, scope: &Scope, wanted: Wanted, params: &Params) -> Result<Read, ApiError> {
    let window = Page::new(params.limit, params.offset, DEFAULT_LIMIT)?;
    let filter = line_filter(params.level, params.grep.as_deref())?;
    let (world, principal) = (Arc::clone(&scope.world), Arc::clone(&scope.principal));
    let read = tokio::task::spawn_blocking(move || -> Result<_, OutputError> {
        let instances = wanted.find(&world, &principal, &*app.outputs)?;
        let Lines { lines, total, complete } = page(&*app.outputs, &instances, &filter, window)?;
        let pagination = window.pagination(total);
        Ok(Read { logs: lines, pagination, incomplete: !complete, instances: instances.len() })
    });
    match read.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::error!(%error, "output of processes cannot be read");
            Err(ApiError::internal())
        }
        Err(_) => Err(ApiError::internal()),
    }
}

/// Over a WebSocket, or as server-sent events for who asks for them.
fn follow(
    app: AppState,
    wanted: Wanted,
    params: &Params,
    scope: Result<Scope, ApiError>,
    headers: &HeaderMap,
    upgrade: Result<Upgrade, Response>,
) -> Answer {
    if params.limit.is_some() || params.offset.is_some() {
        let message = "limit and offset do not go with follow=true.";
        return Err(ApiError::bad_request(message).coded("invalid_parameter").into());
    }
    let filter = line_filter(params.level, params.grep.as_deref())?;
    match upgrade {
        Err(_) if sse::is_wanted(headers) => Ok(sse::run(app, scope?, wanted, filter)),
        Ok(upgrade) => Ok(tail::run(upgrade, app, wanted, filter)),
        Err(refusal) => Ok(refusal),
    }
}

#[cfg(test)]
mod tests {
    use tenantry_journal::time::Timestamp;

    use super::*;
    use crate::http::observed::{Line, Source};

    #[test]
    fn an_instance_is_meant_by_its_full_name_or_its_id() {
        let key: InstanceKey = "api:user1".parse().unwrap();
        let takes = |service: Option<&str>, instance: Option<&str>| {
            Wanted::new(service.map(|s| s.parse().unwrap()), instance.map(str::to_owned)).takes(&key)
        };
        assert!(takes(None, None) && takes(Some("api"), Some("user1")) && takes(None, Some("api:user1")));
        assert!(
            !takes(Some("worker"), None) && !takes(None, Some("worker:user1")) && !takes(None, Some("user"))
        );
    }

    /// The case that takes engines that backtrack longer than the world stands.
    #[test]
    fn nested_repetitions_are_looked_for_in_a_megabyte() {
        let filter = line_filter(None, Some("(a+)+$")).unwrap();
        let key: InstanceKey = "api:user1".parse().unwrap();
        let shown = |text: String| {
            let (position, at, source) = (1, Timestamp(1), Source::Stdout);
            filter.show(&key, Line { position, at, source, text }).is_some()
        };
        let many = "a".repeat(1 << 20);
        assert!(shown(many.clone()) && shown(format!("b{many}")));
        assert!(!shown(format!("{many}b")));
    }

    #[test]
    fn a_pattern_is_refused_when_it_is_wrong_or_too_large() {
        assert!(line_filter(None, Some("a+b")).is_ok());
        assert!(line_filter(None, Some("(")).is_err());
        assert!(line_filter(None, Some(&"a{1000}{1000}".repeat(3))).is_err());
        assert!(line_filter(None, Some(&"a".repeat(LONGEST_PATTERN + 1))).is_err());
    }
}
