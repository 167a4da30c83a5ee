//! Futexes: waiting and waking, time-outs, moving of waiters.

use std::thread;

use libc::SYS_futex;

use crate::kit::{
    AT, Answer, Case, KERNEL, NONE, PAGE, PRIVATE, READ, SHARED, call, child, fork, load_u32, map,
    pause, say, store_u32, unmap, wait,
};

pub(crate) const WAIT: usize = libc::FUTEX_WAIT as usize;
const WAKE: usize = libc::FUTEX_WAKE as usize;
const REQUEUE: usize = libc::FUTEX_REQUEUE as usize;
const CMP_REQUEUE: usize = libc::FUTEX_CMP_REQUEUE as usize;
const WAIT_BITSET: usize = libc::FUTEX_WAIT_BITSET as usize;
const WAKE_BITSET: usize = libc::FUTEX_WAKE_BITSET as usize;
const WAKE_OP: usize = libc::FUTEX_WAKE_OP as usize;
const ALONE: usize = libc::FUTEX_PRIVATE_FLAG as usize;
const REAL_TIME: usize = libc::FUTEX_CLOCK_REALTIME as usize;

pub(crate) const CASES: &[Case] = &[
    ("futex-wait-refused", wait_refused),
    ("futex-time-outs", time_outs),
    ("futex-wake", wake),
    ("futex-wake-counts", wake_counts),
    ("futex-bitset", bitset),
    ("futex-requeue", requeue),
    ("futex-cmp-requeue", cmp_requeue),
    ("futex-wake-op", wake_op),
    ("futex-shared", shared),
    ("futex-private-is-private", private),
    ("futex-no-lost-wake", no_lost_wake),
    ("futex-unknown", unknown),
    ("futex-after-unmap", after_unmap),
];

pub(crate) fn futex<const N: usize>(arguments: [usize; N]) -> Answer {
    call(SYS_futex, arguments)
}

/// A time for calls, in seconds and nanoseconds.
pub(crate) fn time(seconds: i64, nanoseconds: i64) -> [i64; 2] {
    [seconds, nanoseconds]
}

/// Waits until so many wait for a word: moved to where they are, they are counted. `flag`
/// is [`ALONE`], if they wait with that, or zero.
pub(crate) fn until_waiting(count: usize, word: usize, flag: usize) {
    let most = i32::MAX as usize;
    while futex([word, REQUEUE | flag, 0, most, word]).value() < count {
        pause(1);
    }
}

/// Starts threads that wait for a word that is zero; returns when all do.
fn waiters(count: usize, word: usize, operation: usize) -> Vec<thread::JoinHandle<Answer>> {
    let spawn = |_| thread::spawn(move || futex([word, operation, 0, 0]));
    let threads: Vec<_> = (0..count).map(spawn).collect();
    until_waiting(count, word, operation & ALONE);
    threads
}

/// Waits for threads; returns what their calls returned, sorted.
fn join(threads: Vec<thread::JoinHandle<Answer>>) -> Vec<String> {
    let join = |thread: thread::JoinHandle<Answer>| match thread.join() {
        Ok(answer) => answer.to_string(),
        Err(_) => "panic".to_owned(),
    };
    let mut answers: Vec<_> = threads.into_iter().map(join).collect();
    answers.sort();
    answers
}

fn wait_refused() {
    map(AT, 2, PRIVATE);
    unmap(AT + PAGE, 1);
    store_u32(AT, 5);
    let soon = time(0, 1);
    let soon = soon.as_ptr() as usize;
    for flag in [0, ALONE] {
        for (name, word, value, timeout) in [
            ("another value", AT, 4, 0),
            ("another value, with a time", AT, 4, soon),
            ("not aligned", AT + 2, 5, soon),
            ("null", 0, 5, soon),
            ("kernel", KERNEL, 5, soon),
            ("not canonical", 1 << 63, 5, soon),
            ("nothing there", AT + PAGE, 5, soon),
            ("end of user space", 0x7fff_ffff_f000, 5, soon),
            ("time in the kernel", AT, 5, KERNEL),
            ("time at 1", AT, 5, 1),
        ] {
            say!(
                "wait({name}) = {}",
                futex([word, WAIT | flag, value, timeout])
            );
        }
    }
    for (name, seconds, nanoseconds) in [
        ("-1 s", -1, 0),
        ("-1 ns", 0, -1),
        ("10^9 ns", 0, 1_000_000_000),
        ("0", 0, 0),
    ] {
        let time = time(seconds, nanoseconds);
        say!(
            "wait({name}) = {}",
            futex([AT, WAIT, 5, time.as_ptr() as usize])
        );
    }
    call(libc::SYS_mprotect, [AT, PAGE, 0]);
    say!(
        "wait(without access) = {}",
        futex([AT, WAIT | ALONE, 5, soon])
    );
    call(libc::SYS_mprotect, [AT, PAGE, READ]);
    say!("wait(read only) = {}", futex([AT, WAIT | ALONE, 5, soon]));
}

