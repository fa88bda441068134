//! A real nginx before real tenants: sites through the whole saga, and everything that can be in the way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "nginx/authority.rs"]
mod authority;
#[path = "nginx/burst.rs"]
mod burst;
#[path = "nginx/certificates.rs"]
mod certificates;
#[path = "nginx/disk.rs"]
mod disk;
#[path = "nginx/front.rs"]
mod front;
#[path = "nginx/hostile.rs"]
mod hostile;
#[path = "nginx/life.rs"]
mod life;
#[path = "nginx/management.rs"]
mod management;
mod support;
#[path = "nginx/traffic.rs"]
mod traffic;
