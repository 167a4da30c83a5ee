//! All tasks.

use core::fmt::{self, Write};
use core::time::Duration;

use super::output::Output;
use crate::arch::x86_64::{cpu, timer, uaccess};
use crate::cpu::CpuSet;
use crate::mm::Vaddr;
use crate::panic;
use crate::task::{Task, roll};

/// Tasks that are listed at most; where there are more, it says so.
const MAX_LISTED: usize = 256;

/// What is copied of a task while it is looked at.
#[derive(Clone, Copy)]
struct Sight {
    number: u64,
    name: [u8; 16],
    thread: Option<u64>,
    state: &'static str,
    last_cpu: usize,
    time: Option<Duration>,
    switches: u64,
    stack_top: Option<Vaddr>,
    /// Where its registers are saved, which means something while it does not run.
    context: Vaddr,
}

impl Sight {
    fn of(task: &Task) -> Self {
        let entry = &task.entry;
        let switches = task.switches();
        Self {
            number: entry.number(),
            name: entry.name(),
            thread: entry.thread(),
            state: task.state.name(),
            last_cpu: task.last_cpu().as_usize(),
            time: timer::time_of(task.cycles()),
            switches: switches.voluntary.wrapping_add(switches.involuntary),
            stack_top: entry.stack_top(),
            // The word belongs to whoever switches tasks: read as whatever it is.
            context: uaccess::read_kernel_word(task.context_address()).unwrap_or(0),
        }
    }

    /// Returns whether the task runs on some processor.
    fn runs(&self) -> bool {
        let number = |cpu| cpu::tasks_of(cpu).current_number();
        CpuSet::new_full()
            .iter()
            .any(|cpu| number(cpu) == self.number)
    }

    /// Returns how many bytes of its stack a task that does not run has used.
    fn stack_use(&self) -> Option<usize> {
        let top = self.stack_top.filter(|_| !self.runs())?;
        top.checked_sub(self.context)
    }
}

/// Copies what the roll has, and calls `print` with each task outside of the look.
fn for_each(
    out: &mut Output,
    mut print: impl FnMut(&mut Output, &Sight) -> fmt::Result,
) -> fmt::Result {
    let mut next = 1;
    for _ in 0..MAX_LISTED {
        // The one with the smallest number from `next` on: there is no room for all.
        let mut first: Option<Sight> = None;
        let mut note = |task: &Task| {
            let number = task.entry.number();
            let is_before = first.is_none_or(|first| number < first.number);
            if number >= next && is_before {
                first = Some(Sight::of(task));
            }
        };
        if roll::look(&mut note).is_none() {
            return writeln!(out, "debug: somebody looks at the tasks already");
        }
        let Some(sight) = first else { return Ok(()) };
        print(out, &sight)?;
        next = sight.number + 1;
    }
    writeln!(out, "debug: there are more")
}

/// Prints a line for each task, and which of them run.
pub(super) fn print(out: &mut Output) -> fmt::Result {
    for cpu in CpuSet::new_full().iter() {
        let tasks = cpu::tasks_of(cpu);
        writeln!(
            out,
            "processor {}: task {} runs, {} are ready, {} switches",
            cpu.as_usize(),
            tasks.current_number(),
            tasks.nr_ready(),
            tasks.nr_switches()
        )?;
    }
    writeln!(
        out,
        " task  thread name            state    cpu   switches       time  stack"
    )?;
    for_each(out, print_line)?;
    let left_out = roll::look(|_| ()).unwrap_or(0);
    if left_out > 0 {
        writeln!(out, "debug: {left_out} tasks are not listed")?;
    }
    Ok(())
}

fn print_line(out: &mut Output, sight: &Sight) -> fmt::Result {
    let state = if sight.runs() { "runs" } else { sight.state };
    write!(out, "{:5} ", sight.number)?;
    match sight.thread {
        Some(thread) => write!(out, "{thread:7} ")?,
        None => write!(out, "      - ")?,
    }
    let name = sight.name.split(|byte| *byte == 0).next().unwrap_or(&[]);
    write!(out, "{:15} {state:8} {:3}", Name(name), sight.last_cpu)?;
    write!(out, " {:10}", sight.switches)?;
    match sight.time {
        Some(time) => write!(out, " {:4}.{:03} s", time.as_secs(), time.subsec_millis())?,
        None => write!(out, "          -")?,
    }
    match sight.stack_use() {
        Some(bytes) => writeln!(out, "  {bytes}"),
        None => writeln!(out, "  -"),
    }
}

/// Prints the calls that each task is in that does not run.
pub(super) fn print_sleepers(out: &mut Output) -> fmt::Result {
    for_each(out, |out, sight| {
        if sight.stack_use().is_none() {
            return Ok(());
        }
        let name = sight.name.split(|byte| *byte == 0).next().unwrap_or(&[]);
        writeln!(
            out,
            "task {}, {}, {}:",
            sight.number,
            Name(name),
            sight.state
        )?;
        let word = |index: usize| uaccess::read_kernel_word(sight.context.wrapping_add(index * 8));
        // As `context::switch` leaves it: four registers, RBP, RBX, the return address.
        let (rbp, rip) = (word(4).unwrap_or(0), word(6).unwrap_or(0));
        panic::write_calls(out, rip.checked_sub(1), rbp)
    })
}

/// Bytes that should be text.
struct Name<'a>(&'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(core::str::from_utf8(self.0).unwrap_or("?"))
    }
}
