//! The registers of a program.

use crate::arch::x86_64::gdt::{USER_CODE, USER_DATA};
use crate::arch::x86_64::trap::{SYSCALL_VECTOR, TrapFrame};
use crate::arch::x86_64::user_entry::{Bases, Return};
use crate::error::{Error, Result};
use crate::mm::{USER_END, Vaddr};

use super::CpuException;

/// Flags that a program may set for itself: arithmetic, direction, trap,
/// alignment check and identification.
const USER_FLAGS: u64 = 0x0024_0dd5;
/// Flags that are always set in ring 3: interrupts, and the reserved one.
const FIXED_FLAGS: u64 = 0x202;
/// The flag that makes each instruction trap.
const TRAP_FLAG: u64 = 1 << 8;

/// The registers of a program, but for those of floating-point and vector
/// instructions, which a [`FpuContext`](super::FpuContext) is for.
///
/// Whatever is set here is safe. Selectors and flags are ring 3's always: no setter
/// changes them to others, nor can a program. Addresses in RIP and RSP may be any, until
/// the gate looks at them, [`UserMode::execute`](super::UserMode::execute).
#[derive(Clone, Debug)]
pub struct UserContext {
    pub(super) frame: TrapFrame,
    pub(super) bases: Bases,
    pub(super) last_exception: Option<CpuException>,
}

macro_rules! registers {
    ($($register:ident $set_register:ident),*) => {
        $(
            #[doc = concat!("Returns the register ", stringify!($register), ".")]
            #[inline]
            pub fn $register(&self) -> usize {
                self.frame.$register as usize
            }

            #[doc = concat!("Sets the register ", stringify!($register), ".")]
            #[inline]
            pub fn $set_register(&mut self, value: usize) {
                self.frame.$register = value as u64;
            }
        )*
    };
}

impl UserContext {
    /// Returns the context of a program about to start: all other registers are zero.
    pub fn new(entry: Vaddr, stack_pointer: Vaddr) -> Self {
        Self {
            frame: TrapFrame {
                rip: entry as u64,
                rsp: stack_pointer as u64,
                cs: u64::from(USER_CODE),
                ss: u64::from(USER_DATA),
                rflags: FIXED_FLAGS,
                ..TrapFrame::default()
            },
            bases: Bases::default(),
            last_exception: None,
        }
    }

    registers!(
        rax set_rax, rbx set_rbx, rcx set_rcx, rdx set_rdx, rsi set_rsi, rdi set_rdi,
        rbp set_rbp, rsp set_rsp, r8 set_r8, r9 set_r9, r10 set_r10, r11 set_r11,
        r12 set_r12, r13 set_r13, r14 set_r14, r15 set_r15, rip set_rip
    );

    /// Returns the flags.
    pub fn rflags(&self) -> usize {
        self.frame.rflags as usize
    }

    /// Sets those of the flags that a program may set by itself; the others are as in
    /// every program.
    pub fn set_rflags(&mut self, flags: usize) {
        self.frame.rflags = flags as u64 & USER_FLAGS | FIXED_FLAGS;
    }

    /// Returns the base of FS: of the program's thread-local storage.
    ///
    /// It is what the program has left there, which may be any canonical address.
    pub fn fs_base(&self) -> Vaddr {
        self.bases.fs as Vaddr
    }

    /// Sets the base of FS.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when the address is not in user space.
    pub fn set_fs_base(&mut self, base: Vaddr) -> Result<()> {
        self.bases.fs = user_base(base)?;
        Ok(())
    }

    /// Returns the base of GS, as [`Self::fs_base`].
    pub fn gs_base(&self) -> Vaddr {
        self.bases.gs as Vaddr
    }

    /// Sets the base of GS.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when the address is not in user space.
    pub fn set_gs_base(&mut self, base: Vaddr) -> Result<()> {
        self.bases.gs = user_base(base)?;
        Ok(())
    }

    /// Returns the exception that the program raised last, if it ever raised one. Its
    /// number, code and address are what Linux puts into the frame of any signal.
    pub fn last_exception(&self) -> Option<CpuException> {
        self.last_exception
    }

    /// Returns whether user mode ended by a system call last.
    #[inline]
    pub fn is_in_system_call(&self) -> bool {
        self.frame.vector == SYSCALL_VECTOR
    }

