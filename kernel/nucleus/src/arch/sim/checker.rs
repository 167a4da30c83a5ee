//! The checker: follows what becomes of nodes and entries, and fills the TLBs.

extern crate std;

use std::collections::HashMap;
use std::vec::Vec;

use super::tlb::{Tag, Tlb};
use super::walker::{Decoded, decode, entry_at};
use crate::mm::kspace::layout::KERNEL_ROOT_INDEX;
use crate::mm::{Paddr, PagingLevel, Vaddr};

/// Where a node is linked.
#[derive(Clone, Copy, Debug)]
struct Place {
    level: PagingLevel,
    /// The parent and the index in it; nothing for a root, or a new node.
    parent: Option<(Paddr, usize)>,
}

/// What is known of a machine's page tables and TLBs.
#[derive(Debug)]
pub(super) struct Checker {
    nodes: HashMap<Paddr, Place>,
    pub(super) tlbs: Vec<Tlb>,
    /// Locks taken and released since a test asked for them.
    locks: Option<Vec<(Paddr, bool)>>,
}

/// What an entry translates, as far as the checker follows it.
struct Reach {
    /// The first address.
    vaddr: Vaddr,
    /// The root, if only those who load it can use the entry; none for
    /// the kernel's half, which everybody can.
    root: Option<Paddr>,
}

impl Checker {
    pub(super) fn new(cpus: usize, has_identifiers: bool) -> Self {
        Self {
            nodes: HashMap::new(),
            tlbs: (0..cpus).map(|_| Tlb::new(has_identifiers)).collect(),
            locks: None,
        }
    }

    pub(super) fn node_made(&mut self, node: Paddr, level: PagingLevel) {
        let parent = None;
        self.nodes.insert(node, Place { level, parent });
    }

    /// Fails if a frame that is looked at as a node is none any more.
    pub(super) fn node_read(&self, node: Paddr) {
        let is_node = self.nodes.contains_key(&node);
        assert!(is_node, "{node:#x} was looked at, which is no node");
    }

    /// Notes that a node was locked, or unlocked, if a test wants to know.
    pub(super) fn note_lock(&mut self, node: Paddr, is_lock: bool) {
        if let Some(locks) = &mut self.locks {
            locks.push((node, is_lock));
        }
    }

    /// Starts to note locks; returns what was noted so far.
    pub(super) fn take_locks(&mut self) -> Vec<(Paddr, bool)> {
        self.locks.replace(Vec::new()).unwrap_or_default()
    }

    /// Follows a write of an entry.
    pub(super) fn entry_written(&mut self, node: Paddr, index: usize, (old, new): (u64, u64)) {
        let Some(place) = self.nodes.get(&node).copied() else {
            panic!("an entry was written in {node:#x}, which is no node");
        };
        if old != 0
            && let Some(reach) = self.reach(node, index)
        {
            self.cache_old(&reach, place.level, (old, new));
        }
        // Present, not a page: the form is the same in every geometry.
        if new & 0x81 == 1
            && place.level > 1
            && let Decoded::Node(child) = decode(new, place.level, 0)
            && let Some(child) = self.nodes.get_mut(&child)
        {
            // The kernel's nodes stay where the kernel's table has them.
            child.parent.get_or_insert((node, index));
        }
    }

    /// Returns what an entry translates, if a root leads to it.
    fn reach(&self, node: Paddr, index: usize) -> Option<Reach> {
        let (mut node, mut index, mut vaddr) = (node, index, 0);
        loop {
            let place = self.nodes.get(&node)?;
            vaddr += index << (12 + 9 * (usize::from(place.level) - 1));
            match place.parent {
                Some(parent) => (node, index) = parent,
                None if place.level < 4 => return None,
                None if index >= KERNEL_ROOT_INDEX => {
                    let vaddr = vaddr | 0xffff_0000_0000_0000;
                    return Some(Reach { vaddr, root: None });
                }
                None => {
                    return Some(Reach {
                        vaddr,
                        root: Some(node),
                    });
                }
            }
        }
    }

    /// Puts what an entry translated before into the TLBs that could have it.
    fn cache_old(&mut self, reach: &Reach, level: PagingLevel, (old, new): (u64, u64)) {
        for cpu in 0..self.tlbs.len() {
            for tag in self.tlbs[cpu].tags_of(reach.root) {
                match decode(old, level, reach.vaddr) {
                    Decoded::NotPresent => {}
                    // Accessed and dirty bits do not count as a change.
                    Decoded::Page(page)
                        if decode(new, level, reach.vaddr) == Decoded::Page(page) => {}
                    Decoded::Page(page) => self.tlbs[cpu].add(tag, page),
                    Decoded::Node(child) => {
                        self.cache_below((cpu, tag), child, level - 1, reach.vaddr);
                    }
                }
            }
        }
    }

    /// Puts a node that is cut off, and all that it translates, into a TLB.
    fn cache_below(
        &mut self,
        (cpu, tag): (usize, Tag),
        node: Paddr,
        level: PagingLevel,
        vaddr: Vaddr,
    ) {
        self.tlbs[cpu].add_node(tag, node);
        let size = 1 << (12 + 9 * (usize::from(level) - 1));
        for index in 0..512 {
            let vaddr = vaddr + index * size;
            // Acquire: as the hardware walks.
            let bits = entry_at(node, index).load(std::sync::atomic::Ordering::Acquire);
            match decode(bits, level, vaddr) {
                Decoded::NotPresent => {}
                Decoded::Page(page) => self.tlbs[cpu].add(tag, page),
                Decoded::Node(child) => self.cache_below((cpu, tag), child, level - 1, vaddr),
            }
        }
    }

    /// Fails if a processor can still reach a frame that is given back.
    pub(super) fn frame_freed(&mut self, frame: Paddr) {
        self.nodes.remove(&frame);
        for (cpu, tlb) in self.tlbs.iter_mut().enumerate() {
            tlb.frame_freed(cpu, frame);
        }
    }
}
