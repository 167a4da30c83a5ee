//! Stacks of their own for four exceptions, which can strike when the current stack is
//! not to be trusted ([`Ist`]; SDM vol. 3A, 7.14.5).
//!
//! ```text
//!  top       ┌──────────────────────────────┐ then a guard page
//!  top − 8   │ whether a handler runs here  │
//!  top − 16  │ whose the stack is           │
//!            ├──────────────────────────────┤ where the hardware begins, each time
//!            │ SS, RSP, RFLAGS, CS, RIP, …  │
//!            │                              │
//!            │ the handler                  │
//!            │                              │
//!  bottom    │ the canary                   │
//!            └──────────────────────────────┘ then a guard page
//! ```
//!
//! **What may go wrong.** The hardware begins at the same place each time. If the same
//! exception strikes while its handler runs, the frame of the first is overwritten, and
//! the first handler would return to the second one's place for ever: a fault or a
//! breakpoint in the handler of a non-maskable interrupt lets the next one in, since
//! `iret` ends the masking; a breakpoint that the debugger set in the handler of the debug
//! exception strikes in it. Nothing can be saved then, but it must not pass for something
//! else. So the entry code looks at the word above the frame, which the hardware does not
//! write, before it uses the stack, and sets it; it clears the word as the last thing
//! before `iretq`. Who finds it set ends the kernel with a report ([`die_nested`]). Two
//! instructions remain, one at each end, at which a debug exception could strike unseen.
//!
//! **A stack that overflows** meets the guard page: a page fault, which is delivered on
//! the same stack, and so a double fault; that of the double fault itself resets the
//! machine. The stacks that serve until there is a page table have no guards, and a large
//! frame could step over one. Therefore each has a *canary* at its low end, which is
//! looked at after each of these exceptions and at every tick. It catches bugs; it is no
//! secret, and stops nobody who means to pass it.

use core::cell::Cell;
use core::ops::Range;

use x86_64::VirtAddr;

use super::idt::vector;
use super::local::{self, CpuLocal};
use super::trap::TrapFrame;
use super::trap_report;
use crate::error::Result;
use crate::mm::Vaddr;
use crate::mm::kspace::KernelStack;

/// The exceptions with a stack of their own, by slot of the interrupt stack table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ist {
    /// A fault while delivering a fault; a kernel stack that overflowed.
    DoubleFault = 0,
    /// May strike on the first instruction of the system-call entry.
    NonMaskable = 1,
    /// May strike anywhere.
    MachineCheck = 2,
    /// May strike on the first instruction of the system-call entry.
    Debug = 3,
}

impl Ist {
    /// All of them, in the order of their slots.
    pub(crate) const ALL: [Self; 4] = [
        Self::DoubleFault,
        Self::NonMaskable,
        Self::MachineCheck,
        Self::Debug,
    ];

    /// Returns the stack that a vector runs on, if it has one of its own.
    pub(super) const fn of(vector: u8) -> Option<Self> {
        match vector {
            vector::DEBUG => Some(Self::Debug),
            vector::NON_MASKABLE => Some(Self::NonMaskable),
            vector::DOUBLE_FAULT => Some(Self::DoubleFault),
            vector::MACHINE_CHECK => Some(Self::MachineCheck),
            _ => None,
        }
    }
}

/// Bytes of each stack that serves until the guarded ones exist.
const EARLY_STACK_SIZE: usize = 16 * 1024;

#[repr(C, align(16))]
struct EarlyStacks([[u8; EARLY_STACK_SIZE]; Ist::ALL.len()]);

/// Owned by the hardware: no code reads or writes it by name.
static mut EARLY_STACKS: EarlyStacks = EarlyStacks([[0; EARLY_STACK_SIZE]; Ist::ALL.len()]);

/// Bytes above the frames: [`CURRENT_OWNER`] and [`IS_BUSY`].
const RESERVED: usize = 16;
/// Where the owner is, from where the hardware begins.
pub(super) const CURRENT_OWNER: usize = 0;
/// Where the mark of a handler that runs is, from where the hardware begins.
pub(super) const IS_BUSY: usize = 8;

/// What a canary is, but for its address.
const CANARY: u64 = 0x6361_6e61_7279_2121;

/// Where a processor's stacks are.
pub(super) struct OwnStacks {
    /// Those of [`Ist`]; empty before there are any.
    exceptions: [Cell<(Vaddr, Vaddr)>; Ist::ALL.len()],
    /// What the processor runs on when it has nothing to do.
    idle: Cell<(Vaddr, Vaddr)>,
}

