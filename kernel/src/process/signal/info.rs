//! What a signal is about: `siginfo_t`.
//!
//! ```text
//!  0 number   4 errno   8 code   12 (unused)
//! 16 by kill, and children:  pid u32, uid u32, then status i32 or a value
//!    by faults:              address u64
//!    by sigqueue:            pid u32, uid u32, value u64
//! ```

use super::Signal;
use crate::process::{End, Pid};

/// Bytes of a `siginfo_t`.
pub(crate) const INFO_SIZE: usize = 128;

/// Codes of `siginfo_t`: who raised a signal.
pub(crate) mod code {
    pub(crate) const USER: i32 = 0;
    pub(crate) const KERNEL: i32 = 0x80;
    pub(crate) const TKILL: i32 = -6;
    pub(crate) const SEGV_MAPERR: i32 = 1;
    pub(crate) const SEGV_ACCERR: i32 = 2;
    pub(crate) const BUS_ADRALN: i32 = 1;
    pub(crate) const BUS_ADRERR: i32 = 2;
    pub(crate) const ILL_ILLOPN: i32 = 2;
    pub(crate) const FPE_INTDIV: i32 = 1;
    pub(crate) const FPE_FLTDIV: i32 = 3;
    pub(crate) const FPE_FLTOVF: i32 = 4;
    pub(crate) const FPE_FLTUND: i32 = 5;
    pub(crate) const FPE_FLTRES: i32 = 6;
    pub(crate) const FPE_FLTINV: i32 = 7;
    pub(crate) const TRAP_TRACE: i32 = 2;
    pub(crate) const CHILD_EXITED: i32 = 1;
    pub(crate) const CHILD_KILLED: i32 = 2;
    pub(crate) const CHILD_STOPPED: i32 = 5;
    pub(crate) const CHILD_CONTINUED: i32 = 6;
}

/// What a signal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SigInfo {
    pub(crate) signal: Signal,
    pub(crate) code: i32,
    detail: Detail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    Nothing,
    Sender(Pid),
    Child {
        pid: Pid,
        status: u8,
    },
    Address(usize),
    /// All that follows the code, as a program gave it.
    Queued([u8; INFO_SIZE - FIELDS]),
}

/// Bytes of the fields that all have.
const FIELDS: usize = 16;

impl SigInfo {
    /// A signal of the kernel itself.
    pub(crate) const fn of_kernel(signal: Signal) -> Self {
        Self {
            signal,
            code: code::KERNEL,
            detail: Detail::Nothing,
        }
    }

    /// A signal that a process has sent.
    pub(crate) const fn of_sender(signal: Signal, code: i32, sender: Pid) -> Self {
        Self {
            signal,
            code,
            detail: Detail::Sender(sender),
        }
    }

    /// A fault at an address.
    pub(crate) const fn of_fault(signal: Signal, code: i32, address: usize) -> Self {
        Self {
            signal,
            code,
            detail: Detail::Address(address),
        }
    }

    /// A child that has ended.
    pub(crate) fn of_child(pid: Pid, end: End) -> Self {
        let (code, status) = match end {
            End::Exited(status) => (code::CHILD_EXITED, status),
            End::Killed(signal) => (code::CHILD_KILLED, signal),
        };
        Self::of_change(pid, code, status)
    }

    /// A child that has ended, stopped or gone on.
    pub(crate) const fn of_change(pid: Pid, code: i32, status: u8) -> Self {
        Self {
            signal: Signal::CHLD,
            code,
            detail: Detail::Child { pid, status },
        }
    }

    /// Returns whether another process than this one has sent it.
    pub(super) fn is_by_another(&self, process: Pid) -> bool {
        match self.detail {
            Detail::Sender(sender) => sender != process,
            Detail::Queued(_) => true,
            // A child may end with any signal, but of an end one wants to hear.
            Detail::Child { .. } => self.signal != Signal::CHLD,
            Detail::Nothing | Detail::Address(_) => false,
        }
    }

    /// Returns the code of a signal as a program describes it.
    pub(crate) fn code_of(bytes: &[u8; INFO_SIZE]) -> i32 {
        i32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]])
    }

    /// A signal as a program describes it.
    pub(crate) fn from_bytes(signal: Signal, bytes: &[u8; INFO_SIZE]) -> Self {
        let mut rest = [0; INFO_SIZE - FIELDS];
        rest.copy_from_slice(&bytes[FIELDS..]);
        Self {
            signal,
            code: Self::code_of(bytes),
            detail: Detail::Queued(rest),
        }
    }

    /// Returns the bytes as a program sees them; those without a meaning are zero.
    pub(crate) fn to_bytes(self) -> [u8; INFO_SIZE] {
        let mut bytes = [0; INFO_SIZE];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &u32::from(self.signal.as_u8()).to_le_bytes());
        put(8, &self.code.to_le_bytes());
        match self.detail {
            Detail::Nothing => {}
            Detail::Sender(pid) => put(FIELDS, &pid.as_u32().to_le_bytes()),
            Detail::Child { pid, status } => {
                put(FIELDS, &pid.as_u32().to_le_bytes());
                put(FIELDS + 8, &u32::from(status).to_le_bytes());
            }
            Detail::Address(address) => put(FIELDS, &address.to_le_bytes()),
            Detail::Queued(rest) => put(FIELDS, &rest),
        }
        bytes
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::prelude::*;

    use super::{INFO_SIZE, SigInfo, code};
    use crate::process::signal::Signal;
    use crate::process::{End, Pid};

    #[ktest]
    fn layout_is_linux_one() {
        let child = SigInfo::of_child(Pid::FIRST, End::Exited(7)).to_bytes();
        assert_eq!((child[0], child[8], child[16], child[24]), (17, 1, 1, 7));
        let fault = SigInfo::of_fault(Signal::SEGV, code::SEGV_ACCERR, 0x1234).to_bytes();
        assert_eq!((fault[8], fault[16], fault[17]), (2, 0x34, 0x12));
    }

    #[ktest]
    fn queued_information_comes_back_as_it_was() {
        let mut bytes = [7; INFO_SIZE];
        bytes[..16].copy_from_slice(&[10, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(SigInfo::from_bytes(Signal::USR1, &bytes).to_bytes(), bytes);
    }
}
