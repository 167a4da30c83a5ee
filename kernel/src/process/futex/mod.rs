//! Futexes: threads that wait at addresses of theirs (`futex(2)`).
//!
//! A futex is a word of user memory, known by its [key](FutexKey): two threads mean
//! the same one if their keys are equal, whatever their addresses. Threads that wait
//! are in a bucket of a hash table, in the order in which they came.
//!
//! ```text
//!   the waiter                                   the waker, in ring 3 and then here
//!   1. takes the bucket's lock                   a. changes the word
//!   2. looks at the word: is it as expected?     b. takes the bucket's lock
//!   3. enters the bucket, releases its lock      c. takes threads out of the bucket,
//!   4. sleeps until it is in no bucket              says so to each, and wakes it
//! ```
//!
//! If the waiter saw the word unchanged, 2 came before a, so 3 comes before b, and the
//! waker finds it. If not, it does not sleep. So no wake-up is lost between the look and
//! the sleep (peer 102). The look must not wait for memory, since it is made under a
//! spin lock: where the page is missing, the waiter makes it first and begins again.
//!
//! **Locks**: those of buckets, the one of the lower number first; then those of wait
//! queues. A thread's place is written under the lock of the bucket in which it was,
//! and of the one to which it goes.

pub(crate) mod operation;
pub(crate) mod robust;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use nucleus::mm::Vaddr;
use nucleus::sync::{SpinLock, SpinLockGuard};

use super::{Current, Thread};
use crate::errno::Errno;
use crate::vm::{AddressSpace, FutexKey};

/// How many buckets there are: a power of two.
const NR_BUCKETS: usize = 256;

/// All bits: a waiter that any waker may wake, and a waker that may wake any waiter.
pub(crate) const ANY: u32 = u32::MAX;

static BUCKETS: [Bucket; NR_BUCKETS] = [const { SpinLock::new(Vec::new()) }; NR_BUCKETS];

type Bucket = SpinLock<Vec<Entry>>;

/// A thread that waits.
#[derive(Debug)]
struct Entry {
    key: FutexKey,
    /// Which wakers may wake it: those with a bit in common.
    bits: u32,
    thread: Arc<Thread>,
}

/// Where a thread is among those that wait: the number of its bucket, or
/// [`Self::NOWHERE`].
#[derive(Debug)]
pub(super) struct Place(AtomicUsize);

impl Place {
    const NOWHERE: usize = usize::MAX;

    pub(super) const fn new() -> Self {
        Self(AtomicUsize::new(Self::NOWHERE))
    }

    /// Changes it, under the lock of the bucket.
    fn set(&self, bucket: usize) {
        // Release: whoever finds the thread nowhere sees what its waker did before.
        self.0.store(bucket, Ordering::Release);
    }

    fn get(&self) -> usize {
        // Acquire: pairs with the Release of `set`.
        self.0.load(Ordering::Acquire)
    }
}

/// Has a thread go on that was taken out of its bucket, whose lock is held.
fn release(thread: &Thread) {
    thread.futex.set(Place::NOWHERE);
    thread.queue.wake_one();
}

/// How many threads to wake, and how many to move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) wake: usize,
    pub(crate) requeue: usize,
}

/// Waits until somebody wakes the thread at an address, where the word has a value.
///
/// # Errors
///
/// [`Errno::Again`] when it has another one; [`Errno::Fault`]; [`Errno::Invalid`] for an
/// address that is not aligned; [`Errno::TimedOut`]; [`Errno::Interrupted`];
/// [`Errno::NoMemory`].
pub(crate) fn wait(
    current: &Current,
    address: (Vaddr, IsPrivate),
    expected: u32,
    deadline: Option<Duration>,
    bits: u32,
) -> Result<(), Errno> {
    let thread = &current.thread;
    enter(&current.memory, address, expected, bits, thread)?;
    let is_woken = || (thread.futex.get() == Place::NOWHERE).then_some(());
    let waited = current.wait(&thread.queue, deadline, is_woken);
    // Somebody may have woken it in the last moment, and must not have done so in vain.
    waited.or_else(|error| if leave(thread) { Err(error) } else { Ok(()) })
}

/// Whether a futex is used by the threads of one address space alone.
pub(crate) type IsPrivate = bool;

