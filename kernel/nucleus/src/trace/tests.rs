//! Are events kept, merged, counted and told as they happened?

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::event::Clock;
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
            took: 1500,
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

/// A clock of one cycle a nanosecond.
const CLOCK: Clock = Clock {
    time_of: |cycles| Some(Duration::from_nanos(cycles)),
    uptime_at: |cycles| Some(Duration::from_nanos(cycles)),
};

/// A machine that does not know how long a cycle takes.
const NO_CLOCK: Clock = Clock {
    time_of: |_| None,
    uptime_at: |_| None,
};

#[ktest]
fn events_come_back_as_they_were_recorded() {
    let ring = Box::new(Ring::new());
    assert_eq!(ring.get(0), None, "nothing was recorded");
    for (number, event) in (0..).zip(events()) {
        ring.record(number + 7, event);
        assert_eq!(ring.get(number), Some((number + 7, event)));
    }
}

#[ktest]
fn full_ring_loses_the_oldest() {
    let ring = Box::new(Ring::new());
    let nr = CAPACITY as u64 + 3;
    for last in 0..nr {
        let event = Event::Served { table: last };
        ring.count(&event);
        ring.record(last + 1, event);
    }
    assert_eq!(ring.numbers(), 3..nr);
    let kept: Vec<_> = ring
        .numbers()
        .filter_map(|number| ring.get(number))
        .collect();
    assert_eq!(kept.len(), CAPACITY);
    assert_eq!(kept[0], (4, Event::Served { table: 3 }));
    assert_eq!(ring.nr(Count::Served), nr, "counts lose nothing");
}

#[ktest]
fn events_of_several_processors_are_told_in_the_order_of_their_times() {
    let rings: Vec<_> = (0..3).map(|_| Ring::new()).collect();
    for time in 1..31 {
        // The second one has nothing to tell.
        let ring = &rings[time as usize % 2 * 2];
        ring.record(time * 1000, Event::Served { table: time });
    }
    let mut text = String::new();
    write_latest(&mut text, rings.iter(), CLOCK, 3).expect("strings take all");
    let wanted = "the last 3 events of 30:\n  \
                  [    0.000028] cpu 0: served requests to flush, table 28\n  \
                  [    0.000029] cpu 2: served requests to flush, table 29\n  \
                  [    0.000030] cpu 0: served requests to flush, table 30\n";
    assert_eq!(text, wanted);
    text.clear();
    write_latest(&mut text, rings[1..2].iter(), CLOCK, 3).expect("strings take all");
    assert_eq!(text, "", "where nothing was recorded, nothing is said");
}

#[ktest]
fn events_are_told_in_cycles_where_nobody_knows_how_long_these_take() {
    let ring = Box::new(Ring::new());
    ring.record(7, events()[1]);
    let mut text = String::new();
    let rings = core::iter::once(&*ring);
    write_latest(&mut text, rings, NO_CLOCK, 3).expect("strings take all");
    let wanted = "the last 1 events of 1:\n  \
                  [cycle 7] cpu 0: fault resolved: 0x1000, in 1500 cycles\n";
    assert_eq!(text, wanted);
}

#[ktest]
fn summary_adds_up_what_the_processors_have_counted() {
    let rings: Vec<_> = (0..2).map(|_| Ring::new()).collect();
    for event in events() {
        rings[0].count(&event);
        rings[1].count(&event);
    }
    let everything = Event::Flush {
        table: 0,
        first: 0,
        pages: 0,
        nr_asked: 1,
    };
    rings[1].count(&everything);
    let mut text = String::new();
    write_summary(&mut text, || rings.iter(), CLOCK).expect("strings take all");
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

/// Machines record while their tests run.
mod live {
    use alloc::vec::Vec;

    use crate::arch::cpu;
    use crate::cpu::disable_preempt;
    use crate::mm::{
        CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, VmSpace,
    };
    use crate::prelude::*;
    use crate::trace::{Event, Group, record};

    const BASE: Vaddr = 0x40_0000;

    /// Returns what this processor records while something is done.
    fn recorded(body: impl FnOnce()) -> Vec<Event> {
        let _stays_here = disable_preempt();
        let ring = &cpu::local().events;
        let before = ring.numbers().end;
        body();
        let numbers = before..ring.numbers().end;
        numbers
            .filter_map(|number| ring.get(number))
            .map(|(_, event)| event)
            .collect()
    }

    #[ktest]
    fn event_is_recorded_where_it_happens_without_being_asked_for() {
        let event = Event::Served { table: 12345 };
        let all = recorded(|| record(Group::TLB, || event));
        assert!(all.contains(&event), "{all:?}");
    }

    #[ktest]
    fn flush_of_a_range_is_recorded_with_its_address() {
        const NR_PAGES: usize = 3;
        let space = VmSpace::new().expect("enough memory");
        let range = BASE..BASE + NR_PAGES * PAGE_SIZE;
        let all = recorded(|| {
            let guard = disable_preempt();
            let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
            for _ in 0..NR_PAGES {
                let frame = FrameAllocOptions::new().alloc_frame();
                let frame: UFrame = frame.expect("enough memory").into();
                let property = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
                cursor.map(frame, property).expect("enough memory");
            }
            cursor.jump(BASE).expect("in the range");
            assert_eq!(cursor.unmap(NR_PAGES * PAGE_SIZE), Ok(NR_PAGES));
        });
        let is_it = |event: &Event| matches!(event, Event::Flush { first: BASE, .. });
        assert!(all.iter().any(is_it), "{all:?}");
    }
}
