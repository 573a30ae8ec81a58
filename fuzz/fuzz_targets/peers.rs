#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mitigator_vpn::fuzzing::run("peers", bytes));
