//! `PageTable64` of the crate `page_table_multiarch`, in its x86-64 form.

use std::cell::RefCell;
use std::hint::black_box;

use memory_addr::{PhysAddr, VirtAddr};
use nucleus::bench::Meter;
use page_table_multiarch::x86_64::X64PageTable;
use page_table_multiarch::{MappingFlags, PageSize, PagingHandler};

use super::Arena;

std::thread_local! {
    static ARENA: RefCell<Option<Arena>> = const { RefCell::new(None) };
    static BASE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Gives out pages of the arena.
struct Pages;

impl PagingHandler for Pages {
    fn alloc_frames(num: usize, _align: usize) -> Option<PhysAddr> {
        assert_eq!(num, 1, "tables are single pages");
        ARENA.with_borrow(|arena| arena.as_ref().map(|arena| arena.alloc().into()))
    }

    fn dealloc_frames(_paddr: PhysAddr, _num: usize) {}

    fn phys_to_virt(paddr: PhysAddr) -> VirtAddr {
        (BASE.get() + paddr.as_usize()).into()
    }
}

type Table = X64PageTable<Pages>;

fn vaddr(number: usize) -> VirtAddr {
    ((1 << 30) + number * 4096).into()
}

fn paddr(number: usize) -> PhysAddr {
    ((1 << 32) + number * 4096).into()
}

const FLAGS: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

fn with_table(mapped: usize, body: impl FnOnce(&mut Table)) {
    let arena = Arena::new();
    BASE.set(arena.base());
    ARENA.set(Some(arena));
    let mut table = Table::try_new().expect("the arena has pages");
    {
        let mut cursor = table.cursor();
        for number in 0..mapped.max(1) {
            let mapped = cursor.map(vaddr(number), paddr(number), PageSize::Size4K, FLAGS);
            mapped.expect("it is not mapped yet");
        }
        if mapped == 0 {
            // The upper tables are there, whatever is mapped.
            cursor.unmap(vaddr(0)).expect("it is mapped");
        }
    }
    body(&mut table);
    drop(table);
    ARENA.set(None);
}

pub(crate) fn map(meter: &mut dyn Meter) {
    with_table(0, |table| {
        meter.measure(&mut || {
            let mut cursor = table.cursor();
            for number in 0..512 {
                let mapped = cursor.map(vaddr(number), paddr(number), PageSize::Size4K, FLAGS);
                mapped.expect("it is not mapped yet");
            }
        });
    });
}

pub(crate) fn query(meter: &mut dyn Meter) {
    with_table(512, |table| {
        meter.measure(&mut || {
            for number in 0..512 {
                let _ = black_box(table.query(vaddr(number)));
            }
        });
    });
}

pub(crate) fn protect(meter: &mut dyn Meter) {
    with_table(512, |table| {
        meter.measure(&mut || {
            let mut cursor = table.cursor();
            for number in 0..512 {
                let changed = cursor.protect(vaddr(number), MappingFlags::READ);
                changed.expect("it is mapped");
            }
        });
    });
}

pub(crate) fn unmap(meter: &mut dyn Meter) {
    with_table(512, |table| {
        meter.measure(&mut || {
            let mut cursor = table.cursor();
            for number in 0..512 {
                let _ = black_box(cursor.unmap(vaddr(number)).expect("it is mapped"));
            }
        });
    });
}
