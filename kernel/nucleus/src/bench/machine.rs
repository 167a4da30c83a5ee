//! Running the benchmarks on the machine.

use core::arch::x86_64::_rdtsc;

use super::{Meter, NoMeter, ROWS, ring3};
use crate::console::println;
use crate::power::{self, ExitCode};
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
    let rows = ROWS.iter().chain(&ring3::ROWS);
    for row in rows.filter(|row| row.name.contains(filter)) {
        (row.run)(&mut NoMeter);
        let measured = (0..REPETITIONS).map(|_| {
            let mut ticks = Ticks(0);
            (row.run)(&mut ticks);
            ticks.0.saturating_sub(empty.0)
        });
        let least = measured.min().unwrap_or_default();
        println!("bench {} {} {least}", row.name, row.operations);
    }
    debug_assert!(irq::is_enabled());
    println!("bench done");
    power::exit(ExitCode::Success)
}
