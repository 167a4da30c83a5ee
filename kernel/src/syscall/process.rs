//! Calls about the process itself, time and randomness.

use core::sync::atomic::Ordering;
use core::time::Duration;

use nucleus::{console, random, time};

use super::SyscallResult;
use crate::errno::Errno;
use crate::process::{Current, End};

/// The identifier of the only process, and of its only thread.
pub(super) const PID: usize = 1;

pub(super) fn exit(current: &mut Current, status: usize) -> SyscallResult {
    current.own_end = Some(End::Exited(status as u8));
    Ok(0)
}

pub(super) fn exit_group(current: &mut Current, status: usize) -> SyscallResult {
    current.process.end_all(End::Exited(status as u8));
    Ok(0)
}

pub(super) fn arch_prctl(current: &mut Current, code: usize, address: usize) -> SyscallResult {
    const SET_FS: usize = 0x1002;
    const GET_FS: usize = 0x1003;
    let context = current.user.context_mut();
    match code {
        SET_FS => context.set_fs_base(address).map_err(|_| {
            // Linux's answer to an address that is not the user's.
            Errno::NotPermitted
        })?,
        GET_FS => {
            let base = context.fs_base();
            current.memory.write_bytes(address, &base.to_le_bytes())?;
        }
        _ => return Err(Errno::Invalid),
    }
    Ok(0)
}

/// Says where zero is to be written when the thread ends.
pub(super) fn set_tid_address(current: &Current, address: usize) -> usize {
    // Relaxed: for the thread itself.
    current
        .thread
        .clear_on_exit
        .store(address, Ordering::Relaxed);
    current.thread.id().as_usize()
}

/// The list is walked when a thread dies; the only one takes all with it.
pub(super) fn set_robust_list(len: usize) -> SyscallResult {
    const HEAD_SIZE: usize = 24;
    if len == HEAD_SIZE {
        Ok(0)
    } else {
        Err(Errno::Invalid)
    }
}

/// Limits are reported and cannot be changed.
pub(super) fn prlimit(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    const LIMITS: usize = 16;
    const STACK: usize = 3;
    const CORE: usize = 4;
    const FILES: usize = 7;
    let [pid, resource, new, old] = arguments;
    if pid != 0 && pid != PID {
        return Err(Errno::NoProcess);
    }
    if resource >= LIMITS {
        return Err(Errno::Invalid);
    }
    if new != 0 {
        return Err(Errno::NotPermitted);
    }
    if old != 0 {
        let limit = match resource {
            STACK => current.memory.limits().stack as u64,
            CORE => 0,
            FILES => current.files.limit() as u64,
            _ => u64::MAX,
        };
        let bytes = [limit.to_le_bytes(), limit.to_le_bytes()];
        current.memory.write_bytes(old, bytes.as_flattened())?;
    }
    Ok(0)
}

pub(super) fn uname(current: &mut Current, address: usize) -> SyscallResult {
    const FIELD: usize = 65;
    // System, node, release, version, machine, domain. The release is that of
    // the Linux whose interface this is.
    let fields = [
        "Vostok",
        "vostok",
        "6.1.0",
        env!("CARGO_PKG_VERSION"),
        "x86_64",
        "(none)",
    ];
    let mut bytes = [0; FIELD * 6];
    for (field, chunk) in fields.into_iter().zip(bytes.chunks_exact_mut(FIELD)) {
        chunk[..field.len()].copy_from_slice(field.as_bytes());
    }
    current.memory.write_bytes(address, &bytes)?;
    Ok(0)
}

pub(super) fn getrandom(current: &mut Current, address: usize, len: usize) -> SyscallResult {
    // Linux returns fewer bytes than asked for, too, when many are.
    let mut bytes = [0; 256];
    let len = len.min(bytes.len());
    random::fill(&mut bytes[..len]);
    current.memory.write_bytes(address, &bytes[..len])?;
    Ok(len)
}

/// Clocks count from start-up, since nothing tells the date.
pub(super) fn clock_gettime(current: &mut Current, clock: usize, address: usize) -> SyscallResult {
    const LAST_CLOCK: usize = 11;
    if clock > LAST_CLOCK {
        return Err(Errno::Invalid);
    }
    let now = time::uptime();
    let words = [now.as_secs(), u64::from(now.subsec_nanos())].map(u64::to_le_bytes);
    current.memory.write_bytes(address, words.as_flattened())?;
    Ok(0)
}

pub(super) fn nanosleep(current: &mut Current, request: usize) -> SyscallResult {
    let duration = read_duration(current, request)?;
    sleep_until(time::uptime().saturating_add(duration));
    Ok(0)
}

pub(super) fn clock_nanosleep(current: &mut Current, arguments: [usize; 3]) -> SyscallResult {
    const ABSOLUTE: usize = 1;
    let [_clock, flags, request] = arguments;
    let duration = read_duration(current, request)?;
    let end = if flags & ABSOLUTE != 0 {
        duration
    } else {
        time::uptime().saturating_add(duration)
    };
    sleep_until(end);
    Ok(0)
}

fn read_duration(current: &mut Current, address: usize) -> Result<Duration, Errno> {
    let mut bytes = [[0; 8]; 2];
    current
        .memory
        .read_bytes(address, bytes.as_flattened_mut())?;
    let [seconds, nanos] = bytes.map(i64::from_le_bytes);
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(Errno::Invalid),
    }
}

/// The processor sleeps from tick to tick; the timer wakes it.
fn sleep_until(end: Duration) {
    while time::uptime() < end {
        console::wait_for_input();
    }
}

pub(super) fn sched_getaffinity(current: &mut Current, len: usize, mask: usize) -> SyscallResult {
    const WORD: usize = 8;
    if len < WORD || !len.is_multiple_of(WORD) {
        return Err(Errno::Invalid);
    }
    current.memory.write_bytes(mask, &1_u64.to_le_bytes())?;
    Ok(WORD)
}

/// With one thread nobody waits and nobody could wake a waiter: waking wakes
/// none, and waiting is refused, or ends with its time-out at once.
pub(super) fn futex(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    const WAIT: usize = 0;
    const WAKE: usize = 1;
    const WAIT_BITSET: usize = 9;
    const WAKE_BITSET: usize = 10;
    const COMMAND: usize = 0x7f;
    let [address, operation, value, timeout] = arguments;
    if !address.is_multiple_of(4) {
        return Err(Errno::Invalid);
    }
    match operation & COMMAND {
        WAKE | WAKE_BITSET => Ok(0),
        WAIT | WAIT_BITSET => {
            let mut bytes = [0; 4];
            current.memory.read_bytes(address, &mut bytes)?;
            let is_changed = u32::from_le_bytes(bytes) != value as u32;
            Err(if is_changed || timeout == 0 {
                Errno::Again
            } else {
                Errno::TimedOut
            })
        }
        _ => Err(Errno::NoCall),
    }
}
