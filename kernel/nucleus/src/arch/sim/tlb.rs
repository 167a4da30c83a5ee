//! The TLB of a simulated processor: what it may still believe.
//!
//! Only translations that no longer stand in the tables are kept, since the
//! walker finds the others; what is kept is what a real TLB *may* have kept. The
//! same goes for nodes that were cut off: the paging-structure caches may still
//! lead to them (SDM vol. 3A, 4.10.3).

extern crate std;

use std::vec::Vec;

use super::walker::Translation;
use crate::mm::{PAGE_SIZE, Paddr, Vaddr};

/// What a processor may still believe.
#[derive(Debug, Default)]
pub(super) struct Tlb {
    stale: Vec<Translation>,
    /// Nodes that were cut off.
    nodes: Vec<Paddr>,
    /// Flushes so far, to be counted by tests.
    pub(super) page_flushes: usize,
    pub(super) full_flushes: usize,
}

impl Tlb {
    pub(super) fn add(&mut self, translation: Translation) {
        self.stale.push(translation);
    }

    pub(super) fn add_node(&mut self, node: Paddr) {
        self.nodes.push(node);
    }

    /// Returns the addresses of what is cached, and where they lead.
    pub(super) fn stale(&self) -> Vec<(Vaddr, Paddr)> {
        self.stale
            .iter()
            .map(|entry| (entry.vaddr, entry.paddr))
            .collect()
    }

    /// Returns the oldest cached translation of an address.
    pub(super) fn find(&self, vaddr: Vaddr) -> Option<Translation> {
        self.stale.iter().find(|entry| entry.covers(vaddr)).copied()
    }

    /// Does what `invlpg` does: the page's translations go, global or not and
    /// whatever their sizes, and with them all of the paging-structure caches.
    pub(super) fn flush_page(&mut self, vaddr: Vaddr) {
        self.page_flushes += 1;
        self.stale.retain(|entry| !entry.covers(vaddr));
        self.nodes.clear();
    }

    pub(super) fn flush_all(&mut self, global: bool) {
        self.full_flushes += 1;
        self.stale.retain(|entry| entry.global && !global);
        self.nodes.clear();
    }

    /// Returns how a frame can still be reached.
    pub(super) fn reaches(&self, frame: Paddr) -> Option<&'static str> {
        let overlaps = |entry: &Translation| {
            entry.paddr < frame + PAGE_SIZE && frame < entry.paddr + entry.size
        };
        if self.stale.iter().any(overlaps) {
            Some("a cached translation")
        } else if self.nodes.contains(&frame) {
            Some("the paging-structure caches")
        } else {
            None
        }
    }
}
