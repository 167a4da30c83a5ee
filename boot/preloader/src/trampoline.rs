//! The way between 4-level and 5-level paging, in machine code.
//!
//! CR4.LA57 cannot be changed while paging is on in 64-bit mode, and paging cannot
//! be turned off in 64-bit mode (SDM Vol. 3A, 4.1.1 and 2.5). So the way leads
//! through 32-bit code:
//!
//! ```text
//!  64-bit, paging on          far return to a 32-bit segment
//!       │                                ▲
//!       ▼                                │
//!  compatibility mode         far return to a 64-bit segment
//!       │  CR0.PG = 0                    ▲
//!       ▼                                │  CR0.PG = 1 (EFER.LME is still set)
//!  32-bit, paging off  ──► CR4.LA57 flips, CR3 = other root
//! ```
//!
//! (down on the left, up on the right). With paging off, code, stack and descriptors
//! are found by their physical addresses in 32 bits, so all of them lie below 4 GiB
//! and where firmware maps physical memory as it is: code in a page of its own, which
//! may be executed, and the rest in [`Crossing`], which may be written.

use core::arch::global_asm;
use core::mem::offset_of;

use x86_64::registers::control::Cr4Flags;

/// Selectors of [`DESCRIPTORS`].
const CODE_32: u16 = 8;
const DATA: u16 = 16;
const CODE_64: u16 = 24;

/// Flat segments of privilege 0: none, 32-bit code, data, 64-bit code.
const DESCRIPTORS: [u64; 4] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00af_9b00_0000_ffff,
];

/// What must be off while paging is: tags of address spaces, without which CR0.PG
/// cannot be cleared, and shadow stacks, which know nothing of our stack. Both stay
/// off; the kernel decides about them anew.
const NOT_ACROSS: u64 = Cr4Flags::PCID.bits() | Cr4Flags::CONTROL_FLOW_ENFORCEMENT.bits();

/// What `lgdt` reads and `sgdt` writes.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// What the code needs on its way: below 4 GiB, writable.
#[repr(C, align(16))]
#[derive(Debug)]
pub(crate) struct Crossing {
    new_table: TablePointer,
    old_table: TablePointer,
    old_stack: u64,
    descriptors: [u64; 4],
    stack: [u64; 32],
    stack_end: [u64; 0],
}

impl Crossing {
    /// Returns what the code needs, to be put at an address below 4 GiB.
    pub(crate) fn at(address: u32) -> Self {
        let pointer = |base, limit| TablePointer { limit, base };
        let table = u64::from(address) + offset_of!(Self, descriptors) as u64;
        Self {
            new_table: pointer(table, size_of_val(&DESCRIPTORS) as u16 - 1),
            old_table: pointer(0, 0),
            old_stack: 0,
            descriptors: DESCRIPTORS,
            stack: [0; 32],
            stack_end: [],
        }
    }
}

/// The code, wherever it was copied to.
///
/// Flips CR4.LA57, loads CR3 with the root, and returns, with interrupts as they
/// were and all that the convention keeps.
///
/// # Safety
///
/// 1. The code, `crossing` and the root lie below 4 GiB, where both trees map them by
///    their physical addresses: the code executable, `crossing` writable.
/// 2. The root is that of a tree with as many levels as paging will have, which maps
///    what is used from then on, this function's caller and stack for a start.
/// 3. `crossing` was made by [`Crossing::at`] for its address.
pub(crate) type Cross = unsafe extern "sysv64" fn(crossing: *mut Crossing, root: u32);

unsafe extern "C" {
    static vostok_cross_start: u8;
    static vostok_cross_end: u8;
}

/// Returns the machine code of [`Cross`], which runs anywhere.
pub(crate) fn code() -> &'static [u8] {
    let (start, end) = (&raw const vostok_cross_start, &raw const vostok_cross_end);
    let len = end as usize - start as usize;
    // SAFETY: The bytes between the two labels are the image's own.
    unsafe { core::slice::from_raw_parts(start, len) }
}

// Segment registers are kept on the old stack: their values mean something in the old
// descriptors alone. What 32-bit code returns to, selector and address in 32 bits each,
// is pushed before it runs, as it cannot ask where it is.
global_asm!(
    ".text",
    ".globl vostok_cross_start, vostok_cross_end",
    ".balign 16",
    ".code64",
    "vostok_cross_start:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "pushfq",
    "cli",
    "mov eax, ds",
    "push rax",
    "mov eax, es",
    "push rax",
    "mov eax, ss",
    "push rax",
    "mov eax, cs",
    "push rax",
    "mov [rdi + {old_stack}], rsp",
    "sgdt [rdi + {old_table}]",
    "mov rax, cr4",
    "and rax, {across}",
    "mov cr4, rax",
    "lgdt [rdi + {new_table}]",
    "mov eax, {data}",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "lea rsp, [rdi + {stack_end}]",
    "lea rax, [rip + 3f]",
    "mov rcx, {code_64}",
    "or rax, rcx",
    "push rax",
    "push {code_32}",
    "lea rax, [rip + 2f]",
    "push rax",
    "retfq",
    ".code32",
    "2:",
    "mov eax, cr0",
    "and eax, 0x7fffffff",
    "mov cr0, eax",
    "mov eax, cr4",
    "xor eax, {la57}",
    "mov cr4, eax",
    "mov cr3, esi",
    "mov eax, cr0",
    "or eax, 0x80000000",
    "mov cr0, eax",
    "retf",
    ".code64",
    "3:",
    "mov edi, edi",
    "mov rsp, [rdi + {old_stack}]",
    "lgdt [rdi + {old_table}]",
    "pop rax",
    "pop rcx",
    "mov ss, ecx",
    "pop rcx",
    "mov es, ecx",
    "pop rcx",
    "mov ds, ecx",
    "push rax",
    "lea rax, [rip + 4f]",
    "push rax",
    "retfq",
    "4:",
    "popfq",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    "vostok_cross_end:",
    old_stack = const offset_of!(Crossing, old_stack),
    old_table = const offset_of!(Crossing, old_table),
    new_table = const offset_of!(Crossing, new_table),
    stack_end = const offset_of!(Crossing, stack_end),
    across = const !NOT_ACROSS as i64,
    la57 = const Cr4Flags::L5_PAGING.bits(),
    data = const DATA,
    code_32 = const CODE_32,
    code_64 = const (CODE_64 as u64) << 32,
);

#[cfg(test)]
mod tests {
    use super::{Crossing, DESCRIPTORS, NOT_ACROSS, code};
    use core::mem::offset_of;

    #[test]
    fn code_and_what_it_needs_fit_a_page_each() {
        assert!((1..=4096).contains(&code().len()));
        assert!(size_of::<Crossing>() <= 4096);
    }

    #[test]
    fn descriptors_are_found_from_where_they_will_be() {
        let crossing = Crossing::at(0xffff_f000);
        let pointer = crossing.new_table;
        let (base, limit) = (pointer.base, pointer.limit);
        let table = 0xffff_f000 + offset_of!(Crossing, descriptors) as u64;
        assert_eq!((base, limit), (table, 31));
        assert_eq!(crossing.descriptors, DESCRIPTORS);
    }

    #[test]
    fn mask_of_what_must_be_off_fits_an_operand_that_is_extended_by_its_sign() {
        assert_eq!(i64::from(!NOT_ACROSS as i32), !NOT_ACROSS as i64);
    }
}
