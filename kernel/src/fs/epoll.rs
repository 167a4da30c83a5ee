//! Sets of files that are waited for (`epoll(7)`).
//!
//! A set remembers what it is told to wait for, and looks at all of it each time that
//! any stream of the system has changed, as [`poll`](super::poll) does. So waiting costs
//! as much as there is in the set, which Linux does better; what is seen is the same.
//!
//! **Edges.** Whoever wants to hear of changes alone is told of a file that is ready if
//! that has become so, or more so, since it was told last: the stream
//! [counts](super::poll::Edges). The counts are read before the look at what is ready,
//! so that what comes in between is told twice rather than never.
//!
//! **Files go** from a set when their last descriptor does: a set has weak handles.
//!
//! **Sets in sets**: one that has others in it is in none itself, so that a look neither
//! goes in a circle nor takes for ever; Linux has up to four more. Once in another one, a
//! set gets none in it any more.
//!
//! **Locks**: a set's lock is held for nothing but looking at and changing the set, so of
//! these nobody has two. [`NESTING`] is taken before.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ops::Bound;
use core::sync::atomic::{AtomicBool, Ordering};

use bitflags::bitflags;
use nucleus::sync::{Mutex, WaitQueue};

use super::buffer::{Sink, Source};
use super::node::{Filesystem, Inode, Kind, Metadata, Stream};
use super::open::OpenFile;
use super::poll::{self, Edges, Readiness};
use crate::errno::Errno;

/// Files that one set waits for at most: as many as a process may have.
const MAX_FILES: usize = super::table::MAX_LIMIT;

bitflags! {
    /// What is waited for, and how; the bits of `epoll_ctl`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Interest: u32 {
        /// One waiter is enough.
        const EXCLUSIVE = 1 << 28;
        /// The machine must not sleep meanwhile, which it never does.
        const WAKE_UP = 1 << 29;
        /// Once it was told, nothing more is, until it is changed.
        const ONCE = 1 << 30;
        /// Changes are told, and not states.
        const EDGES = 1 << 31;
        /// Conditions: the bits of `poll`.
        const CONDITIONS = 0xffff;
        const READ = 0x001;
        const WRITE = 0x004;
        const ERROR = 0x008;
        const HANG_UP = 0x010;
        const _ = !0;
    }
}

impl Interest {
    /// What may be asked for together with one waiter being enough.
    const WITH_EXCLUSIVE: Self = Self::READ
        .union(Self::WRITE)
        .union(Self::ERROR)
        .union(Self::HANG_UP)
        .union(Self::WAKE_UP)
        .union(Self::EDGES)
        .union(Self::EXCLUSIVE);

    /// Returns the conditions, with those that are always told.
    fn conditions(self) -> Readiness {
        let wanted = Readiness::from_bits((self & Self::CONDITIONS).bits() as u16);
        wanted | Readiness::ERROR | Readiness::HANG_UP
    }
}

/// What a program says of a file, and is told: the conditions, and a word of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) bits: u32,
    pub(crate) data: u64,
}

/// A file in a set: by descriptor and description, each of which may be there again with
/// another of the other.
type Key = (usize, usize);

/// A file that is waited for.
#[derive(Clone, Debug)]
struct Item {
    file: Weak<OpenFile>,
    interest: Interest,
    data: u64,
    /// What was counted when it was told last; nothing if it was not told yet.
    seen: Option<Edges>,
    /// Changed whenever the program changes the item.
    version: u64,
}

#[derive(Debug, Default)]
struct Items {
    items: BTreeMap<Key, Item>,
    last_version: u64,
    /// The file that was told last: the next look begins behind it.
    last_told: Option<Key>,
}

/// A set of files that are waited for.
#[derive(Debug)]
pub(crate) struct Epoll {
    items: Mutex<Items>,
    /// Whether it is, or was, in another set; written with [`NESTING`] held.
    is_inside: AtomicBool,
}

/// Held while a set is put into another one.
static NESTING: Mutex<()> = Mutex::new(());

