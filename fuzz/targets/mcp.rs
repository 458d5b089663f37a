//! Attacks the law `mcp`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| brigade_hostile::law("mcp").expect("a law of that name")(bytes));
