//! Calls about sets of files that are waited for, and about counters of events.

use alloc::sync::Arc;
use core::time::Duration;

use nucleus::time;

use super::SyscallResult;
use super::open::CLOSE_ON_EXEC;
use super::poll::with_mask;
use super::user::{check_range, read_array, read_time};
use crate::errno::Errno;
use crate::fs::OpenFile;
use crate::fs::epoll::{Epoll, Event};
use crate::fs::event::EventCounter;
use crate::fs::node::Stream;
use crate::fs::open::{Access, status};
use crate::fs::poll::pollers;
use crate::process::Current;
use crate::vm::ensure_reserve;

/// Bytes of `struct epoll_event`: bits, and a word that is not aligned.
const EVENT_SIZE: usize = 12;

/// Opens something that is a descriptor alone.
fn open_nameless(current: &Current, stream: Arc<dyn Stream>, flags: u32) -> SyscallResult {
    let kept = flags & status::NONBLOCK;
    let file = Arc::new(OpenFile::from_stream(stream, Access::BOTH, kept));
    current.files.add(file, flags & CLOSE_ON_EXEC != 0, 0)
}

pub(super) fn eventfd(current: &mut Current, count: usize, flags: usize) -> SyscallResult {
    const SEMAPHORE: u32 = 1;
    let flags = flags as u32;
    if flags & !(CLOSE_ON_EXEC | status::NONBLOCK | SEMAPHORE) != 0 {
        return Err(Errno::Invalid);
    }
    ensure_reserve()?;
    let counter = EventCounter::new(count as u32, flags & SEMAPHORE != 0);
    open_nameless(current, counter, flags)
}

pub(super) fn create(current: &mut Current, size: usize) -> SyscallResult {
    if size as i32 <= 0 {
        return Err(Errno::Invalid);
    }
    create1(current, 0)
}

pub(super) fn create1(current: &mut Current, flags: usize) -> SyscallResult {
    let flags = flags as u32;
    if flags & !CLOSE_ON_EXEC != 0 {
        return Err(Errno::Invalid);
    }
    ensure_reserve()?;
    open_nameless(current, Epoll::new(), flags)
}

pub(super) fn ctl(
    current: &mut Current,
    set: usize,
    operation: usize,
    descriptor: usize,
    event: usize,
) -> SyscallResult {
    const ADD: u32 = 1;
    const REMOVE: u32 = 2;
    const MODIFY: u32 = 3;
    let operation = operation as u32;
    let event = match operation {
        REMOVE => Event { bits: 0, data: 0 },
        _ => read_event(current, event)?,
    };
    let set = current.files.get(set)?;
    let file = current.files.get(descriptor)?;
    if file.queue().is_none() {
        return Err(Errno::NotPermitted);
    }
    let epoll = as_epoll(&set)?;
    if Arc::ptr_eq(&set, &file) {
        return Err(Errno::Invalid);
    }
    match operation {
        ADD => epoll.add(descriptor, &file, event)?,
        REMOVE => epoll.remove(descriptor, &file)?,
        MODIFY => epoll.modify(descriptor, &file, event)?,
        _ => return Err(Errno::Invalid),
    }
    Ok(0)
}

fn read_event(current: &mut Current, address: usize) -> Result<Event, Errno> {
    let bytes: [u8; EVENT_SIZE] = read_array(current, address)?;
    let (bits, data) = bytes.split_at(4);
    Ok(Event {
        bits: bits
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | u32::from(*byte)),
        data: data
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | u64::from(*byte)),
    })
}

fn as_epoll(file: &OpenFile) -> Result<&Epoll, Errno> {
    let epoll = file.stream().and_then(|stream| stream.as_epoll());
    epoll.ok_or(Errno::Invalid)
}

pub(super) fn wait(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    let [set, to, max, timeout_ms] = arguments;
    let timeout = u64::try_from(timeout_ms as i32).ok();
    wait_for(current, set, to, max, timeout.map(Duration::from_millis))
}

pub(super) fn pwait(current: &mut Current, arguments: [usize; 6]) -> SyscallResult {
    let [set, to, max, timeout_ms, mask, mask_size] = arguments;
    with_mask(current, mask, mask_size, |current| {
        wait(current, [set, to, max, timeout_ms])
    })
}

pub(super) fn pwait2(current: &mut Current, arguments: [usize; 6]) -> SyscallResult {
    let [set, to, max, timeout, mask, mask_size] = arguments;
    let timeout = read_time(current, timeout)?;
    with_mask(current, mask, mask_size, |current| {
        wait_for(current, set, to, max, timeout)
    })
}

/// Waits until a file of a set is ready, not at all if the time-out is zero; writes what
/// is. A time-out that passes is no error.
fn wait_for(
    current: &mut Current,
    set: usize,
    to: usize,
    max: usize,
    timeout: Option<Duration>,
) -> SyscallResult {
    let max = usize::try_from(max as i32).unwrap_or(0);
    if max == 0 || max > i32::MAX as usize / EVENT_SIZE {
        return Err(Errno::Invalid);
    }
    check_range(to, max * EVENT_SIZE)?;
    let set = current.files.get(set)?;
    let epoll = as_epoll(&set)?;
    let look = || match epoll.take_ready(max) {
        Ok(events) if events.is_empty() => None,
        other => Some(other),
    };
    let found = if timeout == Some(Duration::ZERO) {
        look().unwrap_or(Ok(alloc::vec::Vec::new()))
    } else {
        let deadline = timeout.map(|timeout| time::uptime().saturating_add(timeout));
        match current.wait(pollers(), deadline, look) {
            Err(Errno::TimedOut) => return Ok(0),
            other => other?,
        }
    };
    let found = found?;
    for (index, event) in found.iter().enumerate() {
        let mut bytes = [0; EVENT_SIZE];
        bytes[..4].copy_from_slice(&event.bits.to_le_bytes());
        bytes[4..].copy_from_slice(&event.data.to_le_bytes());
        let written = current.memory.write_bytes(to + index * EVENT_SIZE, &bytes);
        match written {
            Err(_) if index > 0 => return Ok(index),
            other => other?,
        }
    }
    Ok(found.len())
}
