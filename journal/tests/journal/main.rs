//! The journal through its public door. Each module is named after what it is about.

mod bytes;
mod disk;
mod feed;
mod group;
mod keyring;
mod store;
mod support;
