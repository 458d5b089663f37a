//! Attacks the law `image`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| brigade_hostile::law("image").expect("a law of that name")(bytes));
