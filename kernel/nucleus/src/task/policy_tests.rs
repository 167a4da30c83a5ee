//! Do tasks run where they may, now and later, and is what they use counted?

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

use super::{Task, TaskOptions, nr_runnable, nr_tasks};
use crate::cpu::{CpuId, CpuSet, disable_preempt};
use crate::error::Error;
use crate::prelude::*;
use crate::sync::WaitQueue;
use crate::time::uptime;

/// A task, and where it was last, until it is to end.
struct Roamer {
    task: Arc<Task>,
    shared: Arc<(AtomicUsize, AtomicBool)>,
}

impl Roamer {
    /// Starts a task that does a step again and again.
    fn start(step: impl Fn() + Send + 'static) -> Self {
        let shared = Arc::new((AtomicUsize::new(usize::MAX), AtomicBool::new(false)));
        let of_task = Arc::clone(&shared);
        let body = move || {
            while !of_task.1.load(Ordering::Acquire) {
                of_task.0.store(here().as_usize(), Ordering::Release);
                step();
            }
        };
        let task = TaskOptions::new(body).spawn().expect("enough memory");
        Self { task, shared }
    }

    /// Has the task run on one processor alone, and waits until it does.
    fn send_to(&self, cpu: CpuId) {
        self.task
            .set_affinity(cpu.into())
            .expect("the processor is there");
        while self.shared.0.load(Ordering::Acquire) != cpu.as_usize() {
            Task::yield_now();
        }
    }

    fn end(self) {
        self.shared.1.store(true, Ordering::Release);
        self.task.join();
    }
}

fn here() -> CpuId {
    CpuId::current(&disable_preempt())
}

/// Sends a task around the machine, twice.
fn send_around(roamer: Roamer) {
    for _ in 0..2 {
        CpuSet::new_full()
            .iter()
            .for_each(|cpu| roamer.send_to(cpu));
    }
    roamer.end();
}

#[ktest]
fn smp_task_that_runs_is_moved_to_where_it_may() {
    send_around(Roamer::start(core::hint::spin_loop));
}

#[ktest]
fn smp_task_that_yields_is_moved_to_where_it_may() {
    send_around(Roamer::start(Task::yield_now));
}

#[ktest]
fn smp_task_that_sleeps_wakes_where_it_may() {
    send_around(Roamer::start(|| {
        let soon = uptime() + Duration::from_millis(1);
        assert_eq!(
            WaitQueue::new().wait_until_or(Some(soon), || None::<()>),
            None
        );
    }));
}

#[ktest]
fn smp_task_moves_itself_before_it_goes_on() {
    let body = || {
        let task = Task::current().expect("it is one");
        for cpu in CpuSet::new_full().iter().chain(CpuSet::new_full().iter()) {
            task.set_affinity(cpu.into())
                .expect("the processor is there");
            assert_eq!(here(), cpu);
        }
    };
    TaskOptions::new(body)
        .spawn()
        .expect("enough memory")
        .join();
}

#[ktest]
fn smp_task_that_is_ready_behind_another_one_is_moved() {
    if CpuSet::new_full().count() == 1 {
        crate::ktest::skip("the machine has one processor");
    }
    let bsp = CpuId::bsp();
    let other = CpuId::new(1);
    // This task does not yield, so what is ready here does not run.
    let stays = disable_preempt();
    let options = TaskOptions::new(move || assert_eq!(here(), other)).affinity(bsp.into());
    let task = options.spawn().expect("enough memory");
    task.set_affinity(other.into())
        .expect("the processor is there");
    while !task.is_over() {
        core::hint::spin_loop();
    }
    drop(stays);
}

#[ktest]
fn affinity_to_no_processor_of_the_machine_is_refused() {
    let task = Task::current().expect("a test is a task");
    let before = task.affinity();
    assert_eq!(
        task.set_affinity(CpuSet::new_empty()),
        Err(Error::InvalidArgs)
    );
    assert_eq!(task.affinity(), before);
    let options = TaskOptions::new(|| ()).affinity(CpuSet::new_empty());
    assert_eq!(options.build().err(), Some(Error::InvalidArgs));
}

#[ktest]
fn task_that_runs_uses_time_but_no_more_than_passes() {
    let task = Task::current().expect("a test is a task");
    let (start, used) = (uptime(), task.cpu_times());
    let enough = used.total() + Duration::from_millis(25);
    while task.cpu_time() < enough {
        core::hint::spin_loop();
    }
    // The clock last: the task may be taken off its processor, or that stand still,
    // between the two.
    let now = task.cpu_times();
    let passed = uptime() - start;
    assert!(now.kernel - used.kernel <= passed + Duration::from_millis(1));
    assert_eq!(now.user, Duration::ZERO, "it was never in ring 3");
}

#[ktest]
fn task_that_sleeps_is_charged_nothing_meanwhile() {
    let queue = Arc::new((WaitQueue::new(), AtomicBool::new(false)));
    let of_task = Arc::clone(&queue);
    let body = move || {
        let look = || of_task.1.load(Ordering::Acquire).then_some(());
        of_task.0.wait_until(look);
    };
    let task = TaskOptions::new(body).spawn().expect("enough memory");
    while !task.state.is_parked() {
        Task::yield_now();
    }
    let before = task.cpu_time();
    let end = uptime() + Duration::from_millis(30);
    while uptime() < end {
        Task::yield_now();
    }
    assert_eq!(task.cpu_time(), before);
    queue.1.store(true, Ordering::Release);
    queue.0.wake_one();
    task.join();
}

#[ktest]
fn switches_of_a_task_are_told_apart() {
    let task = Task::current().expect("a test is a task");
    let before = task.switches();
    let has_slept = move || task.switches().voluntary > before.voluntary;
    // It is there until the test sleeps, however often ticks make them take turns.
    let partner = TaskOptions::new(move || {
        while !has_slept() {
            Task::yield_now();
        }
    });
    let partner = partner.affinity(CpuId::bsp().into()).spawn();
    let partner = partner.expect("enough memory");
    (0..5).for_each(|_| Task::yield_now());
    let task = Task::current().expect("a test is a task");
    let after_yields = task.switches();
    assert!(after_yields.involuntary > before.involuntary);
    assert_eq!(after_yields.voluntary, before.voluntary);
    partner.join();
    assert!(task.switches().voluntary > before.voluntary);
}

#[ktest]
fn tasks_are_counted_while_they_live_and_while_they_are_ready() {
    let stays = disable_preempt();
    let (live, runnable) = (nr_tasks(), nr_runnable());
    assert!(runnable >= 1, "this one runs");
    let here = CpuSet::from(CpuId::bsp());
    let tasks = [(); 3].map(|()| {
        let options = TaskOptions::new(|| ()).affinity(here);
        options.spawn().expect("enough memory")
    });
    assert!(nr_tasks() >= live.saturating_sub(1) + 3);
    assert!(nr_runnable() >= 4);
    drop(stays);
    tasks.iter().for_each(|task| task.join());
}
