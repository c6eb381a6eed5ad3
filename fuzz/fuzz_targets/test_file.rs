#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| perennial_fuzz::ask(text, perennial_fuzz::promises::Project::test_file));