impl OwnStacks {
    pub(super) const fn new() -> Self {
        Self {
            exceptions: [const { Cell::new((0, 0)) }; Ist::ALL.len()],
            idle: Cell::new((0, 0)),
        }
    }

    /// Notes the stack that the processor has when it has nothing to do.
    pub(super) fn set_idle(&self, stack: Range<Vaddr>) {
        self.idle.set((stack.start, stack.end));
    }

    /// Returns all of them.
    #[cfg(ktest)]
    pub(super) fn all(&self) -> impl Iterator<Item = Range<Vaddr>> {
        let stacks = self.exceptions.iter().chain([&self.idle]);
        stacks.map(|stack| stack.get().0..stack.get().1)
    }

    fn of(&self, ist: Ist) -> Range<Vaddr> {
        let (start, end) = self.exceptions[ist as usize].get();
        start..end
    }
}

/// Gives the boot processor's exceptions the stacks that serve at first.
pub(super) fn install_early() {
    let stacks = &raw const EARLY_STACKS as usize;
    for (slot, ist) in Ist::ALL.into_iter().enumerate() {
        let start = stacks + slot * EARLY_STACK_SIZE;
        set_stack(ist, start..start + EARLY_STACK_SIZE);
    }
}

/// The guarded stacks of a processor's exceptions, not in use yet.
pub(super) struct ExceptionStacks([KernelStack; Ist::ALL.len()]);

impl ExceptionStacks {
    /// Makes a stack for each.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    pub(super) fn new() -> Result<Self> {
        let stack = || KernelStack::new(KernelStack::DEFAULT_SIZE);
        Ok(Self([stack()?, stack()?, stack()?, stack()?]))
    }

    /// Makes this processor's exceptions use the stacks, for ever.
    pub(super) fn install(&self) {
        for (ist, stack) in Ist::ALL.into_iter().zip(&self.0) {
            set_stack(ist, stack.bottom()..stack.top());
        }
    }
}

/// Replaces the boot processor's early stacks of exceptions by ones with guard
/// pages.
///
/// # Errors
///
/// [`Error::NoMemory`](crate::Error::NoMemory).
pub(crate) fn install_guarded() -> Result<()> {
    let stacks = ExceptionStacks::new()?;
    stacks.install();
    core::mem::forget(stacks);
    Ok(())
}

/// Makes an exception use a stack from now on.
///
/// The caller must own the memory, whole and aligned to words, and leave it alone for
/// ever.
fn set_stack(ist: Ist, stack: Range<Vaddr>) {
    let local = local::current();
    let begin = stack.end - RESERVED;
    // SAFETY: The caller owns the memory, which is aligned as stacks are.
    unsafe { ((begin + CURRENT_OWNER) as *mut *const CpuLocal).write(local) };
    // SAFETY: As above.
    unsafe { ((begin + IS_BUSY) as *mut u64).write(0) };
    local.stacks.exceptions[ist as usize].set((stack.start, stack.end));
    write_canary(stack.start, canary_at(stack.start));
    let tss = local.tss.get();
    // SAFETY: The TSS is this processor's own; the hardware reads it only while
    // it delivers a trap, and none of these exceptions is due here.
    unsafe { (*tss).interrupt_stack_table[ist as usize] = VirtAddr::new(begin as u64) };
}

const fn canary_at(place: Vaddr) -> u64 {
    CANARY ^ place as u64
}

/// Writes the word at the low end of a stack, which is one of this processor's.
fn write_canary(place: Vaddr, value: u64) {
    // SAFETY: The word is a part of the stack, which no handler has reached.
    unsafe { (place as *mut u64).write_volatile(value) };
}

/// Looks at the canaries of this processor's stacks.
///
/// # Panics
///
/// Panics when one is gone.
pub(super) fn check_canaries() {
    let local = local::current();
    for ist in Ist::ALL {
        let place = local.stacks.of(ist).start;
        // SAFETY: The word is a part of the stack, which is there for ever.
        let found = unsafe { (place as *const u64).read_volatile() };
        if found != canary_at(place) {
            // There is one report, and not one at each look.
            write_canary(place, canary_at(place));
            panic!(
                "the stack of its own for {ist:?} has overflowed: there is {found:#x} in place of \
                 its canary at {place:#x}"
            );
        }
    }
}

