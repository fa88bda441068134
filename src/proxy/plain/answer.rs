//! The head of an instance's answer, as a client gets it, and where its body ends.
//!
//! An answer whose length two programs could take differently is refused.

use std::cell::RefCell;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::time::{Duration, UNIX_EPOCH};

use httparse::{Header, ParserConfig, Response, Status};

use super::super::strict::{Ambiguous, Chunks, number};
use super::head::{MOST_HEADERS, write_line};

/// How the end of a body is known.
#[derive(Debug)]
enum Framing {
    /// By so many bytes that are still to come.
    Length(u64),
    /// By its last chunk; passed on as it is.
    Chunks(Chunks),
    /// By the end of the connection; the client gets it in chunks.
    Close,
}

/// An answer whose head was read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    framing: Framing,
    /// The connection may be used again after it.
    keeps: bool,
}

/// What came of an answer.
#[derive(Debug)]
pub(super) enum Came {
    /// Its head has not come to its end.
    Part,
    /// A head that says that another one follows, of so many bytes.
    Interim(usize),
    /// The answer, and the bytes of its head.
    Whole(Answer, usize),
}

/// Reads the head of an answer and writes it as the client gets it. `closes`: whether the
/// client's connection ends with it.
///
/// # Errors
/// When it is no answer that everybody reads alike.
pub(super) fn read(bytes: &[u8], is_head: bool, closes: bool, out: &mut Vec<u8>) -> Result<Came, Ambiguous> {
    let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut room);
    let length = match parsed.map_err(|_| Ambiguous)? {
        Status::Complete(length) => length,
        Status::Partial => return Ok(Came::Part),
    };
    let (Some(status), Some(version)) = (response.code, response.version) else { return Err(Ambiguous) };
    match status {
        // Nobody asked for another protocol.
        101 => return Err(Ambiguous),
        100..200 => return Ok(Came::Interim(length)),
        200.. => {}
        _ => return Err(Ambiguous),
    }
    let has_body = !is_head && !matches!(status, 204 | 304);
    let told = write_head(status, response.reason.unwrap_or_default(), response.headers, out)?;
    let framing = match (told.is_chunked, told.length) {
        (true, _) if version == 0 => return Err(Ambiguous),
        _ if !has_body => Framing::Length(0),
        (true, _) => Framing::Chunks(Chunks::default()),
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Close,
    };
    match (told.length, has_body) {
        (Some(length), true) if !told.is_chunked => {
            // Writing to memory does not fail.
            let _ = write!(out, "content-length: {length}\r\n");
        }
        // What a body would be long, had it been asked for.
        (Some(length), false) if status != 204 && !told.is_chunked => {
            let _ = write!(out, "content-length: {length}\r\n");
        }
        _ => {}
    }
    if matches!(framing, Framing::Chunks(_) | Framing::Close) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    end_head(told.has_date, closes, out);
    let keeps = version == 1 && !told.closes && !matches!(framing, Framing::Close);
    Ok(Came::Whole(Answer { status, framing, keeps }, length))
}

/// What a head says of the message and its connection.
#[derive(Default)]
struct Told {
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    has_date: bool,
}

/// Writes the first line and what is for the client.
fn write_head(
    status: u16,
    reason: &str,
    headers: &[Header<'_>],
    out: &mut Vec<u8>,
) -> Result<Told, Ambiguous> {
    // Writing to memory does not fail.
    let _ = write!(out, "HTTP/1.1 {status} {reason}\r\n");
    let mut told = Told::default();
    let named = named(headers, &mut told);
    for header in headers {
        let is = |other: &str| header.name.eq_ignore_ascii_case(other);
        match header.name.len() {
            2 if is("te") => {}
            7 if is("upgrade") || is("trailer") => {}
            10 if is("connection") || is("keep-alive") => {}
            14 if is("content-length") => {
                let length = number(header.value.trim_ascii())?;
                if told.length.replace(length).is_some_and(|other| other != length) {
                    return Err(Ambiguous);
                }
            }
            16 if is("proxy-connection") => {}
            17 if is("transfer-encoding") => {
                let is_known = header.value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                if !is_known || told.is_chunked {
                    return Err(Ambiguous);
                }
                told.is_chunked = true;
            }
            18 if is("proxy-authenticate") => {}
            19 if is("proxy-authorization") => {}
            _ if named.iter().any(|name| header.name.as_bytes().eq_ignore_ascii_case(name)) => {}
            _ => {
                told.has_date |= is("date");
                write_line(header, out);
            }
        }
    }
    Ok(told)
}

/// The headers that are for one connection because it says so.
fn named<'b>(headers: &[Header<'b>], told: &mut Told) -> Vec<&'b [u8]> {
    let options = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
    let mut named = Vec::new();
    for option in options.flat_map(|header| header.value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    {
        if option.eq_ignore_ascii_case(b"close") {
            told.closes = true;
        } else if !option.eq_ignore_ascii_case(b"keep-alive") {
            named.push(option);
        }
    }
    named
}

