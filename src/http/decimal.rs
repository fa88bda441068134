//! Numbers as values of headers. `format!` and the general conversions take two allocations
//! for each, which is felt with four of them in every answer.

use axum::http::HeaderValue;

/// The most digits of a number, and two quotes.
const LONGEST: usize = 22;

/// A number.
pub(super) fn decimal(number: u64) -> HeaderValue {
    written(number, None)
}

/// A number between quotes, as an entity tag is written.
pub(super) fn quoted(number: u64) -> HeaderValue {
    written(number, Some(b'"'))
}

fn written(mut number: u64, around: Option<u8>) -> HeaderValue {
    let mut text = [0; LONGEST];
    let mut places = text.iter_mut().rev();
    let mut length = 0;
    let mut put = |byte| {
        if let Some(place) = places.next() {
            *place = byte;
            length += 1;
        }
    };
    around.into_iter().for_each(&mut put);
    loop {
        put(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    around.into_iter().for_each(&mut put);
    let text = text.get(LONGEST - length..).unwrap_or_default();
    HeaderValue::from_bytes(text).expect("digits and quotes stand in any header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_everywhere() {
        for number in [0, 7, 10, 4_294_967_295, 1_795_321_148, u64::MAX] {
            assert_eq!(decimal(number), number.to_string());
            assert_eq!(quoted(number), format!("\"{number}\""));
        }
    }
}
