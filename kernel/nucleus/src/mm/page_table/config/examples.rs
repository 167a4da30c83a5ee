//! Configurations that break a law on purpose: the documentation shows that
//! they do not compile.

use core::marker::PhantomData;
use core::ops::Range;

use super::{PageTableConfig, PtFlags};
use crate::arch::paging::PageTableEntry;
use crate::mm::paging::PagingConsts;
use crate::mm::{Paddr, PageProperty, PagingLevel};

/// A table that manages the root's entries from `START` to `END`.
#[derive(Clone, Debug)]
pub struct Example<const START: usize, const END: usize>;

/// Its range of root entries is reversed.
pub type Reversed = Example<2, 1>;

/// It claims more root entries than a node has.
pub type TooWide = Example<0, 513>;

type Item = (Paddr, PagingLevel, PageProperty);

// SAFETY: 1., 2. the item is its raw form and owns nothing. 3. whoever maps
// chooses the address.
unsafe impl<const START: usize, const END: usize> PageTableConfig for Example<START, END> {
    type E = PageTableEntry;
    type C = PagingConsts;
    type Item = Item;
    type ItemRef<'a> = (Item, PhantomData<&'a ()>);

    const TOP_LEVEL_INDEX_RANGE: Range<usize> = START..END;
    const PT_FLAGS: PtFlags = PtFlags::empty();

    fn item_into_raw(item: Item) -> Item {
        item
    }

    fn item_level(item: &Item) -> PagingLevel {
        item.1
    }

    unsafe fn item_from_raw(paddr: Paddr, level: PagingLevel, prop: PageProperty) -> Item {
        (paddr, level, prop)
    }

    unsafe fn item_ref_from_raw<'a>(
        paddr: Paddr,
        level: PagingLevel,
        prop: PageProperty,
    ) -> (Item, PhantomData<&'a ()>) {
        ((paddr, level, prop), PhantomData)
    }

    fn tracked(_item: &Item) -> bool {
        false
    }
}
