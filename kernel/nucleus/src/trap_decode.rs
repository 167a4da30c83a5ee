//! Exceptions in words: their names and the page fault's error code
//! (SDM vol. 3A, table 6-1 and 4.7). No hardware is touched.

use core::fmt;

use bitflags::bitflags;

bitflags! {
    /// The error code of a page fault.
    ///
    /// ```text
    ///  31        16 15  14      7   6    5    4    3    2   1   0
    /// | reserved   |SGX| reserved |HLAT| SS | PK |I/D|RSVD|U/S|W/R| P |
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PageFaultCode: u64 {
        /// The page is mapped, but not for this access.
        const PRESENT = 1 << 0;
        /// The access was a write.
        const WRITE = 1 << 1;
        /// The access was made in ring 3.
        const USER = 1 << 2;
        /// A paging entry has a reserved bit set.
        const RESERVED = 1 << 3;
        /// The access was an instruction fetch.
        const FETCH = 1 << 4;
        /// The access violates a protection key.
        const PROTECTION_KEY = 1 << 5;
        /// The access was one of the shadow stack's.
        const SHADOW_STACK = 1 << 6;
    }
}

impl fmt::Display for PageFaultCode {
    /// Says it as a person would: "user write to a page that is not mapped".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.contains(Self::USER) {
            "user"
        } else {
            "kernel"
        };
        let what = if self.contains(Self::FETCH) {
            "instruction fetch from"
        } else if self.contains(Self::WRITE) {
            "write to"
        } else {
            "read of"
        };
        let page = if self.contains(Self::RESERVED) {
            "a page whose table entry has reserved bits set"
        } else if !self.contains(Self::PRESENT) {
            "a page that is not mapped"
        } else if self.contains(Self::PROTECTION_KEY) {
            "a page closed by its protection key"
        } else if self.contains(Self::FETCH) {
            "a page that may not be executed"
        } else if self.contains(Self::WRITE) {
            "a page that may not be written"
        } else {
            "a page that may not be read"
        };
        write!(f, "{who} {what} {page}")
    }
}

/// Returns the name of an exception vector.
pub fn exception_name(vector: u8) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack-segment fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point error",
        20 => "virtualization exception",
        21 => "control protection exception",
        28 => "hypervisor injection exception",
        29 => "VMM communication exception",
        30 => "security exception",
        9 | 15 | 22..=27 | 31 => "reserved exception",
        32.. => "interrupt",
    }
}

#[cfg(any(test, ktest))]
mod tests {
    extern crate alloc;
    use alloc::string::ToString;

    use super::PageFaultCode;
    use crate::prelude::*;

    #[ktest]
    fn page_fault_code_reads_as_a_sentence() {
        for (code, text) in [
            (0, "kernel read of a page that is not mapped"),
            (6, "user write to a page that is not mapped"),
            (7, "user write to a page that may not be written"),
            (5, "user read of a page that may not be read"),
            (
                0x15,
                "user instruction fetch from a page that may not be executed",
            ),
            (
                0x10,
                "kernel instruction fetch from a page that is not mapped",
            ),
            (
                9,
                "kernel read of a page whose table entry has reserved bits set",
            ),
        ] {
            assert_eq!(PageFaultCode::from_bits_retain(code).to_string(), text);
        }
    }
}
