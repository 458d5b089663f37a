//! Checksums that chain: each record's covers the one before it, so that a record can be neither
//! altered, moved, swapped nor dropped unseen. They guard against failing storage, not against forgers.

use twox_hash::XxHash3_64;

/// Where the chain of a stream starts.
pub(crate) fn seed(stream: &str, id: i64) -> u64 {
    XxHash3_64::oneshot_with_seed(id.cast_unsigned(), stream.as_bytes())
}

/// The checksum of one record behind `previous`.
pub(crate) fn record(previous: u64, id: i64, seq: u64, key: Option<i64>, bytes: &[u8]) -> u64 {
    let mut place = [0; 33];
    place[..8].copy_from_slice(&previous.to_le_bytes());
    place[8..16].copy_from_slice(&id.to_le_bytes());
    place[16..24].copy_from_slice(&seq.to_le_bytes());
    place[24] = u8::from(key.is_some());
    place[25..].copy_from_slice(&key.unwrap_or(0).to_le_bytes());
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&place), bytes)
}

/// The checksum of a stream's entry in the directory.
pub(crate) fn entry(stream: &str, id: i64, version: u64, head: u64) -> u64 {
    let mut place = [0; 24];
    place[..8].copy_from_slice(&id.to_le_bytes());
    place[8..16].copy_from_slice(&version.to_le_bytes());
    place[16..].copy_from_slice(&head.to_le_bytes());
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&place), stream.as_bytes())
}

/// The checksum of one key; those of a stream add up, in any order.
pub(crate) fn key(seq: u64, key: i64) -> u64 {
    XxHash3_64::oneshot_with_seed(seq, &key.to_le_bytes())
}
