//! What becomes of an exception that a program raises: a page, or a signal.

use nucleus::trace;
use nucleus::user::CpuException;

use super::{SigInfo, Signal, code};
use crate::process::{Current, End};
use crate::vm::{Access, AccessError};

/// Vectors of exceptions (SDM vol. 3, 6.3.1).
mod vector {
    pub(super) const DIVIDE: u8 = 0;
    pub(super) const DEBUG: u8 = 1;
    pub(super) const BREAKPOINT: u8 = 3;
    pub(super) const INVALID_OPCODE: u8 = 6;
    pub(super) const NOT_PRESENT: u8 = 11;
    pub(super) const STACK: u8 = 12;
    pub(super) const FLOATING_POINT: u8 = 16;
    pub(super) const ALIGNMENT: u8 = 17;
    pub(super) const SIMD: u8 = 19;
}

impl Current {
    /// Gives the program the page that it wants, or a signal.
    pub(in crate::process) fn handle_exception(&mut self, exception: &CpuException) {
        let Some(address) = exception.fault_address else {
            self.signal_exception(exception);
            return;
        };
        self.thread.count_fault();
        let access = if exception.instruction_fetch() {
            Access::Execute
        } else if exception.write() {
            Access::Write
        } else {
            Access::Read
        };
        let rip = self.user.context().rip();
        let fault = trace::fault(address, rip, exception.page_fault_code());
        let result = self.memory.handle_fault(address, access);
        fault.end(result.is_ok());
        if let Err(error) = result {
            self.signal_page_fault(exception, address, error);
        }
    }

    fn signal_page_fault(&mut self, exception: &CpuException, address: usize, why: AccessError) {
        let (rip, what) = (self.user.context().rip(), exception.page_fault_code());
        let (signal, code) = match why {
            AccessError::Unmapped => (Signal::SEGV, code::SEGV_MAPERR),
            AccessError::Forbidden => (Signal::SEGV, code::SEGV_ACCERR),
            AccessError::BeyondObject => (Signal::BUS, code::BUS_ADRERR),
            AccessError::NoMemory => {
                let (program, id) = (self.process.program(), self.process.id());
                log::error!("{program} ({id}): killed, no memory is left for {address:#x}");
                self.process.end_all(End::Killed(Signal::KILL.as_u8()));
                return;
            }
        };
        self.force_signal(
            SigInfo::of_fault(signal, code, address),
            format_args!("{what}: {address:#x} at {rip:#x} ({why:?})"),
        );
    }

    fn signal_exception(&mut self, exception: &CpuException) {
        let (rip, name) = (self.user.context().rip(), exception.name());
        let info = match exception.vector {
            vector::DIVIDE => SigInfo::of_fault(Signal::FPE, code::FPE_INTDIV, rip),
            vector::DEBUG => SigInfo::of_fault(Signal::TRAP, code::TRAP_TRACE, rip),
            vector::BREAKPOINT => SigInfo::of_kernel(Signal::TRAP),
            vector::INVALID_OPCODE => SigInfo::of_fault(Signal::ILL, code::ILL_ILLOPN, rip),
            vector::NOT_PRESENT | vector::STACK => SigInfo::of_kernel(Signal::BUS),
            vector::ALIGNMENT => SigInfo::of_fault(Signal::BUS, code::BUS_ADRALN, 0),
            vector::FLOATING_POINT | vector::SIMD => {
                let code = self.floating_point_code(exception.vector);
                SigInfo::of_fault(Signal::FPE, code, rip)
            }
            _ => SigInfo::of_kernel(Signal::SEGV),
        };
        self.force_signal(info, format_args!("{name} at {rip:#x}"));
    }

    /// Has the thread die of going on at an address that is not the user's.
    pub(in crate::process) fn refuse_registers(&mut self) {
        let rip = self.user.context().rip();
        self.force_signal(
            SigInfo::of_kernel(Signal::SEGV),
            format_args!("cannot go on at {rip:#x}"),
        );
    }

    /// Returns which floating-point exception it is: of those that happened, one that
    /// is not masked (SDM vol. 1, 8.5 and 11.5).
    fn floating_point_code(&self, which: u8) -> i32 {
        let fpu = self.user.fpu_context();
        let bytes = fpu.as_bytes();
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        const CONTROL: usize = 0;
        const STATUS: usize = 2;
        const MXCSR: usize = 24;
        let raised = match which {
            vector::FLOATING_POINT => half(STATUS) & !half(CONTROL),
            _ => half(MXCSR) & !(half(MXCSR) >> 7),
        };
        match () {
            () if raised & 0x01 != 0 => code::FPE_FLTINV,
            () if raised & 0x04 != 0 => code::FPE_FLTDIV,
            () if raised & 0x08 != 0 => code::FPE_FLTOVF,
            () if raised & 0x12 != 0 => code::FPE_FLTUND,
            () if raised & 0x20 != 0 => code::FPE_FLTRES,
            () => code::KERNEL,
        }
    }
}
