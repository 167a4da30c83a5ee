//! Switching between kernel stacks (System V ABI: what a callee must preserve).

use core::arch::naked_asm;

use crate::mm::{Paddr, Vaddr};

/// Saves the caller's callee-saved registers on its stack, stores the stack
/// pointer through `save`, and goes on where the context at `load` was saved.
///
/// Returns when somebody switches back to the saved context.
///
/// # Safety
///
/// 1. `save` is valid for a write.
/// 2. `load` was stored by this function, or made by [`prepare`]; it is used
///    once, and its stack is mapped.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn switch(save: *mut Vaddr, load: Vaddr) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// Lays out a context at the end of a stack that starts at `entry`.
///
/// # Safety
///
/// `stack_top` is 16-byte aligned, and the 72 bytes below it are mapped and
/// nobody else's.
pub(crate) unsafe fn prepare(stack_top: Vaddr, entry: extern "C" fn() -> !) -> Vaddr {
    // Six registers, the address that `ret` takes, and a zero where a caller's
    // return address would be: it ends a backtrace and keeps the ABI's alignment.
    let words: [usize; 8] = [0, 0, 0, 0, 0, 0, entry as usize, 0];
    let context = stack_top - size_of_val(&words);
    // SAFETY: The caller owns the memory below `stack_top`.
    unsafe { (context as *mut [usize; 8]).write(words) };
    context
}

/// Leaves the current stack and address space for good, and calls `entry` in
/// other ones: the old stack need not be mapped in the new space.
///
/// # Safety
///
/// 1. `root` is a root node that maps the kernel's image where it is, and is
///    never taken down.
/// 2. `stack_top` is 16-byte aligned, and `root` maps the stack below it, which
///    is nobody else's.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter_space(
    root: Paddr,
    stack_top: Vaddr,
    entry: extern "C" fn() -> !,
) -> ! {
    naked_asm!(
        "mov cr3, rdi",
        "mov rsp, rsi",
        "xor ebp, ebp",
        "call rdx",
        "ud2"
    )
}
