//! Routes of document 1: users, settings, tenants, configurations, themes, deployments, services, health, nginx, ports.
//!
//! Fields, status codes and message types are the document's; this room has no rules.

mod auth;
mod config;
mod deployment_control;
mod deployment_feed;
mod deployment_ws;
mod deployments;
pub(super) mod described;
pub(crate) mod dump;
mod health;
mod health_ws;
pub(crate) mod log;
mod nginx;
mod ports;
mod remote;
mod rollbacks;
mod service_logs;
mod services;
mod settings;
mod tenants;
mod theme;
mod theme_analysis;
mod users;
pub(super) mod view;

use super::error::Family;
use super::router::{Access, Routes};

/// The routes of document 1.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Manager)
        .post("/api/auth/login", Access::ANYONE.checks(), auth::login)
        .get("/api/users", Access::ADMIN.unlimited(), users::list)
        .post("/api/users", Access::ADMIN.unlimited(), users::create)
        .get("/api/users/me", Access::VIEWER, users::me)
        .get("/api/users/{id}", Access::OWN, users::get)
        .put("/api/users/{id}", Access::ADMIN.unlimited(), users::update)
        .delete("/api/users/{id}", Access::ADMIN.unlimited(), users::delete)
        .put("/api/users/{id}/password", Access::OWN, users::change_password)
        .get("/api/settings", Access::VIEWER.unlimited(), settings::list)
        .get("/api/settings/{key}", Access::VIEWER.unlimited(), settings::get)
        .put("/api/settings/{key}", Access::ADMIN.unlimited(), settings::put)
        .get("/api/tenants", Access::VIEWER, tenants::list)
        .post("/api/tenants", Access::OPERATOR.unlimited(), tenants::create)
        .get("/api/tenants/{id}", Access::VIEWER, tenants::get)
        .put("/api/tenants/{id}", Access::OPERATOR, tenants::update)
        .delete("/api/tenants/{id}", Access::OPERATOR, tenants::delete)
        .get("/api/tenants/{id}/theme", Access::VIEWER, theme::get)
        .put("/api/tenants/{id}/theme", Access::OPERATOR.body_limit(theme::FORM_BYTES), theme::update)
        .get("/api/tenants/{id}/theme/logos/{kind}", Access::VIEWER, theme::logo)
        .post("/api/tenants/{id}/theme/analyze", Access::OPERATOR, theme_analysis::analyze)
        .get("/api/tenants/{id}/theme/suggestions", Access::VIEWER, theme_analysis::suggestions)
        .get("/api/tenants/{id}/theme/screenshots/{file}", Access::VIEWER, theme_analysis::screenshot)
        .post("/api/tenants/{id}/theme/apply-suggestion", Access::OPERATOR, theme_analysis::apply)
        .get("/api/tenants/{id}/config", Access::VIEWER, config::get)
        .put("/api/tenants/{id}/config", Access::OPERATOR, config::update)
        .post("/api/tenants/{id}/config/regenerate-env", Access::OPERATOR, config::regenerate)
        .post("/api/tenants/{id}/deploy", Access::OPERATOR, deployments::deploy)
        .get("/api/tenants/{id}/deployments", Access::VIEWER, deployments::list)
        .post("/api/tenants/{id}/rollback", Access::OPERATOR, rollbacks::rollback)
        .get("/api/tenants/{id}/releases", Access::VIEWER, rollbacks::list)
        .post("/api/deployments/{id}/cancel", Access::OPERATOR, deployment_control::cancel)
        .post("/api/deployments/{id}/retry", Access::OPERATOR, deployment_control::retry)
        .get("/api/deployments/{id}", Access::VIEWER, deployments::get)
        .get("/api/deployments/{id}/logs", Access::VIEWER.lines(), deployments::logs)
        .get("/ws/deployments/{id}", Access::SOCKET, deployment_ws::open)
        .post("/api/tenants/{id}/start", Access::OPERATOR, services::start)
        .post("/api/tenants/{id}/stop", Access::OPERATOR, services::stop)
        .post("/api/tenants/{id}/restart", Access::OPERATOR, services::restart)
        .get("/api/tenants/{id}/health", Access::VIEWER, health::get)
        .post("/api/tenants/{id}/health-check", Access::VIEWER, health::check)
        .get("/api/tenants/{id}/logs", Access::VIEWER.lines(), service_logs::get)
        .get("/api/tenants/{id}/remote/stats", Access::VIEWER.live(), remote::stats)
        .get("/api/tenants/{id}/remote/persons/count", Access::VIEWER.live(), remote::persons)
        .post("/api/tenants/{id}/remote/backup", Access::OPERATOR, remote::backup)
        .get("/ws/tenants/{id}/health", Access::SOCKET, health_ws::open)
        .post("/api/nginx/reload", Access::OPERATOR.unlimited(), nginx::reload)
        .post("/api/nginx/test", Access::VIEWER.unlimited().checks(), nginx::test)
        .get("/api/nginx/configs", Access::VIEWER.unlimited().live(), nginx::configs)
        .get("/api/ports", Access::VIEWER.unlimited(), ports::list)
        .get("/api/ports/next-available", Access::VIEWER.unlimited(), ports::next_available)
}