impl Epoll {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            items: Mutex::new(Items::default()),
            is_inside: AtomicBool::new(false),
        })
    }

    /// Adds a file; the caller has checked that it can be waited for.
    ///
    /// # Errors
    ///
    /// [`Errno::Exists`]; [`Errno::TooManyLinks`] for a set that has others in it, or if
    /// this one is in one; [`Errno::Invalid`] for bits that do not go together;
    /// [`Errno::NoSpace`], [`Errno::NoMemory`].
    pub(crate) fn add(
        &self,
        descriptor: usize,
        file: &Arc<OpenFile>,
        event: Event,
    ) -> Result<(), Errno> {
        let interest = Interest::from_bits_retain(event.bits);
        let inner = file.stream().and_then(|stream| stream.as_epoll());
        if interest.contains(Interest::EXCLUSIVE)
            && (inner.is_some() || !Interest::WITH_EXCLUSIVE.contains(interest))
        {
            return Err(Errno::Invalid);
        }
        let _nesting = inner.map(|_| NESTING.lock());
        if let Some(inner) = inner {
            // Another description may lead to the same set. Relaxed: under the lock.
            if core::ptr::eq(inner, self)
                || self.is_inside.load(Ordering::Relaxed)
                || inner.has_sets()
            {
                return Err(Errno::TooManyLinks);
            }
            inner.is_inside.store(true, Ordering::Relaxed);
        }
        crate::vm::ensure_reserve()?;
        let mut items = self.items.lock();
        items.forget_closed();
        let key = key_of(descriptor, file);
        if items.items.contains_key(&key) {
            return Err(Errno::Exists);
        }
        if items.items.len() >= MAX_FILES {
            return Err(Errno::NoSpace);
        }
        let item = Item {
            file: Arc::downgrade(file),
            interest,
            data: event.data,
            seen: None,
            version: items.next_version(),
        };
        items.items.insert(key, item);
        drop(items);
        poll::pollers().wake_all();
        Ok(())
    }

    /// Changes what is waited for of a file.
    ///
    /// # Errors
    ///
    /// [`Errno::NoEntry`] if it is not in the set; [`Errno::Invalid`] where one waiter is
    /// or was to be enough.
    pub(crate) fn modify(
        &self,
        descriptor: usize,
        file: &Arc<OpenFile>,
        event: Event,
    ) -> Result<(), Errno> {
        let interest = Interest::from_bits_retain(event.bits);
        if interest.contains(Interest::EXCLUSIVE) {
            return Err(Errno::Invalid);
        }
        let mut items = self.items.lock();
        let version = items.next_version();
        let item = items.items.get_mut(&key_of(descriptor, file));
        let item = item.ok_or(Errno::NoEntry)?;
        if item.interest.contains(Interest::EXCLUSIVE) {
            return Err(Errno::Invalid);
        }
        (item.interest, item.data) = (interest, event.data);
        (item.seen, item.version) = (None, version);
        drop(items);
        poll::pollers().wake_all();
        Ok(())
    }

    /// Takes a file out.
    ///
    /// # Errors
    ///
    /// [`Errno::NoEntry`] if it is not in the set.
    pub(crate) fn remove(&self, descriptor: usize, file: &Arc<OpenFile>) -> Result<(), Errno> {
        let removed = self.items.lock().items.remove(&key_of(descriptor, file));
        removed.map(drop).ok_or(Errno::NoEntry)
    }

    /// Returns what is ready and not told yet, at most so many; it is told by that.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMemory`].
    pub(crate) fn take_ready(&self, max: usize) -> Result<Vec<Event>, Errno> {
        let items = self.snapshot()?;
        let mut events = Vec::new();
        let reserved = events.try_reserve_exact(max.min(items.len()));
        reserved.map_err(|_| Errno::NoMemory)?;
        for (key, item) in items {
            if events.len() == max {
                break;
            }
            if let Some((found, edges)) = item.found()
                && self.note_told(key, &item, edges)
            {
                let (bits, data) = (found.bits().into(), item.data);
                events.push(Event { bits, data });
            }
        }
        Ok(events)
    }

    /// Returns all items, beginning behind the one that was told last.
    fn snapshot(&self) -> Result<Vec<(Key, Item)>, Errno> {
        let items = self.items.lock();
        let mut all = Vec::new();
        let reserved = all.try_reserve_exact(items.items.len());
        reserved.map_err(|_| Errno::NoMemory)?;
        let last = items.last_told.unwrap_or_default();
        let behind = items.items.range((Bound::Excluded(last), Bound::Unbounded));
        let others = items.items.range(..=last);
        all.extend(behind.chain(others).map(|(key, item)| (*key, item.clone())));
        Ok(all)
    }

    /// Notes that an item is told, unless it was changed since the look, or somebody
    /// else was told first; returns whether it is to be told.
    fn note_told(&self, key: Key, looked_at: &Item, edges: Edges) -> bool {
        let mut items = self.items.lock();
        let Some(item) = items.items.get_mut(&key) else {
            return false;
        };
        let is_same = item.version == looked_at.version && item.seen == looked_at.seen;
        if !is_same && item.interest.intersects(Interest::ONCE | Interest::EDGES) {
            return false;
        }
        item.seen = Some(edges);
        if item.interest.contains(Interest::ONCE) {
            item.interest &= !Interest::CONDITIONS;
        }
        items.last_told = Some(key);
        true
    }

    /// Returns whether there are sets in it.
    fn has_sets(&self) -> bool {
        // Without memory to look, it is as if there were.
        let Ok(items) = self.snapshot() else {
            return true;
        };
        let mut files = items.iter().filter_map(|(_, item)| item.file.upgrade());
        files.any(|file| {
            let stream = file.stream();
            stream.is_some_and(|stream| stream.as_epoll().is_some())
        })
    }
}

impl Items {
    fn next_version(&mut self) -> u64 {
        self.last_version += 1;
        self.last_version
    }

    /// Forgets files that are not open any more.
    fn forget_closed(&mut self) {
        self.items.retain(|_, item| item.file.strong_count() > 0);
    }
}

