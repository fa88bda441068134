//! A moment as people write it: `1042`, `2026-01-31T12:00:00Z`, `5m ago`, `1h`, `yesterday 14:00`.
//! A time of day without a zone is UTC.

use std::fmt;
use std::str::FromStr;

use tenantry_journal::id::Seq;
use tenantry_journal::time::Timestamp;

/// A moment of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Right after this event.
    Seq(Seq),
    /// Right after the last event at or before this time.
    At(Timestamp),
}

/// The text names no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no point in time: give a seq, an RFC 3339 time, a distance from now such as 5m or '1h ago', \
     now, or a time of day (UTC) such as 14:00 or 'yesterday 14:00'"
)]
pub struct BadPoint(String);

/// At most this much of a refused text is repeated in the refusal.
const SHOWN_CHARS: usize = 64;

fn bad(text: &str) -> BadPoint {
    BadPoint(text.chars().take(SHOWN_CHARS).flat_map(char::escape_default).collect())
}

impl Point {
    /// Reads a point that may be given as a distance from `now`.
    ///
    /// # Errors
    /// When the text names no moment.
    pub fn parse(text: &str, now: Timestamp) -> Result<Point, BadPoint> {
        if text == "now" {
            return Ok(Point::At(now));
        }
        if let Some(at) = time_of_day(text, now) {
            return Ok(Point::At(at));
        }
        match distance_ms(text) {
            Some(ms) => Ok(Point::At(Timestamp(now.0.saturating_sub(ms)))),
            None => text.parse(),
        }
    }
}

const DAY_MS: u64 = 86_400_000;

/// `14:00`, `today 14:00`, `yesterday 14:00`, `yesterday`: in UTC; `None` for anything else.
fn time_of_day(text: &str, now: Timestamp) -> Option<Timestamp> {
    let midnight = now.0 - now.0 % DAY_MS;
    let (day, clock) = match text.split_once(' ') {
        Some((day, clock)) => (day, clock),
        None if text.contains(':') => ("today", text),
        None => (text, "00:00"),
    };
    let begins = match day {
        "today" => midnight,
        "yesterday" => midnight.checked_sub(DAY_MS)?,
        _ => return None,
    };
    let (hours, minutes) = clock.split_once(':')?;
    let two = |digits: &str, below: u64| {
        let is_plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| is_plain && *number < below)
    };
    let minutes = two(hours, 24)? * 60 + two(minutes, 60)?;
    Some(Timestamp(begins + minutes * 60_000))
}

/// Reads a time that may be given as a distance from `now`, as `since` and `until` are.
///
/// # Errors
/// When the text names no time; a seq is none.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, BadPoint> {
    match Point::parse(text, now)? {
        Point::At(at) => Ok(at),
        Point::Seq(_) => Err(bad(text)),
    }
}

impl FromStr for Point {
    type Err = BadPoint;
    fn from_str(text: &str) -> Result<Self, BadPoint> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(|seq| Point::Seq(Seq(seq))).map_err(|_| bad(text));
        }
        text.parse().map(Point::At).map_err(|_| bad(text))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Seq(seq) => write!(f, "seq {seq}"),
            Point::At(at) => at.fmt(f),
        }
    }
}

/// Milliseconds of `90s`, `1h30m`, `2d ago`; `None` for anything else.
fn distance_ms(text: &str) -> Option<u64> {
    let mut rest = text.strip_suffix(" ago").unwrap_or(text);
    let mut sum: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(unit_ms)?)?;
        rest = after;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_763_726_400_000);

    #[test]
    fn digits_are_a_seq_and_the_rest_is_a_time() {
        assert_eq!("1042".parse(), Ok(Point::Seq(Seq(1042))));
        assert_eq!("2025-11-21T12:00:00Z".parse(), Ok(Point::At(NOW)));
        assert_eq!(Point::parse("1042", NOW), Ok(Point::Seq(Seq(1042))));
    }

    #[test]
    fn a_distance_counts_back_from_now() {
        for (text, ms) in [
            ("5m ago", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("2d ago", 172_800_000),
        ] {
            assert_eq!(Point::parse(text, NOW), Ok(Point::At(Timestamp(NOW.0 - ms))), "{text}");
        }
        assert_eq!(Point::parse("9999w", Timestamp(5)), Ok(Point::At(Timestamp(0))));
    }

    #[test]
    fn a_time_of_day_is_in_utc() {
        let hour = |h: u64| Ok(Point::At(Timestamp(NOW.0 - 12 * 3_600_000 + h * 3_600_000)));
        assert_eq!(Point::parse("9:00", NOW), hour(9));
        assert_eq!(Point::parse("today 09:00", NOW), hour(9));
        assert_eq!(Point::parse("yesterday 14:00", NOW), Ok(Point::At(Timestamp(NOW.0 - 22 * 3_600_000))));
        assert_eq!(Point::parse("yesterday", NOW), Ok(Point::At(Timestamp(NOW.0 - 36 * 3_600_000))));
        assert_eq!(Point::parse("now", NOW), Ok(Point::At(NOW)));
        for text in ["24:00", "1:60", "tomorrow 1:00", "today", "12:", ":12", "1:2:3", "today  1:00"] {
            assert!(text == "today" || Point::parse(text, NOW).is_err(), "{text}");
        }
        assert!(Point::parse("yesterday", Timestamp(5)).is_err());
    }

    #[test]
    fn nonsense_is_refused_whatever_its_length() {
        let long = "9".repeat(400);
        for text in
            ["", " ", "-1", "+5", "h", "5", "5x", "5m5", " ago", "ago", "5m ago ago", "é1h", "1hé", &long]
        {
            assert!(parse_time(text, NOW).is_err(), "{text:?}");
        }
        assert!(Point::parse("18446744073709551616", NOW).is_err());
        assert!(Point::parse("18446744073709551615w", NOW).is_err());
        assert!("1h".parse::<Point>().is_err(), "a distance needs a now");
    }
}
