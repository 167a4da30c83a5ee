//! libFuzzer on one target, which the variable `TARGET` names.
//!
//! It makes the corpus; `kernel/fuzz/guided` runs it. Coverage comes from flags
//! of the stable compiler.

#![no_main]

use std::process;
use std::sync::LazyLock;

use fuzz::targets::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;
use verify::report;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    // libFuzzer's own hook ends the process, but some panics are expected.
    report::note_panics();
    let name = std::env::var("TARGET").expect("the variable TARGET names a target");
    let found = TARGETS.iter().find(|target| target.name == name);
    found.expect("the variable TARGET names a target")
});

fuzz_target!(|input: &[u8]| {
    let run = TARGET.run;
    if let Err(why) = report::caught(|| run(input)) {
        eprintln!("{why}");
        process::abort();
    }
});
