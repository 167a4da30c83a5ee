//! The interrupt descriptor table: all 256 vectors (SDM vol. 3A, 6.10).
//!
//! Each vector has an entry stub of its own in `trap_entry`. Every gate is an
//! interrupt gate, so that handlers start with interrupts off. Only the
//! breakpoint may be raised by a program's own instruction.

use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::idt::Entry;
use x86_64::{PrivilegeLevel, VirtAddr};

use super::exception_stacks::Ist;
use super::trap_entry;
use crate::sync::SpinLock;

/// Exception vectors by their names in the SDM, vol. 3A, table 6-1.
pub(crate) mod vector {
    /// Debug exception (#DB).
    pub(crate) const DEBUG: u8 = 1;
    /// Non-maskable interrupt.
    pub(crate) const NON_MASKABLE: u8 = 2;
    /// Breakpoint (#BP).
    pub(crate) const BREAKPOINT: u8 = 3;
    /// Double fault (#DF).
    pub(crate) const DOUBLE_FAULT: u8 = 8;
    /// General protection fault (#GP).
    pub(crate) const GENERAL_PROTECTION: u8 = 13;
    /// Page fault (#PF).
    pub(crate) const PAGE_FAULT: u8 = 14;
    /// Machine check (#MC).
    pub(crate) const MACHINE_CHECK: u8 = 18;
    /// The first of the sixteen vectors of the lines of the ISA bus.
    pub(crate) const LINE_BASE: u8 = 32;
    /// The processor's own timer.
    pub(crate) const TIMER: u8 = 0xec;
    /// Another processor has something to call.
    pub(crate) const CALL: u8 = 0xf0;
    /// Another processor has brought a task.
    pub(crate) const RESCHEDULE: u8 = 0xf1;
    /// Another processor has something to flush.
    pub(crate) const FLUSH: u8 = 0xf2;
    /// Errors that the local APIC notes.
    pub(crate) const ERROR: u8 = 0xfe;
    /// What the local APIC delivers when an interrupt went away meanwhile.
    pub(crate) const SPURIOUS: u8 = 0xff;
}

static IDT: SpinLock<[Entry<()>; 256]> = SpinLock::new([const { Entry::missing() }; 256]);

/// Fills the table in and loads it on the boot processor.
///
/// Must run after the GDT is loaded: gates name the current code segment.
pub(crate) fn init() {
    fill();
    load();
}

fn fill() {
    let mut idt = IDT.lock();
    for (vector, gate) in (0..=u8::MAX).zip(idt.iter_mut()) {
        let stub = VirtAddr::new(trap_entry::stub_address(vector) as u64);
        // SAFETY: The stub of a vector expects exactly what the hardware pushes
        // for it, error code or none.
        let options = unsafe { gate.set_handler_addr(stub) };
        if let Some(ist) = Ist::of(vector) {
            // SAFETY: Each slot of `Ist` has a stack from the GDT's loading on.
            unsafe { options.set_stack_index(ist as u16) };
        }
        if vector == vector::BREAKPOINT {
            options.set_privilege_level(PrivilegeLevel::Ring3);
        }
    }
}

/// Loads the table on this processor; all of them share it.
pub(super) fn load() {
    let idt = IDT.lock();
    let pointer = DescriptorTablePointer {
        limit: u16::try_from(size_of_val(&*idt) - 1).expect("the table has 4 KiB"),
        base: VirtAddr::from_ptr(&raw const *idt),
    };
    // SAFETY: The table is a static that nobody changes any more, and all of its
    // gates are filled in.
    unsafe { lidt(&pointer) };
}
