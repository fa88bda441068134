//! A second, strict reader of what clients send, in front of the HTTP library's own.
//!
//! It follows the framing of HTTP/1.1 (RFC 9112) byte by byte and knows nothing else. What
//! two programs could take for different requests (both a length and a transfer coding, two
//! lengths, another coding than `chunked`, bare line feeds, folded lines, two hosts) it marks
//! as refused, and the request is answered with 400 before anyone acts on it.

use memchr::{memchr, memchr2};

/// The longest head, in bytes: what nginx takes is 32 KiB.
pub(super) const HEAD_LIMIT: usize = 64 * 1024;
/// The longest line between chunks, in bytes: a number, and extensions that nobody uses.
const CHUNK_LINE_LIMIT: usize = 4096;

/// Where in the stream the next byte is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In a head; the bytes of it that came so far.
    Head(Vec<u8>),
    /// In a body of a known length.
    Body(u64),
    /// In the line before a chunk; what came of it.
    ChunkLine(Vec<u8>),
    /// In a chunk and the line end after it.
    Chunk(u64),
    /// In the lines after the last chunk; what came of the present one.
    Trailer(Vec<u8>),
    /// What follows is no HTTP any more, or nobody will look at it.
    Beyond,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between two requests.
    Idle,
    /// Some of a head has come.
    Head,
    /// In a body.
    Body,
    /// Not followed any more.
    Beyond,
}

/// Follows one connection.
#[derive(Debug)]
pub(super) struct Follower {
    place: Place,
    is_refused: bool,
}

impl Default for Follower {
    fn default() -> Follower {
        Follower { place: Place::Head(Vec::new()), is_refused: false }
    }
}

/// What came cannot be taken for one thing only.
#[derive(Debug)]
pub(super) struct Ambiguous;

/// Follows one chunked body to its end.
#[derive(Debug)]
pub(super) struct Chunks(Follower);

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks(Follower { place: Place::ChunkLine(Vec::new()), is_refused: false })
    }
}

impl Chunks {
    /// Takes what came next: how many bytes of it are the body's, and whether that is its end.
    ///
    /// # Errors
    /// When it is no chunked body.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<(usize, bool), Ambiguous> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            taken += self.0.step(rest)?;
            if matches!(self.0.place, Place::Head(_)) {
                return Ok((taken, true));
            }
        }
        Ok((taken, false))
    }
}

/// What follows a head.
enum Next {
    Body(u64),
    Chunks,
    Upgrade,
}

impl Follower {
    pub(super) fn phase(&self) -> Phase {
        match &self.place {
            Place::Head(seen) if seen.is_empty() => Phase::Idle,
            Place::Head(_) => Phase::Head,
            Place::Body(_) | Place::ChunkLine(_) | Place::Chunk(_) | Place::Trailer(_) => Phase::Body,
            Place::Beyond => Phase::Beyond,
        }
    }

