//! The peers: page tables of other crates, over the same simulated memory.
//!
//! They own no frames, lock nothing and flush nothing, so they are a lower bound
//! of a kind. Each maps, finds, protects and unmaps 512 pages of one table that
//! is there already.

use nucleus::bench::Row;

mod multiarch;
mod offset;

/// The benchmarks of the peers.
pub(crate) const ROWS: &[Row] = &[
    row("peer/x86_64/map", offset::map),
    row("peer/x86_64/query", offset::query),
    row("peer/x86_64/protect", offset::protect),
    row("peer/x86_64/unmap", offset::unmap),
    row("peer/page_table_multiarch/map", multiarch::map),
    row("peer/page_table_multiarch/query", multiarch::query),
    row("peer/page_table_multiarch/protect", multiarch::protect),
    row("peer/page_table_multiarch/unmap", multiarch::unmap),
];

const fn row(name: &'static str, run: fn(&mut dyn nucleus::bench::Meter)) -> Row {
    Row {
        name,
        operations: 512,
        run,
    }
}

/// Memory for the peers' tables: pages of the host, by addresses from zero.
#[derive(Debug)]
pub(crate) struct Arena {
    pages: Vec<Page>,
    next: std::cell::Cell<usize>,
}

#[repr(C, align(4096))]
#[derive(Clone, Debug)]
struct Page([u8; 4096]);

impl Arena {
    /// Returns an arena of zeroed pages.
    pub(crate) fn new() -> Self {
        Self {
            pages: vec![Page([0; 4096]); 64],
            next: std::cell::Cell::new(0),
        }
    }

    /// Returns where physical address zero is.
    pub(crate) fn base(&self) -> usize {
        self.pages.as_ptr() as usize
    }

    /// Takes a page; returns its physical address.
    pub(crate) fn alloc(&self) -> usize {
        let page = self.next.get();
        assert!(page < self.pages.len(), "the arena is full");
        self.next.set(page + 1);
        page * 4096
    }
}
