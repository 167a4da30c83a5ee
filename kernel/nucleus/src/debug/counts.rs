//! Counts of memory and interrupts.

use core::fmt::{self, Write};

use super::output::Output;
use crate::arch::memory;
use crate::arch::x86_64::{cpu, lines, trap};
use crate::cpu::CpuSet;
use crate::mm::frame::{allocator, census, reserve};
use crate::mm::{PAGE_SIZE, heap, tlb};
use crate::task;
use crate::time;

/// Prints what memory there is and what it is used for.
pub(super) fn print_memory(out: &mut Output) -> fmt::Result {
    let kib = |frames: usize| frames * PAGE_SIZE / 1024;
    let frames = allocator::try_counts();
    writeln!(out, "frames: {} KiB given out in all", kib(frames.managed))?;
    match frames.in_pool {
        Some(free) => writeln!(out, "frames: {} KiB free in the pool", kib(free))?,
        None => writeln!(out, "frames: somebody has the lock of the pool")?,
    }
    writeln!(
        out,
        "frames: {} KiB in caches of processors, {} KiB kept for the kernel",
        kib(frames.cached),
        kib(reserve::reserve())
    )?;
    write!(out, "frames in use, by kind:")?;
    for kind in census().kinds() {
        write!(out, " {kind} {}", kind.frames)?;
    }
    writeln!(out)?;
    let nodes = memory::memory().nr_nodes();
    let (held, most) = tlb::held_back();
    writeln!(out, "page tables: {} KiB below their roots", kib(nodes))?;
    writeln!(
        out,
        "held back: {} KiB until all have flushed, {} at most so far",
        held / 1024,
        most / 1024
    )?;
    writeln!(
        out,
        "heap: {} KiB of frames, {} KiB used",
        kib(heap::nr_frames()),
        heap::used_bytes() / 1024
    )?;
    writeln!(
        out,
        "tasks: {} live, {} runnable",
        task::nr_tasks(),
        task::nr_runnable()
    )
}

/// Prints how often what has interrupted.
pub(super) fn print_interrupts(out: &mut Output) -> fmt::Result {
    let up = time::uptime();
    writeln!(out, "up for {}.{:03} s", up.as_secs(), up.subsec_millis())?;
    for (line, count) in lines::counts().enumerate().filter(|(_, count)| *count > 0) {
        writeln!(out, "line {line}: {count}")?;
    }
    let (unmaskable, debug) = trap::rare_counts();
    writeln!(
        out,
        "spurious: {}, non-maskable: {unmaskable}, debug: {debug}",
        lines::nr_spurious()
    )?;
    for cpu in CpuSet::new_full().iter() {
        let flushes = &cpu::of(cpu).flushes;
        writeln!(
            out,
            "processor {}: {} flushes asked for, {} done, {} interrupts for that",
            cpu.as_usize(),
            flushes.requested(),
            flushes.done(),
            flushes.interrupts()
        )?;
    }
    Ok(())
}
