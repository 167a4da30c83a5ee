//! Tests of the screen on the machine.

use super::framebuffer::Framebuffer;
use super::{CONSOLE, TextConsole, screen_size, scroll, text, write_program_output};
use crate::cpu::disable_preempt;
use crate::mm::frame::meta::{Mark, slot_of};
use crate::mm::kspace::kernel_page_table;
use crate::mm::kspace::layout::LINEAR_MAP_BASE;
use crate::mm::{CachePolicy, PAGE_SIZE, PageFlags};
use crate::prelude::*;
use crate::task::Task;

/// Returns what a function says of the screen; ends the test if there is none.
fn ask_screen<R>(ask: impl FnOnce(&Framebuffer<'static>) -> R) -> R {
    let answer = CONSOLE.lock().screen.as_ref().map(ask);
    answer.unwrap_or_else(|| crate::ktest::skip("the machine has no screen"))
}

/// Returns what a function says of the text; ends the test if there is none.
fn ask_text<R>(ask: impl FnOnce(&TextConsole<'static>) -> R) -> R {
    let answer = CONSOLE.lock().text.as_ref().map(ask);
    answer.unwrap_or_else(|| crate::ktest::skip("the machine has no screen"))
}

#[ktest]
fn peer_104_framebuffer_is_mapped_write_combining_and_nowhere_else() {
    let range = ask_screen(Framebuffer::addresses);
    for page in (range.start / PAGE_SIZE * PAGE_SIZE..range.end).step_by(PAGE_SIZE) {
        let walk = kernel_page_table().page_walk(&disable_preempt(), page);
        let (paddr, prop) = walk.expect("the framebuffer is mapped");
        // What the policy's bits mean to the processor, `peer_046` checks.
        assert_eq!(prop.cache, CachePolicy::WriteCombining, "at {page:#x}");
        assert_eq!(prop.flags & PageFlags::RWX, PageFlags::RW, "at {page:#x}");
        let frame = paddr / PAGE_SIZE * PAGE_SIZE;
        let other = kernel_page_table().page_walk(&disable_preempt(), LINEAR_MAP_BASE + frame);
        assert!(other.is_none(), "{frame:#x} is mapped as RAM as well");
        let mark = slot_of(frame).map(|slot| slot.mark());
        let is_ram = matches!(mark, Ok(Some(Mark::Managed | Mark::Reserved)));
        assert!(!is_ram, "{frame:#x} is RAM: {mark:?}");
    }
}

#[ktest]
fn text_has_all_of_the_screen_and_lines_above_it() {
    let size = ask_screen(text::grid_size);
    assert_eq!(screen_size(), Some(size));
    assert!(ask_text(TextConsole::max_old_lines) >= 100);
}

#[ktest]
fn what_programs_write_is_seen_without_another_call() {
    ask_screen(|_| ());
    // Nothing is written, but that might change any cell.
    write_program_output(b"");
    while ask_text(TextConsole::is_stale) {
        Task::yield_now();
    }
}

#[ktest]
fn what_the_kernel_says_is_seen_at_once_and_ends_looking_back() {
    ask_screen(|_| ());
    scroll(isize::MAX);
    let (is_back, nr_old) = ask_text(|text| (text.is_looking_back(), text.nr_old_lines()));
    assert_eq!(is_back, nr_old > 0);
    let mut console = CONSOLE.lock();
    console.say(format_args!("{}", ""));
    let text = console.text.as_ref().expect("there was a screen");
    assert!(!text.is_looking_back() && !text.is_stale());
}
