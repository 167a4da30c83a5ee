//! Running the tests on the machine: each as a task that can be abandoned.

use core::fmt::{self, Write};
use core::slice;
use core::sync::atomic::Ordering;
use core::time::Duration;

use super::KtestItem;
use super::runner::{Ending, Isolation, Message, Resources, Selection, run_all};
use crate::arch::x86_64::timer;
use crate::arch::{cpu, memory};
use crate::cpu::{CpuSet, disable_preempt};
use crate::mm::frame::frame_counts;
use crate::mm::kspace::kernel_page_table;
use crate::mm::{VmSpace, heap, tlb};
use crate::power::{self, ExitCode};
use crate::sync::rcu;
use crate::task::{self, Task, stack_cache};
use crate::{boot, console, planted};

unsafe extern "C" {
    /// First byte of the section of tests.
    static __start_ktests: u8;
    /// One past its last byte.
    static __stop_ktests: u8;
}

/// Returns the registered tests.
fn registered() -> &'static [KtestItem] {
    let start = &raw const __start_ktests;
    let bytes = &raw const __stop_ktests as usize - start as usize;
    // SAFETY: The linker bounds the section by these two symbols, and `#[ktest]`
    // puts nothing into it but items of this type.
    unsafe { slice::from_raw_parts(start.cast(), bytes / size_of::<KtestItem>()) }
}

pub(super) fn run_if_requested() {
    let command_line = boot::command_line();
    let Some(filter) = command_line.ktest else {
        return;
    };
    let selection = Selection {
        filter,
        among: command_line.ktest_among,
        from: command_line.ktest_from,
    };
    let mut isolation = Tasks {
        timeout: Duration::from_secs(u64::from(command_line.ktest_timeout_s)),
    };
    task::prepare_tests().expect("the machine has too little memory for tests");
    let result = run_all(registered(), selection, &mut isolation, &mut Report);
    let code = match result {
        Ok(summary) if summary.failed == 0 => ExitCode::Success,
        _ => ExitCode::Failure,
    };
    power::exit(code)
}

/// Ends the current test: it does not apply, for this reason.
///
/// # Panics
///
/// Panics outside of a test.
pub fn skip(reason: &'static str) -> ! {
    task::end_test(Ending::Skipped(reason))
}

struct Report;

impl fmt::Write for Report {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::write_str(text);
        Ok(())
    }

    /// As a whole, so that no message of an interrupt gets into a line of the report.
    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> fmt::Result {
        console::write_fmt(arguments);
        Ok(())
    }
}

struct Tasks {
    timeout: Duration,
}

/// Waits until nothing of a test is left that others have only to let go of.
fn settle() {
    /// Ticks after which what is left counts as lost.
    const MAX_TICKS: u64 = 500;
    task::settle();
    let end = timer::ticks() + MAX_TICKS;
    VmSpace::deactivate_current();
    let is_settled =
        || tlb::held_back().0 == 0 && cpu::all().all(|local| local.active_space.is_empty());
    while !is_settled() && timer::ticks() < end {
        // A processor that has nothing to do looks at what it keeps when it wakes, and
        // lets go of the space that it had loaded.
        CpuSet::new_full()
            .iter()
            .for_each(cpu::interrupt_to_reschedule);
        Task::yield_now();
        let _stays = disable_preempt();
        tlb::wait_for_requests();
        rcu::poll();
    }
}

/// Checks the kernel's page table after a test; one that returned fails if it is damaged.
/// Spaces are checked as they are dropped.
fn check_page_table(ending: Ending) -> Ending {
    if ending != Ending::Returned {
        return ending;
    }
    let mut message = Message::new();
    match kernel_page_table().check() {
        Ok(Ok(_)) => return ending,
        Ok(Err(finding)) => write!(message, "the kernel's page table: {finding}"),
        Err(error) => write!(
            message,
            "the kernel's page table was not checked: {error:?}"
        ),
    }
    .expect("a message takes what fits");
    Ending::Panicked(message)
}

impl Isolation for Tasks {
    fn run(&mut self, test: fn()) -> Ending {
        heap::prepare_test();
        stack_cache::prepare_test();
        let ending = task::run_test(test, self.timeout);
        planted::weed();
        settle();
        check_page_table(ending)
    }

    fn is_stuck(&self) -> bool {
        heap::is_locked()
            || memory::memory().buddy.is_locked()
            || memory::memory().kvirt.is_locked()
            || cpu::local().active_space.is_locked()
            || console::is_locked()
    }

    fn resources(&self) -> Resources {
        Resources {
            // Nodes of the kernel's table stay, for the next area; stacks for the next
            // task; and frames of the heap for its next small blocks, of which it counts
            // the bytes. Relaxed: a count.
            free_frames: frame_counts().free
                + heap::nr_frames()
                + stack_cache::nr_frames()
                + memory::memory().nr_kernel_nodes.load(Ordering::Relaxed),
            heap_bytes: heap::used_bytes(),
            tasks: task::nr_tasks(),
        }
    }
}
