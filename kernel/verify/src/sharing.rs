//! Forks, and first writes to what they share, for the checker of
//! [`spaces`](crate::spaces).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::fork;
use nucleus::Result as NucleusResult;
use nucleus::cpu::disable_preempt;
use nucleus::mm::frame::AnyFrameMeta;
use nucleus::mm::page_table::MappedItemRef;
use nucleus::mm::tlb::{TlbFlushOp, held_back};
use nucleus::mm::{Frame, FrameAllocOptions, PAGE_SIZE, UFrame, VmIo};

use crate::spaces::{READ_ONLY, WRITABLE, World, address, property};

/// What a first write came to.
#[derive(Debug, PartialEq, Eq)]
enum Broken {
    /// Nothing is mapped, or it can be written.
    Nothing,
    /// The frame is nobody else's.
    InPlace,
    /// There is another one, at this address.
    Copied(usize),
}

impl World<'_> {
    /// Returns whether all processors take interrupts. Whoever waits for one that does
    /// not waits for ever.
    pub(crate) fn all_answer(&self) -> bool {
        self.cpus.iter().all(|cpu| cpu.irq_off.is_none())
    }

    /// Copies pages of the first space to the second one, where they are unmapped first.
    pub(crate) fn fork(
        &mut self,
        cpu: usize,
        (start, len): (usize, usize),
        sync: bool,
    ) -> Result<(), String> {
        self.unmap(cpu, 1, (start, len), false)?;
        self.runs(cpu);
        let sync = sync && self.all_answer();
        let (parent, child) = (Arc::clone(&self.spaces[0]), Arc::clone(&self.spaces[1]));
        let said = self.machine.on(cpu, || -> NucleusResult<usize> {
            let guard = disable_preempt();
            let range = address(start)..address(start + len);
            let mut source = parent.cursor_mut(&guard, &range)?;
            let mut copy = child.cursor_mut(&guard, &range)?;
            let count = copy.copy_from(&mut source, len * PAGE_SIZE, |old| {
                let mut new = property(false);
                new.flags |= old.flags & !property(true).flags;
                new
            })?;
            source.flusher().dispatch_tlb_flush();
            if sync {
                source.flusher().sync_tlb_flush();
            }
            Ok(count)
        });
        let (from, from_cursor) = self.open(0, (start, len))?;
        let (to, to_cursor) = self.open(1, (start, len))?;
        let size = (len * PAGE_SIZE, usize::MAX);
        let forked = fork::copy((&from, &from_cursor), (&to, &to_cursor), size, |_| {
            READ_ONLY
        });
        let forked = forked.map_err(|why| format!("{why:?}"))?;
        if said != Ok(forked.count) {
            return Err(format!("it said {said:?} and not {}", forked.count));
        }
        let differs = |page: &usize| {
            from.translate(address(*page)) != forked.source.translate(address(*page))
        };
        let changed: Vec<_> = (start..start + len).filter(differs).collect();
        self.changed_and_flushed(cpu, 0, forked.source, &changed, sync);
        self.changed_and_flushed(cpu, 1, forked.copy, &[], false);
        Ok(())
    }

    /// Makes a page writable as the handler of a first write does.
    pub(crate) fn break_sharing(
        &mut self,
        cpu: usize,
        space: usize,
        page: usize,
    ) -> Result<(), String> {
        if !self.all_answer() {
            return Ok(());
        }
        self.runs(cpu);
        let target = Arc::clone(&self.spaces[space]);
        // Flushes that keep the frame are references, too; waiting for them ends that.
        let was_held = self.is_held();
        let said = self.machine.on(cpu, || break_in(&target, page));
        let said = said.map_err(|why| format!("it fails: {why:?}"))?;
        let (before, _) = self.open(space, (page, 1))?;
        let mut after = before.clone();
        let found = before.translate(address(page));
        let count = found.map_or(0, |(paddr, _)| self.mappings().remove(&paddr).unwrap_or(0));
        match (&said, found) {
            (Broken::Nothing, None | Some((_, WRITABLE))) => {}
            (Broken::InPlace, Some((_, READ_ONLY))) if count == 1 => {}
            (Broken::Copied(_), Some((_, READ_ONLY))) if count > 1 || was_held => {}
            _ => {
                return Err(format!(
                    "it was {said:?} of {found:x?}, mapped {count} times"
                ));
            }
        }
        if let Some(leaf) = after.leaves.get_mut(&address(page)) {
            leaf.prop = WRITABLE;
            if let Broken::Copied(paddr) = said {
                leaf.paddr = paddr;
            }
        }
        let flushed: &[usize] = match said {
            Broken::Nothing => &[],
            Broken::InPlace | Broken::Copied(_) => &[page],
        };
        self.changed_and_flushed(cpu, space, after, flushed, true);
        Ok(())
    }

    /// Returns how often each frame is mapped, in all spaces.
    fn mappings(&self) -> BTreeMap<usize, u32> {
        let mut mapped = BTreeMap::new();
        for leaf in self.tables.iter().flat_map(|table| table.leaves.values()) {
            *mapped.entry(leaf.paddr).or_default() += 1;
        }
        mapped
    }

    /// Returns whether any frames wait for processors to flush.
    fn is_held(&self) -> bool {
        self.machine.on(0, || held_back().0 > 0)
    }

    /// Each frame has as many references as mappings, besides those of flushes.
    pub(crate) fn compare_counts(&self) -> Result<(), String> {
        let is_held = self.is_held();
        self.machine.on(0, || {
            for (paddr, wanted) in self.mappings() {
                let frame = Frame::<dyn AnyFrameMeta>::from_in_use(paddr);
                let frame = frame.map_err(|error| format!("frame {paddr:#x} is {error:?}"))?;
                let count = frame.reference_count() - 1;
                if count < wanted || (count > wanted && !is_held) {
                    return Err(format!(
                        "frame {paddr:#x} has {count} references, not {wanted}"
                    ));
                }
            }
            Ok(())
        })
    }
}

fn break_in(space: &nucleus::mm::VmSpace, page: usize) -> NucleusResult<Broken> {
    let guard = disable_preempt();
    let mut cursor = space.cursor_mut(&guard, &(address(page)..address(page + 1)))?;
    {
        let Some(MappedItemRef::MappedRam { prop, .. }) = cursor.query_ref()?.1 else {
            return Ok(Broken::Nothing);
        };
        if prop.flags.contains(property(true).flags) {
            return Ok(Broken::Nothing);
        }
    }
    let is_ours = cursor.protect_unshared(|old| {
        let mut new = property(true);
        new.flags |= old.flags;
        new
    })?;
    if is_ours {
        // Nobody needs this flush; with it, what processors may believe is simpler.
        let op = TlbFlushOp::Address(address(page));
        cursor.flusher().issue_tlb_flush(op);
        cursor.flusher().dispatch_tlb_flush();
        cursor.flusher().sync_tlb_flush();
        return Ok(Broken::InPlace);
    }
    let copy: UFrame = FrameAllocOptions::new().alloc_frame()?.into();
    let paddr = copy.start_paddr();
    // Which frame it is, for whoever reads it.
    copy.write_val(0, &paddr)?;
    cursor.replace(copy, property(true))?;
    Ok(Broken::Copied(paddr))
}
