//! Waiting for one of several files: `poll`, `select` and their kin.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use nucleus::time;

use super::SyscallResult;
use super::user::{read_time, read_words};
use crate::errno::Errno;
use crate::fs::OpenFile;
use crate::fs::poll::{Readiness, pollers};
use crate::process::Current;
use crate::syscall::signal::read_set;

/// Bytes of `struct pollfd`.
const ENTRY_SIZE: usize = 8;
/// Descriptors that `select` knows.
const MAX_SELECT: usize = 1024;

/// A file that is waited for; none for a descriptor that is not open.
#[derive(Debug)]
struct Polled {
    file: Option<Arc<OpenFile>>,
    wanted: Readiness,
}

impl Polled {
    /// Returns what is possible of what is wanted, and what nobody wants.
    fn found(&self) -> Readiness {
        const ANYWAY: Readiness = Readiness::from_bits(
            Readiness::ERROR.bits() | Readiness::HANG_UP.bits() | Readiness::INVALID.bits(),
        );
        match &self.file {
            Some(file) => file.readiness().intersection(self.wanted | ANYWAY),
            None => Readiness::INVALID,
        }
    }
}

/// Waits until one of the files is ready; not at all if the time-out is zero. A time-out
/// that passes is no error.
fn wait_for_any(
    current: &Current,
    polled: &[Polled],
    timeout: Option<Duration>,
) -> Result<(), Errno> {
    let is_ready = || polled.iter().any(|one| !one.found().is_empty());
    if timeout == Some(Duration::ZERO) {
        return Ok(());
    }
    let deadline = timeout.map(|timeout| time::uptime().saturating_add(timeout));
    match current.wait(pollers(), deadline, || is_ready().then_some(())) {
        Err(Errno::TimedOut) => Ok(()),
        other => other,
    }
}

pub(super) fn poll(
    current: &mut Current,
    entries: usize,
    count: usize,
    timeout_ms: usize,
) -> SyscallResult {
    let timeout = u64::try_from(timeout_ms as i32).ok();
    poll_for(current, entries, count, timeout.map(Duration::from_millis))
}

pub(super) fn ppoll(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    let [entries, count, timeout, mask, mask_size] = arguments;
    let timeout = read_time(current, timeout)?;
    with_mask(current, mask, mask_size, |current| {
        poll_for(current, entries, count, timeout)
    })
}

/// Performs a call with other signals blocked, if there is an address of a set of them.
/// A call that was interrupted leaves them blocked until the signal is handled.
pub(super) fn with_mask(
    current: &mut Current,
    mask: usize,
    mask_size: usize,
    call: impl FnOnce(&mut Current) -> SyscallResult,
) -> SyscallResult {
    if mask == 0 {
        return call(current);
    }
    let set = read_set(current, mask, mask_size)?;
    current.replace_mask(set);
    let result = call(current);
    if result != Err(Errno::Interrupted) {
        current.restore_mask();
    }
    result
}

fn poll_for(
    current: &mut Current,
    entries: usize,
    count: usize,
    timeout: Option<Duration>,
) -> SyscallResult {
    if count > current.files.limit() {
        return Err(Errno::Invalid);
    }
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(count * ENTRY_SIZE);
    reserved.map_err(|_| Errno::NoMemory)?;
    bytes.resize(count * ENTRY_SIZE, 0);
    current.memory.read_bytes(entries, &mut bytes)?;

    // Negative descriptors are left out, and nothing is found of them.
    let mut polled = Vec::new();
    let mut indices = Vec::new();
    for (index, entry) in bytes.chunks_exact(ENTRY_SIZE).enumerate() {
        let descriptor = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let Ok(descriptor) = usize::try_from(descriptor) else {
            continue;
        };
        indices.push(index);
        polled.push(Polled {
            file: current.files.get(descriptor).ok(),
            wanted: Readiness::from_bits(u16::from_le_bytes([entry[4], entry[5]])),
        });
    }
    wait_for_any(current, &polled, timeout)?;

    for entry in bytes.chunks_exact_mut(ENTRY_SIZE) {
        entry[6..].fill(0);
    }
    let mut nr_ready = 0;
    for (index, one) in indices.into_iter().zip(&polled) {
        let found = one.found();
        let start = index * ENTRY_SIZE + 6;
        bytes[start..start + 2].copy_from_slice(&found.bits().to_le_bytes());
        nr_ready += usize::from(!found.is_empty());
    }
    current.memory.write_bytes(entries, &bytes)?;
    Ok(nr_ready)
}

