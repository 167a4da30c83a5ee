//! Traps: the frame that they leave, and what becomes of those from the kernel.
//!
//! A trap from ring 3 never comes here; it ends
//! [`UserMode::execute`](crate::user::UserMode::execute), which sorts it out.

use core::sync::atomic::{AtomicU32, Ordering};

use super::idt::vector;
pub(crate) use super::idt::vector::PAGE_FAULT;
use super::{apic, cpu, exception_stacks, features, irq, lines, timer, trap_report, uaccess};
use crate::debug::processors;
use crate::mm::frame::reserve;
use crate::mm::vm_space::{PageFaultInfo, handle_user_fault};
use crate::mm::{USER_END, Vaddr};
use crate::task::{Origin, scheduler};
use crate::trap_decode::PageFaultCode;
use crate::{smp, stop, trace};

/// The registers of interrupted code, as the entry code and the hardware leave
/// them on the stack, lowest address first.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrapFrame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rbp: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rbx: u64,
    pub(crate) rax: u64,
    /// Which of the 256 vectors, or [`SYSCALL_VECTOR`].
    pub(crate) vector: u64,
    /// The error code, or zero for vectors that have none.
    pub(crate) error_code: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// Bytes of a [`TrapFrame`]; its end is aligned as the hardware wants a stack.
pub(super) const FRAME_SIZE: usize = size_of::<TrapFrame>();
const _: () = assert!(FRAME_SIZE == 22 * 8 && FRAME_SIZE.is_multiple_of(16));

/// What [`TrapFrame::vector`] holds after a system call: not a vector.
pub(crate) const SYSCALL_VECTOR: u64 = 0x100;

/// Non-maskable interrupts so far.
static NON_MASKABLE: AtomicU32 = AtomicU32::new(0);
/// Debug exceptions of the kernel's so far, which nobody has asked for.
static DEBUG_TRAPS: AtomicU32 = AtomicU32::new(0);
/// How many of both were in the log when it was written last.
static NR_LOGGED: AtomicU32 = AtomicU32::new(0);

/// Called by the entry code for each trap that interrupted the kernel.
pub(super) extern "C" fn handle_kernel_trap(frame: &mut TrapFrame) {
    if frame.vector == u64::from(vector::NON_MASKABLE) {
        processors::answer_if_asked(frame.rip as Vaddr, frame.rbp as Vaddr);
    }
    if handle_interrupt(frame.vector, Origin::Kernel) {
        if is_external(frame.vector) && frame.rflags & INTERRUPT_FLAG != 0 {
            scheduler::preempt_if_due();
        }
        return;
    }
    let number = frame.vector as u8;
    let fault_address = (number == vector::PAGE_FAULT).then(page_fault_address);
    match number {
        vector::DEBUG => {
            // Otherwise it would strike again at the next instruction.
            frame.rflags &= !TRAP_FLAG;
            // Relaxed: a statistic that orders nothing.
            DEBUG_TRAPS.fetch_add(1, Ordering::Relaxed);
        }
        vector::BREAKPOINT => {
            log::info!("breakpoint at {:#x}", frame.rip);
        }
        vector::PAGE_FAULT if is_handled_user_fault(frame, fault_address) => {}
        // An address that is not canonical is a protection fault.
        vector::PAGE_FAULT | vector::GENERAL_PROTECTION
            if let Some(resume) = uaccess::fixup(frame.rip as Vaddr) =>
        {
            frame.rip = resume as u64;
        }
        _ => trap_report::die(frame, fault_address),
    }
}

/// Called by the entry code for each trap from the kernel that has a stack of its own.
pub(super) extern "C" fn handle_trap_on_own_stack(frame: &mut TrapFrame) {
    handle_kernel_trap(frame);
    exception_stacks::check_canaries();
}

/// Returns whether a vector is an interrupt's, which is handled on the stack of the
/// task that it interrupted, and not an exception's.
const fn is_external(vector: u64) -> bool {
    vector >= vector::LINE_BASE as u64
}

