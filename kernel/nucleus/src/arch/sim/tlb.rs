//! The TLB of a simulated processor: what it may still believe.
//!
//! Only translations that no longer stand in the tables are kept, since the
//! walker finds the others; what is kept is what a real TLB *may* have kept. The
//! same goes for nodes that were cut off: the paging-structure caches may still
//! lead to them (SDM vol. 3A, 4.10.3).
//!
//! All of it is kept under the identifier that was in use (PCID), but for global
//! translations, which are good under each. So the TLB knows by which roots it may
//! have cached anything under an identifier, since that was last flushed: changes of
//! their tables leave something stale there, though the root be loaded no more.
//!
//! What leads to a frame that was given back must not be used again. Under the
//! identifier in use, nothing may lead there; under another one it is *dead*, and
//! the identifier must be flushed before or as it is loaded. A lazy processor uses
//! no translation of the lower half, so the same goes for these; but it may walk.

extern crate std;

use std::vec::Vec;

use super::walker::Translation;
use crate::mm::{PAGE_SIZE, Paddr, Vaddr};

/// An identifier of an address space.
pub(super) type Tag = u16;

/// Something that is cached.
#[derive(Debug)]
struct Entry<T> {
    /// Under which identifier; none for what is good under each.
    tag: Option<Tag>,
    what: T,
    /// Whether it leads to a frame that was given back.
    is_dead: bool,
}

/// What a processor may still believe.
#[derive(Debug)]
pub(super) struct Tlb {
    stale: Vec<Entry<Translation>>,
    /// Nodes that were cut off.
    nodes: Vec<Entry<Paddr>>,
    /// Roots by which something may be cached under an identifier.
    roots: Vec<Entry<Paddr>>,
    /// What is loaded.
    root: Paddr,
    tag: Tag,
    is_lazy: bool,
    has_identifiers: bool,
    /// Flushes so far, to be counted by tests.
    pub(super) page_flushes: usize,
    pub(super) full_flushes: usize,
}

impl Tlb {
    pub(super) fn new(has_identifiers: bool) -> Self {
        Self {
            stale: Vec::new(),
            nodes: Vec::new(),
            roots: Vec::new(),
            root: 0,
            tag: 0,
            is_lazy: false,
            has_identifiers,
            page_flushes: 0,
            full_flushes: 0,
        }
    }

    /// Does what a write of the root register does; `keep` says that what is cached
    /// under the identifier stays.
    ///
    /// # Panics
    ///
    /// Panics when that must not stay.
    pub(super) fn load(&mut self, root: Paddr, tag: Tag, keep: bool) {
        assert!(self.has_identifiers || tag == 0, "there are no identifiers");
        (self.root, self.tag, self.is_lazy) = (root, tag, false);
        if keep && self.has_identifiers {
            let others = |entry: &&Entry<Paddr>| entry.tag == Some(tag) && entry.what != root;
            if let Some(other) = self.roots.iter().find(others) {
                panic!(
                    "{root:#x} was loaded under identifier {tag}, where translations by \
                     {:#x} are",
                    other.what
                );
            }
            self.check_dead();
        } else {
            self.flush_all(false);
        }
        self.note_root();
    }

    /// Notes that something may be cached by what is loaded.
    fn note_root(&mut self) {
        let (root, tag) = (self.root, Some(self.tag));
        let is_noted = |entry: &Entry<Paddr>| entry.tag == tag && entry.what == root;
        if !self.roots.iter().any(is_noted) {
            self.roots.push(Entry {
                tag,
                what: root,
                is_dead: false,
            });
        }
    }

    /// Fails if something dead is under the identifier in use.
    fn check_dead(&self) {
        let tag = Some(self.tag);
        let is_dead = self
            .stale
            .iter()
            .any(|entry| entry.tag == tag && entry.is_dead)
            || self
                .nodes
                .iter()
                .any(|entry| entry.tag == tag && entry.is_dead)
            || self
                .roots
                .iter()
                .any(|entry| entry.tag == tag && entry.is_dead);
        assert!(
            !is_dead,
            "what is cached under identifier {} is used again, and leads to frames that \
             were freed",
            self.tag
        );
    }

    pub(super) fn rest(&mut self) {
        self.is_lazy = true;
    }

    pub(super) fn resume(&mut self) {
        self.is_lazy = false;
        self.check_dead();
    }

    pub(super) fn is_lazy(&self) -> bool {
        self.is_lazy
    }

