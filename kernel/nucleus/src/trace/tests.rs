//! Are events kept, merged, counted and told as they happened?

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::report::{write_latest, write_summary};
use super::ring::{CAPACITY, Count, Ring};
use super::{Event, Group};
use crate::prelude::*;
use crate::trap_decode::PageFaultCode;

fn events() -> [Event; 5] {
    [
        Event::Fault {
            address: 0x7fff_ffff_e123,
            ip: usize::MAX,
            code: PageFaultCode::USER | PageFaultCode::WRITE,
        },
        Event::FaultEnd {
            address: 0x1000,
            took: Duration::from_nanos(1500),
            is_resolved: true,
        },
        Event::Flush {
            table: 7,
            first: 0x40_0000,
            pages: u16::MAX,
            nr_asked: 63,
        },
        Event::Served { table: u64::MAX },
        Event::Switch { from: 1, to: 2 },
    ]
}

fn at(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds)
}

#[ktest]
fn events_come_back_as_they_were_recorded() {
    let ring = Box::new(Ring::new());
    assert_eq!(ring.get(0), None, "nothing was recorded");
    for (number, event) in (0..).zip(events()) {
        ring.record(at(number), event);
        assert_eq!(ring.get(number), Some((at(number), event)));
    }
}

#[ktest]
fn full_ring_loses_the_oldest() {
    let ring = Box::new(Ring::new());
    let nr = CAPACITY as u64 + 3;
    for last in 0..nr {
        ring.record(at(last), Event::Served { table: last });
    }
    assert_eq!(ring.numbers(), 3..nr);
    assert_eq!(ring.get(2), None, "its place is another's");
    let kept: Vec<_> = ring
        .numbers()
        .filter_map(|number| ring.get(number))
        .collect();
    assert_eq!(kept.len(), CAPACITY);
    assert_eq!(kept[0], (at(3), Event::Served { table: 3 }));
    assert_eq!(ring.nr(Count::Served), nr, "counts lose nothing");
}

#[ktest]
fn events_of_several_processors_are_told_in_the_order_of_their_times() {
    let rings: Vec<_> = (0..3).map(|_| Ring::new()).collect();
    for time in 0..30 {
        // The second one has nothing to tell.
        let ring = &rings[time as usize % 2 * 2];
        ring.record(at(time * 1000), Event::Served { table: time });
    }
    let mut text = String::new();
    write_latest(&mut text, &rings, 3).expect("strings take all");
    let wanted = "the last 3 events of 30:\n  \
                  [    0.000027] cpu 2: served requests to flush, table 27\n  \
                  [    0.000028] cpu 0: served requests to flush, table 28\n  \
                  [    0.000029] cpu 2: served requests to flush, table 29\n";
    assert_eq!(text, wanted);
    text.clear();
    write_latest(&mut text, &rings[1..2], 3).expect("strings take all");
    assert_eq!(text, "", "where nothing was recorded, nothing is said");
}

#[ktest]
fn summary_adds_up_what_the_processors_have_counted() {
    let rings: Vec<_> = (0..2).map(|_| Ring::new()).collect();
    for event in events() {
        rings[0].record(at(0), event);
        rings[1].record(at(0), event);
    }
    let everything = Event::Flush {
        table: 0,
        first: 0,
        pages: 0,
        nr_asked: 1,
    };
    rings[1].record(at(1), everything);
    let mut text = String::new();
    write_summary(&mut text, &rings).expect("strings take all");
    let wanted = "trace: faults: 2 of programs, 0 of the kernel in their memory; 2 resolved, 0 \
                  refused; 1500 ns each\n\
                  trace: flushes by pages: 1: 0; 2-3: 0; 4-7: 0; 8-15: 0; 16 and more: 2; all: 1; \
                  127 requests to others, 2 times served\n\
                  trace: switches of tasks: 2\n";
    assert_eq!(text, wanted);
}

#[ktest]
fn groups_are_read_by_their_names() {
    assert_eq!(Group::parse("fault,tlb"), Some(Group::FAULT | Group::TLB));
    assert_eq!(Group::parse("all"), Some(Group::all()));
    assert_eq!(Group::parse("off"), Some(Group::empty()));
    for bad in ["", "fault,", "Fault", "flush"] {
        assert_eq!(Group::parse(bad), None, "{bad}");
    }
}

/// The machine records while its tests run.
#[cfg(ktest)]
mod live {
    use super::super::{Event, Group, RINGS, groups};
    use crate::cpu::{CpuId, disable_preempt};
    use crate::mm::{
        CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, VmSpace,
    };
    use crate::prelude::*;

    const BASE: Vaddr = 0x40_0000;

    #[ktest]
    fn flush_of_a_page_is_recorded_with_its_address() {
        assert_eq!(groups(), Group::all(), "a kernel with its tests records");
        let space = VmSpace::new().expect("enough memory");
        let guard = disable_preempt();
        let cursor = space.cursor_mut(&guard, &(BASE..BASE + PAGE_SIZE));
        let mut cursor = cursor.expect("a legal range");
        let frame = FrameAllocOptions::new().alloc_frame();
        let frame: UFrame = frame.expect("enough memory").into();
        let property = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
        cursor.map(frame, property).expect("enough memory");
        cursor.jump(BASE).expect("in the range");
        let ring = &RINGS.get().expect("they are there")[CpuId::current(&guard).as_usize()];
        let before = ring.numbers().end;
        assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
        drop(cursor);
        let events = (before..ring.numbers().end).filter_map(|number| ring.get(number));
        let is_it = |event: &Event| matches!(event, Event::Flush { first: BASE, .. });
        assert!(events.map(|(_, event)| event).any(|event| is_it(&event)));
    }
}
