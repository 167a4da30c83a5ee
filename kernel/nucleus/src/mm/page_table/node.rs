//! A node: a frame that serves as a table of paging, with its lock.
//!
//! A node is a [`Frame`] of type [`PageTablePageMeta`], so that its life is
//! counted like that of any frame. Its parent's entry holds one reference; so
//! do the owner of a root and each processor whose root register holds it. When
//! the last reference goes, so do all that its entries hold ([`AnyFrameMeta::on_drop`]),
//! and the page is left all zeros, ready to be the next node.
//!
//! [`Node`] is a borrowed look, copied freely inside of [`page_table`](super). Two
//! rules make it sound:
//!
//! 1. A node is looked at while its root is kept and, besides,
//!    * it is locked, or its parent is: so it is not cut off. The
//!      [range lock](super::range_lock) relies on this on its way down and up, the
//!      cursors between.
//!    * or within a read section of [`rcu`](crate::sync::rcu): so it is not freed.
//!      The range lock's descent relies on this, and what `PageTable` looks at.
//!    * or it is the root itself, or nobody else knows it yet.
//! 2. Entries, the count of children and the stray flag are written by the holder
//!    of the node's lock alone, who is a cursor, or a maker of nodes that nobody
//!    else knows yet. The hardware sets accessed and dirty bits whenever it likes,
//!    which is why entries are atomic words.
//!
//! | access to an entry | ordering | why |
//! |---|---|---|
//! | read, lock held | `Relaxed` | the lock orders |
//! | read, lock not held | `Acquire` | pairs with the write: a child that is seen is seen initialised |
//! | write | `Release` | the child's contents come before the child |

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use super::config::{PageTableConfig, PageTableEntryTrait};
use crate::arch::{memory, watch};
use crate::error::Result;
use crate::mm::frame::meta::{self, MetaSlot};
use crate::mm::frame::{AnyFrameMeta, DropHook, Frame, FrameAllocOptions, FrameKind};
use crate::mm::paging::PagingConstsTrait;
use crate::mm::{Infallible, Paddr, PagingLevel, Vaddr, VmReader};
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use crate::sync::byte_lock::ByteLock;

/// The data of a frame that is a node.
pub(crate) struct PageTablePageMeta<C: PageTableConfig> {
    /// Entries of the table's own that are not absent. Written under the lock.
    nr_children: AtomicU16,
    /// The level, which never changes.
    level: PagingLevel,
    lock: ByteLock,
    /// Whether the node was cut off from its parent; never becomes false again.
    /// Written under the lock.
    stray: AtomicBool,
    _config: PhantomData<C>,
}

const _: () = assert!(
    size_of::<PageTablePageMeta<crate::mm::page_table::UserPtConfig>>() <= 8,
    "a node that waits to be freed has its link in the other half"
);

/// The reference of a node's parent, or a root's owner.
pub(crate) type PageTableNode<C> = Frame<PageTablePageMeta<C>>;

impl<C: PageTableConfig> PageTablePageMeta<C> {
    /// Returns the data of a node without children.
    pub(crate) const fn new(level: PagingLevel, locked: bool) -> Self {
        Self {
            nr_children: AtomicU16::new(0),
            level,
            lock: ByteLock::new(locked),
            stray: AtomicBool::new(false),
            _config: PhantomData,
        }
    }
}

impl<C: PageTableConfig> fmt::Debug for PageTablePageMeta<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: a snapshot for people.
        write!(
            f,
            "level {} with {} children",
            self.level,
            self.nr_children.load(Ordering::Relaxed)
        )
    }
}

// SAFETY: 1. nodes are not untyped. 2. `on_drop` makes every entry absent, which
// is zero.
unsafe impl<C: PageTableConfig> AnyFrameMeta for PageTablePageMeta<C> {
    fn kind() -> FrameKind {
        FrameKind::nodes(C::NODES)
    }

    fn drop_hook() -> DropHook {
        DropHook::LeavesZeros
    }

    fn on_drop(&mut self, reader: &mut VmReader<'_, Infallible>) {
        let entries = reader.cursor().cast::<AtomicUsize>();
        let is_root = self.level == C::C::NR_LEVELS;
        let own = own_indices::<C>(self.level);
        let mut left = *self.nr_children.get_mut();
        for index in own.clone() {
            if left == 0 {
                break;
            }
            // SAFETY: The index is that of an entry, and the page is this node's.
            let slot = unsafe { &*entries.wrapping_add(index) };
            // Relaxed: nobody else uses the node any more.
            let entry = C::E::load(slot, Ordering::Relaxed);
            if entry.is_present() {
                // Relaxed: likewise.
                C::E::new_absent().store(slot, Ordering::Relaxed);
                drop_entry::<C>(entry, self.level);
                left -= 1;
            }
        }
        if !is_root {
            C::count_nodes(-1);
        } else {
            // What other tables own was only copied here.
            for index in (0..own.start).chain(own.end..C::C::NR_ENTRIES) {
                // SAFETY: As above.
                let slot = unsafe { &*entries.wrapping_add(index) };
                // Relaxed: likewise.
                C::E::new_absent().store(slot, Ordering::Relaxed);
            }
        }
    }
}