/// Writes what is ours to say, and the end of the head.
pub(super) fn end_head(has_date: bool, closes: bool, out: &mut Vec<u8>) {
    if !has_date {
        out.extend_from_slice(b"date: ");
        write_date(out);
        out.extend_from_slice(b"\r\n");
    }
    if closes {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the time of day; written anew once a second for each thread.
fn write_date(out: &mut Vec<u8>) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let second = crate::clock::now().0 / 1000;
    DATE.with_borrow_mut(|(at, text)| {
        if *at != second {
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            *at = second;
        }
        out.extend_from_slice(text.as_bytes());
    });
}

impl Answer {
    /// Moves what is the body's from `from`, to `out` as the client gets it. Returns whether
    /// that is its end.
    ///
    /// # Errors
    /// When it is not the body that the head has promised.
    pub(super) fn pass(&mut self, from: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<bool, Ambiguous> {
        let (taken, is_over) = match &mut self.framing {
            Framing::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(from.len());
                *left -= taken as u64;
                (taken, *left == 0)
            }
            Framing::Chunks(chunks) => chunks.follow(from)?,
            Framing::Close => (from.len(), false),
        };
        let bytes = from.get(..taken).unwrap_or_default();
        match self.framing {
            Framing::Close if !bytes.is_empty() => {
                // Writing to memory does not fail.
                let _ = write!(out, "{taken:x}\r\n");
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            _ => out.extend_from_slice(bytes),
        }
        if taken == from.len() {
            from.clear();
        } else {
            from.drain(..taken);
        }
        Ok(is_over)
    }

    /// What the end of the instance's connection means: the end of the body, or that it broke off.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> bool {
        let is_end = matches!(self.framing, Framing::Close);
        if is_end {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        is_end
    }

    /// Whether the connection may be used again; `left` came after the answer.
    pub(super) fn keeps(&self, left: &[u8]) -> bool {
        self.keeps && left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client gets of an answer that comes in pieces, whether it came to its end, and
    /// whether the connection is kept.
    fn passed(text: &str, is_head: bool, piece: usize) -> Option<(String, bool, bool)> {
        let (mut out, mut from, mut answer, mut is_over) = (Vec::new(), Vec::new(), None, false);
        for piece in text.as_bytes().chunks(piece) {
            from.extend_from_slice(piece);
            while answer.is_none() && !from.is_empty() {
                match read(&from, is_head, false, &mut out).ok()? {
                    Came::Part => break,
                    Came::Interim(length) => drop(from.drain(..length)),
                    Came::Whole(whole, length) => {
                        from.drain(..length);
                        answer = Some(whole);
                    }
                }
            }
            if let Some(answer) = &mut answer
                && !is_over
            {
                is_over = answer.pass(&mut from, &mut out).ok()?;
            }
        }
        let mut answer = answer?;
        if !is_over {
            is_over = answer.end(&mut out);
        }
        Some((String::from_utf8(out).unwrap(), is_over, answer.keeps(&from)))
    }

    /// The same, whatever the pieces.
    fn whole(text: &str, is_head: bool) -> Option<(String, bool, bool)> {
        passed(text, is_head, text.len())
    }

    const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

    #[test]
    fn bodies_end_where_their_heads_say() {
        for (head, body, expected, keeps) in [
            ("Content-Length: 5\r\n", "hello", "content-length: 5\r\n\r\nhello", true),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", "content-length: 5\r\n\r\nhello", true),
            ("Content-Length: 0\r\nConnection: close\r\n", "", "content-length: 0\r\n\r\n", false),
            ("Content-Length: 2\r\n", "hello", "content-length: 2\r\n\r\nhe", false),
            (
                "Transfer-Encoding: chunked\r\n",
                "2\r\nhe\r\n0\r\n\r\n",
                "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n",
                true,
            ),
            (
                "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
                "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                true,
            ),
            ("", "hello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{DATE}{head}\r\n{body}");
            let expected = format!("HTTP/1.1 200 OK\r\n{DATE}{expected}");
            assert_eq!(whole(&text, false), Some((expected.clone(), true, keeps)), "{text}");
            if !head.is_empty() && head != "Content-Length: 2\r\n" {
                assert_eq!(passed(&text, false, 1), Some((expected, true, keeps)), "{text}");
            }
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_not_whole() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ] {
            let (_, is_over, _) = whole(text, false).unwrap();
            assert!(!is_over, "{text}");
        }
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        for (first, is_head, length) in [
            ("HTTP/1.1 200 OK", true, true),
            ("HTTP/1.1 204 None", false, false),
            ("HTTP/1.1 304 Same", false, true),
        ] {
            let text = format!("{first}\r\n{DATE}Content-Length: 5\r\n\r\n");
            let length = if length { "content-length: 5\r\n" } else { "" };
            assert_eq!(whole(&text, is_head), Some((format!("{first}\r\n{DATE}{length}\r\n"), true, true)));
        }
        let chunked = format!("HTTP/1.1 200 OK\r\n{DATE}Transfer-Encoding: chunked\r\n\r\n");
        assert_eq!(whole(&chunked, true), Some((format!("HTTP/1.1 200 OK\r\n{DATE}\r\n"), true, true)));
    }

    #[test]
    fn what_is_for_one_connection_ends_here_and_the_time_is_said() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 418 I am a teapot\r\nConnection: X-Private, keep-alive\r\n\
                    X-Private: 1\r\nKeep-Alive: 5\r\nX-Public: 1\r\nContent-Length: 0\r\n\r\n";
        let (head, is_over, keeps) = whole(text, false).unwrap();
        assert!(is_over && keeps);
        let (before, after) = head.split_once("date: ").unwrap();
        assert_eq!(before, "HTTP/1.1 418 I am a teapot\r\nX-Public: 1\r\ncontent-length: 0\r\n");
        assert!(httpdate::parse_http_date(after.trim_end()).is_ok(), "{after}");
    }

    #[test]
    fn what_could_be_two_answers_is_refused() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.1 101 Switching\r\nUpgrade: a\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n",
            "SSH-2.0\r\n",
        ] {
            assert_eq!(whole(&format!("{head}\r\nhello"), false), None, "{head}");
        }
        assert_eq!(whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", false), None);
    }
}
