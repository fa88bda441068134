//! The one router. Each route is declared with who may call it, what it reads, and its document.
//!
//! [`Routes`] collects both: the handlers, which [`super::dispatch`] calls, and the table that
//! [`super::auth_layer`] enforces.
//! A route that is not in the table cannot exist, so none can forget its check.

use std::collections::HashMap;
use std::sync::Arc;

use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use tenantry_journal::event::access::Role;

use super::dispatch::{Erased, Params};
use super::error::{ApiError, Family};
use super::state::AppState;
use super::{dashboard, events, fleet, instances, manager, system};

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
    /// The user whom the path names by `{id}`; for others, an administrator without limits.
    Own,
}

/// What a GET shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// State: it answers `?as_of=`.
    State,
    /// What is so just now: it has no past.
    Now,
    /// What comes line by line or event by event, followed by means of its own: it has no past.
    Lines,
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
    /// Whether what is not a GET only checks or looks: nothing is recorded by it.
    pub checks: bool,
    /// The longest body that it reads, in bytes.
    pub body_limit: u64,
}

impl Access {
    const fn of(who: Who) -> Access {
        Access { who, unlimited: false, shows: Shows::State, checks: false, body_limit: BODY_LIMIT }
    }

    /// Answers anyone, and shows nothing of the state.
    pub const ANYONE: Access = Access::of(Who::Anyone).live();
    /// Answers those who read.
    pub const VIEWER: Access = Access::of(Who::Role(Role::Viewer));
    /// Answers those who change tenants and instances.
    pub const OPERATOR: Access = Access::of(Who::Role(Role::Operator));
    /// Answers those who may do everything.
    pub const ADMIN: Access = Access::of(Who::Role(Role::Admin));
    /// Answers the user whom the path names, and administrators.
    pub const OWN: Access = Access::of(Who::Own);
    /// Streams to those who read.
    pub const SOCKET: Access = Access::of(Who::Socket(Role::Viewer)).lines();

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

    /// Shows lines or events, and follows them by means of its own.
    #[must_use]
    pub const fn lines(mut self) -> Access {
        self.shows = Shows::Lines;
        self
    }

    /// Only checks or looks, though it is not a GET.
    #[must_use]
    pub const fn checks(mut self) -> Access {
        self.checks = true;
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
    table: Vec<Declared>,
    /// Each at its declaration's place.
    handlers: Vec<Erased>,
}

impl Routes {
    /// No routes yet, of this document.
    #[must_use]
    pub fn new(family: Family) -> Routes {
        Routes { family, table: Vec::new(), handlers: Vec::new() }
    }

    /// Adds a GET (and HEAD).
    #[must_use]
    pub fn get<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(Method::GET, path, access, handler)
    }

    /// Adds a POST.
    #[must_use]
    pub fn post<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(Method::POST, path, access, handler)
    }

    /// Adds a PUT.
    #[must_use]
    pub fn put<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(Method::PUT, path, access, handler)
    }

    /// Adds a DELETE.
    #[must_use]
    pub fn delete<H, T>(self, path: &'static str, access: Access, handler: H) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(Method::DELETE, path, access, handler)
    }

    /// Every declaration, in the order in which they came.
    #[must_use]
    pub fn declared(&self) -> &[Declared] {
        &self.table
    }

    fn add<H, T>(mut self, method: Method, path: &'static str, access: Access, handler: H) -> Routes
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.table.push(Declared { method, path, access, family: self.family });
        self.handlers.push(Erased::new(handler));
        self
    }

    /// Adds all of another document's routes.
    #[must_use]
    pub fn merge(mut self, other: Routes) -> Routes {
        self.table.extend(other.table);
        self.handlers.extend(other.handlers);
        self
    }

    /// What is declared, and the handlers by the places of their routes.
    pub(super) fn into_parts(self) -> (Table, Vec<Vec<(Method, Erased)>>) {
        let methods: Vec<(&str, Method)> =
            self.table.iter().map(|declared| (declared.path, declared.method.clone())).collect();
        let table = Table::new(self.table);
        let mut by_place: Vec<Vec<(Method, Erased)>> = table.routes.iter().map(|_| Vec::new()).collect();
        for ((path, method), handler) in methods.into_iter().zip(self.handlers) {
            let place = table.routes.iter().position(|route| route.path == path);
            if let Some(handlers) = place.and_then(|place| by_place.get_mut(place)) {
                handlers.push((method, handler));
            }
        }
        (table, by_place)
    }
}

