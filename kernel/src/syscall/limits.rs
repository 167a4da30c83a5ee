//! Calls about what a process may have at most, and what it has used.

use alloc::sync::Arc;

use nucleus::time;

use super::SyscallResult;
use crate::errno::Errno;
use crate::process::limits::{Limit, Resource};
use crate::process::{Current, Pid, Process, table};

pub(super) fn getrlimit(current: &mut Current, resource: usize, to: usize) -> SyscallResult {
    let limit = current
        .process
        .limits
        .lock()
        .get(resource as u32 as usize)?;
    write_limit(current, to, limit)
}

pub(super) fn setrlimit(current: &mut Current, resource: usize, from: usize) -> SyscallResult {
    let limit = read_limit(current, from)?;
    let process = Arc::clone(&current.process);
    set_limit(&process, resource as u32 as usize, limit)?;
    Ok(0)
}

pub(super) fn prlimit(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    let [pid, resource, from, to] = arguments;
    let resource = resource as u32 as usize;
    let new = match from {
        0 => None,
        from => Some(read_limit(current, from)?),
    };
    let process = find_process(current, pid)?;
    let old = match new {
        Some(new) => set_limit(&process, resource, new)?,
        None => process.limits.lock().get(resource)?,
    };
    if to != 0 {
        write_limit(current, to, old)?;
    }
    Ok(0)
}

/// Finds a process by the number of one of its threads; zero is the caller's.
fn find_process(current: &Current, pid: usize) -> Result<Arc<Process>, Errno> {
    if pid as u32 == 0 {
        return Ok(Arc::clone(&current.process));
    }
    let pid = Pid::new(pid as u32 as usize).ok_or(Errno::NoProcess)?;
    let process = table::find_process(pid);
    let of_thread = || table::find_thread(pid).map(|thread| Arc::clone(thread.process()));
    process.or_else(of_thread).ok_or(Errno::NoProcess)
}

/// Sets a limit, and tells those who keep to it; returns the one before.
fn set_limit(process: &Arc<Process>, resource: usize, limit: Limit) -> Result<Limit, Errno> {
    let (old, limits) = {
        let mut limits = process.limits.lock();
        (limits.set(resource, limit)?, limits.clone())
    };
    if let Some(memory) = process.memory() {
        memory.set_limits(limits.of_memory());
    }
    if let Some(resources) = process.threads().first().and_then(|one| one.resources()) {
        let files = limits.soft(Resource::Files);
        resources
            .files
            .set_limit(usize::try_from(files).unwrap_or(usize::MAX));
    }
    if let Some(resources) = process.resources() {
        let files = usize::try_from(limits.soft(Resource::Files));
        resources.files.set_limit(files.unwrap_or(usize::MAX));
    }
    Ok(old)
}

fn read_limit(current: &Current, from: usize) -> Result<Limit, Errno> {
    let [soft, hard] = current.memory.read_value(from)?;
    Ok(Limit { soft, hard })
}

fn write_limit(current: &Current, to: usize, limit: Limit) -> SyscallResult {
    current.memory.write_value(to, &[limit.soft, limit.hard])?;
    Ok(0)
}

pub(super) fn getrusage(current: &mut Current, whose: usize, to: usize) -> SyscallResult {
    const OWN: i32 = 0;
    const CHILDREN: i32 = -1;
    const THREAD: i32 = 1;
    let usage = match whose as i32 {
        OWN => current.process.usage(),
        CHILDREN => current.process.usage_of_children(),
        THREAD => current.thread.usage(),
        _ => return Err(Errno::Invalid),
    };
    current.memory.write_bytes(to, &usage.to_bytes())?;
    Ok(0)
}

pub(super) fn times(current: &mut Current, to: usize) -> SyscallResult {
    /// What the result counts in, as `sysconf(_SC_CLK_TCK)` says.
    const NANOS_PER_TICK: u128 = 10_000_000;
    let ticks = |duration: core::time::Duration| (duration.as_nanos() / NANOS_PER_TICK) as u64;
    if to != 0 {
        let own = current.process.usage();
        let children = current.process.usage_of_children();
        let times = [own.user, own.system, children.user, children.system];
        current.memory.write_value(to, &times.map(ticks))?;
    }
    Ok(ticks(time::uptime()) as usize)
}
