//! Calls about signals: what to do about them, sending them, waiting for them.

use nucleus::sync::WaitQueue;

use super::SyscallResult;
use super::time::read_duration;
use crate::errno::Errno;
use crate::process::signal::action::ACTION_SIZE;
use crate::process::signal::info::INFO_SIZE;
use crate::process::signal::stack::STACK_SIZE;
use crate::process::signal::{
    Action, SigInfo, Signal, SignalSet, code, send_to_all, send_to_group, send_to_process,
    send_to_thread,
};
use crate::process::{Current, Pid, Thread, table};

/// Bytes of a set of signals.
const SET_SIZE: usize = 8;

/// Where threads wait that nothing but a signal wakes.
static NOTHING_BUT_SIGNALS: WaitQueue = WaitQueue::new();

/// Reads a set of signals, whose size the program says, too.
pub(super) fn read_set(current: &Current, address: usize, size: usize) -> Result<SignalSet, Errno> {
    if size != SET_SIZE {
        return Err(Errno::Invalid);
    }
    let mut bytes = [0; SET_SIZE];
    current.memory.read_bytes(address, &mut bytes)?;
    Ok(SignalSet::from_bits(u64::from_le_bytes(bytes)))
}

pub(super) fn sigaction(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    let [signal, new, old, set_size] = arguments;
    if set_size != SET_SIZE {
        return Err(Errno::Invalid);
    }
    // Linux copies first, and complains of the signal then.
    let mut bytes = [0; ACTION_SIZE];
    if new != 0 {
        current.memory.read_bytes(new, &mut bytes)?;
    }
    let signal = Signal::new(signal).ok_or(Errno::Invalid)?;
    if new != 0 && signal.is_inevitable() {
        return Err(Errno::Invalid);
    }
    let actions = current.process.signals.actions();
    let before = if new == 0 {
        actions.get(signal)
    } else {
        let action = Action::from_bytes(&bytes);
        let before = actions.set(signal, action);
        if action.ignores(signal) {
            current.process.forget_signals(signal.into());
        }
        before
    };
    if old != 0 {
        current.memory.write_bytes(old, &before.to_bytes())?;
    }
    Ok(0)
}

pub(super) fn sigprocmask(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    const BLOCK: usize = 0;
    const UNBLOCK: usize = 1;
    const SET: usize = 2;
    let [how, new, old, set_size] = arguments;
    if set_size != SET_SIZE {
        return Err(Errno::Invalid);
    }
    let before = current.blocked();
    if new != 0 {
        let set = read_set(current, new, set_size)?;
        let blocked = match how {
            BLOCK => before.with(set),
            UNBLOCK => before.without(set),
            SET => set,
            _ => return Err(Errno::Invalid),
        };
        current.set_blocked(blocked);
    }
    if old != 0 {
        let bytes = before.bits().to_le_bytes();
        current.memory.write_bytes(old, &bytes)?;
    }
    Ok(0)
}

pub(super) fn sigpending(current: &mut Current, to: usize, size: usize) -> SyscallResult {
    if size > SET_SIZE {
        return Err(Errno::Invalid);
    }
    let pending = current.thread.signals.pending.set();
    let pending = pending.with(current.process.signals.pending.set());
    let waiting = pending.and(current.blocked());
    let bytes = waiting.bits().to_le_bytes();
    current.memory.write_bytes(to, &bytes[..size])?;
    Ok(0)
}

pub(super) fn sigsuspend(current: &mut Current, set: usize, size: usize) -> SyscallResult {
    let set = read_set(current, set, size)?;
    current.replace_mask(set);
    pause(current)
}

pub(super) fn pause(current: &mut Current) -> SyscallResult {
    current.wait(&NOTHING_BUT_SIGNALS, None, || None)
}

pub(super) fn sigtimedwait(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    let [set, info_to, timeout, size] = arguments;
    let wanted = read_set(current, set, size)?.blockable();
    let deadline = match timeout {
        0 => None,
        address => {
            let timeout = read_duration(current, address)?;
            Some(nucleus::time::uptime().saturating_add(timeout))
        }
    };
    current.thread.signals.set_awaited(wanted);
    let taken = current.wait(&NOTHING_BUT_SIGNALS, deadline, || {
        current.take_signal(wanted)
    });
    current.thread.signals.set_awaited(SignalSet::EMPTY);
    let info = taken.map_err(|error| match error {
        Errno::TimedOut => Errno::Again,
        other => other,
    })?;
    if info_to != 0 {
        current.memory.write_bytes(info_to, &info.to_bytes())?;
    }
    Ok(usize::from(info.signal.as_u8()))
}

pub(super) fn sigaltstack(current: &mut Current, new: usize, old: usize) -> SyscallResult {
    let stack_pointer = current.user.context().rsp();
    let before = current.signals.alternate_stack;
    if new != 0 {
        let mut bytes = [0; STACK_SIZE];
        current.memory.read_bytes(new, &mut bytes)?;
        current.signals.alternate_stack = before.replaced_by(&bytes, stack_pointer)?;
    }
    if old != 0 {
        let bytes = before.to_bytes(stack_pointer);
        current.memory.write_bytes(old, &bytes)?;
    }
    Ok(0)
}

