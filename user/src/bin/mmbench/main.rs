//! Counts what memory calls, faults and forks cost, in instructions.
//!
//! Time-stamp ticks are counted. Under QEMU's `-icount shift=0` a tick is an
//! instruction, and `calib_loop_10000` says so: a turn of that loop is three.
//! Elsewhere the figures are ticks. Each row is the least of five rounds, an
//! operation or a page, and is printed as `ROW VALUE`.
//!
//! The program does without libraries, so that the process that it forks has a few
//! pages and a stack, and calls the kernel by the instruction alone. (Where panics
//! unwind, as in builds that only look at it, it has to have the standard library.)
//! Large pages are switched off: rows are about pages of 4 KiB.
//!
//! `mmbench [PART…]` counts the rows whose names contain one of the parts.

#![no_main]
#![cfg_attr(panic = "abort", no_std)]

mod report;
mod rows;
mod sys;

use report::Filter;

/// Counts the rows that are asked for; the kernel starts the program here.
fn run(arguments: &[&[u8]]) {
    let rows = Filter::new(arguments.get(1..).unwrap_or_default());
    sys::disable_huge_pages();
    rows::calibrate(&rows);
    rows::calls(&rows);
    rows::small_mappings(&rows);
    rows::first_touches(&rows);
    rows::protection(&rows);
    rows::forks(&rows);
    rows::copies_on_write(&rows);
    rows::sparse(&rows);
    rows::switches(&rows);
}