pub(super) fn select(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    let [count, reads, writes, exceptions, timeout] = arguments;
    let duration = match timeout {
        0 => None,
        _ => {
            let [seconds, micros] = read_words(current, timeout)?;
            let is_positive = i64::try_from(seconds).is_ok() && i64::try_from(micros).is_ok();
            if !is_positive {
                return Err(Errno::Invalid);
            }
            let micros = Duration::from_micros(micros);
            Some(Duration::from_secs(seconds).saturating_add(micros))
        }
    };
    let start = time::uptime();
    let result = select_for(current, count, [reads, writes, exceptions], duration);
    if let Some(duration) = duration {
        // Linux says how much is left; a program that cannot hear it is not told.
        let left = duration.saturating_sub(time::uptime().saturating_sub(start));
        let words = [left.as_secs(), u64::from(left.subsec_micros())].map(u64::to_le_bytes);
        let _ = current.memory.write_bytes(timeout, words.as_flattened());
    }
    result
}

pub(super) fn pselect6(current: &mut Current, arguments: [usize; 6]) -> SyscallResult {
    let [count, reads, writes, exceptions, timeout, mask] = arguments;
    let timeout = read_time(current, timeout)?;
    let [mask, mask_size] = match mask {
        0 => [0; 2],
        mask => read_words(current, mask)?.map(|word| word as usize),
    };
    with_mask(current, mask, mask_size, |current| {
        select_for(current, count, [reads, writes, exceptions], timeout)
    })
}

/// What each of the three sets waits for.
const SETS: [Readiness; 3] = [
    Readiness::from_bits(
        Readiness::READ.bits() | Readiness::HANG_UP.bits() | Readiness::ERROR.bits(),
    ),
    Readiness::from_bits(Readiness::WRITE.bits() | Readiness::ERROR.bits()),
    Readiness::NONE,
];

fn select_for(
    current: &mut Current,
    count: usize,
    addresses: [usize; 3],
    timeout: Option<Duration>,
) -> SyscallResult {
    let count = usize::try_from(count as i32).map_err(|_| Errno::Invalid)?;
    // Linux's smallest table has 64 slots, and looks at all of them.
    let count = count.min(current.files.size().clamp(64, MAX_SELECT));
    let nr_bytes = count.div_ceil(64) * 8;
    let mut sets = [[0_u8; MAX_SELECT / 8]; 3];
    for (set, address) in sets.iter_mut().zip(addresses) {
        if address != 0 {
            current.memory.read_bytes(address, &mut set[..nr_bytes])?;
        }
    }
    let has = |set: &[u8], number: usize| set[number / 8] & (1 << (number % 8)) != 0;
    let mut polled = Vec::new();
    let mut numbers = Vec::new();
    for number in 0..count {
        let mut wanted = Readiness::NONE;
        let mut is_in_any = false;
        for (set, meaning) in sets.iter().zip(SETS) {
            if has(set, number) {
                is_in_any = true;
                wanted = wanted | meaning;
            }
        }
        if is_in_any {
            let file = Some(current.files.get(number)?);
            numbers.push(number);
            polled.push(Polled { file, wanted });
        }
    }
    wait_for_any(current, &polled, timeout)?;

    let mut nr_found = 0;
    let mut results = [[0_u8; MAX_SELECT / 8]; 3];
    for (number, one) in numbers.into_iter().zip(&polled) {
        let found = one.found();
        for ((result, set), meaning) in results.iter_mut().zip(&sets).zip(SETS) {
            if has(set, number) && found.intersects(meaning) {
                result[number / 8] |= 1 << (number % 8);
                nr_found += 1;
            }
        }
    }
    for (result, address) in results.iter().zip(addresses) {
        if address != 0 {
            current.memory.write_bytes(address, &result[..nr_bytes])?;
        }
    }
    Ok(nr_found)
}
