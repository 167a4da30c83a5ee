//! A process: what its threads share, and what others know of it.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use nucleus::sync::{Once, SpinLock, WaitQueue};

use super::thread::Resources;
use super::{End, Pid, Thread, table};

/// A process.
pub(crate) struct Process {
    id: Pid,
    /// The path of its program.
    program: SpinLock<String>,
    threads: SpinLock<Vec<Arc<Thread>>>,
    /// How it is to end, from the moment when that is decided.
    end: Once<End>,
    /// Woken when a child ends, or changes otherwise in a way that is waited for.
    pub(crate) child_events: WaitQueue,
    /// Woken when it has become a zombie.
    pub(super) ended: WaitQueue,
}

impl Process {
    pub(super) fn new(id: Pid, program: &str) -> Self {
        Self {
            id,
            program: SpinLock::new(String::from(program)),
            threads: SpinLock::new(Vec::new()),
            end: Once::new(),
            child_events: WaitQueue::new(),
            ended: WaitQueue::new(),
        }
    }

    pub(crate) const fn id(&self) -> Pid {
        self.id
    }

    /// Returns the path of its program.
    pub(crate) fn program(&self) -> String {
        self.program.lock().clone()
    }

    /// Returns its threads that have not ended.
    pub(crate) fn threads(&self) -> Vec<Arc<Thread>> {
        self.threads.lock().clone()
    }

    /// Returns what the process has, as long as it runs: what its first thread has.
    pub(crate) fn resources(&self) -> Option<Resources> {
        let threads = self.threads();
        threads.iter().find_map(|thread| thread.resources())
    }

    pub(super) fn add_thread(&self, thread: Arc<Thread>) {
        self.threads.lock().push(thread);
    }

    /// Takes a thread out; returns whether it was the last one.
    pub(super) fn remove_thread(&self, id: Pid) -> bool {
        let mut threads = self.threads.lock();
        threads.retain(|thread| thread.id() != id);
        threads.is_empty()
    }

    /// Returns how the process is to end, if that is decided.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.get().copied()
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
        self.end.call_once(|| end);
        for thread in self.threads() {
            thread.call_attention();
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.id)
    }
}
