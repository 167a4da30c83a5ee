//! Start-up, from the loader's jump to the kernel's `main`.
//!
//! There are two halves, because the stack changes in between: the first runs on
//! the loader's stack and tables, the second on the kernel's own. Each step
//! says on serial and screen what it found, so that a machine that stops shows
//! where.

pub mod acpi;
pub mod cmdline;
pub mod early_alloc;
pub mod initramfs;
pub mod memory_map;
pub mod platform;

mod image_base;
mod relocation;
mod screen_place;

#[cfg(target_os = "none")]
mod crash;
#[cfg(target_os = "none")]
pub(crate) mod image;
#[cfg(target_os = "none")]
mod kaslr;
#[cfg(target_os = "none")]
mod loader;
#[cfg(target_os = "none")]
mod loader_map;
#[cfg(target_os = "none")]
pub(crate) mod metadata;
#[cfg(target_os = "none")]
pub(crate) mod protection;
#[cfg(target_os = "none")]
mod start;

#[cfg(ktest)]
pub(crate) use self::start::{firmware, reclaimed_bytes};
#[cfg(target_os = "none")]
pub use self::{
    crash::crash_after_program,
    protection::check_protection,
    start::{command_line, initramfs},
};
