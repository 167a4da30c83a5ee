//! Calls about processes and threads: how they are made, run programs, end, and are
//! waited for.

use alloc::format;
use core::sync::atomic::Ordering;

use super::file::attributes::find_by_path;
use super::file::user::{is_current_directory, read_path, read_path_or_nothing};
use super::{Arguments, SyscallResult};
use crate::errno::Errno;
use crate::fs::node::Node;
use crate::process::clone::{self, CloneFlags, Request};
use crate::process::futex::robust;
use crate::process::usage::RUSAGE_SIZE;
use crate::process::wait::{self, ChildEvent, Found, SIGCHLD, WaitOptions, Whom};
use crate::process::{self, Current, End, Pid, ProgramFile, exec, table};

/// The part of `clone`'s flags that is a signal.
const SIGNAL_MASK: usize = 0xff;
/// The highest number of a signal.
const MAX_SIGNAL: u64 = 64;

pub(super) fn fork(current: &mut Current) -> SyscallResult {
    make(current, CloneFlags::empty())
}

pub(super) fn vfork(current: &mut Current) -> SyscallResult {
    make(current, CloneFlags::VFORK | CloneFlags::MEMORY)
}

fn make(current: &mut Current, flags: CloneFlags) -> SyscallResult {
    let request = Request {
        flags,
        exit_signal: SIGCHLD,
        stack_pointer: None,
        parent_tid: 0,
        child_tid: 0,
        tls: 0,
        number: None,
    };
    Ok(clone::clone(current, &request)?.as_usize())
}

pub(super) fn clone(current: &mut Current, arguments: Arguments) -> SyscallResult {
    const LEGACY: usize = 0xffff_ffff;
    let [flags, stack_pointer, parent_tid, child_tid, tls, _] = arguments;
    let request = Request {
        flags: CloneFlags::from_bits_retain((flags & LEGACY & !SIGNAL_MASK) as u64),
        exit_signal: (flags & SIGNAL_MASK) as u8,
        stack_pointer: (stack_pointer != 0).then_some(stack_pointer),
        parent_tid,
        child_tid,
        tls,
        number: None,
    };
    Ok(clone::clone(current, &request)?.as_usize())
}

/// The fields of `struct clone_args` by their places, and how many there are in the
/// first version and in the last one that is known.
mod field {
    pub(super) const FLAGS: usize = 0;
    pub(super) const CHILD_TID: usize = 2;
    pub(super) const PARENT_TID: usize = 3;
    pub(super) const EXIT_SIGNAL: usize = 4;
    pub(super) const STACK: usize = 5;
    pub(super) const STACK_SIZE: usize = 6;
    pub(super) const TLS: usize = 7;
    pub(super) const SET_TID: usize = 8;
    pub(super) const SET_TID_SIZE: usize = 9;
    pub(super) const FIRST_VERSION: usize = 8;
    pub(super) const COUNT: usize = 11;
}

pub(super) fn clone3(current: &mut Current, address: usize, size: usize) -> SyscallResult {
    let fields = read_clone_fields(current, address, size)?;
    let request = check_clone_fields(current, &fields)?;
    Ok(clone::clone(current, &request)?.as_usize())
}

/// Reads a structure of any version: what is not there is zero, and what is not known
/// has to be.
fn read_clone_fields(
    current: &Current,
    address: usize,
    size: usize,
) -> Result<[u64; field::COUNT], Errno> {
    const WORD: usize = size_of::<u64>();
    if size > nucleus::mm::PAGE_SIZE {
        return Err(Errno::TooBig);
    }
    if size < field::FIRST_VERSION * WORD {
        return Err(Errno::Invalid);
    }
    let mut bytes = [0; field::COUNT * WORD];
    let known = size.min(bytes.len());
    let mut at = address.checked_add(known).ok_or(Errno::Fault)?;
    let end = address.checked_add(size).ok_or(Errno::Fault)?;
    while at < end {
        if current.memory.read_value::<u8>(at)? != 0 {
            return Err(Errno::TooBig);
        }
        at += 1;
    }
    current.memory.read_bytes(address, &mut bytes[..known])?;
    let (words, _) = bytes.as_chunks::<WORD>();
    Ok(core::array::from_fn(|index| {
        u64::from_le_bytes(words[index])
    }))
}