fn time_outs() {
    map(AT, 1, PRIVATE);
    let short = time(0, 2_000_000);
    let short = short.as_ptr() as usize;
    say!("wait(2 ms) = {}", futex([AT, WAIT, 0, short]));
    // Bit sets have absolute times: this is long ago.
    say!(
        "bit set(long ago) = {}",
        futex([AT, WAIT_BITSET, 0, short, 0, 1])
    );
    let flags = WAIT_BITSET | REAL_TIME;
    say!(
        "bit set(long ago, real) = {}",
        futex([AT, flags, 0, short, 0, 1])
    );
    let mut now = time(0, 0);
    for (name, clock, flag) in [("monotonic", 1, 0), ("real", 0, REAL_TIME)] {
        call(libc::SYS_clock_gettime, [clock, now.as_mut_ptr() as usize]);
        let soon = time(now[0], now[1] + 3_000_000);
        let soon = time(soon[0] + soon[1] / 1_000_000_000, soon[1] % 1_000_000_000);
        let soon = soon.as_ptr() as usize;
        say!(
            "bit set(soon, {name}) = {}",
            futex([AT, WAIT_BITSET | flag, 0, soon, 0, 1])
        );
    }
    say!("wait(real) = {}", futex([AT, WAIT | REAL_TIME, 0, short]));
    say!("wake(real) = {}", futex([AT, WAKE | REAL_TIME, 0, 0]));
}

fn wake() {
    map(AT, 1, PRIVATE);
    say!("nobody: {}", futex([AT, WAKE, 1]));
    for flag in [0, ALONE] {
        let threads = waiters(1, AT, WAIT | flag);
        say!("one: {}", futex([AT, WAKE | flag, 1]));
        say!("it got {:?}", join(threads));
    }
    for (name, word) in [
        ("not aligned", AT + 1),
        ("null", 0),
        ("kernel", KERNEL),
        ("last word", NONE - 3),
    ] {
        say!("wake({name}) = {}", futex([word, WAKE | ALONE, 1]));
        say!("wake({name}, shared) = {}", futex([word, WAKE, 1]));
    }
}

fn wake_counts() {
    map(AT, 1, PRIVATE);
    let threads = waiters(6, AT, WAIT | ALONE);
    let wake = |count: usize| futex([AT, WAKE | ALONE, count]);
    say!("two: {}, one: {}", wake(2), wake(1));
    // Linux wakes one even for a count of zero.
    say!("none: {}", wake(0));
    say!("all: {}", wake(i32::MAX as usize));
    say!("again: {}", wake(i32::MAX as usize));
    say!("they got {:?}", join(threads));
}

fn bitset() {
    map(AT, 1, PRIVATE);
    let wait = |bits: usize| {
        let operation = WAIT_BITSET | ALONE;
        thread::spawn(move || futex([AT, operation, 0, 0, 0, bits]))
    };
    let threads = vec![wait(1), wait(2), wait(4), wait(0xffff_ffff)];
    until_waiting(threads.len(), AT, ALONE);
    let wake = |bits: usize| futex([AT, WAKE_BITSET | ALONE, 10, 0, 0, bits]);
    say!("8: {}", wake(8));
    say!("8 again: {}", wake(8));
    say!("3: {}", wake(3));
    say!("plain: {}", futex([AT, WAKE | ALONE, 10]));
    say!("they got {:?}", join(threads));
    say!("wait(no bits) = {}", futex([AT, WAIT_BITSET, 0, 0, 0, 0]));
    say!("wake(no bits) = {}", wake(0));
}

fn requeue() {
    map(AT, 1, PRIVATE);
    let other = AT + 64;
    let threads = waiters(5, AT, WAIT | ALONE);
    let answer = futex([AT, REQUEUE | ALONE, 1, 2, other]);
    say!("wake one, move two: {answer}");
    say!("at the first: {}", futex([AT, WAKE | ALONE, 10]));
    say!("at the second: {}", futex([other, WAKE | ALONE, 10]));
    say!("they got {:?}", join(threads));
    let threads = waiters(1, AT, WAIT | ALONE);
    say!("to itself: {}", futex([AT, REQUEUE | ALONE, 0, 5, AT]));
    say!("woken: {}", futex([AT, WAKE | ALONE, 10]));
    join(threads);
    for (name, from, to) in [
        ("not aligned", AT + 1, other),
        ("to not aligned", AT, other + 1),
        ("to the kernel", AT, KERNEL),
        ("to null", AT, 0),
    ] {
        say!(
            "requeue({name}) = {}",
            futex([from, REQUEUE | ALONE, 1, 1, to])
        );
    }
}

fn cmp_requeue() {
    map(AT, 1, PRIVATE);
    let other = AT + 64;
    let threads = waiters(4, AT, WAIT | ALONE);
    let cmp = |value: usize| futex([AT, CMP_REQUEUE | ALONE, 1, 2, other, value]);
    say!("another value: {}", cmp(1));
    say!("the value: {}", cmp(0));
    say!(
        "rest: {} and {}",
        futex([AT, WAKE | ALONE, 9]),
        futex([other, WAKE | ALONE, 9])
    );
    say!("they got {:?}", join(threads));
    say!(
        "negative count = {}",
        futex([AT, CMP_REQUEUE | ALONE, NONE, 1, other, 0])
    );
    say!(
        "negative count = {}",
        futex([AT, CMP_REQUEUE | ALONE, 1, NONE, other, 0])
    );
}

