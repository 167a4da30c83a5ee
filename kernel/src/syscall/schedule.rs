//! Calls about which thread runs where and when.
//!
//! Threads take turns, and none comes before another. So policies and priorities can be
//! asked for, and set to what they are.

use alloc::sync::Arc;

use nucleus::cpu::{self, CpuId, CpuSet};
use nucleus::task::Task;

use super::SyscallResult;
use crate::errno::Errno;
use crate::process::{Current, Pid, Thread, table};

/// Bytes of a set of processors: enough for all.
const SET_SIZE: usize = size_of::<u64>();

/// The policies that there are: `SCHED_OTHER` and, no different here, `SCHED_BATCH` and
/// `SCHED_IDLE`; and those that need a right that nobody has.
const OTHER: i32 = 0;
const BATCH: i32 = 3;
const IDLE: i32 = 5;
const FIFO: i32 = 1;
const ROUND_ROBIN: i32 = 2;
/// Added to a policy: children start without it.
const RESET_ON_FORK: i32 = 0x4000_0000;

pub(super) fn sched_yield() -> SyscallResult {
    Task::yield_now();
    Ok(0)
}

/// Finds a thread; zero is the caller.
fn find(current: &Current, tid: usize) -> Result<Arc<Thread>, Errno> {
    match tid as i32 {
        0 => Ok(Arc::clone(&current.thread)),
        tid => Pid::new(tid as usize)
            .and_then(table::find_thread)
            .ok_or(Errno::NoProcess),
    }
}

pub(super) fn sched_getaffinity(
    current: &mut Current,
    tid: usize,
    len: usize,
    to: usize,
) -> SyscallResult {
    let len = len as u32 as usize;
    if len.saturating_mul(8) < cpu::num_cpus() || !len.is_multiple_of(SET_SIZE) {
        return Err(Errno::Invalid);
    }
    let thread = find(current, tid)?;
    let allowed = thread.task().map(|task| task.affinity());
    let cpus = CpuSet::new_full().iter();
    let mask = cpus
        .filter(|cpu| allowed.is_none_or(|allowed| allowed.contains(*cpu)))
        .fold(0_u64, |mask, cpu| mask | 1 << cpu.as_usize());
    current.memory.write_value(to, &mask)?;
    Ok(SET_SIZE)
}

pub(super) fn sched_setaffinity(
    current: &mut Current,
    tid: usize,
    len: usize,
    from: usize,
) -> SyscallResult {
    let mut bytes = [0; SET_SIZE];
    let len = (len as u32 as usize).min(SET_SIZE);
    current.memory.read_bytes(from, &mut bytes[..len])?;
    let thread = find(current, tid)?;
    let mask = u64::from_le_bytes(bytes);
    let is_wanted = |cpu: &CpuId| mask & 1 << cpu.as_usize() != 0;
    let mut cpus = CpuSet::new_empty();
    CpuSet::new_full()
        .iter()
        .filter(is_wanted)
        .for_each(|cpu| cpus.add(cpu));
    if cpus.is_empty() {
        return Err(Errno::Invalid);
    }
    if let Some(task) = thread.task() {
        task.set_affinity(cpus)?;
    }
    Ok(0)
}

pub(super) fn getcpu(current: &mut Current, cpu_to: usize, node_to: usize) -> SyscallResult {
    let cpu = CpuId::current(&cpu::disable_preempt()).as_usize() as u32;
    if cpu_to != 0 {
        current.memory.write_value(cpu_to, &cpu)?;
    }
    if node_to != 0 {
        current.memory.write_value(node_to, &0_u32)?;
    }
    Ok(0)
}

/// Checks that the number is not negative, and the thread exists, in this order.
fn check(current: &Current, tid: usize) -> Result<(), Errno> {
    if (tid as i32) < 0 {
        return Err(Errno::Invalid);
    }
    find(current, tid).map(|_| ())
}

pub(super) fn sched_getscheduler(current: &Current, tid: usize) -> SyscallResult {
    check(current, tid)?;
    Ok(OTHER as usize)
}

pub(super) fn sched_setscheduler(
    current: &Current,
    tid: usize,
    policy: usize,
    from: usize,
) -> SyscallResult {
    let policy = policy as i32;
    if policy < 0 {
        return Err(Errno::Invalid);
    }
    set_priority(current, tid, policy & !RESET_ON_FORK, from)
}

pub(super) fn sched_setparam(current: &Current, tid: usize, from: usize) -> SyscallResult {
    set_priority(current, tid, OTHER, from)
}

fn set_priority(current: &Current, tid: usize, policy: i32, from: usize) -> SyscallResult {
    if from == 0 || (tid as i32) < 0 {
        return Err(Errno::Invalid);
    }
    let priority: i32 = current.memory.read_value(from)?;
    check(current, tid)?;
    match (policy, priority) {
        (OTHER | BATCH | IDLE, 0) => Ok(0),
        (FIFO | ROUND_ROBIN, 1..=99) => Err(Errno::NotPermitted),
        _ => Err(Errno::Invalid),
    }
}

pub(super) fn sched_getparam(current: &Current, tid: usize, to: usize) -> SyscallResult {
    if to == 0 {
        return Err(Errno::Invalid);
    }
    check(current, tid)?;
    current.memory.write_value(to, &0_i32)?;
    Ok(0)
}

/// Returns the lowest and the highest priority of a policy.
pub(super) fn priorities(policy: usize) -> Result<(usize, usize), Errno> {
    const DEADLINE: i32 = 6;
    match policy as i32 {
        OTHER | BATCH | IDLE | DEADLINE => Ok((0, 0)),
        FIFO | ROUND_ROBIN => Ok((1, 99)),
        _ => Err(Errno::Invalid),
    }
}

/// Whose priority is asked for (`getpriority(2)`).
fn check_whose(current: &Current, kind: usize, whose: usize) -> Result<(), Errno> {
    const PROCESS: i32 = 0;
    const GROUP: i32 = 1;
    const USER: i32 = 2;
    let is_there = match (kind as i32, whose as i32) {
        (PROCESS, _) => find(current, whose).is_ok(),
        (GROUP, 0) | (USER, 0) => true,
        (GROUP, group) => {
            let group = Pid::new(group as usize);
            let is_member = |record: &table::Record| Some(record.group) == group;
            table::lock().processes().any(is_member)
        }
        (USER, _) => false,
        _ => return Err(Errno::Invalid),
    };
    if is_there {
        Ok(())
    } else {
        Err(Errno::NoProcess)
    }
}

pub(super) fn getpriority(current: &Current, kind: usize, whose: usize) -> SyscallResult {
    /// What is returned for the middle one, since negative results are errors.
    const MIDDLE: usize = 20;
    check_whose(current, kind, whose)?;
    Ok(MIDDLE)
}

/// All threads stay alike, whatever is said.
pub(super) fn setpriority(current: &Current, kind: usize, whose: usize) -> SyscallResult {
    check_whose(current, kind, whose)?;
    Ok(0)
}
