//! The machine: the one place where it is chosen.
//!
//! `x86_64` is the bare machine, `sim` the simulated one for tests on a host.
//! Where both have a module, it has the same name and the same functions, and
//! the generic code below the line of `lib.rs` imports it from here.

pub mod paging;

#[cfg(not(target_os = "none"))]
mod sim;
#[cfg(target_os = "none")]
pub(crate) mod x86_64;

#[cfg(not(target_os = "none"))]
pub(crate) use self::sim::{irq, serial};
#[cfg(target_os = "none")]
pub(crate) use self::x86_64::{irq, serial};
