//! A process: what its threads share, and what others know of it.
//!
//! Its threads are a list behind a spin lock, which is taken after that of the family
//! tree. Who ends the process, or wants to be its only thread, says so under that lock;
//! a new thread enters the list under it, too, and finds that out. So no thread is
//! overlooked.

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nucleus::sync::{Once, SpinLock, WaitQueue};

use super::alarm::{Alarm, Timer};
use super::cpu_alarm::{Counts, CpuAlarm};
use super::limits::Limits;
use super::program::Running;
use super::signal::{self, Actions, ProcessSignals, SigInfo, Signal, SignalSet};
use super::thread::Resources;
use super::usage::Usage;
use super::{Current, End, Pid, Thread, table};
use crate::errno::Errno;
use crate::vm::AddressSpace;

/// A process.
pub(crate) struct Process {
    id: Pid,
    program: SpinLock<Program>,
    threads: SpinLock<Threads>,
    /// How it is to end, from the moment when that is decided.
    end: Once<End>,
    pub(crate) limits: SpinLock<Limits>,
    pub(crate) signals: ProcessSignals,
    /// Its alarm (`alarm(2)`), which goes by the time.
    alarm: Timer,
    /// Those that go by the time that it has used in ring 3, and by all of that; made
    /// when somebody asks.
    cpu_alarms: Once<[Arc<CpuAlarm>; 2]>,
    /// The signal that it gets when its parent ends; zero for none.
    death_signal: AtomicU8,
    /// Whether it has promised never to have more rights than now.
    no_new_privileges: AtomicBool,
    /// What its threads that have ended, and its children that were waited for, have
    /// used.
    usage: SpinLock<PastUsage>,
    /// Woken when a child ends, or changes otherwise in a way that is waited for.
    pub(crate) child_events: WaitQueue,
    /// Woken when a thread has gone.
    thread_events: WaitQueue,
    /// Woken when it has become a zombie.
    pub(super) ended: WaitQueue,
}

/// What a process runs.
#[derive(Debug, Default)]
struct Program {
    running: Running,
    /// Its memory; nothing once it has ended.
    memory: Weak<AddressSpace>,
}

#[derive(Debug, Default)]
struct Threads {
    all: Vec<Arc<Thread>>,
    /// The thread that is to be the only one, and runs another program then.
    survivor: Option<Pid>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PastUsage {
    threads: Usage,
    children: Usage,
}

impl Process {
    /// Makes a process without threads.
    pub(super) fn new(id: Pid, limits: Limits, actions: Arc<Actions>) -> Self {
        Self {
            id,
            program: SpinLock::new(Program::default()),
            threads: SpinLock::new(Threads::default()),
            end: Once::new(),
            limits: SpinLock::new(limits),
            signals: ProcessSignals::new(actions),
            alarm: Timer::new(),
            cpu_alarms: Once::new(),
            death_signal: AtomicU8::new(0),
            no_new_privileges: AtomicBool::new(false),
            usage: SpinLock::new(PastUsage::default()),
            child_events: WaitQueue::new(),
            thread_events: WaitQueue::new(),
            ended: WaitQueue::new(),
        }
    }

    pub(crate) const fn id(&self) -> Pid {
        self.id
    }

    /// Returns the path of its program.
    pub(crate) fn program(&self) -> String {
        self.program.lock().running.path.clone()
    }

    /// Returns what it runs.
    pub(crate) fn running(&self) -> Running {
        self.program.lock().running.clone()
    }

    /// Returns its memory, unless it has ended.
    pub(crate) fn memory(&self) -> Option<Arc<AddressSpace>> {
        self.program.lock().memory.upgrade()
    }

    /// Says what it runs from now on.
    pub(super) fn set_program(&self, running: Running, memory: &Arc<AddressSpace>) {
        let new = Program {
            running,
            memory: Arc::downgrade(memory),
        };
        // Dropped without the lock.
        let _old = core::mem::replace(&mut *self.program.lock(), new);
    }

    pub(crate) fn death_signal(&self) -> u8 {
        // Relaxed: a number, and nothing goes with it.
        self.death_signal.load(Ordering::Relaxed)
    }

    pub(crate) fn set_death_signal(&self, signal: u8) {
        // Relaxed: as above.
        self.death_signal.store(signal, Ordering::Relaxed);
    }

    pub(crate) fn has_no_new_privileges(&self) -> bool {
        // Relaxed: as above.
        self.no_new_privileges.load(Ordering::Relaxed)
    }

    pub(crate) fn forbid_new_privileges(&self) {
        // Relaxed: as above.
        self.no_new_privileges.store(true, Ordering::Relaxed);
    }

