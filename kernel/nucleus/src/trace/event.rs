//! What is recorded, and how it is packed into words.

use core::fmt::{self, Write};
use core::time::Duration;

use crate::arch::timer;
use crate::mm::Vaddr;
use crate::trap_decode::PageFaultCode;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A handler is asked about a page fault.
    Fault {
        /// The address that was accessed.
        address: Vaddr,
        /// The instruction that accessed it.
        ip: Vaddr,
        /// The access, and why it was refused.
        code: PageFaultCode,
    },
    /// The handler has answered.
    FaultEnd {
        /// The address that was accessed.
        address: Vaddr,
        /// Cycles since the fault.
        took: u64,
        /// The access is made again.
        is_resolved: bool,
    },
    /// Translations were flushed here, or other processors were asked to.
    Flush {
        /// The number of the table; zero for the kernel's half.
        table: u64,
        /// The first page.
        first: Vaddr,
        /// Pages of 4 KiB, as far as they fit; zero for everything.
        pages: u16,
        /// Other processors that were asked.
        nr_asked: u8,
    },
    /// This processor has flushed what others asked it to.
    Served {
        /// The number of the table, or of the last of several; zero for the kernel's half.
        table: u64,
    },
    /// Another task goes on here.
    Switch {
        /// The number of the task that was left.
        from: u64,
        /// That of the next one.
        to: u64,
    },
}

/// An event in words: its kind, a small value, and two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) kind: u8,
    pub(super) small: u32,
    pub(super) words: [u64; 2],
}

const FAULT: u8 = 1;
const FAULT_END: u8 = 2;
const FLUSH: u8 = 3;
const SERVED: u8 = 4;
const SWITCH: u8 = 5;

impl Event {
    #[inline(always)]
    pub(super) fn pack(self) -> Packed {
        let (kind, small, words) = match self {
            Self::Fault { address, ip, code } => {
                // The processor defines fewer than 32 bits of the code.
                (FAULT, code.bits() as u32, [address as u64, ip as u64])
            }
            Self::FaultEnd {
                address,
                took,
                is_resolved,
            } => (FAULT_END, u32::from(is_resolved), [address as u64, took]),
            Self::Flush {
                table,
                first,
                pages,
                nr_asked,
            } => {
                let small = u32::from(pages) << 8 | u32::from(nr_asked);
                (FLUSH, small, [table, first as u64])
            }
            Self::Served { table } => (SERVED, 0, [table, 0]),
            Self::Switch { from, to } => (SWITCH, 0, [from, to]),
        };
        Packed { kind, small, words }
    }

    /// Returns the event of some words, if they are one.
    pub(super) fn unpack(packed: Packed) -> Option<Self> {
        let Packed { kind, small, words } = packed;
        let [first, second] = words;
        Some(match kind {
            FAULT => Self::Fault {
                address: first as Vaddr,
                ip: second as Vaddr,
                code: PageFaultCode::from_bits_retain(u64::from(small)),
            },
            FAULT_END => Self::FaultEnd {
                address: first as Vaddr,
                took: second,
                is_resolved: small != 0,
            },
            FLUSH => Self::Flush {
                table: first,
                first: second as Vaddr,
                pages: (small >> 8) as u16,
                nr_asked: small as u8,
            },
            SERVED => Self::Served { table: first },
            SWITCH => Self::Switch {
                from: first,
                to: second,
            },
            _ => return None,
        })
    }
}

/// An event in words for people, with times by a clock.
pub(super) struct Told(pub(super) Event, pub(super) Clock);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Fault { address, ip, code } => {
                write!(f, "fault: {code}: {address:#x}, at {ip:#x}")
            }
            Event::FaultEnd {
                address,
                took,
                is_resolved,
            } => {
                let how = if is_resolved { "resolved" } else { "refused" };
                write!(f, "fault {how}: {address:#x}, in ")?;
                self.1.tell_length(f, took)
            }
            Event::Flush {
                table,
                first,
                pages,
                nr_asked,
            } => {
                match pages {
                    0 => write!(f, "flush of everything")?,
                    _ => write!(f, "flush of {pages} pages from {first:#x}")?,
                }
                match table {
                    0 => write!(f, ", kernel")?,
                    _ => write!(f, ", table {table}")?,
                }
                write!(f, ", {nr_asked} others asked")
            }
            Event::Served { table } => write!(f, "served requests to flush, table {table}"),
            Event::Switch { from, to } => write!(f, "switch from task {from} to {to}"),
        }
    }
}

/// What turns counts of cycles into time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// How long so many cycles take, if that is known.
    pub(super) time_of: fn(u64) -> Option<Duration>,
    /// The time since start-up at a count, likewise.
    pub(super) uptime_at: fn(u64) -> Option<Duration>,
}

impl Clock {
    /// The machine's own.
    pub(super) const MACHINE: Self = Self {
        time_of: timer::time_of,
        uptime_at: timer::uptime_at,
    };

    /// Writes how long so many cycles take.
    pub(super) fn tell_length(self, out: &mut impl Write, cycles: u64) -> fmt::Result {
        match (self.time_of)(cycles) {
            Some(time) => write!(out, "{} ns", time.as_nanos()),
            None => write!(out, "{cycles} cycles"),
        }
    }

    /// Writes when a count was, as the log does.
    pub(super) fn tell_when(self, out: &mut impl Write, cycles: u64) -> fmt::Result {
        match (self.uptime_at)(cycles) {
            Some(time) => write!(out, "[{:5}.{:06}]", time.as_secs(), time.subsec_micros()),
            None => write!(out, "[cycle {cycles}]"),
        }
    }
}