    /// Returns the identifiers under which translations by a root may be cached;
    /// without a root, all under which there may be any.
    pub(super) fn tags_of(&self, root: Option<Paddr>) -> Vec<Tag> {
        let may = |entry: &&Entry<Paddr>| root.is_none_or(|root| root == entry.what);
        let mut tags: Vec<_> = self
            .roots
            .iter()
            .filter(may)
            .filter_map(|entry| entry.tag)
            .collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    pub(super) fn add(&mut self, tag: Tag, translation: Translation) {
        let tag = (!translation.global).then_some(tag);
        let is_there = |entry: &Entry<Translation>| {
            entry.tag == tag && entry.what == translation && !entry.is_dead
        };
        if tag.is_some() || !self.stale.iter().any(is_there) {
            self.stale.push(Entry {
                tag,
                what: translation,
                is_dead: false,
            });
        }
    }

    pub(super) fn add_node(&mut self, tag: Tag, node: Paddr) {
        self.nodes.push(Entry {
            tag: Some(tag),
            what: node,
            is_dead: false,
        });
    }

    /// Returns whether an entry can be used, as the processor is now.
    fn is_usable(&self, entry: &Entry<Translation>) -> bool {
        let is_user = entry.what.vaddr < 1 << 47;
        entry.tag.is_none_or(|tag| tag == self.tag) && !(is_user && self.is_lazy)
    }

    /// Returns the addresses of what is cached and can be used, and where they lead.
    pub(super) fn stale(&self) -> Vec<(Vaddr, Paddr)> {
        let usable = self.stale.iter().filter(|entry| self.is_usable(entry));
        usable
            .map(|entry| (entry.what.vaddr, entry.what.paddr))
            .collect()
    }

    /// Returns how much is cached under other identifiers than the one in use.
    pub(super) fn nr_hidden(&self) -> usize {
        let is_hidden = |entry: &&Entry<Translation>| !self.is_usable(entry);
        self.stale.iter().filter(is_hidden).count()
    }

    /// Returns the oldest cached translation of an address.
    pub(super) fn find(&self, vaddr: Vaddr) -> Option<Translation> {
        let found = self
            .stale
            .iter()
            .find(|entry| self.is_usable(entry) && entry.what.covers(vaddr));
        found.map(|entry| entry.what)
    }

    /// Does what `invlpg` does: the page's translations under the identifier in use
    /// go, and global ones, whatever their sizes; and with them all of the
    /// paging-structure caches under that identifier.
    pub(super) fn flush_page(&mut self, vaddr: Vaddr) {
        self.page_flushes += 1;
        let tag = self.tag;
        let is_meant = |of: Option<Tag>| of.is_none_or(|of| of == tag);
        self.stale
            .retain(|entry| !(is_meant(entry.tag) && entry.what.covers(vaddr)));
        self.nodes.retain(|entry| !is_meant(entry.tag));
    }

    /// Flushes what is under the identifier in use; or all, under each identifier
    /// and under none, if what is `global` is meant as well.
    pub(super) fn flush_all(&mut self, global: bool) {
        self.full_flushes += 1;
        let tag = self.tag;
        let stays = |of: Option<Tag>| !global && of != Some(tag);
        self.stale.retain(|entry| stays(entry.tag));
        self.nodes.retain(|entry| stays(entry.tag));
        self.roots.retain(|entry| stays(entry.tag));
        self.note_root();
    }

    /// Fails if a frame that is given back can still be reached.
    pub(super) fn frame_freed(&mut self, cpu: usize, frame: Paddr) {
        assert_ne!(
            self.root, frame,
            "frame {frame:#x} was freed, the root of processor {cpu}"
        );
        let fail = |how: &str| {
            panic!("frame {frame:#x} was freed while processor {cpu} can reach it by {how}")
        };
        let overlaps = |entry: &Translation| {
            entry.paddr < frame + PAGE_SIZE && frame < entry.paddr + entry.size
        };
        let is_used = |entry: &&Entry<Translation>| overlaps(&entry.what) && self.is_usable(entry);
        if self.stale.iter().any(|entry| is_used(&entry)) {
            fail("a cached translation");
        }
        let tag = Some(self.tag);
        if self
            .nodes
            .iter()
            .any(|entry| entry.what == frame && entry.tag == tag)
        {
            fail("the paging-structure caches");
        }
        for entry in self.stale.iter_mut().filter(|entry| overlaps(&entry.what)) {
            entry.is_dead = true;
        }
        for entry in self.nodes.iter_mut().chain(&mut self.roots) {
            entry.is_dead |= entry.what == frame;
        }
    }
}
