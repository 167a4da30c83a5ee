//! Signals: what a program says about them is kept, and a signal that it sends
//! to itself ends it unless it is ignored. Handlers do not run yet.

use super::SyscallResult;
use super::process::PID;
use crate::errno::Errno;
use crate::process::{Current, End};

/// Signals have the numbers 1 to 64.
const SIGNALS: usize = 64;
/// Bytes of a set of signals.
const SET_SIZE: usize = 8;
/// Bytes of the kernel's `struct sigaction`.
const ACTION_SIZE: usize = 32;
/// Bytes of `stack_t`.
const STACK_SIZE: usize = 24;
/// `SS_DISABLE`: there is no alternate stack.
const STACK_DISABLED: u8 = 2;

const SIGKILL: usize = 9;
const SIGSTOP: usize = 19;
/// The handler that ignores a signal.
const SIG_IGN: u64 = 1;
/// Signals that do nothing by default: child, continue, urgent, window size.
const IGNORED_BY_DEFAULT: [usize; 4] = [17, 18, 23, 28];

/// What a program said about signals.
#[derive(Debug)]
pub(crate) struct Signals {
    actions: [[u8; ACTION_SIZE]; SIGNALS],
    mask: u64,
    alternate_stack: [u8; STACK_SIZE],
}

impl Default for Signals {
    fn default() -> Self {
        let mut alternate_stack = [0; STACK_SIZE];
        alternate_stack[8] = STACK_DISABLED;
        Self {
            actions: [[0; ACTION_SIZE]; SIGNALS],
            mask: 0,
            alternate_stack,
        }
    }
}

impl Signals {
    fn ignores(&self, signal: usize) -> bool {
        let mut handler = [0; 8];
        handler.copy_from_slice(&self.actions[signal - 1][..8]);
        match u64::from_le_bytes(handler) {
            SIG_IGN => true,
            0 => IGNORED_BY_DEFAULT.contains(&signal),
            _ => false,
        }
    }
}

pub(super) fn sigaction(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    let [signal, new, old, set_size] = arguments;
    if set_size != SET_SIZE {
        return Err(Errno::Invalid);
    }
    // Linux copies first, and complains of the signal then.
    let mut action = [0; ACTION_SIZE];
    if new != 0 {
        current.memory.read_bytes(new, &mut action)?;
    }
    let may_change = signal != SIGKILL && signal != SIGSTOP;
    if !(1..=SIGNALS).contains(&signal) || (new != 0 && !may_change) {
        return Err(Errno::Invalid);
    }
    let before = current.signals.actions[signal - 1];
    if new != 0 {
        current.signals.actions[signal - 1] = action;
    }
    if old != 0 {
        current.memory.write_bytes(old, &before)?;
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
    let before = current.signals.mask;
    if new != 0 {
        let mut bytes = [0; SET_SIZE];
        current.memory.read_bytes(new, &mut bytes)?;
        let set = u64::from_le_bytes(bytes);
        let mask = match how {
            BLOCK => before | set,
            UNBLOCK => before & !set,
            SET => set,
            _ => return Err(Errno::Invalid),
        };
        let always_open = 1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1);
        current.signals.mask = mask & !always_open;
    }
    if old != 0 {
        current.memory.write_bytes(old, &before.to_le_bytes())?;
    }
    Ok(0)
}

pub(super) fn sigaltstack(current: &mut Current, new: usize, old: usize) -> SyscallResult {
    if old != 0 {
        current
            .memory
            .write_bytes(old, &current.signals.alternate_stack)?;
    }
    if new != 0 {
        let mut stack = [0; STACK_SIZE];
        current.memory.read_bytes(new, &mut stack)?;
        current.signals.alternate_stack = stack;
    }
    Ok(0)
}

pub(super) fn kill(current: &mut Current, target: usize, signal: usize) -> SyscallResult {
    if signal > SIGNALS {
        return Err(Errno::Invalid);
    }
    // Zero and minus one mean the process's group, and everybody.
    let is_self = target == PID || target == 0 || target as i32 == -1;
    if !is_self {
        return Err(Errno::NoProcess);
    }
    if signal != 0 && !current.signals.ignores(signal) {
        current.process.end_all(End::Killed(signal as u8));
    }
    Ok(0)
}

pub(super) fn tgkill(
    current: &mut Current,
    group: usize,
    thread: usize,
    signal: usize,
) -> SyscallResult {
    if group != PID {
        return Err(Errno::NoProcess);
    }
    kill(current, thread, signal)
}
