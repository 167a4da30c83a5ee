//! The first instructions of every trap, and the last ones.
//!
//! The hardware pushes SS, RSP, RFLAGS, CS, RIP and, for some exceptions, an
//! error code (SDM vol. 3A, 6.14). A stub of 16 bytes a vector completes that to
//! a [`TrapFrame`](super::trap::TrapFrame) with a zero where there is no error
//! code, and the vector. Then
//!
//! * **from the kernel** the frame is on the kernel's stack and is handed to
//!   [`handle_kernel_trap`](super::trap::handle_kernel_trap);
//! * **from ring 3** the stack that the hardware took *is* the register frame of
//!   the user context, so the frame is in its place already, and
//!   [`enter_user`](super::user_entry::enter_user) returns to its caller;
//! * the four exceptions with **stacks of their own** may strike between
//!   `swapgs` and a trusted stack. Where they come from does not say whose the GS
//!   base is, and its value does not either, since a program may choose it (peers 82,
//!   109). So they take the kernel's from the word above their stack, and give the
//!   register back as it was; a frame of ring 3's they copy to its place. One that
//!   strikes in its own handler is not survived: see
//!   [`exception_stacks`].
//!
//! Nothing here looks at the program's GS base. Flags are set to a known state with
//! `popfq` as soon as there is a kernel stack: direction and trap flags clear, and AC
//! clear, so that SMAP holds even if the interrupted code had it switched off.

use core::arch::global_asm;

use super::exception_stacks::{self, CURRENT_OWNER, IS_BUSY};
use super::local::{KERNEL_RSP, USER_FRAME_END};
use super::trap::{self, FRAME_SIZE};
use crate::mm::Vaddr;

/// Pushes the general registers so that they form the start of a `TrapFrame`.
macro_rules! push_registers {
    () => {
        "push rax
        push rbx
        push rcx
        push rdx
        push rsi
        push rdi
        push rbp
        push r8
        push r9
        push r10
        push r11
        push r12
        push r13
        push r14
        push r15"
    };
}

/// Undoes [`push_registers`].
macro_rules! pop_registers {
    () => {
        "pop r15
        pop r14
        pop r13
        pop r12
        pop r11
        pop r10
        pop r9
        pop r8
        pop rbp
        pop rdi
        pop rsi
        pop rdx
        pop rcx
        pop rbx
        pop rax"
    };
}

pub(super) use {pop_registers, push_registers};

/// Bytes of a frame before the general registers are pushed.
const HEAD_SIZE: usize = FRAME_SIZE - 15 * 8;

/// The register that is the GS base.
const IA32_GS_BASE: u32 = 0xc000_0101;

/// Bytes from one vector's stub to the next.
const STUB_SIZE: usize = 16;

unsafe extern "C" {
    /// The stub of vector 0.
    static trap_stubs: [[u8; STUB_SIZE]; 256];
}

/// Returns the address of a vector's entry stub.
pub(super) fn stub_address(vector: u8) -> Vaddr {
    &raw const trap_stubs as usize + usize::from(vector) * STUB_SIZE
}

global_asm!(
    r"
    // Vectors 8, 10 to 14, 17, 21, 29 and 30 push an error code: SDM vol. 3A
    // table 6-1, and the AMD manual vol. 2, 8.2 for 29 and 30.
    .pushsection .text
    .balign 16
    .global trap_stubs
    trap_stubs:
    .set vector, 0
    .rept 256
        .balign 16
        .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
        .else
            push 0
        .endif
        .byte 0x68              // push imm32, whatever the vector
        .long vector
        .if (vector == 1) || (vector == 2) || (vector == 8) || (vector == 18)
            jmp trap_on_own_stack
        .else
            jmp trap_common
        .endif
        .set vector, vector + 1
    .endr

    trap_common:
        test byte ptr [rsp + 24], 3
        jz 1f
        swapgs
    ",
    push_registers!(),
    r"
        jmp leave_user
    1:
    ",
    push_registers!(),
    r"
        push 2
        popfq
        mov rdi, rsp
        call {handle_kernel_trap}
    ",
    pop_registers!(),
    r"
        add rsp, 16
        iretq

    trap_on_own_stack:
        cmp qword ptr [rsp + {head_size} + {is_busy}], 0
        jne 4f                  // the frame of another one was here
        mov qword ptr [rsp + {head_size} + {is_busy}], 1
        test byte ptr [rsp + 24], 3
        jnz 3f
    ",
    push_registers!(),
    r"
        mov ecx, {gs_base}
        rdmsr
        mov r12d, eax           // which the call preserves
        mov r13d, edx
        mov rax, [rsp + {frame_size} + {owner}]
        mov rdx, rax
        shr rdx, 32
        wrmsr
        push 2
        popfq
        mov rdi, rsp
        call {handle_trap_on_own_stack}
        mov ecx, {gs_base}
        mov eax, r12d
        mov edx, r13d
        wrmsr
    ",
    pop_registers!(),
    r"
        add rsp, 16
        mov qword ptr [rsp + {head_size} - 16 + {is_busy}], 0
        iretq

    4:
    ",
    push_registers!(),
    r"
        mov ecx, {gs_base}
        mov rax, [rsp + {frame_size} + {owner}]
        mov rdx, rax
        shr rdx, 32
        wrmsr
        push 2
        popfq
        mov rdi, rsp
        call {die_nested}
        ud2

    3:  swapgs
    ",
    push_registers!(),
    r"
        cld
        mov rsi, rsp
        mov rdi, gs:[{user_frame_end}]
        sub rdi, {frame_size}
        mov ecx, {frame_size} / 8
        rep movsq
        mov qword ptr [rsp + {frame_size} + {is_busy}], 0
        // fall through

    // The user's registers are in the frame. Return from `enter_user`.
    leave_user:
        mov rsp, gs:[{kernel_rsp}]
        push 2
        popfq
        ret
    .popsection
    ",
    handle_kernel_trap = sym trap::handle_kernel_trap,
    handle_trap_on_own_stack = sym trap::handle_trap_on_own_stack,
    die_nested = sym exception_stacks::die_nested,
    owner = const CURRENT_OWNER,
    is_busy = const IS_BUSY,
    head_size = const HEAD_SIZE,
    user_frame_end = const USER_FRAME_END,
    kernel_rsp = const KERNEL_RSP,
    frame_size = const FRAME_SIZE,
    gs_base = const IA32_GS_BASE,
);

#[cfg(ktest)]
mod tests {
    use super::trap_stubs;
    use crate::prelude::*;

    /// What the stub of a vector with an error code starts with: `push imm32`.
    const PUSH_VECTOR: u8 = 0x68;

    #[ktest]
    fn peer_083_exactly_ten_vectors_have_an_error_code_pushed_by_the_hardware() {
        // SAFETY: The stubs are there, can be read and never change.
        let stubs = unsafe { &trap_stubs };
        let has_code = |vector: &usize| stubs[*vector][0] == PUSH_VECTOR;
        let vectors = (0..256).filter(has_code);
        // 21, 29 and 30 are the ones that tables forget.
        assert!(vectors.eq([8, 10, 11, 12, 13, 14, 17, 21, 29, 30]));
    }
}
