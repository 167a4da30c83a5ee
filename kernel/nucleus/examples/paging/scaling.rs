//! Scaling: what two processors get done at once that have nothing to do with each
//! other, as a multiple of what one gets done. 2.0 would be perfect.
//!
//! Wall time of threads of the host that play the processors; the machine has no
//! checker and no TLBs. Each measurement is repeated and the fastest counts, so that
//! what else the host does matters little; a host with a single core measures nothing.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use nucleus::arch::sim::{Config, Machine};
use nucleus::cpu::disable_preempt;
use nucleus::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, VmSpace,
};

use super::Show;

const OPERATIONS: usize = 500_000;
const REPETITIONS: usize = 7;
const BASE: usize = 1 << 39;
/// How far apart the processors work in a space that they share: in tables of their
/// own up to the third level.
const APART: usize = 1 << 30;
const ENOUGH: &str = "there is enough memory";

/// Where the processors work.
#[derive(Clone, Copy)]
enum Place {
    OwnSpaces,
    OneSpace,
}

/// What a processor does with a page, over and over.
#[derive(Clone, Copy)]
enum Work {
    /// A frame of its own is mapped and unmapped.
    SameFrame,
    /// A frame is allocated, mapped, unmapped and so freed.
    FreshFrames,
}

/// Shows all figures.
pub(crate) fn run(show: Show<'_>) {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("note: one core cannot show how two scale");
        return;
    }
    for (name, place, work) in [
        ("own-spaces", Place::OwnSpaces, Work::SameFrame),
        ("own-spaces/alloc+free", Place::OwnSpaces, Work::FreshFrames),
        ("one-space/1g-apart", Place::OneSpace, Work::SameFrame),
        (
            "one-space/1g-apart/alloc+free",
            Place::OneSpace,
            Work::FreshFrames,
        ),
    ] {
        let best = |cpus| {
            let measured = (0..REPETITIONS).map(|_| measure(cpus, place, work));
            measured.min().expect("it is measured several times")
        };
        show(&format!("scaling/map+unmap/{name}"), "of 2.0", &|| {
            let (one, two) = (best(1), best(2));
            format!("{:.2}", 2.0 * one.as_secs_f64() / two.as_secs_f64())
        });
    }
}

/// Returns the time in which each of some processors does all of its operations.
fn measure(cpus: usize, place: Place, work: Work) -> Duration {
    let machine = Machine::new(Config {
        ram: 64 << 20,
        cpus,
        checked: false,
        ..Config::default()
    });
    let shared = machine.on(0, new_space);
    let barrier = Barrier::new(cpus);
    let play = |cpu: usize| {
        machine.on(cpu, || {
            let space = match place {
                Place::OwnSpaces => new_space(),
                Place::OneSpace => Arc::clone(&shared),
            };
            let va = BASE + cpu * APART;
            let frame = new_frame();
            // The tables are made, and stay: a neighbour is mapped.
            map(&space, va + PAGE_SIZE, frame.clone());
            barrier.wait();
            let start = Instant::now();
            for _ in 0..OPERATIONS {
                match work {
                    Work::SameFrame => map(&space, va, frame.clone()),
                    Work::FreshFrames => map(&space, va, new_frame()),
                }
                unmap(&space, va);
            }
            start.elapsed()
        })
    };
    let play = &play;
    let slowest = thread::scope(|scope| {
        let threads: Vec<_> = (0..cpus)
            .map(|cpu| scope.spawn(move || play(cpu)))
            .collect();
        let times = threads.into_iter().map(|thread| thread.join());
        times.map(|time| time.expect("nothing fails")).max()
    });
    machine.on(0, || drop(shared));
    slowest.expect("there is a processor")
}

pub(super) fn new_space() -> Arc<VmSpace> {
    Arc::new(VmSpace::new().expect(ENOUGH))
}

fn new_frame() -> UFrame {
    let frame = FrameAllocOptions::new().zeroed(false).alloc_frame();
    frame.expect(ENOUGH).into()
}

pub(super) fn map(space: &VmSpace, va: usize, frame: UFrame) {
    let guard = disable_preempt();
    let range = va..va + PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    let prop = PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback);
    cursor.map(frame, prop).expect(ENOUGH);
}

fn unmap(space: &VmSpace, va: usize) {
    let guard = disable_preempt();
    let range = va..va + PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
}
