//! What programs are told of processors, and barriers in other threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libc::SYS_membarrier;

use crate::kit::{Answer, Case, NONE, call, child, load_u64, say};

pub(crate) const CASES: &[Case] = &[
    ("processor-capabilities", capabilities),
    ("membarrier", barriers),
    ("membarrier-threads", barriers_in_threads),
    ("membarrier-refused", barriers_refused),
];

const GLOBAL: usize = 1;
const GLOBAL_EXPEDITED: usize = 1 << 1;
const REGISTER_GLOBAL: usize = 1 << 2;
const PRIVATE: usize = 1 << 3;
const REGISTER_PRIVATE: usize = 1 << 4;
const PRIVATE_SYNC_CORE: usize = 1 << 5;
const REGISTER_SYNC_CORE: usize = 1 << 6;

unsafe extern "C" {
    /// Pointers to strings, and a zero; behind it is the auxiliary vector.
    static environ: usize;
}

/// Finds a value of the auxiliary vector as the kernel wrote it: the C library has its
/// own idea of some.
fn auxiliary(key: u64) -> Option<u64> {
    // SAFETY: The library has set it before `main`, and no case changes it.
    let mut at = unsafe { (&raw const environ).read() };
    while load_u64(at) != 0 {
        at += 8;
    }
    let pairs = (at + 8..)
        .step_by(16)
        .map(|at| (load_u64(at), load_u64(at + 8)));
    let mut known = pairs.take_while(|(key, _)| *key != 0);
    known.find_map(|(found, value)| (found == key).then_some(value))
}

fn capabilities() {
    /// What all 64-bit programs use.
    const BASELINE: u64 = 1 << 0 | 1 << 4 | 1 << 8 | 1 << 15 | 1 << 24 | 1 << 25 | 1 << 26;
    let basic = auxiliary(libc::AT_HWCAP).unwrap_or(0);
    let more = auxiliary(libc::AT_HWCAP2).unwrap_or(0);
    let processor = u64::from(std::arch::x86_64::__cpuid(1).edx);
    // Linux leaves out what it does not want to use.
    say!("no more than there is: {}", basic & !processor == 0);
    say!("the least: {}", basic & BASELINE == BASELINE);
    let bases = std::arch::x86_64::__cpuid_count(7, 0).ebx & 1;
    say!("bases: {}", (more & 2 != 0) == (bases != 0));
}

fn barrier(command: usize) -> Answer {
    call(SYS_membarrier, [command, 0, 0])
}

fn barriers() {
    let all = GLOBAL
        | GLOBAL_EXPEDITED
        | REGISTER_GLOBAL
        | PRIVATE
        | REGISTER_PRIVATE
        | PRIVATE_SYNC_CORE
        | REGISTER_SYNC_CORE;
    say!("there: {:#x}", barrier(0).value() & all);
    say!("global: {}", barrier(GLOBAL));
    say!(
        "not registered: {} {}",
        barrier(PRIVATE),
        barrier(PRIVATE_SYNC_CORE)
    );
    say!("global: {}", barrier(GLOBAL_EXPEDITED));
    say!(
        "registered: {} {}",
        barrier(REGISTER_PRIVATE),
        barrier(REGISTER_GLOBAL)
    );
    say!("{} {}", barrier(PRIVATE), barrier(PRIVATE_SYNC_CORE));
    say!("registered: {}", barrier(REGISTER_SYNC_CORE));
    say!("{}", barrier(PRIVATE_SYNC_CORE));
    let end = child(|| i32::from(barrier(PRIVATE).is_error()));
    say!("a child: {end}");
}

static FIRST: AtomicUsize = AtomicUsize::new(0);
static SECOND: AtomicUsize = AtomicUsize::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Barriers while other threads run: each comes back.
fn barriers_in_threads() {
    barrier(REGISTER_PRIVATE);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(|| {
                // Relaxed: the order is what the barriers are for.
                while !IS_OVER.load(Ordering::Relaxed) {
                    FIRST.fetch_add(1, Ordering::Relaxed);
                    SECOND.load(Ordering::Relaxed);
                }
            })
        })
        .collect();
    let are_done = (0..100).all(|_| barrier(PRIVATE) == barrier(REGISTER_PRIVATE));
    IS_OVER.store(true, Ordering::Relaxed);
    let ends: Vec<_> = threads.into_iter().map(|it| it.join().is_ok()).collect();
    say!("{are_done} {ends:?}");
}

fn barriers_refused() {
    for command in [3, 1 << 20, NONE] {
        say!("{}: {}", command as isize, barrier(command));
    }
    for command in [0, GLOBAL, PRIVATE, REGISTER_PRIVATE] {
        let answer = call(SYS_membarrier, [command, 1, 0]);
        say!("with a flag: {answer}");
    }
}