fn wake_op() {
    map(AT, 1, PRIVATE);
    let other = AT + 64;
    // (operation, operand, comparison, operand): *other changes, and is compared.
    let code = |operation: usize, with: usize, compare: usize, to: usize| {
        operation << 28 | compare << 24 | with << 12 | to
    };
    for (name, code, old) in [
        ("set 7, equal 3", code(0, 7, 0, 3), 3),
        ("add 5, equal 3", code(1, 5, 0, 3), 4),
        ("or 8, not equal 3", code(2, 8, 1, 3), 4),
        ("and not 1, less 3", code(3, 1, 2, 3), 5),
        ("xor 3, at most 6", code(4, 3, 3, 6), 6),
        ("set 1 shifted 4, greater 0", code(8, 4, 4, 0), 1),
        ("add -1, at least 2", code(1, 0xfff, 5, 2), 2),
        ("unknown operation", code(7, 0, 0, 0), 2),
        ("unknown comparison", code(0, 9, 9, 0), 2),
    ] {
        store_u32(other, old);
        let answer = futex([AT, WAKE_OP | ALONE, 1, 1, other, code]);
        say!("{name}: {answer}, then {}", load_u32(other));
    }
    let threads = waiters(1, AT, WAIT | ALONE);
    store_u32(other, 0);
    let more = thread::spawn(move || futex([other, WAIT | ALONE, 0, 0]));
    until_waiting(1, other, ALONE);
    let answer = futex([AT, WAKE_OP | ALONE, 1, 1, other, code(0, 1, 0, 0)]);
    say!("wakes both: {answer}");
    join(threads);
    let _ = more.join();
    say!(
        "in the kernel: {}",
        futex([AT, WAKE_OP | ALONE, 1, 1, KERNEL, 0])
    );
}

fn shared() {
    map(AT, 1, SHARED);
    let process = fork(|| futex([AT, WAIT, 0, 0]).error());
    // Until the child sleeps, nobody is woken.
    while futex([AT, WAKE, 1]).value() == 0 {
        pause(1);
    }
    say!(
        "the child: {}",
        process.map_or_else(|error| error.to_string(), wait)
    );
    // The same memory at another address.
    let twin = call(
        libc::SYS_mremap,
        [AT, 0, PAGE, libc::MREMAP_MAYMOVE as usize],
    )
    .value();
    let process = fork(|| futex([twin, WAIT, 0, 0]).error());
    while futex([AT, WAKE, 1]).value() == 0 {
        pause(1);
    }
    say!(
        "at another address: {}",
        process.map_or_else(|error| error.to_string(), wait)
    );
}

fn private() {
    map(AT, 1, SHARED);
    let soon = time(0, 30_000_000);
    let process = fork(|| futex([AT, WAIT | ALONE, 0, soon.as_ptr() as usize]).error());
    let mut woken = 0;
    for _ in 0..10 {
        pause(1);
        woken += futex([AT, WAKE | ALONE, 1]).value() + futex([AT, WAKE, 1]).value();
    }
    say!("woken from outside: {woken}");
    let timed_out = process.map_or_else(|error| error.to_string(), wait);
    say!("the child: {timed_out}, {}", libc::ETIMEDOUT);
}

/// Two threads hand a word to and fro; a lost wake-up would stop them.
fn no_lost_wake() {
    // peer_102
    map(AT, 1, PRIVATE);
    const ROUNDS: u32 = 3000;
    let run = |mine: u32| {
        let theirs = 1 - mine;
        for _ in 0..ROUNDS {
            while load_u32(AT) != mine {
                futex([AT, WAIT | ALONE, theirs as usize, 0]);
            }
            store_u32(AT, theirs);
            futex([AT, WAKE | ALONE, 1]);
        }
    };
    let other = thread::spawn(move || run(1));
    run(0);
    say!("done: {}, the word {}", other.join().is_ok(), load_u32(AT));
}

fn unknown() {
    map(AT, 1, PRIVATE);
    for operation in [2, 14, 50, 127, 1 << 9, 1 << 30] {
        say!(
            "operation {operation}: {}",
            futex([AT, operation, 0, 0, 0, 0])
        );
    }
}

fn after_unmap() {
    map(AT, 1, PRIVATE);
    let threads = waiters(2, AT, WAIT | ALONE);
    unmap(AT, 1);
    say!(
        "private ones are found by address: {}",
        futex([AT, WAKE | ALONE, 9])
    );
    say!("they got {:?}", join(threads));
    map(AT, 1, PRIVATE);
    let child_waits = child(|| {
        let soon = time(0, 1_000_000);
        futex([AT, WAIT, 0, soon.as_ptr() as usize]).error() % 100
    });
    say!("a child waits alone: {child_waits}");
}
