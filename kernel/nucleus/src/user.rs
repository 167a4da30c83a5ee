//! User mode: registers of a program, and running it until it wants something.
//!
//! The kernel runs a program by calling [`UserMode::execute`], which returns
//! when the program makes a system call, raises an exception, or is interrupted.
//! There is one gate into ring 3, and it validates: whatever state the rest of
//! the kernel put together, ring 3 is entered with its own selectors, with
//! interrupts on, without privileged flags, and at addresses of the user half
//! (peers 84, 91, 92).
//!
//! The floating-point and vector registers belong to the task: a program finds in them
//! what it left there, whatever other tasks did on its processor, or it on others. So
//! a program stays with the task that has run it first, and one that a task runs in
//! turn with another starts with initial ones each time.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::cpu;
use crate::arch::x86_64::gdt::{USER_CODE, USER_DATA};
use crate::arch::x86_64::trap::{self, SYSCALL_VECTOR, TrapFrame};
use crate::arch::x86_64::user_entry::{self, Return};
use crate::arch::x86_64::{fpu, irq};
use crate::cpu::is_atomic;
use crate::error::{Error, Result};
use crate::mm::{USER_END, Vaddr};
use crate::task::scheduler;
use crate::trap_decode::{PageFaultCode, exception_name};

/// Flags that a program may set for itself: arithmetic, direction, trap,
/// alignment check and identification.
const USER_FLAGS: u64 = 0x0024_0dd5;
/// Flags that are always set in ring 3: interrupts, and the reserved one.
const FIXED_FLAGS: u64 = 0x202;

/// The registers of a program.
#[derive(Clone, Debug)]
pub struct UserContext {
    frame: TrapFrame,
    fs_base: Vaddr,
}

macro_rules! register_accessors {
    ($($register:ident),*) => {
        $(
            #[doc = concat!("Returns the register ", stringify!($register), ".")]
            pub fn $register(&self) -> usize {
                self.frame.$register as usize
            }
        )*
    };
}

impl UserContext {
    /// Returns the context of a program about to start.
    pub fn new(entry: Vaddr, stack_pointer: Vaddr) -> Self {
        Self {
            frame: TrapFrame {
                rip: entry as u64,
                rsp: stack_pointer as u64,
                ..TrapFrame::default()
            },
            fs_base: 0,
        }
    }

    register_accessors!(rax, rdi, rsi, rdx, r10, r8, r9, rip, rsp);

    /// Sets the register that a system call's result goes to.
    pub fn set_rax(&mut self, value: usize) {
        self.frame.rax = value as u64;
    }

    /// Returns the base of the program's thread-local storage.
    pub fn fs_base(&self) -> Vaddr {
        self.fs_base
    }

    /// Sets the base of the program's thread-local storage.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgs`] when the address is not in user space.
    pub fn set_fs_base(&mut self, base: Vaddr) -> Result<()> {
        if base >= USER_END {
            return Err(Error::InvalidArgs);
        }
        self.fs_base = base;
        Ok(())
    }

    /// Makes the context fit for ring 3; refuses addresses outside of it.
    fn validate(&mut self) -> Result<()> {
        let frame = &mut self.frame;
        if frame.rip >= USER_END as u64 || frame.rsp > USER_END as u64 {
            return Err(Error::InvalidArgs);
        }
        frame.cs = u64::from(USER_CODE);
        frame.ss = u64::from(USER_DATA);
        frame.rflags = frame.rflags & USER_FLAGS | FIXED_FLAGS;
        Ok(())
    }

    /// Chooses the way back: the fast one needs RCX and R11 to be what
    /// `syscall` made them.
    fn way_back(&self) -> Return {
        let frame = &self.frame;
        let after_system_call = frame.vector == SYSCALL_VECTOR;
        if after_system_call && frame.rcx == frame.rip && frame.r11 == frame.rflags {
            Return::SystemCall
        } else {
            Return::Full
        }
    }
}

/// An exception that a program raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuException {
    /// The vector, 0 to 31.
    pub vector: u8,
    /// The error code, zero for vectors without one.
    pub error_code: u64,
    /// The address that a page fault was about.
    pub fault_address: Option<Vaddr>,
}

