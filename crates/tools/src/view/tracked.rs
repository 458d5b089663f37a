//! The names in a repository's index, read without running git: a repository's configuration may name programs.
//!
//! Versions 2 to 4 of the format with SHA-1 (gitformat-index); anything else counts as no index.

use crate::gate::{RelPath, Root, Scope};

const MAX_INDEX_BYTES: u64 = 256 << 20;
/// Times, device, inode, mode, owner, size, SHA-1, flags.
const FIXED: usize = 62;

/// Files and links that git tracks in the repository whose root this is; empty when there is none.
pub(super) fn files(root: &Root) -> Vec<String> {
    let index = RelPath::new(".git/index").and_then(|path| root.read(&Scope::whole(), &path, MAX_INDEX_BYTES));
    index.ok().and_then(|bytes| parse(&bytes)).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> Option<Vec<String>> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let version = number(4)?;
    if bytes.get(..4)? != b"DIRC" || !(2..=4).contains(&version) {
        return None;
    }
    let mut names = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    let mut at = 12;
    for _ in 0..number(8)? {
        let start = at;
        let mode = number(start + 24)?;
        let extended = bytes.get(start + 60)? & 0x40 != 0;
        at += FIXED + if extended { 2 } else { 0 };
        if version == 4 {
            let strip = varint(bytes, &mut at)?;
            last.truncate(last.len().checked_sub(strip)?);
        } else {
            last.clear();
        }
        let end = at + bytes.get(at..)?.iter().position(|byte| *byte == 0)?;
        last.extend_from_slice(&bytes[at..end]);
        // Up to version 3 an entry fills a multiple of eight bytes, with at least one zero.
        at = if version == 4 { end + 1 } else { start + (end - start + 8) / 8 * 8 };
        let is_file = matches!(mode >> 12, 0b1000 | 0b1010);
        if let (true, Ok(name)) = (is_file, std::str::from_utf8(&last))
            && RelPath::new(name).is_ok_and(|path| path.as_str() == name)
        {
            names.push(name.to_owned());
        }
    }
    Some(names)
}

/// Git's offset encoding: seven bits a byte, each further byte adding one.
fn varint(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut next = || {
        let byte = *bytes.get(*at)?;
        *at += 1;
        Some(byte)
    };
    let mut byte = next()?;
    let mut value = usize::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        byte = next()?;
        value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_index_is_no_index() {
        for bytes in [&b""[..], b"DIRC", b"DIRC\0\0\0\x09\0\0\0\0", b"DIRC\0\0\0\x02\xff\xff\xff\xff", b"XXXX\0\0\0\x02\0\0\0\0"] {
            assert_eq!(parse(bytes), None);
        }
        assert_eq!(parse(b"DIRC\0\0\0\x02\0\0\0\0"), Some(Vec::new()));
    }

    #[test]
    fn version_4_names_share_their_beginnings() {
        let mut bytes = b"DIRC\0\0\0\x04\0\0\0\x02".to_vec();
        for (strip, rest) in [(0, "src/long/one.rs"), (6, "two.rs")] {
            let mut entry = [0; FIXED];
            entry[24..28].copy_from_slice(&0o100_755_u32.to_be_bytes());
            bytes.extend(entry);
            bytes.push(strip);
            bytes.extend(rest.as_bytes());
            bytes.push(0);
        }
        assert_eq!(parse(&bytes), Some(vec!["src/long/one.rs".to_owned(), "src/long/two.rs".to_owned()]));
    }
}
