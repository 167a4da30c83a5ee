//! Why a program stopped.

use crate::mm::Vaddr;
use crate::trap_decode::{PageFaultCode, exception_name};

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

#[cfg(ktest)]
mod tests {
    use super::CpuException;
    use crate::prelude::*;

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
}
