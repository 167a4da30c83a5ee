//! How a page may be mapped, as a number and as a property.

use alloc::format;

use model::Property;

use super::pair::Disagreement;
use crate::mm::{CachePolicy, PageFlags, PageProperty, PrivilegedPageFlags};

/// A property's number has these bits for what may be done, the number of a
/// cache policy above them, and above that what the hardware has marked.
pub(super) const R: Property = 1 << 0;
pub(super) const W: Property = 1 << 1;
pub(super) const X: Property = 1 << 2;
const CACHE_SHIFT: u32 = 3;
pub(super) const ACCESSED: Property = 1 << 6;
pub(super) const DIRTY: Property = 1 << 7;
const MARKS: Property = ACCESSED | DIRTY;

const CACHES: [CachePolicy; 5] = [
    CachePolicy::Writeback,
    CachePolicy::Writethrough,
    CachePolicy::WriteCombining,
    CachePolicy::Uncacheable,
    CachePolicy::WriteProtected,
];

/// How many numbers there are of properties without marks.
pub(super) const NR_PROPERTIES: usize = CACHES.len() << CACHE_SHIFT;

const FLAGS: [(Property, PageFlags); 5] = [
    (R, PageFlags::R),
    (W, PageFlags::W),
    (X, PageFlags::X),
    (ACCESSED, PageFlags::ACCESSED),
    (DIRTY, PageFlags::DIRTY),
];

/// Returns the property of a number.
pub(super) fn property(number: Property) -> PageProperty {
    let has = FLAGS.iter().filter(|(bit, _)| number & bit != 0);
    PageProperty {
        flags: has.map(|(_, flag)| *flag).collect(),
        cache: CACHES[usize::from(number & !MARKS) >> CACHE_SHIFT],
        priv_flags: PrivilegedPageFlags::USER,
    }
}

/// Returns the number of a property, if it has one.
pub(super) fn number_of(prop: PageProperty) -> Result<Property, Disagreement> {
    let has = FLAGS.iter().filter(|(_, flag)| prop.flags.contains(*flag));
    let bits: Property = has.map(|(bit, _)| bit).sum();
    let caches = 0..CACHES.len() as Property;
    caches
        .map(|cache| bits | cache << CACHE_SHIFT)
        .find(|number| property(*number) == prop)
        .ok_or_else(|| format!("nobody mapped anything with {prop:?}"))
}

/// How a protection changes properties.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// What comes of it, without marks.
    pub(super) to: Property,
    /// Whether marks stay.
    pub(super) keeps_marks: bool,
}

impl Change {
    pub(super) fn of_number(self, old: Property) -> Property {
        self.to | if self.keeps_marks { old & MARKS } else { 0 }
    }

    pub(super) fn of_property(self, old: PageProperty) -> PageProperty {
        let new = property(self.to);
        let marks = PageFlags::ACCESSED | PageFlags::DIRTY;
        let kept = if self.keeps_marks {
            old.flags & marks
        } else {
            PageFlags::empty()
        };
        PageProperty {
            flags: new.flags | kept,
            ..new
        }
    }
}
