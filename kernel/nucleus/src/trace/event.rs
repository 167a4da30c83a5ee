//! What is recorded, and how it is packed into words.

use core::fmt;
use core::time::Duration;

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
        /// Time since the fault.
        took: Duration,
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
        /// The address of the record of the task that was left.
        from: Vaddr,
        /// That of the next one.
        to: Vaddr,
    },
}

/// An event in words: its kind, a value of up to 24 bits, and two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) kind: u8,
    pub(super) small: u32,
    pub(super) words: [u64; 2],
}

/// Bits of [`Packed::small`].
pub(super) const SMALL_BITS: u32 = 24;

const FAULT: u8 = 1;
const FAULT_END: u8 = 2;
const FLUSH: u8 = 3;
const SERVED: u8 = 4;
const SWITCH: u8 = 5;

impl Event {
    pub(super) fn pack(self) -> Packed {
        let (kind, small, words) = match self {
            Self::Fault { address, ip, code } => {
                let small = code.bits() as u32 & ((1 << SMALL_BITS) - 1);
                (FAULT, small, [address as u64, ip as u64])
            }
            Self::FaultEnd {
                address,
                took,
                is_resolved,
            } => {
                let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                (FAULT_END, u32::from(is_resolved), [address as u64, took_ns])
            }
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
            Self::Switch { from, to } => (SWITCH, 0, [from as u64, to as u64]),
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
                took: Duration::from_nanos(second),
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
                from: first as Vaddr,
                to: second as Vaddr,
            },
            _ => return None,
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault { address, ip, code } => {
                write!(f, "fault: {code}: {address:#x}, at {ip:#x}")
            }
            Self::FaultEnd {
                address,
                took,
                is_resolved,
            } => {
                let how = if *is_resolved { "resolved" } else { "refused" };
                write!(f, "fault {how}: {address:#x}, in {} ns", took.as_nanos())
            }
            Self::Flush {
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
            Self::Served { table } => write!(f, "served requests to flush, table {table}"),
            Self::Switch { from, to } => write!(f, "switch from task {from:#x} to {to:#x}"),
        }
    }
}
