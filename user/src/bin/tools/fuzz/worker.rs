//! A process that makes calls until it has made enough, or dies of one.
//!
//! Before each call its threads note on the board what they are about to do, which is
//! what is left to be told if the call does not return.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Plan;
use super::arguments::Arguments;
use super::calls::{CALLS, Call, FORBIDDEN};
use super::machine::{self, Arena, Board};
use crate::random::Random;

/// The most threads of a worker.
pub(super) const THREADS: usize = 8;

/// Words of the board that a thread notes its call in: its number, counted from one,
/// and the arguments.
const NOTE: usize = 8;

/// Words of the board for a worker: its calls, and its threads' notes.
pub(super) const SLOT: usize = 1 + THREADS * NOTE;

/// Calls that a thread makes before the worker ends by itself.
const BUDGET: u64 = 1500;

/// Calls of a copy of a worker.
const COPY_BUDGET: u64 = 24;

/// Calls after which the arena is made anew.
const RESTORE: u64 = 64;

/// Calls that mostly end the worker: they have their turn more rarely.
const ENDS: [i64; 2] = [libc::SYS_rt_sigreturn, libc::SYS_execve];

/// A worker's part of the board.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    pub(super) board: &'a Board,
    pub(super) index: usize,
}

impl Slot<'_> {
    fn word(&self, index: usize) -> &AtomicU64 {
        self.board.word(self.index * SLOT + index)
    }

    // Relaxed, all: the notes are looked at when the worker is no more, or stands still.

    /// Returns how many calls all workers of this slot have made.
    pub(super) fn calls(&self) -> u64 {
        self.word(0).load(Ordering::Relaxed)
    }

    fn note(&self, thread: usize, number: i64, arguments: [u64; 6]) {
        let first = 1 + thread * NOTE;
        self.word(first).store(number as u64 + 1, Ordering::Relaxed);
        for (index, argument) in arguments.into_iter().enumerate() {
            self.word(first + 1 + index)
                .store(argument, Ordering::Relaxed);
        }
        self.word(0).fetch_add(1, Ordering::Relaxed);
    }

    /// Says what each thread did last.
    pub(super) fn last_calls(&self) -> String {
        let mut text = String::new();
        for thread in 0..THREADS {
            let words: [u64; NOTE - 1] = std::array::from_fn(|index| {
                self.word(1 + thread * NOTE + index).load(Ordering::Relaxed)
            });
            let [number, arguments @ ..] = words;
            if number != 0 {
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "  thread {thread}: {}",
                    Shown(number as i64 - 1, arguments)
                );
            }
        }
        text
    }
}

/// A call as it is shown.
struct Shown(i64, [u64; 6]);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CALLS.iter().find(|call| call.number == self.0) {
            Some(call) => f.write_str(call.short_name())?,
            None => write!(f, "call {}", self.0)?,
        }
        let [a, b, c, d, e, g] = self.1;
        write!(f, "({a:#x}, {b:#x}, {c:#x}, {d:#x}, {e:#x}, {g:#x})")
    }
}

/// Runs a worker; its process ends with it.
pub(super) fn run(plan: &Plan, worker: u64, slot: Slot<'_>) -> ! {
    let Ok(arena) = Arena::new() else {
        machine::exit(1);
    };
    machine::handle_signals();
    std::thread::scope(|scope| {
        for thread in 1..plan.threads {
            scope.spawn(move || fuzz(plan, worker, slot, arena, thread));
        }
        fuzz(plan, worker, slot, arena, 0);
        // The others are ended in the middle of what they do.
        machine::exit(0);
    })
}

fn fuzz(plan: &Plan, worker: u64, slot: Slot<'_>, arena: Arena, thread: usize) {
    let seed = plan.seed ^ worker.rotate_left(32) ^ (thread as u64).rotate_left(56);
    let mut fuzzer = Fuzzer {
        arguments: Arguments::new(Random::new(seed), arena, thread),
        plan,
        worker,
        slot,
        arena,
        thread,
    };
    fuzzer.make_calls(BUDGET);
}

/// A thread that makes calls. It lives on its stack: the heap may be gone.
struct Fuzzer<'a> {
    plan: &'a Plan,
    worker: u64,
    slot: Slot<'a>,
    arena: Arena,
    thread: usize,
    arguments: Arguments,
}

