//! Do a table, the metadata of its nodes and the counts of its frames agree?
//!
//! What is asked of every node, entry and mapped frame:
//!
//! | of | what holds |
//! |---|---|
//! | a node | its metadata says that it is one, of this configuration and of the level of its place |
//! | | one entry leads to it, which holds its one reference |
//! | | it is not stray; its lock is held by the check's cursor, or by nobody |
//! | | it counts as many entries as there are |
//! | an entry | absent ones are zero; reserved bits are clear, but for addresses of devices beyond the processor's |
//! | | the kernel's lead nowhere that ring 3 may go; those of users' tables to nodes do |
//! | | leaves stand at levels that have them |
//! | a root of users | its upper half is that of the kernel's root |
//! | a frame | it has at least as many references as the table maps it |
//!
//! The nodes of the metadata are left out: they have no metadata of their own
//! (`boot::Tree::adopt`), and [`rights`] looks at them.
//!
//! **Locks.** [`PageTable::check`] may be called while others use the table, from a task,
//! with interrupts on and no cursor of the table open. It goes over the nodes without
//! locks first, within a read section: a node that two entries lead to would make any cursor
//! wait for itself. Then it opens read-only cursors, for the kernel of 512 GiB each, for a
//! user of all, and looks at what they own, with interrupts off; others wait that long.
//! [`PageTable::check_alone`] is for the table's owner when there are no others: it takes
//! no lock, needs no memory, and does not find a node that is linked twice, unless by its
//! count. It is what happens when a space is dropped, in kernels with debug assertions.
//!
//! [`rights`]: crate::mm::inspect

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::config::{PageTableConfig, PageTableEntryTrait};
use super::node::{self, Node, PageTablePageMeta};
use super::{PageTable, UserPtConfig, vaddr_range};
use crate::arch::mmu;
use crate::arch::paging::PageTableEntry;
use crate::arch::raw_entry::RawEntry;
use crate::cpu::disable_preempt;
use crate::error::{Error, Result};
use crate::irq;
use crate::mm::frame::meta::slot_of;
use crate::mm::kspace::layout::META_BASE;
use crate::mm::kspace::{KernelPtConfig, kernel_page_table};
use crate::mm::paging::{PagingConsts, page_size, pte_index};
use crate::mm::{NR_ENTRIES, NR_LEVELS, PAGE_SIZE, Paddr, PageFlags, PagingLevel, Vaddr};
use crate::sync::rcu;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// An entry leads to a frame that is no node of this kind of table.
    NotANode(Paddr),
    /// A node's metadata says that it is of another level.
    OtherLevel(PagingLevel),
    /// More than one entry leads to a node.
    LinkedTwice(Paddr),
    /// A node that was cut off is linked.
    Stray,
    /// A lock is held that should not be, or the other way round.
    Lock,
    /// A node counts so many entries, and has so many.
    Children(u16, u16),
    /// A node has another number of references than one.
    NodeReferences(u32),
    /// An absent entry is not zero.
    NotZero,
    /// Bits are set that the hardware wants to be zero.
    Reserved,
    /// The entry of the kernel's half is for users, or that of a user's table is not.
    User,
    /// A leaf stands where there cannot be one.
    LeafTooHigh,
    /// The upper half of a user's root is not the kernel's.
    OtherKernelHalf,
    /// A frame has so many references, and is mapped so often.
    FrameReferences(u32, u32),
}

/// Where something is wrong: the first place that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The first address that the entry, or the node, translates.
    pub vaddr: Vaddr,
    /// The level of the node.
    pub level: PagingLevel,
    /// What is wrong.
    pub damage: Damage,
}

impl Finding {
    const fn at((level, vaddr): (PagingLevel, Vaddr), damage: Damage) -> Self {
        Self {
            vaddr,
            level,
            damage,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            vaddr,
            level,
            damage,
        } = self;
        write!(f, "{damage:x?} at {vaddr:#x}, in a node of level {level}")
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes below the root.
    pub nodes: usize,
    /// Leaves, huge ones counting once.
    pub leaves: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nodes, {} leaves", self.nodes, self.leaves)
    }
}

/// The tables that can be checked: those that processors load.
pub trait Checkable: PageTableConfig<E = PageTableEntry, C = PagingConsts> {
    /// What cursors are opened on, one after the other.
    fn parts() -> impl Iterator<Item = Range<Vaddr>>;
}

