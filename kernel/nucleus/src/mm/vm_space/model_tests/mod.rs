//! Does the processor see what the specification says?
//!
//! A space of the machine runs beside the specification of its page table
//! (`kernel/model`). Random scripts change both by cursors; after each cursor is
//! closed and what it changed is flushed,
//!
//! * the tables are compared: every mapping, every node, every accessed and dirty
//!   mark;
//! * pages are looked at by the *processor* ([`view`]): those that were changed,
//!   their neighbours, some that were looked at before. The kernel and a program in
//!   ring 3 load from them, store to them, and fetch from them.
//!
//! Every word of every frame names itself, so a load tells to which frame the
//! processor translated. A store has to arrive in the frame that the
//! specification names, a refused access to fault at its address with the error
//! code that the specification implies; and an access marks the leaf that it goes
//! through, and no other.
//!
//! What this shows rests on the emulators: they keep a translation until it is
//! flushed, and set marks when the access is made. A real processor may also
//! mark what it only might have accessed, which the comparison would call wrong.
//! QEMU has one fault that shows ([`Pair::has_had_huge_page`]).
//!
//! * [`pair`]: a space and its specification, changed alike.
//! * [`props`]: how pages may be mapped.
//! * [`view`]: accesses, and what is to come of them.
//! * [`ring3`]: the program.
//! * [`script`]: what is done at random.

mod pair;
mod props;
mod ring3;
mod script;
mod view;

use alloc::format;
use alloc::string::String;

use self::pair::Pair;
use self::props::{ACCESSED, DIRTY, R, W, X, property};
use self::script::{Dice, Window, run};
use self::view::{Access, NR_KINDS, Ring};
use crate::cpu::disable_preempt;
use crate::mm::{PAGE_SIZE, USER_END};
use crate::planted::{Bug, plant};
use crate::prelude::*;

/// Bytes of addresses that a node of the lowest level covers, and of a huge page.
const TABLE: usize = 512 * PAGE_SIZE;
/// Bytes that a node of the second level covers.
const GIBIBYTE: usize = 512 * TABLE;

/// Returns the window of so many pages before and after an address.
const fn around(va: Vaddr, pages: usize) -> Window {
    Window {
        start: va - pages * PAGE_SIZE,
        end: va + pages * PAGE_SIZE,
    }
}

/// A window within one table of the lowest level.
const WITHIN_A_TABLE: Window = around(2 * TABLE + TABLE / 2, 16);

/// Runs a script that the machine has to agree with, and that has pages of so many
/// sizes; each kind of view has to be among its views.
#[track_caller]
fn assert_agrees(seed: u64, window: Window, (cursors, sizes): (usize, usize)) {
    let result = Pair::beside_active_space(|pair| {
        run(pair, seed, window, cursors)?;
        let (absent, mapped) = NR_KINDS;
        let wanted = absent + sizes * mapped;
        match pair.kinds.len() {
            kinds if kinds == wanted => Ok(()),
            kinds => Err(format!("{kinds} kinds of views, not {wanted}")),
        }
    });
    if let Err(text) = result {
        println!("# {text}");
        panic!("{text}");
    }
}

#[ktest]
fn the_mmu_agrees_with_the_model_within_a_table() {
    assert_agrees(1, WITHIN_A_TABLE, (300, 1));
}

#[ktest]
fn the_mmu_agrees_with_the_model_across_a_tables_border() {
    assert_agrees(2, around(4 * TABLE, 12), (300, 1));
}

#[ktest]
fn the_mmu_agrees_with_the_model_across_a_gibibytes_border() {
    assert_agrees(3, around(3 * GIBIBYTE, 12), (200, 1));
}

#[ktest]
fn the_mmu_agrees_with_the_model_across_an_entry_of_the_root() {
    assert_agrees(4, around(512 * GIBIBYTE, 12), (200, 1));
}

#[ktest]
fn the_mmu_agrees_with_the_model_on_the_last_pages_of_users() {
    // Accesses end a page before what can be mapped.
    let window = Window {
        start: USER_END - 15 * PAGE_SIZE,
        end: USER_END + PAGE_SIZE,
    };
    assert_agrees(5, window, (200, 1));
}

#[ktest]
fn the_mmu_agrees_with_the_model_on_huge_pages() {
    assert_agrees(6, around(2 * GIBIBYTE, 512), (150, 2));
}

