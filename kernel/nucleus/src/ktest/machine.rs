//! Running the tests on the machine: each as a task that can be abandoned.

use core::fmt;
use core::slice;
use core::sync::atomic::Ordering;
use core::time::Duration;

use super::KtestItem;
use super::runner::{Ending, Isolation, Resources, Selection, run_all};
use crate::arch::{cpu, memory};
use crate::mm::frame::frame_counts;
use crate::mm::heap;
use crate::power::{self, ExitCode};
use crate::{boot, console, planted, task};

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
}

struct Tasks {
    timeout: Duration,
}

impl Isolation for Tasks {
    fn run(&mut self, test: fn()) -> Ending {
        let ending = task::run_test(test, self.timeout);
        planted::weed();
        task::settle();
        ending
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
            // Nodes of the kernel's table stay, for the next area. Relaxed: a count.
            free_frames: frame_counts().free
                + memory::memory().nr_kernel_nodes.load(Ordering::Relaxed),
            heap_bytes: heap::used_bytes(),
            tasks: task::nr_live(),
        }
    }
}
