//! Provider bytes: cut anywhere, they decode to the same answer.
//!
//! The first byte says how large the pieces are; the rest is a stream, a body or an error body.

use brigade_models::{Decoder, decode};

pub fn law(bytes: &[u8]) {
    let Some((&size, body)) = bytes.split_first() else { return };
    let whole = decode(body);
    let mut decoder = Decoder::new();
    body.chunks(usize::from(size).max(1)).for_each(|piece| decoder.push(piece));
    let pieces = decoder.finish();
    // A number that is none is not equal to itself; what is printed is.
    let shown = |decoded| serde_json::to_string(decoded).expect("an answer can be printed");
    assert_eq!(shown(&whole), shown(&pieces), "cutting it into pieces of {size} bytes changes the answer");
    assert!(whole.items.len() <= body.len(), "more items than bytes");
}
