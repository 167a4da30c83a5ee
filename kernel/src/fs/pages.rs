//! The contents of a file that is in memory: frames, by the number of their page.
//!
//! Pages that nobody has written are not there and read as zeros. Frames are those that
//! programs may have, so that they run out before the kernel's own memory does; the index
//! takes a part of 4 KiB of the heap for each 2 MiB that are in use. **Locks**: the
//! index's lock is held while a page is looked up, made or dropped, and never while
//! bytes are copied; a page fault takes it.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use nucleus::impl_untyped_frame_meta_for;
use nucleus::mm::{FrameAllocOptions, PAGE_SIZE, UFrame, UntypedMem, VmReader};
use nucleus::sync::Mutex;

use super::buffer::{Sink, Source};
use crate::errno::Errno;
use crate::vm::ensure_reserve;

/// Frames of a file in memory, or of a text that was made when a file was opened.
#[derive(Debug)]
struct FilePage;
impl_untyped_frame_meta_for!(FilePage => "files");

/// Pages of a part of the index.
const PART: usize = 512;

/// How many frames the files of a filesystem may have together.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
        }
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        // Relaxed: a number for those who ask.
        self.used.load(Ordering::Relaxed)
    }

    /// Takes one.
    ///
    /// # Errors
    ///
    /// [`Errno::NoSpace`].
    pub(crate) fn take(&self) -> Result<(), Errno> {
        let more = |used: usize| (used < self.limit).then_some(used + 1);
        // Relaxed: it counts, and orders nothing.
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(drop).map_err(|_| Errno::NoSpace)
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, count: usize) {
        // Relaxed: as in `take`.
        self.used.fetch_sub(count, Ordering::Relaxed);
    }
}

/// The index: parts of [`PART`] pages.
#[derive(Debug, Default)]
struct Index {
    parts: BTreeMap<usize, Vec<Option<UFrame>>>,
    nr_frames: usize,
}

/// The contents of a file.
#[derive(Debug)]
pub(crate) struct Pages {
    index: Mutex<Index>,
    budget: Arc<Budget>,
}

impl Pages {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            index: Mutex::new(Index::default()),
            budget,
        }
    }

    /// Returns how many frames there are.
    pub(crate) fn nr_frames(&self) -> usize {
        self.index.lock().nr_frames
    }

    /// Returns the frame of a page, if it is there.
    pub(crate) fn get(&self, page: usize) -> Option<UFrame> {
        self.index.lock().get(page).cloned()
    }

    /// Returns the frame of a page, if it is there and nobody is to be waited for.
    pub(crate) fn at_hand(&self, page: usize) -> Option<UFrame> {
        self.index.try_lock()?.get(page).cloned()
    }

    /// Returns the frame of a page, which is zeroed if it was not there.
    ///
    /// # Errors
    ///
    /// [`Errno::NoSpace`], [`Errno::NoMemory`].
    pub(crate) fn get_or_make(&self, page: usize) -> Result<UFrame, Errno> {
        let mut index = self.index.lock();
        if let Some(frame) = index.get(page) {
            return Ok(frame.clone());
        }
        self.budget.take()?;
        index.make(page).inspect_err(|_| self.budget.give_back(1))
    }

    /// Reads bytes, of which all count; zeros where no page is. Returns how many.
    ///
    /// # Errors
    ///
    /// What the sink says, when nothing was read.
    pub(crate) fn read(&self, offset: u64, len: u64, to: &mut dyn Sink) -> Result<usize, Errno> {
        const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(to.room());
        in_pages(offset, len, |page, start, part| match self.get(page) {
            Some(frame) => {
                let mut bytes = frame.reader();
                bytes.skip(start).limit(part);
                to.put(bytes)
            }
            None => to.put(VmReader::from(&ZEROS[..part])),
        })
    }

    /// Writes bytes, as many as `from` has; returns how many.
    ///
    /// # Errors
    ///
    /// As [`Self::get_or_make`], and what the source says, when nothing was written.
    pub(crate) fn write(&self, offset: u64, from: &mut dyn Source) -> Result<usize, Errno> {
        in_pages(offset, from.left(), |page, start, part| {
            let frame = self.get_or_make(page)?;
            let mut room = frame.writer();
            room.skip(start).limit(part);
            from.take(room)
        })
    }

    /// Has frames for all pages of a range, zeroed where none were.
    ///
    /// # Errors
    ///
    /// As [`Self::get_or_make`]; nothing has changed then.
    pub(crate) fn make_all(&self, pages: Range<usize>) -> Result<(), Errno> {
        if pages.len() > self.budget.limit() {
            return Err(Errno::NoSpace);
        }
        let mut made = Vec::new();
        for page in pages {
            if self.get(page).is_some() {
                continue;
            }
            let room = made.try_reserve(1).map_err(|_| Errno::NoMemory);
            if let Err(error) = room.and_then(|()| self.get_or_make(page)) {
                made.into_iter()
                    .for_each(|page| self.drop_unused(&(page..page + 1)));
                return Err(error);
            }
            made.push(page);
        }
        Ok(())
    }

    /// Zeroes a range of bytes where there are frames for them; returns which whole
    /// pages are in it.
    pub(crate) fn zero(&self, bytes: &Range<u64>) -> Range<usize> {
        const SIZE: u64 = PAGE_SIZE as u64;
        let touched = (bytes.start / SIZE) as usize..bytes.end.div_ceil(SIZE) as usize;
        let index = self.index.lock();
        for (page, frame) in index.range(&touched) {
            let page_start = page as u64 * SIZE;
            let start = bytes.start.saturating_sub(page_start) as usize;
            let end = (bytes.end - page_start).min(SIZE) as usize;
            frame.writer().skip(start).fill_zeros(end - start);
        }
        drop(index);
        let whole = bytes.start.div_ceil(SIZE) as usize..(bytes.end / SIZE) as usize;
        whole.start..whole.end.max(whole.start)
    }

    /// Drops the frames of a range that nobody else has, such as those of mappings.
    pub(crate) fn drop_unused(&self, pages: &Range<usize>) {
        // With the index locked, nobody else gets one.
        let dropped = self.index.lock().drop_unused(pages);
        self.budget.give_back(dropped);
    }

    /// Forgets everything from an offset on.
    pub(crate) fn truncate(&self, len: u64) {
        let first_gone = len.div_ceil(PAGE_SIZE as u64) as usize;
        let in_page = (len % PAGE_SIZE as u64) as usize;
        let dropped = {
            let mut index = self.index.lock();
            // The rest of the last page reads as zeros if the file gets longer again.
            if in_page > 0
                && let Some(frame) = index.get(first_gone - 1)
            {
                frame.writer().skip(in_page).fill_zeros(PAGE_SIZE - in_page);
            }
            index.split_off(first_gone)
        };
        self.budget.give_back(dropped.nr_frames);
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.budget.give_back(self.index.get_mut().nr_frames);
    }
}