impl Checkable for UserPtConfig {
    fn parts() -> impl Iterator<Item = Range<Vaddr>> {
        let all = vaddr_range::<Self>();
        core::iter::once(*all.start()..*all.end() + 1)
    }
}

impl Checkable for KernelPtConfig {
    fn parts() -> impl Iterator<Item = Range<Vaddr>> {
        const SIZE: usize = page_size::<PagingConsts>(NR_LEVELS);
        let first = *vaddr_range::<Self>().start();
        (0..NR_ENTRIES / 2)
            .map(move |index| first + index * SIZE)
            .filter(|start| is_looked_at(*start))
            // The last page of all is never mapped, and its end is no address.
            .map(|start| {
                start
                    ..start
                        .checked_add(SIZE)
                        .unwrap_or(usize::MAX - (PAGE_SIZE - 1))
            })
    }
}

/// Returns whether what an entry of the root covers is looked at.
fn is_looked_at(vaddr: Vaddr) -> bool {
    let index = |vaddr| pte_index::<PagingConsts>(vaddr, NR_LEVELS);
    index(vaddr) != index(META_BASE)
}

impl<C: Checkable> PageTable<C> {
    /// Checks the table, while others may use it; see the module for the context.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]: it could not be checked. Otherwise what is wrong is the inner
    /// result.
    pub fn check(&self) -> Result<core::result::Result<Counts, Finding>> {
        let mut frames = match self.check_shape()? {
            Ok(frames) => frames,
            Err(finding) => return Ok(Err(finding)),
        };
        let mut check = Check::new(true);
        for part in C::parts() {
            frames.clear();
            let irq_off = irq::disable_local();
            let cursor = self.cursor(&irq_off, &part);
            let cursor = cursor.map_err(|_| Error::InvalidArgs)?;
            let result = check
                .part(self.root_node(), &part, Some(&mut frames))
                .and_then(|()| check_counts(&mut frames));
            drop(cursor);
            if let Err(finding) = result {
                return Ok(Err(finding));
            }
        }
        Ok(self.check_upper_half().map(|()| check.counts))
    }

    /// Checks the table of a caller who is its only user. Locks nothing and needs no
    /// memory.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check_alone(&self) -> core::result::Result<Counts, Finding> {
        let mut check = Check::new(false);
        for part in C::parts() {
            check.part(self.root_node(), &part, None)?;
        }
        self.check_upper_half()?;
        Ok(check.counts)
    }

    /// Checks that nodes are nodes, each linked once, without locks. Returns an empty list
    /// with room for all frames that are mapped.
    fn check_shape(&self) -> Result<core::result::Result<Vec<Frame>, Finding>> {
        /// Room for what others map meanwhile.
        const SPARE: usize = 64;
        let mut shape = Shape::default();
        if let Err(finding) = self.go_over(&mut shape) {
            return Ok(Err(finding));
        }
        let (nodes, frames) = (shape.nr_nodes + SPARE, shape.nr_frames + SPARE);
        shape = Shape::default();
        shape
            .nodes
            .try_reserve(nodes)
            .map_err(|_| Error::NoMemory)?;
        let mut list = Vec::new();
        list.try_reserve(frames).map_err(|_| Error::NoMemory)?;
        if let Err(finding) = self.go_over(&mut shape) {
            return Ok(Err(finding));
        }
        shape.nodes.sort_unstable();
        let twice = shape.nodes.windows(2).find(|pair| pair[0].0 == pair[1].0);
        Ok(match twice {
            None => Ok(list),
            Some(pair) => Err(Finding {
                vaddr: pair[1].1,
                level: NR_LEVELS,
                damage: Damage::LinkedTwice(pair[1].0),
            }),
        })
    }

    fn go_over(&self, shape: &mut Shape) -> core::result::Result<(), Finding> {
        let guard = disable_preempt();
        let _section = rcu::read(&guard);
        let base = *vaddr_range::<C>().start();
        for (position, index) in C::TOP_LEVEL_INDEX_RANGE.enumerate() {
            let vaddr = base + position * page_size::<PagingConsts>(NR_LEVELS);
            if is_looked_at(vaddr) {
                shape.entry(self.root_node(), (NR_LEVELS, index, vaddr))?;
            }
        }
        Ok(())
    }

    /// Checks that the upper half of a user's root is that of the kernel's.
    fn check_upper_half(&self) -> core::result::Result<(), Finding> {
        let kernel = kernel_page_table().root_node();
        for index in KernelPtConfig::TOP_LEVEL_INDEX_RANGE {
            let here = self.root_node().read_unlocked(index).as_usize();
            let there = kernel.read_unlocked(index).as_usize();
            // The hardware marks either when it uses it.
            if (here ^ there) & !ACCESSED != 0 {
                return Err(Finding {
                    vaddr: index << 39 | 0xffff << 48,
                    level: NR_LEVELS,
                    damage: Damage::OtherKernelHalf,
                });
            }
        }
        Ok(())
    }
}

