//! All processes and threads, by their numbers, and who is whose child.
//!
//! ```text
//!             last thread ends            the parent waits
//!   RUNNING ──────────────────▶ ZOMBIE ────────────────────▶ (gone)
//! ```
//!
//! One lock covers the family tree: parents, children, groups, sessions and ends. It
//! is a spin lock, so that whoever waits for a child may look at the tree between
//! getting into a queue and sleeping, and so that interrupts may send signals. It is
//! taken before the locks of single processes, and nothing is woken, logged or dropped
//! that could be the last of its kind while it is held. A process that ends is a zombie, which has a number and an end and nothing else, until its parent has asked
//! for the end; a process whose parent ends first becomes a child of the first process.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use nucleus::sync::{SpinLock, SpinLockGuard};
use nucleus::task::Task;

use super::signal::Signal;
use super::wait::SIGCHLD;
use super::{End, Process, Thread};
use crate::errno::Errno;

/// The number of a process or thread, which share one sequence. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pid(u32);

impl Pid {
    /// The first process.
    pub(crate) const FIRST: Self = Self(1);
    /// The highest number, as Linux has it unless told otherwise.
    pub(crate) const MAX: u32 = 32_768;

    /// Accepts a number that a program gave.
    pub(crate) fn new(number: usize) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// Returns the number of something that has one.
    pub(super) const fn from_valid(number: u32) -> Self {
        debug_assert!(number > 0 && number <= Self::MAX);
        Self(number)
    }

    pub(crate) const fn as_u32(self) -> u32 {
        self.0
    }

    /// Returns the number as a system call returns it.
    pub(crate) const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where numbers begin again when the highest one was given, as in Linux: those below
/// are left to what was started first.
const FIRST_USED_AGAIN: u32 = 300;

/// What the family tree knows of a process.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) process: Arc<Process>,
    /// None for the first process.
    pub(crate) parent: Option<Pid>,
    pub(crate) children: Vec<Pid>,
    pub(crate) group: Pid,
    pub(crate) session: Pid,
    /// The signal by which it tells its parent of its end; zero for none.
    pub(crate) exit_signal: u8,
    /// Whether it has run a program of its own since it was made.
    pub(crate) has_executed: bool,
    /// How a zombie ended.
    pub(crate) end: Option<End>,
}

/// The family tree.
#[derive(Debug)]
pub(crate) struct Table {
    last_number: u32,
    processes: BTreeMap<Pid, Record>,
    threads: BTreeMap<Pid, Arc<Thread>>,
}

static TABLE: SpinLock<Table> = SpinLock::new(Table::new());

/// Takes the lock of the family tree.
pub(crate) fn lock() -> SpinLockGuard<'static, Table> {
    TABLE.lock()
}

/// Finds a process that has not been waited for.
pub(crate) fn find_process(pid: Pid) -> Option<Arc<Process>> {
    let table = lock();
    table.get(pid).map(|record| Arc::clone(&record.process))
}

/// Finds a thread that has not ended.
pub(crate) fn find_thread(tid: Pid) -> Option<Arc<Thread>> {
    lock().threads.get(&tid).cloned()
}

