//! Memory that mappings share: files, and shared anonymous memory.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use nucleus::impl_untyped_frame_meta_for;
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, UFrame, UntypedMem};
use nucleus::sync::Mutex;

use super::mappers::{Mappers, Taken};
use crate::errno::Errno;

/// Frames of memory that processes share without a file.
#[derive(Debug)]
struct Shared;
impl_untyped_frame_meta_for!(Shared => "shared");

/// Something with pages that regions can map.
///
/// All mappings of an object map the same frames, of which the object keeps a
/// reference each. So a private mapping's write finds that it is not alone, and
/// copies, for as long as the object has the page.
///
/// **Lock order**: an address space asks for pages with its regions locked. So
/// [`Self::page`] must not touch user memory, and whoever holds a lock that `page`
/// takes must not do so either.
pub(crate) trait MemoryObject: fmt::Debug + Send + Sync {
    /// Returns a page, made if need be. May sleep.
    ///
    /// Asked for pages below [`Self::len`] alone, which may shrink meanwhile: then the
    /// page is refused, or taken out of its mappings afterwards ([`Self::mappers`]).
    fn page(&self, index: usize) -> Result<UFrame, Errno>;

    /// Returns a page if that costs nothing: it is there already, and no lock
    /// needs to be waited for long. Faults map such pages beside the one that was
    /// touched. Nothing behind the end is at hand.
    fn page_at_hand(&self, index: usize) -> Option<UFrame> {
        let _ = index;
        None
    }

    /// Returns the number of bytes. Touching a page behind the last one is a bus
    /// error.
    fn len(&self) -> usize;

    /// Returns those who map it, if its pages can go.
    fn mappers(&self) -> Option<&Mappers> {
        None
    }

    /// Forgets a range of bytes: they are zeros, and whole pages of them give their
    /// memory back. May sleep.
    ///
    /// # Errors
    ///
    /// [`Errno::NotSupported`], [`Errno::NoMemory`].
    fn punch_hole(&self, bytes: Range<u64>) -> Result<(), Errno> {
        let _ = bytes;
        Err(Errno::NotSupported)
    }

    /// Returns the name that `/proc/self/maps` shows.
    fn name(&self) -> Vec<u8>;

    /// Returns the inode number that `/proc/self/maps` shows.
    fn inode(&self) -> u64 {
        0
    }
}

/// Anonymous memory that processes share: its pages come when they are touched,
/// and stay until the last mapping goes.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    len: usize,
    pages: Mutex<BTreeMap<usize, UFrame>>,
    mappers: Mappers,
    /// Held while a hole is punched.
    holes: Mutex<()>,
}

impl SharedMemory {
    /// Makes memory of so many bytes, none of which exists yet.
    pub(crate) fn new(len: usize) -> Arc<Self> {
        Arc::new(Self {
            len,
            pages: Mutex::new(BTreeMap::new()),
            mappers: Mappers::new(),
            holes: Mutex::new(()),
        })
    }
}

impl MemoryObject for SharedMemory {
    fn page(&self, index: usize) -> Result<UFrame, Errno> {
        let mut pages = self.pages.lock();
        if let Some(page) = pages.get(&index) {
            return Ok(page.clone());
        }
        super::ensure_reserve()?;
        let page: UFrame = FrameAllocOptions::new()
            .for_user(true)
            .alloc_frame_with(Shared)?
            .into();
        pages.insert(index, page.clone());
        Ok(page)
    }

    fn page_at_hand(&self, index: usize) -> Option<UFrame> {
        self.pages.try_lock()?.get(&index).cloned()
    }

    fn mappers(&self) -> Option<&Mappers> {
        Some(&self.mappers)
    }

    /// Mappings have whole pages, so others are not asked for.
    fn punch_hole(&self, bytes: Range<u64>) -> Result<(), Errno> {
        let page = |byte: u64| usize::try_from(byte / PAGE_SIZE as u64).unwrap_or(usize::MAX);
        let hole = page(bytes.start)..page(bytes.end);
        let _hole = self.holes.lock();
        for (_, frame) in self.pages.lock().range(hole.clone()) {
            frame.writer().fill_zeros(PAGE_SIZE);
        }
        self.mappers.take_out(&hole, Taken::Objects)?;
        let is_used = |index: &usize, frame: &mut UFrame| {
            !hole.contains(index) || frame.reference_count() > 1
        };
        self.pages.lock().retain(is_used);
        Ok(())
    }

    fn len(&self) -> usize {
        self.len.next_multiple_of(PAGE_SIZE)
    }

    fn name(&self) -> Vec<u8> {
        b"/dev/zero (deleted)".to_vec()
    }
}
