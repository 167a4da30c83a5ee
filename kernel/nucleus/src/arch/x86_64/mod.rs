//! The bare x86-64 machine, in the order in which start-up brings it up.
//!
//! 1. [`serial`]: the first sign of life.
//! 2. [`local`], [`gdt`], [`exception_stacks`], [`idt`]: from here a fault is reported,
//!    not a reset.
//! 3. [`features`]: the protections that the processor has are switched on.
//! 4. [`mmu`]: control registers and TLB of paging. [`pages`] zeroes and copies.
//! 5. [`apic`], [`lines`], [`timer`]: interrupts, with [`ioapic`] and [`pic`] behind
//!    the lines, and [`pit`], [`hpet`] and [`pm_timer`] to measure time by.
//!    [`keyboard`]: the keyboard's controller.
//!    [`pci`]: other devices, whose registers are in [`device_memory`].
//! 6. [`user_entry`], [`fpu`]: ring 3.
//! 7. [`smp`], [`trampoline`]: the other processors.
//! 8. [`context`], [`idle`], [`tasks`]: switching tasks, and having none.

pub(crate) mod apic;
pub(crate) mod breakpoints;
pub(crate) mod calibration;
pub(crate) mod cmos;
pub(crate) mod context;
pub(crate) mod cpu;
pub(crate) mod device_memory;
pub(crate) mod exception_stacks;
pub(crate) mod features;
pub(crate) mod fpu;
pub(crate) mod gdt;
pub(crate) mod hpet;
pub(crate) mod idle;
pub(crate) mod idt;
pub(crate) mod ioapic;
pub(crate) mod irq;
pub(crate) mod keyboard;
pub(crate) mod lines;
pub(crate) mod local;
pub(crate) mod memory;
pub(crate) mod mmu;
pub(crate) mod pages;
pub(crate) mod pci;
pub(crate) mod pic;
pub(crate) mod pit;
pub(crate) mod pm_timer;
pub(crate) mod power;
pub(crate) mod random;
pub(crate) mod serial;
pub(crate) mod smp;
pub(crate) mod tasks;
pub(crate) mod timer;
pub(crate) mod trampoline;
pub(crate) mod trap;
pub(crate) mod trap_entry;
pub(crate) mod trap_report;
mod tsc;
pub(crate) mod uaccess;
pub(crate) mod user_entry;
pub(crate) mod watch;