/// Puts a thread into a bucket if the word is as expected.
fn enter(
    memory: &AddressSpace,
    (address, is_private): (Vaddr, IsPrivate),
    expected: u32,
    bits: u32,
    thread: &Arc<Thread>,
) -> Result<(), Errno> {
    loop {
        let key = memory.futex_key(address, is_private)?;
        let number = bucket_of(&key);
        let mut bucket = BUCKETS[number].lock();
        match memory.peek_u32(address) {
            Some(value) if value != expected => return Err(Errno::Again),
            Some(_) => {
                bucket.try_reserve(1).map_err(|_| Errno::NoMemory)?;
                let thread = Arc::clone(thread);
                thread.futex.set(number);
                bucket.push(Entry { key, bits, thread });
                return Ok(());
            }
            None => {
                drop(bucket);
                memory.load_u32(address)?;
            }
        }
    }
}

/// Takes a thread out of its bucket; returns false if somebody has woken it before.
fn leave(thread: &Arc<Thread>) -> bool {
    loop {
        let place = thread.futex.get();
        if place == Place::NOWHERE {
            return false;
        }
        let mut bucket = BUCKETS[place].lock();
        // It may have been moved.
        if thread.futex.get() == place {
            bucket.retain(|entry| !Arc::ptr_eq(&entry.thread, thread));
            give_back(&mut bucket);
            thread.futex.set(Place::NOWHERE);
            return true;
        }
    }
}

/// Wakes threads that wait for a futex, those that have waited longest; returns how many
/// there were.
pub(crate) fn wake(key: &FutexKey, limit: usize, bits: u32) -> usize {
    let mut nr_woken = 0;
    let mut bucket = BUCKETS[bucket_of(key)].lock();
    bucket.retain(|entry| {
        let is_meant = nr_woken < limit && entry.key == *key && entry.bits & bits != 0;
        if is_meant {
            nr_woken += 1;
            release(&entry.thread);
        }
        !is_meant
    });
    give_back(&mut bucket);
    nr_woken
}

/// Wakes some of the threads that wait for a futex, and has others wait for another one,
/// if `may_go_on` says so under the locks; returns how many it were together.
///
/// # Errors
///
/// Those of `may_go_on`; [`Errno::NoMemory`].
pub(crate) fn requeue(
    from: &FutexKey,
    to: &FutexKey,
    counts: Counts,
    may_go_on: impl FnOnce() -> Result<(), Errno>,
) -> Result<usize, Errno> {
    let (mut source, mut target) = lock_both(bucket_of(from), bucket_of(to));
    may_go_on()?;
    let is_waiting = |entry: &&Entry| entry.key == *from;
    let nr_waiting = source.iter().filter(is_waiting).count();
    let wake = counts.wake.min(nr_waiting);
    let requeue = counts.requeue.min(nr_waiting - wake);
    if let Some(target) = &mut target {
        target.try_reserve(requeue).map_err(|_| Errno::NoMemory)?;
    }
    let mut nr_seen = 0;
    let mut index = 0;
    while nr_seen < wake + requeue {
        if source[index].key != *from {
            index += 1;
            continue;
        }
        nr_seen += 1;
        if nr_seen <= wake {
            release(&source.remove(index).thread);
        } else if let Some(target) = &mut target {
            let mut entry = source.remove(index);
            entry.key = *to;
            entry.thread.futex.set(bucket_of(to));
            target.push(entry);
        } else {
            source[index].key = *to;
            index += 1;
        }
    }
    give_back(&mut source);
    Ok(nr_seen)
}

/// Gives the memory of a bucket back in which nobody is.
fn give_back(bucket: &mut Vec<Entry>) {
    if bucket.is_empty() {
        *bucket = Vec::new();
    }
}

type BucketGuard = SpinLockGuard<'static, Vec<Entry>>;

/// Locks two buckets in their order; one guard is for both if they are the same.
fn lock_both(one: usize, other: usize) -> (BucketGuard, Option<BucketGuard>) {
    if one == other {
        return (BUCKETS[one].lock(), None);
    }
    let first = BUCKETS[one.min(other)].lock();
    let second = BUCKETS[one.max(other)].lock();
    if one < other {
        (first, Some(second))
    } else {
        (second, Some(first))
    }
}

/// Returns the number of a key's bucket.
fn bucket_of(key: &FutexKey) -> usize {
    let mut mix = Mix(0);
    key.hash(&mut mix);
    mix.finish() as usize % NR_BUCKETS
}

/// A hash that costs a multiplication a word: of addresses, whose lowest bits are alike.
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(size_of::<u64>()) {
            let mut word = [0; size_of::<u64>()];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0 ^ word).wrapping_mul(ODD).rotate_left(32);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(ktest)]
mod tests;
