//! The registers, in both modes (SDM vol. 3A, tables 11-1 and 11-6).
//!
//! A register is named by its offset in memory, 16 bytes from one to the next; its
//! MSR is 0x800 plus a sixteenth of that.

use x86_64::registers::model_specific::Msr;

use crate::error::Result;
use crate::mm::kspace::KVirtArea;
use crate::mm::{CachePolicy, IoMem, PAGE_SIZE, Paddr, PageFlags, PageProperty, Vaddr};

/// A register, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Register {
    Id = 0x20,
    Version = 0x30,
    TaskPriority = 0x80,
    EndOfInterrupt = 0xb0,
    SpuriousVector = 0xf0,
    /// The first of the eight registers of the vectors that are being handled.
    InService = 0x100,
    ErrorStatus = 0x280,
    LvtCorrected = 0x2f0,
    /// The command, or in xAPIC mode its low half.
    Command = 0x300,
    /// The destination of the command, in xAPIC mode only.
    CommandDestination = 0x310,
    LvtTimer = 0x320,
    LvtThermal = 0x330,
    LvtPerformance = 0x340,
    LvtLine0 = 0x350,
    LvtLine1 = 0x360,
    LvtError = 0x370,
    TimerInitial = 0x380,
    TimerCurrent = 0x390,
    TimerDivide = 0x3e0,
}

impl Register {
    /// The entries of the local vector table by the numbers that the version
    /// register counts them by.
    pub(super) const LVT: [(u32, Self); 7] = [
        (0, Self::LvtTimer),
        (1, Self::LvtLine0),
        (2, Self::LvtLine1),
        (3, Self::LvtError),
        (4, Self::LvtPerformance),
        (5, Self::LvtThermal),
        (6, Self::LvtCorrected),
    ];
}

/// The page of registers in memory, which each processor finds its own behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    paddr: Paddr,
    vaddr: Vaddr,
}

impl Page {
    pub(super) const fn paddr(self) -> Paddr {
        self.paddr
    }
}

/// How registers are reached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// In memory.
    Xapic(Page),
    /// As MSRs.
    X2apic,
}

impl Access {
    /// Maps the registers of xAPIC mode, uncached, for ever.
    ///
    /// # Errors
    ///
    /// As [`IoMem::acquire`]; [`Error::NoMemory`](crate::Error::NoMemory).
    pub(super) fn map(paddr: Paddr) -> Result<Self> {
        let memory = IoMem::acquire(paddr..paddr + PAGE_SIZE, CachePolicy::Uncacheable)?;
        let prop = PageProperty::new_kernel(PageFlags::RW, memory.cache_policy());
        // SAFETY: The page is no RAM, so that nobody's memory changes by it, and
        // only this module uses the registers.
        let area = unsafe {
            KVirtArea::map_untracked_frames(2 * PAGE_SIZE, PAGE_SIZE, memory.paddr_range(), prop)
        }?;
        let vaddr = area.leak().start + PAGE_SIZE;
        Ok(Self::Xapic(Page { paddr, vaddr }))
    }

    pub(super) fn read(self, register: Register) -> u32 {
        self.read_at(register as u32)
    }

    /// Returns whether a vector's bit is set among those being handled.
    pub(super) fn is_in_service(self, vector: u8) -> bool {
        let (register, bit) = (u32::from(vector / 32), vector % 32);
        let word = self.read_at(Register::InService as u32 + 16 * register);
        word >> bit & 1 == 1
    }

    fn read_at(self, offset: u32) -> u32 {
        match self {
            Self::Xapic(page) => {
                let register = (page.vaddr + offset as usize) as *const u32;
                // SAFETY: The page is mapped for ever, and has the register.
                unsafe { register.read_volatile() }
            }
            // SAFETY: In x2APIC mode, which this value stands for, there is an MSR
            // for each register that `init_local` found.
            Self::X2apic => unsafe { msr(offset).read() as u32 },
        }
    }

    pub(super) fn write(self, register: Register, value: u32) {
        match self {
            Self::Xapic(page) => {
                let register = (page.vaddr + register as usize) as *mut u32;
                // SAFETY: As in `read`; what is written interrupts processors that
                // have handlers for all vectors, and changes no memory.
                unsafe { register.write_volatile(value) };
            }
            Self::X2apic => self.write_wide(register, u64::from(value)),
        }
    }

    /// Writes all of a register; in xAPIC mode, the only 32 bits that it has.
    pub(super) fn write_wide(self, register: Register, value: u64) {
        match self {
            Self::Xapic(_) => self.write(register, value as u32),
            Self::X2apic => {
                let mut msr = msr(register as u32);
                // SAFETY: As in `read`; what is written interrupts processors that
                // have handlers for all vectors, and changes no memory.
                unsafe { msr.write(value) };
            }
        }
    }
}

/// Returns the MSR that is the register at an offset.
const fn msr(offset: u32) -> Msr {
    Msr::new(0x800 + (offset >> 4))
}
