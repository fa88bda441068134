//! What handlers take: the scope of the caller, ids, bodies and queries, each refused with a
//! sentence that names what is wrong.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tenantry_journal::id::{DeploymentId, Seq, TenantId, TokenId, UserId};
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::Tenant;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use url::form_urlencoded;

use super::dispatch::params;
use super::error::ApiError;
use super::router::{BODY_LIMIT, Listener};
use super::state::AppState;
use crate::auth::principal::{Principal, Proof};

/// How often an open stream's credential is looked at because of the time: an expired one ends
/// it within 1 s. Of what is revoked it is told at once.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// When an open stream's credential has to be looked at again.
pub struct Looks {
    expiry: Interval,
    access: AccessLooks,
}

/// Told when users or tokens changed; `None` before the first look.
#[derive(Default)]
pub(super) struct AccessLooks(Option<watch::Receiver<()>>);

impl AccessLooks {
    /// Whether users or tokens changed since this was asked last, or may have.
    fn changed(&mut self, app: &AppState) -> bool {
        match &mut self.0 {
            Some(access) => {
                let changed = access.has_changed().unwrap_or(false);
                if changed {
                    access.mark_unchanged();
                }
                changed
            }
            None => {
                self.0 = Some(app.engine.access_changes());
                true
            }
        }
    }
}

/// Why an open stream has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The credential was revoked, expired, or opens something else now.
    Lapsed,
    /// The control plane is ending.
    Shutdown,
}

/// The only way of a handler to the World: what the caller may see of it.
#[derive(Clone)]
pub struct Scope {
    /// Who asks.
    pub principal: Arc<Principal>,
    /// The World that the answer is about: the present one, or the one that `as_of` names.
    pub world: Arc<World>,
    /// The position that `as_of` named.
    pub as_of: Option<Seq>,
    /// The listener that the request came in by.
    pub listener: Listener,
    /// What they proved; looked at again while a stream is open.
    pub(super) proof: Proof,
}

impl Scope {
    /// When to look at the credential of an open stream again.
    #[must_use]
    pub fn looks() -> Looks {
        let mut expiry = interval(LOOK_AGAIN);
        expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        expiry.reset();
        Looks { expiry, access: AccessLooks::default() }
    }

    /// Whether the credential was revoked since it was looked at last. Asked before something
    /// is sent that came from the feed, nothing that was recorded after a revocation goes out.
    #[must_use]
    pub fn was_revoked(&self, app: &AppState, looks: &mut Looks) -> bool {
        self.is_revoked(app, &mut looks.access)
    }

    /// The same for who never looks because of the time.
    pub(super) fn is_revoked(&self, app: &AppState, looks: &mut AccessLooks) -> bool {
        looks.changed(app) && !self.still_holds(app)
    }

    /// Resolves when an open stream has to end, and says why. `looks` comes from
    /// [`Scope::looks`]; this may be dropped and called again with it.
    pub async fn ended(&self, app: &AppState, looks: &mut Looks) -> StreamEnd {
        loop {
            if self.was_revoked(app, looks) {
                return StreamEnd::Lapsed;
            }
            let Looks { expiry, access: AccessLooks(Some(access)) } = looks else { continue };
            tokio::select! {
                biased;
                () = app.shutdown.cancelled() => return StreamEnd::Shutdown,
                Ok(()) = access.changed() => {}
                _ = expiry.tick() => {}
            }
            if !self.still_holds(app) {
                return StreamEnd::Lapsed;
            }
        }
    }

    /// Whether the credential still opens what it opened when the request came.
    #[must_use]
    pub fn still_holds(&self, app: &AppState) -> bool {
        let now = self.proof.stands_for(&app.engine.world(), app.now());
        now.is_some_and(|now| now.role == self.principal.role && now.scope == self.principal.scope)
    }

    /// The tenants that the caller may see, oldest first.
    pub fn visible_tenants(&self) -> impl DoubleEndedIterator<Item = &Arc<Tenant>> {
        self.world.tenants.iter().filter(|tenant| self.principal.reaches_tenant(tenant.id))
    }

    /// A tenant.
    ///
    /// # Errors
    /// 404 when there is none, or none that the caller may see.
    pub fn tenant(&self, id: TenantId) -> Result<&Arc<Tenant>, ApiError> {
        self.world
            .tenants
            .get(id)
            .filter(|_| self.principal.reaches_tenant(id))
            .ok_or_else(|| missing::<TenantId>(&id.to_string()))
    }

