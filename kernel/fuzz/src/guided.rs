//! libFuzzer on one target, which the variable `TARGET` names.
//!
//! It makes the corpus; `kernel/fuzz/guided` runs it. Coverage comes from flags
//! of the stable compiler.

#![no_main]

use std::sync::LazyLock;

use fuzz::targets::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").expect("the variable TARGET names a target");
    let found = TARGETS.iter().find(|target| target.name == name);
    found.expect("the variable TARGET names a target")
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