/// Returns the entries that are a table's own, in a node of a level.
pub(super) fn own_indices<C: PageTableConfig>(level: PagingLevel) -> Range<usize> {
    if level == C::C::NR_LEVELS {
        C::TOP_LEVEL_INDEX_RANGE
    } else {
        0..C::C::NR_ENTRIES
    }
}

/// Makes an item of a leaf of a level.
///
/// # Safety
///
/// 1. The leaf is, or was, an entry of a node of this configuration: the raw form
///    of an item, or of a part of one.
/// 2. It is the owner no more, unless the item is not dropped.
#[inline(always)]
pub(super) unsafe fn item_of<C: PageTableConfig>(leaf: C::E, level: PagingLevel) -> C::Item {
    // SAFETY: As the caller promises.
    unsafe { C::item_from_raw(leaf.paddr(level), level, leaf.prop(level)) }
}

/// Drops what an entry of a node that is no more was the owner of.
fn drop_entry<C: PageTableConfig>(entry: C::E, level: PagingLevel) {
    if entry.is_last() {
        // SAFETY: 1. it was a leaf of the node. 2. the node is gone, and no
        // processor translates by it any more.
        drop(unsafe { item_of::<C>(entry, level) });
    } else {
        // SAFETY: The entry was the parent's reference to the child.
        drop(unsafe { PageTableNode::<C>::from_raw(entry.child()) });
    }
}

/// A look at a node, under the rules of this module.
pub(super) struct Node<C: PageTableConfig> {
    /// Where the entries are seen.
    entries: *const AtomicUsize,
    slot: &'static MetaSlot,
    _config: PhantomData<C>,
}

impl<C: PageTableConfig> Clone for Node<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: PageTableConfig> Copy for Node<C> {}

impl<C: PageTableConfig> fmt::Debug for Node<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:#x})", self.paddr())
    }
}

/// What an entry says, without the details.
#[derive(Clone, Copy, Debug)]
pub(super) enum Child<C: PageTableConfig> {
    /// Nothing.
    Absent,
    /// It leads to a node.
    Table(Node<C>),
    /// It is a leaf.
    Leaf(C::E),
}

impl<C: PageTableConfig> Node<C> {
    /// Looks at the node in the frame at `paddr`.
    ///
    /// # Safety
    ///
    /// The frame is a node of this configuration, and stays one while it is looked
    /// at: see the first rule of this module.
    #[inline]
    pub(super) unsafe fn at(paddr: Paddr) -> Self {
        debug_assert!(meta::slot_of(paddr).is_ok());
        Self {
            entries: memory::paddr_to_vaddr(paddr) as *const AtomicUsize,
            // SAFETY: Nodes are frames of RAM.
            slot: unsafe { meta::slot_of_unchecked(paddr) },
            _config: PhantomData,
        }
    }