impl Item {
    /// Returns what is to be told of it now, if anything, and the edges until then.
    fn found(&self) -> Option<(Readiness, Edges)> {
        if (self.interest & Interest::CONDITIONS).is_empty() && self.is_used_up() {
            return None;
        }
        let file = self.file.upgrade()?;
        let edges = file.edges();
        let found = file.readiness().intersection(self.interest.conditions());
        if found.is_empty() {
            return None;
        }
        let is_new = self
            .seen
            .is_none_or(|seen| self.has_changed(seen, edges, found));
        let is_told = is_new || !self.interest.contains(Interest::EDGES);
        is_told.then_some((found, edges))
    }

    /// Returns whether it was to be told once, and was.
    fn is_used_up(&self) -> bool {
        self.interest.contains(Interest::ONCE) && self.seen.is_some()
    }

    /// Returns whether anything that is waited for has become possible in between, of
    /// what is found now.
    fn has_changed(&self, seen: Edges, now: Edges, found: Readiness) -> bool {
        let is_over = found.intersects(Readiness::HANG_UP | Readiness::ERROR);
        let wants = |what: Readiness| is_over || self.interest.conditions().intersects(what);
        wants(Readiness::READ) && seen.read != now.read
            || wants(Readiness::WRITE) && seen.write != now.write
    }
}

fn key_of(descriptor: usize, file: &Arc<OpenFile>) -> Key {
    // A weak handle keeps the address from being given to another one.
    (descriptor as u32 as usize, Arc::as_ptr(file).addr())
}

impl Inode for Epoll {
    fn metadata(&self) -> Metadata {
        Metadata {
            permissions: 0o600,
            ..Metadata::new(Filesystem::Nameless, 1, Kind::Nothing)
        }
    }

    fn made_up_name(&self) -> Vec<u8> {
        b"anon_inode:[eventpoll]".to_vec()
    }
}

impl Stream for Epoll {
    fn read(&self, _to: &mut dyn Sink) -> Result<usize, Errno> {
        Err(Errno::Invalid)
    }

    fn write(&self, _from: &mut dyn Source) -> Result<usize, Errno> {
        Err(Errno::Invalid)
    }

    /// Without memory to look, nothing is.
    fn readiness(&self) -> Readiness {
        let items = self.snapshot().unwrap_or_default();
        let is_ready = items.iter().any(|(_, item)| item.found().is_some());
        Readiness::READ.when(is_ready)
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(poll::pollers())
    }

    fn as_epoll(&self) -> Option<&Epoll> {
        Some(self)
    }
}

#[cfg(ktest)]
mod tests {
    use nucleus::mm::VmReader;
    use nucleus::prelude::*;

    use super::{Arc, Epoll, Errno, Event, Interest, OpenFile, Stream};
    use crate::fs::event::EventCounter;
    use crate::fs::open::Access;

    fn open(stream: Arc<dyn Stream>) -> Arc<OpenFile> {
        Arc::new(OpenFile::from_stream(stream, Access::BOTH, 0))
    }

    fn reading(how: Interest) -> Event {
        let bits = (Interest::READ | how).bits();
        Event { bits, data: 7 }
    }

    fn nr_ready(set: &Epoll) -> usize {
        set.take_ready(8).map_or(0, |events| events.len())
    }

    #[ktest]
    fn states_are_told_again_and_changes_once() {
        let counter = EventCounter::new(1, false);
        let (level, edge) = (open(counter.clone()), open(counter.clone()));
        let set = Epoll::new();
        assert_eq!(set.add(0, &level, reading(Interest::empty())), Ok(()));
        assert_eq!(set.add(1, &edge, reading(Interest::EDGES)), Ok(()));
        assert_eq!([nr_ready(&set), nr_ready(&set)], [2, 1]);
        let one = 1_u64.to_le_bytes();
        assert_eq!(counter.write(&mut VmReader::from(&one[..])), Ok(8));
        assert_eq!([nr_ready(&set), nr_ready(&set)], [2, 1]);
        drop(level);
        assert_eq!(nr_ready(&set), 0, "its last descriptor is gone");
    }

    #[ktest]
    fn sets_are_in_no_circle_and_no_deeper_than_one_in_another() {
        let [one, two, three] = [Epoll::new(), Epoll::new(), Epoll::new()];
        let files = [one.clone(), two.clone(), three.clone()].map(|set| open(set));
        let add = |set: &Epoll, number: usize| {
            let event = reading(Interest::empty());
            set.add(number, &files[number], event)
        };
        assert_eq!(add(&one, 0), Err(Errno::TooManyLinks), "itself");
        assert_eq!(add(&one, 1), Ok(()));
        assert_eq!(add(&two, 0), Err(Errno::TooManyLinks), "a circle");
        assert_eq!(add(&two, 2), Err(Errno::TooManyLinks), "too deep");
        assert_eq!(add(&three, 0), Err(Errno::TooManyLinks), "too deep");
        assert_eq!(nr_ready(&one), 0);
    }
}
