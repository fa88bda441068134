//! What the program says about itself: its log, and its metrics.
//!
//! The log goes to standard error, so that standard output stays for answers. Metrics have
//! base units and bounded labels; no name of a tenant, instance or person is ever a label.

pub mod http;
pub mod labels;
pub mod live;
pub mod metrics;
mod process;
mod text;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

pub use metrics::Metrics;

/// What is logged when nobody says.
const DEFAULT_FILTER: &str = "info";

/// The filter for the log is not one.
#[derive(Debug, thiserror::Error)]
#[error("the log filter '{filter}' is not valid; write for example 'info,tenantry=debug'")]
pub struct BadFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Sends this process's log to standard error. `filter` is as in `RUST_LOG`. A second call
/// in one process (as in tests) changes nothing.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<(), BadFilter> {
    let filter = parse_filter(filter)?;
    let colours = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::registry().with(filter);
    // A second initialisation finds the first one in place, which is as good.
    let _ = match format {
        LogFormat::Text => subscriber.with(text_layer(std::io::stderr, colours)).try_init(),
        LogFormat::Json => subscriber
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    Ok(())
}

fn text_layer<S, W>(writer: W, colours: bool) -> impl tracing_subscriber::Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(writer)
}

fn parse_filter(filter: Option<&str>) -> Result<EnvFilter, BadFilter> {
    let filter = filter.filter(|filter| !filter.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    filter.parse().map_err(|source| BadFilter { filter: filter.chars().take(120).collect(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_with_an_example() {
        assert!(parse_filter(None).is_ok());
        assert!(parse_filter(Some("warn,tenantry::engine=trace")).is_ok());
        let error = parse_filter(Some("tenantry=loud")).unwrap_err();
        assert!(error.to_string().contains("tenantry=loud") && error.to_string().contains("info"));
    }
}
