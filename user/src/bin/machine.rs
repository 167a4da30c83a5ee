//! Tries what depends on the machine: its memory, processors, registers and clock.
//!
//! It prints a line about each, and `the machine works` in the end; a panic says what
//! does not. The lines are the same on Linux, but for the number of processors.

use std::thread;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// Large enough for pages of every size below it, small enough for a machine of 64 MiB.
const BLOCK: usize = 8 << 20;

fn main() {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    println!("{processors} processors");
    memory_keeps_what_is_written();
    parent_and_child_have_their_own_memory();
    threads_share_it(2 * processors);
    registers_survive_switches(2 * processors);
    clock_goes_on();
    println!("the machine works");
}

/// Writes to each page of a block what no other page has.
fn fill(block: &mut [u8], seed: usize) {
    for (index, page) in block.chunks_exact_mut(PAGE).enumerate() {
        let mark = (index ^ seed).to_le_bytes();
        page[..8].copy_from_slice(&mark);
        page[PAGE - 8..].copy_from_slice(&mark);
    }
}

#[track_caller]
fn assert_filled(block: &[u8], seed: usize) {
    for (index, page) in block.chunks_exact(PAGE).enumerate() {
        let mark = (index ^ seed).to_le_bytes();
        assert!(
            page[..8] == mark && page[PAGE - 8..] == mark,
            "page {index}"
        );
    }
}

fn memory_keeps_what_is_written() {
    for round in 0..3 {
        let mut block = vec![0; BLOCK];
        assert!(
            block.iter().step_by(64).all(|byte| *byte == 0),
            "new memory is zero"
        );
        fill(&mut block, round);
        assert_filled(&block, round);
    }
    println!("memory keeps what is written");
}

fn parent_and_child_have_their_own_memory() {
    let mut block = vec![0; BLOCK];
    fill(&mut block, 1);
    // SAFETY: There is one thread, and what the child does needs no other.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        assert_filled(&block, 1);
        fill(&mut block, 2);
        assert_filled(&block, 2);
        std::process::exit(42);
    }
    fill(&mut block, 3);
    let mut status = 0;
    // SAFETY: The status is this function's.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(ended == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42);
    assert_filled(&block, 3);
    println!("parent and child have their own memory");
}

fn threads_share_it(threads: usize) {
    let mut block = vec![0; threads * 16 * PAGE];
    thread::scope(|scope| {
        for (seed, part) in block.chunks_exact_mut(16 * PAGE).enumerate() {
            scope.spawn(move || fill(part, seed));
        }
    });
    for (seed, part) in block.chunks_exact(16 * PAGE).enumerate() {
        assert_filled(part, seed);
    }
    println!("threads share theirs");
}

/// More threads than processors, so that each is taken off its processor while its
/// registers hold something.
fn registers_survive_switches(threads: usize) {
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let step = 1.0 / (thread + 1) as f64;
                let sums = (0..100_000).fold([0.0; 8], |mut sums: [f64; 8], _| {
                    sums.iter_mut().for_each(|sum| *sum += step);
                    sums
                });
                let expected = (0..100_000).fold(0.0, |sum: f64, _| sum + step);
                assert!(sums.iter().all(|sum| sum.to_bits() == expected.to_bits()));
            });
        }
    });
    println!("registers survive switches");
}

fn clock_goes_on() {
    let before = Instant::now();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(
        before.elapsed() >= Duration::from_millis(30),
        "{:?}",
        before.elapsed()
    );
    println!("the clock goes on");
}