const ACCESSED: usize = PageFlags::ACCESSED.bits() as usize;

/// A mapped frame, and where.
type Frame = (Paddr, Vaddr);

/// What there is, found without locks.
#[derive(Default)]
struct Shape {
    /// Nodes and what they cover, as far as there is room.
    nodes: Vec<(Paddr, Vaddr)>,
    nr_nodes: usize,
    nr_frames: usize,
}

impl Shape {
    /// Looks at an entry and at what is below.
    fn entry<C: Checkable>(
        &mut self,
        node: Node<C>,
        (level, index, vaddr): (PagingLevel, usize, Vaddr),
    ) -> core::result::Result<(), Finding> {
        let entry = node.read_unlocked(index);
        if entry.is_last() {
            let pages = page_size::<PagingConsts>(level) / PAGE_SIZE;
            self.nr_frames += if is_tracked::<C>(entry, level) {
                pages
            } else {
                0
            };
            return Ok(());
        }
        if !entry.is_present() {
            return Ok(());
        }
        let child = child_of::<C>(entry, (level, vaddr))?;
        self.nr_nodes += 1;
        if self.nodes.len() < self.nodes.capacity() {
            self.nodes.push((entry.child(), vaddr));
        }
        let size = page_size::<PagingConsts>(level - 1);
        for index in 0..NR_ENTRIES {
            self.entry(child, (level - 1, index, vaddr + index * size))?;
        }
        Ok(())
    }
}

/// Returns whether a leaf owns references to its frames.
fn is_tracked<C: Checkable>(entry: PageTableEntry, level: PagingLevel) -> bool {
    // The tag tells those of users that do not, and those of the kernel that do.
    entry.prop(level).flags.contains(PageFlags::AVAIL1) != C::IS_USERS
}

/// Returns the node that an entry leads to, if it is one of the level below.
fn child_of<C: Checkable>(
    entry: PageTableEntry,
    (level, vaddr): (PagingLevel, Vaddr),
) -> core::result::Result<Node<C>, Finding> {
    let paddr = entry.child();
    let wrong = |damage| Finding {
        vaddr,
        level,
        damage,
    };
    let is_node =
        level > 1 && slot_of(paddr).is_ok_and(|slot| slot.is_shared_of::<PageTablePageMeta<C>>());
    if !is_node {
        return Err(wrong(Damage::NotANode(paddr)));
    }
    // SAFETY: The metadata says that it is a node of this configuration; and it stays one,
    // since its table is locked, or nobody else's, or this is a read section.
    let child = unsafe { Node::<C>::at(paddr) };
    if child.level() != level - 1 {
        return Err(wrong(Damage::OtherLevel(child.level())));
    }
    Ok(child)
}

/// A check of what a cursor, or the caller, owns.
struct Check {
    /// Whether the nodes are locked, by this check's cursor.
    is_locked: bool,
    limits: (u32, PagingLevel),
    counts: Counts,
}

impl Check {
    fn new(is_locked: bool) -> Self {
        Self {
            is_locked,
            limits: mmu::paging_limits(),
            counts: Counts::default(),
        }
    }

    /// Checks a part of the table, and lists the frames that it maps.
    fn part<C: Checkable>(
        &mut self,
        root: Node<C>,
        part: &Range<Vaddr>,
        mut frames: Option<&mut Vec<Frame>>,
    ) -> core::result::Result<(), Finding> {
        if C::IS_USERS {
            return self.node(root, (NR_LEVELS, 0), &mut frames);
        }
        let index = pte_index::<PagingConsts>(part.start, NR_LEVELS);
        let place = (NR_LEVELS, part.start);
        self.entry::<C>(root.read_unlocked(index), place, &mut frames)
    }

