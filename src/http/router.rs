//! The one router. Each route is declared with who may call it, what it reads, and its document.
//!
//! [`Routes`] collects both: the handlers and the table that [`super::auth_layer`] enforces.
//! A route that is not in the table cannot exist, so none can forget its check.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use tenantry_journal::event::access::Role;

use super::error::{ApiError, Family};
use super::state::AppState;
use super::{auth_layer, events, frame, instances, manager, system};
use crate::telemetry;

/// The longest body of a route that does not say otherwise, in bytes: the largest command of
/// the three documents has a few KiB, an environment up to some hundred.
pub const BODY_LIMIT: u64 = 1024 * 1024;

/// Which of the two addresses a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Document 1's.
    Manager,
    /// Document 2's.
    Instances,
}

impl Listener {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Listener::Manager => "manager",
            Listener::Instances => "instances",
        }
    }
}

/// Whom a route answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anyone, without a credential.
    Anyone,
    /// Somebody with at least this role.
    Role(Role),
    /// The same on a WebSocket, where the credential may also be the first message.
    Socket(Role),
}

/// What a GET shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// State: it answers `?as_of=`.
    State,
    /// What is so just now, or what processes printed: it has no past.
    Now,
}

/// Who may call a route, and what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whom it answers.
    pub who: Who,
    /// Whether it takes somebody whose powers are not limited to a tenant or service.
    pub unlimited: bool,
    /// What a GET of it shows.
    pub shows: Shows,
    /// The longest body that it reads, in bytes.
    pub body_limit: u64,
}

impl Access {
    const fn of(who: Who) -> Access {
        Access { who, unlimited: false, shows: Shows::State, body_limit: BODY_LIMIT }
    }

    /// Answers anyone.
    pub const ANYONE: Access = Access::of(Who::Anyone);
    /// Answers those who read.
    pub const VIEWER: Access = Access::of(Who::Role(Role::Viewer));
    /// Answers those who change tenants and instances.
    pub const OPERATOR: Access = Access::of(Who::Role(Role::Operator));
    /// Answers those who may do everything.
    pub const ADMIN: Access = Access::of(Who::Role(Role::Admin));
    /// Streams to those who read.
    pub const SOCKET: Access = Access::of(Who::Socket(Role::Viewer)).live();

    /// Only for somebody whose powers are not limited to a tenant or service.
    #[must_use]
    pub const fn unlimited(mut self) -> Access {
        self.unlimited = true;
        self
    }

    /// Shows what has no past.
    #[must_use]
    pub const fn live(mut self) -> Access {
        self.shows = Shows::Now;
        self
    }

    /// Reads longer bodies.
    #[must_use]
    pub const fn body_limit(mut self, bytes: u64) -> Access {
        self.body_limit = bytes;
        self
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The method.
    pub method: Method,
    /// The path, as axum writes it.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// The document that it stands in.
    pub family: Family,
}

/// Handlers with their declarations.
pub struct Routes {
    family: Family,
    router: Router<AppState>,
    table: Vec<Declared>,
}

impl Routes {
    /// No routes yet, of this document.
    #[must_use]
    pub fn new(family: Family) -> Routes {
        Routes { family, router: Router::new(), table: Vec::new() }
    }

    /// Adds a GET (and HEAD).
    #[must_use]
    pub fn get<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(Method::GET, MethodFilter::GET, path, access, handler)
    }

    /// Adds a POST.
    #[must_use]
    pub fn post<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(Method::POST, MethodFilter::POST, path, access, handler)
    }

    /// Adds a PUT.
    #[must_use]
    pub fn put<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(Method::PUT, MethodFilter::PUT, path, access, handler)
    }

    /// Adds a DELETE.
    #[must_use]
    pub fn delete<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(Method::DELETE, MethodFilter::DELETE, path, access, handler)
    }

    /// Every declaration, in the order in which they came.
    #[must_use]
    pub fn declared(&self) -> &[Declared] {
        &self.table
    }

    fn add<H, T>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.router = self.router.route(path, on(filter, handler));
        self.table.push(Declared { method, path, access, family: self.family });
        self
    }

    /// Adds all of another document's routes.
    #[must_use]
    pub fn merge(mut self, other: Routes) -> Routes {
        self.router = self.router.merge(other.router);
        self.table.extend(other.table);
        self
    }
}

