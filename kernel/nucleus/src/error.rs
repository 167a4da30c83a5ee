//! The error of the nucleus' public operations.
//!
//! Small and `Copy`; each operation's documentation names the variants that it
//! can return. A panic, by contrast, always means a bug of the caller.

use core::fmt;

/// Why an operation of the nucleus was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// An argument is outside of what the operation accepts.
    InvalidArgs,
    /// No physical memory, or no kernel address range, is left for it.
    NoMemory,
    /// An access to user memory hit a page that is absent or forbids it.
    PageFault,
    /// The address range may not be used in this way, or not now.
    AccessDenied,
    /// An offset or a length leaves the range of addresses.
    Overflow,
    /// The device or the stored data did not behave as specified. For drivers: the
    /// nucleus itself has none that can say so.
    IoError,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidArgs => "invalid argument",
            Self::NoMemory => "out of memory",
            Self::PageFault => "page fault",
            Self::AccessDenied => "access denied",
            Self::Overflow => "address overflow",
            Self::IoError => "input or output error",
        })
    }
}

impl core::error::Error for Error {}

/// The result of the nucleus' public operations.
pub type Result<T, E = Error> = core::result::Result<T, E>;

#[cfg(any(test, ktest))]
mod tests {
    use alloc::string::ToString;

    use super::Error;
    use crate::prelude::ktest;

    #[ktest]
    fn every_error_says_something_else() {
        let all = [
            (Error::InvalidArgs, "invalid argument"),
            (Error::NoMemory, "out of memory"),
            (Error::PageFault, "page fault"),
            (Error::AccessDenied, "access denied"),
            (Error::Overflow, "address overflow"),
            (Error::IoError, "input or output error"),
        ];
        for (error, text) in all {
            assert_eq!(error.to_string(), text);
        }
    }
}