/// Says that no handler runs on a stack of this processor's: what ran there was abandoned.
#[cfg(ktest)]
pub(super) fn abandon() {
    for ist in Ist::ALL {
        let begin = local::current().stacks.of(ist).end - RESERVED;
        // SAFETY: The word is above the stack, which is this processor's.
        unsafe { ((begin + IS_BUSY) as *mut u64).write_volatile(0) };
    }
}

/// Ends the kernel: an exception has struck while its handler ran. Called by the entry
/// code, on the stack of both.
pub(super) extern "C" fn die_nested(frame: &TrapFrame) -> ! {
    super::breakpoints::clear();
    trap_report::die_nested(frame)
}

/// Overwrites a canary and raises the exception whose stack it is on, to show the report.
pub(crate) fn destroy_canary() {
    let stack = local::current().stacks.of(Ist::NonMaskable);
    write_canary(stack.start, 0);
    // SAFETY: The handler of a non-maskable interrupt returns, if it does, with every
    // register.
    unsafe { core::arch::asm!("int 2") };
}

#[cfg(ktest)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::{Ist, RESERVED, local, set_stack, write_canary};
    use crate::arch::x86_64::uaccess;
    use crate::cpu::{CpuSet, disable_preempt, num_cpus};
    use crate::irq;
    use crate::mm::kspace::kernel_page_table;
    use crate::mm::{PAGE_SIZE, PageFlags, Vaddr};
    use crate::prelude::*;
    use crate::smp::inter_processor_call_and_wait;

    /// Returns the end of an exception's stack, from what the hardware finds.
    fn end_of(ist: Ist) -> Vaddr {
        let tss = local::current().tss.get();
        // SAFETY: The TSS is this processor's own.
        let table = unsafe { &raw const (*tss).interrupt_stack_table };
        // SAFETY: As above; its fields are aligned to four bytes alone.
        let stacks = unsafe { table.read_unaligned() };
        stacks[ist as usize].as_u64() as Vaddr + RESERVED
    }

    #[ktest]
    fn peer_085_what_the_processor_writes_of_its_segments_is_in_writable_memory() {
        // It marks the TSS busy in the table, and the kernel changes the stacks.
        let local = local::current();
        for written in [local.tss.get().addr(), local.gdt.get().addr()] {
            let walk = kernel_page_table().page_walk(&disable_preempt(), written);
            let (_, prop) = walk.expect("statics are mapped");
            assert!(prop.flags.contains(PageFlags::W), "at {written:#x}");
        }
        let _irq_off = irq::disable_local();
        let before = local::current().stacks.of(Ist::MachineCheck);
        assert_eq!(end_of(Ist::MachineCheck), before.end);
        set_stack(Ist::MachineCheck, before.start..before.end - PAGE_SIZE);
        assert_eq!(end_of(Ist::MachineCheck), before.end - PAGE_SIZE);
        set_stack(Ist::MachineCheck, before.clone());
        assert_eq!(end_of(Ist::MachineCheck), before.end);
    }

    #[ktest]
    fn smp_stacks_of_all_processors_have_guard_pages_at_both_ends() {
        static NR_STACKS: AtomicUsize = AtomicUsize::new(0);
        NR_STACKS.store(0, Ordering::Relaxed);
        // By loads of each processor, in the tables that it has loaded.
        inter_processor_call_and_wait(&CpuSet::new_full(), || {
            let is_mapped = |vaddr| uaccess::read_kernel_word(vaddr).is_some();
            for stack in local::current().stacks.all() {
                assert!(
                    is_mapped(stack.start) && is_mapped(stack.end - 8),
                    "{stack:x?}"
                );
                for guard in [stack.start - PAGE_SIZE, stack.start - 8] {
                    assert!(!is_mapped(guard), "below {stack:x?}");
                }
                for guard in [stack.end, stack.end + PAGE_SIZE - 8] {
                    assert!(!is_mapped(guard), "above {stack:x?}");
                }
                NR_STACKS.fetch_add(1, Ordering::Relaxed);
            }
        });
        let expected = num_cpus() * (Ist::ALL.len() + 1);
        assert_eq!(NR_STACKS.load(Ordering::Relaxed), expected);
    }

    #[ktest]
    #[should_panic(expected = "the stack of its own for Debug has overflowed")]
    fn canary_that_is_gone_is_found_after_the_next_exception() {
        let _irq_off = irq::disable_local();
        write_canary(local::current().stacks.of(Ist::Debug).start, 7);
        // SAFETY: The handler of a debug exception returns, if it does, with every
        // register.
        unsafe { core::arch::asm!("int 1") };
    }
}
