//! The HTTP API: extract, authorize, act, answer. No rule about tenants stands here.
//!
//! Each route is declared once with who may call it ([`router::Routes`]); [`auth_layer`]
//! enforces that before a handler runs and hands it a [`extract::Scope`], the only way to
//! the World. Errors are values ([`error::ApiError`]), put into the shape of the document
//! that the route stands in by [`frame`], in one place.

mod aftermath;
pub mod api;
pub mod auth_layer;
pub mod dashboard;
pub(crate) mod decimal;
mod dispatch;
pub mod error;
pub mod etag;
pub mod events;
pub mod extract;
pub mod fleet;
pub mod frame;
pub mod instances;
pub mod kept;
pub mod listing;
mod live;
pub mod manager;
pub mod observed;
pub mod openapi;
pub mod origin;
pub mod rate;
pub mod repeat;
pub mod router;
pub mod state;
pub mod system;
#[cfg(test)]
mod testing;
pub mod write;
pub mod ws;