pub(super) fn sigreturn(current: &mut Current) -> SyscallResult {
    Ok(current.return_from_handler())
}

/// Returns the signal to send; nothing for zero, which asks whether one could be sent.
fn signal_to_send(signal: usize) -> Result<Option<Signal>, Errno> {
    match signal as u32 {
        0 => Ok(None),
        number => Signal::new(number as usize).map(Some).ok_or(Errno::Invalid),
    }
}

pub(super) fn kill(current: &mut Current, target: usize, signal: usize) -> SyscallResult {
    let target = target as i32;
    let own = current.process.id();
    let info = |signal| SigInfo::of_sender(signal, code::USER, own);
    if target > 0 {
        let process = Pid::new(target as usize).and_then(table::find_process);
        let process = process.ok_or(Errno::NoProcess)?;
        if let Some(signal) = signal_to_send(signal)? {
            send_to_process(&process, info(signal))?;
        }
        return Ok(0);
    }
    if target == i32::MIN {
        return Err(Errno::NoProcess);
    }
    let own_group = table::lock().get(own).map(|record| record.group);
    let group = match target {
        0 => own_group,
        -1 => None,
        _ => Pid::new(target.unsigned_abs() as usize),
    };
    let is_target = |record: &table::Record| match (target, group) {
        (-1, _) => record.process.id() != own && record.process.id() != Pid::FIRST,
        (_, Some(group)) => record.group == group,
        (_, None) => false,
    };
    if !table::lock().processes().any(is_target) {
        return Err(Errno::NoProcess);
    }
    if let Some(signal) = signal_to_send(signal)? {
        match group {
            Some(group) => send_to_group(group, info(signal)),
            None => send_to_all(info(signal), is_target),
        };
    }
    Ok(0)
}

pub(super) fn tkill(current: &mut Current, thread: usize, signal: usize) -> SyscallResult {
    let thread = find_thread(thread, None)?;
    send_as_tkill(current, &thread, signal)
}

pub(super) fn tgkill(
    current: &mut Current,
    group: usize,
    thread: usize,
    signal: usize,
) -> SyscallResult {
    let thread = find_thread(thread, Some(group))?;
    send_as_tkill(current, &thread, signal)
}

fn send_as_tkill(current: &Current, thread: &Thread, signal: usize) -> SyscallResult {
    if let Some(signal) = signal_to_send(signal)? {
        let info = SigInfo::of_sender(signal, code::TKILL, current.process.id());
        send_to_thread(thread, info)?;
    }
    Ok(0)
}

/// Finds a thread, of a certain process if one is named.
fn find_thread(thread: usize, process: Option<usize>) -> Result<alloc::sync::Arc<Thread>, Errno> {
    let is_positive = |number: usize| number as i32 > 0;
    if !is_positive(thread) || process.is_some_and(|process| !is_positive(process)) {
        return Err(Errno::Invalid);
    }
    let found = Pid::new(thread as u32 as usize).and_then(table::find_thread);
    let is_in = |thread: &Thread| {
        process.is_none_or(|process| thread.process().id().as_usize() == process as u32 as usize)
    };
    found.filter(|thread| is_in(thread)).ok_or(Errno::NoProcess)
}

/// Reads what a program says that a signal is about. What only the kernel may say, or a
/// process to itself, is refused.
fn read_info(current: &Current, address: usize, target: usize) -> Result<[u8; INFO_SIZE], Errno> {
    let mut bytes = [0; INFO_SIZE];
    current.memory.read_bytes(address, &mut bytes)?;
    let code = SigInfo::code_of(&bytes);
    let is_forged = code >= 0 || code == code::TKILL;
    if is_forged && target as u32 as usize != current.process.id().as_usize() {
        return Err(Errno::NotPermitted);
    }
    Ok(bytes)
}

pub(super) fn sigqueueinfo(
    current: &mut Current,
    process: usize,
    signal: usize,
    info: usize,
) -> SyscallResult {
    let bytes = read_info(current, info, process)?;
    let process = Pid::new(process).and_then(table::find_process);
    let process = process.ok_or(Errno::NoProcess)?;
    if let Some(signal) = signal_to_send(signal)? {
        send_to_process(&process, SigInfo::from_bytes(signal, &bytes))?;
    }
    Ok(0)
}

pub(super) fn tgsigqueueinfo(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    let [process, thread, signal, info] = arguments;
    let bytes = read_info(current, info, process)?;
    let thread = find_thread(thread, Some(process))?;
    if let Some(signal) = signal_to_send(signal)? {
        send_to_thread(&thread, SigInfo::from_bytes(signal, &bytes))?;
    }
    Ok(0)
}
