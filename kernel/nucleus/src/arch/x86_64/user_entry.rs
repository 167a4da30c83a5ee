//! The way into ring 3, and the system-call way out of it.
//!
//! [`enter_user`] loads a register frame and returns when user mode ends, with
//! the frame filled in again. Its frame doubles as the stack on which traps and
//! system calls from ring 3 save the registers: `rsp0` of the TSS and the
//! per-processor `user_frame_end` point at its end. So the registers land where
//! they belong with one store each.
//!
//! `syscall` (SDM vol. 2B) leaves the return address in RCX and the flags in
//! R11, changes no stack, and clears the flags of [`CLEARED_FLAGS`].

use core::arch::{global_asm, naked_asm};

use x86_64::VirtAddr;
use x86_64::registers::control::{Efer, EferFlags};
use x86_64::registers::model_specific::{FsBase, LStar, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::structures::gdt::SegmentSelector;

use super::fpu;
use super::gdt::{KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA};
use super::local::{self, KERNEL_RSP, SCRATCH, TSS_RSP0, USER_FRAME_END};
use super::trap::{FRAME_SIZE, SYSCALL_VECTOR, TrapFrame};
use super::trap_entry::{pop_registers, push_registers};
use crate::task::Task;

/// Flags that `syscall` clears: interrupts off, a known direction, no single
/// steps, SMAP on, and nothing that changes the meaning of `iretq`.
const CLEARED_FLAGS: RFlags = RFlags::INTERRUPT_FLAG
    .union(RFlags::DIRECTION_FLAG)
    .union(RFlags::TRAP_FLAG)
    .union(RFlags::ALIGNMENT_CHECK)
    .union(RFlags::NESTED_TASK)
    .union(RFlags::IOPL_LOW)
    .union(RFlags::IOPL_HIGH)
    .union(RFlags::RESUME_FLAG);

unsafe extern "C" {
    /// Where `syscall` arrives.
    static syscall_entry: u8;
}

/// Switches the `syscall` instruction on, on this processor.
pub(crate) fn init() {
    // SAFETY: `SYSCALL` only adds an instruction; its registers are set below,
    // before ring 3 can run.
    unsafe { Efer::update(|efer| efer.insert(EferFlags::SYSTEM_CALL_EXTENSIONS)) };
    Star::write(
        SegmentSelector(USER_CODE),
        SegmentSelector(USER_DATA),
        SegmentSelector(KERNEL_CODE),
        SegmentSelector(KERNEL_DATA),
    )
    .expect("the GDT's order is the one that sysret wants");
    LStar::write(VirtAddr::from_ptr(&raw const syscall_entry));
    SFMask::write(CLEARED_FLAGS);
}

/// No base that a program may have.
const UNKNOWN_BASE: u64 = u64::MAX;

/// Makes `base` the FS base that ring 3 finds. The caller checked it, and has
/// interrupts off.
pub(crate) fn load_fs_base(base: u64) {
    let local = local::current();
    if local.fs_base.replace(base) != base {
        FsBase::write(VirtAddr::new(base));
    }
}

/// Saves what the task that is about to leave the processor has left in the registers
/// that only ring 3 uses. Interrupts are off.
pub(crate) fn leave_task(task: &Task) {
    if fpu::save_of(task) {
        // Its program may have loaded a selector, and changed the base by that.
        local::current().fs_base.set(UNKNOWN_BASE);
    }
}

/// How to return to ring 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Return {
    /// By `iretq`: restores every register.
    Full = 0,
    /// By `sysretq`: RCX and R11 become RIP and RFLAGS, as after a system call.
    SystemCall = 1,
}

/// Runs user mode from `frame` until a trap or a system call ends it.
///
/// # Safety
///
/// 1. `frame` is validated: selectors of ring 3, RIP and RSP in the user half,
///    interrupts on and no privileged flag set.
/// 2. Interrupts are off, and the GS base is the kernel's.
/// 3. The active page table maps the kernel half, and the frame with it.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter_user(frame: *mut TrapFrame, how: Return) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov gs:[{kernel_rsp}], rsp",
        "lea rax, [rdi + {frame_size}]",
        "mov gs:[{user_frame_end}], rax",
        "mov gs:[{tss_rsp0}], rax",
        "mov rsp, rdi",
        "test esi, esi",
        "jnz 2f",
        pop_registers!(),
        "add rsp, 16",
        "swapgs",
        "iretq",
        "2:",
        pop_registers!(),
        "mov rcx, [rsp + 16]",
        "mov r11, [rsp + 32]",
        "mov rsp, [rsp + 40]",
        "swapgs",
        "sysretq",
        kernel_rsp = const KERNEL_RSP,
        user_frame_end = const USER_FRAME_END,
        tss_rsp0 = const TSS_RSP0,
        frame_size = const FRAME_SIZE,
    )
}

global_asm!(
    r"
    .pushsection .text
    .balign 16
    .global syscall_entry
    syscall_entry:
        swapgs
        mov gs:[{scratch}], rsp
        mov rsp, gs:[{user_frame_end}]
        push {user_data}
        push qword ptr gs:[{scratch}]
        push r11
        push {user_code}
        push rcx
        push 0
        push {vector}
    ",
    push_registers!(),
    r"
        jmp leave_user
    .popsection
    ",
    scratch = const SCRATCH,
    user_frame_end = const USER_FRAME_END,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    vector = const SYSCALL_VECTOR,
);

#[cfg(ktest)]
mod tests {
    use super::{CLEARED_FLAGS, RFlags, SFMask};
    use crate::prelude::*;

    #[ktest]
    fn peer_087_system_calls_start_with_known_flags() {
        let cleared = SFMask::read();
        assert_eq!(cleared, CLEARED_FLAGS);
        let vital = RFlags::DIRECTION_FLAG | RFlags::INTERRUPT_FLAG | RFlags::ALIGNMENT_CHECK;
        assert!(cleared.contains(vital | RFlags::TRAP_FLAG));
    }
}