/// Asks the active space's handler about a page fault of an access that may
/// fault; returns whether the access is to be made again.
fn is_handled_user_fault(frame: &TrapFrame, address: Option<Vaddr>) -> bool {
    let Some(address) = address.filter(|address| *address < USER_END) else {
        return false;
    };
    if uaccess::fixup(frame.rip as Vaddr).is_none() {
        return false;
    }
    // What SMAP refuses, no handler can allow: it would find the page in order,
    // and the access would fault for ever (peer 86).
    if features::get().smap && frame.rflags & ALIGNMENT_CHECK_FLAG == 0 {
        return false;
    }
    let was_enabled = frame.rflags & INTERRUPT_FLAG != 0;
    // The handler may wait for other processors, so it runs as the access did.
    if was_enabled {
        irq::enable();
    }
    let info = PageFaultInfo {
        address,
        code: PageFaultCode::from_bits_retain(frame.error_code),
    };
    let fault = trace::fault(address, frame.rip as Vaddr, info.code);
    let is_handled = handle_user_fault(&info);
    fault.end(is_handled);
    irq::disable();
    is_handled
}

/// The flag of RFLAGS that makes each instruction trap.
const TRAP_FLAG: u64 = 1 << 8;
/// The flag of RFLAGS that says that interrupts are on.
const INTERRUPT_FLAG: u64 = 1 << 9;
/// The flag of RFLAGS that, in the kernel, opens user memory under SMAP.
const ALIGNMENT_CHECK_FLAG: u64 = 1 << 18;

/// Handles the vectors that are nobody's fault, wherever they interrupted.
/// Returns whether the vector was one of them.
pub(crate) fn handle_interrupt(vector: u64, origin: Origin) -> bool {
    match u8::try_from(vector) {
        Ok(vector::FLUSH) => {
            apic::end_of_interrupt();
            cpu::local().flushes.serve_if_due();
            reserve::serve();
            true
        }
        Ok(vector::CALL) => {
            apic::end_of_interrupt();
            smp::serve();
            true
        }
        Ok(vector::RESCHEDULE) => {
            apic::end_of_interrupt();
            cpu::request_reschedule();
            true
        }
        Ok(vector::NON_MASKABLE) => {
            stop::stop_if_told();
            // Of the kernel, the caller has said it.
            processors::answer_if_asked(0, 0);
            // It may have interrupted whoever holds the console, so `log_rare` says it.
            // Relaxed: a statistic that orders nothing.
            NON_MASKABLE.fetch_add(1, Ordering::Relaxed);
            true
        }
        Ok(vector::ERROR) => {
            apic::on_error();
            true
        }
        Ok(vector::SPURIOUS) => {
            apic::on_spurious();
            true
        }
        Ok(vector::TIMER) => {
            timer::on_local_tick(origin);
            look_around();
            true
        }
        Ok(number) if let Some(line) = lines::of_vector(number) => {
            lines::handle(line, origin);
            look_around();
            true
        }
        _ => false,
    }
}

/// Returns how many non-maskable interrupts and debug exceptions there were.
pub(crate) fn rare_counts() -> (u32, u32) {
    // Relaxed: statistics.
    let [unmaskable, debug] = [&NON_MASKABLE, &DEBUG_TRAPS].map(|n| n.load(Ordering::Relaxed));
    (unmaskable, debug)
}

/// Does what is to be done now and then.
#[inline]
fn look_around() {
    log_rare();
    exception_stacks::check_canaries();
}

/// Logs the traps that may strike where the log cannot be used.
#[inline]
fn log_rare() {
    // Relaxed, here and below: statistics, and at worst a line is logged twice.
    let (unmaskable, debug) = rare_counts();
    let count = unmaskable.wrapping_add(debug);
    if count != NR_LOGGED.load(Ordering::Relaxed) {
        NR_LOGGED.store(count, Ordering::Relaxed);
        log::warn!("so far: {unmaskable} non-maskable interrupts, {debug} debug exceptions");
    }
}

/// Returns the address of the page fault that was delivered last (CR2).
pub(crate) fn page_fault_address() -> Vaddr {
    x86_64::registers::control::Cr2::read_raw() as Vaddr
}

