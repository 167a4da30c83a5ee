//! Which words of the image depend on its base: the table that the linker leaves
//! (System V gABI, 5, "Dynamic Section"; psABI for AMD64, 4.4).
//!
//! A position-independent image without symbols to be bound has relocations of one
//! kind, `R_X86_64_RELATIVE`: the word at `base + offset` is `base + addend`. Anything
//! else is refused, and so is a table of another kind (`DT_REL`, `DT_RELR`).

use core::ops::Range;

use elf::abi::{DT_JMPREL, DT_REL, DT_RELA, DT_RELAENT, DT_RELASZ, R_X86_64_RELATIVE};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::relocation::{Rela, RelaIterator};

/// The tag of a table of relative relocations in short form, younger than the others.
const DT_RELR: i64 = 36;
/// Bytes of an entry of the table.
const ENTRY_SIZE: u64 = 24;

/// A word that depends on the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relative {
    /// Where it is, from the base.
    pub(crate) offset: usize,
    /// Where it points to, from the base.
    pub(crate) addend: usize,
}

impl Relative {
    /// Checks an entry against an image of `image_size` bytes: the word is aligned
    /// and inside, and it points inside, or to the image's end.
    pub(crate) fn new(entry: &Rela, image_size: usize) -> Option<Self> {
        let offset = usize::try_from(entry.r_offset).ok()?;
        let addend = usize::try_from(entry.r_addend).ok()?;
        let is_relative = entry.r_type == R_X86_64_RELATIVE && entry.r_sym == 0;
        let word_end = offset.checked_add(size_of::<usize>())?;
        let is_inside = word_end <= image_size && addend <= image_size;
        let is_aligned = offset.is_multiple_of(size_of::<usize>());
        (is_relative && is_inside && is_aligned).then_some(Self { offset, addend })
    }
}

/// Returns the words that a table names; `None` if one is not understood.
pub(crate) fn words<'a>(
    table: &'a [u8],
    image_size: usize,
) -> Option<impl Iterator<Item = Relative> + use<'a>> {
    let words = move || {
        let entries = RelaIterator::new(LittleEndian, Class::ELF64, table);
        entries.map(move |entry| Relative::new(&entry, image_size))
    };
    let are_understood = words().all(|word| word.is_some());
    are_understood.then(|| words().flatten())
}

/// Finds the table by the tags and values of the image's dynamic section; returns its
/// bytes' offsets from the base, or `None` if there are relocations of a kind that
/// is not understood.
pub(crate) fn find_table(dynamic: impl Iterator<Item = (i64, u64)>) -> Option<Range<usize>> {
    let (mut start, mut size, mut entry_size) = (0, 0, ENTRY_SIZE);
    for (tag, value) in dynamic {
        match tag {
            DT_RELA => start = value,
            DT_RELASZ => size = value,
            DT_RELAENT => entry_size = value,
            DT_REL | DT_RELR | DT_JMPREL => return None,
            _ => {}
        }
    }
    let is_understood = entry_size == ENTRY_SIZE && size.is_multiple_of(ENTRY_SIZE);
    let end = start.checked_add(size).filter(|_| is_understood)?;
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

#[cfg(any(test, ktest))]
mod tests {
    use elf::abi::{DT_NULL, DT_RELA, DT_RELAENT, DT_RELASZ};
    use elf::relocation::Rela;

    use super::{DT_RELR, Relative, find_table, words};
    use crate::prelude::*;

    const SIZE: usize = 0x10_0000;

    fn entry(r_offset: u64, r_addend: i64) -> Rela {
        Rela {
            r_offset,
            r_sym: 0,
            r_type: 8,
            r_addend,
        }
    }

    #[ktest]
    fn relocation_inside_the_image_is_understood() {
        let words = [(0, 0), (0xf_fff8, 0x10_0000), (0x1000, 0x2345)];
        for (offset, addend) in words {
            let relative = Relative::new(&entry(offset as u64, addend as i64), SIZE);
            assert_eq!(relative, Some(Relative { offset, addend }));
        }
    }

    #[ktest]
    fn relocation_outside_the_image_or_of_another_kind_is_refused() {
        let symbol = Rela {
            r_sym: 1,
            ..entry(0, 0)
        };
        // R_X86_64_64 and R_X86_64_32.
        let kinds = [1, 10].map(|r_type| Rela {
            r_type,
            ..entry(0, 0)
        });
        let places = [
            entry(0x10_0000, 0),
            entry(0xf_fffc, 0),
            entry(4, 0),
            entry(u64::MAX - 7, 0),
            entry(0, 0x10_0001),
            entry(0, -1),
            entry(0, i64::MAX),
        ];
        for bad in places.iter().chain(&kinds).chain([&symbol]) {
            assert_eq!(Relative::new(bad, SIZE), None, "{bad:?}");
        }
    }

    #[ktest]
    fn relocations_are_all_understood_or_none_is_named() {
        let mut table = [0; 48];
        for (at, value) in [
            (0, 0x1000),
            (8, 8),
            (16, 0x20),
            (24, 0x2000),
            (32, 8),
            (40, 0x30),
        ] {
            table[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
        }
        let found = words(&table, SIZE).expect("both are understood");
        assert!(
            found
                .map(|word| (word.offset, word.addend))
                .eq([(0x1000, 0x20), (0x2000, 0x30)])
        );
        assert_eq!(words(&[], SIZE).map(Iterator::count), Some(0));
        table[32] = 1;
        assert!(words(&table, SIZE).is_none());
    }

    fn table(entries: &[(i64, u64)]) -> Option<core::ops::Range<usize>> {
        find_table(entries.iter().copied())
    }

    #[ktest]
    fn table_of_relocations_is_found_or_refused() {
        let usual = [
            (DT_RELA, 0x248),
            (DT_RELASZ, 48),
            (DT_RELAENT, 24),
            (DT_NULL, 0),
        ];
        assert_eq!(table(&usual), Some(0x248..0x278));
        // An image without relocations can be moved, too.
        assert_eq!(table(&[]), Some(0..0));
        for bad in [
            &[(DT_RELA, 8), (DT_RELASZ, 25)][..],
            &[(DT_RELA, 8), (DT_RELASZ, 24), (DT_RELAENT, 16)],
            &[(DT_RELA, u64::MAX), (DT_RELASZ, 24)],
            &[(DT_RELR, 8)],
        ] {
            assert_eq!(table(bad), None, "{bad:?}");
        }
    }
}
