//! Does the tree of start-up lead where it was told to?

extern crate std;

use std::vec::Vec;

use super::{NodeSource, Tree};
use crate::arch::sim::Machine;
use crate::error::{Error, Result};
use crate::mm::frame::Frame;
use crate::mm::{CachePolicy, FrameAllocOptions, PAGE_SIZE, Paddr, PageFlags, PageProperty};

const VA: usize = 0xffff_a000_0000_0000;
const M2: usize = 2 << 20;

/// Frames for nodes, as many as it may give out.
struct Frames {
    given: Vec<Frame<()>>,
    limit: usize,
}

impl NodeSource for Frames {
    fn new_node(&mut self) -> Result<Paddr> {
        if self.given.len() == self.limit {
            return Err(Error::NoMemory);
        }
        let frame = FrameAllocOptions::new().alloc_frame()?;
        let paddr = frame.start_paddr();
        self.given.push(frame);
        Ok(paddr)
    }
}

/// Runs with an empty tree and a source of so many nodes.
fn with_tree(limit: usize, body: impl FnOnce(Tree, &mut Frames)) {
    Machine::default().on(0, || {
        let root = FrameAllocOptions::new().alloc_frame();
        let root = root.expect("enough memory");
        // SAFETY: It is a frame of zeros, and stays until the end of the test.
        let tree = unsafe { Tree::from_root(root.start_paddr()) };
        assert_eq!(tree.root_paddr(), root.start_paddr());
        let mut source = Frames {
            given: Vec::new(),
            limit,
        };
        body(tree, &mut source);
    });
}

fn writable() -> PageProperty {
    PageProperty::new_user(PageFlags::RW, CachePolicy::Writeback)
}

#[test]
fn range_is_translated_by_the_largest_pages_and_nothing_around_it_is() {
    with_tree(8, |tree, source| {
        let (paddr, len) = (3 * M2 - PAGE_SIZE, M2 + 2 * PAGE_SIZE);
        let start = VA + M2 - PAGE_SIZE;
        tree.map_range(start, paddr, len, (writable(), 3), source)
            .expect("enough nodes");
        // One of level 3, one of level 2, and one of level 1 for either end.
        assert_eq!(source.given.len(), 4);
        for (va, level) in [(start, 1), (VA + M2, 2), (VA + 2 * M2, 1)] {
            assert_eq!(tree.walk(va).level, level);
        }
        for offset in [
            0,
            8,
            PAGE_SIZE - 1,
            PAGE_SIZE,
            PAGE_SIZE + 123_456,
            M2 + PAGE_SIZE,
            len - 1,
        ] {
            assert_eq!(tree.translate(start + offset), Some(paddr + offset));
        }
        for va in [start - 1, start + len, VA - M2, 0] {
            assert_eq!(tree.translate(va), None);
        }
    });
}

#[test]
fn tree_that_runs_out_of_nodes_says_so_and_keeps_what_it_mapped() {
    with_tree(3, |tree, source| {
        let start = VA + M2 - PAGE_SIZE;
        let result = tree.map_range(start, 0, 2 * PAGE_SIZE, (writable(), 1), source);
        assert_eq!(result, Err(Error::NoMemory));
        assert_eq!(tree.translate(start), Some(0));
        assert_eq!(tree.translate(start + PAGE_SIZE), None);
    });
}

#[test]
#[should_panic(expected = "is mapped already")]
fn page_of_the_tree_that_is_mapped_twice_panics() {
    with_tree(3, |tree, source| {
        for _ in 0..2 {
            let _ = tree.map_range(VA, 0, PAGE_SIZE, (writable(), 1), source);
        }
    });
}

#[test]
#[should_panic(expected = "lies in a page of level 2")]
fn page_of_the_tree_within_a_larger_one_panics() {
    with_tree(8, |tree, source| {
        let _ = tree.map_range(VA, 0, M2, (writable(), 2), source);
        let _ = tree.map_range(VA, 0, PAGE_SIZE, (writable(), 1), source);
    });
}
