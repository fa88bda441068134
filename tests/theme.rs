//! Themes and analyses of websites, with the program itself, real pages on loopback and a real
//! browser. Only the two language models are stand-ins; they speak the real wire formats.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

#[path = "theme/analysis.rs"]
mod analysis;
#[path = "theme/browser.rs"]
mod browser;
#[path = "theme/form.rs"]
mod form;
#[path = "theme/models.rs"]
mod models;
#[path = "theme/rules.rs"]
mod rules;
#[path = "theme/site.rs"]
mod site;