/// Accepts the fields in Linux's order of complaints.
fn check_clone_fields(current: &Current, fields: &[u64; field::COUNT]) -> Result<Request, Errno> {
    /// Numbers that may be given: one for each namespace that a process is in, of which
    /// there is one; so many would be too many in any case.
    const MAX_NUMBERS: usize = 32;
    const KNOWN_FLAGS: u64 = 0x1_ffff_ffff;
    let word = |index: usize| fields[index] as usize;
    let (numbers, count) = (word(field::SET_TID), word(field::SET_TID_SIZE));
    let exit_signal = fields[field::EXIT_SIGNAL];
    if count > MAX_NUMBERS || (numbers == 0) != (count == 0) || exit_signal > MAX_SIGNAL {
        return Err(Errno::Invalid);
    }
    let number = match count {
        0 => None,
        _ => Some(current.memory.read_value::<u32>(numbers)?),
    };
    let bits = fields[field::FLAGS];
    let flags = CloneFlags::from_bits_retain(bits);
    let needs_no_signal = flags.intersects(CloneFlags::THREAD | CloneFlags::PARENT);
    let (stack, stack_size) = (word(field::STACK), word(field::STACK_SIZE));
    let stack_end = stack.checked_add(stack_size);
    let is_odd_stack = (stack == 0) != (stack_size == 0)
        || stack_end.is_none_or(|end| end > nucleus::mm::USER_END);
    if bits & !KNOWN_FLAGS != 0
        || bits & SIGNAL_MASK as u64 != 0
        || flags.contains(CloneFlags::DETACHED)
        || flags.contains(CloneFlags::ACTIONS | CloneFlags::NO_HANDLERS)
        || needs_no_signal && exit_signal != 0
        || is_odd_stack
        || count > 1
    {
        return Err(Errno::Invalid);
    }
    let number = match number {
        Some(number) => Some(Pid::new(number as usize).ok_or(Errno::Invalid)?),
        None => None,
    };
    Ok(Request {
        flags,
        exit_signal: exit_signal as u8,
        stack_pointer: stack_end.filter(|_| stack != 0),
        parent_tid: word(field::PARENT_TID),
        child_tid: word(field::CHILD_TID),
        tls: word(field::TLS),
        number,
    })
}

pub(super) fn execve(
    current: &mut Current,
    path: usize,
    arguments: usize,
    environment: usize,
) -> SyscallResult {
    let path = read_path(current, path)?;
    let arguments = read_arguments(current, arguments, environment)?;
    let file = ProgramFile::open(&current.fs, &path)?;
    exec::exec(current, file, arguments)?;
    Ok(0)
}

/// Runs a program that is named relative to a directory, or is an open file.
pub(super) fn execveat(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    const EMPTY_PATH: usize = 0x1000;
    const NO_FOLLOW: usize = 0x100;
    let [directory, path, arguments, environment, flags] = arguments;
    let path = read_path_or_nothing(current, path)?;
    if path.is_empty() && flags & EMPTY_PATH == 0 {
        return Err(Errno::NoEntry);
    }
    let arguments = read_arguments(current, arguments, environment)?;
    if flags & !(EMPTY_PATH | NO_FOLLOW) != 0 {
        return Err(Errno::Invalid);
    }
    let location = find_by_path(current, directory, &path, flags)?;
    if matches!(location.node, Node::Link(_)) {
        return Err(Errno::TooManyLinks);
    }
    // What the program is told that it is called, as in Linux.
    let shown = match (&path[..], directory as i32) {
        ([b'/', ..], _) => path,
        _ if is_current_directory(directory) => path,
        ([], descriptor) => format!("/dev/fd/{descriptor}").into_bytes(),
        (path, descriptor) => [format!("/dev/fd/{descriptor}/").as_bytes(), path].concat(),
    };
    let file = ProgramFile::at(location, &shown)?;
    exec::exec(current, file, arguments)?;
    Ok(0)
}

fn read_arguments(
    current: &Current,
    arguments: usize,
    environment: usize,
) -> Result<process::Arguments, Errno> {
    let limits = current.process.limits.lock().clone();
    process::Arguments::read(&current.memory, arguments, environment, &limits)
}

pub(super) fn exit(current: &mut Current, status: usize) -> SyscallResult {
    current.end(End::Exited(status as u8));
    Ok(0)
}

pub(super) fn exit_group(current: &mut Current, status: usize) -> SyscallResult {
    current.process.end_all(End::Exited(status as u8));
    Ok(0)
}

pub(super) fn wait4(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    const ALLOWED: WaitOptions = WaitOptions::LEAVE.union(WaitOptions::ENDED).complement();
    let [whom, status_to, options, usage_to] = arguments;
    let options = WaitOptions::from_bits(options as u32)
        .filter(|options| ALLOWED.contains(*options))
        .ok_or(Errno::Invalid)?;
    let whom = match whom as i32 {
        i32::MIN => return Err(Errno::NoProcess),
        -1 => Whom::Anyone,
        0 => Whom::Group(own_group(current)),
        pid => {
            let number = Pid::new(pid.unsigned_abs() as usize);
            number.map_or(
                Whom::Nobody,
                if pid > 0 { Whom::Process } else { Whom::Group },
            )
        }
    };
    let Some(found) = wait::wait(current, whom, options | WaitOptions::ENDED)? else {
        return Ok(0);
    };
    if status_to != 0 {
        let status = found.event.status();
        current.memory.write_value(status_to, &status)?;
    }
    write_usage(current, usage_to, &found)?;
    Ok(found.child.as_usize())
}

