//! Breaking copy-on-write: what the first write to a shared page needs.
//!
//! A page that is shared on a fork can be written by neither side. The first to write
//! gets a copy ([`CursorMut::replace`]), unless the other side is gone meanwhile: then
//! the frame is its own, and the right to write comes back ([`CursorMut::protect_unshared`]).
//! Both are decided and done under the lock of the page's node, so of two threads that
//! write at once, the second finds what the first did (peer 98):
//!
//! ```text
//! cursor of the page:
//!     query_ref                     may it be written already? then try again
//!     protect_unshared(give W)      yes: done, without a copy or a flush
//!     frame.copy_from(what query_ref lends); replace(frame)
//! ```
//!
//! **No flush for more rights**: a processor that has the mapping without the right
//! cached may fault once more, and finds that there is nothing to do. A fault makes it
//! forget (SDM vol. 3A, 4.10.4.1).
//!
//! **All flush before the copy is there** (peer 77): between the two frames, the page is
//! absent everywhere. Else a thread that sees the new bytes could tell another one,
//! which still reads the old ones.

use super::cursor::{CursorMut, keep_tag};
use crate::error::Result;
use crate::mm::PAGE_SIZE;
use crate::mm::frame::UFrame;
use crate::mm::page_table::MappedItem;
use crate::mm::prop::PageProperty;
use crate::planted::{Bug, is_planted};

impl CursorMut<'_> {
    /// Changes the property of the mapping at the cursor if it has the only reference to
    /// what is mapped: to the frame, or to each of those of a huge page. Returns whether;
    /// not where nothing is mapped, or a device's memory. The cursor stays where it is.
    ///
    /// Takes no reference itself, and flushes nothing: it is for giving rights, or what
    /// it takes is for the caller to flush. Privileges stay as they are. It errs on one
    /// side: of a frame that another one is just dropping, it may say no.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`](crate::Error::AccessDenied) at the end of the cursor's
    /// range.
    #[inline]
    pub fn protect_unshared(
        &mut self,
        op: impl FnOnce(PageProperty) -> PageProperty,
    ) -> Result<bool> {
        let keep = |old: PageProperty| keep_tag(old, op);
        // SAFETY: What a user may do with its memory is the user's business.
        Ok(unsafe { self.pt_cursor.protect_unshared(keep) }?)
    }

    /// Maps a frame in the place of the page at the cursor, and moves past it. What was
    /// mapped is taken out first, and all processors that use the space have flushed it
    /// before the frame is mapped. Otherwise as [`Self::map`], which does not wait. A
    /// huge page there is split.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory); the mappings are then as they were.
    ///
    /// # Panics
    ///
    /// Panics at the end of the range; and with interrupts off, if another processor has
    /// to flush.
    #[inline]
    pub fn replace(&mut self, frame: UFrame, prop: PageProperty) -> Result<()> {
        let va = self.virt_addr();
        self.pt_cursor.split_edges(PAGE_SIZE)?;
        if !is_planted(Bug::EarlyReplacement) {
            self.take_out()?;
            // The node is there, so mapping cannot fail if anything was taken out.
            self.pt_cursor.jump(va)?;
        }
        self.map(frame, prop)
    }

    /// Takes out what is mapped in the next page, which no huge page covers, and waits
    /// until all processors have flushed it.
    #[inline(always)]
    fn take_out(&mut self) -> Result<()> {
        if self.pt_cursor.is_among_pages() {
            // SAFETY: 1. what a user loses is the user's business. 2. the flusher keeps
            // it. 3. it was just asked. 4. `split_edges` found a page left.
            let taken = unsafe { self.pt_cursor.take_page() };
            match taken {
                None => return Ok(()),
                Some((va, MappedItem::MappedRam { frame, .. })) => {
                    self.flusher.flush_page_at_once(va, frame.into());
                }
                Some((va, item)) => self.flusher.issue_flush_of(va, item.into()),
            }
        } else {
            // SAFETY: 1. and 2. as above.
            let Some(frag) = (unsafe { self.pt_cursor.take_next(PAGE_SIZE) })? else {
                return Ok(());
            };
            frag.flush_with(&self.flusher);
        }
        self.flusher.dispatch_tlb_flush();
        if !self.flusher.is_synced() {
            self.flusher.sync_tlb_flush();
        }
        Ok(())
    }
}
