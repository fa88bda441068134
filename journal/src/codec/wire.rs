//! The few MessagePack forms that an event record is made of, written and read by hand.
//!
//! A record is written and read millions of times a second, and what it holds never
//! changes its order when written; a general serializer would cost more than the rest of
//! the record. Numbers, texts and bytes are written in their shortest form, as the
//! derived serializers write them. Reading accepts every form and any order.

/// The bytes are not the MessagePack that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadWire(pub(crate) &'static str);

/// How deep unknown values may nest before they are refused; a record's own depth is 2.
const MAX_DEPTH: u8 = 32;

/// Appends the head of a map with `len` entries.
pub(crate) fn put_map(out: &mut Vec<u8>, len: u8) {
    debug_assert!(len < 16, "a record has fewer than 16 fields");
    out.push(0x80 | len);
}

/// Appends a text.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    let len = text.len();
    match len {
        0..=31 => out.push(0xa0 | len as u8),
        32..=255 => out.extend_from_slice(&[0xd9, len as u8]),
        256..=65_535 => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends bytes.
pub(crate) fn put_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.len();
    match len {
        0..=255 => out.extend_from_slice(&[0xc4, len as u8]),
        256..=65_535 => {
            out.push(0xc5);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(0xc6);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// Appends an unsigned number.
pub(crate) fn put_uint(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x7f => out.push(number as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// A value that was read, or the head of one that goes on.
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    Uint(u64),
    /// A negative number, or one that was written as signed.
    Int(i64),
    /// Not checked to be UTF-8.
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    /// So many values follow.
    List(usize),
    /// So many pairs of values follow.
    Map(usize),
}

/// Reads values from the front of a slice, borrowing texts and bytes.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], BadWire> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(BadWire("the record ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, BadWire> {
        let (&byte, rest) = self.rest.split_first().ok_or(BadWire("the record ends too early"))?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    fn number(&mut self, width: usize) -> Result<u64, BadWire> {
        Ok(self.take(width)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    #[inline]
    fn signed(&mut self, width: usize) -> Result<Token<'a>, BadWire> {
        let unused = 64 - 8 * width as u32;
        Ok(Token::Int((self.number(width)? << unused).cast_signed() >> unused))
    }

    #[inline]
    fn length(&mut self, width: usize) -> Result<usize, BadWire> {
        usize::try_from(self.number(width)?).map_err(|_| BadWire("a length is too large"))
    }

    /// Takes exactly these bytes, if they come next.
    #[inline]
    pub(crate) fn take_exactly<const N: usize>(&mut self, wanted: &[u8; N]) -> bool {
        match self.rest.split_first_chunk() {
            Some((found, rest)) if found == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(crate) fn take_nil(&mut self) -> bool {
        self.take_exactly(&[0xc0])
    }

    /// Any value but a floating-point number and an extension: none of ours has these.
    #[inline]
    pub(crate) fn token(&mut self) -> Result<Token<'a>, BadWire> {
        let head = self.byte()?;
        Ok(match head {
            0..=0x7f => Token::Uint(u64::from(head)),
            0xe0..=0xff => Token::Int(i64::from(head.cast_signed())),
            0x80..=0x8f => Token::Map(usize::from(head & 0x0f)),
            0x90..=0x9f => Token::List(usize::from(head & 0x0f)),
            0xa0..=0xbf => Token::Text(self.take(usize::from(head & 0x1f))?),
            0xc0 => Token::Nil,
            0xc2 | 0xc3 => Token::Bool(head == 0xc3),
            0xc4..=0xc6 => Token::Bytes(self.counted(1 << (head - 0xc4))?),
            0xcc..=0xcf => Token::Uint(self.number(1 << (head - 0xcc))?),
            0xd0..=0xd3 => self.signed(1 << (head - 0xd0))?,
            0xd9..=0xdb => Token::Text(self.counted(1 << (head - 0xd9))?),
            0xdc => Token::List(self.length(2)?),
            0xdd => Token::List(self.length(4)?),
            0xde => Token::Map(self.length(2)?),
            0xdf => Token::Map(self.length(4)?),
            0xc1 | 0xc7..=0xcb | 0xd4..=0xd8 => return Err(BadWire("a value is of a type that is not used")),
        })
    }

    /// Bytes behind a length of so many bytes.
    #[inline]
    fn counted(&mut self, width: usize) -> Result<&'a [u8], BadWire> {
        let len = self.length(width)?;
        self.take(len)
    }

    #[inline]
    pub(crate) fn map(&mut self) -> Result<usize, BadWire> {
        match self.byte()? {
            head @ 0x80..=0x8f => Ok(usize::from(head & 0x0f)),
            0xde => self.length(2),
            0xdf => self.length(4),
            _ => Err(BadWire("a map was expected")),
        }
    }

    #[inline]
    pub(crate) fn str(&mut self) -> Result<&'a str, BadWire> {
        std::str::from_utf8(self.text()?).map_err(|_| BadWire("a text is not UTF-8"))
    }

    /// A text's bytes, for keys that are only compared.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a [u8], BadWire> {
        let len = match self.byte()? {
            head @ 0xa0..=0xbf => usize::from(head & 0x1f),
            0xd9 => self.length(1)?,
            0xda => self.length(2)?,
            0xdb => self.length(4)?,
            _ => return Err(BadWire("a text was expected")),
        };
        self.take(len)
    }

    /// Whether the next value is a text.
    #[inline]
    pub(crate) fn at_str(&self) -> bool {
        matches!(self.rest.first(), Some(0xa0..=0xbf | 0xd9..=0xdb))
    }

    #[inline]
    pub(crate) fn bin(&mut self) -> Result<&'a [u8], BadWire> {
        let len = match self.byte()? {
            0xc4 => self.length(1)?,
            0xc5 => self.length(2)?,
            0xc6 => self.length(4)?,
            _ => return Err(BadWire("bytes were expected")),
        };
        self.take(len)
    }

    #[inline]
    pub(crate) fn bin16(&mut self) -> Result<[u8; 16], BadWire> {
        self.bin()?.try_into().map_err(|_| BadWire("16 bytes were expected"))
    }

    #[inline]
    pub(crate) fn uint(&mut self) -> Result<u64, BadWire> {
        match self.byte()? {
            number @ 0..=0x7f => Ok(u64::from(number)),
            0xcc => self.number(1),
            0xcd => self.number(2),
            0xce => self.number(4),
            0xcf => self.number(8),
            _ => Err(BadWire("an unsigned number was expected")),
        }
    }

    /// Passes over one value of any type, for fields that this program does not know.
    pub(crate) fn skip(&mut self) -> Result<(), BadWire> {
        self.skip_nested(MAX_DEPTH)
    }

    fn skip_nested(&mut self, depth: u8) -> Result<(), BadWire> {
        let depth = depth.checked_sub(1).ok_or(BadWire("a value is nested too deeply"))?;
        let (bytes, values) = match self.byte()? {
            0..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
            head @ 0x80..=0x8f => (0, 2 * usize::from(head & 0x0f)),
            head @ 0x90..=0x9f => (0, usize::from(head & 0x0f)),
            head @ 0xa0..=0xbf => (usize::from(head & 0x1f), 0),
            0xc4 | 0xd9 => (self.length(1)?, 0),
            0xc5 | 0xda => (self.length(2)?, 0),
            0xc6 | 0xdb => (self.length(4)?, 0),
            0xc7 => (self.length(1)? + 1, 0),
            0xc8 => (self.length(2)? + 1, 0),
            0xc9 => (self.length(4)? + 1, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            head @ 0xd4..=0xd8 => ((1 << (head - 0xd4)) + 1, 0),
            0xdc => (0, self.length(2)?),
            0xdd => (0, self.length(4)?),
            0xde => (0, 2 * self.length(2)?),
            0xdf => (0, 2 * self.length(4)?),
            0xc1 => return Err(BadWire("a value has no type")),
        };
        self.take(bytes)?;
        for _ in 0..values {
            self.skip_nested(depth)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_the_derived_serializer_writes() {
        for number in [0, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let mut out = Vec::new();
            put_uint(&mut out, number);
            assert_eq!(out, rmp_serde::to_vec(&number).unwrap());
            assert_eq!(Reader::new(&out).uint(), Ok(number));
        }
        for len in [0, 31, 32, 255, 256, 65_535, 65_536] {
            let text = "x".repeat(len);
            let mut out = Vec::new();
            put_str(&mut out, &text);
            assert_eq!(out, rmp_serde::to_vec(&text).unwrap());
            assert_eq!(Reader::new(&out).str(), Ok(text.as_str()));
            let mut out = Vec::new();
            put_bin(&mut out, text.as_bytes());
            assert_eq!(out, rmp_serde::to_vec(serde_bytes::Bytes::new(text.as_bytes())).unwrap());
            assert_eq!(Reader::new(&out).bin(), Ok(text.as_bytes()));
        }
    }

    #[test]
    fn passes_over_every_type_and_stops_at_its_end() {
        let value = rmpv::Value::Map(vec![
            (
                "a".into(),
                rmpv::Value::Array(vec![1.into(), (-5).into(), (-40_000).into(), 1.5.into(), true.into()]),
            ),
            (rmpv::Value::Nil, rmpv::Value::Ext(3, vec![1, 2, 3, 4])),
            ("b".into(), rmpv::Value::Binary(vec![0; 300])),
            ("c".into(), rmpv::Value::Ext(3, vec![0; 70_000])),
            ("d".into(), rmpv::Value::Array((0..70_000).map(Into::into).collect())),
        ]);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).unwrap();
        let whole = bytes.len();
        let mut reader = Reader::new(&bytes);
        reader.skip().unwrap();
        assert!(reader.is_empty());
        for cut in [1, 5, 100, whole / 2, whole - 1] {
            assert!(Reader::new(&bytes[..cut]).skip().is_err(), "{cut} of {whole} bytes were enough");
        }
        assert!(Reader::new(&[0x91; 100]).skip().is_err(), "endless nesting was accepted");
    }
}
