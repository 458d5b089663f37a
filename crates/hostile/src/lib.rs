//! THROWS ANYTHING: the laws that every parser of outside bytes keeps, whatever the bytes. Never shipped.
//!
//! A law takes bytes and panics when it is broken; a refusal is a good answer. The same functions are attacked by coverage
//! (`cargo xtask fuzz`, whose wrappers are in `fuzz/`), and by `cargo test` with the seeds kept in `seeds/` and mutations of them.
//! It parses nothing itself. Read [`LAWS`] first.

mod globs;
mod image;
mod mcp;
mod patch;
mod plan;
mod search;
mod sse;

/// A law, to be attacked with any bytes.
pub type Law = fn(&[u8]);

/// Every law by the name of its seeds' folder and of its fuzz target.
pub const LAWS: [(&str, Law); 7] = [
    ("globs", globs::law),
    ("image", image::law),
    ("mcp", mcp::law),
    ("patch", patch::law),
    ("plan", plan::law),
    ("search", search::law),
    ("sse", sse::law),
];

/// The law of that name.
pub fn law(name: &str) -> Option<Law> {
    LAWS.iter().find(|(known, _)| *known == name).map(|(_, law)| *law)
}

/// The most that a refusal may say: it goes back to a small model.
const REFUSAL_BYTES: usize = 16 << 10;

/// A refusal says something, and not too much.
fn said(refusal: &dyn std::fmt::Display) {
    let words = refusal.to_string();
    assert!(!words.trim().is_empty(), "a refusal without words");
    assert!(words.len() <= REFUSAL_BYTES, "a refusal of {} bytes: {:.200}…", words.len(), words);
}
