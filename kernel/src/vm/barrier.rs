//! Barriers in other threads (`membarrier(2)`).
//!
//! A thread asks for one in the place of all others: each processor that runs the program
//! is interrupted, and no access of the program's is reordered across that. One that does
//! not run it now goes through the scheduler before it does, which is as good.
//!
//! The interrupt is that of a flush, of one page at which nothing can be mapped: it goes
//! to those processors that have the space loaded, and is waited for. That a processor
//! returns from an interrupt also serialises its instructions.

use nucleus::cpu::disable_preempt;
use nucleus::mm::tlb::{TlbFlushOp, TlbFlusher};

use super::AddressSpace;
use super::range::LOWEST_ADDRESS;

impl AddressSpace {
    /// Waits until all threads of the space have gone through a barrier.
    pub(crate) fn synchronize(&self) {
        let stays = disable_preempt();
        let flusher = TlbFlusher::new(self.space.users(), &stays);
        let nowhere = LOWEST_ADDRESS - nucleus::mm::PAGE_SIZE;
        flusher.issue_tlb_flush(TlbFlushOp::Address(nowhere));
        flusher.dispatch_tlb_flush();
        flusher.sync_tlb_flush();
    }
}