    /// Whether something came that must be refused.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Takes what came next.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.place != Place::Beyond {
            match self.step(bytes) {
                Ok(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
                Err(Ambiguous) => {
                    self.is_refused = true;
                    self.place = Place::Beyond;
                }
            }
        }
    }

    /// Goes on to the end of what the next byte belongs to. Returns how many bytes that were.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Ambiguous> {
        match &mut self.place {
            Place::Head(seen) => {
                let before = seen.len();
                // Empty lines before a request are ignored by everyone.
                if before == 0 && matches!(bytes.first(), Some(b'\r' | b'\n')) {
                    return Ok(1);
                }
                // Mostly it comes whole, and need not be kept.
                if before == 0
                    && let Some(end) = end_of_head(bytes, 0)?
                {
                    self.place = after(read_head(bytes.get(..end).unwrap_or_default())?);
                    return Ok(end);
                }
                seen.extend_from_slice(bytes);
                let Some(end) = end_of_head(seen, before)? else {
                    if seen.len() > HEAD_LIMIT {
                        // The library refuses it as too long.
                        self.place = Place::Beyond;
                    }
                    return Ok(bytes.len());
                };
                self.place = after(read_head(seen.get(..end).unwrap_or_default())?);
                Ok(end - before)
            }
            Place::Body(left) => {
                let taken = take(left, bytes);
                if *left == 0 {
                    self.place = Place::Head(Vec::new());
                }
                Ok(taken)
            }
            Place::Chunk(left) => {
                let before = *left;
                let taken = take(left, bytes);
                let taken_bytes = bytes.get(..taken).unwrap_or_default();
                // The last two are the end of its line.
                for (after, end) in [(2, b'\r'), (1, b'\n')] {
                    if before >= after && *left < after {
                        let at = usize::try_from(before - after).map_err(|_| Ambiguous)?;
                        if taken_bytes.get(at) != Some(&end) {
                            return Err(Ambiguous);
                        }
                    }
                }
                if *left == 0 {
                    self.place = Place::ChunkLine(Vec::new());
                }
                Ok(taken)
            }
            Place::ChunkLine(line) => {
                let (taken, ended) = line_end(line, bytes)?;
                if ended {
                    let size = chunk_size(line)?;
                    // The chunk, and CR LF after it.
                    self.place = match size {
                        0 => Place::Trailer(Vec::new()),
                        size => Place::Chunk(size.checked_add(2).ok_or(Ambiguous)?),
                    };
                }
                Ok(taken)
            }
            Place::Trailer(line) => {
                let (taken, ended) = line_end(line, bytes)?;
                if ended {
                    let is_last = line.is_empty();
                    self.place = if is_last { Place::Head(Vec::new()) } else { Place::Trailer(Vec::new()) };
                }
                Ok(taken)
            }
            Place::Beyond => Ok(bytes.len()),
        }
    }
}

/// Where the stream goes on after a head.
fn after(next: Next) -> Place {
    match next {
        Next::Body(0) => Place::Head(Vec::new()),
        Next::Body(length) => Place::Body(length),
        Next::Chunks => Place::ChunkLine(Vec::new()),
        Next::Upgrade => Place::Beyond,
    }
}

fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= taken as u64;
    taken
}

/// Adds to a line up to its end, which is left out.
fn line_end(line: &mut Vec<u8>, bytes: &[u8]) -> Result<(usize, bool), Ambiguous> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let taken = end.map_or(bytes.len(), |end| end + 1);
    line.extend_from_slice(bytes.get(..taken).unwrap_or_default());
    if line.len() > CHUNK_LINE_LIMIT {
        return Err(Ambiguous);
    }
    if end.is_none() {
        return Ok((taken, false));
    }
    let text = line.strip_suffix(b"\r\n").ok_or(Ambiguous)?;
    let length = text.len();
    line.truncate(length);
    Ok((taken, true))
}

fn chunk_size(line: &[u8]) -> Result<u64, Ambiguous> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
    let digits = digits.trim_end_matches([' ', '\t']);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Ambiguous);
    }
    u64::from_str_radix(digits, 16).map_err(|_| Ambiguous)
}

/// The length of the head when it is whole; what lies before `known` was looked at before.
fn end_of_head(seen: &[u8], known: usize) -> Result<Option<usize>, Ambiguous> {
    let mut from = known;
    while let Some(at) = memchr(b'\n', seen.get(from..).unwrap_or_default()) {
        let line_feed = from + at;
        let before = seen.get(..line_feed).unwrap_or_default();
        if !before.ends_with(b"\r") {
            return Err(Ambiguous);
        }
        if before.ends_with(b"\r\n\r") {
            return Ok(Some(line_feed + 1));
        }
        from = line_feed + 1;
    }
    Ok(None)
}

/// The first line without its end, and what comes after it.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr(b'\n', text) {
        Some(end) => (text.get(..end).unwrap_or_default(), text.get(end + 1..).unwrap_or_default()),
        None => (text, Default::default()),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

