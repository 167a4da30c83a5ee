//! Lists of tasks that need no memory of their own: first in, first out.
//!
//! Each task has a link for either kind of list, and is in one list of a kind at
//! most. A list counts as one holder of each of its tasks. It is always behind a
//! lock, and whoever holds that lock may use the links of the tasks in it.

use alloc::sync::Arc;
use core::cell::Cell;
use core::ptr;

use super::Task;

/// The link of a task that is ready, or over.
pub(crate) const RUN_LINK: usize = 0;
/// The link of a task that waits for something.
pub(crate) const WAIT_LINK: usize = 1;
/// The link of a task that is to be woken at some time.
pub(super) const TIMER_LINK: usize = 2;
/// How many links a task has.
pub(super) const NR_LINKS: usize = 3;

/// Leads from a task to the next one of a list.
#[derive(Default)]
pub(super) struct Link(Cell<Next>);

#[derive(Default)]
enum Next {
    /// The task is in no list.
    #[default]
    Free,
    /// It is the last one.
    Last,
    Task(Arc<Task>),
}

/// A list by one of the links.
#[derive(Debug)]
pub(crate) struct TaskList<const LINK: usize> {
    first: Option<Arc<Task>>,
    /// The last one, which the list holds by way of the first.
    last: *const Task,
    len: usize,
}

// SAFETY: The pointer is to a task that the list itself holds, and tasks are `Sync`.
unsafe impl<const LINK: usize> Send for TaskList<LINK> {}

impl<const LINK: usize> TaskList<LINK> {
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            last: ptr::null(),
            len: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a task at the end.
    ///
    /// # Panics
    ///
    /// Panics when the task is in a list of the kind.
    pub(crate) fn push(&mut self, task: Arc<Task>) {
        let was = task.links[LINK].0.replace(Next::Last);
        assert!(matches!(was, Next::Free), "{task:?} is in a list already");
        let new_last = Arc::as_ptr(&task);
        // SAFETY: Null, or the last task of the list, which holds it.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.links[LINK].0.set(Next::Task(task)),
            None => self.first = Some(task),
        }
        self.last = new_last;
        self.len += 1;
    }

    /// Takes the first task.
    pub(crate) fn pop(&mut self) -> Option<Arc<Task>> {
        let task = self.first.take()?;
        self.len -= 1;
        match task.links[LINK].0.take() {
            Next::Task(next) => self.first = Some(next),
            Next::Last => self.last = ptr::null(),
            Next::Free => unreachable!("{task:?} is in a list and knows nothing of it"),
        }
        Some(task)
    }

    /// Takes the first task that is wanted. Goes through the whole list, once.
    pub(crate) fn take(&mut self, mut is_wanted: impl FnMut(&Task) -> bool) -> Option<Arc<Task>> {
        let mut found = None;
        for _ in 0..self.len {
            let task = self.pop()?;
            if found.is_none() && is_wanted(&task) {
                found = Some(task);
            } else {
                self.push(task);
            }
        }
        found
    }
}

#[cfg(any(test, ktest))]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    use super::{RUN_LINK, Task, TaskList, WAIT_LINK};
    use crate::prelude::*;

    fn tasks<const N: usize>() -> [Arc<Task>; N] {
        core::array::from_fn(|_| Arc::new(Task::without_stack()))
    }

    fn order<const LINK: usize>(list: &mut TaskList<LINK>, of: &[Arc<Task>]) -> Vec<usize> {
        let index = |task: Arc<Task>| of.iter().position(|one| Arc::ptr_eq(one, &task));
        core::iter::from_fn(|| list.pop())
            .filter_map(index)
            .collect()
    }

    #[ktest]
    fn first_in_is_first_out() {
        let tasks = tasks::<3>();
        let mut list = TaskList::<RUN_LINK>::new();
        for round in 0..2 {
            tasks.iter().for_each(|task| list.push(Arc::clone(task)));
            assert_eq!(list.len(), 3, "in round {round}");
            assert_eq!(order(&mut list, &tasks), [0, 1, 2]);
        }
        assert_eq!(Arc::strong_count(&tasks[0]), 1);
    }

    #[ktest]
    fn taking_one_leaves_the_others_in_order() {
        let tasks = tasks::<4>();
        for wanted in 0..4 {
            let mut list = TaskList::<RUN_LINK>::new();
            tasks.iter().for_each(|task| list.push(Arc::clone(task)));
            let taken = list.take(|task| core::ptr::eq(task, &raw const *tasks[wanted]));
            assert!(taken.is_some_and(|task| Arc::ptr_eq(&task, &tasks[wanted])));
            let rest: Vec<_> = (0..4).filter(|index| *index != wanted).collect();
            assert_eq!(order(&mut list, &tasks), rest);
        }
    }

    #[ktest]
    fn task_may_be_in_one_list_of_each_kind() {
        let [task] = tasks();
        let mut ready = TaskList::<RUN_LINK>::new();
        let mut waiting = TaskList::<WAIT_LINK>::new();
        ready.push(Arc::clone(&task));
        waiting.push(Arc::clone(&task));
        assert!(ready.pop().is_some() && waiting.pop().is_some());
    }

    #[ktest]
    #[should_panic(expected = "in a list already")]
    fn task_is_in_one_list_of_a_kind_at_most() {
        let [task] = tasks();
        let (mut one, mut other) = (TaskList::<RUN_LINK>::new(), TaskList::<RUN_LINK>::new());
        one.push(Arc::clone(&task));
        other.push(task);
    }
}