/// Runs a script with a bug planted, and nothing compared but what the processor
/// sees; returns what is wrong.
fn seen_with(bug: Bug, window: Window) -> Option<String> {
    let planted = plant(bug);
    let found = Pair::beside_active_space(|pair| {
        pair.sees_only = true;
        run(pair, 7, window, 200)
    });
    drop(planted);
    found.err()
}

#[track_caller]
fn assert_seen(found: Option<String>) {
    let text = found.expect("the bug was not seen");
    assert!(text.contains("the processor"), "seen otherwise: {text}");
}

#[ktest]
fn a_flush_that_is_left_out_is_seen() {
    // No node is freed in this window. It had to be flushed first, even here.
    assert_seen(seen_with(Bug::SkippedFlush, WITHIN_A_TABLE));
}

#[ktest]
fn a_huge_page_that_is_split_out_of_order_is_seen() {
    assert_seen(seen_with(Bug::SplitOutOfOrder, around(2 * GIBIBYTE, 1024)));
}

/// Maps a page for one of the rights, tells the specification of others, and
/// returns what is wrong with an access.
fn seen_of(real: u8, told: u8, ring: Ring, access: Access) -> Option<String> {
    let va = WITHIN_A_TABLE.start;
    let result = Pair::beside_active_space(|pair| {
        pair.map_page(va, real)?;
        pair.tell(va, |leaf| leaf.prop = told);
        pair.look(va, ring, access)
    });
    result.err()
}

#[ktest]
fn a_wrong_right_is_seen() {
    for ring in [Ring::Kernel, Ring::Program] {
        // The first is what the page is mapped for.
        for (real, told, access) in [
            (R, R | W, Access::Store),
            (R | W, R, Access::Store),
            (W, R | W, Access::Load),
            (R | W, W, Access::Load),
            // Refused either way, but for another reason.
            (R, W, Access::Store),
            (0, R, Access::Store),
        ] {
            assert_seen(seen_of(real, told, ring, access));
            assert_eq!(seen_of(real, real, ring, access), None);
        }
    }
    for (real, told) in [(R, R | X), (R | X, R), (X, R)] {
        assert_seen(seen_of(real, told, Ring::Program, Access::Fetch));
        assert_eq!(seen_of(real, real, Ring::Program, Access::Fetch), None);
    }
}

#[ktest]
fn a_wrong_frame_is_seen() {
    for access in [Access::Load, Access::Store, Access::Fetch] {
        let result = Pair::beside_active_space(|pair| {
            let va = WITHIN_A_TABLE.start;
            pair.map_page(va, R | W | X)?;
            pair.tell(va, |leaf| leaf.paddr += PAGE_SIZE);
            pair.look(va, Ring::Program, access)
        });
        assert_seen(result.err());
    }
}

#[ktest]
fn a_mark_that_is_lost_or_made_up_is_found() {
    let va = WITHIN_A_TABLE.start;
    for (access, is_marked) in [(Access::Load, 1), (Access::Store, 2)] {
        for told in [0, 1, 2] {
            let result = Pair::beside_active_space(|pair| {
                pair.map_page(va, R | W)?;
                pair.look(va, Ring::Kernel, access)?;
                let marks = [0, ACCESSED, ACCESSED | DIRTY][told];
                pair.tell(va, |leaf| leaf.prop = R | W | marks);
                pair.compare()
            });
            assert_eq!(result.is_ok(), told == is_marked, "{result:?}");
        }
    }
}

#[ktest]
fn dice_fall_the_same_each_time() {
    let mut dice = [Dice::new(1), Dice::new(1), Dice::new(2)];
    let mut fall = |index: usize| (0..8).fold(0, |sum, _| sum * 10 + dice[index].below(10));
    let falls = [fall(0), fall(1), fall(2)];
    assert!(falls[0] == falls[1] && falls[0] != falls[2], "{falls:?}");
}

#[ktest]
fn what_is_mapped_behind_the_models_back_is_found() {
    let result = Pair::beside_active_space(|pair| {
        let guard = disable_preempt();
        let range = WITHIN_A_TABLE.start..WITHIN_A_TABLE.start + PAGE_SIZE;
        let space = pair.space();
        let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
        let map = cursor.map(pair.frame(0), property(R));
        map.expect("enough memory");
        drop(cursor);
        pair.compare()
    });
    assert!(result.is_err(), "nothing was found");
}
