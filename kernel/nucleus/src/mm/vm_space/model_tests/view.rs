//! What the processor sees of a page, and what it has to see.

use alloc::format;

use model::Level;

use super::pair::{Disagreement, Pair};
use super::props::{ACCESSED, DIRTY, R, W, X};
use super::ring3;
use crate::error::Error;
use crate::mm::vm_space::{PageFaultInfo, VmSpace};
use crate::mm::{PAGE_SIZE, USER_END, Vaddr};
use crate::sync::SpinLock;
use crate::trap_decode::PageFaultCode;

/// The words of a page that are looked at: the first and the last.
pub(super) const OFFSETS: [usize; 2] = [0, PAGE_SIZE - 8];

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ring {
    /// The kernel, by its accesses that may fault. It never fetches.
    Kernel,
    /// A program in ring 3.
    Program,
}

/// How it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Load,
    Store,
    /// Runs the word, which says its name.
    Fetch,
}

/// What came of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It loaded this, or fetched it.
    Word(u64),
    Stored,
    Fault(PageFaultInfo),
}

/// A kind of view: the level of the leaf, or none; who looks, and how; the error
/// code, if it is a fault.
pub(super) type Kind = (Option<Level>, Ring, Access, Option<u64>);

/// How many kinds there are where nothing is mapped, and of leaves of one level:
/// for each of five ways to look, the access succeeds or its entry is not present
/// to the hardware, and except for loads, it may be refused.
pub(super) const NR_KINDS: (usize, usize) = (5, 5 + 5 + 3);

/// The last fault of the kernel's accesses.
static FAULT: SpinLock<Option<PageFaultInfo>> = SpinLock::new(None);

/// Handles a page fault by noting it.
pub(super) fn record_fault(_space: &VmSpace, info: &PageFaultInfo) -> Result<(), ()> {
    *FAULT.lock() = Some(*info);
    Err(())
}

/// Has the kernel access a word of a user.
fn access_by_kernel(
    space: &VmSpace,
    va: Vaddr,
    access: Access,
    word: u64,
) -> Result<Seen, Disagreement> {
    *FAULT.lock() = None;
    let result = match access {
        Access::Store => {
            let writer = space.writer(va, 8);
            writer.and_then(|mut writer| writer.write_val(&word).map(|()| Seen::Stored))
        }
        Access::Load | Access::Fetch => {
            let reader = space.reader(va, 8);
            reader.and_then(|mut reader| reader.read_val().map(Seen::Word))
        }
    };
    match (result, *FAULT.lock()) {
        (Ok(seen), None) => Ok(seen),
        (Err(Error::PageFault), Some(info)) => Ok(Seen::Fault(info)),
        other => Err(format!("the processor, or the kernel, said {other:x?}")),
    }
}

impl Pair {
    /// Has the processor access a word of a user, and compares what comes of it.
    /// The specification's table is marked as the processor has to mark its own.
    pub(super) fn look(
        &mut self,
        va: Vaddr,
        ring: Ring,
        access: Access,
    ) -> Result<(), Disagreement> {
        if va >= USER_END {
            // Not even the kernel looks there.
            let is_refused = self.space().reader(va, 8).is_err();
            return is_refused
                .then_some(())
                .ok_or_else(|| format!("a reader of {va:#x}"));
        }
        let word = self.new_word();
        let wanted = self.wanted_view(va, ring, access);
        let space = self.space();
        let seen = match ring {
            Ring::Kernel => access_by_kernel(&space, va, access, word)?,
            Ring::Program => {
                if access != Access::Fetch {
                    self.mark(ring3::HOME, Access::Fetch);
                }
                ring3::access(va, access, word)?
            }
        };
        if seen != wanted {
            return Err(format!(
                "{access:?} by {ring:?} at {va:#x}: the processor saw {seen:x?}, not {wanted:x?}"
            ));
        }
        let level = self
            .model
            .leaf_at(va)
            .map(|start| self.model.leaves[&start].level);
        if let Seen::Fault(info) = seen {
            let code = Some(info.code.bits());
            self.kinds.insert((level, ring, access, code));
            return Ok(());
        }
        self.kinds.insert((level, ring, access, None));
        self.mark(va, access);
        let Some((paddr, _)) = self.model.translate(va).filter(|_| access == Access::Store) else {
            return Ok(());
        };
        let arrived = self.word_at(paddr);
        if arrived != word {
            return Err(format!(
                "Store by {ring:?} at {va:#x}: the processor stored elsewhere, {paddr:#x} holds {arrived:#x}"
            ));
        }
        self.memory.insert(paddr, word);
        Ok(())
    }

    /// Says what has to come of an access.
    fn wanted_view(&self, va: Vaddr, ring: Ring, access: Access) -> Seen {
        let (needed, mut code) = match access {
            Access::Load => (R, PageFaultCode::empty()),
            Access::Store => (R | W, PageFaultCode::WRITE),
            Access::Fetch => (R | X, PageFaultCode::FETCH),
        };
        let found = self.model.translate(va);
        match found {
            Some((_, prop)) if prop & needed == needed && access == Access::Store => Seen::Stored,
            Some((paddr, prop)) if prop & needed == needed => {
                Seen::Word(*self.memory.get(&paddr).unwrap_or(&0))
            }
            _ => {
                // Without the right to read, an entry is not present.
                let is_present = found.is_some_and(|(_, prop)| prop & R != 0);
                code.set(PageFaultCode::PRESENT, is_present);
                code.set(PageFaultCode::USER, ring == Ring::Program);
                Seen::Fault(PageFaultInfo { address: va, code })
            }
        }
    }

    /// Marks the leaf that an access went through.
    fn mark(&mut self, va: Vaddr, access: Access) {
        let marks = match access {
            Access::Load | Access::Fetch => ACCESSED,
            Access::Store => ACCESSED | DIRTY,
        };
        if let Some(start) = self.model.leaf_at(va)
            && let Some(leaf) = self.model.leaves.get_mut(&start)
        {
            leaf.prop |= marks;
        }
    }
}
