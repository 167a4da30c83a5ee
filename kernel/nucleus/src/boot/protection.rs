//! Checking that nothing is writable and executable, in the tables that are active.
//!
//! Done when start-up is through, and again before the first program runs. In a kernel
//! with debug assertions a violation is a panic. One that is shipped says so and goes on:
//! whoever meets it wants to read the message on a running machine, and is no worse off
//! than without the walk.

use alloc::vec::Vec;
use core::ops::Range;

use super::image;
use super::start::command_line;
use crate::console;
use crate::cpu::disable_preempt;
use crate::error::{Error, Result};
use crate::mm::inspect::listing;
use crate::mm::inspect::rights::{self, Constants, Report};
use crate::mm::kspace::kernel_page_table;
use crate::mm::{PAGE_SIZE, Paddr, PageFlags};

/// Walks the kernel's tables, and says what was found.
///
/// # Panics
///
/// Panics with debug assertions on when something is writable and executable, or could
/// be made so.
pub fn check_protection() {
    let constants = match constants() {
        Ok(constants) => constants,
        Err(error) => return log::warn!("protection: not checked: {error:?}"),
    };
    let report = rights::inspect(kernel_page_table().root_paddr(), &constants);
    log::info!("protection: {report}");
    complain(&report);
}

/// Prints the kernel's page table, if the command line wants it.
pub(super) fn print_page_table_if_asked() {
    if command_line().page_table {
        // The console takes what it is given.
        let _ = listing::write_kernel_half(&mut console::Printer);
    }
}

/// Says what is wrong, if anything is.
fn complain(report: &Report) {
    for violation in &report.first {
        log::error!("protection: {violation}");
    }
    let count = report.nr_violations;
    assert!(
        count == 0 || !cfg!(debug_assertions),
        "the kernel's address space has {count} holes"
    );
    if count > 0 {
        log::error!("protection: {count} HOLES IN THE KERNEL'S ADDRESS SPACE");
    }
}

/// Finds out where the image's text and constants are.
///
/// # Errors
///
/// [`Error::NoMemory`].
pub(crate) fn constants() -> Result<Constants> {
    let mut constants = Constants::default();
    let is_constant = |segment: &image::Segment| !segment.flags.contains(PageFlags::W);
    for segment in image::segments().filter(is_constant) {
        for page in segment.pages.clone().step_by(PAGE_SIZE) {
            let walk = kernel_page_table().page_walk(&disable_preempt(), page);
            let (paddr, _) = walk.ok_or(Error::InvalidArgs)?;
            add(&mut constants.frames, paddr)?;
        }
        if segment.flags.contains(PageFlags::X) {
            constants.text.try_reserve(1).map_err(|_| Error::NoMemory)?;
            constants.text.push(segment.pages);
        }
    }
    Ok(constants)
}

/// Adds a frame to the ranges, joined with the last one where it can be.
fn add(frames: &mut Vec<Range<Paddr>>, paddr: Paddr) -> Result<()> {
    if let Some(last) = frames.last_mut().filter(|last| last.end == paddr) {
        last.end += PAGE_SIZE;
        return Ok(());
    }
    frames.try_reserve(1).map_err(|_| Error::NoMemory)?;
    frames.push(paddr..paddr + PAGE_SIZE);
    Ok(())
}
