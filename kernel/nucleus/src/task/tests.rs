//! Do tasks take turns, end, stay where they may run, and wake each other?
//!
//! Tests that need tasks to be on one processor pin them to the boot processor, where
//! tests run. The others use whatever processors there are.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::{Task, TaskOptions};
use crate::arch::cpu;
use crate::arch::x86_64::{fpu, timer};
use crate::cpu::{CpuId, CpuSet, disable_preempt};
use crate::irq;
use crate::prelude::*;
use crate::sync::{Mutex, RwMutex, SpinLock, WaitQueue};

fn spawn(body: impl FnOnce() + Send + 'static) -> Arc<Task> {
    TaskOptions::new(body).spawn().expect("enough memory")
}

/// Starts a task where tests run.
fn spawn_here(body: impl FnOnce() + Send + 'static) -> Arc<Task> {
    let options = TaskOptions::new(body).affinity(CpuSet::from(CpuId::bsp()));
    options.spawn().expect("enough memory")
}

fn join_all(tasks: Vec<Arc<Task>>) {
    tasks.iter().for_each(|task| task.join());
}

/// Yields until something is true.
fn wait_until(mut is_true: impl FnMut() -> bool) {
    while !is_true() {
        Task::yield_now();
    }
}

#[ktest]
fn tasks_take_turns_when_they_yield() {
    const ROUNDS: usize = 50;
    let turn = Arc::new(AtomicUsize::new(0));
    let player = |me: usize| {
        let turn = Arc::clone(&turn);
        move || {
            for round in 0..ROUNDS {
                wait_until(|| turn.load(Ordering::Acquire) == 2 * round + me);
                turn.fetch_add(1, Ordering::AcqRel);
            }
        }
    };
    join_all([spawn_here(player(0)), spawn_here(player(1))].into());
    assert_eq!(turn.load(Ordering::Acquire), 2 * ROUNDS);
}

#[ktest]
fn task_that_never_yields_is_preempted() {
    let flag = Arc::new(AtomicBool::new(false));
    let (seen, set) = (Arc::clone(&flag), Arc::clone(&flag));
    let spins = spawn_here(move || {
        while !seen.load(Ordering::Acquire) {
            core::hint::spin_loop();
        }
    });
    let sets = spawn_here(move || set.store(true, Ordering::Release));
    join_all([spins, sets].into());
}

#[ktest]
fn guard_keeps_its_task_running_and_its_end_lets_the_next_one_in() {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    let guard = disable_preempt();
    let task = spawn_here(move || set.store(true, Ordering::Release));
    let start = timer::ticks();
    while timer::ticks() < start + 5 {
        core::hint::spin_loop();
    }
    assert!(!flag.load(Ordering::Acquire));
    drop(guard);
    assert!(flag.load(Ordering::Acquire));
    task.join();
}

#[ktest]
fn task_runs_where_it_may_and_stays_there() {
    for cpu in CpuSet::new_full().iter() {
        let body = move || {
            for _ in 0..20 {
                assert_eq!(CpuId::current(&disable_preempt()), cpu);
                Task::yield_now();
            }
        };
        let options = TaskOptions::new(body).affinity(CpuSet::from(cpu));
        options.spawn().expect("enough memory").join();
    }
}

#[ktest]
fn what_a_task_has_done_is_seen_by_whoever_joins_it() {
    let value = Arc::new(AtomicU64::new(0));
    let written = Arc::clone(&value);
    let task = spawn(move || written.store(7, Ordering::Relaxed));
    task.join();
    assert!(task.is_over());
    assert_eq!(value.load(Ordering::Relaxed), 7);
    // Over already.
    task.join();
}

#[ktest]
fn task_that_is_never_run_gives_all_back() {
    let value = Arc::new(());
    let kept = Arc::clone(&value);
    let task = TaskOptions::new(move || drop(kept)).build();
    drop(task.expect("enough memory"));
    assert_eq!(Arc::strong_count(&value), 1);
}

#[ktest]
fn task_knows_itself_and_goes_on_without_a_handle() {
    let found = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&found);
    drop(spawn(move || *kept.lock() = Task::current()));
    wait_until(|| found.lock().is_some());
    let task = found.lock().take().expect("it was there");
    task.join();
    let me = Task::current().expect("a test is a task");
    assert!(!Arc::ptr_eq(&me, &task));
}

#[ktest]
fn sleepers_wake_in_the_order_in_which_they_went_to_sleep() {
    let (queue, is_open) = (Arc::new(WaitQueue::new()), Arc::new(AtomicBool::new(false)));
    let order = Arc::new(SpinLock::new(Vec::with_capacity(4)));
    let mut tasks = Vec::new();
    for number in 0..4 {
        let (queue, is_open) = (Arc::clone(&queue), Arc::clone(&is_open));
        let order = Arc::clone(&order);
        let task = spawn(move || {
            queue.wait_until(|| is_open.load(Ordering::Acquire).then_some(()));
            order.lock().push(number);
        });
        wait_until(|| task.state.is_parked());
        tasks.push(task);
    }
    is_open.store(true, Ordering::Release);
    for number in 0..4 {
        assert!(queue.wake_one());
        wait_until(|| order.lock().len() > number);
    }
    assert!(!queue.wake_one());
    assert_eq!(*order.lock(), [0, 1, 2, 3]);
    join_all(tasks);
}

