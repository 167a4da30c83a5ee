//! Running the benchmarks on the machine.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Meter, NoMeter, ROWS};
use crate::console::println;
use crate::cpu::CpuId;
use crate::power::{self, ExitCode};
use crate::task::{Task, TaskOptions};
use crate::{boot, irq};

/// How often each is measured; the smallest count is the result.
const REPETITIONS: usize = 5;

/// Counts time-stamp ticks, which are instructions under `-icount shift=0`.
struct Ticks(u64);

impl Meter for Ticks {
    fn measure(&mut self, body: &mut dyn FnMut()) {
        // SAFETY: Every x86-64 processor has the instruction.
        let start = unsafe { _rdtsc() };
        body();
        // SAFETY: As above.
        self.0 = unsafe { _rdtsc() } - start;
    }
}

/// Runs the benchmarks if the command line asks for them, and then ends the
/// machine.
pub fn run_if_requested() {
    let Some(filter) = boot::command_line().bench else {
        return;
    };
    let mut empty = Ticks(0);
    empty.measure(&mut || ());
    for row in ROWS.iter().filter(|row| row.name.contains(filter)) {
        (row.run)(&mut NoMeter);
        let measured = (0..REPETITIONS).map(|_| {
            let mut ticks = Ticks(0);
            (row.run)(&mut ticks);
            ticks.0.saturating_sub(empty.0)
        });
        let least = measured.min().unwrap_or_default();
        println!("bench {} {} {least}", row.name, row.operations);
    }
    if TASK_SWITCH.contains(filter) {
        let mut ticks = Ticks(0);
        switch_tasks(&mut ticks);
        let count = ticks.0.saturating_sub(empty.0);
        println!("bench {TASK_SWITCH} {SWITCHES} {count}");
    }
    debug_assert!(irq::is_enabled());
    println!("bench done");
    power::exit(ExitCode::Success)
}

const TASK_SWITCH: &str = "task/switch";
/// Switches that are measured together.
const SWITCHES: usize = 128;

/// Lets two tasks of this processor yield to each other.
fn switch_tasks(meter: &mut dyn Meter) {
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    // Relaxed, here and below: both tasks run on one processor.
    let body = || {
        while !IS_OVER.load(Ordering::Relaxed) {
            Task::yield_now();
        }
    };
    let partner = TaskOptions::new(body).affinity(CpuId::bsp().into()).spawn();
    let partner = partner.expect("a benchmark has enough memory");
    Task::yield_now();
    meter.measure(&mut || (0..SWITCHES / 2).for_each(|_| Task::yield_now()));
    IS_OVER.store(true, Ordering::Relaxed);
    partner.join();
}
