//! Running the tests on the machine: each as a task that can be abandoned.

use core::fmt::{self, Write};
use core::slice;
use core::sync::atomic::Ordering;
use core::time::Duration;

use super::KtestItem;
use super::dialogue::{self, Choice, Run};
use super::failures::Failures;
use super::progress::Progress;
use super::report::Ktap;
use super::runner::{Ending, Isolation, Message, Resources, Selection, Summary, run_all};
use crate::arch::x86_64::{features, timer};
use crate::arch::{cpu, memory};
use crate::boot::platform;
use crate::cpu::{CpuSet, disable_preempt, num_cpus};
use crate::mm::frame::{Census, census, frame_counts, memory_counts};
use crate::mm::kspace::kernel_page_table;
use crate::mm::{VmSpace, heap, tlb};
use crate::power::{self, ExitCode};
use crate::sync::rcu;
use crate::task::{self, Task, stack_cache};
use crate::{boot, console, planted, time};

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
    task::prepare_tests().expect("the machine has too little memory for tests");
    let mut failures = Failures::new();
    loop {
        let started = time::uptime();
        let summary = run(selection, &mut failures);
        if !command_line.ktest_wait {
            power::exit(match summary.failed {
                0 => ExitCode::Success,
                _ => ExitCode::Failure,
            })
        }
        let run = Run {
            summary: &summary,
            failures: &failures,
            machine: &ThisMachine {
                mebibytes: memory_counts().total >> 20,
                seconds: (time::uptime() - started).as_secs(),
            },
        };
        forget_keys();
        match dialogue::hold(run, &mut ToAll, screen_size(), &mut read_key) {
            Choice::Again => {}
            Choice::Restart => power::restart(),
            Choice::PowerOff => power::exit(ExitCode::Success),
        }
    }
}

/// Runs the tests once, and tells of it on serial and on the screen.
fn run(selection: Selection<'_>, failures: &mut Failures) -> Summary {
    let timeout_s = boot::command_line().ktest_timeout_s;
    let mut isolation = Tasks {
        timeout: Duration::from_secs(u64::from(timeout_s)),
        free_frames_at_start: frame_counts().free,
    };
    let mut ktap = Ktap(ToSerial);
    let mut progress = Progress::new(ToScreen, screen_size());
    let mut shown = (&mut ktap, &mut progress);
    let mut report = (&mut shown, failures);
    run_all(registered(), selection, &mut isolation, &mut report)
}

/// Returns the size of the screen in characters, or that of a usual terminal.
fn screen_size() -> (usize, usize) {
    console::screen_size().unwrap_or((80, 24))
}

/// Waits for a key; returns the first byte that it sends, and drops the others.
fn read_key() -> u8 {
    let key = console::read_key();
    forget_keys();
    key
}

/// Drops what has been typed.
fn forget_keys() {
    let mut buffer = [0; 16];
    while console::read_input(&mut buffer) > 0 {}
}

/// What a report of somebody else's machine has to tell about it. It is printed with the
/// console's lock held, so nothing is asked for then that others lock.
struct ThisMachine {
    mebibytes: usize,
    /// How long the tests ran.
    seconds: u64,
}

impl fmt::Display for ThisMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mebibytes, seconds } = self;
        let processors = num_cpus();
        writeln!(f, "    processors  {processors} of {}", features::brand())?;
        writeln!(f, "    features    {}", features::get())?;
        writeln!(f, "    memory      {mebibytes} MiB")?;
        writeln!(f, "    firmware    {}", boot::firmware())?;
        if let Some(platform) = platform::try_get() {
            let mut text: Message = Message::new();
            // A message takes any text, and cuts it off.
            let _ = write!(text, "{platform}");
            let devices = text.as_str().trim_start_matches("platform: ");
            writeln!(f, "    devices     {devices}")?;
        }
        writeln!(f, "    time        {seconds} s")
    }
}

/// Ends the current test: it does not apply, for this reason.
///
/// # Panics
///
/// Panics outside of a test.
pub fn skip(reason: &'static str) -> ! {
    task::end_test(Ending::Skipped(reason))
}

/// Places that text goes to; formatted text as a whole, so that no message of an
/// interrupt gets into a line.
macro_rules! writer {
    ($name:ident, $write:path) => {
        struct $name;

        impl fmt::Write for $name {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.write_fmt(format_args!("{text}"))
            }

            fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> fmt::Result {
                $write(arguments);
                Ok(())
            }
        }
    };
}

writer!(ToAll, console::write_fmt);
writer!(ToSerial, console::write_to_serial);
writer!(ToScreen, console::write_to_screen);

struct Tasks {
    timeout: Duration,
    free_frames_at_start: usize,
}

/// Waits until nothing of a test is left that others have only to let go of.
fn settle() {
    /// Ticks after which what is left counts as lost: 15 s, as an emulator may let a
    /// processor stand still for long.
    const MAX_TICKS: u64 = 1500;
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
    Ending::Panicked {
        message,
        place: Message::new(),
    }
}

impl Isolation for Tasks {
    fn run(&mut self, test: fn()) -> Ending {
        heap::prepare_test();
        stack_cache::prepare_test();
        let ending = task::run_test(test, self.timeout);
        planted::weed();
        // First, since the check takes memory, which has to be back.
        let ending = check_page_table(ending);
        settle();
        ending
    }

    fn is_stuck(&self) -> bool {
        heap::is_locked()
            || memory::memory().buddy.is_locked()
            || memory::memory().kvirt.is_locked()
            || cpu::local().active_space.is_locked()
            || console::is_locked()
            // After the locks, one of which the count takes.
            || frame_counts().free < self.free_frames_at_start / 2
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

    fn census(&self) -> Census {
        census()
    }
}