#[ktest]
fn mutex_lets_one_in_at_a_time() {
    const TASKS: usize = 6;
    const ROUNDS: usize = 500;
    let mutex = Arc::new(Mutex::new(0_usize));
    let is_inside = Arc::new(AtomicBool::new(false));
    let worker = || {
        let (mutex, is_inside) = (Arc::clone(&mutex), Arc::clone(&is_inside));
        move || {
            for round in 0..ROUNDS {
                let mut count = mutex.lock();
                assert!(!is_inside.swap(true, Ordering::Relaxed));
                let before = *count;
                if round % 4 == 0 {
                    Task::yield_now();
                }
                *count = before + 1;
                is_inside.store(false, Ordering::Relaxed);
            }
        }
    };
    join_all((0..TASKS).map(|_| spawn(worker())).collect());
    assert_eq!(*mutex.lock(), TASKS * ROUNDS);
}

#[ktest]
fn readers_and_writers_keep_each_other_out() {
    const TASKS: usize = 6;
    const ROUNDS: usize = 300;
    let lock = Arc::new(RwMutex::new([0_usize; 2]));
    let worker = |number: usize| {
        let lock = Arc::clone(&lock);
        move || {
            for round in 0..ROUNDS {
                if (round + number).is_multiple_of(3) {
                    let mut pair = lock.write();
                    pair[0] += 1;
                    if round.is_multiple_of(4) {
                        Task::yield_now();
                    }
                    pair[1] += 1;
                }
                let pair = lock.read();
                let first = pair[0];
                if round.is_multiple_of(5) {
                    Task::yield_now();
                }
                assert_eq!(first, pair[1]);
            }
        }
    };
    join_all((0..TASKS).map(|number| spawn(worker(number))).collect());
    assert_eq!(*lock.read(), [TASKS * ROUNDS / 3; 2]);
}

#[ktest]
fn registers_of_ring_3_stay_with_their_task() {
    const ROUNDS: u64 = 200;
    let worker = |program: u64| {
        move || {
            let owner = fpu::Owner::new();
            for round in 0..ROUNDS {
                let found: u64;
                {
                    let _irq_off = irq::disable_local();
                    // As on the way into ring 3, and by the program there.
                    owner.make_live();
                    // SAFETY: The registers are loaded, and the kernel keeps nothing in
                    // them.
                    unsafe {
                        asm!(
                            "movq {found}, xmm15",
                            "movq xmm15, {next}",
                            found = out(reg) found,
                            next = in(reg) program << 32 | (round + 1),
                        );
                    }
                }
                let expected = if round == 0 { 0 } else { program << 32 | round };
                assert_eq!(found, expected, "in round {round}");
                Task::yield_now();
            }
        }
    };
    join_all((1..=4).map(|program| spawn(worker(program))).collect());
}

#[ktest]
fn tasks_and_locks_survive_a_storm() {
    const TASKS: usize = 8;
    const ROUNDS: usize = 150;
    let sum = Arc::new(Mutex::new(0_usize));
    let spins = Arc::new(SpinLock::new(0_usize));
    let gate = Arc::new((WaitQueue::new(), AtomicUsize::new(0)));
    let worker = |number: usize| {
        let (sum, spins, gate) = (Arc::clone(&sum), Arc::clone(&spins), Arc::clone(&gate));
        move || {
            for round in 0..ROUNDS {
                match (round * 7 + number * 3) % 6 {
                    0 => Task::yield_now(),
                    1 => {
                        let sum = Arc::clone(&sum);
                        spawn(move || *sum.lock() += 1).join();
                        continue;
                    }
                    2 => {
                        // A token for whoever is next, and then one is taken.
                        gate.1.fetch_add(1, Ordering::AcqRel);
                        gate.0.wake_one();
                        gate.0.wait_until(|| take_token(&gate.1));
                    }
                    3 => *spins.lock() += 1,
                    _ => {}
                }
                *sum.lock() += 1;
            }
        }
    };
    join_all((0..TASKS).map(|number| spawn(worker(number))).collect());
    assert_eq!(*sum.lock(), TASKS * ROUNDS);
    assert_eq!(gate.1.load(Ordering::Acquire), 0);
}

/// Takes one of so many tokens.
fn take_token(tokens: &AtomicUsize) -> Option<()> {
    let one_less = |tokens: usize| tokens.checked_sub(1);
    let taken = tokens.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
    taken.ok().map(drop)
}

#[ktest]
fn work_of_one_processor_is_shared_by_all() {
    let nr_cpus = CpuSet::new_full().count();
    if nr_cpus == 1 {
        crate::ktest::skip("the machine has one processor");
    }
    let seen = Arc::new(AtomicU64::new(0));
    let worker = || {
        let seen = Arc::clone(&seen);
        move || {
            // Each holds its processor until all are there.
            while seen.load(Ordering::Acquire).count_ones() < nr_cpus as u32 {
                let guard = disable_preempt();
                let bit = 1 << CpuId::current(&guard).as_usize();
                seen.fetch_or(bit, Ordering::AcqRel);
            }
        }
    };
    join_all((0..nr_cpus).map(|_| spawn(worker())).collect());
}

#[ktest]
#[should_panic(expected = "yields in atomic mode")]
fn peer_050_task_does_not_yield_while_a_guard_keeps_it() {
    let _stays = disable_preempt();
    Task::yield_now();
}

#[ktest]
#[should_panic(expected = "sleeps in atomic mode")]
fn peer_050_task_does_not_sleep_with_a_lock_held() {
    let lock = SpinLock::new(());
    let _held = lock.lock();
    WaitQueue::new().wait_until(|| None::<()>);
}

#[ktest]
#[should_panic(expected = "in another task")]
fn panic_of_a_task_that_a_test_has_started_ends_the_test() {
    spawn(|| panic!("in another task")).join();
}

#[ktest]
fn switches_are_counted_on_their_processor() {
    let switches = || {
        let _stays = disable_preempt();
        cpu::tasks().nr_switches()
    };
    let before = switches();
    spawn_here(|| ()).join();
    assert!(switches() > before);
}
