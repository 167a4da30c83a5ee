//! The way into ring 3, and the system-call way out of it.
//!
//! [`enter_user`] loads a register frame and returns when user mode ends, with
//! the frame filled in again. Its frame doubles as the stack on which traps and
//! system calls from ring 3 save the registers: `rsp0` of the TSS points at its end.
//! So the registers land where they belong with one store each.
//!
//! `syscall` (SDM vol. 2B) leaves the return address in RCX and the flags in
//! R11, changes no stack, and clears the flags of [`CLEARED_FLAGS`].
//!
//! A program may change the bases of FS and GS by itself: by instructions for it,
//! where the processor has them, or else by loading selectors. So they are read
//! whenever user mode ends. In the kernel, the GS base of ring 3 waits in the register
//! that `swapgs` exchanges with the kernel's.

use core::arch::{asm, global_asm, naked_asm};

use x86_64::VirtAddr;
use x86_64::registers::control::{Efer, EferFlags};
use x86_64::registers::model_specific::{FsBase, KernelGsBase, LStar, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::structures::gdt::SegmentSelector;

use super::features;
use super::gdt::{KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA};
use super::local::{KERNEL_RSP, SCRATCH, USER_FRAME_END};
use super::trap::{FRAME_SIZE, SYSCALL_VECTOR, TrapFrame};
use super::trap_entry::{pop_registers, push_registers};

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

/// The bases of FS and GS in ring 3. Any canonical address may be one: a program can
/// choose what it likes, and it is used in ring 3 alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bases {
    pub(crate) fs: u64,
    pub(crate) gs: u64,
}

/// Makes `bases` those that ring 3 finds. Interrupts are off.
#[cold]
pub(crate) fn load_bases(bases: Bases) {
    let Bases { fs, gs } = bases;
    // Refuses what is not canonical, which nobody has let in.
    let (fs, gs) = (VirtAddr::new(fs), VirtAddr::new(gs));
    FsBase::write(fs);
    KernelGsBase::write(gs);
}

/// Returns the bases that ring 3 has left. Interrupts are off.
#[inline]
pub(crate) fn read_bases() -> Bases {
    if !features::has_fsgsbase() {
        return read_bases_by_msr();
    }
    let (fs, gs);
    // SAFETY: Start-up switched the instructions on. Between the two exchanges the
    // kernel's base is not there: nothing between them needs it, interrupts are off, and
    // what comes none the less takes the base from its own stack.
    unsafe {
        asm!(
            "rdfsbase {fs}",
            "swapgs",
            "rdgsbase {gs}",
            "swapgs",
            fs = out(reg) fs,
            gs = out(reg) gs,
            options(nostack, preserves_flags),
        );
    }
    Bases { fs, gs }
}

/// As [`read_bases`], where there are no instructions for it.
#[cold]
fn read_bases_by_msr() -> Bases {
    Bases {
        fs: FsBase::read().as_u64(),
        gs: KernelGsBase::read().as_u64(),
    }
}

/// How to return to ring 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// By `iretq`: restores every register.
    Full,
    /// By `sysretq`: RCX and R11 become RIP and RFLAGS, as after a system call.
    SystemCall,
}

/// Calls a routine that enters ring 3.
///
/// What the compiler keeps in registers it saves itself, but for the two that cannot be
/// named as operands.
macro_rules! call {
    ($enter:ident, $frame:ident) => {
        asm!(
            "push rbx",
            "push rbp",
            "call {enter}",
            "pop rbp",
            "pop rbx",
            enter = sym $enter,
            in("rdi") &raw mut *$frame,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("sysv64"),
        )
    };
}

/// Runs user mode from `frame` until a trap or a system call ends it.
///
/// # Safety
///
/// 1. `frame` has selectors of ring 3, RIP and RSP in the user half, interrupts on
///    and no privileged flag set.
/// 2. For [`Return::SystemCall`], RCX is RIP, R11 is RFLAGS, and single steps are off:
///    with them on, `sysretq` would trap before the program's next instruction.
/// 3. Interrupts are off, and the GS base is the kernel's.
/// 4. The active page table maps the kernel half, and the frame with it.
#[inline(always)]
pub(crate) unsafe fn enter_user(frame: &mut TrapFrame, how: Return) {
    match how {
        // SAFETY: The caller promises what the routine needs; it comes back with the
        // stack pointer as it was, and all other registers are named.
        Return::SystemCall => unsafe { call!(enter_by_sysret, frame) },
        // SAFETY: As above.
        Return::Full => unsafe { call!(enter_by_iret, frame) },
    }
}

/// Has the way out of ring 3 lead back to the caller, and loads the general registers.
macro_rules! load_frame {
    () => {
        concat!(
            "mov gs:[{kernel_rsp}], rsp
            lea rax, [rdi + {frame_size}]
            mov gs:[{user_frame_end}], rax
            mov rsp, rdi
            ",
            pop_registers!()
        )
    };
}

/// Enters ring 3 as the last system call returns. The traps and calls that end user mode
/// return to whoever called this, with no register as it was but the stack pointer.
///
/// # Safety
///
/// As [`enter_user`], of which this is a part.
#[unsafe(naked)]
unsafe extern "C" fn enter_by_sysret(frame: *mut TrapFrame) {
    naked_asm!(
        load_frame!(),
        "mov rsp, [rsp + 40]",
        "swapgs",
        "sysretq",
        kernel_rsp = const KERNEL_RSP,
        user_frame_end = const USER_FRAME_END,
        frame_size = const FRAME_SIZE,
    )
}

/// Enters ring 3 with all registers as the frame says; comes back as
/// [`enter_by_sysret`] does.
///
/// # Safety
///
/// As [`enter_user`], of which this is a part.
#[unsafe(naked)]
unsafe extern "C" fn enter_by_iret(frame: *mut TrapFrame) {
    naked_asm!(
        load_frame!(),
        "add rsp, 16",
        "swapgs",
        "iretq",
        kernel_rsp = const KERNEL_RSP,
        user_frame_end = const USER_FRAME_END,
        frame_size = const FRAME_SIZE,
    )
}

// The flags that matter were cleared by the instruction, so that the way out needs
// no `popfq`, unlike that of traps.
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
        mov rsp, gs:[{kernel_rsp}]
        ret
    .popsection
    ",
    scratch = const SCRATCH,
    user_frame_end = const USER_FRAME_END,
    kernel_rsp = const KERNEL_RSP,
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
