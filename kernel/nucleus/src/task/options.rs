//! How a task is made.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::record::Body;
use super::{Task, roll, scheduler, stack_cache};
use crate::arch::cpu;
use crate::arch::x86_64::{context, fpu, irq};
use crate::cpu::CpuSet;
use crate::error::{Error, Result};
use crate::mm::kspace::KernelStack;
use crate::mm::{Vaddr, VmSpace};

/// What a task is to be.
pub struct TaskOptions {
    body: Body,
    affinity: CpuSet,
    stack_size: usize,
    name: &'static str,
}

impl TaskOptions {
    /// Describes a task that calls a function and then is over.
    pub fn new(body: impl FnOnce() + Send + 'static) -> Self {
        Self {
            body: Box::new(body),
            affinity: CpuSet::of_any_machine(),
            stack_size: KernelStack::DEFAULT_SIZE,
            name: "",
        }
    }

    /// Gives the task a name, where tasks are listed, of which 15 bytes are used.
    #[must_use]
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Has the task run on these processors alone; on any of them otherwise.
    #[must_use]
    pub const fn affinity(mut self, cpus: CpuSet) -> Self {
        self.affinity = cpus;
        self
    }

    /// Gives the task a stack of so many bytes, whole pages;
    /// [`KernelStack::DEFAULT_SIZE`] otherwise.
    #[must_use]
    pub const fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Makes the task; nothing of it has run yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] for its stack; [`Error::InvalidArgs`] when none of the
    /// processors is one of the machine's.
    ///
    /// # Panics
    ///
    /// Panics when the stack is not whole pages.
    pub fn build(self) -> Result<Arc<Task>> {
        if self.affinity.intersection(CpuSet::new_full()).is_empty() {
            return Err(Error::InvalidArgs);
        }
        let stack = stack_cache::take(self.stack_size)?;
        let top = stack.top();
        let task = Task::made(Some(stack), Some(self.body)).with_affinity(self.affinity);
        let mut name = [0; 16];
        let len = self.name.len().min(name.len() - 1);
        name[..len].copy_from_slice(&self.name.as_bytes()[..len]);
        task.set_name(&name);
        Ok(prepare(task, top))
    }

    /// Makes the task and has it run.
    ///
    /// # Errors
    ///
    /// As [`Self::build`].
    ///
    /// # Panics
    ///
    /// As [`Self::build`].
    pub fn spawn(self) -> Result<Arc<Task>> {
        let task = self.build()?;
        task.run();
        Ok(task)
    }
}

impl core::fmt::Debug for TaskOptions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TaskOptions")
            .field("affinity", &self.affinity)
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

/// Lays out the stack of a new task, which is empty and ends at `top`: the registers
/// of ring 3 at the very end, and the context to start with below them.
pub(super) fn prepare(task: Task, top: Vaddr) -> Arc<Task> {
    let area = top - fpu::AREA_SIZE;
    // SAFETY: The stack is mapped, new and nobody else's.
    unsafe { fpu::prepare_area(area) };
    task.user.area.set(area);
    // SAFETY: As above; the area's size keeps the alignment.
    let context = unsafe { context::prepare(area, enter) };
    task.context.set(context);
    let task = Arc::new(task);
    roll::enter(&task, Some(top));
    task
}

/// Where a task starts: after a switch, with interrupts off.
extern "C" fn enter() -> ! {
    scheduler::finish_switch();
    irq::enable();
    let body = Task::current().and_then(|task| task.body.lock().take());
    if let Some(body) = body {
        body();
    }
    VmSpace::deactivate_current();
    scheduler::end_current()
}

impl Task {
    /// Has a new task run, on the processor with the least to do of those on which it
    /// may; does nothing if it has been started already.
    pub fn run(self: &Arc<Self>) {
        if !self.state.start() {
            return;
        }
        scheduler::count_live(true);
        // It holds itself until it is buried.
        core::mem::forget(Arc::clone(self));
        self.set_last_cpu(cpu::current_id());
        scheduler::make_ready(Arc::clone(self));
    }
}