impl CpuException {
    /// Returns the exception's name.
    pub fn name(&self) -> &'static str {
        exception_name(self.vector)
    }

    /// Returns whether it is a page fault.
    pub fn is_page_fault(&self) -> bool {
        self.fault_address.is_some()
    }

    /// Returns the error code as a page fault's.
    pub fn page_fault_code(&self) -> PageFaultCode {
        PageFaultCode::from_bits_retain(self.error_code)
    }

    /// Returns whether the page was mapped, only not for this access.
    pub fn present(&self) -> bool {
        self.page_fault_code().contains(PageFaultCode::PRESENT)
    }

    /// Returns whether the access was a write.
    pub fn write(&self) -> bool {
        self.page_fault_code().contains(PageFaultCode::WRITE)
    }

    /// Returns whether the access was made in ring 3.
    pub fn user(&self) -> bool {
        self.page_fault_code().contains(PageFaultCode::USER)
    }

    /// Returns whether the access was an instruction fetch.
    pub fn instruction_fetch(&self) -> bool {
        self.page_fault_code().contains(PageFaultCode::FETCH)
    }
}

/// Why user mode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnReason {
    /// The program made a system call.
    UserSyscall,
    /// The program raised an exception.
    UserException(CpuException),
    /// An interrupt arrived and was handled.
    KernelEvent,
    /// The context's addresses are not user space's; ring 3 was not entered.
    InvalidState,
}

/// A program that can be run.
///
/// It stays with its task, which has its floating-point registers.
#[derive(Debug)]
pub struct UserMode {
    context: UserContext,
    /// Its number, of which each is given once.
    program: u64,
    _stays_here: PhantomData<*mut ()>,
}

static_assertions::assert_not_impl_any!(UserMode: Send, Sync);

/// The number of the next program; zero is none's.
static NEXT_PROGRAM: AtomicU64 = AtomicU64::new(1);

impl UserMode {
    /// Prepares to run a program from a context.
    pub fn new(context: UserContext) -> Self {
        Self {
            context,
            // Relaxed: the numbers differ, and that is all.
            program: NEXT_PROGRAM.fetch_add(1, Ordering::Relaxed),
            _stays_here: PhantomData,
        }
    }

    /// Returns the program's registers.
    pub fn context(&self) -> &UserContext {
        &self.context
    }

    /// Returns the program's registers, to be changed.
    pub fn context_mut(&mut self) -> &mut UserContext {
        &mut self.context
    }

    /// Runs the program, in the active address space, until it needs the kernel.
    ///
    /// Interrupts are on afterwards. May not be called in an interrupt handler,
    /// nor with a lock held.
    ///
    /// # Panics
    ///
    /// Panics in atomic mode, and before there are tasks.
    pub fn execute(&mut self) -> ReturnReason {
        assert!(!is_atomic(), "user mode was entered in atomic mode");
        if self.context.validate().is_err() {
            return ReturnReason::InvalidState;
        }
        let how = self.context.way_back();
        irq::disable();
        let Some(task) = cpu::tasks().current() else {
            panic!("user mode was entered before there are tasks");
        };
        fpu::load_for(task, self.program);
        user_entry::load_fs_base(self.context.fs_base as u64);
        // SAFETY:
        // 1. The frame was validated above.
        // 2. Interrupts are off, and in the kernel the GS base is the kernel's.
        // 3. Every address space has the kernel's half.
        unsafe { user_entry::enter_user(&raw mut self.context.frame, how) };
        let reason = self.reason();
        // Where an interrupt of the kernel would do it at its end.
        scheduler::preempt_if_due();
        irq::enable();
        reason
    }

    /// Sorts out what ended user mode, with interrupts still off.
    fn reason(&self) -> ReturnReason {
        let frame = &self.context.frame;
        if frame.vector == SYSCALL_VECTOR {
            return ReturnReason::UserSyscall;
        }
        // Read before anything else can fault.
        let fault_address = trap::page_fault_address();
        if trap::handle_interrupt(frame.vector) {
            return ReturnReason::KernelEvent;
        }
        let exception = CpuException {
            vector: frame.vector as u8,
            error_code: frame.error_code,
            fault_address: None,
        };
        ReturnReason::UserException(CpuException {
            fault_address: (exception.vector == trap::PAGE_FAULT).then_some(fault_address),
            ..exception
        })
    }
}