/// Returns the thread that asks, if it is one.
pub(crate) fn current_thread() -> Option<Arc<Thread>> {
    let task = Task::current()?;
    let is_task = |thread: &&Arc<Thread>| {
        let own = thread.task();
        own.is_some_and(|own| Arc::ptr_eq(own, &task))
    };
    lock().threads.values().find(is_task).cloned()
}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            last_number: 0,
            processes: BTreeMap::new(),
            threads: BTreeMap::new(),
        }
    }

    /// Takes a number that nobody has; numbers are not used again soon.
    ///
    /// # Errors
    ///
    /// [`Errno::Again`] when all are taken.
    pub(super) fn new_number(&mut self) -> Result<Pid, Errno> {
        for _ in 0..Pid::MAX {
            self.last_number = match self.last_number {
                Pid::MAX => FIRST_USED_AGAIN,
                last => last + 1,
            };
            let number = Pid(self.last_number);
            if !self.is_taken(number) {
                return Ok(number);
            }
        }
        Err(Errno::Again)
    }

    /// Takes a number that somebody has chosen.
    ///
    /// # Errors
    ///
    /// [`Errno::Exists`] when it is taken.
    pub(super) fn take_number(&self, number: Pid) -> Result<Pid, Errno> {
        match self.is_taken(number) {
            true => Err(Errno::Exists),
            false => Ok(number),
        }
    }

    /// Returns whether a number is that of a process, a thread, a group or a session.
    fn is_taken(&self, number: Pid) -> bool {
        let is_name = |record: &Record| record.group == number || record.session == number;
        self.processes.contains_key(&number)
            || self.threads.contains_key(&number)
            || self.processes.values().any(is_name)
    }

    /// Adds a process as the child of another one, in its group and session.
    pub(super) fn add_process(
        &mut self,
        process: Arc<Process>,
        parent: Option<Pid>,
        exit_signal: u8,
    ) {
        let id = process.id();
        let family = parent.and_then(|parent| self.processes.get_mut(&parent));
        let (group, session) = match family {
            Some(family) => {
                family.children.push(id);
                (family.group, family.session)
            }
            None => (id, id),
        };
        let record = Record {
            process,
            parent,
            children: Vec::new(),
            group,
            session,
            exit_signal,
            has_executed: false,
            end: None,
        };
        self.processes.insert(id, record);
    }

    pub(super) fn add_thread(&mut self, thread: Arc<Thread>) {
        self.threads.insert(thread.id(), thread);
    }

    pub(super) fn remove_thread(&mut self, id: Pid) -> Option<Arc<Thread>> {
        self.threads.remove(&id)
    }

    /// Gives the only thread of a process the number of the process, and notes that this
    /// runs a program of its own.
    pub(super) fn become_first(&mut self, thread: &Arc<Thread>) {
        let process = thread.process().id();
        if let Some(record) = self.get_mut(process) {
            record.has_executed = true;
            record.exit_signal = SIGCHLD;
        }
        if thread.id() != process {
            self.threads.remove(&thread.id());
            thread.become_first();
            self.threads.insert(process, Arc::clone(thread));
        }
    }

    /// Takes a zombie out; its number is free from here on.
    pub(super) fn remove_process(&mut self, id: Pid) -> Option<Record> {
        let record = self.processes.remove(&id)?;
        let parent = record.parent.and_then(|parent| self.get_mut(parent));
        if let Some(parent) = parent {
            parent.children.retain(|child| *child != id);
        }
        Some(record)
    }

    pub(crate) fn get(&self, id: Pid) -> Option<&Record> {
        self.processes.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: Pid) -> Option<&mut Record> {
        self.processes.get_mut(&id)
    }

    /// Returns all processes, zombies too, by their numbers.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Record> {
        self.processes.values()
    }

    /// Returns how many threads there are.
    pub(crate) fn nr_threads(&self) -> usize {
        self.threads.len()
    }

    /// Returns the number that was given out last.
    pub(crate) const fn last_number(&self) -> u32 {
        self.last_number
    }

    /// Returns the children of a process that want to be told of its end, and how.
    pub(super) fn children_with_death_signal(&self, id: Pid) -> Vec<(Arc<Process>, Signal)> {
        let children = self.get(id).map(|record| &record.children);
        let records = children.into_iter().flatten();
        let records = records.filter_map(|child| self.get(*child));
        let told = records.filter_map(|record| {
            let signal = Signal::new(record.process.death_signal().into())?;
            Some((Arc::clone(&record.process), signal))
        });
        told.collect()
    }

    /// Gives the children of a process to the first one; returns whether one of them is
    /// a zombie, about which the first one has to be told.
    pub(super) fn orphan_children(&mut self, id: Pid) -> bool {
        let children = self
            .get_mut(id)
            .map(|record| core::mem::take(&mut record.children))
            .unwrap_or_default();
        let mut has_zombie = false;
        for child in &children {
            if let Some(record) = self.get_mut(*child) {
                record.parent = Some(Pid::FIRST);
                // What was agreed with the parent is nothing to the first process.
                record.exit_signal = SIGCHLD;
                has_zombie |= record.end.is_some();
            }
        }
        if let Some(first) = self.get_mut(Pid::FIRST) {
            first.children.extend(children);
        }
        has_zombie
    }
}

#[cfg(ktest)]
#[path = "table_tests.rs"]
mod tests;
