//! Filters as people write them: in a query, and in a subscription.

use serde::Deserialize;
use tenantry_journal::id::{CommandId, Seq, TenantId};
use tenantry_journal::name::InstanceKey;
use tenantry_journal::time::Timestamp;
use tenantry_projections::as_of::point::parse_time;
use tenantry_projections::event_view::EventFilter;
use uuid::Uuid;

use crate::http::error::ApiError;

/// The longest kind is shorter.
const LONGEST_KIND: usize = 64;

/// What a filter may say, besides the position from which to read.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "EventFilter")]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    to_seq: Option<Seq>,
    since: Option<String>,
    until: Option<String>,
    tenant_id: Option<TenantId>,
    instance: Option<InstanceKey>,
    kind: Option<String>,
    actor: Option<Uuid>,
    command_id: Option<CommandId>,
}

impl Said {
    /// The filter, with distances such as `1h` counted from `now`.
    pub(super) fn filter(self, now: Timestamp) -> Result<EventFilter, ApiError> {
        let time = |name: &str, text: Option<String>| {
            text.map(|text| parse_time(&text, now))
                .transpose()
                .map_err(|error| wrong(format!("{name} is wrong: {error}.")))
        };
        if self.kind.as_ref().is_some_and(|kind| kind.is_empty() || kind.len() > LONGEST_KIND) {
            return Err(wrong(format!("kind must be 1 to {LONGEST_KIND} characters.")));
        }
        Ok(EventFilter {
            from_seq: None,
            to_seq: self.to_seq,
            since: time("since", self.since)?,
            until: time("until", self.until)?,
            tenant_id: self.tenant_id,
            instance: self.instance,
            kind: self.kind,
            actor: self.actor,
            command_id: self.command_id,
        })
    }
}

fn wrong(message: String) -> ApiError {
    ApiError::bad_request(message).coded("invalid_parameter")
}

/// The parameters of a query that filters events. The fields of [`Said`] stand here again,
/// because a flattened struct would neither refuse unknown names nor read numbers.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "EventQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    pub(super) from_seq: Option<Seq>,
    to_seq: Option<Seq>,
    since: Option<String>,
    until: Option<String>,
    tenant_id: Option<TenantId>,
    instance: Option<InstanceKey>,
    kind: Option<String>,
    actor: Option<Uuid>,
    command_id: Option<CommandId>,
    pub(super) order: Option<Order>,
    pub(super) limit: Option<i64>,
}

/// In which direction to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "EventOrder")]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    #[default]
    Asc,
    Desc,
}

impl Params {
    /// The filter, without its `from_seq`.
    pub(super) fn filter(&self, now: Timestamp) -> Result<EventFilter, ApiError> {
        let Params { to_seq, since, until, tenant_id, instance, kind, actor, command_id, .. } = self.clone();
        Said { to_seq, since, until, tenant_id, instance, kind, actor, command_id }.filter(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_a_distance_and_a_position_is_none() {
        let now = Timestamp(1_763_726_400_000);
        let filter = |json: &str| serde_json::from_str::<Said>(json).expect("parses").filter(now);
        let since = filter(r#"{"since":"1h"}"#).unwrap().since;
        assert_eq!(since, Some(Timestamp(now.0 - 3_600_000)));
        assert_eq!(filter(r#"{"until":"2025-11-21T12:00:00Z"}"#).unwrap().until, Some(now));
        assert!(filter(r#"{"since":"42"}"#).is_err());
        assert!(filter(r#"{"kind":""}"#).is_err());
        assert!(serde_json::from_str::<Said>(r#"{"colour":"red"}"#).is_err());
    }
}
