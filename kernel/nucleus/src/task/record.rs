//! What is known of a task.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;

use super::list::{Link, NR_LINKS};
use super::roll::Entry;
use super::state::State;
use super::timers::Timer;
use super::usage::Usage;
use crate::arch::tasks;
use crate::cpu::{AtomicCpuSet, CpuId, CpuSet, MAX_CPUS};
use crate::mm::kspace::KernelStack;
use crate::mm::{Vaddr, VmSpace};
use crate::planted::{Bug, is_planted};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{SpinLock, WaitQueue};

/// What a task does.
pub(super) type Body = Box<dyn FnOnce() + Send>;

/// A thread of the kernel. It may enter ring 3, too: see [`user`](crate::user).
///
/// A task that runs holds itself, so that dropping the last handle does not end it.
pub struct Task {
    /// Its place among all tasks. The first field: it is dropped before the others.
    pub(crate) entry: Entry,
    pub(crate) state: State,
    /// The processors on which it may run.
    pub(super) affinity: AtomicCpuSet,
    /// The links of the lists that it is in.
    pub(super) links: [Link; NR_LINKS],
    /// The processor that it ran on last: a hint.
    last_cpu: AtomicUsize,
    /// Where its registers are saved, on its stack, while it does not run.
    pub(super) context: Cell<Vaddr>,
    /// Its stack, if it is its own and not a processor's or a test's.
    pub(super) stack: SpinLock<Option<KernelStack>>,
    pub(super) body: SpinLock<Option<Body>>,
    /// The user space that it works in.
    space: Cell<Option<Arc<VmSpace>>>,
    /// What it has left in the registers of ring 3.
    pub(crate) user: UserRegisters,
    /// Whether it is in the list of a wait queue, whose lock protects this.
    pub(crate) is_waiting: AtomicBool,
    /// Whether it was nudged and has not looked since.
    is_nudged: AtomicBool,
    /// When it is to be woken, if it waits for that.
    pub(crate) timer: Timer,
    /// What it has used.
    pub(super) usage: Usage,
    /// Those who wait for its end.
    pub(super) joiners: WaitQueue,
    /// Whether it is over and its stack is freed.
    pub(super) is_reaped: AtomicBool,
    /// The test that it belongs to.
    #[cfg(ktest)]
    pub(super) owner: super::test_task::TestNumber,
}

/// What a task has left in the registers of ring 3, which the kernel does not use.
/// For the processor that runs the task.
#[derive(Debug, Default)]
pub(crate) struct UserRegisters {
    /// Where they are saved; zero for a task that cannot enter ring 3.
    pub(crate) area: Cell<Vaddr>,
    /// The program whose registers they are, by its number.
    pub(crate) program: Cell<u64>,
}

// SAFETY: The links, and the cells of the timer, are used under the lock of the list
// that the task is in. The other cells are used by the processor that runs the task, or switches to it or from
// it, and tasks change processors by way of a queue with a lock.
unsafe impl Sync for Task {}
// SAFETY: As above; nothing in it belongs to a processor.
unsafe impl Send for Task {}

impl Task {
    /// Makes a task that runs already: a processor's own.
    pub(crate) fn without_stack() -> Self {
        Self {
            state: State::awake(),
            // Whenever it is made: a processor may begin when the first test runs.
            #[cfg(ktest)]
            owner: super::test_task::TestNumber::NONE,
            ..Self::made(None, None)
        }
    }

    /// Makes a task that has not run yet.
    pub(super) fn made(stack: Option<KernelStack>, body: Option<Body>) -> Self {
        Self {
            entry: Entry::default(),
            state: State::made(),
            affinity: AtomicCpuSet::new(CpuSet::of_any_machine()),
            links: Default::default(),
            last_cpu: AtomicUsize::new(0),
            context: Cell::new(0),
            stack: SpinLock::new(stack),
            body: SpinLock::new(body),
            space: Cell::new(None),
            user: UserRegisters::default(),
            is_waiting: AtomicBool::new(false),
            is_nudged: AtomicBool::new(false),
            timer: Timer::new(),
            usage: Usage::new(),
            joiners: WaitQueue::new(),
            is_reaped: AtomicBool::new(false),
            #[cfg(ktest)]
            owner: super::test_task::TestNumber::current(),
        }
    }