#[cfg(ktest)]
mod tests {
    use core::arch::asm;

    use x86_64::VirtAddr;
    use x86_64::registers::model_specific::KernelGsBase;

    use super::{DEBUG_TRAPS, NON_MASKABLE, Ordering, TRAP_FLAG};
    use crate::arch::x86_64::{local, timer, uaccess};
    use crate::irq;
    use crate::prelude::*;

    #[ktest]
    fn breakpoint_returns() {
        let (before, after): (u64, u64) = (7, 0);
        let mut value = after;
        // SAFETY: The handler of a breakpoint returns, with every register.
        unsafe { asm!("int3", "mov {}, {}", inout(reg) value, in(reg) before) };
        assert_eq!(value, before);
    }

    /// Raises both traps as where `syscall` arrives: with the program's GS base and
    /// stack pointer, and then with the kernel's GS base and the program's stack pointer.
    fn trap_at_the_entry_of_a_system_call() {
        // SAFETY: The handlers run on stacks of their own, and return with every
        // register; both registers are as they were in the end.
        unsafe {
            asm!(
                "mov {saved}, rsp",
                "swapgs",
                "mov rsp, {users}",
                "int 2",
                "int 1",
                "swapgs",
                "int 2",
                "int 1",
                "mov rsp, {saved}",
                saved = out(reg) _,
                users = in(reg) 0x1000_u64,
            );
        }
    }

    #[ktest]
    fn peers_082_109_traps_at_the_entry_of_a_system_call_are_survived_whatever_the_base() {
        let here = core::ptr::from_ref(local::current());
        let counts = || [&NON_MASKABLE, &DEBUG_TRAPS].map(|n| n.load(Ordering::Relaxed));
        let before = counts();
        let bases = [0, 0x7fff_0000_0000, 0xffff_8000_0000_1000, u64::MAX - 7];
        for base in bases {
            // On, it may be another task's whose base is exchanged.
            let _irq_off = irq::disable_local();
            KernelGsBase::write(VirtAddr::new(base));
            trap_at_the_entry_of_a_system_call();
            assert_eq!(KernelGsBase::read().as_u64(), base);
            KernelGsBase::write(VirtAddr::zero());
        }
        assert_eq!(counts(), before.map(|count| count + 2 * bases.len() as u32));
        assert!(core::ptr::eq(here, local::current()));
    }

    #[ktest]
    fn peer_082_single_steps_of_the_kernel_end_at_once() {
        let before = DEBUG_TRAPS.load(Ordering::Relaxed);
        let flags: u64;
        // SAFETY: The handler returns with every register, and clears the flag.
        unsafe {
            asm!(
                "pushfq",
                "or qword ptr [rsp], 0x100",
                "popfq",
                "nop",
                "pushfq",
                "pop {}",
                out(reg) flags,
            );
        }
        assert_eq!(flags & TRAP_FLAG, 0);
        assert_eq!(DEBUG_TRAPS.load(Ordering::Relaxed), before + 1);
    }

    #[ktest]
    fn peer_087_handlers_run_with_a_known_direction() {
        const DIRECTION: u64 = 1 << 10;
        let flags: u64;
        // SAFETY: The handler of a breakpoint returns, with every flag; the
        // direction is as it was in the end.
        unsafe { asm!("std", "int3", "pushfq", "cld", "pop {}", out(reg) flags) };
        assert_ne!(flags & DIRECTION, 0);
    }

    #[ktest]
    fn fault_in_a_guarded_copy_is_an_answer() {
        assert_eq!(uaccess::read_kernel_word(0xdead_0000), None);
        assert_eq!(uaccess::read_kernel_word(1 << 63), None, "not canonical");
    }

    #[ktest]
    fn ticks_go_on() {
        let start = timer::ticks();
        while timer::ticks() < start + 2 {
            core::hint::spin_loop();
        }
    }

    #[ktest]
    fn processor_knows_its_own_state() {
        let here: *const _ = local::current();
        assert!(here == core::ptr::from_ref(local::current()) && !here.is_null());
    }
}
