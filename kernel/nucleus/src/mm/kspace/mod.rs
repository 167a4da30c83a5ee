//! The kernel's half of every address space.
//!
//! The 256 nodes below its root are made at start-up and live for ever, and every
//! user root copies the 256 entries that lead to them. So a mapping that is made
//! later appears in all spaces at once, and roots are never fixed up.
//!
//! * [`layout`]: what is where.
//! * [`KernelPtConfig`]: what the kernel's page table maps.
//! * [`KVirtArea`]: areas of addresses, with guards, for stacks and devices.
//! * `addresses`: which of them are free, and which wait for flushes.
//! * `build`: making the table at start-up.
//!
//! **Locking**: cursors of the kernel's table are held with interrupts off,
//! since handlers of interrupts may need the nodes.

pub mod layout;

mod addresses;
mod config;
mod kvirt;
mod stack;

#[cfg(target_os = "none")]
mod build;
#[cfg(target_os = "none")]
mod describe;

pub(crate) use self::addresses::KvirtAllocator;
#[cfg(target_os = "none")]
pub(crate) use self::build::{BootSpace, Extras, build, map_memory, new_static};
pub use self::config::{KernelPtConfig, MappedItem, MappedItemRef};
#[cfg(target_os = "none")]
pub(crate) use self::describe::describe;
pub use self::kvirt::KVirtArea;
pub use self::stack::KernelStack;
use super::page_table::PageTable;
use crate::arch::memory;

/// Returns the kernel's page table.
///
/// # Panics
///
/// Panics during start-up, before the table is there.
pub fn kernel_page_table() -> &'static PageTable<KernelPtConfig> {
    memory::memory()
        .kernel_page_table
        .get()
        .expect("start-up makes the kernel's page table")
}

#[cfg(ktest)]
mod boot_tests;
#[cfg(any(test, ktest))]
mod tests;
