//! `GET /api/instances/{service}/{id}`

use axum::extract::State;
use axum::http::{StatusCode, header};

use super::view::InstanceView;
use super::{Key, find, missing};
use crate::http::etag::etag;
use crate::http::extract::{NoQuery, Scope};
use crate::http::state::AppState;
use crate::http::write::{Answer, answer};

pub(super) async fn get(State(app): State<AppState>, scope: Scope, Key(key): Key, _: NoQuery) -> Answer {
    let instance = find(&scope, &key)?;
    let now = (!scope.is_past()).then(|| app.now());
    let checked = now.and_then(|_| app.checks.last_check(instance.id));
    let view = InstanceView::new(instance, now).ok_or_else(|| missing(&key.to_string()))?;
    let mut response = answer(StatusCode::OK, &view.detailed(instance, checked, now.map(|_| &*app.measures)));
    response.headers_mut().insert(header::ETAG, etag(instance.changed));
    Ok(response)
}