impl Fuzzer<'_> {
    fn make_calls(&mut self, budget: u64) {
        for count in 0..budget {
            if count % RESTORE == 0 && self.thread == 0 {
                self.arena.restore();
            }
            match self.arguments.random.below(400) {
                0..4 => self.copy(),
                4 => {
                    let damage = self.arguments.random.next();
                    machine::return_to_damage(damage);
                }
                5..15 if self.plan.all_numbers => self.any_call(),
                _ => self.known_call(),
            }
        }
    }

    fn known_call(&mut self) {
        let Call { number, kinds, .. } = *self.arguments.random.pick(&self.plan.among);
        if ENDS.contains(&number) && !self.arguments.random.one_in(30) {
            return;
        }
        let mut arguments = self.arguments.of(kinds);
        limit(number, &mut arguments);
        self.make(number, arguments);
    }

    /// Makes a call of any number, or of one that there is with odd bits in it.
    fn any_call(&mut self) {
        let number = match self.arguments.random.below(8) {
            0 => self.arguments.any() as i64,
            1 => self.arguments.random.below(470) as i64 | 0x4000_0000,
            _ => self.arguments.random.below(470) as i64,
        };
        let mut arguments = [0; 6].map(|_: u64| self.arguments.any());
        limit(number, &mut arguments);
        if !FORBIDDEN.contains(&(number & 0x3fff_ffff)) {
            self.make(number, arguments);
        }
    }

    fn make(&mut self, number: i64, arguments: [u64; 6]) {
        self.slot.note(self.thread, number, arguments);
        if self.plan.is_traced {
            self.trace(number, arguments);
        }
        // What a thread's own storage is found by is not for long; the standard
        // library is not used here.
        // SAFETY: This process is there to be damaged.
        unsafe { machine::call(number, arguments) };
    }

    /// Makes a copy of the process, which goes on for a while.
    fn copy(&mut self) {
        self.slot.note(self.thread, libc::SYS_fork, [0; 6]);
        if machine::quiet_call(libc::SYS_getpid, [0; 6]) as u64 != self.arguments.process() {
            // Copies of copies would grow without bound.
            return;
        }
        if let Ok(0) = machine::fork() {
            self.make_calls(COPY_BUDGET);
            machine::exit(0);
        }
    }

    fn trace(&self, number: i64, arguments: [u64; 6]) {
        let mut line = Line::default();
        let shown = Shown(number, arguments);
        // What does not fit is left out.
        let _ = writeln!(
            line,
            "worker {} thread {}: {shown}",
            self.worker, self.thread
        );
        let place = line.bytes.as_ptr() as u64;
        let numbers = [super::TRACE as u64, place, line.len as u64, 0, 0, 0];
        machine::quiet_call(libc::SYS_write, numbers);
    }
}

/// Keeps calls from taking all of the machine's memory at once: that is slow, and
/// `memhog` does it better.
fn limit(number: i64, arguments: &mut [u64; 6]) {
    const MOST: u64 = 4 << 20;
    const PRESENT_AT_ONCE: u64 = (libc::MAP_POPULATE | libc::MAP_LOCKED) as u64;
    let is_present_at_once = match number & 0x3fff_ffff {
        libc::SYS_mmap => arguments[3] & PRESENT_AT_ONCE != 0,
        libc::SYS_madvise => matches!(arguments[2] as u32, 3 | 22 | 23),
        libc::SYS_mlock | libc::SYS_mlock2 | libc::SYS_fallocate => true,
        _ => false,
    };
    if is_present_at_once {
        arguments[1] = arguments[1].min(MOST);
    }
}

/// A line of text without a heap.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; 256],
            len: 0,
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.bytes.get_mut(self.len).ok_or(fmt::Error)? = byte;
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{SLOT, Shown, Slot, limit};
    use crate::fuzz::machine::Board;

    #[test]
    fn calls_are_shown_by_name() {
        let shown = Shown(libc::SYS_munmap, [4096, 1, 0, 0, 0, 0]).to_string();
        assert_eq!(shown, "munmap(0x1000, 0x1, 0x0, 0x0, 0x0, 0x0)");
        assert!(Shown(-7, [0; 6]).to_string().starts_with("call -7("));
    }

    #[test]
    fn last_call_of_each_thread_is_kept() {
        let board = Board::new(2 * SLOT).expect("a page");
        let slot = Slot {
            board: &board,
            index: 1,
        };
        slot.note(0, libc::SYS_read, [1; 6]);
        slot.note(3, libc::SYS_brk, [2; 6]);
        slot.note(3, libc::SYS_close, [3; 6]);
        let text = slot.last_calls();
        assert_eq!((text.lines().count(), slot.calls()), (2, 3));
        assert!(text.contains("thread 3: close(0x3"), "{text}");
    }

    #[test]
    fn what_is_present_at_once_is_little() {
        let mut arguments = [0, 1 << 40, 3, 0x8022, 0, 0];
        limit(libc::SYS_mmap, &mut arguments);
        assert_eq!(arguments[1], 4 << 20);
        let mut arguments = [0, 1 << 40, 3, 0x22, 0, 0];
        limit(libc::SYS_mmap, &mut arguments);
        assert_eq!(arguments[1], 1 << 40);
    }
}
