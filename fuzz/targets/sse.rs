//! Attacks the law `sse`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| brigade_hostile::law("sse").expect("a law of that name")(bytes));