/// What is declared for one path, by method.
#[derive(Clone, Debug)]
pub struct Route {
    /// The path, as axum writes it.
    pub path: &'static str,
    /// Its place in the table.
    pub place: usize,
    declared: Vec<Declared>,
}

impl Route {
    /// What answers a method, if something does. HEAD is answered as GET is.
    #[must_use]
    pub fn find(&self, method: &Method) -> Option<&Declared> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.declared.iter().find(|route| route.method == *method)
    }

    /// The document that it stands in, whatever the method.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        self.declared.first().map(|route| route.family)
    }
}

/// The declarations of all routes, by path.
#[derive(Clone)]
pub struct Table {
    routes: Arc<Vec<Route>>,
    /// The kind of tree that axum has, too.
    places: Arc<matchit::Router<usize>>,
}

impl Table {
    pub(super) fn new(all: Vec<Declared>) -> Table {
        let mut routes: Vec<Route> = Vec::new();
        let mut by_path = HashMap::new();
        for declared in all {
            let (path, place) = (declared.path, routes.len());
            let known = *by_path.entry(path).or_insert(place);
            match routes.get_mut(known) {
                Some(route) => route.declared.push(declared),
                None => routes.push(Route { path, place, declared: vec![declared] }),
            }
        }
        let mut places = matchit::Router::new();
        for route in &routes {
            places.insert(route.path, route.place).expect("no two paths of the table exclude each other");
        }
        Table { routes: Arc::new(routes), places: Arc::new(places) }
    }

    /// What is declared for the path of a request.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<&Route> {
        self.routes.get(*self.places.at(path).ok()?.value)
    }

    /// The same with the values of the path's parameters.
    pub(super) fn find(&self, path: &str) -> Option<(&Route, Params)> {
        let found = self.places.at(path).ok()?;
        let params = Params::of(found.params.iter().map(|(_, value)| value));
        Some((self.routes.get(*found.value)?, params))
    }

    /// The paths, as axum writes them, each at its route's place.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.routes.iter().map(|route| route.path)
    }

    /// Every declaration, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Declared> {
        self.routes.iter().flat_map(|route| &route.declared)
    }
}

/// All routes of all documents.
#[must_use]
pub fn routes() -> Routes {
    manager::routes()
        .merge(instances::routes())
        .merge(instances::shared_routes())
        .merge(events::routes())
        .merge(fleet::routes())
        .merge(system::routes())
        .merge(dashboard::routes())
}

pub(super) fn no_route() -> ApiError {
    ApiError::not_found("not_found", "There is no such route.")
}

pub(super) fn no_method(method: &Method) -> ApiError {
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
            let is_page =
                route.path == "/" || ["/dashboard/", "/docs/"].iter().any(|at| route.path.starts_with(at));
            assert!(OPEN.contains(&route.path) || is_page, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn nobody_changes_anything_with_the_role_of_a_viewer() {
        // What only checks, by the contract, and the login.
        // Their own password is theirs to change.
        const CHECKS: [&str; 7] = [
            "/api/auth/login",
            "/api/users/{id}/password",
            "/api/tenants/{id}/health-check",
            "/api/logs/search",
            "/api/config/validate",
            "/api/nginx/test",
            "/api/journal/verify",
        ];
        for route in routes().table.iter().filter(|route| route.method != Method::GET) {
            let is_for_viewers = matches!(route.access.who, Who::Anyone | Who::Own | Who::Role(Role::Viewer));
            assert!(!is_for_viewers || CHECKS.contains(&route.path), "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn head_is_answered_as_get_is() {
        let table = Table::new(routes().table);
        let route = table.route("/api/tenants").unwrap();
        assert!(route.find(&Method::HEAD).is_some());
        assert!(route.find(&Method::PATCH).is_none());
        assert_eq!(route.family(), Some(Family::Manager));
        assert!(table.route("/api/nothing").is_none());
    }
}
