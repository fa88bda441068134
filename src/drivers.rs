//! One file for each outside thing: files, git, databases, probes, tools, logs,
//! nginx, systemd, certificates.
//!
//! A driver knows no events, no World and no other driver; what belongs together is put
//! together by the reactor. Every `ensure_*` may be repeated: a second call finds its work
//! done. Nothing here passes data through a shell, and whatever lies below a root is
//! reached through [`below`], which follows no symbolic link.

pub mod acme;
pub mod analyzer;
pub mod assets;
pub mod below;
pub mod blob;
pub mod certificates;
pub mod chromium;
pub mod database;
pub mod deploy_log;
pub mod disk;
pub mod dotenv;
pub mod fetch;
pub mod files;
pub mod git;
pub mod listening;
pub mod logo;
pub mod nginx;
pub mod open_files;
pub mod owner;
pub mod page;
pub mod palette;
pub mod private;
pub mod probe;
pub mod remote;
pub mod strangers;
pub mod svg;
pub mod systemd;
pub mod tool;
