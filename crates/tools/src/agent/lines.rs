//! An agent's standard output, line by line, within bounds: a long line is passed over, a flood ends it.

use tokio::io::{AsyncRead, AsyncReadExt};

/// A longer line is not looked at: nothing in it could be told from a part of something else.
const LINE_BYTES: usize = 8 << 20;
/// All lines of one errand.
const ALL_BYTES: u64 = 256 << 20;
const MOST_LINES: u64 = 500_000;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Line(Vec<u8>),
    /// So many bytes were passed over.
    TooLong(u64),
    Flood,
    End,
}

/// Reads lines from `inner`.
#[derive(Debug)]
pub(super) struct Lines<R> {
    inner: R,
    buffer: Vec<u8>,
    /// What lies before is handed out.
    start: usize,
    /// From `start` up to here there is no end of line.
    looked: usize,
    all: u64,
    lines: u64,
    skipping: u64,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, buffer: Vec::new(), start: 0, looked: 0, all: 0, lines: 0, skipping: 0, ended: false }
    }

    /// The next line without its end. Dropped while it waits, nothing is lost.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(at) = self.buffer[self.looked..].iter().position(|byte| *byte == b'\n') {
                let end = self.looked + at;
                let line = self.buffer[self.start..end].to_vec();
                (self.start, self.looked) = (end + 1, end + 1);
                self.lines += 1;
                return self.whole(line);
            }
            self.buffer.drain(..self.start);
            (self.start, self.looked) = (0, self.buffer.len());
            if self.looked > LINE_BYTES {
                self.skipping += self.looked as u64;
                self.buffer.clear();
                self.looked = 0;
            }
            if self.all > ALL_BYTES || self.lines > MOST_LINES {
                return Next::Flood;
            }
            if self.ended {
                let last = std::mem::take(&mut self.buffer);
                self.looked = 0;
                return if last.is_empty() && self.skipping == 0 { Next::End } else { self.whole(last) };
            }
            self.buffer.reserve(64 << 10);
            match self.inner.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => self.ended = true,
                Ok(count) => self.all += count as u64,
            }
        }
    }

    fn whole(&mut self, line: Vec<u8>) -> Next {
        match std::mem::take(&mut self.skipping) {
            0 if line.len() <= LINE_BYTES => Next::Line(line),
            skipped => Next::TooLong(skipped + line.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Next> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut lines = Lines::new(bytes);
            let mut found = Vec::new();
            loop {
                let next = lines.next().await;
                let over = matches!(next, Next::End | Next::Flood);
                found.push(next);
                if over {
                    return found;
                }
            }
        })
    }

    #[test]
    fn lines_come_whole_and_a_last_one_needs_no_end() {
        assert_eq!(all(b""), [Next::End]);
        let found = all(b"a\n\nbc");
        assert_eq!(found, [Next::Line(b"a".to_vec()), Next::Line(Vec::new()), Next::Line(b"bc".to_vec()), Next::End]);
    }

    #[test]
    fn a_long_line_is_passed_over_and_a_flood_ends_it() {
        let long = [vec![b'x'; LINE_BYTES + 9], b"\nok\n".to_vec()].concat();
        let found = all(&long);
        assert!(matches!(&found[..], [Next::TooLong(n), Next::Line(ok), Next::End] if *n == LINE_BYTES as u64 + 9 && ok == b"ok"));
        let flood = vec![b'\n'; MOST_LINES as usize + 1_000];
        assert_eq!(all(&flood).last(), Some(&Next::Flood));
    }
}
