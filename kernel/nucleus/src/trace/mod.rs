//! What happened last: typed events, kept by each processor in a ring of its own.
//!
//! A point of the kernel that is worth tracing calls [`record`] with its [`Group`] and
//! an [`Event`]. Where the group is off, which is so unless the command line asks
//! otherwise (`trace=fault,tlb,task`), that is one load and one branch, and there are no
//! rings at all. Where it is on, the event goes to the processor's ring, in place of the
//! oldest, and into counts, which lose nothing.
//!
//! | group | events |
//! |---|---|
//! | `fault` | page faults that a handler was asked about, and how they ended |
//! | `tlb` | flushes that were dispatched, and requests of other processors that were served |
//! | `task` | switches of tasks |
//!
//! A kernel with its tests records all groups. The report of a panic ends with the last
//! events of all processors ([`print_latest`]), and a machine that was asked to trace
//! ends with a summary ([`print_summary`]). In `cargo xtask gdb`, the command `events`
//! prints the rings.
//!
//! **Protocol**: a ring is written by its processor, by whatever runs there: an interrupt
//! handler may record while a task does. So each writer first takes a number, which names
//! its slot. It invalidates the slot's header, writes the words, and then the header,
//! with the number in it. A reader, on whatever processor, believes words that had the
//! same header before and after. Nothing waits for anybody, so that events may be
//! recorded and read in every context, non-maskable interrupts included.

mod event;
pub(crate) mod report;
mod ring;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;

use bitflags::bitflags;
use spin::Once;

pub use self::event::Event;
pub use self::report::{print_latest, print_summary};
use self::ring::Ring;
use crate::arch::cpu;
use crate::mm::Vaddr;
use crate::prelude::*;
use crate::time::uptime;
use crate::trap_decode::PageFaultCode;

bitflags! {
    /// Kinds of events that are recorded or not.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Group: u8 {
        /// Page faults.
        const FAULT = 1 << 0;
        /// Flushes of TLBs.
        const TLB = 1 << 1;
        /// Switches of tasks.
        const TASK = 1 << 2;
    }
}

impl Group {
    /// Reads names with commas between them; `None` if one is unknown.
    pub fn parse(names: &str) -> Option<Self> {
        names.split(',').try_fold(Self::empty(), |groups, name| {
            let group = match name {
                "fault" => Self::FAULT,
                "tlb" => Self::TLB,
                "task" => Self::TASK,
                "all" => Self::all(),
                "off" => Self::empty(),
                _ => return None,
            };
            Some(groups | group)
        })
    }
}

/// The groups that are recorded.
static RECORDED: AtomicU8 = AtomicU8::new(0);
/// The ring of each processor, by its number.
static RINGS: Once<Vec<Ring>> = Once::new();

/// Starts to record groups.
///
/// # Errors
///
/// [`Error::NoMemory`] without memory for the rings; nothing is recorded then.
pub(crate) fn start(groups: Group) -> Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    let mut rings = Vec::new();
    let nr_cpus = cpu::nr_cpus();
    rings
        .try_reserve_exact(nr_cpus)
        .map_err(|_| Error::NoMemory)?;
    rings.resize_with(nr_cpus, Ring::new);
    RINGS.call_once(|| rings);
    // Release: who sees the groups finds the rings.
    RECORDED.store(groups.bits(), Ordering::Release);
    Ok(())
}

/// Returns the groups that are recorded.
pub fn groups() -> Group {
    // Acquire: pairs with `start`.
    Group::from_bits_truncate(RECORDED.load(Ordering::Acquire))
}

/// Records an event, if its group is recorded. Callable in any context.
#[inline(always)]
pub fn record(group: Group, event: impl FnOnce() -> Event) {
    // Relaxed: who goes on asks again.
    if RECORDED.load(Ordering::Relaxed) & group.bits() != 0 {
        record_at(uptime(), event());
    }
}

#[cold]
#[inline(never)]
fn record_at(time: Duration, event: Event) {
    // A task may move on before it writes: then the event is in a neighbour's ring,
    // where it does no harm.
    let ring = RINGS
        .get()
        .and_then(|rings| rings.get(cpu::current_id().as_usize()));
    if let Some(ring) = ring {
        ring.record(time, event);
    }
}

/// A page fault that is being handled; made by [`fault`].
#[derive(Debug)]
#[must_use = "the end of the fault is recorded by it"]
pub struct Fault {
    address: Vaddr,
    /// When it began, if that was recorded.
    start: Option<Duration>,
}

/// Records that a handler is asked about a page fault.
#[inline(always)]
pub fn fault(address: Vaddr, ip: Vaddr, code: PageFaultCode) -> Fault {
    // Relaxed: as in `record`.
    let is_on = RECORDED.load(Ordering::Relaxed) & Group::FAULT.bits() != 0;
    let start = is_on.then(|| {
        let now = uptime();
        record_at(now, Event::Fault { address, ip, code });
        now
    });
    Fault { address, start }
}

impl Fault {
    /// Records how the fault has ended: whether the access is made again.
    #[inline(always)]
    pub fn end(self, is_resolved: bool) {
        if let Some(start) = self.start {
            let now = uptime();
            let event = Event::FaultEnd {
                address: self.address,
                took: now.saturating_sub(start),
                is_resolved,
            };
            record_at(now, event);
        }
    }
}

#[cfg(any(test, ktest))]
mod tests;
