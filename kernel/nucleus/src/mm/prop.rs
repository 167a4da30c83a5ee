//! What a mapping allows, and how accesses through it are cached.

use bitflags::bitflags;

bitflags! {
    /// What may be done through a mapping, and what has been done.
    ///
    /// All bits but that of `X` are where the hardware has them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PageFlags: u16 {
        /// Reads are allowed.
        const R = 1 << 0;
        /// Writes are allowed.
        const W = 1 << 1;
        /// Instructions may be fetched.
        const X = 1 << 2;
        /// The hardware has used the mapping.
        const ACCESSED = 1 << 5;
        /// The hardware has written through the mapping.
        const DIRTY = 1 << 6;
        /// Reserved: the configurations of page tables tell items apart by it,
        /// and no property that a caller gives or gets contains it.
        const AVAIL1 = 1 << 10;
        /// For the owner of the mapping to use as it likes.
        const AVAIL2 = 1 << 11;
        /// Reads and writes.
        const RW = Self::R.bits() | Self::W.bits();
        /// Reads and instruction fetches.
        const RX = Self::R.bits() | Self::X.bits();
        /// Everything.
        const RWX = Self::RW.bits() | Self::X.bits();
    }
}

bitflags! {
    /// What the kernel alone decides about a mapping. The bits are where the
    /// hardware has them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PrivilegedPageFlags: u16 {
        /// Ring 3 may use the mapping.
        const USER = 1 << 2;
        /// The translation stays in the TLB when the address space changes.
        const GLOBAL = 1 << 8;
    }
}

/// How accesses through a mapping are cached (SDM vol. 3A, 12.3).
///
/// The numbers are the bits of a leaf of level 1, by which the hardware finds the
/// policy in the page-attribute table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CachePolicy {
    /// Reads and writes are cached: ordinary memory.
    Writeback = 0,
    /// Reads are cached, writes go to memory as well.
    Writethrough = 0x08,
    /// Not at all, but writes may be gathered: framebuffers.
    WriteCombining = 0x10,
    /// Not at all, in program order: device registers.
    Uncacheable = 0x18,
    /// Reads are cached, writes go to memory and drop the line.
    WriteProtected = 0x80,
}

/// All that a page-table entry says about a mapping but its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageProperty {
    /// What may be done through the mapping.
    pub flags: PageFlags,
    /// How accesses are cached.
    pub cache: CachePolicy,
    /// What the kernel alone decides.
    pub priv_flags: PrivilegedPageFlags,
}

impl PageProperty {
    /// Returns the property of a mapping for ring 3.
    pub const fn new_user(flags: PageFlags, cache: CachePolicy) -> Self {
        Self {
            flags,
            cache,
            priv_flags: PrivilegedPageFlags::USER,
        }
    }

    /// Returns the property of an entry that is absent.
    pub const fn new_absent() -> Self {
        Self {
            flags: PageFlags::empty(),
            cache: CachePolicy::Writeback,
            priv_flags: PrivilegedPageFlags::empty(),
        }
    }

    /// Returns the property of a mapping of the kernel, the same in every space.
    pub const fn new_kernel(flags: PageFlags, cache: CachePolicy) -> Self {
        Self {
            flags,
            cache,
            priv_flags: PrivilegedPageFlags::GLOBAL,
        }
    }
}