    /// Returns whether ring 3 may be entered: whether it would be in user space.
    #[inline]
    pub(super) fn is_fit(&self) -> bool {
        let frame = &self.frame;
        debug_assert!(
            frame.cs == u64::from(USER_CODE)
                && frame.ss == u64::from(USER_DATA)
                && frame.rflags & !USER_FLAGS == FIXED_FLAGS,
            "selectors or flags are not ring 3's: {frame:x?}"
        );
        frame.rip < USER_END as u64 && frame.rsp <= USER_END as u64
    }

    /// Chooses the way back: the fast one needs RCX and R11 to be what
    /// `syscall` made them, and no single steps.
    #[inline]
    pub(super) fn way_back(&self) -> Return {
        let frame = &self.frame;
        let is_as_syscall_left_it = frame.rcx == frame.rip && frame.r11 == frame.rflags;
        if self.is_in_system_call() && is_as_syscall_left_it && frame.r11 & TRAP_FLAG == 0 {
            Return::SystemCall
        } else {
            Return::Full
        }
    }
}

/// Returns an address that a program may have as a base.
fn user_base(base: Vaddr) -> Result<u64> {
    if base >= USER_END {
        return Err(Error::InvalidArgs);
    }
    Ok(base as u64)
}

#[cfg(ktest)]
mod tests {
    use super::{Return, SYSCALL_VECTOR, TRAP_FLAG, UserContext};
    use crate::mm::USER_END;
    use crate::prelude::*;

    fn context() -> UserContext {
        UserContext::new(0x1000, 0x1000)
    }

    #[ktest]
    fn peer_091_bases_that_are_not_the_users_are_refused() {
        let mut context = context();
        for base in [USER_END, 1 << 47, 0xffff_8000_0000_0000, usize::MAX] {
            assert_eq!(context.set_fs_base(base), Err(Error::InvalidArgs));
            assert_eq!(context.set_gs_base(base), Err(Error::InvalidArgs));
        }
        assert_eq!((context.fs_base(), context.gs_base()), (0, 0));
        assert_eq!(context.set_fs_base(USER_END - 1), Ok(()));
        assert_eq!(context.set_gs_base(0x1234), Ok(()));
        let bases = (context.fs_base(), context.gs_base());
        assert_eq!(bases, (USER_END - 1, 0x1234));
    }

    #[ktest]
    fn peer_093_privileged_flags_and_selectors_cannot_be_set() {
        let mut context = context();
        context.set_rflags(usize::MAX);
        let (io_privilege, nested, virtual_8086) = (0x3000, 0x4000, 0x2_0000);
        assert_eq!(context.rflags() & (io_privilege | nested | virtual_8086), 0);
        assert_ne!(context.rflags() & 0x200, 0, "interrupts must be on");
        context.set_rflags(0);
        assert_eq!(context.rflags(), 0x202);
        let frame = &context.frame;
        assert_eq!((frame.cs, frame.ss), (0x23, 0x1b));
        assert!(context.is_fit());
    }

    #[ktest]
    fn fast_return_needs_the_registers_of_a_system_call() {
        let mut context = context();
        assert_eq!(context.way_back(), Return::Full);
        context.frame.vector = SYSCALL_VECTOR;
        context.frame.rcx = context.frame.rip;
        context.frame.r11 = context.frame.rflags;
        assert_eq!(context.way_back(), Return::SystemCall);
        context.frame.rip += 2;
        assert_eq!(context.way_back(), Return::Full);
        context.frame.rip -= 2;
        context.frame.rflags |= TRAP_FLAG;
        context.frame.r11 |= TRAP_FLAG;
        assert_eq!(context.way_back(), Return::Full);
    }

    #[ktest]
    fn each_register_is_set_by_itself() {
        let mut context = context();
        context.set_rbx(1);
        context.set_rbp(2);
        context.set_r15(3);
        context.set_rip(4);
        context.set_rsp(5);
        assert_eq!([context.rbx(), context.rbp(), context.r15()], [1, 2, 3]);
        assert_eq!([context.rip(), context.rsp(), context.rax()], [4, 5, 0]);
    }
}
