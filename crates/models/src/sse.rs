//! Server-sent events out of bytes that arrive in any pieces.
//!
//! Knows lines, fields and limits, and nothing about what the data means. An event that lies whole in
//! one piece is handed on without a copy; of the rest only the unfinished event is kept.
//! An event without its closing blank line is never handed on as a matter of course: see [`Sse::rest`].

use memchr::memchr2;

/// The longest event taken: one image or one long answer fits, a runaway body does not.
pub const EVENT_BYTES: usize = 64 << 20;
/// The longest stream taken.
pub const STREAM_BYTES: u64 = 256 << 20;

/// A limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    #[error("one event of the stream is over {EVENT_BYTES} bytes")]
    Event,
    #[error("the stream is over {STREAM_BYTES} bytes")]
    Stream,
}

/// One event: the value of its last `event:` line (often empty) and its data lines joined by `\n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub event: &'a str,
    pub data: &'a [u8],
}

/// The reader's state between two pieces.
#[derive(Debug, Default)]
pub struct Sse {
    /// A line whose end has not come yet.
    line: Vec<u8>,
    /// Data lines of the event being read, each followed by `\n`.
    data: Vec<u8>,
    event: String,
    total: u64,
    /// The last piece ended in `\r`: a `\n` at the start of the next belongs to it.
    after_cr: bool,
    started: bool,
}

impl Sse {
    /// Reads one piece and hands each event that closed to `take`.
    pub fn push<E: From<TooLong>>(&mut self, mut piece: &[u8], take: &mut impl FnMut(Frame<'_>) -> Result<(), E>) -> Result<(), E> {
        self.total += piece.len() as u64;
        if self.total > STREAM_BYTES {
            return Err(TooLong::Stream.into());
        }
        while !piece.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if piece[0] == b'\n' {
                    piece = &piece[1..];
                    continue;
                }
            }
            let Some(end) = memchr2(b'\n', b'\r', piece) else {
                if self.line.len() + self.data.len() + piece.len() > EVENT_BYTES {
                    return Err(TooLong::Event.into());
                }
                self.line.extend_from_slice(piece);
                return Ok(());
            };
            let (line, rest) = (&piece[..end], skip_eol(&piece[end..], &mut self.after_cr));
            piece = rest;
            if self.line.is_empty() {
                // The usual case: one data line with its blank line right behind it, no copy needed.
                if self.data.is_empty()
                    && self.started
                    && !self.after_cr
                    && matches!(rest.first(), Some(b'\n' | b'\r'))
                    && let Some(value) = field(line, b"data")
                {
                    if value.len() > EVENT_BYTES {
                        return Err(TooLong::Event.into());
                    }
                    piece = skip_eol(rest, &mut self.after_cr);
                    take(Frame { event: &self.event, data: value })?;
                    self.event.clear();
                    continue;
                }
                self.line(line, take)?;
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                let read = self.line(&whole, take);
                whole.clear();
                self.line = whole;
                read?;
            }
        }
        Ok(())
    }

    /// The event still open at the end of the bytes, if it has data.
    /// Only a caller who knows that the sender ended properly may use it.
    pub fn rest(&mut self) -> Option<Frame<'_>> {
        let line = std::mem::take(&mut self.line);
        if let Some(value) = field(&line, b"data") {
            self.data.extend_from_slice(value);
            self.data.push(b'\n');
        }
        let data = self.data.strip_suffix(b"\n")?;
        Some(Frame { event: &self.event, data })
    }

    fn line<E: From<TooLong>>(&mut self, mut line: &[u8], take: &mut impl FnMut(Frame<'_>) -> Result<(), E>) -> Result<(), E> {
        if !self.started {
            self.started = true;
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            if let Some(data) = self.data.strip_suffix(b"\n") {
                let taken = take(Frame { event: &self.event, data });
                self.data.clear();
                taken?;
            }
            self.event.clear();
        } else if let Some(value) = field(line, b"data") {
            if self.data.len() + value.len() > EVENT_BYTES {
                return Err(TooLong::Event.into());
            }
            self.data.extend_from_slice(value);
            self.data.push(b'\n');
        } else if let Some(value) = field(line, b"event") {
            self.event.clear();
            self.event.push_str(&String::from_utf8_lossy(value));
        }
        // Comments, `id`, `retry` and unknown fields say nothing about the answer.
        Ok(())
    }
}

/// Steps over one line end at the start of `bytes`; says when its `\n` may still come.
fn skip_eol<'a>(bytes: &'a [u8], after_cr: &mut bool) -> &'a [u8] {
    match bytes {
        [b'\r', b'\n', rest @ ..] => rest,
        [b'\r'] => {
            *after_cr = true;
            &[]
        }
        [_, rest @ ..] => rest,
        [] => bytes,
    }
}

/// The value of `name: value`, without the one space that may follow the colon.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest {
        [] => Some(rest),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
