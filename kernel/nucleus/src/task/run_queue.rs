//! The ready tasks of a processor, and the policy of which task runs where.
//!
//! The policy is round-robin: a processor runs its tasks in the order in which they
//! became ready, each for a time slice. A task that becomes ready goes to the
//! processor that has the least to do, of those that it may run on; where it ran last
//! if that is one of them, since its data may be in the caches there. A processor
//! without work takes from the one that has the most ready tasks.

use alloc::sync::Arc;

use super::Task;
use super::list::{RUN_LINK, TaskList};
use crate::cpu::{CpuId, CpuSet};

/// The ready tasks of a processor.
#[derive(Debug)]
pub(crate) struct RunQueue(TaskList<RUN_LINK>);

impl RunQueue {
    pub(crate) const fn new() -> Self {
        Self(TaskList::new())
    }

    /// Returns how many tasks are ready.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a task that is ready.
    pub(crate) fn push(&mut self, task: Arc<Task>) {
        self.0.push(task);
    }

    /// Takes the task whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Arc<Task>> {
        self.0.pop()
    }

    /// Takes the first task that may run on another processor.
    pub(crate) fn steal(&mut self, thief: CpuId) -> Option<Arc<Task>> {
        self.0.take(|task| task.affinity().contains(thief))
    }

    /// Takes a task out if it is there; returns whether it was.
    pub(crate) fn remove(&mut self, task: &Task) -> bool {
        self.0.take(|one| core::ptr::eq(one, task)).is_some()
    }
}

/// Returns the processor with the least to do, of those allowed: `last` if none has
/// less than it, and then the first; `last` if none is allowed.
pub(crate) fn least_loaded(allowed: CpuSet, last: CpuId, load: impl Fn(CpuId) -> usize) -> CpuId {
    let key = |cpu: &CpuId| (load(*cpu), *cpu != last);
    allowed.iter().min_by_key(key).unwrap_or(last)
}

/// Returns the processor with the most ready tasks, if any but `thief` has one.
pub(crate) fn most_loaded(
    thief: CpuId,
    cpus: CpuSet,
    nr_ready: impl Fn(CpuId) -> usize,
) -> Option<CpuId> {
    let others = cpus.iter().filter(|cpu| *cpu != thief);
    let busy = others.filter(|cpu| nr_ready(*cpu) > 0);
    busy.max_by_key(|cpu| nr_ready(*cpu))
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::sync::Arc;

    use super::{CpuId, CpuSet, RunQueue, Task, least_loaded, most_loaded};
    use crate::prelude::*;

    fn set(cpus: &[usize]) -> CpuSet {
        let mut set = CpuSet::new_empty();
        cpus.iter().for_each(|cpu| set.add(CpuId::new(*cpu)));
        set
    }

    fn task(affinity: &[usize]) -> Arc<Task> {
        Arc::new(Task::without_stack().with_affinity(set(affinity)))
    }

    #[ktest]
    fn thief_takes_the_first_task_that_it_may_run_and_no_other() {
        let (here, both) = (task(&[0]), task(&[0, 1]));
        let mut queue = RunQueue::new();
        queue.push(Arc::clone(&here));
        queue.push(Arc::clone(&both));
        let stolen = queue.steal(CpuId::new(1)).expect("one may run there");
        assert!(Arc::ptr_eq(&stolen, &both));
        assert!(queue.steal(CpuId::new(1)).is_none());
        assert!(Arc::ptr_eq(&queue.pop().expect("one is left"), &here));
        assert_eq!(queue.len(), 0);
    }

    #[ktest]
    fn task_is_removed_where_it_is_and_nowhere_else() {
        let (one, other) = (task(&[0]), task(&[0]));
        let mut queue = RunQueue::new();
        queue.push(Arc::clone(&one));
        assert!(!queue.remove(&other));
        assert!(queue.remove(&one) && queue.len() == 0);
    }

    #[ktest]
    fn new_work_goes_where_there_is_the_least_of_it() {
        let loads = [2, 1, 0, 1];
        let load = |cpu: CpuId| loads[cpu.as_usize()];
        let choose =
            |allowed: &[usize], last| least_loaded(set(allowed), CpuId::new(last), load).as_usize();
        assert_eq!(choose(&[0, 1, 2, 3], 0), 2);
        assert_eq!(choose(&[0, 1, 3], 3), 3, "its caches are warm");
        assert_eq!(choose(&[0, 1, 3], 0), 1);
        assert_eq!(choose(&[0], 3), 0, "it may run nowhere else");
    }

    #[ktest]
    fn thief_goes_where_there_is_the_most_and_never_to_itself() {
        let ready = [3, 1, 2];
        let nr_ready = |cpu: CpuId| ready[cpu.as_usize()];
        let from = |thief| most_loaded(CpuId::new(thief), set(&[0, 1, 2]), nr_ready);
        assert_eq!(from(1), Some(CpuId::new(0)));
        assert_eq!(from(0), Some(CpuId::new(2)));
        assert_eq!(most_loaded(CpuId::new(1), set(&[0, 1]), |_| 0), None);
    }
}
