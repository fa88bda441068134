//! Cuts a stream of bytes into lines, in bounded memory whatever the stream holds.
//!
//! A line that ends within the limit is given whole. A line that pauses is given in
//! pieces. A line past the limit is given once, cut, and the rest of it only counted.

use super::{LINE_LIMIT, Shape};

/// The unfinished line of one stream.
#[derive(Debug, Default)]
pub struct Lines {
    kept: Vec<u8>,
    /// Bytes of the line that were not kept and not yet told of.
    cut: u64,
    /// A piece of the line was given already, so its end must be told even when empty.
    continued: bool,
    /// The line was given cut already: whatever follows is only counted.
    discarding: bool,
}

impl Lines {
    /// Takes the next bytes of the stream and gives each line that they end.
    pub fn push(&mut self, chunk: &[u8], mut emit: impl FnMut(&[u8], Shape)) {
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if self.is_fresh() && line.len() <= LINE_LIMIT {
                emit(line, Shape::Line);
            } else {
                self.keep(line);
                self.end(&mut emit);
            }
        }
        if !rest.is_empty() {
            self.keep(rest);
        }
    }

    /// Whether a line is waiting for its end that [`Lines::flush`] would show.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Gives what is there of a line that has paused.
    pub fn flush(&mut self, mut emit: impl FnMut(&[u8], Shape)) {
        if self.kept.is_empty() {
            return;
        }
        let kept = std::mem::take(&mut self.kept);
        if self.cut > 0 {
            emit(&kept, Shape::Cut(std::mem::take(&mut self.cut)));
            self.discarding = true;
        } else {
            emit(&kept, Shape::Piece);
        }
        self.continued = true;
    }

    /// Gives what is left at the end of the stream.
    pub fn finish(&mut self, mut emit: impl FnMut(&[u8], Shape)) {
        if !self.kept.is_empty() || self.cut > 0 {
            self.end(&mut emit);
        }
        *self = Lines::default();
    }

    fn is_fresh(&self) -> bool {
        self.kept.is_empty() && self.cut == 0 && !self.continued
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = if self.discarding { 0 } else { LINE_LIMIT - self.kept.len() };
        let (kept, cut) = bytes.split_at(room.min(bytes.len()));
        self.kept.extend_from_slice(kept);
        self.cut += cut.len() as u64;
    }

    fn end(&mut self, emit: &mut impl FnMut(&[u8], Shape)) {
        let line = std::mem::take(self);
        if line.cut > 0 {
            emit(&line.kept, Shape::Cut(line.cut));
        } else if !line.discarding {
            emit(&line.kept, Shape::Line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<(Vec<u8>, Shape)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in chunks {
            // An empty chunk stands for a pause.
            if chunk.is_empty() {
                lines.flush(|bytes, shape| out.push((bytes.to_vec(), shape)));
            } else {
                lines.push(chunk, |bytes, shape| out.push((bytes.to_vec(), shape)));
            }
        }
        lines.finish(|bytes, shape| out.push((bytes.to_vec(), shape)));
        out
    }

    fn line(bytes: &[u8]) -> (Vec<u8>, Shape) {
        (bytes.to_vec(), Shape::Line)
    }

    #[test]
    fn joins_a_line_over_chunks_and_keeps_bytes_that_are_not_utf_8() {
        let out = cut(&[b"a\n\nb", b"\xff", b"c\nlast"]);
        assert_eq!(out, [line(b"a"), line(b""), line(b"b\xffc"), line(b"last")]);
    }

    #[test]
    fn gives_a_pausing_line_in_pieces_and_tells_its_end() {
        let out = cut(&[b"name: ", b"", b"x", b"", b"\nnext\n"]);
        let piece = |bytes: &[u8]| (bytes.to_vec(), Shape::Piece);
        assert_eq!(out, [piece(b"name: "), piece(b"x"), line(b""), line(b"next")]);
    }

    #[test]
    fn keeps_the_beginning_of_an_endless_line_and_counts_the_rest() {
        let block = vec![b'x'; 100_000];
        let rest = (300_000 - LINE_LIMIT) as u64;
        let out = cut(&[&block, &block, &block, b"\nafter\n"]);
        assert_eq!(out, [(vec![b'x'; LINE_LIMIT], Shape::Cut(rest)), line(b"after")]);
        let out = cut(&[&block, b"", &block, b"", &block, b"\nafter\n"]);
        let first = (100_000 - LINE_LIMIT) as u64;
        let shown =
            [(vec![b'x'; LINE_LIMIT], Shape::Cut(first)), (vec![], Shape::Cut(200_000)), line(b"after")];
        assert_eq!(out, shown);
    }

    #[test]
    fn holds_no_more_than_the_limit() {
        let mut lines = Lines::default();
        for _ in 0..1_000 {
            lines.push(&[b'x'; 64 * 1024], |_, _| panic!("no line has ended"));
        }
        assert!(lines.kept.capacity() <= 2 * LINE_LIMIT);
    }
}
