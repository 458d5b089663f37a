//! Attacks the law `search`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| brigade_hostile::law("search").expect("a law of that name")(bytes));
