//! Equal neighbours are one line, and nothing else is.

use super::*;
use crate::mm::USegment;
use crate::mm::inspect::listing;

const M2: usize = 2 << 20;
const BASE: Vaddr = 0x4000_0000;

/// Returns the lines of pages, without totals, with single spaces.
fn lines(text: &str) -> std::vec::Vec<String> {
    let words = |line: &str| {
        line.split_whitespace()
            .collect::<std::vec::Vec<_>>()
            .join(" ")
    };
    let mut lines: std::vec::Vec<_> = text.lines().map(words).collect();
    lines.pop();
    lines
}

#[test]
fn equal_neighbours_are_folded_and_different_ones_are_not() {
    on_machine(|| {
        let space = space();
        map(&space, BASE, 3, PageFlags::RW);
        map(&space, BASE + 3 * PAGE_SIZE, 1, PageFlags::R);
        map(&space, BASE + 4 * PAGE_SIZE, 2, PageFlags::RX);
        // Of another table, and not next to the others.
        map(&space, BASE + M2 - PAGE_SIZE, 2, PageFlags::RW);
        assert_eq!(
            lines(&text_of(&space)),
            [
                "0000000040000000-0000000040003000 12 KiB 4K rw- u - wb",
                "0000000040003000-0000000040004000 4 KiB 4K r-- u - wb",
                "0000000040004000-0000000040006000 8 KiB 4K r-x u - wb",
                "00000000401ff000-0000000040201000 8 KiB 4K rw- u - wb",
            ]
        );
        assert!(
            text_of(&space).ends_with("8 pages of 4 KiB, 0 of 2 MiB, 0 of 1 GiB in 4 tables\n")
        );
    });
}

#[test]
fn accessed_and_dirty_marks_and_where_pages_lead_make_no_difference() {
    on_machine(|| {
        let space = space();
        map(&space, BASE, 4, PageFlags::RW);
        let before = text_of(&space);
        assert_eq!(lines(&before).len(), 1);
        let root = space.page_table().root_paddr();
        let leaf = entry(root, BASE + PAGE_SIZE, 1);
        with_entry(leaf, bits(leaf) | 0x60, || {
            assert_eq!(text_of(&space), before)
        });
    });
}

#[test]
fn pages_of_another_size_are_a_line_of_their_own() {
    on_machine(|| {
        let space = space();
        map(&space, BASE + M2 - PAGE_SIZE, 1, PageFlags::RW);
        let frames = FrameAllocOptions::new().align(M2).alloc_segment(512);
        let frames: USegment = frames.expect("enough memory").into();
        {
            let guard = disable_preempt();
            let range = BASE + M2..BASE + 2 * M2;
            let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
            cursor
                .map_segment(frames, prop(PageFlags::RW))
                .expect("enough memory");
        }
        assert_eq!(
            lines(&text_of(&space)),
            [
                "00000000401ff000-0000000040200000 4 KiB 4K rw- u - wb",
                "0000000040200000-0000000040400000 2 MiB 2M rw- u - wb",
            ]
        );
    });
}

#[test]
fn page_without_rights_is_shown_and_damage_is_not_followed() {
    on_machine(|| {
        let space = space();
        map(&space, BASE, 1, PageFlags::empty());
        assert_eq!(
            lines(&text_of(&space)),
            ["0000000040000000-0000000040001000 4 KiB 4K --- u - wb"]
        );
        let root = space.page_table().root_paddr();
        let table = entry(root, BASE, 2);
        with_entry(table, HOLE as u64 | 7, || {
            assert!(text_of(&space).contains("A TABLE WHERE THERE IS NO MEMORY"));
        });
    });
}

#[test]
fn kernel_half_is_named_and_its_last_page_is_shown() {
    on_machine(|| {
        let last = entry(kernel_root(), usize::MAX, 3);
        let first = entry(kernel_root(), 0xffff_8000_0000_0000, 3);
        let mut text = String::new();
        with_entry(last, NO_EXECUTE | 0x181, || {
            with_entry(first, NO_EXECUTE | 0x183, || {
                listing::write_kernel_half(&mut text).expect("strings take all");
            });
        });
        let lines = lines(&text);
        let expected = "ffff800000000000-ffff800040000000 1 GiB 1G rw- k g wb linear map";
        assert_eq!(lines.first().map(String::as_str), Some(expected));
        let expected = "ffffffffc0000000-0000000000000000 1 GiB 1G r-- k g wb kernel image";
        assert_eq!(lines.last().map(String::as_str), Some(expected));
    });
}
