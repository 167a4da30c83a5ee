//! Robust futexes: what becomes of the locks that a thread holds when it ends
//! (`get_robust_list(2)`).
//!
//! A thread links its locks into a list in user memory, of which it has told the kernel
//! the head. At its end the kernel marks each lock that is still the thread's, and wakes
//! a thread that waits for it.
//!
//! ```text
//!   head: next entry ─▶ entry: next entry ─▶ … ─▶ head
//!         offset of the lock from its entry
//!         entry that is being added or removed, or zero
//! ```
//!
//! The list is the program's, and may be anything: the walk ends where memory does, and
//! after [`MAX_ENTRIES`] steps whatever comes (peer 102).

use nucleus::mm::Vaddr;

use super::{ANY, wake};
use crate::process::Pid;
use crate::vm::AddressSpace;

/// Bytes of a list's head.
pub(crate) const HEAD_SIZE: usize = 24;
/// How many entries are looked at, as in Linux.
const MAX_ENTRIES: usize = 2048;

/// Others wait for the lock.
const WAITERS: u32 = 1 << 31;
/// Its holder has ended.
const OWNER_DIED: u32 = 1 << 30;
/// The number of the thread that holds it.
const OWNER: u32 = OWNER_DIED - 1;

/// The lowest bit of a link: the entry is of a lock that hands on priority.
const HANDS_ON_PRIORITY: Vaddr = 1;

/// Marks the locks that a thread, which is about to end, still holds.
pub(crate) fn release_all(memory: &AddressSpace, owner: Pid, head: Vaddr) {
    let walk = Walk { memory, owner };
    // Where memory ends, so does the list.
    let _ = walk.run(head);
}

struct Walk<'a> {
    memory: &'a AddressSpace,
    owner: Pid,
}

/// The list leads to something that is no memory.
struct Broken;

impl Walk<'_> {
    fn run(&self, head: Vaddr) -> Result<(), Broken> {
        let [first, offset, pending] = [0, 8, 16].map(|field| self.read(head.wrapping_add(field)));
        let (offset, pending) = (offset?, pending?);
        let (pending_entry, _) = split(pending);
        let mut link = first?;
        for _ in 0..MAX_ENTRIES {
            let (entry, hands_on) = split(link);
            if entry == head {
                break;
            }
            // Before the lock is released, whose new holder may change the list.
            let next = self.read(entry);
            if entry != pending_entry {
                self.release(entry.wrapping_add(offset), hands_on, false)?;
            }
            link = next?;
        }
        let (entry, hands_on) = split(pending);
        if entry != 0 {
            self.release(entry.wrapping_add(offset), hands_on, true)?;
        }
        Ok(())
    }

    fn read(&self, address: Vaddr) -> Result<usize, Broken> {
        self.memory.read_value(address).map_err(|_| Broken)
    }

    /// Releases a lock if the thread holds it.
    fn release(&self, lock: Vaddr, hands_on: bool, is_pending: bool) -> Result<(), Broken> {
        if !lock.is_multiple_of(size_of::<u32>()) {
            return Err(Broken);
        }
        let mut word = self.memory.load_u32(lock).map_err(|_| Broken)?;
        // The thread has released it by itself, and perhaps not woken anybody yet.
        if is_pending && !hands_on && word == 0 {
            self.wake_one(lock);
            return Ok(());
        }
        while word & OWNER == self.owner.as_u32() {
            let marked = word & WAITERS | OWNER_DIED;
            let exchange = self.memory.compare_exchange_u32(lock, word, marked);
            match exchange.map_err(|_| Broken)? {
                found if found != word => word = found,
                _ => {
                    if word & WAITERS != 0 && !hands_on {
                        self.wake_one(lock);
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Wakes a thread that waits for a lock. Those who use robust locks wait as if
    /// other processes might have them, too.
    fn wake_one(&self, lock: Vaddr) {
        // Nobody waits where there is no memory.
        if let Ok(key) = self.memory.futex_key(lock, false) {
            wake(&key, 1, ANY);
        }
    }
}

const fn split(link: Vaddr) -> (Vaddr, bool) {
    (link & !HANDS_ON_PRIORITY, link & HANDS_ON_PRIORITY != 0)
}

#[cfg(ktest)]
mod tests {
    use nucleus::mm::{PAGE_SIZE, PageFlags};
    use nucleus::prelude::*;

    use super::{AddressSpace, OWNER_DIED, Pid, Vaddr, WAITERS, release_all};
    use crate::vm::MapRequest;

    const OWNER: u32 = 77;
    /// Where a lock is, from its entry.
    const OFFSET: usize = 8;

    /// Calls a function with memory that has a page, and the page's address.
    fn with_memory(test: impl FnOnce(&AddressSpace, Vaddr)) {
        let memory = AddressSpace::new().expect("enough memory");
        let request = MapRequest::anonymous(PAGE_SIZE, PageFlags::RW);
        let page = memory.map(&request).expect("there is room");
        memory.activate();
        test(&memory, page);
        nucleus::mm::VmSpace::deactivate_current();
    }

    /// Writes a list's head, and the entries with their locks behind it, each of which
    /// leads to the next one, and the last one to where it is told.
    fn write_list(memory: &AddressSpace, head: Vaddr, locks: &[u32], end: Vaddr) {
        let entry = |index: usize| match index < locks.len() {
            true => head + 64 + index * 16,
            false => end,
        };
        let words = [entry(0), OFFSET, 0];
        memory.write_value(head, &words).expect("memory");
        for (index, lock) in locks.iter().enumerate() {
            let words = [entry(index + 1), *lock as usize];
            memory.write_value(entry(index), &words).expect("memory");
        }
    }

    fn lock(memory: &AddressSpace, head: Vaddr, index: usize) -> u32 {
        memory
            .load_u32(head + 64 + index * 16 + OFFSET)
            .expect("memory")
    }

    #[ktest]
    fn locks_of_the_thread_are_marked_and_others_are_not() {
        with_memory(|memory, head| {
            write_list(memory, head, &[OWNER, OWNER | WAITERS, 78, 0], head);
            release_all(memory, Pid::from_valid(OWNER), head);
            let locks = [0, 1, 2, 3].map(|index| lock(memory, head, index));
            assert_eq!(locks, [OWNER_DIED, OWNER_DIED | WAITERS, 78, 0]);
        });
    }

    #[ktest]
    fn peer_102_walk_of_a_list_that_has_no_end_ends() {
        with_memory(|memory, head| {
            let first = head + 64;
            write_list(memory, head, &[OWNER, OWNER], first);
            release_all(memory, Pid::from_valid(OWNER), head);
            assert_eq!(lock(memory, head, 1), OWNER_DIED);
        });
    }

    #[ktest]
    fn peer_102_list_that_leads_out_of_memory_ends_there() {
        with_memory(|memory, head| {
            for end in [0x10, usize::MAX - 7, nucleus::mm::USER_END - 8, head + 1] {
                write_list(memory, head, &[OWNER], end);
                release_all(memory, Pid::from_valid(OWNER), head);
                assert_eq!(lock(memory, head, 0), OWNER_DIED);
            }
            release_all(memory, Pid::from_valid(OWNER), usize::MAX - 3);
        });
    }
}
