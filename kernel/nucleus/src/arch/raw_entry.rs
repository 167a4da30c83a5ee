//! An entry of paging as the hardware reads it (SDM vol. 3A, tables 4-15 to 4-20).
//!
//! What the kernel thinks that its tables say is one thing ([`super::paging`] encodes
//! and decodes it); what the processor makes of their bits is another one. Whoever
//! inspects tables decodes them here, by a text of its own, so that an error in the
//! encoder cannot hide itself. Nothing here knows of software's bits, but that an entry
//! which the hardware ignores need not be zero.

use core::fmt;

use crate::mm::paging::{PagingConsts, page_size};
use crate::mm::{Paddr, PagingLevel};

/// The 64 bits of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawEntry(pub(crate) u64);

/// What an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nothing: all bits are zero.
    Nothing,
    /// Nothing that the hardware would see; what the bits mean is software's affair.
    Hidden,
    /// A node of the level below.
    Node(Paddr),
    /// A page of the entry's level.
    Page(Paddr),
}

/// What an entry, or all those on the way to a page, allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Writes.
    pub(crate) write: bool,
    /// Ring 3.
    pub(crate) user: bool,
    /// Instruction fetches.
    pub(crate) execute: bool,
}

impl Rights {
    /// What is allowed before any entry has a say.
    pub(crate) const ALL: Self = Self {
        write: true,
        user: true,
        execute: true,
    };

    /// Returns what is allowed below both.
    pub(crate) const fn and(self, below: Self) -> Self {
        Self {
            write: self.write && below.write,
            user: self.user && below.user,
            execute: self.execute && below.execute,
        }
    }
}

impl RawEntry {
    const fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }

    /// Returns the bits from `low` to `high`, in their places.
    const fn field(self, low: u32, high: u32) -> u64 {
        self.0 & (u64::MAX >> (63 - high)) & (u64::MAX << low)
    }

    /// Returns whether the hardware sees the entry.
    pub(crate) const fn is_present(self) -> bool {
        self.bit(0)
    }

    /// Returns what the entry allows.
    pub(crate) const fn rights(self) -> Rights {
        Rights {
            write: self.bit(1),
            user: self.bit(2),
            execute: !self.bit(63),
        }
    }

    /// Returns whether the translation stays when the space changes.
    pub(crate) const fn is_global(self) -> bool {
        self.bit(8)
    }

    /// Returns what the entry leads to, in a node of a level.
    pub(crate) fn target(self, level: PagingLevel) -> Target {
        if self.0 == 0 {
            Target::Nothing
        } else if !self.is_present() {
            Target::Hidden
        } else if level == 1 {
            Target::Page(self.field(12, 51) as Paddr)
        } else if level <= 3 && self.bit(7) {
            let offset = page_size::<PagingConsts>(level) - 1;
            Target::Page(self.field(12, 51) as Paddr & !offset)
        } else {
            Target::Node(self.field(12, 51) as Paddr)
        }
    }

    /// Returns those bits that the hardware wants to be zero, on a processor with so
    /// many bits of physical address whose pages reach up to a level. Bits that it
    /// ignores and that nobody uses here, 52 to 62, count as such.
    pub(crate) fn reserved_bits(self, level: PagingLevel, (width, highest): (u32, u8)) -> u64 {
        if !self.is_present() {
            return 0;
        }
        let is_page = level == 1 || (level <= highest && self.bit(7));
        let beyond = if width < 52 { self.field(width, 51) } else { 0 };
        let by_form = match level {
            1 => 0,
            // Bit 12 of a large page is the page-attribute table's.
            2 if is_page => self.field(13, 20),
            3 if is_page => self.field(13, 29),
            _ => self.field(7, 7),
        };
        beyond | by_form | self.field(52, 62)
    }

    /// Returns how the page of a level is cached, by its index in the page-attribute
    /// table as start-up fills it.
    pub(crate) fn cache(self, level: PagingLevel) -> &'static str {
        let attribute = if level == 1 { 7 } else { 12 };
        match (self.bit(attribute), self.bit(4), self.bit(3)) {
            (_, true, true) => "uc",
            (_, true, false) => "wc",
            (_, false, true) => "wt",
            (true, false, false) => "wp",
            (false, false, false) => "wb",
        }
    }
}

impl fmt::Debug for RawEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{RawEntry, Rights, Target};
    use crate::arch::paging::PageTableEntry;
    use crate::mm::page_table::{PageTableEntryTrait, PtFlags};
    use crate::mm::{CachePolicy, PageFlags, PageProperty, PrivilegedPageFlags};
    use crate::prelude::*;

    const PROCESSOR: (u32, u8) = (40, 3);

    #[ktest]
    fn inspector_reads_what_the_encoder_writes() {
        for (level, paddr) in [(1, 0x1234_5000), (2, 0x60_0000), (3, 0xc000_0000)] {
            for flags in (0..8).filter_map(PageFlags::from_bits) {
                for cache in [
                    (CachePolicy::Writeback, "wb"),
                    (CachePolicy::Writethrough, "wt"),
                    (CachePolicy::WriteCombining, "wc"),
                    (CachePolicy::Uncacheable, "uc"),
                    (CachePolicy::WriteProtected, "wp"),
                ] {
                    for priv_flags in [PrivilegedPageFlags::USER, PrivilegedPageFlags::GLOBAL] {
                        let prop = PageProperty {
                            flags,
                            cache: cache.0,
                            priv_flags,
                        };
                        let bits = PageTableEntry::new_page(paddr, level, prop).as_usize();
                        let entry = RawEntry(bits as u64);
                        let expected = if flags.contains(PageFlags::R) {
                            Target::Page(paddr)
                        } else {
                            Target::Hidden
                        };
                        assert_eq!(entry.target(level), expected);
                        let rights = Rights {
                            write: flags.contains(PageFlags::W),
                            user: priv_flags == PrivilegedPageFlags::USER,
                            execute: flags.contains(PageFlags::X),
                        };
                        assert_eq!(entry.rights(), rights);
                        assert_eq!(entry.is_global(), !rights.user);
                        assert_eq!(entry.cache(level), cache.1);
                        assert_eq!(entry.reserved_bits(level, PROCESSOR), 0);
                    }
                }
            }
        }
        let table = PageTableEntry::new_pt(0x5000, PtFlags::empty()).as_usize();
        assert_eq!(RawEntry(table as u64).target(2), Target::Node(0x5000));
        assert_eq!(RawEntry(0).target(1), Target::Nothing);
    }

    #[ktest]
    fn reserved_bits_are_those_of_the_level_and_of_the_processor() {
        let reserved = |bits, level| RawEntry(bits).reserved_bits(level, PROCESSOR);
        assert_eq!(reserved(0x81, 4), 0x80, "no page is that large");
        assert_eq!(reserved(0x2081, 2), 0x2000, "not aligned");
        assert_eq!(reserved(0x2000_0081, 3), 0x2000_0000);
        assert_eq!(reserved(0x1081, 3), 0, "the attribute bit");
        assert_eq!(reserved(1 << 40 | 1, 1), 1 << 40, "no such address");
        assert_eq!(reserved(1 << 52 | 1, 1), 1 << 52, "nobody's");
        assert_eq!(reserved(1 << 63 | 1, 1), 0, "no-execute pages are on");
        assert_eq!(reserved(1 << 40, 1), 0, "the hardware does not look");
        let without_huge = RawEntry(0x81).reserved_bits(3, (40, 2));
        assert_eq!(without_huge, 0x80, "the processor has no such pages");
    }
}
