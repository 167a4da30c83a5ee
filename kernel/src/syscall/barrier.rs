//! The call `membarrier(2)`: barriers in other threads.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::SyscallResult;
use crate::errno::Errno;
use crate::process::{Current, table};
use crate::vm::ensure_reserve;

/// Commands: single bits, but for the first one.
mod command {
    pub(super) const QUERY: u32 = 0;
    pub(super) const GLOBAL: u32 = 1;
    pub(super) const GLOBAL_EXPEDITED: u32 = 1 << 1;
    pub(super) const REGISTER_GLOBAL: u32 = 1 << 2;
    pub(super) const PRIVATE: u32 = 1 << 3;
    pub(super) const REGISTER_PRIVATE: u32 = 1 << 4;
    pub(super) const PRIVATE_SYNC_CORE: u32 = 1 << 5;
    pub(super) const REGISTER_SYNC_CORE: u32 = 1 << 6;
    /// Those that there are; there are no restartable sequences, and none to restart.
    pub(super) const ALL: u32 = (1 << 7) - 1;
}

pub(super) fn membarrier(current: &mut Current, command: usize, flags: usize) -> SyscallResult {
    let command = command as u32;
    if flags as u32 != 0 {
        return Err(Errno::Invalid);
    }
    match command {
        command::QUERY => return Ok(command::ALL as usize),
        command::GLOBAL | command::GLOBAL_EXPEDITED => synchronize_all()?,
        command::REGISTER_GLOBAL | command::REGISTER_PRIVATE | command::REGISTER_SYNC_CORE => {
            // Relaxed: the program itself orders what its threads do before and after.
            let barriers = &current.memory.barriers;
            barriers.fetch_or(command as u8, Ordering::Relaxed);
        }
        command::PRIVATE | command::PRIVATE_SYNC_CORE => {
            // Relaxed: as above.
            let registered = current.memory.barriers.load(Ordering::Relaxed);
            // Each is registered for by the next bit.
            if u32::from(registered) & command << 1 == 0 {
                return Err(Errno::NotPermitted);
            }
            current.memory.synchronize();
        }
        _ => return Err(Errno::Invalid),
    }
    Ok(0)
}

/// Waits until the threads of all programs have gone through a barrier, whether they are
/// registered for that or not.
fn synchronize_all() -> Result<(), Errno> {
    ensure_reserve()?;
    let processes: alloc::vec::Vec<_> = {
        let table = table::lock();
        let processes = table.processes().map(|record| Arc::clone(&record.process));
        processes.collect()
    };
    for process in processes {
        if let Some(memory) = process.memory() {
            memory.synchronize();
        }
    }
    Ok(())
}
