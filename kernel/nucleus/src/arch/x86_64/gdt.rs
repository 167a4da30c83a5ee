//! Segments and stacks that the hardware switches to (SDM vol. 3A, 3.5 and 7.7).
//!
//! ```text
//!  0x08 kernel code   0x10 kernel data   0x18 user data   0x20 user code   0x28 TSS
//! ```
//!
//! `sysret` takes the user selectors as `STAR + 8` and `STAR + 16`, which fixes
//! the order of the two user segments.
//!
//! Four exceptions run on stacks of their own: see [`exception_stacks`].

use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::SegmentSelector;
use x86_64::structures::gdt::Descriptor;

use super::{exception_stacks, local};

/// Selector of the kernel's code segment.
pub(crate) const KERNEL_CODE: u16 = 0x08;
/// Selector of the kernel's data segment.
pub(crate) const KERNEL_DATA: u16 = 0x10;
/// Selector of ring 3's data segment, privilege bits included.
pub(crate) const USER_DATA: u16 = 0x18 | 3;
/// Selector of ring 3's code segment, privilege bits included.
pub(crate) const USER_CODE: u16 = 0x20 | 3;

/// Loads segments and a TSS with early stacks on the boot processor.
///
/// Must run once, after [`local::init_boot_cpu`].
pub(crate) fn init() {
    exception_stacks::install_early();
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
