//! Routes of document 1: users, tenants, deployments, services, health, ports.
//!
//! Fields, status codes and message types are the document's; this room has no rules.

mod auth;
mod deployment_control;
mod deployment_feed;
mod deployment_ws;
mod deployments;
pub(crate) mod dump;
mod health;
mod health_ws;
mod ports;
mod rollbacks;
mod services;
mod tenants;
mod view;

use super::error::Family;
use super::router::{Access, Routes};

/// The routes of document 1.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Manager)
        .post("/api/auth/login", Access::ANYONE, auth::login)
        .get("/api/users", Access::ADMIN.unlimited(), auth::list_users)
        .post("/api/users", Access::ADMIN.unlimited(), auth::create_user)
        .get("/api/tenants", Access::VIEWER, tenants::list)
        .post("/api/tenants", Access::OPERATOR.unlimited(), tenants::create)
        .get("/api/tenants/{id}", Access::VIEWER, tenants::get)
        .put("/api/tenants/{id}", Access::OPERATOR, tenants::update)
        .delete("/api/tenants/{id}", Access::OPERATOR, tenants::delete)
        .post("/api/tenants/{id}/deploy", Access::OPERATOR, deployments::deploy)
        .get("/api/tenants/{id}/deployments", Access::VIEWER, deployments::list)
        .post("/api/tenants/{id}/rollback", Access::OPERATOR, rollbacks::rollback)
        .get("/api/tenants/{id}/releases", Access::VIEWER, rollbacks::list)
        .post("/api/deployments/{id}/cancel", Access::OPERATOR, deployment_control::cancel)
        .post("/api/deployments/{id}/retry", Access::OPERATOR, deployment_control::retry)
        .get("/api/deployments/{id}", Access::VIEWER, deployments::get)
        .get("/api/deployments/{id}/logs", Access::VIEWER.live(), deployments::logs)
        .get("/ws/deployments/{id}", Access::SOCKET, deployment_ws::open)
        .post("/api/tenants/{id}/start", Access::OPERATOR, services::start)
        .post("/api/tenants/{id}/stop", Access::OPERATOR, services::stop)
        .post("/api/tenants/{id}/restart", Access::OPERATOR, services::restart)
        .get("/api/tenants/{id}/health", Access::VIEWER, health::get)
        .post("/api/tenants/{id}/health-check", Access::VIEWER, health::check)
        .get("/ws/tenants/{id}/health", Access::SOCKET, health_ws::open)
        .get("/api/ports", Access::VIEWER.unlimited(), ports::list)
        .get("/api/ports/next-available", Access::VIEWER.unlimited(), ports::next_available)
}
