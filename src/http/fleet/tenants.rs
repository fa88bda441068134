//! `GET /api/fleet/tenants`: tenants' lines, page by page by id or of those that are named.
//!
//! Whoever shows all of them reads the pages once, follows the feed, and asks again for those
//! alone that its events were about. A page begins after an id, so a tenant that goes or comes
//! meanwhile moves none past the reader.

use std::str::FromStr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::id::TenantId;
use tenantry_journal::name::Slug;
use tenantry_projections::world::World;

use crate::http::error::ApiError;
use crate::http::extract::{Query, Scope};
use crate::http::kept::Question;
use crate::http::manager::view::TenantLine;
use crate::http::state::AppState;
use crate::http::write::{answer, encode, written};

/// What one request may name: more than a screen has rows, few enough for an address.
const MOST_NAMED: usize = 100;
/// Lines in one answer: 660 KB, which a browser reads within a frame.
const MOST: u64 = 2000;

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "FleetTenantQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Tenants to show by id or slug, with commas between them, at most 100. Those that are not there are left out.
    named: Option<String>,
    /// The `next` of the page before.
    after: Option<TenantId>,
    /// How many lines at most, 1 to 2000.
    limit: Option<i64>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetTenants")]
pub(super) struct Listed<'a> {
    tenants: Vec<TenantLine<'a>>,
    /// How many the caller may see.
    total: usize,
    /// The next `after`; `null` when this was the last page.
    next: Option<TenantId>,
    /// The last event that the page knows of; `null` beside those that are named.
    seq: Option<u64>,
}

pub(super) async fn list(
    State(app): State<AppState>,
    scope: Scope,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    let world = &scope.world;
    if let Some(text) = &wanted.named {
        if wanted.after.is_some() || wanted.limit.is_some() {
            return Err(ApiError::bad_request("named stands alone: leave out after and limit."));
        }
        let all = names(text)?;
        let found = all.iter().filter_map(|name| scope.tenant(name.id(world)?).ok());
        let tenants = found.map(|tenant| TenantLine::new(world, tenant)).collect();
        let total = scope.visible_tenants().count();
        return Ok(answer(StatusCode::OK, &Listed { tenants, total, next: None, seq: None }));
    }
    let limit = limit(wanted.limit)?;
    let is_kept = scope.principal.is_unlimited() && !scope.is_past();
    let question = is_kept.then_some(Question::FleetTenants(wanted.after, limit));
    if let Some(json) = question.as_ref().and_then(|question| app.kept.get(world.seq, question)) {
        return Ok(written(StatusCode::OK, json));
    }
    let mut total = 0;
    let mut tenants = Vec::new();
    let (mut last, mut has_more) = (None, false);
    for tenant in scope.visible_tenants() {
        total += 1;
        if wanted.after.is_some_and(|after| tenant.id <= after) {
            continue;
        }
        if tenants.len() < limit {
            tenants.push(TenantLine::new(world, tenant));
            last = Some(tenant.id);
        } else {
            has_more = true;
        }
    }
    let listed = Listed { tenants, total, next: last.filter(|_| has_more), seq: Some(world.seq.0) };
    let Some(question) = question else { return Ok(answer(StatusCode::OK, &listed)) };
    let json = encode(&listed)?;
    app.kept.keep(world.seq, question, &json);
    Ok(written(StatusCode::OK, json))
}

fn names(text: &str) -> Result<Vec<Name>, ApiError> {
    let words: Vec<&str> = text.split(',').take(MOST_NAMED + 1).collect();
    if words.len() > MOST_NAMED {
        return Err(ApiError::bad_request(format!("named has more than {MOST_NAMED} names.")));
    }
    let parsed = words.into_iter().map(str::parse).collect::<Result<_, _>>();
    parsed.map_err(|()| ApiError::bad_request("named has something that is neither an id nor a slug."))
}

/// What a tenant is called in a request.
enum Name {
    Id(TenantId),
    Slug(Slug),
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Name, ()> {
        let id = text.parse().map(Name::Id);
        id.or_else(|_| text.parse().map(Name::Slug)).map_err(|_| ())
    }
}

impl Name {
    fn id(&self, world: &World) -> Option<TenantId> {
        match self {
            Name::Id(id) => Some(*id),
            Name::Slug(slug) => world.tenants.by_slug(slug),
        }
    }
}

fn limit(given: Option<i64>) -> Result<usize, ApiError> {
    let Some(given) = given else { return Ok(usize::try_from(MOST).unwrap_or(usize::MAX)) };
    let limit = u64::try_from(given).ok().filter(|limit| (1..=MOST).contains(limit));
    limit
        .and_then(|limit| usize::try_from(limit).ok())
        .ok_or_else(|| ApiError::bad_request(format!("limit must be 1 to {MOST}, not {given}.")))
}
