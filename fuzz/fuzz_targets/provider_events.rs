#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| perennial_fuzz::hold(bytes, perennial_fuzz::mail::House::provider_events));