    /// Allocates a node, born locked, and not linked anywhere.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    pub(super) fn alloc_locked(level: PagingLevel) -> Result<Self> {
        Self::alloc_locked_for(level, C::IS_USERS)
    }

    /// As [`Self::alloc_locked`], on what is kept for the kernel if need be: for a node
    /// without which memory could not be given back.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    pub(super) fn alloc_locked_on_reserve(level: PagingLevel) -> Result<Self> {
        Self::alloc_locked_for(level, false)
    }

    fn alloc_locked_for(level: PagingLevel, for_user: bool) -> Result<Self> {
        let data = PageTablePageMeta::<C>::new(level, true);
        let mut options = FrameAllocOptions::new();
        let frame = options.for_user(for_user).alloc_frame_with(data)?;
        // SAFETY: It was just made a node, whose reference becomes the one of the
        // entry that will lead here.
        let node = unsafe { Self::at(frame.into_raw()) };
        node.slot.set_level(level);
        watch::node_made(node.paddr(), level);
        C::count_nodes(1);
        Ok(node)
    }

    /// Returns the address of the node's frame.
    #[inline]
    pub(super) fn paddr(self) -> Paddr {
        self.slot.frame_paddr()
    }

    #[inline]
    fn meta(&self) -> &PageTablePageMeta<C> {
        // SAFETY: The frame is a node, by the rules of this module.
        unsafe { &*self.slot.node_data() }
    }

    #[inline]
    fn entry(&self, index: usize) -> &AtomicUsize {
        debug_assert!(index < C::C::NR_ENTRIES);
        // SAFETY: The index is that of an entry, and the frame is a node.
        unsafe { &*self.entries.wrapping_add(index) }
    }

    /// Returns the node's level.
    #[inline]
    pub(super) fn level(self) -> PagingLevel {
        self.meta().level
    }

    /// Returns the number of entries that are not absent; for the lock's holder.
    #[inline]
    pub(super) fn nr_children(self) -> u16 {
        // Relaxed: the lock orders.
        self.meta().nr_children.load(Ordering::Relaxed)
    }

    /// Returns whether the node was cut off; for the lock's holder.
    #[inline]
    pub(super) fn is_stray(self) -> bool {
        // Relaxed: the lock orders.
        self.meta().stray.load(Ordering::Relaxed)
    }

    /// Reads an entry; for the lock's holder.
    #[inline]
    pub(super) fn read(self, index: usize) -> C::E {
        // Relaxed: the lock orders.
        C::E::load(self.entry(index), Ordering::Relaxed)
    }

    /// Reads an entry of a node that is not locked.
    #[inline]
    pub(super) fn read_unlocked(self, index: usize) -> C::E {
        // Acquire: pairs with the Release of the write.
        let entry = C::E::load(self.entry(index), Ordering::Acquire);
        watch::node_read(self.paddr());
        entry
    }

    /// Reads and sorts an entry; for the lock's holder.
    #[inline(always)]
    pub(super) fn child(self, index: usize) -> Child<C> {
        // SAFETY: The entry is this node's, and the lock is held.
        unsafe { Self::sort(self.read(index)) }
    }

    /// Reads and sorts an entry of a node that is not locked.
    #[inline]
    pub(super) fn child_unlocked(self, index: usize) -> Child<C> {
        // SAFETY: The entry is this node's, which is looked at by the rules of this
        // module, and these hold for what is below as well.
        unsafe { Self::sort(self.read_unlocked(index)) }
    }

    /// Reads an entry of the node at an address that is not locked; `linear` is
    /// where address zero is seen.
    ///
    /// # Safety
    ///
    /// 1. As for [`Self::at`].
    /// 2. `linear` is what [`memory::paddr_to_vaddr`] says, and `index` that of an
    ///    entry.
    #[inline(always)]
    pub(super) unsafe fn read_at(linear: Vaddr, paddr: Paddr, index: usize) -> C::E {
        let entries = linear.wrapping_add(paddr) as *const AtomicUsize;
        // SAFETY: As the caller promises.
        let entry = unsafe { &*entries.wrapping_add(index) };
        // Acquire: pairs with the Release of the write.
        let entry = C::E::load(entry, Ordering::Acquire);
        watch::node_read(paddr);
        entry
    }

    /// Writes an entry that was absent; for the lock's holder.
    #[inline]
    pub(super) fn fill(self, index: usize, entry: C::E) {
        self.copy_in(index, entry);
        self.gain_children(1);
    }

    /// As [`Self::fill`], but for the count, for a caller that fills many and asks once
    /// whether a checker listens.
    #[inline(always)]
    pub(super) fn fill_uncounted(self, index: usize, entry: C::E, is_watched: bool) {
        if is_watched {
            self.tell_checker(index, 0, entry);
        }
        // Release: the child's contents come before the child.
        entry.store(self.entry(index), Ordering::Release);
    }

    /// Notes that absent entries were filled by [`Self::fill_uncounted`]; for the lock's
    /// holder.
    #[inline(always)]
    pub(super) fn gain_children(self, count: u16) {
        let meta = self.meta();
        // Relaxed, and not atomic as a whole: the lock orders.
        let before = meta.nr_children.load(Ordering::Relaxed);
        // No more than there are entries, so it does not wrap.
        meta.nr_children
            .store(before.wrapping_add(count), Ordering::Relaxed);
    }

    /// Replaces an entry that is not absent by one that is not; returns what it
    /// was at that moment. For the lock's holder.
    #[inline]
    pub(super) fn replace(self, index: usize, entry: C::E) -> C::E {
        let old = entry.swap(self.entry(index));
        self.tell_written(index, old.as_usize(), entry);
        old
    }

    /// As [`Self::replace`] by an absent entry, for a caller that asks once for
    /// many entries whether a checker listens.
    #[inline(always)]
    pub(super) fn empty(self, index: usize, is_watched: bool) -> C::E {
        let old = C::E::new_absent().swap(self.entry(index));
        if is_watched {
            self.tell_checker(index, old.as_usize(), C::E::new_absent());
        }
        old
    }

    /// Makes an entry absent that is not; returns what it was at that moment.
    /// For the lock's holder.
    #[inline]
    pub(super) fn clear(self, index: usize) -> C::E {
        let old = self.replace(index, C::E::new_absent());
        self.lose_children(u16::from(!is_planted(Bug::WrongChildCount)));
        old
    }

    /// Notes that entries were made absent by [`Self::empty`]; for the lock's
    /// holder.
    #[inline(always)]
    pub(super) fn lose_children(self, count: u16) {
        let meta = self.meta();
        // Relaxed, and not atomic as a whole: the lock orders.
        let before = meta.nr_children.load(Ordering::Relaxed);
        meta.nr_children.store(before - count, Ordering::Relaxed);
    }

    /// Replaces an entry if it still is `old`, which only the hardware could
    /// have changed. For the lock's holder.
    ///
    /// # Errors
    ///
    /// What it is instead.
    #[inline]
    pub(super) fn update(self, index: usize, old: C::E, new: C::E) -> Result<(), C::E> {
        old.compare_exchange(self.entry(index), new)?;
        self.tell_written(index, old.as_usize(), new);
        Ok(())
    }

    /// Writes an entry that was absent, and is not counted, since it is copied from
    /// another table.
    #[inline(always)]
    pub(super) fn copy_in(self, index: usize, entry: C::E) {
        self.tell_written(index, 0, entry);
        // Release: the child's contents come before the child.
        entry.store(self.entry(index), Ordering::Release);
    }

    /// Tells the checker of a write, if there is one.
    #[inline]
    fn tell_written(self, index: usize, old: usize, new: C::E) {
        if watch::is_on() {
            self.tell_checker(index, old, new);
        }
    }

    #[cold]
    fn tell_checker(self, index: usize, old: usize, new: C::E) {
        watch::entry_written(self.paddr(), index, old, new.as_usize(), self.is_locked());
    }

    /// Sorts an entry.
    ///
    /// # Safety
    ///
    /// The entry is, or was, one of a node of this configuration; and what it leads
    /// to is a node as long as it is looked at.
    #[inline]
    pub(super) unsafe fn sort(entry: C::E) -> Child<C> {
        // Leaves first: with them, that is all there is to find out.
        if entry.is_last() {
            Child::Leaf(entry)
        } else if entry.is_present() {
            // SAFETY: As the caller promises.
            Child::Table(unsafe { Self::at(entry.child()) })
        } else {
            Child::Absent
        }
    }

    /// Returns the number of references to the node's frame.
    pub(super) fn reference_count(self) -> u32 {
        self.slot.reference_count()
    }

    /// Returns whether somebody holds the lock.
    pub(super) fn is_locked(self) -> bool {
        self.meta().lock.is_held()
    }

    /// Takes the lock if it is free.
    #[inline]
    pub(super) fn try_lock(self) -> bool {
        let is_taken = self.meta().lock.try_take();
        watch::node_read(self.paddr());
        if is_taken {
            watch::node_locked(self.slot);
        }
        is_taken
    }

    /// Waits until the lock is free, and takes it.
    ///
    /// Within a read section, so that the node is there while it is waited for.
    #[inline]
    pub(super) fn lock(self) {
        self.meta().lock.take();
        watch::node_read(self.paddr());
        watch::node_locked(self.slot);
    }

    /// Releases the lock, which the caller holds.
    #[inline]
    pub(super) fn unlock(self) {
        debug_assert!(self.is_locked());
        watch::node_unlocked(self.slot);
        self.meta().lock.release();
    }

    /// Says that the node was cut off from its parent; for the lock's holder.
    pub(super) fn mark_stray(self) {
        // Relaxed: the lock orders.
        self.meta().stray.store(true, Ordering::Relaxed);
    }

    /// Takes the reference that the parent's entry held.
    pub(super) fn into_owned(self) -> PageTableNode<C> {
        // SAFETY: The caller made the entry absent that held the reference.
        unsafe { PageTableNode::<C>::from_slot(self.slot) }
    }
}

/// Makes a node of a frame that start-up filled as one: sets its metadata.
///
/// # Safety
///
/// 1. The frame is reserved, holds a node of `level` of the configuration, and is
///    linked from one entry or is a root.
/// 2. Nobody else uses the node meanwhile.
pub(super) unsafe fn adopt<C: PageTableConfig>(paddr: Paddr, level: PagingLevel) {
    let slot = meta::slot_of(paddr).expect("nodes are in RAM");
    slot.make_claimable();
    let data = PageTablePageMeta::<C>::new(level, false);
    let frame = Frame::claim(paddr, data).expect("the frame was just made claimable");
    // SAFETY: It was just made a node.
    let node = unsafe { Node::<C>::at(frame.into_raw()) };
    slot.set_level(level);
    // Relaxed: a count.
    memory::memory().nr_managed.fetch_add(1, Ordering::Relaxed);
    let present = own_indices::<C>(level)
        .filter(|index| node.read(*index).is_present())
        .count();
    // Relaxed: nobody else knows the node yet.
    node.meta()
        .nr_children
        .store(present as u16, Ordering::Relaxed);
}
