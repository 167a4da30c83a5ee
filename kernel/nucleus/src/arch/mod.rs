//! The machine: the one place where it is chosen.
//!
//! `x86_64` is the bare machine, `sim` the simulated one for tests on a host.
//! Where both have a module, it has the same name and the same functions, and
//! the generic code above the line of `lib.rs` imports it from here.
//!
//! | module | what it is |
//! |---|---|
//! | `cpu` | which processor this is, its memory state, interrupting others |
//! | `irq` | the interrupt flag |
//! | `keyboard` | the keyboard |
//! | `memory` | where physical memory and metadata are seen, and their bound |
//! | `mmu` | the root register and the TLB |
//! | `pages` | zeroing and copying whole pages |
//! | `serial` | the serial port |
//! | `tasks` | the current task, and having tasks sleep and run |
//! | `timer` | the clock |
//! | `uaccess` | accesses that may fault |
//! | `watch` | what the memory core tells a checker of its doings |

pub mod paging;
pub(crate) mod raw_entry;

#[cfg(not(target_os = "none"))]
pub mod sim;
#[cfg(target_os = "none")]
pub(crate) mod x86_64;

#[cfg(not(target_os = "none"))]
pub(crate) use self::sim::{
    cpu, irq, keyboard, memory, mmu, pages, serial, tasks, timer, uaccess, watch,
};
#[cfg(target_os = "none")]
pub(crate) use self::x86_64::{
    cpu, irq, keyboard, memory, mmu, pages, serial, tasks, timer, uaccess, watch,
};
