//! User mode: registers of a program, and running it until it wants something.
//!
//! The kernel runs a program by calling [`UserMode::execute`], which returns
//! when the program makes a system call, raises an exception, or is interrupted.
//! There is one gate into ring 3, and it validates: whatever state the rest of
//! the kernel put together, ring 3 is entered with its own selectors, with
//! interrupts on, without privileged flags, and at addresses of the user half
//! (peers 84, 91, 92).
//!
//! * [`UserContext`]: the general registers, flags, and the bases of FS and GS.
//! * [`FpuContext`]: an image of the floating-point and vector registers.
//! * [`ReturnReason`], [`CpuException`]: why user mode ended.
//!
//! The floating-point and vector registers belong to the task: a program finds in them
//! what it left there, whatever other tasks did on its processor, or it on others. So
//! a program stays with the task that has run it first, and one that a task runs in
//! turn with another starts with initial ones each time. A copy of them is made when
//! one is wanted ([`UserMode::fpu_context`]); between that, they stay in the processor
//! as long as nobody else needs it.

mod context;
mod exception;
mod fpu_context;
#[cfg(ktest)]
mod tests;

use core::marker::PhantomData;

pub use self::context::UserContext;
pub use self::exception::{CpuException, ReturnReason};
pub use self::fpu_context::FpuContext;
use crate::arch::x86_64::features;
use crate::arch::x86_64::fpu::Owner;
use crate::arch::x86_64::irq;
use crate::arch::x86_64::trap::{self, PAGE_FAULT};
use crate::arch::x86_64::user_entry::{self, Bases};
use crate::cpu::atomic_mode::is_guarded;
use crate::irq::disable_local;
use crate::task::{Origin, scheduler};

/// Returns what programs are told of the processor (`AT_HWCAP` and `AT_HWCAP2`): EDX of
/// leaf 1 (SDM vol. 2A, CPUID), and whether they may use the instructions for the bases
/// of FS and GS.
pub fn processor_capabilities() -> [usize; 2] {
    const FSGSBASE: usize = 1 << 1;
    let basic = core::arch::x86_64::__cpuid(1).edx as usize;
    [
        basic,
        if features::has_fsgsbase() {
            FSGSBASE
        } else {
            0
        },
    ]
}

/// A program that can be run.
///
/// It stays with its task, which has its floating-point registers.
#[derive(Debug)]
pub struct UserMode {
    context: UserContext,
    /// What the registers hold of the bases, where they are the program's.
    loaded_bases: Bases,
    owner: Owner,
    _stays_here: PhantomData<*mut ()>,
}

static_assertions::assert_not_impl_any!(UserMode: Send, Sync);

impl UserMode {
    /// Prepares to run a program from a context, with initial floating-point registers.
    pub fn new(context: UserContext) -> Self {
        Self {
            context,
            loaded_bases: Bases::default(),
            owner: Owner::new(),
            _stays_here: PhantomData,
        }
    }

    /// Prepares to run a program from a context, in the task that calls.
    ///
    /// # Panics
    ///
    /// As [`Self::set_fpu_context`].
    pub fn with_fpu(context: UserContext, fpu: FpuContext) -> Self {
        let mut user = Self::new(context);
        user.set_fpu_context(fpu);
        user
    }

    /// Returns the program's registers.
    pub fn context(&self) -> &UserContext {
        &self.context
    }

    /// Returns the program's registers, to be changed.
    pub fn context_mut(&mut self) -> &mut UserContext {
        &mut self.context
    }

    /// Returns what the program has left in the floating-point and vector registers.
    pub fn fpu_context(&self) -> FpuContext {
        let _irq_off = disable_local();
        FpuContext::from_image(self.owner.image())
    }

    /// Has the program find these floating-point and vector registers.
    ///
    /// # Panics
    ///
    /// Panics before there are tasks, and in a processor's own task, which has no
    /// programs.
    pub fn set_fpu_context(&mut self, fpu: FpuContext) {
        let _irq_off = disable_local();
        // SAFETY: The type proves that the processor takes the image.
        unsafe { self.owner.set_image(fpu.image()) };
    }

    /// Runs the program, in the active address space, until it needs the kernel.
    ///
    /// Interrupts are on afterwards. May not be called in an interrupt handler,
    /// nor with a lock held.
    ///
    /// # Panics
    ///
    /// Panics in atomic mode, and before there are tasks.
    // Inlined into its caller's loop, which has no registers to save for each turn.
    #[inline(always)]
    pub fn execute(&mut self) -> ReturnReason {
        let is_atomic = !irq::disable_if_free() || is_guarded();
        assert!(!is_atomic, "user mode was entered in atomic mode");
        if !self.context.is_fit() {
            irq::enable();
            return ReturnReason::InvalidState;
        }
        let how = self.context.way_back();
        if self.owner.make_live() || self.context.bases != self.loaded_bases {
            user_entry::load_bases(self.context.bases);
        }
        // SAFETY:
        // 1. So the context's setters and `is_fit` say.
        // 2. So `way_back` says.
        // 3. Interrupts are off, and in the kernel the GS base is the kernel's.
        // 4. Every address space has the kernel's half.
        unsafe { user_entry::enter_user(&mut self.context.frame, how) };
        let bases = user_entry::read_bases();
        (self.context.bases, self.loaded_bases) = (bases, bases);
        if self.context.is_in_system_call() {
            preempt_and_enable();
            return ReturnReason::UserSyscall;
        }
        let is_exception = self.note_exception();
        preempt_and_enable();
        match self.context.last_exception {
            Some(exception) if is_exception => ReturnReason::UserException(exception),
            _ => ReturnReason::KernelEvent,
        }
    }

    /// Sorts out which trap ended user mode, with interrupts still off: notes the
    /// exception, if it was one of the program's.
    // The answer is a flag, which stays in a register, and with it the reason.
    #[inline(never)]
    fn note_exception(&mut self) -> bool {
        let frame = &self.context.frame;
        let is_page_fault = frame.vector == u64::from(PAGE_FAULT);
        // Read before anything else can fault.
        let fault_address = is_page_fault.then(trap::page_fault_address);
        if !is_page_fault && trap::handle_interrupt(frame.vector, Origin::User) {
            return false;
        }
        self.context.last_exception = Some(CpuException {
            vector: frame.vector as u8,
            error_code: frame.error_code,
            fault_address,
        });
        true
    }
}

/// Lets another task run if one is due, as an interrupt of the kernel does at its end.
/// Interrupts are off, and on afterwards.
#[inline(always)]
fn preempt_and_enable() {
    scheduler::preempt_if_due();
    irq::enable();
}