    /// Whether the answer is about the past.
    #[must_use]
    pub fn is_past(&self) -> bool {
        self.as_of.is_some()
    }
}

impl FromRequestParts<AppState> for Scope {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Scope>()
            .cloned()
            .ok_or_else(|| ApiError::unauthorized("A credential is needed."))
    }
}

/// What an id in a path names; an id that cannot be one names nothing (404).
pub trait Named: FromStr + Send {
    /// What it is called.
    const WHAT: &'static str;
    /// The error's name when there is none.
    const MISSING: &'static str;
}

impl Named for TenantId {
    const WHAT: &'static str = "Tenant";
    const MISSING: &'static str = "tenant_not_found";
}

impl Named for DeploymentId {
    const WHAT: &'static str = "Deployment";
    const MISSING: &'static str = "deployment_not_found";
}

impl Named for TokenId {
    const WHAT: &'static str = "Token";
    const MISSING: &'static str = "token_not_found";
}

impl Named for UserId {
    const WHAT: &'static str = "User";
    const MISSING: &'static str = "user_not_found";
}

/// How much of a wrong id is repeated.
const SHOWN_CHARS: usize = 80;

/// 404 for something that an id names.
#[must_use]
pub fn missing<T: Named>(id: &str) -> ApiError {
    let shown: String = id.chars().take(SHOWN_CHARS).flat_map(char::escape_default).collect();
    ApiError::not_found(T::MISSING, format!("{} '{shown}' does not exist.", T::WHAT))
}

/// The first parameter of the path, parsed.
pub struct Id<T>(pub T);

impl<T: Named> FromRequestParts<AppState> for Id<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let params = params(parts)?;
        let text = params.at(0);
        text.parse().map(Id).map_err(|_| missing::<T>(text))
    }
}

/// The value of one query parameter, if it is there.
///
/// # Errors
/// 400 when it is there twice.
pub fn query_value(query: Option<&str>, name: &str) -> Result<Option<String>, ApiError> {
    let Some(query) = query else { return Ok(None) };
    let mut found = None;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        if key == name && found.replace(value.into_owned()).is_some() {
            return Err(ApiError::bad_request(format!("The query parameter '{name}' stands there twice.")));
        }
    }
    Ok(found)
}

/// The parameters of the query. Make the type `deny_unknown_fields`; what every route takes
/// (`as_of` on GET, `dry_run` on writes) is left out before.
pub struct Query<T>(pub T);

/// No parameters but those that every route takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// The query of a route that has no parameters of its own.
pub type NoQuery = Query<NoParams>;

impl<T: DeserializeOwned> FromRequestParts<AppState> for Query<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let common = match parts.method {
            Method::GET | Method::HEAD => "as_of",
            _ => "dry_run",
        };
        parse_query(parts.uri.query().unwrap_or_default(), common).map(Query)
    }
}

/// Reads a query without the parameter that every route of its kind takes.
///
/// # Errors
/// 400 with the name of the parameter that is wrong.
pub(super) fn parse_query<T: DeserializeOwned>(query: &str, common: &str) -> Result<T, ApiError> {
    // Most requests have none; only what is required can be wrong then.
    if query.is_empty()
        && let Ok(parsed) = serde_urlencoded::from_str(query)
    {
        return Ok(parsed);
    }
    let own = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key != common);
    let own = form_urlencoded::Serializer::new(String::new()).extend_pairs(own).finish();
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(own.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let subject = if path == "." { String::new() } else { format!(" '{path}'") };
        ApiError::bad_request(format!("The query parameter{subject} is wrong: {inner}."))
            .coded("invalid_parameter")
    })
}

/// A JSON body. Make the type `deny_unknown_fields`.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &AppState) -> Result<Self, ApiError> {
        if !is_json(&request) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "This route reads JSON.",
            )
            .detailed("Send the header 'Content-Type: application/json'."));
        }
        parse_json(&read(request.into_body(), BODY_LIMIT).await?).map(Json)
    }
}

/// A JSON body that may be left out.
pub struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<AppState> for MaybeJson<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if is_json(&request) {
            let bytes = read(request.into_body(), BODY_LIMIT).await?;
            return if bytes.is_empty() {
                Ok(MaybeJson(T::default()))
            } else {
                parse_json(&bytes).map(MaybeJson)
            };
        }
        let (parts, body) = request.into_parts();
        let bytes = read(body, BODY_LIMIT).await?;
        if bytes.is_empty() {
            return Ok(MaybeJson(T::default()));
        }
        let request = Request::from_parts(parts, Body::from(bytes));
        Json::from_request(request, state).await.map(|Json(value)| MaybeJson(value))
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
        || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Reads a body that is not longer than `limit` bytes.
