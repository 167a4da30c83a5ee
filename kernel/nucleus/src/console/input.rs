//! What somebody types: from the serial port, through a ring, to whoever reads.
//!
//! The port interrupts when bytes have arrived; the boot processor then moves them into
//! the ring and wakes all who wait. At each of its ticks it looks as well: for machines
//! where the port's line leads nowhere, and since an interrupt does not wait for a
//! processor that is writing to the port. So a byte is late by a tick at most.
//!
//! A byte that finds the ring full is dropped, and counted.
//!
//! **No storm.** What interrupts again and again and never has a byte is no port, or
//! somebody else on its line: after [`MAX_VAIN`] times the line is masked for good, and
//! the tick alone looks. A port that reads as all ones is gone, and is given up.

use crate::arch::serial;
use crate::sync::{Rank, SpinLock, WaitQueue};

/// Bytes that wait at most; a power of two.
const CAPACITY: usize = 4096;
/// Bytes that are taken from the port at once, of what would never end.
const BATCH: usize = 64;
/// Interrupts in a row without a byte after which the line is masked.
const MAX_VAIN: u32 = 1000;

static INPUT: SpinLock<Input> = SpinLock::ranked(Input::new(), Rank::Input);
static READERS: WaitQueue = WaitQueue::new();

/// Bytes that have arrived.
struct Input {
    ring: [u8; CAPACITY],
    /// Where the oldest byte is.
    start: usize,
    len: usize,
    nr_dropped: u64,
    /// Interrupts since the last byte.
    nr_vain: u32,
}

/// Reads bytes that somebody typed, without waiting; returns how many.
pub fn read_input(buffer: &mut [u8]) -> usize {
    collect(false);
    INPUT.lock().take(buffer)
}

/// Waits until somebody has typed a byte, and returns it. A key may be several.
///
/// # Panics
///
/// As [`WaitQueue::wait_until`]: for tasks, in no atomic mode.
pub fn read_key() -> u8 {
    let mut key = [0];
    READERS.wait_until(|| (read_input(&mut key) > 0).then_some(()));
    key[0]
}

/// Returns how many bytes wait to be read.
pub fn input_len() -> usize {
    collect(false);
    INPUT.lock().len
}

/// Returns how many bytes were lost, since nobody had read those before them.
pub fn nr_dropped_input() -> u64 {
    INPUT.lock().nr_dropped
}

/// Returns the queue of those who wait until there is something to read. All of them
/// are woken when something has come.
pub fn input_queue() -> &'static WaitQueue {
    &READERS
}

/// Handles the port's interrupt; returns whether its line is to be masked.
pub(crate) fn on_interrupt() -> bool {
    collect(true)
}

/// Looks whether something has come; at each tick of the boot processor.
pub(crate) fn on_tick() {
    collect(false);
}

/// Moves what has come from the port to the ring, unless the port is in use, and wakes
/// those who wait. Returns whether the port has interrupted in vain too often.
fn collect(is_interrupt: bool) -> bool {
    let (has_come, is_storm) = {
        let mut input = INPUT.lock();
        let mut batch = [0; BATCH];
        let len = serial::try_read(&mut batch);
        input.put(&batch[..len]);
        (len > 0, input.is_storm(is_interrupt, len))
    };
    if has_come {
        READERS.wake_all();
    }
    is_storm
}

impl Input {
    const fn new() -> Self {
        Self {
            ring: [0; CAPACITY],
            start: 0,
            len: 0,
            nr_dropped: 0,
            nr_vain: 0,
        }
    }

    /// Notes how many bytes have come; returns whether the port has interrupted in vain
    /// too often.
    fn is_storm(&mut self, is_interrupt: bool, len: usize) -> bool {
        if len > 0 {
            self.nr_vain = 0;
        } else if is_interrupt {
            self.nr_vain = self.nr_vain.saturating_add(1);
        }
        self.nr_vain >= MAX_VAIN
    }

    /// Adds bytes at the end, as far as there is room.
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.len == CAPACITY {
                self.nr_dropped += 1;
                continue;
            }
            self.ring[(self.start + self.len) % CAPACITY] = *byte;
            self.len += 1;
        }
    }

    /// Takes the oldest bytes; returns how many.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.len);
        for byte in &mut buffer[..count] {
            *byte = self.ring[self.start];
            self.start = (self.start + 1) % CAPACITY;
        }
        self.len -= count;
        count
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use super::{BATCH, CAPACITY, Input, MAX_VAIN};
    use crate::prelude::*;

    #[ktest]
    fn bytes_come_out_as_they_went_in() {
        let mut input = Input::new();
        let mut buffer = [0; 3];
        // Around the ring's end more than once.
        for round in 0..CAPACITY {
            let bytes = [round as u8, !round as u8];
            input.put(&bytes);
            assert_eq!(input.take(&mut buffer), 2);
            assert_eq!(buffer[..2], bytes);
        }
        assert_eq!(input.take(&mut buffer), 0);
    }

    #[ktest]
    fn short_buffer_leaves_the_rest_for_later() {
        let mut input = Input::new();
        input.put(b"abc");
        let mut buffer = [0; 2];
        assert_eq!(input.take(&mut buffer), 2);
        assert_eq!(&buffer, b"ab");
        assert_eq!(input.take(&mut buffer), 1);
        assert_eq!(&buffer, b"cb");
    }

    #[ktest]
    fn peer_103_port_that_interrupts_for_nothing_is_told_from_one_that_is_slow() {
        let mut input = Input::new();
        for _ in 1..MAX_VAIN {
            assert!(!input.is_storm(true, 0));
            assert!(!input.is_storm(false, 0), "ticks are not the port's doing");
        }
        assert!(!input.is_storm(false, 1), "a byte was late");
        for _ in 1..MAX_VAIN {
            assert!(!input.is_storm(true, 0));
        }
        assert!(input.is_storm(true, 0));
    }

    #[ktest]
    fn input_that_finds_no_room_is_dropped_and_counted() {
        let mut input = Input::new();
        for _ in 0..CAPACITY / BATCH {
            input.put(&[1; BATCH]);
        }
        assert_eq!((input.len, input.nr_dropped), (CAPACITY, 0));
        input.put(&[2; BATCH]);
        assert_eq!((input.len, input.nr_dropped), (CAPACITY, BATCH as u64));
        let mut first = [0];
        input.take(&mut first);
        input.put(&[3]);
        assert_eq!((first[0], input.len), (1, CAPACITY));
    }
}
