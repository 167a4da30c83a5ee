//! Leaving a task for another one.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::cpu_tasks::{CpuTasks, Leave};
use super::run_queue::{RunQueue, least_loaded, most_loaded};
use super::{Origin, Task, TaskOptions, idle, reaper, test_task, times};
use crate::arch::cpu;
use crate::arch::x86_64::{context, fpu, irq};
use crate::cpu::{CpuId, CpuSet, may_switch};
use crate::mm::vm_space;
use crate::time;
use crate::trace::{self, Event, Group};

/// Ticks that a task may run on while others are ready.
const SLICE: u32 = 2;

/// Tasks that were started and are not buried yet.
static NR_LIVE: AtomicUsize = AtomicUsize::new(0);

/// Returns how many tasks there are that were started and are not over.
pub(super) fn nr_live() -> usize {
    // Relaxed: a count.
    NR_LIVE.load(Ordering::Relaxed)
}

/// Counts a task that was started, or one less.
pub(super) fn count_live(is_started: bool) {
    // Relaxed: a count.
    if is_started {
        NR_LIVE.fetch_add(1, Ordering::Relaxed);
    } else {
        NR_LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes what runs the boot processor's own task, and has `main` run as the first
/// proper one. Interrupts are on afterwards.
///
/// # Panics
///
/// Panics when there is no memory for it.
pub(crate) fn start(main: fn() -> !) -> ! {
    reaper::start();
    // Where the runner of tests has to be.
    TaskOptions::new(move || main())
        .name("main")
        .stack_size(MAIN_STACK_SIZE)
        .affinity(CpuId::bsp().into())
        .spawn()
        .expect("the machine has too little memory for its first task");
    idle::adopt();
    idle::run_idle()
}

/// Bytes of the stack of the first task.
const MAIN_STACK_SIZE: usize = 128 * 1024;

/// Has a task that is awake run: on the processor with the least to do of those on
/// which it may.
pub(crate) fn make_ready(task: Arc<Task>) {
    debug_assert!(!task.state.is_parked() && !task.state.is_over());
    let load = |cpu| cpu::tasks_of(cpu).load();
    let allowed = task.affinity().intersection(CpuSet::new_full());
    enqueue(task, |last| least_loaded(allowed, last, load));
}

/// Puts a task into the queue of a processor, chosen by the one where it ran last,
/// and wakes that processor if it sleeps.
fn enqueue(task: Arc<Task>, choose: impl FnOnce(CpuId) -> CpuId) {
    let target = choose(task.last_cpu());
    let tasks = cpu::tasks_of(target);
    tasks.with_queue(|queue| queue.push(task));
    // This processor looks by itself when the interrupt is over that woke it.
    if tasks.sleep.wake() && target != cpu::current_id() {
        cpu::interrupt_to_reschedule(target);
    }
}

/// Lets other tasks run that are ready here.
///
/// # Panics
///
/// Panics in atomic mode.
pub(crate) fn yield_now() {
    leave(Leave::Ready, "a task yields in atomic mode");
}

/// Has the current task sleep, unless there is a token for it. It may wake without
/// reason.
///
/// # Panics
///
/// Panics in atomic mode.
pub(crate) fn park() {
    let Some(task) = Task::current() else {
        panic!("what sleeps is no task");
    };
    assert!(may_switch(), "a task sleeps in atomic mode");
    if task.state.begin_park() {
        leave(Leave::Parking, "a task sleeps in atomic mode");
        task.state.take_token();
    }
}

/// Ends the current task.
pub(super) fn end_current() -> ! {
    irq::disable();
    if let Some(task) = cpu::tasks().current() {
        task.state.end();
    }
    switch(Leave::Ended);
    unreachable!("a task that is over was resumed")
}

/// Leaves a test for good, whatever it was doing. Interrupts are off, and the guards
/// of the processor are forgotten.
#[cfg(ktest)]
pub(super) fn abandon_current() -> ! {
    if let Some(task) = cpu::tasks().current() {
        task.state.end();
    }
    switch(Leave::Abandoned);
    unreachable!("an abandoned test was resumed")
}

fn leave(how: Leave, complaint: &str) {
    assert!(may_switch(), "{complaint}");
    irq::disable();
    switch(how);
    irq::enable();
}

/// Leaves the processor's own task if another one is ready, here or elsewhere.
/// Interrupts are off.
pub(super) fn switch_from_idle() {
    switch(Leave::Ready);
}

/// Counts a tick of this processor; called by the timer's handler.
pub(crate) fn on_tick(origin: Origin) {
    let here = cpu::tasks();
    times::on_tick(here, origin);
    let left = here.slice.get().saturating_sub(1);
    here.slice.set(left);
    let is_over = left == 0 && here.nr_ready() > 0;
    let current = here.current();
    let must_leave = |task| !may_stay(task) || test_task::is_left_behind(task);
    if current.is_some_and(|task| is_over || must_leave(task)) {
        cpu::request_reschedule();
    }
    here.timers.expire(time::uptime());
    test_task::on_tick();
}

/// Runs another task if that is due and the interrupted code allows it. Called at the
/// end of an interrupt with interrupts off, of code that had them on.
#[inline(always)]
pub(crate) fn preempt_if_due() {
    if cpu::is_preemption_due() {
        switch(Leave::Ready);
    }
}

/// Runs another task if that is due: the last guard against it was dropped. Does
/// nothing where interrupts are off; whoever switches them on sees to it, or the next
/// tick does.
#[cold]
pub(crate) fn reschedule() {
    if irq::is_enabled() {
        irq::disable();
        preempt_if_due();
        irq::enable();
    }
}

/// Leaves the current task for the next one, and returns when it is its turn again;
/// at once, if it is ready and no other task is.
///
/// Interrupts are off, and no guard is alive but those of a test that is abandoned.
fn switch(how: Leave) {
    let here = cpu::tasks();
    here.slice.set(SLICE);
    cpu::withdraw_reschedule();
    let how = match here.current() {
        Some(current) => test_task::what_becomes_of(current, how),
        None => unreachable!("a processor without a task switches tasks"),
    };
    let Some(next) = choose(here, how) else {
        return;
    };
    let now = times::settle(here);
    let (from, to) = (here.current_number(), next.entry.number());
    trace::record_at(Group::TASK, || now, || Event::Switch { from, to });
    next.set_last_cpu(cpu::current_id());
    let load = next.context.get();
    // SAFETY: The next task runs nowhere yet.
    let left = vm_space::on_switch(unsafe { next.space() });
    if let Some(space) = left {
        reaper::give_up(space);
    }
    let Some(current) = here.replace_current(next) else {
        unreachable!("a processor without a task switches tasks");
    };
    current.usage.add_switch(how == Leave::Parking);
    fpu::save_of(&current);
    let save = current.context.as_ptr();
    here.count_switch();
    here.left.set(Some((current, how)));
    // SAFETY:
    // 1. The task is kept by `left`, and then by a queue or the reaper's list, until
    //    somebody runs it, or it is over and its context is of no use.
    // 2. The context was saved here, or prepared, and the task was in one queue, from
    //    which it was taken: nobody else has it, and it has its stack.
    unsafe { context::switch(save, load) };
    finish_switch();
}

/// Returns the task to run next; nothing if the current one may go on.
fn choose(here: &CpuTasks, how: Leave) -> Option<Arc<Task>> {
    if here.nr_ready() > 0
        && let Some(task) = next_ready(here)
    {
        return Some(task);
    }
    let goes_on = how == Leave::Ready && here.current().is_some_and(|task| may_stay(task));
    if goes_on && !here.is_idle() {
        return None;
    }
    steal().or_else(|| idle_task(here).filter(|_| !goes_on))
}

/// Returns whether a task may run on this processor.
fn may_stay(task: &Task) -> bool {
    task.affinity().contains(cpu::current_id())
}

/// Takes the task whose turn it is here, and sends those on that may not run here any
/// more.
fn next_ready(here: &CpuTasks) -> Option<Arc<Task>> {
    loop {
        let task = here.with_queue(pop)?;
        if may_stay(&task) {
            return Some(task);
        }
        make_ready(task);
    }
}

/// Takes the task whose turn it is, past those that no test waits for any more.
fn pop(queue: &mut RunQueue) -> Option<Arc<Task>> {
    loop {
        let task = queue.pop()?;
        if !test_task::is_left_behind(&task) {
            return Some(task);
        }
        // It holds itself, and so stays where it is.
        task.state.end();
    }
}

/// Takes a ready task from the processor that has the most of them.
fn steal() -> Option<Arc<Task>> {
    let thief = cpu::current_id();
    let nr_ready = |cpu| cpu::tasks_of(cpu).nr_ready();
    let victim = most_loaded(thief, CpuSet::new_full(), nr_ready)?;
    cpu::tasks_of(victim).with_queue(|queue| queue.steal(thief))
}

/// Returns the processor's own task.
fn idle_task(here: &CpuTasks) -> Option<Arc<Task>> {
    let idle = here.idle.take();
    here.idle.set(idle.clone());
    idle
}

/// Sees to the task that was left, now that its registers are saved. The first thing
/// that a task does when it runs.
pub(super) fn finish_switch() {
    let here = cpu::tasks();
    let Some((task, how)) = here.left.take() else {
        unreachable!("a task was switched to, and none was left");
    };
    match how {
        Leave::Ready => requeue(here, task),
        Leave::Parking if !task.state.finish_park() => requeue(here, task),
        Leave::Ended => reaper::bury(task),
        Leave::Parking => {}
        #[cfg(ktest)]
        Leave::Abandoned => {}
    }
}

/// Puts a task that could go on into the queue of this processor, where it ran, if it
/// may stay here.
fn requeue(here: &CpuTasks, task: Arc<Task>) {
    let idle = here.idle.take();
    let is_idle = idle.as_ref().is_some_and(|idle| Arc::ptr_eq(idle, &task));
    here.idle.set(idle);
    match may_stay(&task) {
        _ if is_idle => {}
        true => enqueue(task, |last| last),
        false => make_ready(task),
    }
}

/// Has a task that is no test's never run again, if it sleeps or is ready. It is not
/// freed: others may know it.
#[cfg(ktest)]
pub(super) fn abandon(task: &Task) -> bool {
    let is_ready = CpuSet::new_full()
        .iter()
        .any(|cpu| cpu::tasks_of(cpu).with_queue(|queue| queue.remove(task)));
    if is_ready {
        task.state.end();
    }
    is_ready || task.state.abandon()
}
