//! The API as a listener serves it: every route, and what lies before every handler.
//!
//! Measured, framed, admitted, in this order, and only then handed to axum. All three need
//! the route, so it is looked up here, once. A layer around each of axum's routes would be
//! copied and boxed with every request.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use tower::Service as _;

use super::auth_layer::{self, Gate};
use super::frame;
use super::live::{self, Live};
use super::router::{Listener, Table, no_method, no_route, routes};
use super::state::AppState;
use crate::telemetry::http::{Measure, measure};

/// The API of one listener. Clones share it.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    measure: Measure,
    gate: Gate,
    handlers: Router,
    live: Live,
}

impl Api {
    /// All routes of all documents. A request needs the address of its client among its
    /// extensions (`ConnectInfo<SocketAddr>`).
    #[must_use]
    pub fn new(state: AppState, listener: Listener) -> Api {
        let (router, declared) = routes().into_parts();
        let table = Table::new(declared);
        let measure = Measure::new(Arc::clone(&state.metrics), listener.as_str(), table.paths());
        let handlers =
            router.fallback(no_route).method_not_allowed_fallback(no_method).with_state(state.clone());
        let live = Live::new(state.clone(), handlers.clone());
        let gate = Gate { state, table, listener };
        Api(Arc::new(Shared { measure, gate, handlers, live }))
    }

    /// The same for a server of axum's own.
    pub fn into_router(self) -> Router {
        Router::new().fallback(move |request| {
            let api = self.clone();
            async move { api.answer(request).await }
        })
    }

    /// Answers a request.
    pub async fn answer(&self, mut request: Request) -> Response {
        let Shared { measure: counts, gate, handlers, live } = &*self.0;
        let route = gate.table.route(request.uri().path());
        request.extensions_mut().insert(gate.listener);
        let handled = async |request| {
            // No handler is reached whose declaration the gate has not seen.
            let Some(route) = route else { return no_route().await.into_response() };
            if let Some(asked) = live::asked(route, &request) {
                return live.answer(asked, route, request).await;
            }
            match handlers.clone().call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        let admitted = |request| auth_layer::gate(gate, route, request, handled);
        let framed = |request| frame::frame(gate, route, request, admitted);
        measure(counts, route.map(|route| route.place), request, framed).await
    }
}
