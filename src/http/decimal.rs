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

/// Writes a number behind what is there.
pub(crate) fn push(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(digits(number, None, &mut [0; LONGEST]));
}

fn written(number: u64, around: Option<u8>) -> HeaderValue {
    HeaderValue::from_bytes(digits(number, around, &mut [0; LONGEST]))
        .expect("digits and quotes stand in any header")
}

fn digits(mut number: u64, around: Option<u8>, text: &mut [u8; LONGEST]) -> &[u8] {
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
    text.get(LONGEST - length..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_everywhere() {
        for number in [0, 7, 10, 4_294_967_295, 1_795_321_148, u64::MAX] {
            assert_eq!(decimal(number), number.to_string());
            assert_eq!(quoted(number), format!("\"{number}\""));
            let mut text = b"a ".to_vec();
            push(number, &mut text);
            assert_eq!(text, format!("a {number}").into_bytes());
        }
    }
}
