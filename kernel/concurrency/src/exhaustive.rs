//! A scheduler that tries all schedules with few preemptions, or the first so many.
//!
//! Most bugs of concurrency need few *preemptions*: switches away from a thread
//! that could have gone on. Between them, threads run until they wait. Switching
//! away from one that waits is free, but of those that wait too, each has its turn
//! only when nobody else could go on; otherwise two could wait for a third, in
//! turn, for ever.

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

/// The state of the search: the choices of the schedule before.
#[derive(Debug)]
pub(crate) struct Exhaustive {
    max_preemptions: usize,
    /// How many schedules may still be tried.
    left: usize,
    choices: Vec<Choice>,
    /// How many choices of the present schedule were made.
    made: usize,
    preemptions: usize,
    /// Threads that waited since all of them last had a turn.
    waiting: Vec<usize>,
    is_first: bool,
}

/// One choice, of options by number.
#[derive(Debug)]
struct Choice {
    taken: usize,
    options: usize,
}

impl Exhaustive {
    pub(crate) const fn new(max_preemptions: usize, schedules: usize) -> Self {
        Self {
            max_preemptions,
            left: schedules,
            choices: Vec::new(),
            made: 0,
            preemptions: 0,
            waiting: Vec::new(),
            is_first: true,
        }
    }

    /// Chooses as before as far as that goes, and then the first option.
    fn choose(&mut self, options: usize) -> usize {
        if self.made == self.choices.len() {
            self.choices.push(Choice { taken: 0, options });
        }
        let choice = &self.choices[self.made];
        assert_eq!(choice.options, options, "a schedule could not be repeated");
        self.made += 1;
        choice.taken
    }

    /// Goes on to the next schedule; returns whether there is one.
    fn advance(&mut self) -> bool {
        while let Some(choice) = self.choices.last_mut() {
            choice.taken += 1;
            if choice.taken < choice.options {
                return true;
            }
            self.choices.pop();
        }
        false
    }
}

impl Scheduler for Exhaustive {
    fn new_execution(&mut self) -> Option<Schedule> {
        if !std::mem::take(&mut self.is_first) && !self.advance() {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        (self.made, self.preemptions) = (0, 0);
        self.waiting.clear();
        Some(Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let ids: Vec<_> = runnable.iter().map(|task| usize::from(task.id())).collect();
        let current = current.map(usize::from).filter(|id| ids.contains(id));
        let options = match current {
            Some(current) if !is_yielding => {
                let others = ids.iter().copied().filter(|id| *id != current);
                let may_preempt = self.preemptions < self.max_preemptions;
                let others = others.filter(|_| may_preempt);
                std::iter::once(current).chain(others).collect()
            }
            _ => {
                self.waiting.extend(current);
                let is_free = |id: &usize| !self.waiting.contains(id);
                let free: Vec<_> = ids.iter().copied().filter(is_free).collect();
                match free.is_empty() {
                    false => free,
                    true => {
                        self.waiting.clear();
                        ids
                    }
                }
            }
        };
        let next = options[self.choose(options.len())];
        let is_preempted = current.is_some_and(|id| !is_yielding && id != next);
        self.preemptions += usize::from(is_preempted);
        Some(TaskId::from(next))
    }

    fn next_u64(&mut self) -> u64 {
        // Who asks wants one bit.
        self.choose(2) as u64
    }
}