fn read_head(head: &[u8]) -> Result<Next, Ambiguous> {
    let (first, mut rest) = line(head);
    if first.starts_with(b"CONNECT ") {
        return Err(Ambiguous);
    }
    let (mut length, mut is_chunked, mut hosts, mut upgrades) = (None, false, 0, false);
    while !rest.is_empty() {
        let (header, further) = line(rest);
        rest = further;
        if header.is_empty() {
            continue;
        }
        // A folded line belongs to the one before it for some, and is one by itself for others.
        if matches!(header.first(), Some(b' ' | b'\t')) || memchr2(b'\r', 0, header).is_some() {
            return Err(Ambiguous);
        }
        let colon = memchr(b':', header).ok_or(Ambiguous)?;
        let (name, value) = header.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
            return Err(Ambiguous);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(number(value)?).is_some() {
                return Err(Ambiguous);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrades = true;
        }
    }
    match (length, is_chunked) {
        _ if hosts > 1 => Err(Ambiguous),
        (Some(_), true) => Err(Ambiguous),
        (None, true) => Ok(Next::Chunks),
        (None | Some(0), false) if upgrades => Ok(Next::Upgrade),
        (length, false) => Ok(Next::Body(length.unwrap_or(0))),
    }
}

/// A number of decimal digits alone.
pub(super) fn number(text: &[u8]) -> Result<u64, Ambiguous> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Ambiguous);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Ambiguous)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same whatever pieces it comes in.
    fn follow(text: &str) -> (bool, Phase) {
        let mut whole = Follower::default();
        whole.follow(text.as_bytes());
        let mut pieces = Follower::default();
        text.as_bytes().iter().for_each(|byte| pieces.follow(&[*byte]));
        assert_eq!((pieces.is_refused(), pieces.phase()), (whole.is_refused(), whole.phase()), "{text:?}");
        (whole.is_refused(), whole.phase())
    }

    #[test]
    fn what_is_plain_is_followed_to_its_end() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\nabc\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n\r\n\r\n\r\n0\r\nA: b\r\n\r\n",
        ] {
            assert_eq!(follow(text), (false, Phase::Idle), "{text:?}");
        }
        assert_eq!(follow("GET / HTTP/1.1\r\nHos"), (false, Phase::Head));
        assert_eq!(follow("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"), (false, Phase::Body));
        assert_eq!(follow("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\n\n"), (false, Phase::Beyond));
    }

    #[test]
    fn what_could_be_two_things_is_refused() {
        for head in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Host: b\r\n",
            "A: b\r\n folded\r\n",
            "A: b\n",
            "A: b\rc: d\r\n",
            "no colon\r\n",
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n");
            assert_eq!(follow(&text), (true, Phase::Beyond), "{text:?}");
        }
        assert!(follow("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").0);
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for chunk in ["5 x\r\n", "-1\r\n", "\r\n", "5\n", "ffffffffffffffffff\r\n"] {
            assert!(follow(&format!("{chunked}{chunk}")).0, "{chunk:?}");
        }
    }

    #[test]
    fn a_chunked_body_ends_where_it_says() {
        let text = b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nTrailer: 1\r\n\r\nHTTP/1.1 200";
        let end = text.len() - b"HTTP/1.1 200".len();
        assert!(matches!(Chunks::default().follow(text), Ok((taken, true)) if taken == end));
        let mut pieces = Chunks::default();
        for (at, byte) in text.iter().take(end).enumerate() {
            let followed = pieces.follow(&[*byte]);
            assert!(matches!(followed, Ok((1, over)) if over == (at + 1 == end)), "{at} {followed:?}");
        }
        for text in ["5\r\nhelloworld\r\n", "5\r\nhello\n\n", "5\r\nhello\r\r", "x\r\n"] {
            assert!(Chunks::default().follow(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_second_of_two_requests_is_looked_at_too() {
        let text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
        assert!(follow(text).0);
    }
}
