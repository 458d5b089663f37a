//! Every seed, and a fixed number of mutations of it, against its law; coverage-guided attacks are `cargo xtask fuzz`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test program that reads its own seeds")]

use std::fs;
use std::path::{Path, PathBuf};

use brigade_hostile::LAWS;

/// Mutations of each seed; `BRIGADE_MUTATIONS` asks for more.
const MUTATIONS: u64 = 40;

fn seeds(law: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(law);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// xorshift64*: the same mutations on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }
}

/// Cuts, doubles, overwrites and crosses over: what a fuzzer does, without its guidance.
fn mutated(bytes: &[u8], others: &[(PathBuf, Vec<u8>)], chance: &mut Chance) -> Vec<u8> {
    const SIGNS: &[u8] = b"\0\n\r\"\\{}[]*?/.-+@<:, \x1b\xff0";
    let mut out = bytes.to_vec();
    for _ in 0..=chance.below(4) {
        let (from, to) = (chance.below(out.len() + 1), chance.below(out.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        match chance.below(5) {
            0 => out.truncate(to),
            1 => drop(out.drain(from..to)),
            2 => {
                let piece = out[from..to.min(from + 4_096)].to_vec();
                out.splice(to..to, piece);
            }
            3 => out.insert(from, SIGNS[chance.below(SIGNS.len())]),
            _ => {
                let other = &others[chance.below(others.len())].1;
                let start = chance.below(other.len() + 1);
                out.splice(from..to, other[start..].iter().take(4_096).copied());
            }
        }
    }
    out
}

#[test]
fn every_law_holds_for_its_seeds_and_for_what_becomes_of_them() {
    let mutations = std::env::var("BRIGADE_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTATIONS);
    for (name, law) in LAWS {
        let all = seeds(name);
        assert!(!all.is_empty(), "no seeds of {name}");
        let mut tried = 0;
        for (path, bytes) in &all {
            let check = |bytes: &[u8], what: String| {
                let held = std::panic::catch_unwind(|| law(bytes));
                assert!(held.is_ok(), "{name}: {} {what} breaks the law: {:?}", path.display(), String::from_utf8_lossy(bytes));
            };
            check(bytes, String::new());
            let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64);
            for n in 0..mutations {
                check(&mutated(bytes, &all, &mut chance), format!("mutation {n}"));
                tried += 1;
            }
        }
        println!("{name}: {} seeds, {tried} mutations", all.len());
    }
}

#[test]
fn every_law_has_its_fuzz_target() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/targets");
    for (name, _) in LAWS {
        let text = fs::read_to_string(targets.join(format!("{name}.rs"))).unwrap_or_default();
        assert!(text.contains(&format!("\"{name}\"")), "fuzz/targets/{name}.rs attacks another law, or is not there");
    }
}
