//! How a run of the kernel ended, as those outside of the machine see it.
//!
//! The kernel writes a code to QEMU's debug-exit device, and QEMU ends with the status
//! `(code << 1) | 1`. No code is below 0x10, so that no status is one of QEMU's own
//! errors. `xtask` has the same table, to print names; its tests compare the two.

/// How a run of the kernel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ExitCode {
    /// The program returned 0, or no test failed.
    Success = 0x10,
    /// The program returned something else, or a test failed.
    Failure = 0x11,
    /// The kernel panicked.
    Panic = 0x12,
    /// The kernel got a double fault.
    DoubleFault = 0x13,
}

impl ExitCode {
    /// All codes.
    pub const ALL: [Self; 4] = [Self::Success, Self::Failure, Self::Panic, Self::DoubleFault];

    /// Returns what people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Panic => "panic",
            Self::DoubleFault => "double fault",
        }
    }
}
