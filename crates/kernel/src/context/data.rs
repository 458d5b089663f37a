//! Tainted text, quoted: a block whose end its content cannot write, and cuts that say what is missing.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Quotes `text` as material from `from`, e.g. `file src/a.rs`. The closing mark depends on the content
/// and does not occur in it, so nothing inside can pretend to stand outside.
pub fn block(from: &str, text: &str) -> String {
    let from: String = from.chars().map(|c| if c.is_control() || c == '"' || c == '<' || c == '>' { '_' } else { c }).collect();
    let mut digest = Sha256::digest(text.as_bytes());
    let mark = loop {
        let mark = digest.iter().take(4).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        if !text.contains(&mark) {
            break mark;
        }
        digest = Sha256::digest(digest);
    };
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("<data from=\"{from}\" id=\"{mark}\">\n{text}{end}</data {mark}>")
}

/// At most about `most` bytes of `text`: two thirds from its head, one third from its tail, whole lines where
/// lines are short, and a line between that says how much is missing. Returns the bytes left out.
pub fn cut(text: &str, most: usize) -> (String, usize) {
    if text.len() <= most {
        return (text.to_owned(), 0);
    }
    let head_end = line_end(text, floor(text, most * 2 / 3));
    let tail_start = line_start(text, ceil(text, text.len() - most / 3)).max(head_end);
    let left_out = tail_start - head_end;
    let head = text[..head_end].trim_end_matches('\n');
    (format!("{head}\n[… {left_out} bytes left out …]\n{}", &text[tail_start..]), left_out)
}

/// Back to the end of a line, if one ends within the last 200 bytes.
fn line_end(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map(|n| n + 1).filter(|n| at - n <= 200).unwrap_or(at)
}

/// On to the start of a line, if one starts within the next 200 bytes.
fn line_start(text: &str, at: usize) -> usize {
    text[at..].find('\n').filter(|n| *n < 200).map_or(at, |n| at + n + 1)
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// A name from outside, outside of a block: one line, nothing that could look like markup.
pub(super) fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() || c == '<' || c == '>' { '_' } else { c }).collect()
}
