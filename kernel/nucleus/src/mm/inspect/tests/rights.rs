//! What is writable and executable is found, in whatever way it is.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::mm::inspect::rights::{Constants, Fault, inspect};
use crate::mm::kspace::KVirtArea;

/// An area of a page, and where its frame is.
fn area(flags: PageFlags) -> (KVirtArea, Paddr) {
    let frame = frame();
    let paddr = frame.start_paddr();
    let prop = PageProperty::new_kernel(flags, CachePolicy::Writeback);
    let area = KVirtArea::map_frames(PAGE_SIZE, 0, [frame].into_iter(), prop);
    (area.expect("enough memory"), paddr)
}

fn faults(constants: &Constants) -> Vec<Fault> {
    let report = inspect(kernel_root(), constants);
    assert_eq!(report.nr_violations, report.first.len());
    report.first.iter().map(|found| found.fault).collect()
}

#[test]
fn rights_of_a_sound_table_are_in_order_and_all_is_counted() {
    on_machine(|| {
        let (_area, _) = area(PageFlags::RW);
        let report = inspect(kernel_root(), &Constants::default());
        assert_eq!((report.nr_violations, report.executable), (0, 0));
        assert_eq!(report.pages, [1, 0, 0]);
        assert!(report.tables >= 256 + 2);
    });
}

#[test]
fn page_that_can_be_written_and_executed_is_found_unless_a_table_above_forbids_it() {
    on_machine(|| {
        let (area, _) = area(PageFlags::RW);
        let leaf = entry(kernel_root(), area.start(), 1);
        let constants = Constants {
            text: vec![area.range()],
            frames: Vec::new(),
        };
        with_entry(leaf, bits(leaf) & !NO_EXECUTE, || {
            assert_eq!(faults(&constants), [Fault::WritableAndExecutable]);
            for level in 2..=4 {
                let above = entry(kernel_root(), area.start(), level);
                let forbidden = bits(above) | NO_EXECUTE;
                with_entry(above, forbidden, || assert_eq!(faults(&constants), []));
                let constant = bits(above) & !WRITABLE;
                with_entry(above, constant, || assert_eq!(faults(&constants), []));
            }
        });
    });
}

#[test]
fn text_elsewhere_and_ways_for_users_are_found() {
    on_machine(|| {
        let (area, _) = area(PageFlags::RX);
        let text = Constants {
            text: vec![area.range()],
            frames: Vec::new(),
        };
        assert_eq!(faults(&text), []);
        assert_eq!(faults(&Constants::default()), [Fault::ExecutableElsewhere]);
        for level in 1..=4 {
            let slot = entry(kernel_root(), area.start(), level);
            with_entry(slot, bits(slot) | USER, || {
                assert_eq!(faults(&text), [Fault::ForUsers], "at level {level}");
            });
        }
    });
}

#[test]
fn page_by_which_constants_could_be_written_is_found_also_as_a_part_of_a_larger_one() {
    on_machine(|| {
        let (_area, paddr) = area(PageFlags::RW);
        let constants = |frames| Constants {
            text: Vec::new(),
            frames: vec![frames],
        };
        let found = faults(&constants(paddr..paddr + PAGE_SIZE));
        assert_eq!(found, [Fault::WritableAlias]);
        assert_eq!(
            faults(&constants(paddr + PAGE_SIZE..paddr + 2 * PAGE_SIZE)),
            []
        );
        // As a linear map of huge pages would have it.
        let huge = entry(kernel_root(), 0xffff_8000_0000_0000, 3);
        with_entry(huge, NO_EXECUTE | 0x183, || {
            let found = faults(&constants(0x40_0000..0x40_1000));
            assert_eq!(found, [Fault::WritableAlias]);
        });
        with_entry(huge, NO_EXECUTE | 0x181, || {
            assert_eq!(faults(&constants(0x40_0000..0x40_1000)), []);
        });
    });
}

#[test]
fn users_half_reserved_bits_and_tables_nowhere_are_found() {
    on_machine(|| {
        let none = Constants::default();
        let first = entry(kernel_root(), 0, 4);
        with_entry(first, HOLE as u64 | 3, || {
            assert_eq!(faults(&none), [Fault::UserHalf]);
        });
        let (area, _) = area(PageFlags::RW);
        let leaf = entry(kernel_root(), area.start(), 1);
        with_entry(leaf, bits(leaf) | 1 << 55, || {
            assert_eq!(faults(&none), [Fault::ReservedBits]);
        });
        let table = entry(kernel_root(), area.start(), 2);
        with_entry(table, HOLE as u64 | 3, || {
            assert_eq!(faults(&none), [Fault::TableOutsideMemory]);
        });
        with_entry(table, 1 << 51 | 3, || {
            assert_eq!(faults(&none), [Fault::TableOutsideMemory]);
        });
        assert_eq!(faults(&none), []);
    });
}
