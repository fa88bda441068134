//! Old versions of events, raised to the present one as they are read.
//!
//! Stored bytes never change. A kind whose fields change their meaning gets the next
//! version in the vocabulary and one step here that turns the fields of the version
//! before into its own; steps chain. What this program does not know (a kind, a later
//! version, a missing step) is an error and never left out.

use rmpv::Value;

use crate::event::{BadEvent, Event};

/// Turns the fields of `from_version` of `kind` into those of the version after it.
#[derive(Clone, Copy)]
pub struct Step {
    /// The kind, as the vocabulary names it.
    pub kind: &'static str,
    /// The version that it reads.
    pub from_version: u16,
    /// The change; `Err` says what is wrong with the fields.
    pub raise: fn(Value) -> Result<Value, String>,
}

/// Every step there is. No kind has a second version yet.
pub const STEPS: &[Step] = &[];

/// An event's fields could not be brought to this program's version.
#[derive(Debug, thiserror::Error)]
pub enum UpcastError {
    /// The vocabulary refuses them.
    #[error(transparent)]
    Event(#[from] BadEvent),
    /// The vocabulary has a later version and no way to it.
    #[error("event kind '{kind}' version {version} has no step to version {}", version + 1)]
    NoStep {
        /// The kind as stored.
        kind: String,
        /// The version at which the chain ends.
        version: u16,
    },
    /// A step refused the fields.
    #[error("event kind '{kind}' version {version} does not become version {}: {what}", version + 1)]
    Refused {
        /// The kind as stored.
        kind: String,
        /// The version that the step reads.
        version: u16,
        /// What the step said.
        what: String,
    },
}

/// Decodes the fields of an event that was stored as `version` of `kind`.
///
/// # Errors
/// When the kind or version is unknown, a step is missing or refuses, or the fields do
/// not decode.
pub fn decode(kind: &str, version: u16, fields: &[u8]) -> Result<Event, UpcastError> {
    let known = Event::version_of(kind)
        .ok_or_else(|| BadEvent::UnknownKind { kind: kind.chars().take(80).collect() })?;
    if version == known {
        return Ok(Event::decode_fields(kind, fields)?);
    }
    let fields = raise(STEPS, kind, version, known, fields)?;
    Ok(Event::decode_fields(kind, &fields)?)
}

/// Raises encoded fields from `version` to `known` by the steps of a table.
fn raise(
    steps: &[Step],
    kind: &str,
    version: u16,
    known: u16,
    fields: &[u8],
) -> Result<Vec<u8>, UpcastError> {
    if version > known {
        return Err(BadEvent::FutureVersion { kind: kind.to_owned(), version, known }.into());
    }
    let refused = |version: u16, what: String| UpcastError::Refused { kind: kind.to_owned(), version, what };
    let mut value =
        rmpv::decode::read_value(&mut { fields }).map_err(|error| refused(version, error.to_string()))?;
    for from in version..known {
        let step = steps
            .iter()
            .find(|step| step.kind == kind && step.from_version == from)
            .ok_or_else(|| UpcastError::NoStep { kind: kind.to_owned(), version: from })?;
        value = (step.raise)(value).map_err(|what| refused(from, what))?;
    }
    let mut raised = Vec::with_capacity(fields.len());
    rmpv::encode::write_value(&mut raised, &value).map_err(|error| refused(known, error.to_string()))?;
    Ok(raised)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(value: Value) -> Result<Value, String> {
        let Value::Map(fields) = value else { return Err("not a map".into()) };
        Ok(Value::Map(
            fields
                .into_iter()
                .map(
                    |(key, value)| {
                        if key.as_str() == Some("p") { ("pid".into(), value) } else { (key, value) }
                    },
                )
                .collect(),
        ))
    }

    fn add(value: Value) -> Result<Value, String> {
        let Value::Map(mut fields) = value else { return Err("not a map".into()) };
        fields.push(("start_ticks".into(), 0.into()));
        Ok(Value::Map(fields))
    }

    /// As if `system.keeper_connected` were at version 3.
    const TABLE: &[Step] = &[
        Step { kind: "system.keeper_connected", from_version: 2, raise: add },
        Step { kind: "other", from_version: 1, raise: add },
        Step { kind: "system.keeper_connected", from_version: 1, raise: rename },
    ];
    const KIND: &str = "system.keeper_connected";

    #[test]
    fn steps_chain_from_the_oldest_version_to_the_newest() {
        let stored = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("p", 7)])).unwrap();
        let raised = raise(TABLE, KIND, 1, 3, &stored).unwrap();
        let event = Event::decode_fields(KIND, &raised).unwrap();
        assert_eq!(event, crate::event::system::KeeperConnected { pid: 7, start_ticks: 0 }.into());
    }

    #[test]
    fn a_missing_step_and_a_refusing_step_are_errors() {
        let stored = rmp_serde::to_vec(&1).unwrap();
        assert!(matches!(raise(TABLE, KIND, 1, 3, &stored), Err(UpcastError::Refused { version: 1, .. })));
        assert!(raise(TABLE, "other", 1, 3, &rmp_serde::to_vec_named(&()).unwrap()).is_err());
        assert!(matches!(raise(&[], KIND, 1, 3, &stored), Err(UpcastError::NoStep { version: 1, .. })));
    }

    #[test]
    fn an_unknown_kind_and_a_future_version_are_errors_that_say_so() {
        let unknown = decode("tenant.beamed_up", 1, &[0x80]).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "event kind 'tenant.beamed_up' is unknown to this version of tenantry"
        );
        let future = decode("port.released", 2, &[0x80]).unwrap_err();
        assert_eq!(
            future.to_string(),
            "event kind 'port.released' has version 2, this version of tenantry knows up to 1"
        );
    }

    #[test]
    fn every_kind_has_its_steps_up_to_the_present_version() {
        for (kind, version) in Event::KINDS {
            for from in 1..*version {
                let steps = STEPS.iter().filter(|step| step.kind == *kind && step.from_version == from);
                assert_eq!(steps.count(), 1, "{kind} version {from}");
            }
        }
    }
}
