//! Linux's error numbers (`errno(3)`), as far as the kernel returns them.

/// Why a system call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Errno {
    /// Not permitted at all.
    NotPermitted = 1,
    /// No such file or directory.
    NoEntry = 2,
    /// No such process.
    NoProcess = 3,
    /// A signal came first. Nothing was done; the call may be made again.
    Interrupted = 4,
    /// Nothing is at that address of the device, or behind the file's end.
    NoAddress = 6,
    /// The argument list is too long.
    TooBig = 7,
    /// The file is no program that can be run.
    NoExec = 8,
    /// The file descriptor is not open, or not for this.
    BadFile = 9,
    /// There is no child to wait for.
    NoChild = 10,
    /// Try again: the condition does not hold.
    Again = 11,
    /// Out of memory, or of address space.
    NoMemory = 12,
    /// Not permitted for this object.
    Access = 13,
    /// A pointer leads outside of the program's memory.
    Fault = 14,
    /// It is in use.
    Busy = 16,
    /// The range, or the name, is taken.
    Exists = 17,
    /// The other file is on another filesystem.
    CrossDevice = 18,
    /// The device cannot do this.
    NoDevice = 19,
    /// Not a directory.
    NotDirectory = 20,
    /// A directory, and that will not do.
    IsDirectory = 21,
    /// An argument makes no sense.
    Invalid = 22,
    /// Too many open files.
    TooManyFiles = 24,
    /// Not a terminal.
    NoTerminal = 25,
    /// The file would be too long.
    FileTooBig = 27,
    /// The filesystem is full.
    NoSpace = 28,
    /// The file has no positions.
    NotSeekable = 29,
    /// The files cannot be written.
    ReadOnly = 30,
    /// Nobody reads what is written.
    BrokenPipe = 32,
    /// A result does not fit.
    Range = 34,
    /// A name is too long.
    NameTooLong = 36,
    /// There is no such system call.
    NoCall = 38,
    /// The directory is not empty.
    NotEmpty = 39,
    /// Too many links, or scripts, lead from one to the next.
    TooManyLinks = 40,
    /// A number is too large for what it is about.
    Overflow = 75,
    /// The operation is not there for this.
    NotSupported = 95,
    /// The time is over.
    TimedOut = 110,
}

impl Errno {
    /// Returns the number as a system call returns it in RAX.
    pub(crate) fn as_result(self) -> usize {
        (self as isize).wrapping_neg() as usize
    }
}

impl From<nucleus::Error> for Errno {
    fn from(error: nucleus::Error) -> Self {
        match error {
            nucleus::Error::NoMemory => Self::NoMemory,
            nucleus::Error::PageFault | nucleus::Error::AccessDenied => Self::Fault,
            nucleus::Error::InvalidArgs | nucleus::Error::Overflow => Self::Invalid,
            nucleus::Error::IoError => Self::Again,
        }
    }
}