    /// Checks a node and all below it.
    fn node<C: Checkable>(
        &mut self,
        node: Node<C>,
        (level, vaddr): (PagingLevel, Vaddr),
        frames: &mut Option<&mut Vec<Frame>>,
    ) -> core::result::Result<(), Finding> {
        let wrong = |damage| Err(Finding::at((level, vaddr), damage));
        if node.is_stray() {
            return wrong(Damage::Stray);
        }
        if node.is_locked() != self.is_locked {
            return wrong(Damage::Lock);
        }
        let mut present = 0;
        for index in node::own_indices::<C>(level) {
            let entry = node.read_unlocked(index);
            if entry.as_usize() != 0 {
                present += 1;
                let vaddr = vaddr + index * page_size::<PagingConsts>(level);
                self.entry::<C>(entry, (level, vaddr), frames)?;
            }
        }
        if node.nr_children() != present {
            return wrong(Damage::Children(node.nr_children(), present));
        }
        Ok(())
    }

    /// Checks an entry that is not zero, of a node of a level, and all below it.
    fn entry<C: Checkable>(
        &mut self,
        entry: PageTableEntry,
        (level, vaddr): (PagingLevel, Vaddr),
        frames: &mut Option<&mut Vec<Frame>>,
    ) -> core::result::Result<(), Finding> {
        let wrong = |damage| Err(Finding::at((level, vaddr), damage));
        let raw = RawEntry(entry.as_usize() as u64);
        if !entry.is_present() {
            return wrong(Damage::NotZero);
        }
        // Where a device is, its owner says, who may name any address (`IoMem`).
        let is_device = entry.is_last() && !is_tracked::<C>(entry, level);
        let width = if is_device { 52 } else { self.limits.0 };
        if raw.reserved_bits(level, (width, self.limits.1)) != 0 {
            return wrong(Damage::Reserved);
        }
        if raw.rights().user && !C::IS_USERS {
            return wrong(Damage::User);
        }
        if entry.is_last() {
            if level > self.limits.1 {
                return wrong(Damage::LeafTooHigh);
            }
            self.counts.leaves += 1;
            return leaf::<C>(entry, (level, vaddr), frames);
        }
        if C::IS_USERS && !raw.rights().user {
            return wrong(Damage::User);
        }
        let child = child_of::<C>(entry, (level, vaddr))?;
        match child.reference_count() {
            1 => {}
            count => return wrong(Damage::NodeReferences(count)),
        }
        self.counts.nodes += 1;
        self.node::<C>(child, (level - 1, vaddr), frames)
    }
}

/// Checks that the frames of a leaf have references, and lists them as far as there is
/// room.
fn leaf<C: Checkable>(
    entry: PageTableEntry,
    (level, vaddr): (PagingLevel, Vaddr),
    frames: &mut Option<&mut Vec<Frame>>,
) -> core::result::Result<(), Finding> {
    if !is_tracked::<C>(entry, level) {
        return Ok(());
    }
    let start = entry.paddr(level);
    for paddr in (start..start + page_size::<PagingConsts>(level)).step_by(PAGE_SIZE) {
        let count = slot_of(paddr).map_or(0, |slot| slot.reference_count());
        if count == 0 {
            return Err(Finding {
                vaddr,
                level,
                damage: Damage::FrameReferences(count, 1),
            });
        }
        if let Some(frames) = frames
            && frames.len() < frames.capacity()
        {
            frames.push((paddr, vaddr));
        }
    }
    Ok(())
}

/// Checks that each frame has as many references as it is in the list.
fn check_counts(frames: &mut [Frame]) -> core::result::Result<(), Finding> {
    frames.sort_unstable();
    for same in frames.chunk_by(|a, b| a.0 == b.0) {
        let (paddr, vaddr) = same[0];
        let count = slot_of(paddr).map_or(0, |slot| slot.reference_count());
        let mapped = same.len() as u32;
        if count < mapped {
            return Err(Finding {
                vaddr,
                level: 1,
                damage: Damage::FrameReferences(count, mapped),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