impl Index {
    fn get(&self, page: usize) -> Option<&UFrame> {
        self.parts.get(&(page / PART))?.get(page % PART)?.as_ref()
    }

    /// Makes a page that is not there, zeroed. If that fails, nothing has changed: a part
    /// of the index that holds nothing would be memory that no budget counts.
    fn make(&mut self, page: usize) -> Result<UFrame, Errno> {
        let mut options = FrameAllocOptions::new();
        let frame = options.for_user(true).alloc_frame_with(FilePage)?;
        let frame = UFrame::from(frame);
        self.part_of(page)?[page % PART] = Some(frame.clone());
        self.nr_frames += 1;
        Ok(frame)
    }

    /// Returns the part of a page, which is made if it is not there.
    fn part_of(&mut self, page: usize) -> Result<&mut Vec<Option<UFrame>>, Errno> {
        match self.parts.entry(page / PART) {
            Entry::Occupied(part) => Ok(part.into_mut()),
            Entry::Vacant(place) => {
                ensure_reserve()?;
                let mut part = Vec::new();
                let reserved = part.try_reserve_exact(PART);
                reserved.map_err(|_| Errno::NoMemory)?;
                part.resize(PART, None);
                Ok(place.insert(part))
            }
        }
    }

    /// Returns the pages of a range that are there, in order.
    fn range(&self, pages: &Range<usize>) -> impl Iterator<Item = (usize, &UFrame)> {
        let parts = pages.start / PART..pages.end.div_ceil(PART);
        let found = self.parts.range(parts).flat_map(|(part, frames)| {
            let numbered = frames.iter().enumerate();
            numbered.filter_map(move |(at, frame)| Some((part * PART + at, frame.as_ref()?)))
        });
        found.filter(move |(page, _)| pages.contains(page))
    }

    /// Drops the pages of a range of which this is the only reference; returns how many.
    fn drop_unused(&mut self, pages: &Range<usize>) -> usize {
        let parts = pages.start / PART..pages.end.div_ceil(PART);
        let mut dropped = 0;
        for (part, frames) in self.parts.range_mut(parts.clone()) {
            for (at, slot) in frames.iter_mut().enumerate() {
                let is_asked = pages.contains(&(part * PART + at));
                let is_unused = |frame: &UFrame| frame.reference_count() == 1;
                if is_asked && slot.as_ref().is_some_and(is_unused) {
                    *slot = None;
                    dropped += 1;
                }
            }
        }
        let is_empty =
            |_: &usize, frames: &mut Vec<Option<UFrame>>| frames.iter().all(Option::is_none);
        self.parts.extract_if(parts, is_empty).for_each(drop);
        self.nr_frames -= dropped;
        dropped
    }

