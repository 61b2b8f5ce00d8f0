//! Hands libFuzzer's inputs to the target that CHANCERY_FUZZ_TARGET names. What the targets are and what they demand stands in the
//! library (src/fuzzing), where a test replays their inputs too.

#![no_main]

use std::sync::OnceLock;

use chancery::fuzzing::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fuzz_target!(init: {
    let name = std::env::var("CHANCERY_FUZZ_TARGET").expect("CHANCERY_FUZZ_TARGET names the target");
    let target = TARGETS.iter().find(|target| target.name == name).expect("there is such a target");
    assert!(TARGET.set(target).is_ok(), "libFuzzer initialises once");
}, |data: &[u8]| {
    (TARGET.get().expect("libFuzzer initialises first").run)(data);
});
