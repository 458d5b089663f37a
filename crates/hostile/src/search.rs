//! Arguments of `search`, one a line: read as ripgrep would, or refused by name, and never an endless pattern.

use std::sync::OnceLock;

use brigade_tools::view::View;
use brigade_tools::{Scope, search};

use crate::said;

pub fn law(bytes: &[u8]) {
    static WORKSPACE: OnceLock<View> = OnceLock::new();
    let text = String::from_utf8_lossy(bytes);
    let args: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let query = match search::parse(&args) {
        Ok(query) => query,
        Err(refused) => return said(&refused),
    };
    // This crate's own seeds: a few small files.
    let here = WORKSPACE.get_or_init(|| View::in_place(std::path::Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the crate's folder"));
    match search::run(here, &Scope::whole(), &query, 2_000) {
        Ok(answer) => assert!(answer.stdout.len() < 1 << 20, "{} bytes are shown", answer.stdout.len()),
        Err(refused) => said(&refused),
    }
}
