//! `cargo +nightly fuzz run step`: see `targets/mod.rs`.
#![no_main]

#[allow(dead_code, reason = "each program runs one target of several")]
#[path = "../targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::Target::Step.run(data, &mut targets::Seen::default());
});
