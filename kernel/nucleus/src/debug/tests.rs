//! Tests of the debug menu: it prints whoever holds what, and everything goes on.

use super::output::Output;
use super::{IS_BUSY, command};
use crate::arch::memory;
use crate::arch::x86_64::cpu;
use crate::console;
use crate::prelude::*;
use crate::sync::atomic::Ordering;

/// Does all that comes back.
fn ask_for_everything() {
    for letter in *b"htsmipeb!" {
        command(letter);
        assert!(!IS_BUSY.load(Ordering::Relaxed));
    }
}

#[ktest]
fn menu_prints_to_the_console_if_that_is_free() {
    assert!(matches!(Output::begin(), Output::Console(_)));
    ask_for_everything();
}

#[ktest]
fn menu_prints_while_the_locks_of_scheduler_frames_and_console_are_held() {
    fn ask_without_console() {
        let held = console::try_hold();
        assert!(held.is_some(), "nobody has it");
        assert!(matches!(Output::begin(), Output::Registers));
        ask_for_everything();
    }
    // Interrupts are off as well, as where a processor hangs.
    cpu::tasks().queue_for_test(|| {
        memory::memory().buddy.with_lock_held(ask_without_console);
    });
}

#[ktest]
fn menu_is_for_one_at_a_time() {
    IS_BUSY.store(true, Ordering::Relaxed);
    command(b't');
    assert!(IS_BUSY.swap(false, Ordering::Relaxed), "somebody else's");
}
