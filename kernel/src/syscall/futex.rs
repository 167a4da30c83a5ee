//! The call `futex(2)`, with Linux's order of complaints.

use core::time::Duration;

use nucleus::time;

use super::SyscallResult;
use super::time::{Clock, read_duration};
use crate::errno::Errno;
use crate::process::Current;
use crate::process::futex::operation::WakeOperation;
use crate::process::futex::{self, ANY, Counts};
use crate::vm::FutexKey;

const WAIT: usize = 0;
const WAKE: usize = 1;
const REQUEUE: usize = 3;
const COMPARE_AND_REQUEUE: usize = 4;
const WAKE_OP: usize = 5;
const WAIT_BITSET: usize = 9;
const WAKE_BITSET: usize = 10;

/// The futex is used by this address space alone.
const PRIVATE: usize = 128;
/// The time-out is a time of the clock that can be set.
const REAL_TIME: usize = 256;

pub(super) fn futex(current: &mut Current, arguments: [usize; 6]) -> SyscallResult {
    let [address, operation, value, timeout, other, value_3] = arguments;
    let operation = operation as u32 as usize;
    let command = operation & !(PRIVATE | REAL_TIME);
    let is_private = operation & PRIVATE != 0;
    let deadline = match (command, timeout) {
        (WAIT | WAIT_BITSET, 1..) => Some(deadline(current, operation, timeout)?),
        _ => None,
    };
    if operation & REAL_TIME != 0 && command != WAIT_BITSET {
        return Err(Errno::NoCall);
    }
    let key = |address| current.memory.futex_key(address, is_private);
    let count = value as i32;
    match command {
        WAIT | WAIT_BITSET => {
            let bits = bits(command == WAIT_BITSET, value_3)?;
            let address = (address, is_private);
            futex::wait(current, address, value as u32, deadline, bits)?;
            Ok(0)
        }
        WAKE | WAKE_BITSET => {
            let bits = bits(command == WAKE_BITSET, value_3)?;
            Ok(futex::wake(&key(address)?, at_least_one(count), bits))
        }
        REQUEUE | COMPARE_AND_REQUEUE => {
            let expected = (command == COMPARE_AND_REQUEUE).then_some(value_3 as u32);
            let counts = Counts {
                wake: usize::try_from(count).map_err(|_| Errno::Invalid)?,
                requeue: usize::try_from(timeout as i32).map_err(|_| Errno::Invalid)?,
            };
            requeue(
                current,
                address,
                [key(address)?, key(other)?],
                counts,
                expected,
            )
        }
        WAKE_OP => {
            let keys = [key(address)?, key(other)?];
            let counts = [count, timeout as i32].map(at_least_one);
            wake_op(current, other, keys, counts, value_3 as u32)
        }
        _ => Err(Errno::NoCall),
    }
}

/// As in Linux, whoever wants to wake nobody wakes one.
fn at_least_one(count: i32) -> usize {
    usize::try_from(count).unwrap_or(0).max(1)
}

/// Returns which waiters are meant.
fn bits(are_given: bool, bits: usize) -> Result<u32, Errno> {
    match (are_given, bits as u32) {
        (false, _) => Ok(ANY),
        (true, 0) => Err(Errno::Invalid),
        (true, bits) => Ok(bits),
    }
}

/// Returns until when to wait: for a while, or until a time if there are bits.
fn deadline(current: &Current, operation: usize, timeout: usize) -> Result<Duration, Errno> {
    let duration = read_duration(current, timeout)?;
    if operation & !(PRIVATE | REAL_TIME) == WAIT {
        return Ok(time::uptime().saturating_add(duration));
    }
    let clock = match operation & REAL_TIME {
        0 => Clock::SinceStart,
        _ => Clock::SinceEpoch,
    };
    Ok(clock.to_uptime(duration))
}

fn requeue(
    current: &Current,
    address: usize,
    [from, to]: [FutexKey; 2],
    counts: Counts,
    expected: Option<u32>,
) -> SyscallResult {
    loop {
        let mut is_missing = false;
        let may_go_on = || match expected {
            None => Ok(()),
            Some(expected) => match current.memory.peek_u32(address) {
                Some(value) if value == expected => Ok(()),
                Some(_) => Err(Errno::Again),
                None => {
                    is_missing = true;
                    Err(Errno::Again)
                }
            },
        };
        let result = futex::requeue(&from, &to, counts, may_go_on);
        if !is_missing {
            return result;
        }
        // Made now: under the locks it could not be.
        current.memory.load_u32(address)?;
    }
}

fn wake_op(
    current: &Current,
    address: usize,
    [first, second]: [FutexKey; 2],
    [wake_first, wake_second]: [usize; 2],
    operation: u32,
) -> SyscallResult {
    let operation = WakeOperation::new(operation)?;
    let mut old = current.memory.load_u32(address)?;
    loop {
        let new = operation.apply(old);
        let found = current.memory.compare_exchange_u32(address, old, new)?;
        if found == old {
            break;
        }
        old = found;
    }
    let asks_for_second = operation.asks_for(old)?;
    let mut woken = futex::wake(&first, wake_first, ANY);
    if asks_for_second {
        woken += futex::wake(&second, wake_second, ANY);
    }
    Ok(woken)
}