///
/// # Errors
/// 413 when it is longer, 400 when it ends early.
pub async fn read(body: Body, limit: u64) -> Result<Bytes, ApiError> {
    let at_most = usize::try_from(limit).unwrap_or(usize::MAX);
    to_bytes(body, at_most).await.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if error.is::<http_body_util::LengthLimitError>() {
                return ApiError::too_large(limit);
            }
            cause = error.source();
        }
        ApiError::bad_request("The body ended early.")
    })
}

/// Parses JSON, naming the field that is wrong.
///
/// # Errors
/// 400 with the field's path.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Every body is an object; serde would also read a list as its fields in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(
            ApiError::bad_request("The body must be a JSON object, not a list.").coded("invalid_json")
        );
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_syntax() || inner.is_eof() {
            return ApiError::bad_request(format!("The body is not JSON: {inner}.")).coded("invalid_json");
        }
        let subject = if path == "." { "The body".to_owned() } else { format!("The field '{path}'") };
        ApiError::bad_request(format!("{subject} is wrong: {inner}.")).coded("invalid_field")
    })?;
    deserializer.end().map_err(|error| {
        ApiError::bad_request(format!("The body is not JSON: {error}.")).coded("invalid_json")
    })?;
    Ok(parsed)
}

/// For a field that may be left out, cleared with `null`, or set: `#[serde(default,
/// deserialize_with = "cleared_or_set")]` on an `Option<Option<T>>`.
///
/// # Errors
/// When the value is of another type.
pub fn cleared_or_set<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        name: String,
        port: Option<u16>,
        #[serde(default, deserialize_with = "cleared_or_set")]
        notes: Option<Option<String>>,
    }

    fn refused(body: &str) -> String {
        let error = parse_json::<Wanted>(body.as_bytes()).expect_err("refused");
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        error.message
    }

    #[test]
    fn a_wrong_body_is_refused_with_the_field_that_is_wrong() {
        assert!(refused(r#"{"name":"a","id":"x"}"#).contains("id"));
        assert!(refused(r#"{"name":"a","port":"80"}"#).contains("'port'"));
        assert!(refused(r#"{"name":"a","port":70000}"#).contains("'port'"));
        assert!(refused(r#"{"port":80}"#).contains("name"));
        assert!(refused(r#"{"name":"a"} x"#).contains("not JSON"));
        assert!(refused("").contains("not JSON"));
        assert!(refused(&r#"{"name":"#.repeat(100_000)).contains("'name'"));
    }

    #[test]
    fn a_list_is_not_read_as_fields_in_their_order() {
        assert!(refused(r#"["a",80,null]"#).contains("not a list"));
        assert!(refused(" \n[]").contains("not a list"));
        assert!(refused(&"[".repeat(100_000)).contains("not a list"));
    }

    #[test]
    fn a_field_is_left_out_cleared_or_set() {
        let notes = |body: &str| parse_json::<Wanted>(body.as_bytes()).expect("parses").notes;
        assert_eq!(notes(r#"{"name":"a"}"#), None);
        assert_eq!(notes(r#"{"name":"a","notes":null}"#), Some(None));
        assert_eq!(notes(r#"{"name":"a","notes":"b"}"#), Some(Some("b".into())));
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        limit: Option<i64>,
        search: Option<String>,
    }

    #[test]
    fn an_unknown_query_parameter_is_refused_by_name_and_common_ones_are_not() {
        let parsed = parse_query::<Filter>("as_of=3&limit=5&search=a%20b", "as_of").expect("parses");
        assert_eq!(parsed, Filter { limit: Some(5), search: Some("a b".into()) });
        let refused = |query| parse_query::<Filter>(query, "as_of").expect_err("refused").message;
        assert!(refused("colour=red").contains("colour"));
        assert!(refused("dry_run=true").contains("dry_run"));
        assert!(refused("limit=many").contains("limit"));
        assert!(refused("limit=1&limit=2").contains("limit"));
        assert!(parse_query::<NoParams>("", "as_of").is_ok());
        assert!(parse_query::<NoParams>("x", "as_of").is_err());
    }
}
