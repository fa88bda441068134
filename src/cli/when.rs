//! Times and amounts as people read them in a table.

use serde_json::Value;

use super::client::field;

/// A length of time in its two largest units: `3d 4h`, `12m 5s`, `0s`.
pub(super) fn duration(seconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = UNITS.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, unit) in UNITS.iter().skip(first).take(2) {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || parts.is_empty() {
            parts.push(format!("{count}{name}"));
        }
    }
    parts.join(" ")
}

/// A member in milliseconds as a length of time; `-` without one.
pub(super) fn duration_ms(object: &Value, name: &str) -> String {
    field(object, name).as_u64().map_or_else(|| "-".to_owned(), |ms| duration(ms / 1000))
}

/// A member that is a time, to the second: `2024-01-12 10:30:00`; `-` without one.
pub(super) fn moment(object: &Value, name: &str) -> String {
    let Some(text) = field(object, name).as_str() else { return "-".to_owned() };
    let seconds = text.get(..19).filter(|_| text.ends_with('Z'));
    seconds.map_or_else(|| text.to_owned(), |seconds| seconds.replace('T', " "))
}

/// A member that is a number, with so many decimals; `-` without one.
pub(super) fn number(object: &Value, name: &str, decimals: usize) -> String {
    match field(object, name) {
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_u64() => format!("{float:.decimals$}"),
            _ => number.to_string(),
        },
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_told_in_two_units() {
        let cases = [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (90_061, "1d 1h"), (86_405, "1d")];
        for (seconds, told) in cases {
            assert_eq!(duration(seconds), told);
        }
        assert_eq!(duration_ms(&json!({"uptime_ms": 125_456}), "uptime_ms"), "2m 5s");
        assert_eq!(duration_ms(&json!({"uptime_ms": null}), "uptime_ms"), "-");
        assert_eq!(moment(&json!({"at": "2024-01-12T10:30:00.123Z"}), "at"), "2024-01-12 10:30:00");
        assert_eq!(moment(&json!({}), "at"), "-");
    }

    #[test]
    fn a_number_has_its_decimals_and_a_count_none() {
        let object = json!({"cpu": 12.3456, "count": 7});
        assert_eq!((number(&object, "cpu", 1), number(&object, "count", 1)), ("12.3".into(), "7".into()));
        assert_eq!(number(&object, "other", 1), "-");
    }
}
