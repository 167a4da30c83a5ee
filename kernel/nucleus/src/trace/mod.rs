//! What happened last: typed events, kept by each processor in a ring of its own.
//!
//! A point of the kernel that is worth tracing calls [`record`] with an [`Event`] and its
//! [`Group`]. The event goes to the processor's ring, in place of the oldest.
//!
//! | group | events |
//! |---|---|
//! | `fault` | page faults that a handler was asked about, and how they ended |
//! | `tlb` | flushes that were dispatched, and requests of other processors that were served |
//! | `task` | switches of tasks |
//!
//! **Always on.** The rings are parts of the processors' own state, so they are there from
//! the first instructions on, and every kernel records all groups, to have something to
//! tell when it dies: the report of a panic ends with the last events of all processors
//! ([`print_latest`]), the debug menu prints them, and so does `cargo xtask gdb`, by the
//! command `events`. What that costs is less than twenty instructions an event (the bench
//! row `trace/event`). The one event that is left out is a *detail*: the flush of a single
//! page that concerns no other processor, which takes as few itself, and would fill the
//! rings with its like ([`record_detail`]).
//!
//! **On request.** Where the command line names groups (`trace=fault,tlb,task`), these are
//! recorded, with details, and no others; and they are counted, which loses nothing, for
//! the summary that the machine ends with ([`print_summary`]). A kernel with its tests does
//! so with all groups, unless it is told otherwise.
//!
//! **Protocol.** A ring is written by its processor, by whatever runs there: an interrupt
//! handler may record while a task does. So each writer first takes a number, which names
//! its slot, in one instruction. It writes zero to the slot's stamp, then the words, and
//! then the stamp: the processor's count of cycles, which is another one each time the
//! slot is used. A reader, on whatever processor, believes words that had the same stamp
//! before and after, which was not zero. Nothing waits for anybody, so that events may be
//! recorded and read in every context, non-maskable interrupts included. Turning cycles
//! into time is left to the reader.
//!
//! A writer that was stopped for ever between number and stamp leaves a slot that is empty,
//! or that still has the event of one round before: that is told too, with its own time.

mod event;
pub(crate) mod report;
mod ring;

use core::sync::atomic::{AtomicU8, Ordering};

use bitflags::bitflags;

pub use self::event::Event;
pub use self::report::{print_latest, print_summary};
pub(crate) use self::ring::Ring;
use crate::arch::{cpu, timer};
use crate::cpu::{disable_preempt, is_atomic};
use crate::mm::Vaddr;
use crate::trap_decode::PageFaultCode;

bitflags! {
    /// Kinds of events.
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

/// How events are recorded: [`USUAL`], or else [`ON_REQUEST`] and the groups' bits.
static MODE: AtomicU8 = AtomicU8::new(USUAL);
/// All groups without details, and nothing is counted. Zero, which is cheap to tell.
const USUAL: u8 = 0;
/// The groups in the other bits, with details, and they are counted.
const ON_REQUEST: u8 = 1 << 7;

const _: () = assert!(Group::all().bits() & ON_REQUEST == 0);

/// Says what the command line asks for; at start-up.
pub(crate) fn init(asked: Option<Group>) {
    let usual = cfg!(debug_assertions).then(Group::all);
    let mode = asked
        .or(usual)
        .map_or(USUAL, |groups| ON_REQUEST | groups.bits());
    // Relaxed: there is no other processor yet, and nothing else depends on it.
    MODE.store(mode, Ordering::Relaxed);
}

/// Returns the groups that are counted.
pub(crate) fn counted() -> Group {
    // Relaxed: as it is written.
    Group::from_bits_truncate(MODE.load(Ordering::Relaxed))
}

/// Records an event.
///
/// For atomic mode, in any context: a task that moved to another processor meanwhile could
/// garble an event there, and no more.
#[inline(always)]
pub fn record(group: Group, event: impl FnOnce() -> Event) {
    record_at(group, timer::cycles, event);
}

/// Records an event, as [`record`], at a count of cycles that may be known already.
#[inline(always)]
pub(crate) fn record_at(group: Group, cycles: impl FnOnce() -> u64, event: impl FnOnce() -> Event) {
    debug_assert!(is_atomic(), "an event is recorded by a task that may move");
    // Relaxed: as it is written.
    match MODE.load(Ordering::Relaxed) {
        USUAL => cpu::local().events.record(cycles(), event()),
        mode => record_on_request(mode, group, cycles(), event()),
    }
}

/// Records an event if its group was asked for; otherwise, it is too frequent for what it
/// tells. Contexts as of [`record`].
#[inline(always)]
pub(crate) fn record_detail(group: Group, event: impl FnOnce() -> Event) {
    debug_assert!(is_atomic(), "an event is recorded by a task that may move");
    // Relaxed: as it is written.
    match MODE.load(Ordering::Relaxed) {
        USUAL => {}
        mode => record_on_request(mode, group, timer::cycles(), event()),
    }
}

#[cold]
#[inline(never)]
fn record_on_request(mode: u8, group: Group, cycles: u64, event: Event) {
    if mode & group.bits() != 0 {
        let ring = &cpu::local().events;
        ring.count(&event);
        ring.record(cycles, event);
    }
}

/// A page fault that is being handled; made by [`fault`].
#[derive(Debug)]
#[must_use = "the end of the fault is recorded by it"]
pub struct Fault {
    address: Vaddr,
    /// The count of cycles when it began.
    start: u64,
}

/// Records that a handler is asked about a page fault. Callable in any context.
#[inline]
pub fn fault(address: Vaddr, ip: Vaddr, code: PageFaultCode) -> Fault {
    let _stays_here = disable_preempt();
    let start = timer::cycles();
    record_at(
        Group::FAULT,
        || start,
        || Event::Fault { address, ip, code },
    );
    Fault { address, start }
}

impl Fault {
    /// Records how the fault has ended: whether the access is made again.
    #[inline]
    pub fn end(self, is_resolved: bool) {
        let _stays_here = disable_preempt();
        let now = timer::cycles();
        let event = || Event::FaultEnd {
            address: self.address,
            // The task may have come to a processor whose count is behind.
            took: now.saturating_sub(self.start),
            is_resolved,
        };
        record_at(Group::FAULT, || now, event);
    }
}

#[cfg(any(test, ktest))]
mod tests;
