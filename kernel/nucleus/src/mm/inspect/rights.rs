//! Is anything writable and executable? A walk of the live tables.
//!
//! What is asked of a root, which is the kernel's own, with an empty lower half:
//!
//! 1. The half of users is empty: so page 0 is not mapped.
//! 2. No page can be written and executed, by what all entries on its way say together.
//! 3. No entry of the kernel's half is for users: not the pages, nor the tables above
//!    them, which would leave the last word to the page.
//! 4. What can be executed is the image's text, and nothing else.
//! 5. No page that can be written leads to a frame of the image's text or constants, at
//!    whatever address. Otherwise the linear map would be a way round 2 and 4.
//! 6. No reserved bit is set, and tables lie in RAM.
//!
//! A table that several entries of a node lead to side by side (the metadata of holes) is
//! visited once.

use alloc::vec::Vec;
use core::fmt;
use core::ops::{ControlFlow, Range};

use super::walk::{Met, Next, is_memory, walk};
use crate::arch::mmu;
use crate::arch::raw_entry::{RawEntry, Target};
use crate::cpu::disable_preempt;
use crate::mm::kspace::layout::KERNEL_ROOT_INDEX;
use crate::mm::paging::{PagingConsts, page_size};
use crate::mm::{NR_ENTRIES, Paddr, PagingLevel, Vaddr};
use crate::sync::rcu;

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The kernel's own table maps something for users.
    UserHalf,
    /// A page can be written and executed.
    WritableAndExecutable,
    /// An entry of the kernel's half lets ring 3 pass.
    ForUsers,
    /// A page that is not the image's text can be executed.
    ExecutableElsewhere,
    /// A page can be written, whose frame holds text or constants of the image.
    WritableAlias,
    /// A bit is set that the hardware wants to be zero.
    ReservedBits,
    /// An entry leads to a table where there is no RAM.
    TableOutsideMemory,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserHalf => "is mapped in the kernel's own table, in the half of users",
            Self::WritableAndExecutable => "can be written and executed",
            Self::ForUsers => "is open to ring 3",
            Self::ExecutableElsewhere => "can be executed, and is not the image's text",
            Self::WritableAlias => "is a way to write text or constants of the image",
            Self::ReservedBits => "has reserved bits set",
            Self::TableOutsideMemory => "leads to a table where there is no memory",
        })
    }
}

/// Where something is that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) vaddr: Vaddr,
    pub(crate) level: PagingLevel,
    pub(crate) entry: RawEntry,
    pub(crate) fault: Fault,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            vaddr,
            level,
            entry,
            fault,
        } = self;
        write!(f, "{vaddr:#x} {fault} (entry {entry:?} of level {level})")
    }
}

/// What the image has that must not be written.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    /// Addresses of the text, at which alone something may be executed.
    pub(crate) text: Vec<Range<Vaddr>>,
    /// Where text and constants lie.
    pub(crate) frames: Vec<Range<Paddr>>,
}

/// Violations that are kept; the others are counted.
const MAX_KEPT: usize = 8;

/// What a walk has found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Pages by their level, 1 to 3.
    pub(crate) pages: [usize; 3],
    /// Tables, besides the root.
    pub(crate) tables: usize,
    /// Bytes that can be executed.
    pub(crate) executable: usize,
    /// The first violations.
    pub(crate) first: Vec<Violation>,
    /// How many there are.
    pub(crate) nr_violations: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [small, large, huge] = self.pages;
        write!(
            f,
            "{small} pages of 4 KiB, {large} of 2 MiB, {huge} of 1 GiB in {} tables; {} KiB \
             executable, {} holes",
            self.tables,
            self.executable / 1024,
            self.nr_violations
        )
    }
}

/// Walks the tables of a root that is the kernel's own.
///
/// Memory for violations is asked for and may be refused; they are counted all the same.
pub(crate) fn inspect(root: Paddr, constants: &Constants) -> Report {
    let mut report = Report::default();
    // For them, memory is asked for where nothing is locked.
    let _ = report.first.try_reserve_exact(MAX_KEPT);
    let limits = mmu::paging_limits();
    let guard = disable_preempt();
    let _section = rcu::read(&guard);
    walk(root, &(0..NR_ENTRIES), 0, &mut |met| {
        if met.entry.reserved_bits(met.level, limits) != 0 {
            report.note(met, Fault::ReservedBits);
        }
        ControlFlow::Continue(report.visit(met, constants))
    });
    report
}

impl Report {
    fn visit(&mut self, met: &Met, constants: &Constants) -> Next {
        if met.vaddr >> USER_BITS == 0 {
            self.note(met, Fault::UserHalf);
            return Next::Right;
        }
        if met.entry.rights().user && met.target != Target::Hidden {
            self.note(met, Fault::ForUsers);
        }
        match met.target {
            Target::Nothing | Target::Hidden => {}
            Target::Page(paddr) => self.visit_page(met, paddr, constants),
            Target::Node(_) if met.is_repeated => return Next::Right,
            Target::Node(node) => {
                self.tables += 1;
                if !is_memory(node) {
                    self.note(met, Fault::TableOutsideMemory);
                }
            }
        }
        Next::Down
    }

    fn visit_page(&mut self, met: &Met, paddr: Paddr, constants: &Constants) {
        let size = page_size::<PagingConsts>(met.level);
        self.pages[usize::from(met.level) - 1] += 1;
        let Met { vaddr, rights, .. } = *met;
        if rights.execute {
            self.executable += size;
            if rights.write {
                self.note(met, Fault::WritableAndExecutable);
            }
            let is_within = |text: &Range<Vaddr>| text.contains(&vaddr) && size <= text.end - vaddr;
            if !constants.text.iter().any(is_within) {
                self.note(met, Fault::ExecutableElsewhere);
            }
        }
        let overlaps = |frames: &Range<Paddr>| frames.start < paddr + size && paddr < frames.end;
        if rights.write && constants.frames.iter().any(overlaps) {
            self.note(met, Fault::WritableAlias);
        }
    }

    fn note(&mut self, met: &Met, fault: Fault) {
        self.nr_violations += 1;
        if self.first.len() < self.first.capacity() && self.first.len() < MAX_KEPT {
            self.first.push(Violation {
                vaddr: met.vaddr,
                level: met.level,
                entry: met.entry,
                fault,
            });
        }
    }
}

/// Bits of an address in the half of users.
const USER_BITS: u32 = 47;
const _: () = assert!(KERNEL_ROOT_INDEX << 39 == 1 << USER_BITS);