    /// Has a new task run on these processors alone.
    ///
    /// # Panics
    ///
    /// Panics when the set is empty.
    pub(crate) fn with_affinity(mut self, affinity: CpuSet) -> Self {
        assert!(!affinity.is_empty(), "a task has to run somewhere");
        self.affinity = AtomicCpuSet::new(affinity);
        self
    }

    /// Returns the task that asks; nothing during start-up.
    pub fn current() -> Option<Arc<Self>> {
        tasks::current()
    }

    /// Lets other tasks run that are ready on this processor; returns at once if there
    /// are none.
    ///
    /// # Panics
    ///
    /// Panics in atomic mode.
    pub fn yield_now() {
        tasks::yield_now();
    }

    /// Returns the processors on which the task may run.
    pub fn affinity(&self) -> CpuSet {
        self.affinity.snapshot()
    }

    /// Waits until the task is over and its stack is freed.
    ///
    /// # Panics
    ///
    /// Panics in atomic mode, unless it is over.
    pub fn join(&self) {
        let is_over = || self.is_over().then_some(());
        self.joiners.wait_until(is_over);
    }

    /// Returns whether the task is over and its stack is freed.
    pub fn is_over(&self) -> bool {
        // Acquire: what the task has done is seen.
        self.is_reaped.load(Ordering::Acquire)
    }

    /// Returns whether the task has left its processor to sleep; a moment ago, unless
    /// somebody keeps it from being woken.
    pub fn is_asleep(&self) -> bool {
        self.state.is_parked()
    }

    /// Has the task look again at what it waits for in a [`WaitQueue`]; at its next
    /// wait, if it does not wait. Several nudges count as one.
    ///
    /// Callable in any context, interrupts included, but not with a lock held of the
    /// rank of ready tasks or later.
    pub fn nudge(self: &Arc<Self>) {
        if !is_planted(Bug::LostNudge) {
            // Release: what was brought about is seen by the task. Before it is woken,
            // and sees this.
            self.is_nudged.store(true, Ordering::Release);
        }
        self.unpark();
    }

    /// Returns whether the task was nudged since it asked last; for the task itself.
    pub(crate) fn take_nudge(&self) -> bool {
        // Acquire: pairs with the Release in `nudge`.
        self.is_nudged.swap(false, Ordering::Acquire)
    }

    /// Has the task go on if it sleeps, or else not sleep the next time.
    pub(crate) fn unpark(self: &Arc<Self>) {
        if self.state.unpark() {
            tasks::make_ready(Arc::clone(self));
        }
    }

    /// Says what the task is called, where tasks are listed: at most 15 bytes, and zeros.
    pub fn set_name(&self, name: &[u8; 16]) {
        self.entry.set_name(name);
    }

    /// Says which thread the task runs, where tasks are listed.
    pub fn set_thread(&self, number: u32) {
        self.entry.set_thread(number);
    }

    /// Returns where the word is that says where its registers are saved.
    pub(crate) fn context_address(&self) -> Vaddr {
        self.context.as_ptr() as Vaddr
    }

    /// Returns how many cycles the task has run, but for those since the last tick of the
    /// processor that it runs on.
    pub(crate) fn cycles(&self) -> u64 {
        self.usage.cycles()
    }

    /// Returns the processor that the task ran on last.
    pub(crate) fn last_cpu(&self) -> CpuId {
        // Relaxed: a hint.
        CpuId::new(self.last_cpu.load(Ordering::Relaxed) % MAX_CPUS)
    }

    pub(super) fn set_last_cpu(&self, cpu: CpuId) {
        // Relaxed: a hint.
        self.last_cpu.store(cpu.as_usize(), Ordering::Relaxed);
    }

    /// Makes a space that of the task, which is the current one, in atomic mode;
    /// returns the one before.
    pub(crate) fn replace_space(&self, space: Option<Arc<VmSpace>>) -> Option<Arc<VmSpace>> {
        self.space.replace(space)
    }

    /// Returns the space of a task that is about to run.
    ///
    /// # Safety
    ///
    /// The task runs nowhere, and does not as long as the reference is used.
    pub(super) unsafe fn space(&self) -> Option<&Arc<VmSpace>> {
        // SAFETY: The task itself would change it, which does not run.
        unsafe { (*self.space.as_ptr()).as_ref() }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("address", &core::ptr::from_ref(self))
            .field("state", &self.state)
            .field("affinity", &self.affinity())
            .finish_non_exhaustive()
    }
}
