//! Forking: mapping what another space maps, so that both share its frames.
//!
//! What shares a frame must not write to it, so both sides get the property that the
//! caller says, as a rule without the right to write. Processors that use the source
//! may still write by what they have cached. So **the copy must not run, nor be looked
//! at, before they have flushed**: the flush is collected with the source's flusher and
//! is dispatched when the source's cursor ends, at the latest; whoever lets the copy run
//! waits for it ([`TlbFlusher::sync_tlb_flush`]) before.

use core::ops::Range;

use super::cursor::{CursorMut, keep_tag};
use crate::error::{Error, Result};
use crate::mm::Vaddr;
use crate::mm::page_table::{CopyObserver, PageTableFrag, UserPtConfig};
use crate::mm::prop::PageProperty;
use crate::mm::tlb::{TlbFlushOp, TlbFlusher};
use crate::planted::{Bug, is_planted};

/// Has flushed what a copy changes.
struct Flushers<'a> {
    source: &'a TlbFlusher<'a>,
    copy: &'a TlbFlusher<'a>,
}

impl CopyObserver<UserPtConfig> for Flushers<'_> {
    #[inline]
    fn changed(&mut self, range: Range<Vaddr>) {
        if !is_planted(Bug::UnflushedCopy) {
            self.source.issue_tlb_flush(TlbFlushOp::Range(range));
        }
    }

    fn replaced(&mut self, frag: PageTableFrag<UserPtConfig>) {
        frag.flush_with(self.copy);
    }
}

impl CursorMut<'_> {
    /// Maps what is mapped in the next `len` bytes of another space at the same
    /// addresses here, and gives both mappings the property that `op` says; moves
    /// both cursors to the end of the bytes. Returns how many mappings there were,
    /// huge ones counting once.
    ///
    /// Huge pages stay huge; those that reach over an end are split. A device's memory
    /// is mapped as such, and kept by this space as by the other. Frames get a reference
    /// for each mapping. `op` may be called once for many mappings with the same
    /// property; privileges stay as they are. What it changes in the source is flushed
    /// as this module says.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], also when a frame has too many references. The first so
    /// many mappings are then copied, both cursors are where they were, and every
    /// address of the source leads where it led.
    ///
    /// # Panics
    ///
    /// Panics when `len` is not whole pages, or more than is left of either range;
    /// when the cursors stand at different addresses; when something is mapped here
    /// already; when the source is not the older one of two spaces.
    #[inline(always)]
    pub fn copy_from(
        &mut self,
        source: &mut CursorMut<'_>,
        len: usize,
        op: impl Fn(PageProperty) -> PageProperty,
    ) -> Result<usize> {
        assert!(
            source.flusher.table_id() < self.flusher.table_id(),
            "a space is copied from one that is not older"
        );
        self.keep_iomems_of(source)?;
        let keep = |old: PageProperty| keep_tag(old, &op);
        let mut flushers = Flushers {
            source: &source.flusher,
            copy: &self.flusher,
        };
        let (from, to) = (&mut source.pt_cursor, &mut self.pt_cursor);
        // SAFETY: 1. users may see untyped frames and device memory, in their half, and
        // what they lose is their business. 2. the flusher keeps it.
        Ok(unsafe { to.copy_from(from, len, keep, &mut flushers) }?)
    }

    /// Has this space keep all devices' memory that another one keeps.
    #[inline]
    fn keep_iomems_of(&self, source: &CursorMut<'_>) -> Result<()> {
        // One lock at a time. Devices are added by cursors, and never taken away.
        for index in 0.. {
            let Some(io) = source.iomems.lock().get(index).cloned() else {
                break;
            };
            let mut iomems = self.iomems.lock();
            if !iomems.contains(&io) {
                iomems.try_reserve(1).map_err(|_| Error::NoMemory)?;
                iomems.push(io);
            }
        }
        Ok(())
    }
}
