//! `tenantry openapi`: what `GET /openapi.json` gives, for who has no server at hand.

use std::io::Write as _;

use crate::http::openapi;

/// Prints the document, indented.
pub(super) fn print() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &openapi::build())?;
    writeln!(out)?;
    Ok(())
}
