//! Segments and stacks that the hardware switches to (SDM vol. 3A, 3.5 and 7.7).
//!
//! ```text
//!  0x08 kernel code   0x10 kernel data   0x18 user data   0x20 user code   0x28 TSS
//! ```
//!
//! `sysret` takes the user selectors as `STAR + 8` and `STAR + 16`, which fixes
//! the order of the two user segments.
//!
//! Four exceptions run on stacks of their own, because they can strike when the
//! current stack is not to be trusted: see [`Ist`]. Nor is the GS base: so the word
//! above each of these stacks says which processor's it is.

use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::SegmentSelector;
use x86_64::structures::gdt::Descriptor;

use super::local::{self, CpuLocal};
use crate::error::Result;
use crate::mm::Vaddr;
use crate::mm::kspace::KernelStack;

/// Selector of the kernel's code segment.
pub(crate) const KERNEL_CODE: u16 = 0x08;
/// Selector of the kernel's data segment.
pub(crate) const KERNEL_DATA: u16 = 0x10;
/// Selector of ring 3's data segment, privilege bits included.
pub(crate) const USER_DATA: u16 = 0x18 | 3;
/// Selector of ring 3's code segment, privilege bits included.
pub(crate) const USER_CODE: u16 = 0x20 | 3;

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
}

/// Bytes of each stack that serves until the guarded ones exist.
const EARLY_STACK_SIZE: usize = 16 * 1024;

#[repr(C, align(16))]
struct EarlyStacks([[u8; EARLY_STACK_SIZE]; Ist::ALL.len()]);

/// Owned by the hardware: no code reads or writes it by name.
static mut EARLY_STACKS: EarlyStacks = EarlyStacks([[0; EARLY_STACK_SIZE]; Ist::ALL.len()]);

/// Loads segments and a TSS with early stacks on the boot processor.
///
/// Must run once, after [`local::init_boot_cpu`].
pub(crate) fn init() {
    let stacks = &raw const EARLY_STACKS as usize;
    for (slot, ist) in Ist::ALL.into_iter().enumerate() {
        set_stack(ist, stacks + (slot + 1) * EARLY_STACK_SIZE);
    }
    load();
}

/// Loads this processor's segments and TSS, once, after its GS base.
pub(super) fn load() {
    let local = local::current();
    // SAFETY: This processor's own, and not loaded yet, so nobody reads it.
    let gdt = unsafe { &mut *local.gdt.get() };
    gdt.append(Descriptor::kernel_code_segment());
    gdt.append(Descriptor::kernel_data_segment());
    gdt.append(Descriptor::user_data_segment());
    gdt.append(Descriptor::user_code_segment());
    // SAFETY: The TSS lives for ever, with the rest of the processor's state.
    let tss = unsafe { Descriptor::tss_segment_unchecked(local.tss.get()) };
    let tss = gdt.append(tss);

    // Loading a null selector into GS, which nobody does here, would lose its base.
    // SAFETY: The table lives for ever, and nobody changes it after this function.
    unsafe { gdt.load_unsafe() };
    // SAFETY: The selector names the code segment that was appended above.
    unsafe { CS::set_reg(SegmentSelector(KERNEL_CODE)) };
    // SAFETY: The selector names the data segment that was appended above.
    unsafe { SS::set_reg(SegmentSelector(KERNEL_DATA)) };
    // SAFETY: Long mode does not use these two; the null selector is legal.
    unsafe { DS::set_reg(SegmentSelector(0)) };
    // SAFETY: As above.
    unsafe { ES::set_reg(SegmentSelector(0)) };
    // SAFETY: The selector names the TSS that was appended above.
    unsafe { load_tss(tss) };
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
            set_stack(ist, stack.top());
        }
    }
}

/// Replaces the boot processor's early stacks of exceptions by ones with guard
/// pages.
///
/// # Errors
///
/// [`Error::NoMemory`](crate::Error::NoMemory).
pub(crate) fn install_guarded_stacks() -> Result<()> {
    let stacks = ExceptionStacks::new()?;
    stacks.install();
    core::mem::forget(stacks);
    Ok(())
}

/// Bytes at the end of an exception's stack, for the address of the processor's state.
/// A word would do; the rest keeps the alignment.
const OWNER_SIZE: usize = 16;

/// Makes an exception use the stack that ends at `top` from now on.
///
/// The caller must own the memory below `top` and leave it alone for ever.
fn set_stack(ist: Ist, top: Vaddr) {
    let local = local::current();
    let top = top - OWNER_SIZE;
    // SAFETY: The caller owns the memory, which is aligned as stacks are.
    unsafe { (top as *mut *const CpuLocal).write(local) };
    let tss = local.tss.get();
    // SAFETY: The TSS is this processor's own; the hardware reads it only while
    // it delivers a trap, and none of these exceptions is due here.
    unsafe { (*tss).interrupt_stack_table[ist as usize] = VirtAddr::new(top as u64) };
}

#[cfg(ktest)]
mod tests {
    use super::{Ist, OWNER_SIZE, local, set_stack};
    use crate::cpu::disable_preempt;
    use crate::mm::kspace::kernel_page_table;
    use crate::mm::{PAGE_SIZE, PageFlags, Vaddr};
    use crate::prelude::*;

    /// Returns the end of an exception's stack, from what the hardware finds.
    fn stack_of(ist: Ist) -> Vaddr {
        let tss = local::current().tss.get();
        // SAFETY: The TSS is this processor's own.
        let table = unsafe { &raw const (*tss).interrupt_stack_table };
        // SAFETY: As above; its fields are aligned to four bytes alone.
        let stacks = unsafe { table.read_unaligned() };
        stacks[ist as usize].as_u64() as Vaddr + OWNER_SIZE
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
        let before = stack_of(Ist::MachineCheck);
        set_stack(Ist::MachineCheck, before - PAGE_SIZE);
        assert_eq!(stack_of(Ist::MachineCheck), before - PAGE_SIZE);
        set_stack(Ist::MachineCheck, before);
        assert_eq!(stack_of(Ist::MachineCheck), before);
    }
}