pub(super) fn waitid(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    let [kind, whom, info_to, options, usage_to] = arguments;
    let found = wait_for_id(current, kind as u32, whom as i32, options as u32);
    if let Ok(Some(found)) = &found {
        write_usage(current, usage_to, found)?;
    }
    if info_to != 0 {
        let found = found.as_ref().ok().and_then(Option::as_ref);
        write_info(current, info_to, found)?;
    }
    found.map(|_| 0)
}

fn wait_for_id(
    current: &Current,
    kind: u32,
    whom: i32,
    options: u32,
) -> Result<Option<Found>, Errno> {
    const ALL: u32 = 0;
    const PROCESS: u32 = 1;
    const GROUP: u32 = 2;
    const DESCRIPTOR: u32 = 3;
    const EVENTS: WaitOptions = WaitOptions::STOPPED
        .union(WaitOptions::ENDED)
        .union(WaitOptions::CONTINUED);
    let options = WaitOptions::from_bits(options)
        .filter(|options| options.intersects(EVENTS))
        .ok_or(Errno::Invalid)?;
    let number = Pid::new(whom as usize);
    let whom = match (kind, whom) {
        (ALL, _) => Whom::Anyone,
        (PROCESS, 1..) => number.map_or(Whom::Nobody, Whom::Process),
        (GROUP, 0) => Whom::Group(own_group(current)),
        (GROUP, 1..) => number.map_or(Whom::Nobody, Whom::Group),
        // No descriptor stands for a process.
        (DESCRIPTOR, 0..) => return Err(Errno::BadFile),
        _ => return Err(Errno::Invalid),
    };
    wait::wait(current, whom, options)
}

fn own_group(current: &Current) -> Pid {
    let own = current.process.id();
    table::lock().get(own).map_or(own, |record| record.group)
}

fn write_usage(current: &Current, to: usize, found: &Found) -> Result<(), Errno> {
    if to == 0 {
        return Ok(());
    }
    let bytes: [u8; RUSAGE_SIZE] = found.usage.to_bytes();
    current.memory.write_bytes(to, &bytes)
}

/// Writes the fields of a `siginfo_t` that `waitid` fills in; zeros if nobody was found.
fn write_info(current: &Current, to: usize, found: Option<&Found>) -> Result<(), Errno> {
    const SECOND_PART: usize = 16;
    let [signal, code, pid, status] = match found {
        Some(found) => {
            let (code, status) = ChildEvent::code_and_status(found.event);
            [SIGCHLD.into(), code, found.child.as_u32(), status]
        }
        None => [0; 4],
    };
    let (error, uid) = (0, 0);
    let second = to.checked_add(SECOND_PART).ok_or(Errno::Fault)?;
    current.memory.write_value(to, &[signal, error, code])?;
    current.memory.write_value(second, &[pid, uid, status])
}

pub(super) fn arch_prctl(current: &mut Current, code: usize, address: usize) -> SyscallResult {
    const SET_GS: usize = 0x1001;
    const SET_FS: usize = 0x1002;
    const GET_FS: usize = 0x1003;
    const GET_GS: usize = 0x1004;
    let context = current.user.context_mut();
    match code {
        // Linux's answer to an address that is not the user's (peer 91).
        SET_FS => context
            .set_fs_base(address)
            .map_err(|_| Errno::NotPermitted)?,
        SET_GS => context
            .set_gs_base(address)
            .map_err(|_| Errno::NotPermitted)?,
        GET_FS | GET_GS => {
            let base = match code {
                GET_FS => context.fs_base(),
                _ => context.gs_base(),
            };
            current.memory.write_value(address, &base)?;
        }
        _ => return Err(Errno::Invalid),
    }
    Ok(0)
}

/// Says where zero is to be written when the thread ends.
pub(super) fn set_tid_address(current: &Current, address: usize) -> usize {
    let thread = &current.thread;
    // Relaxed: for the thread itself.
    thread.clear_on_exit.store(address, Ordering::Relaxed);
    thread.id().as_usize()
}

/// Says where the list of the locks is that the thread holds.
pub(super) fn set_robust_list(current: &Current, head: usize, len: usize) -> SyscallResult {
    if len != robust::HEAD_SIZE {
        return Err(Errno::Invalid);
    }
    // Relaxed: for the thread itself, or those who merely ask.
    current.thread.robust_list.store(head, Ordering::Relaxed);
    Ok(0)
}

pub(super) fn get_robust_list(
    current: &Current,
    thread: usize,
    head_to: usize,
    len_to: usize,
) -> SyscallResult {
    let head = match thread as u32 {
        // Relaxed: as above.
        0 => current.thread.robust_list.load(Ordering::Relaxed),
        number => {
            let thread = Pid::new(number as usize).and_then(table::find_thread);
            let thread = thread.ok_or(Errno::NoProcess)?;
            thread.robust_list.load(Ordering::Relaxed)
        }
    };
    current.memory.write_value(len_to, &robust::HEAD_SIZE)?;
    current.memory.write_value(head_to, &head)?;
    Ok(0)
}
