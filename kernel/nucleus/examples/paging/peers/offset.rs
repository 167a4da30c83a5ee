//! `OffsetPageTable` of the crate `x86_64`.

use nucleus::bench::Meter;
use x86_64::structures::paging::mapper::Mapper;
use x86_64::structures::paging::{
    FrameAllocator, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
    Translate,
};
use x86_64::{PhysAddr, VirtAddr};

use super::Arena;

// SAFETY: Each page of the arena is given out once.
unsafe impl FrameAllocator<Size4KiB> for &Arena {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        Some(PhysFrame::containing_address(PhysAddr::new(
            self.alloc() as u64
        )))
    }
}

fn page(number: u64) -> Page {
    Page::containing_address(VirtAddr::new((1 << 30) + number * 4096))
}

fn frame(number: u64) -> PhysFrame {
    PhysFrame::containing_address(PhysAddr::new((1 << 32) + number * 4096))
}

const FLAGS: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE);

fn map_page(table: &mut OffsetPageTable<'_>, mut arena: &Arena, number: u64) {
    // SAFETY: No processor uses the table.
    let mapped = unsafe { table.map_to(page(number), frame(number), FLAGS, &mut arena) };
    mapped.expect("it is not mapped yet").ignore();
}

fn with_table(mapped: bool, body: impl FnOnce(&mut OffsetPageTable<'_>, &Arena)) {
    let arena = Arena::new();
    let base = VirtAddr::new(arena.base() as u64);
    let root = (arena.base() + arena.alloc()) as *mut PageTable;
    // SAFETY: The page is zeroed, which is an empty table, and the table's own.
    let root = unsafe { &mut *root };
    // SAFETY: All tables are in the arena, which starts at this address.
    let mut table = unsafe { OffsetPageTable::new(root, base) };
    // The upper tables are there, whatever is mapped.
    map_page(&mut table, &arena, 0);
    if mapped {
        (1..512).for_each(|number| map_page(&mut table, &arena, number));
    } else {
        table.unmap(page(0)).expect("it is mapped").1.ignore();
    }
    body(&mut table, &arena);
}

pub(crate) fn map(meter: &mut dyn Meter) {
    with_table(false, |table, arena| {
        meter.measure(&mut || (0..512).for_each(|number| map_page(table, arena, number)));
    });
}

pub(crate) fn query(meter: &mut dyn Meter) {
    with_table(true, |table, _| {
        meter.measure(&mut || {
            for number in 0..512 {
                std::hint::black_box(table.translate(page(number).start_address()));
            }
        });
    });
}

pub(crate) fn protect(meter: &mut dyn Meter) {
    with_table(true, |table, _| {
        meter.measure(&mut || {
            for number in 0..512 {
                // SAFETY: No processor uses the table.
                let changed = unsafe { table.update_flags(page(number), PageTableFlags::PRESENT) };
                changed.expect("it is mapped").ignore();
            }
        });
    });
}

pub(crate) fn unmap(meter: &mut dyn Meter) {
    with_table(true, |table, _| {
        meter.measure(&mut || {
            for number in 0..512 {
                table.unmap(page(number)).expect("it is mapped").1.ignore();
            }
        });
    });
}