/// The declarations of all routes, by path.
#[derive(Clone, Debug, Default)]
pub struct Table(Arc<HashMap<&'static str, Vec<Declared>>>);

impl Table {
    fn new(declared: Vec<Declared>) -> Table {
        let mut by_path: HashMap<&'static str, Vec<Declared>> = HashMap::new();
        for route in declared {
            by_path.entry(route.path).or_default().push(route);
        }
        Table(Arc::new(by_path))
    }

    /// The route that answers a request, if one does. HEAD is answered as GET is.
    #[must_use]
    pub fn find(&self, path: &str, method: &Method) -> Option<&Declared> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.0.get(path)?.iter().find(|route| route.method == *method)
    }

    /// The document that a path stands in, whatever the method.
    #[must_use]
    pub fn family(&self, path: &str) -> Option<Family> {
        self.0.get(path)?.first().map(|route| route.family)
    }

    /// Every declaration, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Declared> {
        self.0.values().flatten()
    }
}

/// All routes of all documents.
#[must_use]
pub fn routes() -> Routes {
    manager::routes().merge(instances::routes()).merge(events::routes()).merge(system::routes())
}

/// The whole API, as one listener serves it. Serve it with connection info
/// (`into_make_service_with_connect_info::<SocketAddr>()`).
pub fn router(state: AppState, listener: Listener) -> Router {
    serve(routes(), state, listener)
}

/// Some routes with all layers around them.
pub(super) fn serve(routes: Routes, state: AppState, listener: Listener) -> Router {
    let Routes { router, table, .. } = routes;
    let measure =
        telemetry::http::Measure { metrics: Arc::clone(&state.metrics), listener: listener.as_str() };
    let gate = auth_layer::Gate { state: state.clone(), table: Table::new(table), listener };
    router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::new(Front { measure, gate }), front))
        .with_state(state)
}

/// What lies before every handler.
struct Front {
    measure: telemetry::http::Measure,
    gate: auth_layer::Gate,
}

/// Measured, framed, admitted, in this order. One layer for the three: each by itself copies
/// the chain of services behind it for every request.
async fn front(State(front): State<Arc<Front>>, mut request: Request, next: Next) -> Response {
    let Front { measure, gate } = &*front;
    request.extensions_mut().insert(gate.listener);
    let admitted = |request| auth_layer::gate(gate, request, next);
    let framed = |request| frame::frame(gate, request, admitted);
    telemetry::http::measure(measure, request, framed).await
}

async fn no_route() -> ApiError {
    ApiError::not_found("not_found", "There is no such route.")
}

async fn no_method(method: Method) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("This route does not answer {method}."),
    )
    .detailed("The Allow header lists what it answers.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_routes_of_the_contract_answer_without_a_credential() {
        const OPEN: [&str; 6] =
            ["/health", "/ready", "/metrics", "/openapi.json", "/docs", "/api/auth/login"];
        for route in routes().table.iter().filter(|route| route.access.who == Who::Anyone) {
            let is_page = route.path == "/" || route.path.starts_with("/dashboard/");
            assert!(OPEN.contains(&route.path) || is_page, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn nobody_changes_anything_with_the_role_of_a_viewer() {
        // What only checks, by the contract, and the login.
        const CHECKS: [&str; 6] = [
            "/api/auth/login",
            "/api/tenants/{id}/health-check",
            "/api/logs/search",
            "/api/config/validate",
            "/api/nginx/test",
            "/api/journal/verify",
        ];
        for route in routes().table.iter().filter(|route| route.method != Method::GET) {
            let is_for_viewers = matches!(route.access.who, Who::Anyone | Who::Role(Role::Viewer));
            assert!(!is_for_viewers || CHECKS.contains(&route.path), "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn head_is_answered_as_get_is() {
        let table = Table::new(routes().table);
        assert!(table.find("/api/tenants", &Method::HEAD).is_some());
        assert!(table.find("/api/tenants", &Method::PATCH).is_none());
        assert_eq!(table.family("/api/tenants"), Some(Family::Manager));
    }
}
