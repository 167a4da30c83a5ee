//! Calls about who a process is: numbers, groups, sessions, users.
//!
//! There is one user, who may do everything, and one group of users, both with the
//! number zero. Another number is answered as Linux answers one that its namespace of
//! users does not have.

use super::SyscallResult;
use crate::errno::Errno;
use crate::process::table::{self, Record, Table};
use crate::process::{Current, Pid};

pub(super) fn getppid(current: &Current) -> SyscallResult {
    let table = table::lock();
    let own = table.get(current.process.id());
    // The first process has no parent.
    let parent = own.and_then(|own| own.parent);
    Ok(parent.map_or(0, Pid::as_usize))
}

/// Finds the process that a call means: zero is the caller's.
fn meant(current: &Current, pid: usize) -> Result<Pid, Errno> {
    match pid as i32 {
        0 => Ok(current.process.id()),
        pid => Pid::new(pid as usize).ok_or(Errno::NoProcess),
    }
}

pub(super) fn getpgid(current: &Current, pid: usize) -> SyscallResult {
    let pid = meant(current, pid)?;
    let table = table::lock();
    let record = table.get(pid).ok_or(Errno::NoProcess)?;
    Ok(record.group.as_usize())
}

pub(super) fn getsid(current: &Current, pid: usize) -> SyscallResult {
    let pid = meant(current, pid)?;
    let table = table::lock();
    let record = table.get(pid).ok_or(Errno::NoProcess)?;
    Ok(record.session.as_usize())
}

/// Moves the process, or a child of it that runs no program of its own yet, to another
/// group of its session.
pub(super) fn setpgid(current: &Current, pid: usize, group: usize) -> SyscallResult {
    if (group as i32) < 0 {
        return Err(Errno::Invalid);
    }
    let own = current.process.id();
    let pid = meant(current, pid)?;
    let group = match group as i32 {
        0 => pid,
        group => Pid::new(group as usize).ok_or(Errno::NotPermitted)?,
    };
    let mut table = table::lock();
    check_move(&table, own, pid)?;
    let session = table.get(pid).map(|record| record.session);
    let is_member = |record: &Record| record.group == group && Some(record.session) == session;
    if group != pid && !table.processes().any(is_member) {
        return Err(Errno::NotPermitted);
    }
    if let Some(record) = table.get_mut(pid) {
        record.group = group;
    }
    Ok(0)
}

/// Checks in Linux's order whether a process may move another one, or itself.
fn check_move(table: &Table, own: Pid, pid: Pid) -> Result<(), Errno> {
    let record = table.get(pid).ok_or(Errno::NoProcess)?;
    let own_session = table.get(own).map(|record| record.session);
    if record.parent == Some(own) {
        if own_session != Some(record.session) {
            return Err(Errno::NotPermitted);
        }
        if record.has_executed {
            return Err(Errno::Access);
        }
    } else if pid != own {
        return Err(Errno::NoProcess);
    }
    if record.session == pid {
        return Err(Errno::NotPermitted);
    }
    Ok(())
}

/// Makes the process the first one of a group and a session.
pub(super) fn setsid(current: &Current) -> SyscallResult {
    let own = current.process.id();
    let mut table = table::lock();
    let is_taken = table
        .processes()
        .any(|record| record.group == own || record.session == own);
    if is_taken {
        return Err(Errno::NotPermitted);
    }
    if let Some(record) = table.get_mut(own) {
        (record.group, record.session) = (own, own);
    }
    Ok(own.as_usize())
}

/// Accepts the numbers of users or groups that a process wants to have: those that are
/// minus one stay as they are.
pub(super) fn set_ids(ids: &[usize]) -> SyscallResult {
    match ids.iter().all(|id| matches!(*id as i32, 0 | -1)) {
        true => Ok(0),
        false => Err(Errno::Invalid),
    }
}

/// Accepts the number of a user or group, which has to be one.
pub(super) fn set_id(id: usize) -> SyscallResult {
    match id as u32 {
        0 => Ok(0),
        _ => Err(Errno::Invalid),
    }
}

/// Writes the real, the effective and the saved number.
pub(super) fn get_ids(current: &Current, to: [usize; 3]) -> SyscallResult {
    for address in to {
        current.memory.write_value(address, &0_u32)?;
    }
    Ok(0)
}

/// There are no groups beside the one.
pub(super) fn getgroups(size: usize) -> SyscallResult {
    match size as i32 {
        0.. => Ok(0),
        _ => Err(Errno::Invalid),
    }
}

pub(super) fn setgroups(current: &Current, size: usize, list: usize) -> SyscallResult {
    const MOST: usize = 65_536;
    let size = size as u32 as usize;
    if size > MOST {
        return Err(Errno::Invalid);
    }
    for index in 0..size {
        let address = list.checked_add(index * size_of::<u32>());
        let group: u32 = current.memory.read_value(address.ok_or(Errno::Fault)?)?;
        set_id(group as usize)?;
    }
    Ok(0)
}