    /// Returns its threads that have not ended.
    pub(crate) fn threads(&self) -> Vec<Arc<Thread>> {
        self.threads.lock().all.clone()
    }

    /// Returns what the process has, as long as it runs: what its first thread has.
    pub(crate) fn resources(&self) -> Option<Resources> {
        let threads = self.threads();
        threads.iter().find_map(|thread| thread.resources())
    }

    /// Takes a thread in.
    ///
    /// # Errors
    ///
    /// [`Errno::Again`] when the threads are about to end.
    pub(super) fn add_thread(&self, thread: Arc<Thread>) -> Result<(), Errno> {
        let mut threads = self.threads.lock();
        if self.end().is_some() || threads.survivor.is_some() {
            return Err(Errno::Again);
        }
        threads.all.push(thread);
        Ok(())
    }

    /// Takes a thread out, for which so much was used; returns whether it was the last
    /// one.
    pub(super) fn remove_thread(&self, thread: &Arc<Thread>, usage: Usage) -> bool {
        self.usage.lock().threads.add(usage);
        let mut threads = self.threads.lock();
        let place = threads.all.iter().position(|one| Arc::ptr_eq(one, thread));
        let removed = place.map(|place| threads.all.swap_remove(place));
        let is_last = threads.all.is_empty();
        drop(threads);
        drop(removed);
        self.thread_events.wake_all();
        is_last
    }

    /// Returns how the process is to end, if that is decided.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.get().copied()
    }

    /// Decides how it ends, unless that is decided.
    pub(super) fn set_end(&self, end: End) {
        self.end.call_once(|| end);
    }

    /// Forgets signals that wait for the process or its threads.
    pub(crate) fn forget_signals(&self, signals: SignalSet) {
        self.signals.pending.forget(signals);
        for thread in self.threads() {
            thread.signals.pending.forget(signals);
        }
    }

    /// Returns its alarm that goes by the time that it uses.
    pub(crate) fn cpu_alarm(self: &Arc<Self>, counts: Counts) -> &Arc<CpuAlarm> {
        let [user, all] = self
            .cpu_alarms
            .call_once(|| [Counts::User, Counts::All].map(|counts| CpuAlarm::new(self, counts)));
        match counts {
            Counts::User => user,
            Counts::All => all,
        }
    }

    /// Waits until the process is a zombie, or gone; returns how it ended.
    pub(super) fn wait_for_end(&self) -> End {
        self.ended.wait_until(|| {
            let table = table::lock();
            match table.get(self.id) {
                Some(record) => record.end,
                None => self.end(),
            }
        })
    }

    /// Ends all threads of the process, the calling one too: each before it enters
    /// ring 3 again. The first to say how decides.
    pub(crate) fn end_all(&self, end: End) {
        let threads = self.threads.lock();
        self.end.call_once(|| end);
        for thread in &threads.all {
            thread.call_attention();
        }
    }

    /// Ends all threads but the calling one, and waits until they are gone.
    ///
    /// # Errors
    ///
    /// [`Errno::Again`] when the thread is to end itself.
    pub(super) fn end_others(&self, survivor: &Current) -> Result<(), Errno> {
        let id = survivor.thread.id();
        {
            let mut threads = self.threads.lock();
            if self.end().is_some() || threads.survivor.is_some() {
                return Err(Errno::Again);
            }
            threads.survivor = Some(id);
            for thread in threads.all.iter().filter(|thread| thread.id() != id) {
                thread.dismiss();
            }
        }
        let is_alone = || (self.threads.lock().all.len() == 1).then_some(());
        let waited = survivor.wait_unless_ended(&self.thread_events, is_alone);
        self.threads.lock().survivor = None;
        waited
    }

    /// Returns what its threads have used so far, those that have ended included.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = self.usage.lock().threads;
        for thread in &self.threads.lock().all {
            usage.add(thread.usage());
        }
        let memory = self.memory();
        let peak = memory.map_or(0, |memory| memory.peak_pages());
        usage.peak_pages = usage.peak_pages.max(peak);
        usage
    }

    /// Returns what its children have used that were waited for.
    pub(crate) fn usage_of_children(&self) -> Usage {
        self.usage.lock().children
    }

    /// Counts what a child has used that was waited for, and what its own had used.
    pub(super) fn count_child(&self, child: &Self) {
        let (own, children) = (child.usage(), child.usage_of_children());
        let mut usage = self.usage.lock();
        usage.children.add(own);
        usage.children.add(children);
    }
}

impl Alarm for Process {
    fn timer(&self) -> &Timer {
        &self.alarm
    }

    fn ring(&self, _times: u64) {
        // A standard signal finds room always.
        let _ = signal::send_to_process(self, SigInfo::of_kernel(Signal::ALRM));
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.id)
    }
}
