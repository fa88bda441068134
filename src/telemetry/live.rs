//! What is counted of live queries.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counts live queries.
#[derive(Debug, Default)]
pub struct LiveQueries {
    /// Clients that follow one.
    pub open: Gauge,
    /// Different ones: clients that ask the same share one.
    pub distinct: Gauge,
    /// Answers that were made again.
    pub rendered: Counter,
    /// Answers that had become other ones, and were sent.
    pub changed: Counter,
    /// Changes that came while an answer was to be made again anyway.
    pub coalesced: Counter,
}

impl LiveQueries {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register("tenantry_live_queries", "Who follows a live query", self.open.clone());
        to.register("tenantry_live_queries_distinct", "Different live queries", self.distinct.clone());
        to.register(
            "tenantry_live_queries_rendered",
            "Answers of live queries that were made again",
            self.rendered.clone(),
        );
        to.register(
            "tenantry_live_queries_changed",
            "Answers of live queries that had become other ones",
            self.changed.clone(),
        );
        to.register(
            "tenantry_live_queries_coalesced",
            "Changes that came while an answer was to be made again anyway",
            self.coalesced.clone(),
        );
    }
}
