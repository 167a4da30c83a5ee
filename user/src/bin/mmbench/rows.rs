//! The rows, in the order in which they are printed.

use core::hint::black_box;

use crate::report::Filter;
use crate::sys::{self, Kind, Mapping, PAGE, SharedNumber, ticks};

/// A mapping whose tables are eight, full.
const LARGE: usize = 16 << 20;
const LARGE_PAGES: usize = LARGE / PAGE;
/// A mapping of one full table.
const TABLE: usize = 2 << 20;
const TABLE_PAGES: usize = TABLE / PAGE;
/// A mapping of 512 tables.
const SPARSE: usize = 1 << 30;

/// Returns how many ticks something takes.
#[inline(always)]
fn count(something: impl FnOnce()) -> u64 {
    let start = ticks();
    something();
    ticks() - start
}

pub(crate) fn calibrate(rows: &Filter<'_>) {
    const TURNS: u64 = 10_000;
    rows.row("calib_loop_10000", TURNS as usize, || {
        count(|| sys::spin(TURNS))
    });
}

pub(crate) fn calls(rows: &Filter<'_>) {
    const CALLS: usize = 1000;
    rows.row("null_getpid", CALLS, || {
        count(|| {
            for _ in 0..CALLS {
                black_box(sys::process_id());
            }
        })
    });
}

/// One page is mapped and unmapped, again and again.
pub(crate) fn small_mappings(rows: &Filter<'_>) {
    const TURNS: usize = 200;
    rows.row("mmap_munmap_4k_untouched", TURNS, || {
        count(|| {
            for _ in 0..TURNS {
                Mapping::new(PAGE, Kind::Private).unmap();
            }
        })
    });
    rows.rows(["mmap_4k", "munmap_4k_untouched"], TURNS, || {
        let (mut mapping, mut unmapping) = (0, 0);
        for _ in 0..TURNS {
            let start = ticks();
            let page = Mapping::new(PAGE, Kind::Private);
            let middle = ticks();
            page.unmap();
            unmapping += ticks() - middle;
            mapping += middle - start;
        }
        [mapping, unmapping]
    });
    rows.row("mmap_touch_munmap_4k", TURNS, || {
        count(|| {
            for _ in 0..TURNS {
                let page = Mapping::new(PAGE, Kind::Private);
                page.touch(0);
                page.unmap();
            }
        })
    });
}

/// Pages are touched for the first time, and taken away again.
pub(crate) fn first_touches(rows: &Filter<'_>) {
    let touch_and_unmap = |len| {
        let pages = Mapping::new(len, Kind::Private);
        [count(|| pages.touch_all(PAGE)), count(|| pages.unmap())]
    };
    rows.rows(["pf_seq_16m", "munmap_touched_16m"], LARGE_PAGES, || {
        touch_and_unmap(LARGE)
    });
    rows.rows(["pf_seq_2m", "munmap_touched_2m"], TABLE_PAGES, || {
        touch_and_unmap(TABLE)
    });
    rows.row("pf_rand_16m", LARGE_PAGES, || {
        let pages = Mapping::new(LARGE, Kind::Private);
        // An odd factor visits each page of a power of two once, far apart.
        let count = count(|| {
            for index in 0..LARGE_PAGES {
                pages.touch(index * 2_531 % LARGE_PAGES * PAGE);
            }
        });
        pages.unmap();
        count
    });
    rows.row("mmap_populate_16m", LARGE_PAGES, || {
        let start = ticks();
        let pages = Mapping::new(LARGE, Kind::Populated);
        let total = ticks() - start;
        // A kernel need not do as it is asked to, but then this is no figure.
        if count(|| pages.touch_all(PAGE)) > 300 * LARGE_PAGES as u64 {
            sys::fail("MAP_POPULATE");
        }
        pages.unmap();
        total
    });
}

/// Touched pages become read-only and writable again; a row counts one such call.
pub(crate) fn protection(rows: &Filter<'_>) {
    const TURNS: usize = 100;
    let pages = Mapping::new(LARGE, Kind::Private);
    pages.touch_all(PAGE);
    let toggle = |offset: usize, len: usize, turns: usize| {
        count(|| {
            for turn in 0..turns {
                pages.protect(offset, len, turn % 2 == 1);
            }
        })
    };
    rows.row("mprotect_1_page", TURNS, || toggle(LARGE / 2, PAGE, TURNS));
    rows.row("mprotect_2m", 2 * TABLE_PAGES, || {
        toggle(LARGE / 2, TABLE, 2)
    });
    rows.row("mprotect_16m", 2 * LARGE_PAGES, || toggle(0, LARGE, 2));
    pages.unmap();
}

/// A process is forked, ends at once, and is waited for.
pub(crate) fn forks(rows: &Filter<'_>) {
    const TURNS: usize = 8;
    let fork_and_wait = || {
        count(|| {
            for _ in 0..TURNS {
                sys::wait(sys::fork(|| {}));
            }
        })
    };
    rows.row("fork_exit_wait_small", TURNS, fork_and_wait);
    let pages = Mapping::new(LARGE, Kind::Private);
    pages.touch_all(PAGE);
    rows.row("fork_exit_wait_16m", TURNS, fork_and_wait);
    pages.unmap();
}

/// A process writes to each page that it shares with the one that forked it.
pub(crate) fn copies_on_write(rows: &Filter<'_>) {
    let pages = Mapping::new(LARGE, Kind::Private);
    pages.touch_all(PAGE);
    let result = SharedNumber::new();
    rows.row("cow_fault_16m", LARGE_PAGES, || {
        let child = sys::fork(|| result.set(count(|| pages.touch_all(PAGE))));
        sys::wait(child);
        result.get()
    });
    result.unmap();
    pages.unmap();
}

/// One page in each of 512 tables is touched, and all of it taken away.
pub(crate) fn sparse(rows: &Filter<'_>) {
    rows.rows(["pf_sparse_1g", "munmap_sparse_1g"], SPARSE / TABLE, || {
        let pages = Mapping::new(SPARSE, Kind::Sparse);
        [count(|| pages.touch_all(TABLE)), count(|| pages.unmap())]
    });
}

/// Two processes let each other run, in turns: a kernel may go on with the one that
/// yields, which then does so again.
pub(crate) fn switches(rows: &Filter<'_>) {
    const TURNS: u64 = 1000;
    let turn = SharedNumber::new();
    let take_turns = |first: u64| {
        for number in 0..TURNS {
            while turn.get() != 2 * number + first {
                sys::yield_now();
            }
            turn.set(2 * number + first + 1);
        }
    };
    rows.row("ctx_switch_yield", 2 * TURNS as usize, || {
        turn.set(0);
        let child = sys::fork(|| take_turns(1));
        let count = count(|| take_turns(0));
        sys::wait(child);
        count
    });
    turn.unmap();
}
