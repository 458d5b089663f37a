//! Output kept within a bound: its head and its tail, and how much fell out between them.

use std::collections::VecDeque;

/// What a command wrote to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
    half: usize,
}

impl Captured {
    /// Keeps at most `limit` bytes, half from each end.
    pub fn new(limit: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), total: 0, half: limit / 2 }
    }

    /// Takes in more output.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.half - self.head.len().min(self.half);
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// Bytes written in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that are not kept.
    pub fn dropped(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The bytes kept, head and tail; `None` when some were dropped between them.
    pub fn whole(&self) -> Option<Vec<u8>> {
        (self.dropped() == 0).then(|| self.bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        bytes.extend(&self.tail);
        bytes
    }

    /// Whether what is kept is UTF-8, apart from characters cut by the bound itself.
    pub fn is_utf8(&self) -> bool {
        if self.dropped() == 0 {
            return std::str::from_utf8(&self.bytes()).is_ok();
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let cut = tail.iter().take(3).take_while(|byte| (0x80..0xC0).contains(*byte)).count();
        let head = std::str::from_utf8(&self.head).is_ok_or_cut();
        head && std::str::from_utf8(&tail[cut..]).is_ok()
    }

    /// As text: what is not UTF-8 becomes U+FFFD, what was dropped a line that says so.
    pub fn text(&self) -> String {
        if self.dropped() == 0 {
            return String::from_utf8_lossy(&self.bytes()).into_owned();
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        format!("{}\n[... {} bytes not kept ...]\n{}", String::from_utf8_lossy(&self.head), self.dropped(), String::from_utf8_lossy(&tail))
    }
}

trait OkOrCut {
    fn is_ok_or_cut(&self) -> bool;
}

impl OkOrCut for Result<&str, std::str::Utf8Error> {
    fn is_ok_or_cut(&self) -> bool {
        match self {
            Ok(_) => true,
            Err(error) => error.error_len().is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_output_is_kept_whole_whatever_its_pieces() {
        for piece in 1..12 {
            let mut captured = Captured::new(100);
            b"hello, sandbox".chunks(piece).for_each(|bytes| captured.push(bytes));
            assert_eq!(captured.whole().as_deref(), Some(&b"hello, sandbox"[..]));
            assert_eq!(captured.dropped(), 0);
        }
    }

    #[test]
    fn long_output_keeps_head_and_tail_and_counts_the_rest() {
        for piece in [1, 3, 7, 64, 1000] {
            let all: Vec<u8> = (0..1000u32).map(|n| (n % 251) as u8).collect();
            let mut captured = Captured::new(20);
            all.chunks(piece).for_each(|bytes| captured.push(bytes));
            assert_eq!((captured.total(), captured.dropped()), (1000, 980));
            assert_eq!(captured.head, all[..10]);
            assert_eq!(Vec::from(captured.tail.clone()), all[990..]);
            assert_eq!(captured.whole(), None);
        }
    }

    #[test]
    fn a_character_cut_by_the_bound_is_not_called_binary() {
        let mut captured = Captured::new(10);
        captured.push("ä".repeat(100).as_bytes());
        assert!(captured.is_utf8());
        captured.push(&[0xff, 0xfe]);
        assert!(!captured.is_utf8());
    }
}
