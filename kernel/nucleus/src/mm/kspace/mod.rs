//! The kernel's half of every address space.
//!
//! Its 256 second-level nodes are made at start-up and live for ever, and every
//! user root copies the 256 entries that lead to them. So a mapping that is made
//! later appears in all spaces at once, and roots are never fixed up.
//!
//! **Locking**: one lock over the kernel's tree, after those of user spaces and
//! before the frame allocator's.

pub mod layout;

#[cfg(target_os = "none")]
mod build;
#[cfg(target_os = "none")]
mod kvirt;

#[cfg(target_os = "none")]
pub(crate) use self::build::{BootSpace, Extras, build};
#[cfg(ktest)]
pub(crate) use self::kvirt::is_locked;
#[cfg(target_os = "none")]
pub(crate) use self::kvirt::{
    AllocatedNodes, KernelStack, activate_kernel_only, adopt, copy_top_half, map_memory,
};
#[cfg(ktest)]
mod tests;
