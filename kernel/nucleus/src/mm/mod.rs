//! Memory: addresses, frames, page tables, address spaces.
//!
//! Vocabulary, one word for one thing: a **frame** is physical, a **page**
//! virtual; a **node** is a frame that serves as a table of paging, an
//! **entry** one of its slots; an **item** is what an entry maps; a **level**
//! counts from 1, the tables whose entries map 4 KiB, to 4, the root. Ranges are
//! half open.
//!
//! ```text
//!    vm_space     kspace        who maps what: users, the kernel
//!        │  ╲    ╱  │
//!       tlb  page_table         who forgets what: flushes; who owns which range
//!          ╲    │
//!           frame               who owns which memory
//! ```
//!
//! * [`paging`], [`prop`]: the geometry of paging; what a mapping allows.
//! * [`frame`]: physical memory, who owns which frame, and the allocator.
//! * [`page_table`]: page tables, and the cursors that change them.
//! * [`tlb`]: flushing, and keeping frames until it is done.
//! * [`kspace`]: the kernel's half of every address space.
//! * [`vm_space`]: a user address space.
//! * [`io`], [`io_mem`]: readers and writers of memory; the memory of devices.
//! * `dma`: memory that devices read and write by themselves.
//! * [`inspect`]: page tables as the hardware finds them, checked and listed.
//! * `heap`: the kernel's own small objects.
//! * `state`: where all of the above keeps what it knows.

pub(crate) mod dma;
pub mod frame;
#[cfg(target_os = "none")]
pub mod heap;
pub mod inspect;
pub mod io;
pub mod io_mem;
pub mod kspace;
pub mod page_table;
pub mod paging;
pub mod prop;
pub(crate) mod state;
pub mod tlb;
pub mod vm_space;

pub use self::frame::{
    Frame, FrameAllocOptions, Segment, UFrame, USegment, UniqueFrame, UntypedMem,
};
pub use self::io::{Fallible, Infallible, Pod, VmIo, VmIoOnce, VmReader, VmWriter};
pub use self::io_mem::IoMem;
pub use self::kspace::layout::USER_END;
pub use self::paging::{
    PagingConsts, PagingConstsTrait, PagingLevel, nr_subpage_per_huge, page_size,
};
pub use self::prop::{CachePolicy, PageFlags, PageProperty, PrivilegedPageFlags};
pub use self::vm_space::VmSpace;

/// A virtual address.
pub type Vaddr = usize;
/// A physical address.
pub type Paddr = usize;

/// Bytes of a page and of a frame.
pub const PAGE_SIZE: usize = PagingConsts::BASE_PAGE_SIZE;
/// End of the addresses that a user may access; OSTD's name for [`USER_END`].
pub const MAX_USERSPACE_VADDR: Vaddr = USER_END;

/// Entries of a node.
pub(crate) const NR_ENTRIES: usize = PagingConsts::NR_ENTRIES;
/// Levels of paging.
pub(crate) const NR_LEVELS: PagingLevel = PagingConsts::NR_LEVELS;

/// Returns whether a number of bytes or an address is a multiple of a page.
pub const fn is_page_aligned(value: usize) -> bool {
    value.is_multiple_of(PAGE_SIZE)
}