#[cfg(ktest)]
mod tests {
    use super::{CpuException, Return, ReturnReason, SYSCALL_VECTOR, UserContext, UserMode};
    use crate::mm::USER_END;
    use crate::prelude::*;

    #[ktest]
    fn non_canonical_rip_never_reaches_ring_3() {
        // peer_084, peer_092
        for rip in [
            USER_END,
            0x8000_0000_0000,
            0xffff_8000_0000_0000,
            usize::MAX,
        ] {
            let mut program = UserMode::new(UserContext::new(rip, 0x1000));
            assert_eq!(program.execute(), ReturnReason::InvalidState);
        }
    }

    #[ktest]
    #[should_panic(expected = "entered in atomic mode")]
    fn peer_050_user_mode_is_not_entered_while_a_guard_keeps_the_task() {
        let _stays = crate::cpu::disable_preempt();
        UserMode::new(UserContext::new(USER_END, 0x1000)).execute();
    }

    #[ktest]
    #[should_panic(expected = "entered in atomic mode")]
    fn peer_050_user_mode_is_not_entered_while_interrupts_are_off() {
        // It ends with interrupts on, whatever a guard has promised.
        let _irq_off = crate::irq::disable_local();
        UserMode::new(UserContext::new(USER_END, 0x1000)).execute();
    }

    #[ktest]
    fn kernel_stack_pointer_never_reaches_ring_3() {
        let mut program = UserMode::new(UserContext::new(0x1000, usize::MAX - 7));
        assert_eq!(program.execute(), ReturnReason::InvalidState);
    }

    #[ktest]
    fn non_canonical_fs_base_is_refused() {
        // peer_091
        let mut context = UserContext::new(0x1000, 0x1000);
        assert_eq!(context.set_fs_base(1 << 47), Err(Error::InvalidArgs));
        assert_eq!(context.fs_base(), 0);
    }

    #[ktest]
    fn exception_says_what_the_access_was() {
        let mut exception = CpuException {
            vector: 14,
            error_code: 0b0_0110,
            fault_address: Some(0x1000),
        };
        let kind = |exception: &CpuException| {
            [
                exception.present(),
                exception.write(),
                exception.user(),
                exception.instruction_fetch(),
            ]
        };
        assert_eq!(kind(&exception), [false, true, true, false]);
        exception.error_code = 0b1_0001;
        assert_eq!(kind(&exception), [true, false, false, true]);
        assert!(exception.is_page_fault());
        exception = CpuException {
            vector: 0,
            error_code: 0,
            fault_address: None,
        };
        assert!(!exception.is_page_fault());
        assert_eq!(exception.name(), "divide error");
    }

    #[ktest]
    fn privileged_flags_and_selectors_are_fixed_up() {
        // peer_093
        let mut context = UserContext::new(0x1000, 0x1000);
        context.frame.rflags = u64::MAX;
        context.frame.cs = 0x08;
        context.frame.ss = 0x10;
        context.validate().expect("the addresses are fine");
        let frame = &context.frame;
        assert_eq!((frame.cs, frame.ss), (0x23, 0x1b));
        let (io_privilege, nested, virtual_8086) = (0x3000, 0x4000, 0x2_0000);
        assert_eq!(frame.rflags & (io_privilege | nested | virtual_8086), 0);
        assert_ne!(frame.rflags & 0x200, 0, "interrupts must be on");
    }

    #[ktest]
    fn fast_return_needs_the_registers_of_a_system_call() {
        let mut context = UserContext::new(0x1000, 0x1000);
        context.validate().expect("the addresses are fine");
        assert_eq!(context.way_back(), Return::Full);
        context.frame.vector = SYSCALL_VECTOR;
        context.frame.rcx = context.frame.rip;
        context.frame.r11 = context.frame.rflags;
        assert_eq!(context.way_back(), Return::SystemCall);
        context.frame.rip += 2;
        assert_eq!(context.way_back(), Return::Full);
    }
}
