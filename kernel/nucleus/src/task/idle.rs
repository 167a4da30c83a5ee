//! A processor that has nothing to do.
//!
//! Each processor has a task of its own for that: what it ran when there were no tasks
//! yet. It is in no queue, and runs when there is nothing else.

use alloc::sync::Arc;
use core::mem;

use super::{Task, roll, scheduler};
use crate::arch::cpu;
use crate::arch::x86_64::{idle, irq};
use crate::cpu::CpuSet;
use crate::mm::VmSpace;
use crate::sync::rcu;

/// Runs this processor's tasks, from its own one, for ever; after [`adopt`], when the
/// processor can take interrupts.
pub(crate) fn run_idle() -> ! {
    let is_watching = idle::can_watch();
    let mut switches = 0;
    loop {
        irq::disable();
        scheduler::switch_from_idle();
        let switches_before = mem::replace(&mut switches, cpu::tasks().nr_switches());
        if switches == switches_before {
            // Nothing has run since it slept last: the space of the task that did is
            // let go, which may be the last to know it.
            VmSpace::deactivate_current();
        }
        // What the processor keeps for others is looked at here, since it may take
        // nothing out any more: at each tick while there is something.
        rcu::poll();
        sleep(is_watching);
    }
}

/// Makes what runs this processor's own task; once on each processor, on a stack that
/// stays. Interrupts are off afterwards.
pub(crate) fn adopt() {
    irq::disable();
    let here = cpu::tasks();
    let alone = CpuSet::from(cpu::current_id());
    let task = Arc::new(Task::without_stack().with_affinity(alone));
    task.set_name(b"idle\0\0\0\0\0\0\0\0\0\0\0\0");
    roll::enter(&task, None);
    here.idle.set(Some(Arc::clone(&task)));
    let before = here.replace_current(task);
    assert!(before.is_none(), "a processor runs tasks already");
}

/// Sleeps until an interrupt has been handled, or a task is ready. Interrupts are off
/// before and on afterwards.
fn sleep(is_watching: bool) {
    let here = cpu::tasks();
    here.sleep.begin(is_watching);
    if is_watching {
        idle::watch(here.sleep.address());
    }
    // Said first, looked then: see `Sleep`.
    let has_work = here.with_queue(|queue| queue.len() > 0);
    match (has_work, is_watching) {
        (true, _) => irq::enable(),
        (false, true) => idle::wait_for_write_or_interrupt(),
        (false, false) => irq::wait_for_interrupt(),
    }
    here.sleep.end();
}
