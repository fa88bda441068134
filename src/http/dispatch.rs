//! Hands a request to the handler of its route.
//!
//! The gate has looked the route up before. axum's own router would look for it once more, and
//! copy the address, the pattern and a boxed service into each request: a third of what a GET
//! costs. Handlers, extractors and answers are axum's.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts, Request};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::percent_decode_str;

use super::error::ApiError;
use super::router::{Route, no_method};
use super::state::AppState;

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A handler, whatever it takes.
pub(super) struct Erased(Box<dyn Fn(Request, AppState) -> Answering + Send + Sync>);

impl Erased {
    pub(super) fn new<H, T>(handler: H) -> Erased
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        Erased(Box::new(move |request, state| Box::pin(handler.clone().call(request, state))))
    }
}

/// The handlers of all routes. Clones share them.
#[derive(Clone)]
pub(super) struct Handlers(Arc<Shared>);

struct Shared {
    state: AppState,
    /// Each at its route's place.
    by_place: Vec<Vec<(Method, Erased)>>,
}

impl Handlers {
    pub(super) fn new(state: AppState, by_place: Vec<Vec<(Method, Erased)>>) -> Handlers {
        Handlers(Arc::new(Shared { state, by_place }))
    }

    /// Has the route's handler answer; HEAD is answered as GET is, without the body.
    pub(super) async fn answer(&self, route: &Route, request: Request) -> Response {
        let is_head = *request.method() == Method::HEAD;
        let method = if is_head { &Method::GET } else { request.method() };
        let by_method = self.0.by_place.get(route.place).map(Vec::as_slice).unwrap_or_default();
        let handler = by_method.iter().find(|(other, _)| other == method);
        let Some((_, Erased(handler))) = handler else { return refused(by_method, request.method()) };
        let response = handler(request, self.0.state.clone()).await;
        if is_head { without_body(response) } else { response }
    }
}

/// 405, with what the route answers.
fn refused(by_method: &[(Method, Erased)], method: &Method) -> Response {
    let mut response = no_method(method).into_response();
    let allowed = by_method.iter().map(|(method, _)| match *method {
        Method::GET => "GET,HEAD",
        _ => method.as_str(),
    });
    if let Ok(allowed) = HeaderValue::try_from(allowed.collect::<Vec<_>>().join(",")) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// The head of an answer, with the length of what it leaves out.
fn without_body(mut response: Response) -> Response {
    let length = response.body().size_hint().exact();
    let body = std::mem::replace(response.body_mut(), Body::empty());
    drop(body);
    if let Some(length) = length {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    response
}

/// The values of a path's parameters, in their order, decoded; `None` when they are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Params(Option<Vec<String>>);

impl Params {
    /// Of a path as it was matched.
    pub(super) fn of<'m>(matched: impl Iterator<Item = &'m str>) -> Params {
        let decoded = matched.map(|value| percent_decode_str(value).decode_utf8().ok().map(Into::into));
        Params(decoded.collect())
    }

    /// The parameter at a place, counted from 0; empty when the path has fewer.
    pub(super) fn at(&self, place: usize) -> &str {
        self.0.as_ref().and_then(|values| values.get(place)).map(String::as_str).unwrap_or_default()
    }

    /// Whether there is nothing to hand over.
    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_some_and(Vec::is_empty)
    }
}

/// The parameters of a request's path.
///
/// # Errors
/// 400 when they are not UTF-8.
pub(super) fn params(parts: &Parts) -> Result<&Params, ApiError> {
    static NONE: Params = Params(Some(Vec::new()));
    let params = parts.extensions.get::<Params>().unwrap_or(&NONE);
    if params.0.is_some() { Ok(params) } else { Err(ApiError::bad_request("The path is not UTF-8.")) }
}

impl FromRequestParts<AppState> for Params {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Params, ApiError> {
        params(parts).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_stay_apart() {
        let params = Params::of(["a%20b", "c%2Fd", ""].into_iter());
        assert_eq!((params.at(0), params.at(1), params.at(2), params.at(3)), ("a b", "c/d", "", ""));
        assert!(!params.is_empty() && Params::of([].into_iter()).is_empty());
        assert_eq!(Params::of(["%ff"].into_iter()), Params(None));
    }
}
