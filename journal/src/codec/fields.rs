//! An event's fields from their MessagePack named map, at the speed of a fold.
//!
//! The forms that our serializer writes are read here, with nothing between the bytes and
//! the derived visitors: names of fields are compared as bytes, texts are borrowed.
//! Everything else (fields without names, numbers in texts, trailing bytes, what does not
//! decode at all) is left to `rmp_serde`, which also says what is wrong. So what can be
//! read is what `rmp_serde` can read, and no byte means two things.

use serde::de::value::BorrowedBytesDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::wire::{BadWire, Reader, Token};

/// How deep a value may nest here; the deepest event has 5 levels.
const MAX_DEPTH: u8 = 32;

/// Reads a value that was written as MessagePack with named fields.
///
/// # Errors
/// When `rmp_serde` cannot read it either.
pub(crate) fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, rmp_serde::decode::Error> {
    quick(bytes).map_or_else(|| rmp_serde::from_slice(bytes), Ok)
}

/// `None` when it is in another form.
fn quick<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let mut fields = Fields { reader: Reader::new(bytes), depth: MAX_DEPTH };
    T::deserialize(&mut fields).ok().filter(|_| fields.reader.is_empty())
}

/// The bytes are in a form that is not read here. Why is said by `rmp_serde`.
#[derive(Debug)]
struct Other;

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the fields are in another form")
    }
}

impl std::error::Error for Other {}

impl serde::de::Error for Other {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Other
    }
}

impl From<BadWire> for Other {
    fn from(_: BadWire) -> Self {
        Other
    }
}

struct Fields<'de> {
    reader: Reader<'de>,
    depth: u8,
}

impl<'de> Fields<'de> {
    /// Reads what stands inside a map, a list or a variant.
    fn nested<R>(&mut self, read: impl FnOnce(&mut Self) -> Result<R, Other>) -> Result<R, Other> {
        self.depth = self.depth.checked_sub(1).ok_or(Other)?;
        let result = read(self);
        self.depth += 1;
        result
    }

    fn map<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value, Other> {
        self.nested(|fields| {
            let mut entries = Entries { fields, left };
            let value = visitor.visit_map(&mut entries)?;
            if entries.left == 0 { Ok(value) } else { Err(Other) }
        })
    }
}

