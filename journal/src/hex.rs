//! Hashes as lower-case hexadecimal text, alone and as a serde `with`.

use std::fmt::Write as _;

/// The digits of some bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of lower-case digits; `None` when the text is anything else.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { None } else { bytes(text) }
}

/// A hash of 32 bytes, in digits of either case; `None` when the text is none.
#[must_use]
pub fn hash(text: &str) -> Option<[u8; 32]> {
    bytes(text)?.try_into().ok()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |text: u8| char::from(text).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect()).flatten()
}

/// What stands in a JSON text for a hash of 32 bytes; for schemas alone.
#[derive(Debug)]
pub enum Digits {}

impl schemars::JsonSchema for Digits {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hash".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

/// For a field that is one hash.
pub mod one {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::encode(hash))
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the text is no hash.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        super::hash(&text).ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

/// For a field that is a list of hashes.
pub mod many {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes them.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(hashes: &[[u8; 32]], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hashes.iter().map(|hash| super::encode(hash)))
    }

    /// Reads them.
    ///
    /// # Errors
    /// When one is no hash.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<[u8; 32]>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let hashes = texts.iter().map(|text| super::hash(text)).collect::<Option<Vec<_>>>();
        hashes.ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_as_it_was_written_and_nothing_else_is_one() {
        let bytes: [u8; 32] = std::array::from_fn(|at| (at * 37) as u8);
        assert_eq!(hash(&encode(&bytes)), Some(bytes));
        assert_eq!(hash(&encode(&bytes).to_uppercase()), Some(bytes));
        for wrong in ["", &"0".repeat(63), &"0".repeat(65), &"0".repeat(66), &format!("{}g", "0".repeat(63))]
        {
            assert_eq!(hash(wrong), None, "{wrong}");
        }
    }
}