    /// Takes all pages from a number on out.
    fn split_off(&mut self, first: usize) -> Self {
        let mut gone = Self {
            parts: self.parts.split_off(&first.div_ceil(PART)),
            nr_frames: 0,
        };
        if !first.is_multiple_of(PART)
            && let Some(part) = self.parts.get_mut(&(first / PART))
        {
            let cut = part.iter_mut().skip(first % PART).map(Option::take);
            gone.parts.insert(first / PART, cut.collect());
        }
        let frames = gone.parts.values().flatten().flatten();
        gone.nr_frames = frames.count();
        self.nr_frames -= gone.nr_frames;
        gone
    }
}

/// Goes through bytes page by page; `step` is told the page, where in it to start, and
/// how many bytes, and says how many it did. Returns how many were done, up to the first
/// step that did less.
fn in_pages(
    offset: u64,
    len: usize,
    mut step: impl FnMut(usize, usize, usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let page = (at / PAGE_SIZE as u64) as usize;
        let start = (at % PAGE_SIZE as u64) as usize;
        let part = (PAGE_SIZE - start).min(len - done);
        let count = match step(page, start, part) {
            Err(_) if done > 0 => break,
            other => other?,
        };
        done += count;
        if count < part {
            break;
        }
    }
    Ok(done)
}

#[cfg(ktest)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec;

    use nucleus::mm::{PAGE_SIZE, VmReader, VmWriter};
    use nucleus::prelude::*;

    use super::{Budget, PART, Pages};
    use crate::errno::Errno;

    fn pages(limit: usize) -> Pages {
        Pages::new(Arc::new(Budget::new(limit)))
    }

    fn write(pages: &Pages, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        pages.write(offset, &mut VmReader::from(bytes))
    }

    #[ktest]
    fn bytes_read_back_across_pages_with_zeros_in_holes() {
        let pages = pages(8);
        let start = PAGE_SIZE as u64 * 3 - 2;
        assert_eq!(write(&pages, start, b"abcd"), Ok(4));
        let mut buffer = [1; 8];
        let count = pages.read(start - 2, 8, &mut VmWriter::from(&mut buffer[..]));
        assert_eq!((count, &buffer), (Ok(8), b"\0\0abcd\0\0"));
        assert_eq!(pages.nr_frames(), 2);
    }

    #[ktest]
    fn page_beyond_the_budget_takes_no_place_in_the_index() {
        let pages = pages(1);
        assert_eq!(write(&pages, 0, b"a"), Ok(1));
        for part in 1..8 {
            let offset = (part * PART * PAGE_SIZE) as u64;
            assert_eq!(write(&pages, offset, b"b"), Err(Errno::NoSpace));
        }
        assert_eq!(pages.index.lock().parts.len(), 1);
        pages.truncate(0);
        assert_eq!(write(&pages, (PART * PAGE_SIZE) as u64, b"c"), Ok(1));
    }

    #[ktest]
    fn budget_ends_a_write_early_and_is_given_back() {
        let pages = pages(2);
        let bytes = vec![7; PAGE_SIZE * 3];
        assert_eq!(write(&pages, 0, &bytes), Ok(PAGE_SIZE * 2));
        assert_eq!(write(&pages, 1 << 30, b"x"), Err(Errno::NoSpace));
        pages.truncate(1);
        assert_eq!((pages.nr_frames(), pages.budget.used()), (1, 1));
        assert_eq!(write(&pages, 1 << 30, b"x"), Ok(1));
    }

    #[ktest]
    fn what_was_cut_off_reads_as_zeros() {
        let pages = pages(PART);
        for page in [0, 1, PART as u64, 2 * PART as u64 + 1] {
            assert_eq!(write(&pages, page * PAGE_SIZE as u64, b"xyz"), Ok(3));
        }
        pages.truncate(1);
        assert_eq!(pages.nr_frames(), 1);
        let mut buffer = [1; 3];
        let count = pages.read(0, 3, &mut VmWriter::from(&mut buffer[..]));
        assert_eq!((count, &buffer), (Ok(3), b"x\0\0"));
        pages.truncate(0);
        assert_eq!((pages.nr_frames(), pages.budget.used()), (0, 0));
    }
}