impl<'de> Deserializer<'de> for &mut Fields<'de> {
    type Error = Other;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
        match self.reader.token()? {
            Token::Nil => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Uint(value) => visitor.visit_u64(value),
            Token::Int(value) => visitor.visit_i64(value),
            Token::Text(bytes) => visitor.visit_borrowed_str(std::str::from_utf8(bytes).map_err(|_| Other)?),
            Token::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Token::List(left) => self.nested(|fields| {
                let mut entries = Entries { fields, left };
                let value = visitor.visit_seq(&mut entries)?;
                if entries.left == 0 { Ok(value) } else { Err(Other) }
            }),
            Token::Map(left) => self.map(left, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
        if self.reader.take_nil() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Other> {
        let left = self.reader.map()?;
        self.map(left, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Other> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
        visitor.visit_borrowed_bytes(self.reader.text()?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Other> {
        if self.reader.at_str() {
            return visitor.visit_enum(Name(self.reader.text()?));
        }
        if self.reader.map()? != 1 {
            return Err(Other);
        }
        self.nested(|fields| visitor.visit_enum(Variant(fields)))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
        self.reader.skip()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct seq tuple tuple_struct map
    }
}

/// What is left of a map or a list.
struct Entries<'a, 'de> {
    fields: &'a mut Fields<'de>,
    left: usize,
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Other;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Other> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.fields).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Other> {
        seed.deserialize(&mut *self.fields)
    }
}

impl<'de> SeqAccess<'de> for Entries<'_, 'de> {
    type Error = Other;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Other> {
        self.next_key_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant without a value: its name alone.
struct Name<'de>(&'de [u8]);

impl<'de> EnumAccess<'de> for Name<'de> {
    type Error = Other;
    type Variant = NoValue;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, NoValue), Other> {
        Ok((seed.deserialize(BorrowedBytesDeserializer::<Other>::new(self.0))?, NoValue))
    }
}

struct NoValue;

impl<'de> VariantAccess<'de> for NoValue {
    type Error = Other;

    fn unit_variant(self) -> Result<(), Other> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Other> {
        Err(Other)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Other> {
        Err(Other)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Other> {
        Err(Other)
    }
}

/// A variant with a value: a map of its name and that value.
struct Variant<'a, 'de>(&'a mut Fields<'de>);

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Other;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Other> {
        let name = BorrowedBytesDeserializer::<Other>::new(self.0.reader.text()?);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Other;

    fn unit_variant(self) -> Result<(), Other> {
        if self.0.reader.take_nil() { Ok(()) } else { Err(Other) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Other> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Other> {
        self.0.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Other> {
        let left = self.0.reader.map()?;
        self.0.map(left, visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Serialize;
    use uuid::Uuid;

    use super::*;
    use crate::event::instance::ExitStatus;
    use crate::id::RunId;
    use crate::name::Slug;
    use crate::sealed::Secret;
    use crate::time::Timestamp;

    /// Every form that stands in events, and some that could.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        id: RunId,
        at: Timestamp,
        slug: Slug,
        status: ExitStatus,
        number: i64,
        small: u8,
        is_so: bool,
        text: Option<String>,
        list: Vec<(u16, Option<ExitStatus>)>,
        map: BTreeMap<String, Secret>,
        shape: Shape,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        later: Option<Box<Everything>>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Empty,
        Round { radius: u32 },
        Flat(u32, String),
    }

    fn everything() -> impl Strategy<Value = Everything> {
        let status = prop_oneof![
            any::<i32>().prop_map(ExitStatus::Code),
            any::<i32>().prop_map(ExitStatus::Signal),
            Just(ExitStatus::Unknown),
        ];
        let shape = prop_oneof![
            Just(Shape::Empty),
            any::<u32>().prop_map(|radius| Shape::Round { radius }),
            (any::<u32>(), ".{0,40}").prop_map(|(number, text)| Shape::Flat(number, text)),
        ];
        let list = prop::collection::vec((any::<u16>(), prop::option::of(status.clone())), 0..20);
        let map = prop::collection::btree_map(".{0,9}", ".{0,40}".prop_map(Secret::new), 0..20);
        let first = (any::<u128>(), any::<u64>(), "[a-z0-9]{1,40}", status, any::<i64>(), any::<u8>());
        let second = (any::<bool>(), prop::option::of(".{0,300}"), list, map, shape);
        (first, second, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(first, second, bytes)| {
            let ((id, at, slug, status, number, small), (is_so, text, list, map, shape)) = (first, second);
            let (id, at, slug) = (RunId(Uuid::from_u128(id)), Timestamp(at), slug.parse().unwrap());
            let later = None;
            Everything { id, at, slug, status, number, small, is_so, text, list, map, shape, bytes, later }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_without_help(one in everything(), other in everything()) {
            let value = Everything { later: Some(Box::new(one)), ..other };
            let bytes = rmp_serde::to_vec_named(&value).unwrap();
            prop_assert_eq!(quick::<Everything>(&bytes), Some(value));
        }

        #[test]
        fn a_changed_byte_reads_as_rmp_serde_reads_it(
            value in everything(),
            place in any::<prop::sample::Index>(),
            byte: u8,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = rmp_serde::to_vec_named(&value).unwrap();
            let at = place.index(bytes.len());
            bytes[at] = byte;
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Some(read) = quick::<Everything>(bytes) {
                    prop_assert_eq!(Some(read), rmp_serde::from_slice(bytes).ok());
                }
            }
        }
    }

    #[test]
    fn other_forms_are_left_to_rmp_serde() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Point {
            x: u8,
            y: u8,
        }
        let point = Point { x: 1, y: 2 };
        let unnamed = rmp_serde::to_vec(&point).unwrap();
        assert_eq!(quick::<Point>(&unnamed), None);
        assert_eq!(from_slice::<Point>(&unnamed).unwrap(), point);

        let trailing = [rmp_serde::to_vec_named(&point).unwrap(), vec![0]].concat();
        assert_eq!(quick::<Point>(&trailing), None);
        assert_eq!(from_slice::<Point>(&trailing).unwrap(), point);

        let missing = rmp_serde::to_vec_named(&BTreeMap::from([("x", 1)])).unwrap();
        assert!(from_slice::<Point>(&missing).unwrap_err().to_string().contains("missing field `y`"));
    }

    #[test]
    fn a_field_that_nobody_knows_is_passed_over() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Old {
            pid: u32,
        }
        let newer = rmpv::Value::Map(vec![
            ("pid".into(), 7.into()),
            ("tree".into(), rmpv::Value::Array(vec![1.into(), rmpv::Value::F64(0.5)])),
        ]);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &newer).unwrap();
        assert_eq!(quick::<Old>(&bytes), Some(Old { pid: 7 }));
    }
}
